"""Results as objects, as JSON and as HTML; and collateral in its JSON form."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import dcap_qvl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest.forge import AT, Forge, td15
from attest.oracle import forged, load
from tee_sim.attest.chains import load_chain, load_crl, load_root
from tee_sim.attest.collateral import Collateral, signed_part
from tee_sim.attest.pck import PCK
from tee_sim.attest.results import AppraisalCheck, AttestationResult
from tee_sim.attest.tcb import parse_qe_identity, parse_tcb_info
from tee_sim.attest.verifier import verify_evidence, verify_quote
from tee_sim.errors import AttestationError, BadSignature, LayoutError, NotChecked

PASSED = AppraisalCheck("A.B", True, "this", "this", "why")
FAILED = AppraisalCheck("A.C", False, "<b>", "that", "why", BadSignature)
UNKNOWN = AppraisalCheck("A.D", None, "this", "unknown", "why")


@pytest.mark.parametrize(
    ("checks", "error", "name"),
    [
        ((PASSED, FAILED), BadSignature, "A.C"),
        ((UNKNOWN, FAILED), BadSignature, "A.C"),
        ((PASSED, UNKNOWN), NotChecked, "A.D"),
    ],
)
def test_require_raises_the_first_failure(
    checks: tuple[AppraisalCheck, ...], error: type[AttestationError], name: str
) -> None:
    result = AttestationResult("UpToDate", (), checks, {})
    assert not result.accepted
    with pytest.raises(error, match=name) as caught:
        result.require()
    assert caught.value.check == name


def test_a_result_without_checks_is_no_acceptance() -> None:
    result = AttestationResult("UpToDate", (), (), {})
    assert not result.accepted
    with pytest.raises(NotChecked, match="no check"):
        result.require()


def test_json_and_html() -> None:
    result = AttestationResult("UpToDate", ("SA-1",), (PASSED, FAILED, UNKNOWN), {"a": b"\1"})
    plain = json.loads(json.dumps(result.to_json()))
    assert (plain["status"], plain["advisories"], plain["accepted"]) == (
        "UpToDate",
        ["SA-1"],
        False,
    )
    assert [check["outcome"] for check in plain["checks"]] == ["passed", "failed", "not checked"]
    assert plain["claims"] == {"a": "01"}
    html = result._repr_html_()
    assert "REFUSED, UpToDate, SA-1" in html
    assert repr(result) == "AttestationResult(REFUSED, UpToDate, SA-1; failed: A.C)"
    assert html.count("<tr>") == 4
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


def test_a_verified_quote_is_plain_json() -> None:
    case = load("forged TDX 1.5")
    result = verify_quote(case.quote, case.collateral, root=case.root, at=case.at)
    assert json.loads(json.dumps(result.to_json()))["claims"]["tdx_mrtd"] == "33" * 48


# Collateral


@pytest.mark.parametrize("name", ["real SGX", "forged SGX"])
def test_collateral_round_trip_also_through_dcap_qvl(name: str) -> None:
    collateral = load(name).collateral
    text = collateral.to_json()
    assert Collateral.from_json(text) == collateral
    assert Collateral.from_json(dcap_qvl.QuoteCollateralV3.from_json(text).to_json()) == collateral


def without(name: str, value: Any = None) -> str:
    data = json.loads(forged(Forge()).collateral.to_json())
    return json.dumps({k: v for k, v in {**data, name: value}.items() if v is not None})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON"),
        ("[]", "not an object"),
        (b"\xff", "no JSON"),
        ("[" * 100_000, "no JSON"),
        (" " * (5 << 20), "more than"),
        ('{"a": {"b": 1, "b": 1}}', "twice"),
        (without("pck_crl"), "'pck_crl' is missing"),
        (without("pck_crl", 1), "'pck_crl' is no str"),
        (without("pck_crl", "0g"), "hexadecimal"),
        (without("pck_crl", "000"), "hexadecimal"),
        (without("tcb_info", {}), "'tcb_info' is no str"),
        (without("pck_certificate_chain", 1), "'pck_certificate_chain' is no str"),
    ],
)
def test_what_is_no_collateral(text: Any, message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        Collateral.from_json(text)


def test_collateral_takes_its_types_only() -> None:
    values = vars(forged(Forge()).collateral)
    with pytest.raises(LayoutError, match="pck_crl is str"):
        Collateral(**values | {"pck_crl": "00"})


@pytest.mark.parametrize(
    "answer",
    [
        '{"tcbInfo": {"a": {}}, "signature": "' + "00" * 64 + '"}',
        '{"signature": "' + "00" * 64 + '", "tcbInfo" : {"a": {}} }',
    ],
)
def test_the_signed_text_is_cut_out_exactly(answer: str) -> None:
    assert signed_part(answer, "tcbInfo") == ('{"a": {}}', bytes(64))


def test_nothing_checked_is_no_acceptance() -> None:
    assert not AttestationResult("UpToDate", (), (), {}).accepted


# Open Enclave's custom claims


def test_custom_claims_are_bound_by_the_report_data() -> None:
    case = forged(Forge())

    def evidence(claims: bytes) -> bytes:
        data = case.quote + claims
        return b"\3\0\0\0" + bytes(20) + len(data).to_bytes(8, "little") + data

    def judge(claims: bytes) -> AttestationResult:
        return verify_evidence(evidence(claims), case.collateral, root=case.root, at=AT)

    assert judge(b"held").require().claims["custom_claims_buffer"] == b"held"
    assert [check.name for check in judge(b"hold").failed] == ["EVIDENCE.CUSTOM_CLAIMS"]
    assert judge(b"").accepted


# Fuzz: every parser, any input

VALUES = (None, True, -1, 256, 65536, 2**64, 1.5, "", "x", "00", "UpToDate", [], [{}], {}, {"a": 1})


@st.composite
def damaged(draw: st.DrawFn, whole: dict[str, Any]) -> str:
    """JSON in which one value, at any depth, is another or missing."""
    data = json.loads(json.dumps(whole))
    place: Any = data
    while True:
        names = list(place) if isinstance(place, dict) else range(len(place))
        name = draw(st.sampled_from(names))
        inner = place[name]
        if not isinstance(inner, dict | list) or not inner or draw(st.booleans()):
            break
        place = inner
    if draw(st.booleans()):
        del place[name]
    else:
        place[name] = draw(st.sampled_from(VALUES))
    return json.dumps(data)


@given(damaged(Forge(td15()).tcb_info) | st.sampled_from(VALUES).map(json.dumps))
def test_any_json_is_tcb_info_or_a_typed_error(text: str) -> None:
    typed_error_or_not(parse_tcb_info, text)


@given(damaged(Forge().qe_identity) | st.text(max_size=99))
def test_any_text_is_qe_identity_or_a_typed_error(text: str) -> None:
    typed_error_or_not(parse_qe_identity, text)


EXTENSION = load_chain(Forge().chain("pck", "ca", "root"), 3)[0].sgx_extension or b""
PEM, CRL = Forge().chain("pck", "root").encode(), Forge(revoked={"ca"}).crl("root", "ca")


@st.composite
def changed(draw: st.DrawFn, data: bytes) -> bytes:
    at = draw(st.integers(0, len(data)))
    new = draw(st.binary(max_size=3))
    return data[:at] + new + data[at + draw(st.integers(0, 3)) :]


@given(changed(EXTENSION) | st.binary(max_size=99))
def test_any_extension_is_a_platform_or_a_typed_error(data: bytes) -> None:
    typed_error_or_not(PCK.parse, data)


@given(changed(PEM) | st.binary(max_size=99))
def test_any_text_is_a_chain_or_a_typed_error(data: bytes) -> None:
    typed_error_or_not(lambda text: load_chain(text, 2), data)
    typed_error_or_not(load_root, data)


@given(changed(CRL) | st.binary(max_size=99))
def test_any_bytes_are_a_list_or_a_typed_error(data: bytes) -> None:
    typed_error_or_not(load_crl, data)


def typed_error_or_not(parse: Any, data: Any) -> None:
    with suppress(LayoutError):
        parse(data)
