"""What the Verifier checks: real evidence, and for each rule evidence that breaks it alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from attest.forge import (
    AT,
    ENCLAVE,
    MRSIGNER,
    TD,
    Forge,
    identity,
    key,
    level,
    part,
    sign,
    td15,
)
from attest.oracle import SOURCES, Source, forged, load
from attest.quotes import SimulatedQuote, simulated_quotes
from tee_sim.abi.quote import Quote
from tee_sim.abi.sgx import AttributeFlags, Attributes
from tee_sim.attest.collateral import Collateral, signed_part
from tee_sim.attest.results import AttestationResult
from tee_sim.attest.rules import RULES, rule_of
from tee_sim.attest.tcb import converge, parse_qe_identity, parse_tcb_info
from tee_sim.attest.verifier import verify_quote
from tee_sim.errors import AttestationError, LayoutError, NotChecked, TeeSimError, UsageError
from vectors import vector, vector_names

# Real hardware


@pytest.mark.parametrize(
    ("name", "status", "advisories"),
    [
        (
            "real SGX",
            "ConfigurationAndSWHardeningNeeded",
            ("INTEL-SA-00289", "INTEL-SA-00615"),
        ),
        ("real TDX", "UpToDate", ()),
    ],
)
def test_real_evidence_verifies_under_intels_root(
    name: str, status: str, advisories: tuple[str, ...]
) -> None:
    result = judge(load(name))
    assert (result.require().status, result.advisories) == (status, advisories)


@pytest.mark.parametrize("case", simulated_quotes(), ids=lambda case: case.name)
def test_simulated_evidence_verifies_under_its_own_root_only(case: SimulatedQuote) -> None:
    result = verify_quote(case.quote, case.collateral, root=case.root_der, at=case.at)
    assert (result.require().status, list(result.advisories)) == (case.status, case.advisories)
    refused = verify_quote(case.quote, case.collateral, at=case.at)
    assert tuple(check.name for check in refused.failed) == ROOTS


def test_claims_of_real_sgx() -> None:
    claims = judge(load("real SGX")).claims
    assert claims["report_data"] == claims["sgx_report_data"] == b"Hello, world!".ljust(64, b"\0")
    assert claims["unique_id"].hex().startswith("33d8736db756ed49")
    assert (claims["attributes"], claims["product_id"], claims["sgx_pce_svn"]) == (2, 0, 13)
    assert (claims["fmspc"].hex(), claims["sgx_type"]) == ("00a067110000", "Standard")
    assert claims["validity_until"] == 1752919278  # QE identity's nextUpdate


def test_claims_of_real_tdx() -> None:
    claims = judge(load("real TDX")).claims
    assert claims["unique_id"] == claims["tdx_mrtd"]
    assert claims["tdx_tee_tcb_svn"][:3] == bytes([6, 1, 3])
    assert claims["tdx_td_attributes_septve_disable"]
    assert (claims["sgx_type"], claims["smt_enabled"]) == ("Scalable", True)
    assert "signer_id" not in claims


def test_a_second_too_late_is_expired() -> None:
    case = load("real TDX")
    result = judge(case._replace(at=case.at + 2))
    assert [check.name for check in result.failed] == ["CRLS.CURRENT"]


ROOTS = ("PCK.ROOT", "TCB_INFO.ROOT", "QE_IDENTITY.ROOT")


@pytest.mark.parametrize("name", SOURCES)
def test_roots_never_mix(name: str) -> None:
    case = load(name)
    other = load("forged SGX").root if case.root is None else None
    result = judge(case._replace(root=other))
    assert tuple(check.name for check in result.failed) == ROOTS
    with pytest.raises(TeeSimError, match="ROOT"):
        result.require()


WELL_FORMED = {
    "qe_identity_ok.json",
    "qve_identity_ok.json",
    "qe_identity_with_advisoryids.json",
    "tcbInfo.json",
    "tcbInfoAdvisoryIds.json",
    "tcbInfo_with_pceid.json",
}


@pytest.mark.parametrize(
    ("folder", "part", "parse"),
    [
        ("tcb_info", "tcbInfo", parse_tcb_info),
        ("qe_identity", "enclaveIdentity", parse_qe_identity),
    ],
)
def test_malformed_collateral_of_open_enclave(
    folder: str, part: str, parse: Callable[[str], object]
) -> None:
    for name in vector_names(f"dcap/negative/{folder}"):
        answer = vector(f"dcap/negative/{folder}/{name}").decode()
        if name in WELL_FORMED:
            parse(signed_part(answer, part)[0])
            continue
        with pytest.raises(LayoutError, match=": "):
            parse(signed_part(answer, part)[0])


# Each rule, broken alone


def judge(case: Source) -> AttestationResult:
    return verify_quote(case.quote, case.collateral, root=case.root, at=case.at)


def with_collateral(**changes: Any) -> Source:
    case = forged(Forge())
    return case._replace(collateral=replace(case.collateral, **changes))


def with_quote(**changes: Any) -> Source:
    """A quote with fields changed after it was signed."""
    case = forged(Forge())
    quote = Quote(**vars(Quote.parse(case.quote)) | changes)
    return case._replace(quote=quote.pack())


def flipped(data: bytes, at: int = -1) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def other(**keys: int) -> Forge:
    """Somebody else's keys, with the same names."""
    return Forge(keys={name: key(number + 50) for name, number in keys.items()})


