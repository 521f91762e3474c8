"""TCB info and QE identity: what Intel thinks of a platform's versions, and of a quoting enclave.

A platform is as good as the highest TCB level none of whose versions is above its own. What else
takes part, the quoting enclave and the TDX module, has levels of its own and can make that worse.

Sources: Intel SGX and TDX Provisioning Certification Service API, version 4, "TCB Info V3" and
"Enclave Identity V2"; the rules are those of Intel's verification library (``TcbLevelCheck.cpp``,
``TdxModuleCheck.cpp``, ``TDRelaunchCheck.cpp``, ``EvaluateTcb.cpp``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from tee_sim.attest.fields import Fields, json_object
from tee_sim.errors import LayoutError, ReferenceValueMismatch

LEVEL_STATUSES: Final = tuple(
    "UpToDate SWHardeningNeeded ConfigurationNeeded ConfigurationAndSWHardeningNeeded "
    "OutOfDate OutOfDateConfigurationNeeded Revoked".split()
)
"""What Intel says of a level."""
STATUSES: Final = (*LEVEL_STATUSES, "TDRelaunchAdvised", "TDRelaunchAdvisedConfigurationNeeded")
"""What a Verifier can conclude."""
_NOT_OUT_OF_DATE: Final = LEVEL_STATUSES[:4]


@dataclass(frozen=True)
class Level:
    """One level, of a platform, a quoting enclave or a TDX module, and Intel's judgement of it."""

    sgx: tuple[int, ...]  # 16 security versions of a platform; else empty
    svn: int  # PCESVN of a platform, ISVSVN of the others
    tdx: tuple[int, ...]  # 16 security versions of TDX; empty for SGX
    status: str
    date: int  # Unix seconds: whoever is on it has all that was published until then
    advisories: tuple[str, ...]


@dataclass(frozen=True)
class ModuleIdentity:
    """Which TDX module is genuine: one major version of it, or any where the id is empty."""

    id: str
    mrsigner: bytes
    attributes: bytes
    levels: tuple[Level, ...]


@dataclass(frozen=True)
class TCBInfo:
    """The TCB levels of all platforms with one FMSPC, highest first."""

    id: str
    issue_date: int
    next_update: int
    fmspc: bytes
    pceid: bytes | None
    tcb_evaluation_data_number: int
    modules: tuple[ModuleIdentity, ...]
    levels: tuple[Level, ...]

    def module(self, version: int) -> ModuleIdentity:
        """The identity of a TDX module by its version, or `ReferenceValueMismatch`.

        Version 0 is of before there were identities; then one stands for all.
        """
        wanted = f"TDX_{version:02X}" if version else ""
        for module in self.modules:
            if module.id.upper() == wanted:
                return module
        raise ReferenceValueMismatch(f"no identity of TDX module {version}")


@lru_cache(maxsize=16)
def parse_tcb_info(text: str) -> TCBInfo:
    """Read TCB info, version 3 or 2, which lives on in old files; else `LayoutError`."""
    fields = Fields(json_object(text, "TCB info"), "TCB info")
    version = fields.number("version")
    if version not in (2, 3):
        raise fields.wrong("version", f"{version} is unknown")
    kind = fields.text("id", "SGX", "TDX") if version == 3 else "SGX"
    fields.number("tcbType", 0)
    modules = []
    if kind == "TDX":
        modules.append(_module(fields.child("tdxModule"), "", ()))
        if "tdxModuleIdentities" in fields.data:
            for child in fields.children("tdxModuleIdentities"):
                modules.append(_module(child, child.text("id"), _part_levels(child)))
    return TCBInfo(
        kind,
        fields.date("issueDate"),
        fields.date("nextUpdate"),
        fields.hex("fmspc", 6),
        fields.hex("pceId", 2) if version == 3 or "pceId" in fields.data else None,
        fields.number("tcbEvaluationDataNumber", 0xFFFFFFFF),
        tuple(modules),
        _highest_first(
            _platform_level(child, version, kind) for child in fields.children("tcbLevels")
        ),
    )


@dataclass(frozen=True)
class EnclaveIdentity:
    """Which quoting enclave is genuine, and its levels; masks say which bits count."""

    id: str
    issue_date: int
    next_update: int
    miscselect: bytes
    miscselect_mask: bytes
    attributes: bytes
    attributes_mask: bytes
    mrsigner: bytes
    isvprodid: int
    tcb_evaluation_data_number: int
    levels: tuple[Level, ...]


@lru_cache(maxsize=16)
def parse_qe_identity(text: str) -> EnclaveIdentity:
    """Read an enclave identity of version 2; else `LayoutError`."""
    fields = Fields(json_object(text, "QE identity"), "QE identity")
    if fields.number("version") != 2:
        raise fields.wrong("version", "is not 2")
    return EnclaveIdentity(
        fields.text("id", "QE", "QVE", "TD_QE"),
        fields.date("issueDate"),
        fields.date("nextUpdate"),
        fields.hex("miscselect", 4),
        fields.hex("miscselectMask", 4),
        fields.hex("attributes", 16),
        fields.hex("attributesMask", 16),
        fields.hex("mrsigner", 32),
        fields.number("isvprodid"),
        fields.number("tcbEvaluationDataNumber", 0xFFFFFFFF),
        _part_levels(fields),
    )


def _module(fields: Fields, name: str, levels: tuple[Level, ...]) -> ModuleIdentity:
    fields.hex("attributesMask", 8)
    return ModuleIdentity(name, fields.hex("mrsigner", 48), fields.hex("attributes", 8), levels)


