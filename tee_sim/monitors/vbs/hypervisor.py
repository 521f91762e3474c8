"""Hyper-V: two virtual trust levels (VTL), each with its own view of guest-physical memory.

::

    VTL0   kernel, drivers, processes      reaches what VTL1 left open
    VTL1   secure kernel, enclaves         reaches everything
    ------------------------------------------------------------------
    hypervisor                             keeps the protections of each page, and enforces them
                                           at the TLB fill, behind the page tables

Memory is not encrypted: whoever probes the bus, or replaces the hypervisor, reads all of it.

Source: Microsoft, Hyper-V Top-Level Functional Specification (TLFS), "Virtual Secure Mode".

Simplified: guest-physical addresses are physical addresses, and the second-level table is one byte
of rights for each page. Where VTL0 software touches a page that it may not, the secure kernel
completes reads with all ones and drops writes if it is kernel code, as `Machine.read` is, and has
#GP raised in user code (what Windows really answers is unverified). No DMA, no IOMMU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tee_sim.checks import Checks
from tee_sim.errors import GeneralProtection, VBSError
from tee_sim.machine.cpu import LogicalProcessor
from tee_sim.machine.encryption import Engine
from tee_sim.machine.machine import Machine
from tee_sim.machine.paging import R, W, Walk, X
from tee_sim.monitors.vbs import checks as rules
from tee_sim.units import PAGE, is_aligned

HV_STATUS_INVALID_PARAMETER, HV_STATUS_ACCESS_DENIED = 0x0005, 0x0006
ALL = R | W | X
ACCESS = (R, W, X)
"""The right that each kind of access needs."""


class HyperV:
    """The hypervisor of one machine: Guard and KeySource for it.

    Args:
        size: bytes of memory.
        checks: which rules are in force.

    Attributes:
        machine: the machine that it runs on.
        on_reset: called when the power was cut: what the secure kernel forgets.
    """

    def __init__(self, size: int, checks: Checks) -> None:
        self.checks = checks
        self._rights = bytearray([ALL]) * (size // PAGE)
        self.on_reset: list[Callable[[], None]] = []
        self.machine: Machine

    def is_open(self, hpa: int) -> bool:
        """Whether VTL0 has all rights to the page. What lies beyond memory is not protected."""
        index = hpa // PAGE
        return not 0 <= index < len(self._rights) or self._rights[index] == ALL

    def modify_vtl_protection_mask(self, caller: int, pages: Iterable[int], rights: int) -> None:
        """HvCallModifyVtlProtectionMask: what VTL0 may do to pages from now on.

        # Checks
        The caller is VTL1 (VTL.PROTECTION_MASK); whole pages of this memory.

        # Transition
        The rights change, and every processor's TLB is flushed (VTL.TLB_FLUSH).

        Args:
            caller: trust level of the caller.
            pages: physical addresses of pages.
            rights: `R`, `W` and `X` bits.

        Raises:
            VBSError: HV_STATUS_ACCESS_DENIED or HV_STATUS_INVALID_PARAMETER.

        Source: TLFS, "HvCallModifyVtlProtectionMask".
        """
        call, pages = "HvCallModifyVtlProtectionMask", list(pages)
        if caller < 1 and self.checks.on(rules.PROTECTION_MASK):
            raise self.checks.refuse(
                rules.PROTECTION_MASK,
                VBSError(call, "HV_STATUS_ACCESS_DENIED", HV_STATUS_ACCESS_DENIED, "not VTL1"),
            )
        for page in pages:
            if not is_aligned(page) or not 0 <= page // PAGE < len(self._rights):
                what = f"{page:#x} is no page of this memory"
                code = HV_STATUS_INVALID_PARAMETER
                raise VBSError(call, "HV_STATUS_INVALID_PARAMETER", code, what)
        for page in pages:
            self._rights[page // PAGE] = rights & ALL
        if self.checks.on(rules.TLB_FLUSH):
            self.machine.mmu.shootdown()
            self.checks.report(rules.TLB_FLUSH, f"{len(pages)} pages: every TLB was flushed")
        else:
            self.machine.mmu.forget()

    # KeySource

    def engine(self, hpa: int) -> Engine | None:
        """No page is encrypted."""
        return None

    # Guard

    def authorize(self, lp: LogicalProcessor, gva: int, page: Walk, access: int) -> int:
        """Decide one TLB fill: VTL1 (``lp.context`` is an enclave) reaches everything."""
        if lp.context is None and not self._allows(page.hpa, ACCESS[access]):
            fault = GeneralProtection(f"{gva:#x} leads to a page of VTL1")
            raise self.checks.refuse(rules.MEMORY, fault)
        return page.permissions

    def visible(self, hpa: int, context: object = None) -> bool:
        """Whether software reaches ``hpa`` from VTL0, or from VTL1 if there is a context."""
        if context is not None or self._allows(hpa, R):
            return True
        self.checks.report(rules.MEMORY, f"{hpa:#x} is memory of VTL1: reads give all ones")
        return False

    def _allows(self, hpa: int, right: int) -> bool:
        index = hpa // PAGE
        if index >= len(self._rights) or self._rights[index] & right:
            return True
        return not self.checks.on(rules.MEMORY)

    def instruction(self, lp: LogicalProcessor, mnemonic: str) -> None:
        """Everything that user mode allows is legal in both trust levels."""

    def invd(self) -> None:
        """INVD always leads to the hypervisor, which writes the cache back as WBINVD does.

        Source: Intel SDM Vol. 3C, "Instructions That Cause VM Exits Unconditionally"; that Hyper-V
        does this then is unverified.
        """
        self.machine.cache.wbinvd()

    def power_cut(self) -> None:
        """At the next boot nothing is protected, and there is no enclave."""
        self._rights[:] = bytes([ALL]) * len(self._rights)
        for forget in self.on_reset:
            forget()
