"""One computer: memory, cache, MMU, logical processors and the bus, with a TEE's rules in it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from threading import RLock
from typing import Protocol

from tee_sim.checks import Checks
from tee_sim.errors import BootError, UsageError
from tee_sim.machine.bus import Bus
from tee_sim.machine.cache import Cache, KeySource
from tee_sim.machine.cpu import LogicalProcessor, Stop
from tee_sim.machine.dram import DRAM
from tee_sim.machine.entropy import Entropy
from tee_sim.machine.mmu import MMU, Guard
from tee_sim.machine.voltage import Voltage
from tee_sim.units import PAGE


class Monitor(Guard, KeySource, Protocol):
    """What a TEE brings to a machine: access rules and keys."""

    def power_cut(self) -> None:
        """Forget every guest and every key, and boot.

        Raises:
            BootError: the firmware refuses to start this machine.
        """
        ...

    def invd(self) -> None:
        """Called before INVD executes.

        Raises:
            Fault: it is refused.
        """
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
        voltage: the register for the supply voltage, if software can reach one.

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
        voltage: Voltage | None = None,
    ) -> None:
        self.dram, self.entropy, self.budget = dram, entropy, budget
        self._monitor, self.voltage = monitor, voltage
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

    def run(self, lp: LogicalProcessor, limit: int | None) -> Stop:
        """As `LogicalProcessor.run`, at this machine's supply voltage."""
        return lp.run(limit) if self.voltage is None else self.voltage.run(lp, limit)

    def visible(self, hpa: int, context: object = None) -> bool:
        """Whether software in ``context`` (None: outside any TEE) reaches the address ``hpa``."""
        return 0 <= hpa < self.dram.size and self._monitor.visible(hpa, context)

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

    def invd(self) -> None:
        """Invalidate the cache without writing it back, as ring 0 can.

        Raises:
            Fault: the TEE refuses.
        """
        self._monitor.invd()
        self.cache.lose()

    def change_dimm(self, claimed: int) -> None:
        """Boot with a memory module that claims to have ``claimed`` bytes; it has as many as ever.

        Raises:
            BootError: the firmware noticed. The old module is back in its place, and runs.
            UsageError: not as many as there are, times a power of two: a module claims address
                bits that it does not have.
        """
        times, rest = divmod(claimed, self.dram.size)
        if rest or times.bit_count() != 1:
            raise UsageError(f"claim {self.dram.size:#x} bytes times a power of two")
        self.dram.claimed = claimed
        try:
            self.power_cut()
        except BootError:
            self.dram.claimed = self.dram.size
            self.power_cut()
            raise

    def power_cut(self) -> None:
        """Lose everything on the die: cache, keys, and what the TEE knew of its guests.

        DRAM keeps its contents for a while: that is what a cold boot reads.
        """
        self.cache.lose()
        self._monitor.power_cut()
        for lp in self._processors.values():
            lp.switch(0)
        self.boots += 1
        if self.voltage is not None:
            self.voltage.reset()


def _by_page(hpa: int, size: int) -> list[tuple[int, int, int]]:
    """Split a range at page borders: (page, start, length)."""
    pieces = []
    while size > 0:
        length = min(size, PAGE - hpa % PAGE)
        pieces.append((hpa & -PAGE, hpa, length))
        hpa, size = hpa + length, size - length
    return pieces
