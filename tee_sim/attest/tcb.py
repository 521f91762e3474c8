"""TCB info and QE identity: what Intel thinks of a platform's versions, and of a quoting enclave.

A platform is as good as the highest TCB level none of whose versions is above its own. What else
takes part, the quoting enclave and the TDX module, has levels of its own and can make that worse.

Sources: Intel SGX and TDX Provisioning Certification Service API, version 4, "TCB Info V3" and
"Enclave Identity V2"; the rules are those of Intel's verification library (``TcbLevelCheck.cpp``,
``TdxModuleCheck.cpp``, ``TDRelaunchCheck.cpp``, ``EvaluateTcb.cpp``).

Simplified: of TCB info version 2, which Intel no longer issues, only the form differs here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tee_sim.attest.fields import Fields, json_object
from tee_sim.errors import LayoutError, ReferenceValueMismatch

UP_TO_DATE, OUT_OF_DATE, REVOKED = "UpToDate", "OutOfDate", "Revoked"
CONFIGURATION_NEEDED, SW_HARDENING_NEEDED = "ConfigurationNeeded", "SWHardeningNeeded"
CONFIGURATION_AND_SW_HARDENING_NEEDED: Final = "ConfigurationAndSWHardeningNeeded"
OUT_OF_DATE_CONFIGURATION_NEEDED: Final = "OutOfDateConfigurationNeeded"
TD_RELAUNCH_ADVISED: Final = "TDRelaunchAdvised"
TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED: Final = "TDRelaunchAdvisedConfigurationNeeded"

LEVEL_STATUSES: Final = (
    UP_TO_DATE,
    SW_HARDENING_NEEDED,
    CONFIGURATION_NEEDED,
    CONFIGURATION_AND_SW_HARDENING_NEEDED,
    OUT_OF_DATE,
    OUT_OF_DATE_CONFIGURATION_NEEDED,
    REVOKED,
)
"""What Intel says of a level."""
STATUSES: Final = (
    *LEVEL_STATUSES,
    TD_RELAUNCH_ADVISED,
    TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED,
)
"""What a Verifier can conclude."""

_WITH_OUT_OF_DATE: Final = {
    UP_TO_DATE: OUT_OF_DATE,
    SW_HARDENING_NEEDED: OUT_OF_DATE,
    CONFIGURATION_NEEDED: OUT_OF_DATE_CONFIGURATION_NEEDED,
    CONFIGURATION_AND_SW_HARDENING_NEEDED: OUT_OF_DATE_CONFIGURATION_NEEDED,
}
"""What a part that is OutOfDate makes of the platform's status."""
_GOOD: Final = frozenset(_WITH_OUT_OF_DATE)


@dataclass(frozen=True)
class Level:
    """One level, of a platform, a quoting enclave or a TDX module.

    Attributes:
        sgx: 16 security versions; empty if it is not a platform's.
        svn: PCESVN of a platform, ISVSVN of the others.
        tdx: 16 security versions of TDX; empty for SGX.
        status: what Intel thinks of whoever is on it.
        date: Unix seconds: whoever is on it has all that was published until then.
        advisories: those that concern whoever is on it.
    """

    sgx: tuple[int, ...]
    svn: int
    tdx: tuple[int, ...]
    status: str
    date: int
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
    version: int
    issue_date: int
    next_update: int
    fmspc: bytes
    pceid: bytes | None
    tcb_evaluation_data_number: int
    tdx_module: ModuleIdentity | None
    tdx_module_identities: tuple[ModuleIdentity, ...]
    levels: tuple[Level, ...]

    @classmethod
    def parse(cls, text: str) -> TCBInfo:
        """Read the signed text.

        Raises:
            LayoutError: it is no TCB info of version 2 or 3.
        """
        fields = Fields(json_object(text, "TCB info"), "TCB info")
        version = fields.number("version", 0xFFFFFFFF)
        if version not in (2, 3):
            raise LayoutError(f"TCB info: version {version} is unknown")
        kind = fields.text("id", "SGX", "TDX") if version == 3 else "SGX"
        fields.number("tcbType", 0)
        module, identities = None, []
        if kind == "TDX":
            module = _module(fields.child("tdxModule"))
            if fields.has("tdxModuleIdentities"):
                identities = [_module(child) for child in fields.children("tdxModuleIdentities")]
        pceid = fields.hex("pceId", 2) if version == 3 or fields.has("pceId") else None
        levels = (_platform_level(child, version, kind) for child in fields.children("tcbLevels"))
        return cls(
            kind,
            version,
            fields.date("issueDate"),
            fields.date("nextUpdate"),
            fields.hex("fmspc", 6),
            pceid,
            fields.number("tcbEvaluationDataNumber", 0xFFFFFFFF),
            module,
            tuple(identities),
            _highest_first(levels),
        )

    def module(self, version: int) -> ModuleIdentity | None:
        """The identity of the TDX module of a major version; version 0 came before there were any.

        None if TCB info has none.
        """
        wanted = f"TDX_{version:02X}"
        found = (m for m in self.tdx_module_identities if m.id.upper() == wanted)
        return next(found, None) if version else self.tdx_module


