"""The Enclave Page Cache Map: what the processor knows about each EPC page, and the access rules.

Every access that an enclave makes inside its own address range is checked here, at TLB fill,
after the host's page tables have had their say.

Source: Intel SDM Vol. 3D, "Enclave Page Cache Map (EPCM)", "EPCM Access Control".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tee_sim.abi.sgx import PageType
from tee_sim.checks import Check, Checks
from tee_sim.errors import PageFault
from tee_sim.html import table
from tee_sim.machine.paging import ACCESS_NAMES, FETCH, PFEC_ACCESS, PFEC_PRESENT, WRITE, R, W, X
from tee_sim.monitors.sgx import checks as rules
from tee_sim.units import PAGE

if TYPE_CHECKING:
    from tee_sim.monitors.sgx.enclave import Enclave

PFEC_SGX = 0x8000


@dataclass(slots=True)
class EPCMEntry:
    """One EPC page.

    Attributes:
        valid: the page is in use; every other field is meaningless while it is not.
        r, w, x: what the enclave may do with it.
        page_type: SECS, TCS, REG, VA (paging) or TRIM (dynamic memory).
        enclavesecs: physical address of the owner's SECS page.
        enclaveaddress: the one linear address at which the owner may use it.
        blocked, pending, modified, pr: states of paging and of dynamic memory.
        epoch: the owner's epoch when the page was last blocked, or had its rights or type changed;
            -1 for one that ELDU brought back, which is in no TLB.
    """

    valid: bool = False
    r: bool = False
    w: bool = False
    x: bool = False
    page_type: PageType = PageType.REG
    enclavesecs: int = 0
    enclaveaddress: int = 0
    blocked: bool = False
    pending: bool = False
    modified: bool = False
    pr: bool = False
    epoch: int = 0

    def is_ready(self, page_type: PageType) -> bool:
        """Whether the page is in use, of this type, and neither blocked nor to be accepted."""
        return (
            self.valid
            and self.page_type == page_type
            and not (self.blocked or self.pending or self.modified)
        )

    def _repr_html_(self) -> str:
        return table("EPCM entry", ((name, getattr(self, name)) for name in self.__slots__))


def epcm_fault(gva: int, access: int, why: str) -> PageFault:
    """#PF with bit 15 (SGX) set: 8005H read, 8007H write, 8015H fetch."""
    return PageFault(
        f"{ACCESS_NAMES[access]} at {gva:#x}: {why}",
        error_code=PFEC_SGX | PFEC_PRESENT | PFEC_ACCESS[access],
        address=gva,
    )


class EPCM:
    """The map of all EPC pages.

    Args:
        start: physical address of the first EPC page.
        stop: physical address after the last one.
        checks: which rules are in force.
    """

    def __init__(self, start: int, stop: int, checks: Checks) -> None:
        self.start, self.stop, self.checks = start, stop, checks
        self._entries: dict[int, EPCMEntry] = {}

    def __contains__(self, hpa: int) -> bool:
        return self.start <= hpa < self.stop

    def __getitem__(self, hpa: int) -> EPCMEntry:
        """The entry of the EPC page at ``hpa`` (page-aligned)."""
        entry = self._entries.get(hpa)
        if entry is None:
            entry = self._entries[hpa] = EPCMEntry()
        return entry

    def set(self, hpa: int, entry: EPCMEntry) -> None:
        """Replace the entry of the EPC page at ``hpa``."""
        self._entries[hpa] = entry

    def clear(self) -> None:
        """Every page is free."""
        self._entries.clear()

    def owned_by(self, secs_hpa: int) -> list[int]:
        """Physical addresses of the valid pages whose owner has its SECS at ``secs_hpa``."""
        return [
            hpa
            for hpa, entry in self._entries.items()
            if entry.valid and entry.enclavesecs == secs_hpa and entry.page_type != PageType.SECS
        ]

    def authorize(self, enclave: Enclave, gva: int, hpa: int, access: int) -> int:
        """Rights that ``enclave`` has at ``gva`` if it is backed by the EPC page ``hpa``.

        # Checks
        Those of `judge`, in its order; the first that fails and is in force refuses.

        Returns:
            The `R`, `W`, `X` bits of the entry.

        Raises:
            PageFault: with the SGX bit, carrying the check that refused.
        """
        for broken, check, why in self.judge(enclave, gva, hpa, access):
            if broken and self.checks.on(check):
                raise self.checks.refuse(check, epcm_fault(gva, access, why))
        return self._rights(self[hpa])

    def judge(
        self, enclave: Enclave, gva: int, hpa: int, access: int
    ) -> list[tuple[bool, Check, str]]:
        """Every rule for one access: whether it is broken, its check, and how it would be.

        # Checks
        VALID, BLOCKED, ENCLAVESECS, PENDING, MODIFIED, PT, ENCLAVEADDRESS, then R, W or X.

        Source: Intel SDM Vol. 3D, "EPCM Access Control". The order is ours: all give the same
        fault.
        """
        entry = self[hpa]
        allowed, check, why = {
            WRITE: (entry.w, rules.EPCM_W, "not writable"),
            FETCH: (entry.x, rules.EPCM_X, "not executable"),
        }.get(access, (entry.r, rules.EPCM_R, "not readable"))
        return [
            (not entry.valid, rules.EPCM_VALID, "the EPC page is not in use"),
            (entry.blocked, rules.EPCM_BLOCKED, "the page is blocked"),
            (
                entry.enclavesecs != enclave.secs_hpa,
                rules.EPCM_ENCLAVESECS,
                "the EPC page belongs to another enclave",
            ),
            (entry.pending, rules.EPCM_PENDING, "the page is pending"),
            (entry.modified, rules.EPCM_MODIFIED, "the page is modified"),
            (
                entry.page_type != PageType.REG,
                rules.EPCM_PT,
                f"the EPC page is of type {entry.page_type.name}",
            ),
            (
                entry.enclaveaddress != gva & -PAGE,
                rules.EPCM_ENCLAVEADDRESS,
                f"the EPC page belongs at {entry.enclaveaddress:#x}",
            ),
            (not allowed, check, why),
        ]

    def _rights(self, entry: EPCMEntry) -> int:
        """The entry's rights; a right whose check is off is granted."""
        on = self.checks.on
        return (
            (R if entry.r or not on(rules.EPCM_R) else 0)
            | (W if entry.w or not on(rules.EPCM_W) else 0)
            | (X if entry.x or not on(rules.EPCM_X) else 0)
        )
