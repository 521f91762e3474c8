"""Memory as the bus sees it: a flat array of bytes, ciphertext where a page is protected.

Nothing in this file checks anything. Software reaches DRAM through the processor
(`tee_sim.machine.cache`); whoever has a probe on the bus reaches it here.
"""

from __future__ import annotations

import ctypes
import mmap
import sys

from tee_sim.errors import UsageError
from tee_sim.units import MIB, PAGE, is_aligned

MAX_FOUND = 100_000
"""Places after which a search gives up."""


def anonymous(size: int) -> mmap.mmap:
    """``size`` bytes of zeros that cost nothing until they are written.

    Not the default, which is shared memory: there even reading takes a page.
    """
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


class DRAM:
    """``size`` bytes (a multiple of the page size) of zeroed physical memory from address 0.

    The pages are reserved lazily by the operating system, so an untouched machine costs nothing.

    Attributes:
        size: bytes.
        claimed: bytes that the identification chip (SPD) of the modules says there are. A chip
            that lies makes *aliases*: addresses from ``size`` on reach the same cells again.
        bytes: a writable byte view of all of it.
        qwords: the same memory as little-endian 64-bit words, for page-table walks.

    Raises:
        UsageError: ``size`` is not a positive multiple of the page size, or more than there is.
    """

    def __init__(self, size: int) -> None:
        if size <= 0 or not is_aligned(size):
            raise UsageError(f"memory size {size:#x} is not a positive multiple of {PAGE:#x}")
        self.size = self.claimed = size
        try:
            self._map = anonymous(size)
        except (OSError, OverflowError) as error:
            raise UsageError(f"this computer has no room for {size // MIB} MiB: {error}") from None
        self.bytes = memoryview(self._map)
        self.qwords = self.bytes.cast("Q")
        self._anchor = ctypes.c_char.from_buffer(self._map)

    @property
    def pointer(self) -> int:
        """Address of the array in this process, for the CPU engine to map."""
        return ctypes.addressof(self._anchor)

    def cell(self, hpa: int) -> int:
        """Which of the ``size`` bytes an address reaches: the modules ignore its upper bits."""
        return hpa % self.size

    def read(self, hpa: int, size: int) -> bytes:
        """Return ``size`` bytes at ``hpa``. Raises UsageError outside memory."""
        start = self._start(hpa, size)
        return bytes(self.bytes[start : start + size])

    def write(self, hpa: int, data: bytes) -> None:
        """Store ``data`` at ``hpa``. Raises UsageError outside memory."""
        start = self._start(hpa, len(data))
        self.bytes[start : start + len(data)] = data

    def find(self, pattern: bytes) -> list[int]:
        """Addresses of every place where ``pattern`` (at least 4 bytes) stands.

        Raises:
            UsageError: the pattern is too short, or stands in more than `MAX_FOUND` places.
        """
        if len(pattern) < 4:
            raise UsageError("search for at least 4 bytes: shorter patterns are everywhere")
        found: list[int] = []
        at = self._map.find(pattern, 0)
        while at >= 0:
            if len(found) == MAX_FOUND:
                raise UsageError(
                    f"{pattern[:8].hex(' ')} ... stands in more than {MAX_FOUND} places: "
                    "search for something rarer"
                )
            found.append(at)
            at = self._map.find(pattern, at + 1)
        return found

    def _start(self, hpa: int, size: int) -> int:
        """The first of the cells that a range reaches."""
        start = self.cell(hpa) if hpa < self.claimed else hpa
        if hpa < 0 or size < 0 or start + size > self.size:
            raise UsageError(
                f"physical range {hpa:#x}+{size:#x} lies outside memory (0..{self.size:#x})"
            )
        return start
