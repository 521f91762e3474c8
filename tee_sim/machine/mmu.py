"""The memory-management unit: what happens at a TLB miss.

::

    TLB miss -> walk the host's page tables -> ask the Guard -> fetch through cache and engine
                 (#PF)                          (a named check)   (#MC)

This is where hardware makes its access decisions, so it is where every access rule of every TEE
is enforced. The code between two misses runs at full speed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from tee_sim.errors import Fault
from tee_sim.machine.cache import POOL_BASE, Cache
from tee_sim.machine.paging import ACCESS_NAMES, FETCH, WRITE, R, W, Walk, X, walk
from tee_sim.trace import TLBFill
from tee_sim.units import PAGE

if TYPE_CHECKING:
    from tee_sim.checks import Checks
    from tee_sim.machine.cpu import LogicalProcessor

ABORT_BASE = 2 << 40
"""Where the CPU sees the abort page: one page that reads as all ones, one that swallows writes.
A third page is scratch for the engine (`tee_sim.machine.emulator`)."""


class Guard(Protocol):
    """Which accesses a TEE allows. Monitors implement it."""

    def authorize(self, lp: LogicalProcessor, gva: int, page: Walk, access: int) -> int:
        """Decide one TLB fill.

        Returns:
            The permissions (`R`, `W`, `X` bits) to enter in the TLB; 0 sends the access to the
            abort page.

        Raises:
            Fault: the access is refused.
        """
        ...

    def visible(self, hpa: int, context: object = None) -> bool:
        """Whether software in ``context`` reaches ``hpa``; if not, it gets the abort page.

        Page tables count as reached by whoever runs on them. None is software outside the TEE.
        """
        ...

    def instruction(self, lp: LogicalProcessor, mnemonic: str) -> None:
        """Called before a sensitive instruction (CPUID, SYSCALL, IN, INT n, ...) executes.

        Raises:
            Fault: it is illegal in the current mode.
        """
        ...


class MMU:
    """Answers the TLB misses of all logical processors.

    Decisions are remembered per (address space, protection context) until something that they
    rest on changes. That replaces the paging-structure caches of real hardware; every refusal is
    decided anew.

    Args:
        cache: where pages are fetched through.
        guard: the TEE's access rules.
        checks: receives trace events.
    """

    def __init__(self, cache: Cache, guard: Guard, checks: Checks) -> None:
        self.cache, self.guard, self.checks = cache, guard, checks
        self.processors: list[LogicalProcessor] = []
        self._abort = ctypes.create_string_buffer(b"\xff" * PAGE + bytes(3 * PAGE), 4 * PAGE)
        self._decisions: dict[tuple[int, object], dict[int, tuple[int, int]]] = {}
        self._walks: dict[tuple[int, int, int], int] = {}
        self._tables: set[int] = set()
        self._tables_exposed = False
        self._writable: set[int] = set()
        self._executable: set[int] = set()
        cache.translations = self

    @property
    def abort_pointer(self) -> int:
        """Page-aligned address, in this process, of three pages to map at `ABORT_BASE`."""
        base = ctypes.addressof(self._abort)
        aligned = (base + PAGE - 1) & -PAGE
        ctypes.memset(aligned, 0xFF, PAGE)
        return aligned

    def decisions(self, context: tuple[int, object]) -> dict[int, tuple[int, int]]:
        """The remembered decisions of one (address space, protection context)."""
        return self._decisions.setdefault(context, {})

    def fill(self, lp: LogicalProcessor, gva: int, access: int) -> tuple[int, int]:
        """Answer one TLB miss.

        Args:
            lp: the processor that missed; its ``cr3`` and ``context`` say where it is.
            gva: linear address.
            access: `READ`, `WRITE` or `FETCH`.

        Returns:
            The physical page as the CPU engine sees it, and the permissions to enter.

        Raises:
            Fault: the page table, the Guard or the memory engine refused.
        """
        known = lp.decisions.get((gva >> 12) * 3 + access)
        if known is None or self.checks.tracer is not None:
            known = self._decide(lp, gva, access)
        return known

    def _decide(self, lp: LogicalProcessor, gva: int, access: int) -> tuple[int, int]:
        page = self._walk(lp, gva, access)
        allowed = self.guard.authorize(lp, gva, page, access)
        if allowed == 0:
            return (ABORT_BASE + PAGE, W) if access == WRITE else (ABORT_BASE, R | X)
        place = self.cache.locate(page.hpa, access == WRITE)
        decision = place, self._write_xor_execute(page.hpa, place, allowed, access)
        if not self._tables_exposed:
            lp.decisions[(gva >> 12) * 3 + access] = decision
        if self.checks.tracer is not None:
            self.checks.emit(
                TLBFill(
                    lp.index,
                    gva,
                    page.hpa,
                    ACCESS_NAMES[access],
                    place >= POOL_BASE,
                    lp.context is not None,
                )
            )
        return decision

    def _walk(self, lp: LogicalProcessor, gva: int, access: int) -> Walk:
        """Walk the page tables, and remember what they rest on."""
        visible, context = self.guard.visible, lp.context
        qwords = self.cache.dram.qwords
        page = walk(qwords, lp.cr3, gva, access, lambda hpa: visible(hpa, context))
        tables = {entry & -PAGE for entry in page.entries}
        if not tables <= self._tables:
            self._tables |= tables
            if tables & self._writable:
                self._tables_exposed = True
                self.forget()
        return page

    def _write_xor_execute(self, hpa: int, place: int, allowed: int, access: int) -> int:
        """Permissions such that no page is writable and executable at the same moment.

        The engine caches translated code and would not notice a store to it; a page that changes
        sides drops that cache. Withholding `W` until the first write is also the dirty bit.
        """
        if access == FETCH:
            if place in self._writable:
                self._writable.discard(place)
                self.shootdown()
            self._executable.add(place)
            return allowed & (R | X)
        if access == WRITE:
            if place in self._executable:
                self._executable.discard(place)
                self.flush_code()
                self.shootdown()
            if place in self._tables:
                self._tables_exposed = True
                self.forget()
            self._writable.add(place)
            return allowed & (R | W)
        if place in self._executable:
            return allowed & (R | X)
        if place in self._writable and self.cache.is_dirty(hpa):
            return allowed & (R | W)
        return allowed & R

    def translate(self, lp: LogicalProcessor, gva: int, access: int) -> int:
        """Physical page of a linear address by the page tables alone, for an instruction's operand.

        Raises:
            PageFault: as any access by user code.
        """
        key = lp.cr3, gva >> 12, access
        hpa = self._walks.get(key)
        if hpa is None:
            hpa = self._walk(lp, gva, access).hpa
            if not self._tables_exposed:
                self._walks[key] = hpa
        return hpa

    def peek(self, lp: LogicalProcessor, gva: int, size: int) -> bytes:
        """Bytes of code at ``gva`` that the processor is executing; short at an unmapped page."""
        place = lp.fetched.get(gva >> 12)
        if place is not None and gva % PAGE + size <= PAGE:
            return self._bytes_at(place, gva % PAGE, size)
        code = b""
        while size > 0:
            place = lp.fetched.get(gva >> 12)
            try:
                if place is None:
                    place, _ = self.fill(lp, gva, FETCH)
            except Fault:
                return code
            offset = gva % PAGE
            step = min(size, PAGE - offset)
            code += self._bytes_at(place, offset, step)
            gva, size = gva + step, size - step
        return code

    def _bytes_at(self, place: int, offset: int, size: int) -> bytes:
        if place >= ABORT_BASE:
            return b"\xff" * size
        base = self.cache.dram.pointer
        if place >= POOL_BASE:
            base, place = self.cache.pointer, place - POOL_BASE
        return ctypes.string_at(base + place + offset, size)

    def forget(self) -> None:
        """Drop every remembered decision; TLB entries stay, as they do in hardware."""
        for decisions in self._decisions.values():
            decisions.clear()
        self._walks.clear()

    def shootdown(self) -> None:
        """Drop every remembered decision and flush every processor's TLB."""
        self.forget()
        for lp in self.processors:
            lp.flush_tlb()

    def retire(self, cr3: int, tables: Iterable[int]) -> None:
        """The page tables at ``cr3`` are ordinary memory from now on."""
        self._tables.difference_update(tables)
        in_use = [lp.decisions for lp in self.processors]
        for key, decisions in list(self._decisions.items()):
            if key[0] == cr3 and not any(decisions is other for other in in_use):
                del self._decisions[key]
        self.shootdown()

    def flush_code(self) -> None:
        """Drop every processor's translated code."""
        for lp in self.processors:
            lp.flush_code()

    def moved(self, page: int) -> None:
        """See `tee_sim.machine.cache.Translations`."""
        self._writable.discard(page)
        if page in self._executable:
            self._executable.discard(page)
            self.flush_code()
        self.shootdown()

    def modified(self, page: int) -> None:
        """See `tee_sim.machine.cache.Translations`."""
        if page in self._executable:
            self.flush_code()
        if page in self._tables:
            self.forget()
