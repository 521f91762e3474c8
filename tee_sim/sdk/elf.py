"""Reads a program that may lie. Whatever the bytes are, the answer is an `ELF` or a LayoutError.

The tables are those of `tee_sim.abi.elf`; this is what a program that is built here may be.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from tee_sim.abi.elf import File, read, require_shared_object
from tee_sim.abi.image import Segment
from tee_sim.errors import LayoutError

_SHN_LORESERVE = 0xFF00
_NAMED = ("STT_NOTYPE", "STT_OBJECT", "STT_FUNC")
_MISSING = {"PT_INTERP": "a dynamic linker", "PT_TLS": "thread-local storage"}


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
    entry = file.elf.header.e_entry
    if not any(s.x and s.start <= entry < s.start + s.size for s in segments):
        raise LayoutError(f"the entry {entry:#x} is not in an executable segment")
    end = segments[-1].start + segments[-1].size
    return ELF(entry, segments, _symbols(file, end))


def _segments(file: File) -> tuple[Segment, ...]:
    found: list[Segment] = []
    for header in file.programs:
        if header.p_type in _MISSING:
            raise LayoutError(f"it asks for {_MISSING[header.p_type]}, which does not exist inside")
        if header.p_type == "PT_LOAD" and header.p_memsz > 0:
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
    """Names inside the image; a file without a symbol table has none, and none has two (gABI)."""
    symbols: dict[str, int] = {}
    table = next((s for s in file.sections if s.sh_type == "SHT_SYMTAB"), None)
    if table is None:
        return symbols
    if table.sh_link >= len(file.sections):
        raise LayoutError(f"symbol table: its names are in section {table.sh_link}, which is none")
    names = file.sections[table.sh_link]
    for symbol in file.table("Elf_Sym", table.sh_offset, table.sh_size, "symbol"):
        place = symbol.st_shndx  # a name for numbers that are no section
        inside = isinstance(place, int) and place < _SHN_LORESERVE and symbol.st_value < end
        if inside and symbol.st_info.type in _NAMED:
            symbols.setdefault(file.text(names, symbol.st_name), symbol.st_value)
    symbols.pop("", None)
    return symbols