@dataclass(frozen=True)
class EnclaveIdentity:
    """Which quoting enclave is genuine, and its levels, highest first."""

    id: str
    issue_date: int
    next_update: int
    tcb_evaluation_data_number: int
    miscselect: bytes
    miscselect_mask: bytes
    attributes: bytes
    attributes_mask: bytes
    mrsigner: bytes
    isvprodid: int
    levels: tuple[Level, ...]

    @classmethod
    def parse(cls, text: str) -> EnclaveIdentity:
        """Read the signed text.

        Raises:
            LayoutError: it is no enclave identity of version 2.
        """
        fields = Fields(json_object(text, "QE identity"), "QE identity")
        if (version := fields.number("version", 0xFFFFFFFF)) != 2:
            raise LayoutError(f"QE identity: version {version} is unknown")
        return cls(
            fields.text("id", "QE", "QVE", "TD_QE"),
            fields.date("issueDate"),
            fields.date("nextUpdate"),
            fields.number("tcbEvaluationDataNumber", 0xFFFFFFFF),
            fields.hex("miscselect", 4),
            fields.hex("miscselectMask", 4),
            fields.hex("attributes", 16),
            fields.hex("attributesMask", 16),
            fields.hex("mrsigner", 32),
            fields.number("isvprodid", 0xFFFF),
            _highest_first(_part_level(child) for child in fields.children("tcbLevels")),
        )


def _module(fields: Fields) -> ModuleIdentity:
    named = fields.has("id")
    levels = [_part_level(child) for child in fields.children("tcbLevels")] if named else []
    fields.hex("attributesMask", 8)
    return ModuleIdentity(
        fields.text("id") if named else "",
        fields.hex("mrsigner", 48),
        fields.hex("attributes", 8),
        _highest_first(levels),
    )


def _level(
    fields: Fields, sgx: tuple[int, ...], svn: int, tdx: tuple[int, ...], *statuses: str
) -> Level:
    status = fields.text("tcbStatus", *statuses)
    return Level(sgx, svn, tdx, status, fields.date("tcbDate"), fields.texts("advisoryIDs"))


def _part_level(fields: Fields) -> Level:
    """A level of a quoting enclave or a TDX module."""
    return _level(fields, (), fields.child("tcb").number("isvsvn", 0xFFFF), (), *LEVEL_STATUSES)


def _platform_level(fields: Fields, version: int, kind: str) -> Level:
    tcb = fields.child("tcb")
    if version == 2:
        sgx = tuple(tcb.number(f"sgxtcbcomp{n:02}svn", 0xFF) for n in range(1, 17))
    else:
        sgx = _components(tcb, "sgxtcbcomponents")
    tdx = _components(tcb, "tdxtcbcomponents") if kind == "TDX" else ()
    return _level(fields, sgx, tcb.number("pcesvn", 0xFFFF), tdx, *LEVEL_STATUSES)


def _components(tcb: Fields, name: str) -> tuple[int, ...]:
    return tuple(component.number("svn", 0xFF) for component in tcb.children(name, 16))


def _highest_first(levels: Iterable[Level]) -> tuple[Level, ...]:
    """The levels in order.

    Raises:
        LayoutError: one is there twice.
    """
    ordered = sorted(levels, key=lambda level: (level.sgx, level.svn, level.tdx), reverse=True)
    if len({(level.sgx, level.svn, level.tdx) for level in ordered}) != len(ordered):
        raise LayoutError("TCB levels: one is there twice")
    return tuple(ordered)


def part_level(levels: Iterable[Level], isvsvn: int) -> Level | None:
    """The level of a quoting enclave or a TDX module; None if it is below all."""
    return next((level for level in levels if isvsvn >= level.svn), None)