def mixed(forge: Forge, *fields: str) -> Source:
    """Collateral of which some fields come from another Intel."""
    theirs = forge.collateral()
    return with_collateral(**{name: getattr(theirs, name) for name in fields})


ORIGINAL = forged(Forge())
COLLATERAL, QUOTE = ORIGINAL.collateral, Quote.parse(ORIGINAL.quote)
RESERVED = bytes([1])
PCK_DEBUG = Attributes(flags=AttributeFlags(init=True, provisionkey=True, debug=True), xfrm=3)
NO_MODULE = {"tdxModuleIdentities": [identity("TDX_02", part(5, "UpToDate"))]}
OTHER_SIGNER = {
    "tdxModuleIdentities": [identity("TDX_01", part(5, "UpToDate"), mrsigner="11" * 48)]
}
LOW = {"tcbLevels": [level((4, *(3,) * 15), 11, "UpToDate")]}
PEM = Forge().chain("pck", "ca", "root")

BROKEN: dict[str, Callable[[], Source]] = {
    "QUOTE.HEADER": lambda: forged(Forge(header={"qe_vendor_id": bytes(16)})),
    "QUOTE.FORMAT": lambda: with_quote(
        raw_body=QUOTE.raw_body[:24] + RESERVED + QUOTE.raw_body[25:]
    ),
    "PCK.CERTIFICATES": lambda: with_quote(certification_data=b"none"),
    "PCK.CHAIN": lambda: forged(Forge(not_ca={"ca"})),
    "PCK.ROOT": lambda: forged(Forge())._replace(root=Forge(ends={"root": AT}).root),
    "ROOT_CRL.FORMAT": lambda: with_collateral(root_ca_crl=b"none"),
    "ROOT_CRL.SIGNATURE": lambda: mixed(other(root=1), "root_ca_crl"),
    "PCK_CRL.FORMAT": lambda: with_collateral(pck_crl=b"junk"),
    "PCK_CRL.SIGNATURE": lambda: mixed(other(ca=1), "pck_crl"),
    "PCK.CA_NOT_REVOKED": lambda: forged(Forge(revoked={"ca"})),
    "PCK.NOT_REVOKED": lambda: forged(Forge(revoked={"pck"})),
    "TCB_INFO.FORMAT": lambda: forged(Forge(tcb_info={"tcbType": 1})),
    "TCB_INFO.CERTIFICATES": lambda: with_collateral(tcb_info_issuer_chain="junk"),
    "TCB_INFO.CHAIN": lambda: with_collateral(
        tcb_info_issuer_chain=Forge().chain("ca", "root"),
        tcb_info_signature=forged_by("ca", COLLATERAL.tcb_info),
    ),
    "TCB_INFO.ROOT": lambda: with_collateral(
        tcb_info_issuer_chain=Forge().chain("signing") + Forge(ends={"root": AT}).chain("root")
    ),
    "TCB_INFO.SIGNER_NOT_REVOKED": lambda: forged(Forge(revoked={"signing"})),
    "TCB_INFO.SIGNATURE": lambda: with_collateral(tcb_info=COLLATERAL.tcb_info.replace("17", "18")),
    "QE_IDENTITY.FORMAT": lambda: forged(Forge(qe_identity={"version": 1})),
    "QE_IDENTITY.CERTIFICATES": lambda: with_collateral(qe_identity_issuer_chain="\udc80"),
    "QE_IDENTITY.CHAIN": lambda: with_collateral(
        qe_identity_issuer_chain=Forge().chain("ca", "root"),
        qe_identity_signature=forged_by("ca", COLLATERAL.qe_identity),
    ),
    "QE_IDENTITY.ROOT": lambda: with_collateral(
        qe_identity_issuer_chain=Forge().chain("signing") + Forge(ends={"root": AT}).chain("root")
    ),
    "QE_IDENTITY.SIGNER_NOT_REVOKED": lambda: forged(Forge(revoked={"signing"})),
    "QE_IDENTITY.SIGNATURE": lambda: with_collateral(
        qe_identity_signature=flipped(COLLATERAL.qe_identity_signature)
    ),
    "CERTIFICATES.CURRENT": lambda: forged(Forge(ends={"pck": AT - 1})),
    "CRLS.CURRENT": lambda: forged(Forge(ends={"root crl": AT - 1})),
    "TCB_INFO.CURRENT": lambda: forged(Forge(tcb_info={"nextUpdate": "2024-02-29T00:00:00Z"})),
    "QE_IDENTITY.CURRENT": lambda: forged(Forge(qe_identity={"issueDate": "2030-01-01T00:00:00Z"})),
    "PCK.FORMAT": lambda: forged(Forge(extension={"raw": b"\x30\0"})),
    "TCB_INFO.TEE": lambda: tdx_info_for_sgx(),
    "TCB_INFO.FMSPC": lambda: forged(Forge(tcb_info={"fmspc": "00906ED50001"})),
    "TCB_INFO.PCEID": lambda: forged(Forge(extension={"pceid": b"\0\1"})),
    "TDX_MODULE.IDENTITY": lambda: forged(Forge(TD, 4, tcb_info=NO_MODULE)),
    "TDX_MODULE.MRSIGNERSEAM": lambda: forged(Forge(TD, 4, tcb_info=OTHER_SIGNER)),
    "TDX_MODULE.SEAMATTRIBUTES": lambda: forged(
        Forge(TD.with_(seamattributes=RESERVED + bytes(7)), 4)
    ),
    "QE_REPORT.SIGNATURE": lambda: with_quote(
        qe_report_signature=flipped(QUOTE.qe_report_signature)
    ),
    "QE_REPORT.FORMAT": lambda: with_quote(
        qe_report=QUOTE.qe_report[:24] + RESERVED + QUOTE.qe_report[25:]
    ),
    "QE_REPORT.KEY_BINDING": lambda: with_quote(qe_auth_data=b"other"),
    "QE_IDENTITY.ID": lambda: forged(Forge(qe_identity={"id": "QVE"})),
    "QE_IDENTITY.MISCSELECT": lambda: forged(Forge(qe_identity={"miscselect": "01000000"})),
    "QE_IDENTITY.ATTRIBUTES": lambda: forged(Forge(qe={"attributes": PCK_DEBUG})),
    "QE_IDENTITY.MRSIGNER": lambda: forged(Forge(qe={"mrsigner": MRSIGNER[::-1]})),
    "QE_IDENTITY.ISVPRODID": lambda: forged(Forge(qe={"isvprodid": 3})),
    "QE_IDENTITY.LEVEL": lambda: forged(Forge(qe={"isvsvn": 7})),
    "QUOTE.SIGNATURE": lambda: with_quote(raw_body=flipped(QUOTE.raw_body)),
    "TCB.LEVEL": lambda: forged(Forge(tcb_info=LOW)),
    "TCB.NOT_REVOKED": lambda: forged(Forge(qe_identity={"tcbLevels": [part(1, "Revoked")]})),
}