def _level(fields: Fields, sgx: tuple[int, ...], svn: int, tdx: tuple[int, ...]) -> Level:
    status = fields.text("tcbStatus", *LEVEL_STATUSES)
    return Level(sgx, svn, tdx, status, fields.date("tcbDate"), fields.texts("advisoryIDs"))


def _part_levels(fields: Fields) -> tuple[Level, ...]:
    """The levels of a quoting enclave or a TDX module."""
    levels = fields.children("tcbLevels")
    return _highest_first(
        _level(each, (), each.child("tcb").number("isvsvn"), ()) for each in levels
    )


def _platform_level(fields: Fields, version: int, kind: str) -> Level:
    tcb = fields.child("tcb")
    if version == 2:
        sgx = tuple(tcb.number(f"sgxtcbcomp{n:02}svn", 0xFF) for n in range(1, 17))
    else:
        sgx = _components(tcb, "sgxtcbcomponents")
    tdx = _components(tcb, "tdxtcbcomponents") if kind == "TDX" else ()
    return _level(fields, sgx, tcb.number("pcesvn"), tdx)


def _components(tcb: Fields, name: str) -> tuple[int, ...]:
    rows = tcb.array(name)
    svns: list[Any] = [row.get("svn") for row in rows if type(row) is dict]
    if len(svns) != 16 or not all(type(svn) is int and 0 <= svn <= 0xFF for svn in svns):
        raise tcb.wrong(name, "are not 16 security versions in 0-255")
    return tuple(svns)


def _highest_first(levels: Iterable[Level]) -> tuple[Level, ...]:
    ordered = sorted(levels, key=lambda level: (level.sgx, level.svn, level.tdx), reverse=True)
    if len({(level.sgx, level.svn, level.tdx) for level in ordered}) != len(ordered):
        raise LayoutError("TCB levels: one is there twice")
    return tuple(ordered)


def part_level(levels: tuple[Level, ...], isvsvn: int) -> Level:
    """The level of a quoting enclave or a TDX module, or `ReferenceValueMismatch`."""
    for level in levels:
        if isvsvn >= level.svn:
            return level
    raise ReferenceValueMismatch(f"ISVSVN {isvsvn} is below all levels")


def platform_level(
    info: TCBInfo, components: tuple[int, ...], pcesvn: int, tee_tcb_svn: bytes = b""
) -> Level:
    """The highest level none of whose versions is above the platform's; arguments as `evaluate`'s.

    If the second number of TEE_TCB_SVN is not 0, the first two are those of a TDX module that has
    an identity of its own, and do not count here.

    Raises:
        ReferenceValueMismatch: there is none.
    """
    start = 2 if tee_tcb_svn and tee_tcb_svn[1] else 0
    for level in info.levels:
        pairs = [(pcesvn, level.svn), *zip(components, level.sgx, strict=True)]
        pairs += zip(tee_tcb_svn[start:], level.tdx[start:], strict=False)
        if all(own >= needed for own, needed in pairs):
            return level
    raise ReferenceValueMismatch("the platform is below all TCB levels")


def converge(platform: str, part: str) -> str:
    """The status of a platform together with a part of it, by Intel's rules.

    A revoked part revokes the whole; an outdated one outdates it, and what is to be configured
    stays so. Any other status of the part changes nothing.
    """
    if part == "Revoked":
        return part
    if part != "OutOfDate" or platform not in _NOT_OUT_OF_DATE:
        return platform
    return "OutOfDateConfigurationNeeded" if "Configuration" in platform else "OutOfDate"


def evaluate(
    info: TCBInfo,
    components: tuple[int, ...],
    pcesvn: int,
    enclave: Level,
    tee_tcb_svn: bytes = b"",
    tee_tcb_svn2: bytes = b"",
) -> tuple[str, list[Level]]:
    """The TCB status of a platform, and the levels that it follows from.

    Args:
        info: Intel's levels.
        components: 16 security versions from the PCK certificate.
        pcesvn: from there, too.
        enclave: the level of the quoting enclave.
        tee_tcb_svn: 16 security versions from the TD report; empty for SGX.
        tee_tcb_svn2: those of the TDX module that runs now (TDX 1.5), else empty.

    Raises:
        ReferenceValueMismatch: the platform or its TDX module is on none of Intel's levels.
    """
    platform = platform_level(info, components, pcesvn, tee_tcb_svn)
    status, levels = platform.status, [platform, enclave]
    # Intel's library takes whatever else a quoting enclave may be for OutOfDate.
    part = enclave.status if enclave.status in ("UpToDate", "Revoked") else "OutOfDate"
    if tee_tcb_svn and tee_tcb_svn[1]:
        module = part_level(info.module(tee_tcb_svn[1]).levels, tee_tcb_svn[0])
        status = converge(status, module.status)
        levels.append(module)
        if tee_tcb_svn2 and module.status == "OutOfDate" and part == "UpToDate":
            sgx = platform_level(info, components, pcesvn).status
            status = _relaunch(info, sgx, status, tee_tcb_svn2)
    return converge(status, part), levels


def _relaunch(info: TCBInfo, sgx: str, status: str, now: bytes) -> str:
    """The status of a TD that was started on an old TDX module which has been replaced since.

    If what runs now (``now``, TEE_TCB_SVN_2) is the latest, starting the TD again is all it takes.
    """
    if sgx not in _NOT_OUT_OF_DATE or not status.startswith("OutOfDate"):
        return status
    latest, module = info.levels[0].tdx, info.module(now[1])
    if now[0] < (module.levels[0].svn if now[1] else latest[0]) or now[2] < latest[2]:
        return status
    needed = "ConfigurationNeeded" if "Configuration" in sgx + status else ""
    return "TDRelaunchAdvised" + needed
