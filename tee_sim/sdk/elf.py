"""Reads a program that may lie. Whatever the bytes are, the answer is an `ELF` or a LayoutError.

The tables are those of `tee_sim.abi.elf`; this is what a program that is built here may be.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from tee_sim.abi.elf import File, Segment, SegmentType, Symbol, read, require_shared_object
from tee_sim.errors import LayoutError

MAX_SYMBOLS = 1 << 16

_SHT_SYMTAB = 2
_SHN_LORESERVE = 0xFF00
_STT_NAMED = (0, 1, 2)  # no type, object, function


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
    file = read(data)
    require_shared_object(file)
    segments = _segments(file)
    entry = file.header.entry
    if not any(s.x and s.start <= entry < s.start + s.size for s in segments):
        raise LayoutError(f"the entry {entry:#x} is not in an executable segment")
    end = segments[-1].start + segments[-1].size
    return ELF(entry, segments, _symbols(file, end))


def _segments(file: File) -> tuple[Segment, ...]:
    found: list[Segment] = []
    for header in file.programs:
        if header.type in (SegmentType.INTERP, SegmentType.TLS):
            interp = header.type == SegmentType.INTERP
            what = "a dynamic linker" if interp else "thread-local storage"
            raise LayoutError(f"it asks for {what}, which does not exist inside")
        if header.type == SegmentType.LOAD and header.memsz > 0:
            segment = file.segment(header)
            if segment.w and segment.x:
                raise LayoutError(f"segment at {segment.start:#x} is writable and executable")
            if not segment.r:
                raise LayoutError(f"segment at {segment.start:#x} is not readable")
            found.append(segment)
    found.sort(key=lambda segment: segment.start)
    if not found or found[0].start != 0:
        raise LayoutError("no segment starts at 0: the runtime finds its base there")
    for low, high in itertools.pairwise(found):
        if low.pages().stop > high.pages().start:
            raise LayoutError(
                f"segments at {low.start:#x} and {high.start:#x} share a page; rights are per page"
            )
    return tuple(found)


def _symbols(file: File, end: int) -> dict[str, int]:
    """Names inside the image; a file without a symbol table has none."""
    symbols: dict[str, int] = {}
    sections = file.sections()
    for section in sections:
        if section.type != _SHT_SYMTAB:
            continue
        count = section.size // Symbol.SIZE
        if section.link >= len(sections) or count > MAX_SYMBOLS:
            raise LayoutError(f"a symbol table of {count} entries, named by {section.link}")
        texts = sections[section.link]
        names = file.data[texts.offset : texts.offset + texts.size]
        for symbol in file.table(Symbol, section.offset, count, "symbol table"):
            start = symbol.name
            text = names[start : names.find(b"\0", start)].decode("ascii", errors="replace")
            inside = 0 < symbol.shndx < _SHN_LORESERVE and symbol.value < end
            if text and inside and symbol.info & 15 in _STT_NAMED:
                symbols.setdefault(text, symbol.value)
    return symbols
