"""Appraisal: what a Relying Party demands beyond authenticity."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest.forge import AT, DAY, ENCLAVE, TD, Forge, level, part, td15
from attest.oracle import forged
from tee_sim.abi.sgx import AttributeFlags, Attributes
from tee_sim.abi.tdx import TDAttributes
from tee_sim.attest.policy import Policy, appraise
from tee_sim.attest.results import AttestationResult
from tee_sim.attest.rules import RULES, rule_of
from tee_sim.attest.verifier import verify_quote
from tee_sim.errors import NotYetValid, UsageError

STRICT = Policy(
    tcb_statuses=("UpToDate",),
    accepted_advisories=(),
    minimum_tcb_evaluation=17,
    measurements=(ENCLAVE.mrenclave,),
    signers=(ENCLAVE.mrsigner,),
    product_id=7,
    minimum_version=5,
    report_data=ENCLAVE.reportdata,
    held_data=b"held",
)


def verified(forge: Forge | None = None, at: int = AT) -> AttestationResult:
    case = forged(forge or Forge())
    return verify_quote(case.quote, case.collateral, root=case.root, at=at)


DEBUGGED = Attributes(flags=AttributeFlags(init=True, debug=True), xfrm=3)
BAD_LEVEL = {"tcbLevels": [level((3,) * 16, 11, "ConfigurationNeeded")]}
ADVISORY = {"tcbLevels": [level((3,) * 16, 11, "UpToDate", "INTEL-SA-00837")]}

BROKEN = {
    "POLICY.TCB_STATUS": (Forge(tcb_info=BAD_LEVEL), {}),
    "POLICY.ADVISORIES": (Forge(tcb_info=ADVISORY), {}),
    "POLICY.TCB_EVALUATION": (Forge(), {"minimum_tcb_evaluation": 18}),
    "POLICY.DEBUG": (Forge(ENCLAVE.with_(attributes=DEBUGGED)), {}),
    "POLICY.MEASUREMENT": (Forge(), {"measurements": (bytes(32), ENCLAVE.mrsigner)}),
    "POLICY.SIGNER": (Forge(), {"signers": ()}),
    "POLICY.PRODUCT": (Forge(), {"product_id": 0}),
    "POLICY.VERSION": (Forge(), {"minimum_version": 6}),
    "POLICY.REPORT_DATA": (Forge(), {"report_data": b"nonce"}),
    "POLICY.KEY_BINDING": (Forge(), {"held_data": b"another key"}),
}


def test_the_strict_policy_accepts_what_it_names() -> None:
    result = appraise(verified(), STRICT)
    assert result.require().accepted
    assert {check.name for check in result.checks} >= set(BROKEN)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_demand_is_refused_by_its_check_alone(name: str) -> None:
    forge, changes = BROKEN[name]
    result = appraise(verified(forge), replace(STRICT, **changes))
    assert [check.name for check in result.failed] == [name]
    with pytest.raises(rule_of(name)[0], match=name):
        result.require()


def test_every_rule_of_policies_has_evidence_that_breaks_it() -> None:
    assert set(BROKEN) == {name for name in RULES if name.startswith("POLICY.")}


def test_what_a_policy_forgets() -> None:
    names = [check.name for check in appraise(verified(), Policy()).checks]
    assert [name for name in names if "POLICY" in name] == ["POLICY.TCB_STATUS", "POLICY.DEBUG"]
    debugged = verified(Forge(ENCLAVE.with_(attributes=DEBUGGED)))
    assert debugged.accepted
    assert not appraise(debugged, Policy()).accepted
    assert appraise(debugged, Policy(allow_debug=True)).accepted


@pytest.mark.parametrize("tud", [1, 2, 0x80])
def test_any_debug_bit_of_a_td_is_debug(tud: int) -> None:
    forge = Forge(TD.with_(tdattributes=TDAttributes(tud=tud, sept_ve_disable=True)), 4)
    assert [check.name for check in appraise(verified(forge), Policy()).failed] == ["POLICY.DEBUG"]


def test_tds_are_appraised_by_mrtd() -> None:
    policy = Policy(measurements=(TD.mrtd,), held_data=b"held")
    assert appraise(verified(Forge(td15(), 5)), policy).accepted


def test_what_a_td_does_not_have_is_not_checked_and_no_acceptance() -> None:
    result = appraise(verified(Forge(TD, 4)), Policy(signers=(bytes(32),), minimum_version=0))
    outcomes = {check.name: check.outcome for check in result.checks}
    assert outcomes["POLICY.SIGNER"] == outcomes["POLICY.VERSION"] == "not checked"
    assert not result.accepted


def test_refused_evidence_stays_refused() -> None:
    broken = verified(Forge(revoked={"pck"}))
    appraised = appraise(broken, STRICT)
    assert [check.name for check in appraised.failed] == ["PCK.NOT_REVOKED"]
    assert appraised.checks[: len(broken.checks)] == broken.checks


def test_nothing_is_known_without_a_status() -> None:
    result = appraise(verified(Forge(tcb_info={"tcbType": 1})), STRICT)
    outcomes = {check.name: check.outcome for check in result.checks}
    for name in ("POLICY.TCB_STATUS", "POLICY.ADVISORIES", "POLICY.TCB_EVALUATION"):
        assert outcomes[name] == "not checked"


def test_expired_collateral_is_the_policys_to_accept() -> None:
    expired = verified(at=AT + 50 * DAY)
    assert not appraise(expired, Policy()).accepted
    assert appraise(expired, Policy(allow_expired_collateral=True)).accepted


@pytest.mark.parametrize("who", ["pck", "signing", "root crl", "ca crl"])
def test_what_is_not_valid_yet_is_nobodys_to_accept(who: str) -> None:
    early = appraise(verified(Forge(starts={who: AT + 1})), Policy(allow_expired_collateral=True))
    with pytest.raises(NotYetValid):
        early.require()


@pytest.mark.parametrize("part", ["tcb_info", "qe_identity"])
def test_the_older_part_of_the_collateral_counts(part: str) -> None:
    old = verified(Forge(**{part: {"tcbEvaluationDataNumber": 16}}))
    assert [check.name for check in appraise(old, STRICT).failed] == ["POLICY.TCB_EVALUATION"]


def test_two_statuses_and_an_advisory() -> None:
    forge = Forge(tcb_info=BAD_LEVEL, qe_identity={"tcbLevels": [part(1, "UpToDate", "SA-1")]})
    policy = Policy(("UpToDate", "ConfigurationNeeded"), accepted_advisories=("SA-1", "SA-2"))
    assert appraise(verified(forge), policy).accepted


# Files

TOML = """
tcb_statuses = ["UpToDate", "OutOfDate"]
measurements = ["1111111111111111111111111111111111111111111111111111111111111111"]
product_id = 7
held_data = "68656c64"
"""


def test_policies_from_files() -> None:
    policy = Policy.parse(TOML.encode())
    assert policy == Policy(
        ("UpToDate", "OutOfDate"), measurements=(b"\x11" * 32,), product_id=7, held_data=b"held"
    )
    assert appraise(verified(), policy).accepted
    assert Policy.parse(b' {"allow_debug": true}') == Policy(allow_debug=True)
    assert Policy.parse(b"") == Policy()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "neither JSON nor TOML"),
        (b"[1, 2]", "neither JSON nor TOML"),
        (b"\xff", "neither JSON nor TOML"),
        (b"{" * 100_000, "neither JSON nor TOML"),
        (b'{"allow_debug": false, "allow_debug": true}', "there twice"),
        (b"minimum = 1", "no policy field named 'minimum'; there are: tcb_statuses"),
        (b'tcb_statuses = ["Good"]', "no TCB status named 'Good'"),
        (b'tcb_statuses = "UpToDate"', "tcb_statuses is a tuple"),
        (b'measurements = ["x"]', "non-hexadecimal"),
        (b"measurements = [1]", "must be str|argument"),
        (b"product_id = true", "product_id takes int"),
        (b'allow_debug = "no"', "allow_debug takes bool"),
        (b"minimum_version = 1.5", "minimum_version takes int"),
        (b'report_data = "' + b"00" * 65 + b'"', "64 bytes"),
    ],
)
def test_what_is_no_policy(data: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Policy.parse(data)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*vars(Policy())]), PLAIN, max_size=3))
def test_any_values_are_a_policy_or_a_typed_error(values: dict[str, Any]) -> None:
    import json

    try:
        policy = Policy.parse(json.dumps(values).encode())
    except UsageError:
        return
    assert appraise(verified_once, policy).checks


verified_once = verified()