ALSO: dict[str, set[str]] = {
    "QUOTE.FORMAT": {"QUOTE.SIGNATURE"},
    "TCB_INFO.SIGNER_NOT_REVOKED": {"QE_IDENTITY.SIGNER_NOT_REVOKED"},
    "QE_IDENTITY.SIGNER_NOT_REVOKED": {"TCB_INFO.SIGNER_NOT_REVOKED"},
    "PCK.ROOT": {"TCB_INFO.ROOT", "QE_IDENTITY.ROOT"},
    "QE_REPORT.FORMAT": {"QE_REPORT.SIGNATURE"},
    "TDX_MODULE.IDENTITY": {"TCB.LEVEL"},
}
"""What cannot be broken alone, and what fails with it."""


def forged_by(name: str, text: str) -> bytes:
    return sign(Forge().keys[name], text.encode())


def tdx_info_for_sgx() -> Source:
    return mixed(Forge(TD), "tcb_info", "tcb_info_signature")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_refused_by_its_check_alone(name: str) -> None:
    result = judge(BROKEN[name]())
    assert {check.name for check in result.failed} == {name} | ALSO.get(name, set())
    error, why = rule_of(name)
    check = next(check for check in result.failed if check.name == name)
    assert check.expected != check.found
    assert check.why == why
    with pytest.raises(error, match=name):
        check.require()
    with pytest.raises(type(first_error(result))):
        result.require()


