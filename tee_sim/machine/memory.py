"""Memory as a kernel manages it: free frames, and the page tables of a process."""

from __future__ import annotations

from tee_sim.errors import UsageError
from tee_sim.machine.machine import Machine
from tee_sim.machine.paging import (
    ADDRESS_MASK,
    NO_EXECUTE,
    PRESENT,
    USER,
    WRITABLE,
    is_canonical,
)
from tee_sim.units import PAGE, is_aligned


class FrameAllocator:
    """Free physical pages of one range.

    Args:
        frames: the range, in bytes.
        what: its name, for messages.
    """

    def __init__(self, frames: range, what: str) -> None:
        self._next, self._stop, self.what = frames.start, frames.stop, what
        self._freed: list[int] = []

    def take(self) -> int:
        """The physical address of a free page. Raises UsageError when there is none."""
        if self._freed:
            return self._freed.pop()
        if self._next >= self._stop:
            raise UsageError(
                f"out of {self.what}: close an enclave, or give the Platform more memory"
            )
        self._next += PAGE
        return self._next - PAGE

    @property
    def left(self) -> int:
        """How many pages are free."""
        return (self._stop - self._next) // PAGE + len(self._freed)

    def give(self, hpa: int) -> None:
        """Return a page."""
        self._freed.append(hpa)


class AddressSpace:
    """The page tables of one process: real tables in its kernel's memory.

    Args:
        machine: whose memory they stand in.
        frames: where new table pages come from.
        context: whose tables they are: a TEE's, or None for a kernel outside any TEE.

    Changes do not flush any TLB: as in hardware, whoever changes a translation must do that
    (`Machine.mmu.shootdown`), or a processor may go on using the old one.
    """

    def __init__(self, machine: Machine, frames: FrameAllocator, context: object = None) -> None:
        self._machine, self._frames, self._context = machine, frames, context
        self._tables: list[int] = []
        self.cr3 = self._new_table()

    def map(self, gva: int, hpa: int, *, writable: bool = True, executable: bool = False) -> None:
        """Let user code reach the page ``hpa`` at ``gva`` (both page-aligned)."""
        if not is_aligned(gva) or not is_aligned(hpa):
            raise UsageError(f"map whole pages: {gva:#x} -> {hpa:#x} is not page-aligned")
        flags = PRESENT | USER | (WRITABLE if writable else 0) | (0 if executable else NO_EXECUTE)
        self.set_entry(gva, hpa | flags)

    def entry(self, gva: int) -> int:
        """The page-table entry for ``gva``; 0 if there is none. Raises as `entry_address`."""
        return self._read(gva)

    def _read(self, gva: int) -> int:
        place = self.entry_address(gva)
        return self._machine.dram.qwords[place >> 3] if place else 0

    def set_entry(self, gva: int, value: int) -> None:
        """Write the page-table entry for ``gva``, making tables as needed."""
        if not 0 <= value < 1 << 64:
            raise UsageError(f"{value:#x} does not fit a page-table entry of 64 bits")
        place = self.entry_address(gva, create=True)
        self._machine.dram.qwords[place >> 3] = value
        self._machine.mmu.modified(place & -PAGE)

    def entry_address(self, gva: int, create: bool = False) -> int:
        """Physical address of the page-table entry for ``gva``; 0 if a table is missing.

        Raises:
            UsageError: ``gva`` is not canonical, a table is not in memory that the host reaches,
                or the tables were given back.
        """
        if not is_canonical(gva):
            raise UsageError(f"{gva:#x} is not a canonical address")
        if not self._tables:
            raise UsageError("these page tables were given back: their program was taken down")
        qwords, table = self._machine.dram.qwords, self.cr3
        place = 0
        for shift in (39, 30, 21, 12):
            if not self._machine.visible(table, self._context):
                raise UsageError(
                    f"{gva:#x}: a page table at {table:#x} is not in the host's memory"
                )
            place = table + ((gva >> shift) & 0x1FF) * 8
            if shift == 12:
                break
            entry = qwords[place >> 3]
            if not entry & PRESENT:
                if not create:
                    return 0
                entry = self._new_table() | PRESENT | WRITABLE | USER
                qwords[place >> 3] = entry
            table = entry & ADDRESS_MASK
        return place

    def translate(self, gva: int) -> int | None:
        """Physical address of ``gva``, or None if it is not mapped."""
        entry = self._read(gva)
        return (entry & ADDRESS_MASK) + gva % PAGE if entry & PRESENT else None

    def free(self) -> None:
        """Give the table pages back, and forget every translation. Nothing is mapped any more."""
        if not self._tables:
            return
        self._machine.mmu.retire(self.cr3, self._tables)
        for table in self._tables:
            self._frames.give(table)
        self._tables.clear()

    def _new_table(self) -> int:
        table = self._frames.take()
        self._machine.dram.write(table, bytes(PAGE))
        self._machine.mmu.modified(table)
        self._tables.append(table)
        return table
