"""The on-die plaintext copy of protected DRAM pages.

A protected page is plaintext here and ciphertext in DRAM. It is fetched through its engine the
first time the processor touches it and written back, encrypted, when it is evicted; in between,
the two differ, as they do in a real machine. So a bus attack on a cached page does nothing, and a
dirty page overwrites it: evict first.

A page without an engine has no copy here: the processor uses DRAM directly, so for it cache and
DRAM never differ (stated simplification). Only for INVD and a power cut, `Cache.evict` keeps what
such a page held when it was last written back.
"""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from tee_sim.errors import UsageError
from tee_sim.machine.dram import DRAM, anonymous
from tee_sim.machine.encryption import Engine
from tee_sim.trace import Transfer
from tee_sim.units import PAGE, align_down

POOL_BASE = 1 << 40
"""Where the CPU sees the plaintext frames: far above any DRAM address."""


MIN_FRAMES = 8
"""Fewest pages of a cache: an instruction, its two operands and its stack may straddle two each."""


class KeySource(Protocol):
    """Which engine, and so which key, protects a physical page. Monitors implement it."""

    def engine(self, hpa: int) -> Engine | None:
        """The engine for the page at ``hpa``, or None for an unprotected page."""
        ...


class Translations(Protocol):
    """Whoever holds copies of translations or of code, and must be told of changes."""

    def moved(self, page: int) -> None:
        """The frame at physical address ``page`` no longer stands for the same page."""
        ...

    def modified(self, page: int) -> None:
        """Bytes in the page at physical address ``page`` were changed by other means."""
        ...


