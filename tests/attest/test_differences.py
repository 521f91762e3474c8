"""Where `dcap-qvl` 0.7.0 differs from Intel's verification library, we follow Intel's.

Each row is properly signed evidence that the two judge differently, with what each says. A row that
fails after an update of `dcap-qvl` may simply be no difference any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import pytest

from attest.forge import (
    AT,
    DAY,
    ENCLAVE,
    TD,
    Forge,
    identity,
    level,
    part,
    td15,
)
from attest.oracle import Source, forged, load, ours, theirs, verdict
from tee_sim.abi.quote import Quote
from tee_sim.abi.sgx import AttributeFlags, Attributes
from tee_sim.abi.tdx import TDAttributes, TDReport15
from tee_sim.attest.results import AttestationResult
from tee_sim.errors import LayoutError

T = (3,) * 16
DEBUG = Attributes(flags=AttributeFlags(init=True, debug=True, mode64bit=True), xfrm=3)


class Difference(NamedTuple):
    make: Callable[[], Forge]
    ours: str  # the status, or the check that refuses
    theirs: str  # the status, or part of the message


def qe_on(status: str) -> dict[str, object]:
    return {"tcbLevels": [part(9, "UpToDate"), part(8, status)]}


def relaunched(now: bytes, newest: str = "UpToDate") -> Forge:
    levels = [part(6, newest), part(5, "OutOfDate")]
    body = td15(now + bytes(13))
    return Forge(body, 5, tcb_info={"tdxModuleIdentities": [identity("TDX_01", *levels)]})


DIFFERENCES = {
    "SGX in quotes of version 4": Difference(
        lambda: Forge(version=4), "UpToDate", "SGX TEE quote must have version 3"
    ),
    "SGX in quotes of version 5": Difference(
        lambda: Forge(version=5), "UpToDate", "SGX TEE quote must have version 3"
    ),
    "QE authentication data of another size": Difference(
        lambda: Forge(auth_data=b"20 bytes, as Azure's"), "UpToDate", "Invalid QE auth data length"
    ),
    "no QE authentication data": Difference(
        lambda: Forge(auth_data=b""), "UpToDate", "Invalid QE auth data length"
    ),
    "PCEID": Difference(lambda: Forge(tcb_info={"pceId": "0001"}), "TCB_INFO.PCEID", "UpToDate"),
    "debug is the policy's to forbid": Difference(
        lambda: Forge(ENCLAVE.with_(attributes=DEBUG)), "UpToDate", "Debug mode is enabled"
    ),
    "and so is a TD's": Difference(
        lambda: Forge(TD.with_(tdattributes=TDAttributes(tud=1, sept_ve_disable=True)), 4),
        "UpToDate",
        "Debug mode is enabled",
    ),
    "SEPT_VE_DISABLE": Difference(
        lambda: Forge(TD.with_(tdattributes=TDAttributes()), 4),
        "UpToDate",
        "SEPT_VE_DISABLE is not enabled",
    ),
    "service TDs": Difference(
        lambda: Forge(TDReport15(base=TD, tee_tcb_svn2=TD.tee_tcb_svn, mrservicetd=b"\1" * 48), 5),
        "UpToDate",
        "Invalid MR service TD",
    ),
    "SEAMATTRIBUTES are zero, whatever TCB info says": Difference(
        lambda: Forge(
            TD.with_(seamattributes=b"\1" + bytes(7)),
            4,
            tcb_info={
                "tdxModuleIdentities": [
                    identity("TDX_01", part(5, "UpToDate"), attributes="01" + "00" * 7)
                ]
            },
        ),
        "TDX_MODULE.SEAMATTRIBUTES",
        "UpToDate",
    ),
    "the components count, not CPUSVN": Difference(
        lambda: Forge(extension={"cpusvn": bytes(16)}), "UpToDate", "No matching TCB level found"
    ),
    "a quoting enclave of any other status is outdated": Difference(
        lambda: Forge(qe_identity=qe_on("ConfigurationNeeded")), "OutOfDate", "UpToDate"
    ),
    "whatever that may be": Difference(
        lambda: Forge(qe_identity=qe_on("SWHardeningNeeded")), "OutOfDate", "Unrecognized TCB"
    ),
    "TEE_TCB_SVN_2 matters after a relaunch only": Difference(
        lambda: relaunched(bytes([6, 1, 3]), "OutOfDate"), "TDRelaunchAdvised", "OutOfDate"
    ),
    "the name of the PCK certificate": Difference(
        lambda: named(pck="Intel SGX"), "PCK.CHAIN", "UpToDate"
    ),
    "the name of the PCK's CA": Difference(
        lambda: named(ca="Intel SGX PCK Processor"), "PCK.CHAIN", "UpToDate"
    ),
    "the name of who signs TCB info": Difference(
        lambda: named(signing="Intel SGX"), "TCB_INFO.CHAIN", "UpToDate"
    ),
    "the name of the root": Difference(lambda: named(root="Intel SGX"), "PCK.CHAIN", "UpToDate"),
    "the root's own validity": Difference(
        lambda: Forge(ends={"root": AT - 1}), "CERTIFICATES.CURRENT", "UpToDate"
    ),
    "a list of the future": Difference(
        lambda: Forge(starts={"ca crl": AT + DAY}), "CRLS.CURRENT", "UpToDate"
    ),
    "the last second of a list": Difference(
        lambda: Forge(ends={"ca crl": AT}), "UpToDate", "CrlExpired"
    ),
    "a root that revokes itself": Difference(
        lambda: Forge(revoked={"root"}), "UpToDate", "CertRevoked"
    ),
}


def named(**names: str) -> Forge:
    forge = Forge()
    forge.names |= names
    return forge


def judged(case: Source) -> str:
    """Our status, or the first check that refuses."""
    result = ours(case)
    assert isinstance(result, AttestationResult)
    return result.status if result.accepted else result.failed[0].name


@pytest.mark.parametrize("name", DIFFERENCES)
def test_intels_library_is_followed(name: str) -> None:
    difference = DIFFERENCES[name]
    case = forged(difference.make())
    assert judged(case) == difference.ours
    assert difference.theirs in theirs(case)


def test_expiry_does_not_hide_the_status() -> None:
    case = forged(Forge())._replace(at=AT + 50 * DAY)
    result = ours(case)
    assert isinstance(result, AttestationResult)
    expired = {"CRLS.CURRENT", "TCB_INFO.CURRENT", "QE_IDENTITY.CURRENT"}
    assert {check.name for check in result.failed} == expired
    assert result.status == "UpToDate"
    assert theirs(case).startswith("refused")


@pytest.mark.parametrize("field", ["tcb_info_issuer_chain", "qe_identity_issuer_chain"])
def test_a_chain_ends_with_the_root(field: str) -> None:
    case = forged(Forge())
    leaf = Forge().chain("signing")
    case = case._replace(collateral=replace(case.collateral, **{field: leaf}))
    assert judged(case).endswith(".CERTIFICATES")
    assert theirs(case) == "UpToDate []"


@pytest.mark.parametrize("name", ["forged SGX", "forged TDX 1.5"])
def test_nothing_is_left_over_in_the_signature_data(name: str) -> None:
    case = load(name)
    start = len(Quote.parse(case.quote).signed)
    size = int.from_bytes(case.quote[start : start + 4], "little") + 1
    quote = case.quote[:start] + size.to_bytes(4, "little") + case.quote[start + 4 :] + b"\0"
    case = case._replace(quote=quote)
    assert isinstance(ours(case), LayoutError)
    assert theirs(case) == "UpToDate []"


def test_the_root_in_a_chain_is_the_root_that_is_trusted() -> None:
    case = forged(Forge())
    other = Forge(ends={"root": AT + DAY})
    chain = Forge().chain("signing") + other.chain("root")
    case = case._replace(collateral=replace(case.collateral, tcb_info_issuer_chain=chain))
    assert judged(case) == "TCB_INFO.ROOT"
    assert theirs(case) == "UpToDate []"


ALIKE = {
    "what the configuration needs stays": Forge(
        tcb_info={"tcbLevels": [level(T, 11, "ConfigurationNeeded")]},
        qe_identity=qe_on("OutOfDate"),
    ),
    "the first two versions of TDX are the module's": Forge(
        TD, 4, tcb_info={"tcbLevels": [level(T, 11, "UpToDate", tdx=(9, 9, *(0,) * 14))]}
    ),
    "relaunch": relaunched(bytes([6, 1, 3])),
}
"""Differences of `dcap-qvl` 9bffe30b that 0.7.0 no longer has."""


@pytest.mark.parametrize("name", ALIKE)
def test_former_differences_are_gone(name: str) -> None:
    case = forged(ALIKE[name])
    assert verdict(ours(case)) == theirs(case)
