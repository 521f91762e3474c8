"""One computer: memory, cache, MMU, logical processors and the bus, with a TEE's rules in it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from threading import RLock
from typing import Protocol

from tee_sim.checks import Checks
from tee_sim.errors import UsageError
from tee_sim.machine.bus import Bus
from tee_sim.machine.cache import Cache, KeySource
from tee_sim.machine.cpu import LogicalProcessor
from tee_sim.machine.dram import DRAM
from tee_sim.machine.entropy import Entropy
from tee_sim.machine.mmu import MMU, Guard
from tee_sim.units import PAGE


class Monitor(Guard, KeySource, Protocol):
    """What a TEE brings to a machine: access rules and keys."""

    def power_cut(self) -> None:
        """Forget every key and every guest."""
        ...


class Machine:
    """The hardware of one server.

    Args:
        dram: its memory.
        monitor: the TEE's rules and keys.
        checks: which checks are in force; receives trace events.
        entropy: for RDRAND.
        processors: how many logical processors there are (created on first use).
        cache_pages: pages of protected memory that fit on the die.
        budget: instructions that one uninterrupted run may take.

    Attributes:
        boots: how often it was switched on.
        lock: held by the Python thread whose call runs on it: engines are not thread-safe.
    """

    def __init__(
        self,
        dram: DRAM,
        monitor: Monitor,
        checks: Checks,
        entropy: Entropy,
        *,
        processors: int,
        cache_pages: int,
        budget: int,
    ) -> None:
        self.dram, self.entropy, self.budget = dram, entropy, budget
        self._monitor = monitor
        self.cache = Cache(dram, monitor, cache_pages)
        self.mmu = MMU(self.cache, monitor, checks)
        self.bus = Bus(dram, self.mmu, checks)
        self.processor_count = processors
        self._processors: dict[int, LogicalProcessor] = {}
        self.boots = 1
        self.lock: AbstractContextManager[object] = RLock()

    def __repr__(self) -> str:
        return f"<Machine: {self.dram.size:#x} bytes, {self.processor_count} logical processors>"

    def processor(self, index: int) -> LogicalProcessor:
        """Logical processor ``index``. Raises UsageError if the machine has fewer."""
        if not 0 <= index < self.processor_count:
            raise UsageError(f"this machine has logical processors 0-{self.processor_count - 1}")
        if index not in self._processors:
            self._processors[index] = LogicalProcessor(index, self.mmu, self.entropy, self.budget)
        return self._processors[index]

    def visible(self, hpa: int) -> bool:
        """Whether ring-0 software outside any TEE reaches the physical address ``hpa``."""
        return 0 <= hpa < self.dram.size and self._monitor.visible(hpa)

    def read(self, hpa: int, size: int) -> bytes:
        """Read physical memory as ring-0 software outside any TEE does.

        Args:
            hpa: first byte.
            size: bytes; may span pages.

        Returns:
            The bytes; all ones where the Guard sends the access to the abort page.

        Raises:
            UsageError: outside memory.
        """
        self.cache.require(hpa, size)
        return b"".join(
            self.cache.read(start, length) if self._monitor.visible(page) else b"\xff" * length
            for page, start, length in _by_page(hpa, size)
        )

    def write(self, hpa: int, data: bytes) -> None:
        """Write physical memory as ring-0 software does; dropped where the Guard says so."""
        self.cache.require(hpa, len(data))
        at = 0
        for page, start, length in _by_page(hpa, len(data)):
            if self._monitor.visible(page):
                self.cache.write(start, data[at : at + length])
            at += length

    def footprint(self, hpa: int) -> list[tuple[int, int]]:
        """Where DRAM holds the page ``hpa``: (address, bytes) of its data and integrity metadata.

        Public knowledge: it follows from the layout of the protected memory.
        """
        page = hpa & -PAGE
        engine = self._monitor.engine(page)
        metadata = engine.metadata_ranges(page) if engine is not None else []
        return [(page, PAGE), *((start, size) for _name, start, size in metadata)]

    def power_cut(self) -> None:
        """Lose everything on the die: cache, keys, and what the TEE knew of its guests.

        DRAM keeps its contents for a while: that is what a cold boot reads.
        """
        self.cache.lose()
        self._monitor.power_cut()
        for lp in self._processors.values():
            lp.switch(0)
        self.boots += 1


def _by_page(hpa: int, size: int) -> list[tuple[int, int, int]]:
    """Split a range at page borders: (page, start, length)."""
    pieces = []
    while size > 0:
        length = min(size, PAGE - hpa % PAGE)
        pieces.append((hpa & -PAGE, hpa, length))
        hpa, size = hpa + length, size - length
    return pieces
