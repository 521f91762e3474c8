"""A probe on the memory bus: raw DRAM, with no checks, no coherence and no invalidation.

It sees what the memory modules hold. A page that the processor has cached may differ: evict it
first (`tee_sim.machine.cache`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tee_sim.checks import Checks
from tee_sim.machine.dram import DRAM
from tee_sim.machine.mmu import MMU
from tee_sim.trace import Bus as BusEvent
from tee_sim.trace import Transfer
from tee_sim.units import PAGE


class Bus:
    """Whoever sits between processor and memory modules (an interposer, a cold boot, a DMA chip).

    Args:
        dram: the modules.
        mmu: told of writes, because page tables may be among what was written.
        checks: receives trace events.
    """

    def __init__(self, dram: DRAM, mmu: MMU, checks: Checks) -> None:
        self.dram, self._mmu, self._checks = dram, mmu, checks

    def read(self, hpa: int, size: int) -> bytes:
        """``size`` bytes as they are on the wires. Raises UsageError outside memory."""
        self._checks.emit(BusEvent("read", hpa, size))
        return self.dram.read(hpa, size)

    def write(self, hpa: int, data: bytes) -> None:
        """Change what the modules hold. Raises UsageError outside memory."""
        self._checks.emit(BusEvent("write", hpa, len(data)))
        self.dram.write(hpa, data)
        for page in range(hpa & -PAGE, hpa + len(data), PAGE):
            self._mmu.cache.overwritten(self.dram.cell(page))
            self._mmu.modified(self.dram.cell(page))

    @contextmanager
    def listening(self) -> Iterator[list[Transfer]]:
        """Record the addresses that pass within the block: reads of memory, and write-backs.

        The list fills while the block runs. An access that the processor's cache answers does not
        pass here: evict pages to see it.

        Simplified: whole pages pass, where real hardware moves lines of 64 bytes.
        """
        passed: list[Transfer] = []
        self._mmu.cache.listeners.append(passed.append)
        try:
            yield passed
        finally:
            self._mmu.cache.listeners.remove(passed.append)

    def search(self, pattern: bytes) -> list[int]:
        """Physical addresses at which ``pattern`` stands anywhere in memory."""
        return self.dram.find(pattern)