def first_error(result: AttestationResult) -> AttestationError:
    try:
        result.failed[0].require()
    except AttestationError as error:
        return error
    raise AssertionError


def test_every_rule_has_evidence_that_breaks_it() -> None:
    checks = {check.name for check in judge(forged(Forge(TD, 4))).checks}
    assert checks == set(BROKEN)
    used = {name if name in RULES else name.partition(".")[2] for name in BROKEN}
    others = {name for name in RULES if name.startswith(("POLICY.", "EVIDENCE."))}
    assert used | others == set(RULES)


def test_what_cannot_be_checked_is_listed_and_no_acceptance() -> None:
    result = judge(with_collateral(tcb_info="{"))
    outcomes = {check.name: check.outcome for check in result.checks}
    assert outcomes["TCB_INFO.FORMAT"] == outcomes["TCB_INFO.SIGNATURE"] == "failed"
    for name in ("TCB_INFO.CURRENT", "TCB_INFO.FMSPC", "TCB.LEVEL", "TCB.NOT_REVOKED"):
        assert outcomes[name] == "not checked"
    assert outcomes["QUOTE.SIGNATURE"] == outcomes["QE_IDENTITY.LEVEL"] == "passed"
    assert (result.status, result.accepted) == ("", False)
    with pytest.raises(NotChecked):
        next(check for check in result.checks if check.passed is None).require()


def test_without_collateral_nothing_fails_and_nothing_is_accepted() -> None:
    nothing = {f.name: b"" if f.type == "bytes" else "" for f in fields(Collateral)}
    result = judge(with_collateral(**nothing))
    assert (result.accepted, result.failed) == (False, ())
    passed = {check.name for check in result.checks if check.passed}
    chain = {"QE_REPORT.SIGNATURE", "QE_REPORT.KEY_BINDING", "QUOTE.SIGNATURE", "PCK.ROOT"}
    assert chain < passed
    assert not any(name.startswith(("TCB", "QE_IDENTITY", "PCK.NOT")) for name in passed)
    with pytest.raises(NotChecked):
        result.require()


@pytest.mark.parametrize(
    "forge",
    [
        *(Forge(version=version) for version in (3, 4, 5)),
        *(Forge(TD, version) for version in (4, 5)),
        Forge(td15(), 5),
    ],
    ids=lambda forge: f"{type(forge.body).__name__} in version {forge.version}",
)
def test_all_versions_and_bodies(forge: Forge) -> None:
    result = judge(forged(forge)).require()
    assert result.status == "UpToDate"
    assert result.claims["report_data"] == ENCLAVE.reportdata


def test_a_chain_beside_the_quote_is_used_if_there_is_none_in_it() -> None:
    case = with_quote(certification_type=1, certification_data=b"an encrypted PPID")
    first = next(check for check in judge(case).checks if not check.passed)
    assert (first.name, first.outcome) == ("PCK.CERTIFICATES", "not checked")
    beside = replace(case.collateral, pck_certificate_chain=PEM)
    assert judge(case._replace(collateral=beside)).accepted


# TCB levels


