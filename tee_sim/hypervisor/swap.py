"""More enclave than EPC: the honest kernel's pager.

When the EPC is full, the page that has been there longest goes to the host's disk, whoever owns it;
when a program faults on a page that is out, it comes back in place of another. The program notices
nothing but time.

::

    take a page:  EBLOCK, ETRACK, interrupt whoever is inside, EWB -> disk, version -> VA slot
    page fault:   disk, version -> ELDU into a page that was taken

The disk is the adversary's to read and to write. What it can do with that is to destroy pages.

Source: Intel SDM Vol. 3D, "OS Management of EPC Pages"; the same steps as Linux
(``arch/x86/kernel/cpu/sgx/main.c``).

Simplified: first in, first out, and one page at a time; Linux evicts sixteen at once, and spares
those that were used lately.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tee_sim.abi.sgx import VA_SLOT, EvictedPage, PageType
from tee_sim.errors import EnclaveLost, Fault, MachineCheck, PageFault, SGXError, UsageError
from tee_sim.machine.paging import ADDRESS_MASK
from tee_sim.units import PAGE

if TYPE_CHECKING:
    from tee_sim.hypervisor.sgx import SGXDriver, SGXGuest

ROOT = -1
"""Stands for the SECS page where others have their offset in ELRANGE."""

LEAST = 16
"""Fewest pages that may take turns: one instruction (8), its thread and save area, must all fit."""


@dataclass
class Stored:
    """One page on the host's disk.

    Attributes:
        page: ciphertext and metadata.
        slot: physical address of its version.
        pte: its page-table entry, for when it is back; 0 for a SECS.
    """

    page: EvictedPage
    slot: int
    pte: int = 0


class Swapper:
    """Gives out EPC pages, and makes room for them.

    Args:
        driver: the leaves, and the free pages.

    Attributes:
        disk: the pages that are out, by enclave and offset.
    """

    def __init__(self, driver: SGXDriver) -> None:
        self._driver = driver
        self.disk: dict[tuple[SGXGuest, int], Stored] = {}
        self._resident: dict[tuple[SGXGuest, int], None] = {}
        self._arrays: list[int] = []
        self._slots: list[int] = []

    def clear(self) -> None:
        """The machine was switched on again: no enclave has a page any more."""
        for guest, _ in [*self._resident, *self.disk]:
            guest.pages.clear()
        for kept in (self.disk, self._resident, self._arrays, self._slots):
            kept.clear()

    def take(self, guest: SGXGuest, offset: int) -> int:
        """A free EPC page for the page at ``offset`` of ``guest``, whose SECS page stays in.

        Raises:
            UsageError: the EPC is full, and too small to share.
        """
        while self._is_full() and self._make_room(guest):
            pass
        hpa = self._driver.epc.take()
        self._resident[guest, offset] = None
        return hpa

    def evict(self, guest: SGXGuest, offset: int) -> None:
        """Write a page out to the disk; its page of the EPC is free.

        From EBLOCK there is no way back but through EWB. A page that cannot be written out is
        thrown away, and that is the end of its enclave.

        Raises:
            UsageError: it is not in the EPC, or no page is left for its version.
            SGXError: a SECS whose enclave has other pages there.
        """
        if not self.is_resident(guest, offset):
            raise UsageError(f"{guest} has no page at {offset:#x} in the EPC")
        self._slot()
        if offset == ROOT:
            self._write_out(guest, ROOT, guest.secs_hpa, 0)
            return
        hpa, pte = guest.pages[offset], guest.space.entry(guest.base + offset)
        guest.space.set_entry(guest.base + offset, 0)
        try:
            self._driver.eblock(hpa)
            self._driver.etrack(guest.secs_hpa)
            with guest.interrupted():
                self._write_out(guest, offset, hpa, pte)
        except MachineCheck:
            raise
        except (Fault, SGXError, UsageError) as error:
            with guest.interrupted():
                del guest.pages[offset], self._resident[guest, offset]
                self._driver.eremove(hpa)
                self._driver.epc.give(hpa)
            cause = error if isinstance(error, Fault) else None
            text = f"its page at {offset:#x} could not be written out: {error}"
            guest.lost = EnclaveLost(text, fault=cause)

    def _write_out(self, guest: SGXGuest, offset: int, hpa: int, pte: int) -> None:
        """EWB, with a slot of another version array if somebody has taken this one away."""
        while (guest, offset) not in self.disk:
            slot = self._slot()
            try:
                self.disk[guest, offset] = Stored(self._driver.ewb(hpa, slot), slot, pte)
            except PageFault as fault:
                if fault.address != slot:
                    raise
                lost = slot & -PAGE
                self._arrays = [page for page in self._arrays if page != lost]
                self._slots = [place for place in self._slots if place & -PAGE != lost]
        self._slots.pop()
        self.give(guest, offset, hpa)

    def load(self, guest: SGXGuest, offset: int) -> bool:
        """Bring a page back; whether it was out.

        Raises:
            SGXError: it is not what was evicted.
        """
        self._driver.start_over()
        if (guest, offset) not in self.disk:
            return False
        if offset != ROOT:
            self.load(guest, ROOT)
        hpa, stored = self.take(guest, offset), self.disk[guest, offset]
        try:
            secs_hpa = 0 if offset == ROOT else guest.secs_hpa
            enclave = self._driver.eldu(hpa, secs_hpa, stored.slot, stored.page)
        except BaseException:
            self.give(guest, offset, hpa)
            raise
        if enclave is not None:
            guest.secs_hpa, guest.enclave = hpa, enclave
        else:
            guest.pages[offset] = hpa
            guest.space.set_entry(guest.base + offset, hpa | stored.pte & ~ADDRESS_MASK)
        del self.disk[guest, offset]
        self._slots.append(stored.slot)
        return True

    def give(self, guest: SGXGuest, offset: int, hpa: int) -> None:
        """Take a page back that EWB or EREMOVE has freed, or that was never used."""
        guest.pages.pop(offset, None)
        del self._resident[guest, offset]
        self._driver.epc.give(hpa)

    def forget(self, guest: SGXGuest) -> None:
        """The enclave is gone. A slot may go on holding a version; the next one replaces it."""
        for key in [key for key in self.disk if key[0] is guest]:
            self._slots.append(self.disk.pop(key).slot)
        for key in [key for key in self._resident if key[0] is guest]:
            del self._resident[key]
        if not self.disk:
            for page in self._arrays:
                # Somebody may have put another page there.
                if self._driver.epcm(page).page_type == PageType.VA:
                    self._driver.eremove(page)
                    self._driver.epc.give(page)
            self._arrays, self._slots = [], []

    def is_resident(self, guest: SGXGuest, offset: int) -> bool:
        """Whether the page is in the EPC."""
        self._driver.start_over()
        return (guest, offset) in self._resident and (offset == ROOT or offset in guest.pages)

    def _is_full(self) -> bool:
        # Without a free slot nothing can be evicted, so a page is kept for a version array.
        return self._driver.epc.left <= (0 if self._slots else 1)

    def _make_room(self, keep: SGXGuest) -> bool:
        """Evict the page that has been in longest; whether there was one."""
        if len(self._resident) < LEAST:
            return False
        for guest, offset in self._resident:
            if offset in guest.pages or (offset == ROOT and guest is not keep and not guest.pages):
                self.evict(guest, offset)
                return True
        return False

    def _slot(self) -> int:
        """A free version slot, in a new version array if there is none."""
        if not self._slots:
            page = self._driver.epc.take()
            self._driver.epa(page)
            self._arrays.append(page)
            self._slots = list(range(page, page + PAGE, VA_SLOT))
        return self._slots[-1]
