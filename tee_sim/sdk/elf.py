"""Reads an ELF file that may lie. Whatever the bytes are, the answer is an `ELF` or a LayoutError.

Only what a loader needs: the program headers, and the symbol table for names.

Source: System V ABI, "Object Files" (gABI) and its AMD64 supplement.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from struct import Struct

from tee_sim.errors import LayoutError, Truncated
from tee_sim.units import MIB, PAGE, align_down, align_up

MAX_IMAGE = 256 * MIB
"""Largest address that a segment may reach."""

MAX_HEADERS = 64
MAX_SYMBOLS = 1 << 16

_HEADER = Struct("<4xBBBB8xHHIQQQIHHHHHH")
_SEGMENT = Struct("<IIQQQQQQ")
_SECTION = Struct("<IIQQQQIIQQ")
_SYMBOL = Struct("<IBBHQQ")

_MAGIC, _CLASS64, _LITTLE, _CURRENT = b"\x7fELF", 2, 1, 1
_ET_DYN, _EM_X86_64 = 3, 62
_PT_LOAD, _PT_INTERP, _PT_TLS = 1, 3, 7
_PF_X, _PF_W, _PF_R = 1, 2, 4
_SHT_SYMTAB = 2
_SHN_LORESERVE = 0xFF00
_STT_NAMED = (0, 1, 2)  # no type, object, function


@dataclass(frozen=True)
class Segment:
    """A part of the image with one set of rights.

    Attributes:
        start: offset from the image's base, in bytes.
        size: bytes in memory; what ``content`` does not cover is zero.
        w, x: writable, executable; every segment is readable.
        content: the bytes from the file.
    """

    start: int
    size: int
    w: bool
    x: bool
    content: bytes

    def pages(self) -> range:
        """Offsets of the pages that it lies on."""
        return range(align_down(self.start), align_up(self.start + self.size), PAGE)

    def page(self, offset: int) -> bytes:
        """The 4096 bytes of the page at ``offset``; outside the segment they are zero."""
        low = offset - self.start
        part = self.content[max(low, 0) : max(low + PAGE, 0)]
        return (bytes(max(-low, 0)) + part).ljust(PAGE, b"\0")[:PAGE]


@dataclass(frozen=True)
class ELF:
    """A static position-independent executable.

    Attributes:
        entry: offset of the first instruction.
        segments: by rising address; no two share a page.
        symbols: name -> offset.
    """

    entry: int
    segments: tuple[Segment, ...]
    symbols: dict[str, int]


def read_elf(data: bytes) -> ELF:
    """Read and check an ELF file.

    Raises:
        Truncated: a header, a segment or a table reaches beyond the file.
        LayoutError: it is no static position-independent executable for x86-64, or segments
            overlap, are writable and executable, or are absurdly large.
    """
    header = _unpack(_HEADER, data, 0, "ELF header")
    klass, order, version, _abi, kind, machine, _version, entry, phoff, shoff = header[:10]
    _flags, _ehsize, phentsize, phnum, shentsize, shnum, _shstrndx = header[10:]
    if (data[:4], klass, order, version) != (_MAGIC, _CLASS64, _LITTLE, _CURRENT):
        raise LayoutError("not a 64-bit little-endian ELF file")
    if machine != _EM_X86_64:
        raise LayoutError(f"built for machine {machine}, not for x86-64 ({_EM_X86_64})")
    if kind != _ET_DYN:
        raise LayoutError(f"ELF type {kind}: expected a position-independent one ({_ET_DYN})")
    if phentsize != _SEGMENT.size or not 1 <= phnum <= MAX_HEADERS:
        raise LayoutError(f"{phnum} program headers of {phentsize} bytes")
    segments = _segments(data, phoff, phnum)
    if not any(s.x and s.start <= entry < s.start + s.size for s in segments):
        raise LayoutError(f"the entry {entry:#x} is not in an executable segment")
    end = segments[-1].start + segments[-1].size
    return ELF(entry, segments, _symbols(data, shoff, shnum, shentsize, end))


def _unpack(layout: Struct, data: bytes, offset: int, what: str) -> tuple[int, ...]:
    if offset + layout.size > len(data):
        raise Truncated(f"{what} at {offset:#x} reaches beyond the {len(data)} bytes of the file")
    return layout.unpack_from(data, offset)


def _segments(data: bytes, phoff: int, phnum: int) -> tuple[Segment, ...]:
    found: list[Segment] = []
    for index in range(phnum):
        header = _unpack(_SEGMENT, data, phoff + index * _SEGMENT.size, "program header")
        if header[0] in (_PT_INTERP, _PT_TLS):
            what = "a dynamic linker" if header[0] == _PT_INTERP else "thread-local storage"
            raise LayoutError(f"it asks for {what}, which does not exist inside")
        if header[0] == _PT_LOAD and header[6] > 0:
            found.append(_segment(data, header))
    found.sort(key=lambda segment: segment.start)
    if not found or found[0].start != 0:
        raise LayoutError("no segment starts at 0: the runtime finds its base there")
    for low, high in itertools.pairwise(found):
        if low.pages().stop > high.pages().start:
            raise LayoutError(
                f"segments at {low.start:#x} and {high.start:#x} share a page; rights are per page"
            )
    return tuple(found)


def _segment(data: bytes, header: tuple[int, ...]) -> Segment:
    _type, flags, offset, start, _physical, filesz, memsz, _align = header
    if filesz > memsz or start + memsz > MAX_IMAGE:
        raise LayoutError(f"segment at {start:#x}: {filesz} bytes in the file, {memsz} in memory")
    if offset + filesz > len(data):
        raise Truncated(f"segment at {start:#x} reaches beyond the {len(data)} bytes of the file")
    if flags & _PF_W and flags & _PF_X:
        raise LayoutError(f"segment at {start:#x} is writable and executable")
    if not flags & _PF_R:
        raise LayoutError(f"segment at {start:#x} is not readable")
    content = data[offset : offset + filesz]
    return Segment(start, memsz, bool(flags & _PF_W), bool(flags & _PF_X), content)


def _symbols(data: bytes, shoff: int, shnum: int, shentsize: int, end: int) -> dict[str, int]:
    """Names inside the image; a file without a symbol table has none."""
    symbols: dict[str, int] = {}
    if shnum == 0:
        return symbols
    if shentsize != _SECTION.size:
        raise LayoutError(f"section headers of {shentsize} bytes: expected {_SECTION.size}")
    sections = [
        _unpack(_SECTION, data, shoff + index * _SECTION.size, "section header")
        for index in range(shnum)
    ]
    for section in sections:
        if section[1] != _SHT_SYMTAB:
            continue
        offset, size, link = section[4:7]
        if link >= shnum or size // _SYMBOL.size > MAX_SYMBOLS or offset + size > len(data):
            raise LayoutError(f"symbol table of {size} bytes at {offset:#x} does not fit the file")
        names = data[sections[link][4] : sections[link][4] + sections[link][5]]
        for at in range(offset, offset + size - _SYMBOL.size + 1, _SYMBOL.size):
            name, info, _other, section_index, value, _size = _SYMBOL.unpack_from(data, at)
            text = names[name : names.find(b"\0", name)].decode("ascii", errors="replace")
            inside = 0 < section_index < _SHN_LORESERVE and value < end
            if text and inside and info & 15 in _STT_NAMED:
                symbols.setdefault(text, value)
    return symbols