class Cache:
    """The plaintext frames, least recently used first.

    Args:
        dram: what the bus carries.
        keys: says which engine protects a page.
        frames: capacity in pages, at least `MIN_FRAMES`.

    Attributes:
        listeners: told of each page that passes between the die and DRAM.

    Raises:
        UsageError: too few frames.

    Simplified: the granule is a page, not a line; capacity is a number of pages and any page may
    take any frame. The set-associative cache for timing attacks is a separate model. An ordinary
    page is thought cached from one TLB fill to the next eviction of that page, and all its writes
    to have reached DRAM, unless `evict` was called for it: then the writes since are lost by
    `lose`.
    """

    def __init__(self, dram: DRAM, keys: KeySource, frames: int) -> None:
        if frames < MIN_FRAMES:
            raise UsageError(
                f"a cache of {frames} pages cannot serve one instruction: {MIN_FRAMES}"
            )
        self.dram, self.keys, self.capacity = dram, keys, frames
        self._map = anonymous(frames * PAGE)
        self._bytes = memoryview(self._map)
        self._anchor = ctypes.c_char.from_buffer(self._map)
        self._frames: OrderedDict[int, int] = OrderedDict()
        self._dirty: set[int] = set()
        self._free = list(range(frames - 1, -1, -1))
        self._settled: dict[int, bytes] = {}
        self.listeners: list[Callable[[Transfer], None]] = []
        self.translations: Translations | None = None

    @property
    def pointer(self) -> int:
        """Address of the frames in this process, for the CPU engine to map at `POOL_BASE`."""
        return ctypes.addressof(self._anchor)

    @property
    def size(self) -> int:
        """Bytes of all frames together."""
        return self.capacity * PAGE

    def locate(self, hpa: int, write: bool) -> int:
        """Physical address at which the CPU finds the page ``hpa`` (page-aligned).

        Fetches it through its engine if it is protected and not cached yet; ``write`` marks it
        dirty.

        Raises:
            MachineCheck: the engine refused what DRAM holds.
        """
        frame = self._frames.get(hpa)
        if frame is not None:
            self._frames.move_to_end(hpa)
        else:
            engine = self.keys.engine(hpa)
            self._pass("read", hpa)
            if engine is None:
                return self.dram.cell(hpa)
            plaintext = engine.read_page(hpa)
            frame = self._frames[hpa] = self._take_frame()
            self._bytes[frame * PAGE : (frame + 1) * PAGE] = plaintext
        if write:
            self._dirty.add(hpa)
        return POOL_BASE + frame * PAGE

    def create(self, hpa: int, content: bytes) -> None:
        """Store a whole page without fetching what DRAM held before (``content``: one page)."""
        if self.keys.engine(hpa) is None:
            self.dram.write(hpa, content)
            self._tell_modified(hpa)
            return
        frame = self._frames.get(hpa)
        if frame is None:
            frame = self._frames[hpa] = self._take_frame()
        else:
            self._tell_modified(POOL_BASE + frame * PAGE)
        self._bytes[frame * PAGE : (frame + 1) * PAGE] = content
        self._dirty.add(hpa)

    def view(self, hpa: int, write: bool = False) -> memoryview:
        """The plaintext of the whole page at ``hpa``, in place. For the processor's own use.

        Whoever writes through the view must ask for it with ``write=True`` each time.
        """
        place = self.locate(hpa, write)
        if write and self.translations is not None:
            self.translations.modified(place)
        if place >= POOL_BASE:
            return self._bytes[place - POOL_BASE : place - POOL_BASE + PAGE]
        return self.dram.bytes[place : place + PAGE]

    def read(self, hpa: int, size: int) -> bytes:
        """``size`` bytes at ``hpa`` as the processor sees them; may span pages."""
        self.require(hpa, size)
        parts = []
        while size:
            offset = hpa % PAGE
            step = min(size, PAGE - offset)
            parts.append(bytes(self.view(align_down(hpa))[offset : offset + step]))
            hpa, size = hpa + step, size - step
        return b"".join(parts)

    def write(self, hpa: int, data: bytes) -> None:
        """Store ``data`` at ``hpa`` as the processor does; may span pages."""
        self.require(hpa, len(data))
        while data:
            offset = hpa % PAGE
            step = min(len(data), PAGE - offset)
            self.view(align_down(hpa), write=True)[offset : offset + step] = data[:step]
            hpa, data = hpa + step, data[step:]

    def is_dirty(self, hpa: int) -> bool:
        """Whether the page may be written without coming back here first."""
        return hpa in self._dirty or self.keys.engine(hpa) is None

    def is_cached(self, hpa: int) -> bool:
        """Whether the page at ``hpa`` has a plaintext copy on the die."""
        return align_down(hpa) in self._frames

    def evict(self, hpa: int) -> None:
        """Write the page at ``hpa`` back, encrypted, if it is dirty, and drop the copy."""
        page = align_down(hpa)
        frame = self._frames.get(page)
        if frame is None:
            if self.keys.engine(page) is None:
                self._settled[page] = self.dram.read(page, PAGE)
                self._tell_moved(page)
            return
        place = frame * PAGE
        if page in self._dirty:
            engine = self.keys.engine(page)
            assert engine is not None, "only protected pages have frames"
            self._pass("write", page)
            engine.write_page(page, self._bytes[place : place + PAGE])
            self._dirty.discard(page)
        del self._frames[page]
        self._free.append(frame)
        self._tell_moved(POOL_BASE + place)

    def wbinvd(self) -> None:
        """Evict everything."""
        for hpa in list(self._frames):
            self.evict(hpa)
        self._settled.clear()

    def lose(self) -> None:
        """Drop everything without writing it back: what INVD and a power cut do to a cache."""
        for frame in self._frames.values():
            self._tell_moved(POOL_BASE + frame * PAGE)
        self._free.extend(self._frames.values())
        self._frames.clear()
        self._dirty.clear()
        for page, content in self._settled.items():
            self.dram.write(page, content)
            self._tell_modified(page)
        self._settled.clear()

    def overwritten(self, page: int) -> None:
        """Somebody else wrote to the page in DRAM: no earlier content of it can come back."""
        self._settled.pop(page, None)

    def _take_frame(self) -> int:
        if not self._free:
            self.evict(next(iter(self._frames)))
        return self._free.pop()

    def _pass(self, operation: str, hpa: int) -> None:
        for listener in self.listeners:
            listener(Transfer(operation, hpa))

    def _tell_moved(self, place: int) -> None:
        if self.translations is not None:
            self.translations.moved(place)

    def _tell_modified(self, place: int) -> None:
        if self.translations is not None:
            self.translations.modified(place)

    def require(self, hpa: int, size: int) -> None:
        """Raise UsageError unless the range lies in memory."""
        if hpa < 0 or size < 0 or hpa + size > self.dram.claimed:
            end = self.dram.claimed
            raise UsageError(f"physical range {hpa:#x}+{size:#x} lies outside memory (0..{end:#x})")
