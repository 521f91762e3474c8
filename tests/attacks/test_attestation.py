"""Convincing a user of something false: each scenario, and each check that she has to make."""

from __future__ import annotations

import pytest

from tee_sim import Platform
from tee_sim.abi.quote import Quote, unwrap
from tee_sim.attacks.attestation import ON_VBS, SCENARIOS, play
from tee_sim.attacks.site import BEFORE, NOW, SECRET, Site, twin
from tee_sim.attest.certificates import public_bytes
from tee_sim.attester import evidence_of
from tee_sim.checks import PATCH_LEVEL
from tee_sim.errors import UsageError

STOPPED = [name for name, scenario in SCENARIOS.items() if scenario.omits]


def site(name: str, tee: str = "sgx-tme") -> Site:
    return twin(tee, SCENARIOS[name].patch_level, frozenset())


@pytest.mark.parametrize("tee", ["sgx-mee", "sgx-tme"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_careless_user_loses_her_secret(name: str, tee: str) -> None:
    outcome = play(name, site(name, tee), SCENARIOS[name].omits)
    assert outcome.verdict == "succeeds"
    if name == "replayed evidence":
        assert "gone" in outcome.detail
    else:
        assert outcome.leaked == SECRET


@pytest.mark.parametrize("name", STOPPED)
def test_a_careful_user_refuses_and_names_the_check(name: str) -> None:
    outcome = play(name, site(name))
    assert (outcome.verdict, outcome.leaked) == ("blocked", b"")
    assert outcome.check in SCENARIOS[name].omits


@pytest.mark.parametrize("name", STOPPED)
def test_what_fails_is_what_the_careless_user_forgets_and_nothing_else(name: str) -> None:
    scenario, here = SCENARIOS[name], site(name)
    brought = scenario.collateral(here) if scenario.collateral else None
    user = getattr(here, scenario.user)((), brought, scenario.at)
    offer = scenario.move(here, user.challenge())
    result = user.judge(offer.evidence, offer.channel)
    assert {check.name for check in result.failed} == scenario.omits
    assert all(check.passed is not None for check in result.checks)


@pytest.mark.parametrize("name", ON_VBS)
def test_on_vbs_the_same_checks_decide(name: str) -> None:
    here, omits = site(name, "vbs"), SCENARIOS[name].omits
    user = here.user()
    offer = SCENARIOS[name].move(here, user.challenge())
    result = user.judge(offer.evidence, offer.channel)
    assert {check.name for check in result.failed} == omits
    outcome = play(name, here, omits)
    assert outcome.verdict == "succeeds"
    assert outcome.leaked == (b"" if name == "replayed evidence" else SECRET)
    assert play(name, here).check in omits


def test_on_vbs_a_changed_machine_and_swapped_claims_are_refused() -> None:
    weak = Platform("vbs").tee.checks[0].name
    here, good = (twin("vbs", PATCH_LEVEL, frozenset(w)) for w in ((weak,), ()))
    assert not here.user().judge(evidence_of(here.enclave, bytes(32))).accepted
    user = good.user()
    evidence = evidence_of(good.enclave, user.challenge())
    assert user.judge(evidence).accepted
    swapped = SCENARIOS["swapped key"].move(good, user.challenge())
    assert "REPORT.DATA" in {check.name for check in user.judge(swapped.evidence).failed}
    with pytest.raises(UsageError, match="on vbs"):
        play("stolen key", good)


@pytest.mark.parametrize(
    ("name", "check"),
    [(name, check) for name in STOPPED for check in sorted(SCENARIOS[name].omits)],
)
def test_each_forgotten_check_would_have_been_enough(name: str, check: str) -> None:
    outcome = play(name, site(name), SCENARIOS[name].omits - {check})
    assert (outcome.verdict, outcome.check) == ("blocked", check)


@pytest.mark.parametrize("level", [0, PATCH_LEVEL])
def test_nothing_is_refused_to_the_honest_enclave(level: int) -> None:
    here = twin("sgx-tme", level, frozenset())
    user = here.user(at=NOW if level else BEFORE)
    evidence = evidence_of(here.enclave, user.challenge())
    message = user.release(evidence, SECRET, channel=evidence[-64:])
    assert here.enclave.receive(message, len(message))


def test_the_key_leaks_as_sold_and_not_from_a_patched_processor() -> None:
    old, new = (twin("sgx-mee", level, frozenset()) for level in (0, PATCH_LEVEL))
    key = old.stolen_key()
    assert key is not None
    quote = Quote.parse(unwrap(evidence_of(old.enclave, b""))[0])
    assert public_bytes(key.public_key()) == quote.attestation_key
    assert new.stolen_key() is None
    assert play("stolen key", new).check == "BUFFERS.CLEARED"


@pytest.mark.parametrize("check", ["ENCLAVE.TLB_FLUSH", "MEASURE.EEXTEND", "EREPORT.TARGET"])
def test_no_other_check_of_the_platform_plays_a_part(check: str) -> None:
    for name in ("relayed evidence", "wrong signer"):
        outcome = play(name, twin("sgx-mee", PATCH_LEVEL, frozenset({check})))
        assert outcome.check in SCENARIOS[name].omits


def test_only_what_is_on_the_die_leaks() -> None:
    here = Site("sgx-mee", patch_level=0)
    here.host.adversary.wbinvd()
    assert here.stolen_key() is None
    sgx = here.host.adversary.sgx
    assert sgx is not None
    assert sgx.sample(here.host.host.frames.take(), 32) == bytes(32)  # ordinary memory


def test_an_own_program_has_to_say_the_same_things() -> None:
    here = site("wrong signer")
    body = Quote.parse(here.own_quote(b"claims")).body
    genuine = Quote.parse(unwrap(evidence_of(here.enclave, b""))[0]).body
    for field in ("isvprodid", "isvsvn"):
        assert getattr(body, field) == getattr(genuine, field)
    assert getattr(body, "mrsigner") != getattr(genuine, "mrsigner")  # noqa: B009  # two types


def test_an_unknown_scenario_and_a_platform_without_quotes_are_refused() -> None:
    with pytest.raises(UsageError, match="no scenario named 'bribery'"):
        play("bribery", site("debug enclave"))
    with pytest.raises(UsageError, match="has no SGX"):
        Site("none")


def test_a_platform_attacked_twice_gives_the_same_outcomes() -> None:
    from tee_sim.attacks import ATTACKS

    attack = ATTACKS["relayed_evidence"]
    host = Platform("sgx-tme")
    assert attack.run(host) == attack.run(host)