@pytest.mark.parametrize(
    ("platform", "part", "whole"),
    [
        ("UpToDate", "OutOfDate", "OutOfDate"),
        ("SWHardeningNeeded", "OutOfDate", "OutOfDate"),
        ("ConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("OutOfDate", "OutOfDate", "OutOfDate"),
        ("TDRelaunchAdvised", "OutOfDate", "TDRelaunchAdvised"),
        ("UpToDate", "Revoked", "Revoked"),
        ("Revoked", "UpToDate", "Revoked"),
        ("SWHardeningNeeded", "UpToDate", "SWHardeningNeeded"),
    ],
)
def test_convergence(platform: str, part: str, whole: str) -> None:
    assert converge(platform, part) == whole


@pytest.mark.parametrize(
    ("now", "platform", "status"),
    [
        ((6, 1, 3), "UpToDate", "TDRelaunchAdvised"),
        ((6, 1, 3), "SWHardeningNeeded", "TDRelaunchAdvised"),
        ((6, 1, 3), "ConfigurationNeeded", "TDRelaunchAdvisedConfigurationNeeded"),
        ((6, 1, 3), "OutOfDate", "OutOfDate"),
        ((5, 1, 3), "UpToDate", "OutOfDate"),
        ((6, 1, 2), "UpToDate", "OutOfDate"),
        ((9, 0, 3), "UpToDate", "TDRelaunchAdvised"),
        ((8, 0, 3), "UpToDate", "OutOfDate"),
        ((6, 2, 3), "UpToDate", ""),
    ],
)
def test_relaunch(now: tuple[int, ...], platform: str, status: str) -> None:
    modules = [identity("TDX_01", part(6, "UpToDate"), part(5, "OutOfDate"))]
    levels = [level((3,) * 16, 11, platform, tdx=(9, 1, 3, *(0,) * 13))]
    forge = Forge(
        td15(bytes(now) + bytes(13)),
        5,
        tcb_info={"tdxModuleIdentities": modules, "tcbLevels": levels},
    )
    assert judge(forged(forge)).status == status


def test_an_outdated_quoting_enclave_is_not_relaunched_away() -> None:
    modules = [identity("TDX_01", part(6, "UpToDate"), part(5, "OutOfDate"))]
    forge = Forge(
        td15(bytes([6, 1, 3]) + bytes(13)),
        5,
        tcb_info={"tdxModuleIdentities": modules},
        qe_identity={"tcbLevels": [part(9, "UpToDate"), part(8, "OutOfDate", "INTEL-SA-00001")]},
    )
    result = judge(forged(forge))
    assert (result.status, result.advisories) == ("OutOfDate", ("INTEL-SA-00001",))


def test_modules_of_before_identities_are_compared_by_level() -> None:
    td = TD.with_(tee_tcb_svn=bytes([5, 0, 3]) + bytes(13))
    levels = [
        level((3,) * 16, 11, "UpToDate", tdx=(6, *(0,) * 15)),
        level((3,) * 16, 11, "OutOfDate", tdx=(5, *(0,) * 15)),
    ]
    assert judge(forged(Forge(td, 4, tcb_info={"tcbLevels": levels}))).status == "OutOfDate"


# What is no evidence at all


@pytest.mark.parametrize("at", [1.5, "now", None])
def test_a_time_is_an_integer(at: Any) -> None:
    with pytest.raises(UsageError, match="Unix seconds"):
        verify_quote(ORIGINAL.quote, COLLATERAL, root=ORIGINAL.root, at=at)


@pytest.mark.parametrize("at", [0, -1, 2**80, -(2**80)])
def test_no_time_is_too_strange(at: int) -> None:
    assert not judge(ORIGINAL._replace(at=at)).accepted


@pytest.mark.parametrize("field", ["tcb_info", "qe_identity"])
def test_half_a_character_is_not_what_was_signed(field: str) -> None:
    forge = Forge(**{field: {"remark": "?"}})
    case = forged(forge)
    text = getattr(case.collateral, field).replace("?", "\ud800")
    result = judge(case._replace(collateral=replace(case.collateral, **{field: text})))
    assert [check.name for check in result.failed] == [f"{field.upper()}.SIGNATURE"]


def test_a_chain_may_be_short_only() -> None:
    long = PEM.encode() + b"\n" * (1 << 16)
    assert judge(with_quote(certification_data=long)).failed[0].name == "PCK.CERTIFICATES"


def test_an_empty_root_trusts_nobody() -> None:
    assert not judge(load("real SGX")._replace(root=b"")).accepted