def platform_level(
    levels: Iterable[Level], components: tuple[int, ...], pcesvn: int, tee_tcb_svn: bytes = b""
) -> Level | None:
    """The highest level none of whose versions is above the platform's; None if there is none.

    Args:
        levels: highest first.
        components: 16 security versions from the PCK certificate.
        pcesvn: from the PCK certificate.
        tee_tcb_svn: 16 security versions from the TD report; empty for SGX, and to look at SGX's
            only. If the second is not 0, the first two are those of a TDX module with an identity
            of its own, and not looked at here.
    """
    start = 2 if tee_tcb_svn and tee_tcb_svn[1] else 0
    for level in levels:
        if (
            _reaches(components, level.sgx)
            and pcesvn >= level.svn
            and _reaches(tee_tcb_svn[start:], level.tdx[start:])
        ):
            return level
    return None


def _reaches(own: Iterable[int], wanted: Iterable[int]) -> bool:
    return all(mine >= needed for mine, needed in zip(own, wanted, strict=False))


def converge(platform: str, part: str) -> str:
    """The status of a platform together with a part of it, by Intel's rules.

    A revoked part revokes the whole; an outdated one outdates it, and what is to be configured
    stays so. Any other status of the part changes nothing.
    """
    if part == REVOKED:
        return REVOKED
    return _WITH_OUT_OF_DATE.get(platform, platform) if part == OUT_OF_DATE else platform


@dataclass(frozen=True)
class Evaluation:
    """What the levels say together.

    Attributes:
        status: of the whole.
        platform: the level of the platform.
        module: the level of the TDX module, if it has an identity of its own.
        enclave: the level of the quoting enclave.
    """

    status: str
    platform: Level
    module: Level | None
    enclave: Level

    @property
    def levels(self) -> tuple[Level, ...]:
        """All that took part."""
        return tuple(level for level in (self.platform, self.module, self.enclave) if level)


def evaluate(
    info: TCBInfo,
    components: tuple[int, ...],
    pcesvn: int,
    enclave: Level,
    tee_tcb_svn: bytes = b"",
    tee_tcb_svn2: bytes = b"",
) -> Evaluation:
    """The TCB status of a platform.

    Args:
        info: Intel's levels.
        components: 16 security versions from the PCK certificate.
        pcesvn: from the PCK certificate.
        enclave: the level of the quoting enclave.
        tee_tcb_svn: 16 security versions from the TD report; empty for SGX.
        tee_tcb_svn2: those of the TDX module that runs now (TDX 1.5), else empty.

    Raises:
        ReferenceValueMismatch: the platform or its TDX module is on none of Intel's levels.
    """
    platform = platform_level(info.levels, components, pcesvn, tee_tcb_svn)
    if platform is None:
        raise ReferenceValueMismatch("the platform is below all TCB levels")
    status, module = platform.status, None
    if tee_tcb_svn and tee_tcb_svn[1]:
        module = _module_level(info, tee_tcb_svn)
        status = converge(status, module.status)
    enclave_status = enclave.status
    if enclave_status not in (UP_TO_DATE, REVOKED):
        enclave_status = OUT_OF_DATE  # as Intel's library takes whatever else an enclave may be
    if tee_tcb_svn2 and module and enclave_status == UP_TO_DATE and status != REVOKED:
        sgx = platform_level(info.levels, components, pcesvn)
        if sgx is not None:
            status = _relaunch(info, sgx.status, status, module, tee_tcb_svn2)
    return Evaluation(converge(status, enclave_status), platform, module, enclave)


def _module_level(info: TCBInfo, tee_tcb_svn: bytes) -> Level:
    identity = info.module(tee_tcb_svn[1])
    level = part_level(identity.levels, tee_tcb_svn[0]) if identity else None
    if level is None:
        raise ReferenceValueMismatch(
            f"TDX module {tee_tcb_svn[1]}.{tee_tcb_svn[0]} is on none of Intel's levels"
        )
    return level


def _relaunch(info: TCBInfo, sgx: str, status: str, module: Level, now: bytes) -> str:
    """The status of a TD that was started on an old TDX module which has been replaced since.

    If what runs now (``now``, TEE_TCB_SVN_2) is the latest, starting the TD again is all it takes.
    """
    if sgx not in _GOOD or module.status != OUT_OF_DATE:
        return status
    if status not in (OUT_OF_DATE, OUT_OF_DATE_CONFIGURATION_NEEDED):
        return status
    latest = info.levels[0].tdx
    identity = info.module(now[1])
    if identity is None:
        raise ReferenceValueMismatch(f"TDX module {now[1]}, which runs now, has no identity")
    needed = identity.levels[0].svn if now[1] else latest[0]
    if now[0] < needed or now[2] < latest[2]:
        return status
    if "Configuration" in sgx or "Configuration" in status:
        return TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED
    return TD_RELAUNCH_ADVISED
