"""What Intel says about security versions: TCB levels, and how an advisory changes them.

A *TCB recovery* is how Intel answers a vulnerability: an update raises some security version (SVN),
and a new TCB level for it becomes UpToDate. All levels below get the advisory, and what was
UpToDate yesterday is OutOfDate, although nothing has happened to the platform.

Source: Intel SGX and TDX Provisioning Certification Service API, version 4, "TCB Info V3" and
"Enclave Identity V2".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from tee_sim.errors import UsageError

TEE = Literal["sgx", "tdx"]

VALID_DAYS = 30
"""How long TCB info, an identity or a PCK's revocation list is valid."""

_LAPSES = {
    "UpToDate": "OutOfDate",
    "SWHardeningNeeded": "OutOfDate",
    "ConfigurationNeeded": "OutOfDateConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded": "OutOfDateConfigurationNeeded",
}
"""What a level's status becomes when a later level is published."""

STATUSES = (*_LAPSES, *dict.fromkeys(_LAPSES.values()), "Revoked")


@dataclass(frozen=True)
class Level:
    """One TCB level: the least SVNs, and what is to be thought of whoever has these.

    Attributes:
        svns: of a platform 16 components, PCESVN, 16 TDX components; of an enclave its ISVSVN.
        date: up to when all advisories are considered, Unix seconds.
        status: Intel's word, such as ``UpToDate``.
        advisories: what whoever is no better than this is vulnerable to.
    """

    svns: tuple[int, ...]
    date: int
    status: str = "UpToDate"
    advisories: tuple[str, ...] = ()

    def to_json(self, tee: TEE | None = None) -> dict[str, Any]:
        """As TCB info of a TEE has it, or as an identity of an enclave (None) has it."""
        tcb: dict[str, Any] = {"isvsvn": self.svns[0]}
        if tee:
            tcb = {"sgxtcbcomponents": _components(self.svns[:16]), "pcesvn": self.svns[16]}
        if tee == "tdx":
            tcb["tdxtcbcomponents"] = _components(self.svns[17:])
        about = {"tcb": tcb, "tcbDate": iso(self.date), "tcbStatus": self.status}
        return about | ({"advisoryIDs": list(self.advisories)} if self.advisories else {})


@dataclass(frozen=True)
class Advisory:
    """A published advisory, with the level that it introduces.

    Attributes:
        name: such as ``INTEL-SA-00289``.
        subject: whose levels it changes: ``platform``, or an enclave's identity such as ``QE``.
        level: the new level.
        early: only whoever asks for early updates sees it.
    """

    name: str
    subject: str
    level: Level
    early: bool = False

    def applied(self, levels: tuple[Level, ...]) -> tuple[Level, ...]:
        """The levels, highest first, after this advisory."""
        below = (self._lapsed(level) for level in levels if level.svns != self.level.svns)
        return (self.level, *below)

    def _lapsed(self, level: Level) -> Level:
        return replace(
            level,
            status=_LAPSES.get(level.status, level.status),
            advisories=tuple(dict.fromkeys((*level.advisories, self.name))),
        )


def check_raise(new: Level, old: Level) -> None:
    """Refuse an advisory's level that does not follow the newest one.

    Raises:
        UsageError: an SVN falls, or nothing rises and yet the platform would be UpToDate.
    """
    if new.status not in STATUSES:
        raise UsageError(f"no TCB status '{new.status}'; there are: {', '.join(STATUSES)}")
    if len(new.svns) != len(old.svns) or any(svn not in range(0x10000) for svn in new.svns):
        raise UsageError(f"{len(old.svns)} SVNs are needed, 0-65535; given: {new.svns}")
    if any(one < other for one, other in zip(new.svns, old.svns, strict=True)):
        raise UsageError(f"an update never lowers an SVN: {old.svns} to {new.svns}")
    if new.svns == old.svns and new.status == "UpToDate":
        raise UsageError("no SVN rises: nothing is fixed; raise one, or say what status= remains")


@dataclass(frozen=True)
class EnclaveIdentity:
    """Which enclave of Intel's is genuine, whatever its version.

    Attributes:
        mrsigner: SHA-256 of the modulus that signs it, 32 bytes.
        isvprodid: its product number.
        attributes: flags, then XFRM, 16 bytes, as far as the mask says.
        attributes_mask: which of their bits count, 16 bytes.
    """

    mrsigner: bytes
    isvprodid: int
    attributes: bytes = bytes([0x11]) + bytes(15)  # initialised, and may use the provisioning key
    attributes_mask: bytes = b"\xfb" + b"\xff" * 7 + bytes(8)  # MODE64BIT and XFRM do not count

    def to_json(self) -> dict[str, Any]:
        """The fields between those of the issue and those of the levels."""
        return {
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": _hex(self.attributes),
            "attributesMask": _hex(self.attributes_mask),
            "mrsigner": _hex(self.mrsigner),
            "isvprodid": self.isvprodid,
        }


@dataclass(frozen=True)
class TDXModule:
    """One major version of the TDX module, which TEE_TCB_SVN[1] names.

    Attributes:
        version: its number, 0-255; 0 is that of TDX 1.0, which has no identity of its own.
        levels: of its ISVSVN, which TEE_TCB_SVN[0] tells.
    """

    version: int
    levels: tuple[Level, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """MRSIGNERSEAM and SEAMATTRIBUTES are zero for Intel's own modules."""
        about = {
            "mrsigner": _hex(bytes(48)),
            "attributes": _hex(bytes(8)),
            "attributesMask": _hex(b"\xff" * 8),
        }
        if not self.version:
            return about
        levels = [level.to_json() for level in self.levels]
        return {"id": f"TDX_{self.version:02X}"} | about | {"tcbLevels": levels}


def issue(id_: str, version: int, at: int, number: int, **about: Any) -> dict[str, Any]:
    """The fields that TCB info and identities begin with, and those that distinguish them.

    Args:
        id_: ``SGX`` or ``TDX``, or the enclave's, such as ``QE``.
        version: of the format.
        at: when it is issued, Unix seconds.
        number: TCB evaluation data number: how many advisories are in it, and those before.
        about: what comes between the times and the number.
    """
    times = {"issueDate": iso(at), "nextUpdate": iso(at + VALID_DAYS * 86400)}
    return {"id": id_, "version": version, **times, **about, "tcbEvaluationDataNumber": number}


def visible(advisories: Iterable[Advisory], at: int, early: bool) -> list[Advisory]:
    """The advisories that are out at a time, Unix seconds."""
    return [a for a in advisories if a.level.date <= at and (early or not a.early)]


def iso(at: int) -> str:
    """Unix seconds as Intel writes times."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _components(svns: tuple[int, ...]) -> list[dict[str, int]]:
    return [{"svn": svn} for svn in svns]


def _hex(value: bytes) -> str:
    return value.hex().upper()
