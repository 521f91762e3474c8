"""What Intel says about security versions: TCB levels, and how an advisory changes them.

A *TCB recovery* is how Intel answers a vulnerability: an update raises some security version (SVN),
and a new TCB level for it becomes UpToDate. All levels below get the advisory, and what was
UpToDate yesterday is OutOfDate, although nothing has happened to the platform.

Source: Intel SGX and TDX Provisioning Certification Service API, version 4, "TCB Info V3" and
"Enclave Identity V2".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from tee_sim.errors import UsageError, known

TEE = Literal["sgx", "tdx"]
SVNs = Mapping[str, tuple[int, ...]]

_LAPSES = {
    "UpToDate": "OutOfDate",
    "SWHardeningNeeded": "OutOfDate",
    "ConfigurationNeeded": "OutOfDateConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded": "OutOfDateConfigurationNeeded",
}
"""What a level's status becomes when a later level is published."""

STATUSES = (*_LAPSES, *dict.fromkeys(_LAPSES.values()), "Revoked")

LONG_AGO = 1704067200

MRSIGNER = "D617B1EE9F795B830B849333C484BC351EF2E307DD4B015551889F59EEDACCE2"
"""Who signs Intel's enclaves: the key that IA32_SGXLEPUBKEYHASH names after a reset."""


@dataclass(frozen=True)
class Level:
    """One TCB level: the least SVNs, and what is to be thought of whoever has these.

    Attributes:
        svns: a platform's ``cpusvn`` (16 components), ``pcesvn`` and ``tee_tcb_svn`` (16
            components); or an enclave's ``isvsvn``.
        date: up to when all advisories are considered, Unix seconds.
        status: Intel's word, such as ``UpToDate``.
        advisories: what whoever is no better than this is vulnerable to.
    """

    svns: SVNs
    date: int = LONG_AGO
    status: str = "UpToDate"
    advisories: tuple[str, ...] = ()

    def to_json(self, tee: TEE | None = None) -> dict[str, Any]:
        """As TCB info of a TEE has it, or as an identity of an enclave (None) has it."""
        lists = {name: [{"svn": svn} for svn in svns] for name, svns in self.svns.items()}
        if tee is None:
            tcb: dict[str, Any] = {"isvsvn": self.svns["isvsvn"][0]}
        else:
            tcb = {"sgxtcbcomponents": lists["cpusvn"], "pcesvn": self.svns["pcesvn"][0]}
        if tee == "tdx":
            tcb["tdxtcbcomponents"] = lists["tee_tcb_svn"]
        about = {"tcb": tcb, "tcbDate": iso(self.date), "tcbStatus": self.status}
        return about | ({"advisoryIDs": list(self.advisories)} if self.advisories else {})

    def raised(self, at: int, status: str, advisory: str, svns: Mapping[str, Any]) -> Level:
        """The level that follows this one when an advisory is published.

        Raises:
            UsageError: an SVN falls, or nothing rises and yet it would be UpToDate; or a name,
                number or status is wrong.
        """
        known("TCB status", status, STATUSES)
        known("SVN", svns, self.svns, " here")
        new = {name: tuple(v) if isinstance(v, bytes) else (v,) for name, v in svns.items()}
        for name, values in new.items():
            old = self.svns[name]
            if len(values) != len(old) or any(svn not in range(0x10000) for svn in values):
                raise UsageError(f"{name} has {len(old)} SVNs, 0-65535; given: {values}")
            if any(one < other for one, other in zip(values, old, strict=True)):
                raise UsageError(f"an update never lowers an SVN: {name} is {old}; given: {values}")
        if {**self.svns, **new} == self.svns and status == "UpToDate":
            raise UsageError("no SVN rises, so nothing is fixed: say which status= remains")
        left = () if status == "UpToDate" else (*self.advisories, advisory)
        return Level({**self.svns, **new}, at, status, left)


@dataclass(frozen=True)
class Advisory:
    """A published advisory, with the level that it introduces.

    Attributes:
        name: such as ``INTEL-SA-00289``.
        subject: whose levels it changes: ``platform``, or an enclave's identity such as ``QE``.
        level: the new level; its date is when those see it who ask for early updates.
        standard: when everybody sees it, Unix seconds.
    """

    name: str
    subject: str
    level: Level
    standard: int

    def applied(self, levels: tuple[Level, ...]) -> tuple[Level, ...]:
        """The levels, highest first, after this advisory."""
        below = (self._lapsed(level) for level in levels if level.svns != self.level.svns)
        return (self.level, *below)

    def _lapsed(self, level: Level) -> Level:
        advisories = tuple(dict.fromkeys((*level.advisories, self.name)))
        status = _LAPSES.get(level.status, level.status)
        return replace(level, status=status, advisories=advisories)


def iso(at: int) -> str:
    """Unix seconds as Intel writes times."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _platform(svn: int, *tdx: int) -> SVNs:
    return {"cpusvn": (svn,) * 16, "pcesvn": (1,), "tee_tcb_svn": (*tdx, *[0] * (16 - len(tdx)))}


LEVELS: Mapping[str, tuple[Level, ...]] = {
    "platform": (
        Level(_platform(2, 5, 0, 2)),
        Level(_platform(1, 4, 0, 1), LONG_AGO, "OutOfDate", ("INTEL-SA-00289",)),
    ),
    **dict.fromkeys(("QE", "TD_QE", "QVE"), (Level({"isvsvn": (1,)}),)),
}
"""The levels before the first advisory, highest first. CPUSVN is 16 times the patch level + 1 of a
`Platform`; undervolting is what the oldest is vulnerable to."""

_MISCSELECT = {"miscselect": "00000000", "miscselectMask": "FFFFFFFF"}
# Neither MODE64BIT nor XFRM counts.
_MASK = {"attributesMask": "FBFFFFFFFFFFFFFF" + "00" * 8, "mrsigner": MRSIGNER}
# Initialised, and a quoting enclave may use the provisioning key.
_QE = _MISCSELECT | {"attributes": "11" + "00" * 15} | _MASK
_QVE = _MISCSELECT | {"attributes": "01" + "00" * 15} | _MASK

IDENTITIES: Mapping[str, Mapping[str, Any]] = {
    "QE": _QE | {"isvprodid": 1},
    "TD_QE": _QE | {"isvprodid": 2},
    "QVE": _QVE | {"isvprodid": 2},
}
"""Which enclave of Intel's is genuine, whatever its version: two make quotes, one verifies them."""

_MODULE = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
_MODULE_LEVELS = {1: ((4, "UpToDate"), (2, "OutOfDate")), 3: ((3, "UpToDate"),)}

TDX_MODULES: Mapping[str, Any] = {
    "tdxModule": _MODULE,
    "tdxModuleIdentities": [
        {"id": f"TDX_{version:02X}", **_MODULE}
        | {"tcbLevels": [Level({"isvsvn": (s,)}, status=status).to_json() for s, status in levels]}
        for version, levels in _MODULE_LEVELS.items()
    ],
}
"""The TDX module of TDX 1.0, and those of the versions that TEE_TCB_SVN[1] names."""
