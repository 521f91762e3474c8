"""ELF files: the tables that say what is loaded where, read from bytes that may lie.

`read` takes any 64-bit little-endian file. What kind of program it has to be, each caller decides:
`tee_sim.sdk.elf` for programs that are built here, `tee_sim.abi.signed` for signed enclaves.

Source: System V ABI, "Object Files" (gABI) and its AMD64 supplement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeVar

from tee_sim.abi.layout import Bits, Struct, at, bit
from tee_sim.errors import LayoutError, Truncated
from tee_sim.units import MIB, PAGE, align_down, align_up

MAGIC = b"\x7fELF"
X86_64 = 62
"""ELFHeader.machine of this processor."""

SHARED_OBJECT = 3
"""ELFHeader.kind of a position-independent file (ET_DYN)."""

MAX_IMAGE = 256 * MIB
"""Largest address that a segment may reach."""

MAX_HEADERS = 64
MAX_ROWS = 1 << 20
"""Most entries of any table that are read."""

_CLASS64, _LITTLE, _CURRENT = 2, 1, 1
_GABI: Final = "System V ABI, "


class SegmentType(IntEnum):
    """Kinds of segment that have a name here; files have others, too."""

    LOAD = 1
    DYNAMIC = 2
    INTERP = 3
    NOTE = 4
    PHDR = 6
    TLS = 7
    GNU_EH_FRAME = 0x6474E550
    GNU_STACK = 0x6474E551
    GNU_RELRO = 0x6474E552


# fmt: off
class ELFHeader(Struct, size=64, source=_GABI + '"ELF Header"', reserved="ignore"):
    """Where the other tables are."""

    magic:     bytes = at(0,  4, "7F and ELF")
    klass:     int   = at(4,  1, "2: addresses of 64 bits")
    order:     int   = at(5,  1, "1: little-endian")
    version:   int   = at(6,  1, "1")
    kind:      int   = at(16, 2, "3: position-independent")
    machine:   int   = at(18, 2, "62: x86-64")
    entry:     int   = at(24, 8, "address of the first instruction")
    phoff:     int   = at(32, 8, "where the program headers are in the file")
    shoff:     int   = at(40, 8, "where the section headers are in the file")
    phentsize: int   = at(54, 2, "bytes of a program header")
    phnum:     int   = at(56, 2, "number of program headers")
    shentsize: int   = at(58, 2, "bytes of a section header")
    shnum:     int   = at(60, 2, "number of section headers")
    shstrndx:  int   = at(62, 2, "which section holds the names of sections")


class Rights(Bits, size=4, source=_GABI + '"Segment Permissions"', reserved="ignore"):
    """What a program may do with a segment."""

    x: bool = bit(0, "execute")
    w: bool = bit(1, "write")
    r: bool = bit(2, "read")


class ProgramHeader(Struct, size=56, source=_GABI + '"Program Header"'):
    """One segment: a part of the file, and where it belongs in memory."""

    type:   int    = at(0,  4, "kind of segment")
    flags:  Rights = at(4,  4, "rights")
    offset: int    = at(8,  8, "where it is in the file")
    vaddr:  int    = at(16, 8, "where it is in memory")
    paddr:  int    = at(24, 8, "unused")
    filesz: int    = at(32, 8, "bytes in the file")
    memsz:  int    = at(40, 8, "bytes in memory; what the file does not have is zero")
    align:  int    = at(48, 8, "alignment")


class SectionHeader(Struct, size=64, source=_GABI + '"Section Header"'):
    """One section: a part of the file with a name."""

    name:      int = at(0,  4, "offset of its name in the section of names")
    type:      int = at(4,  4, "kind of section")
    flags:     int = at(8,  8, "properties")
    addr:      int = at(16, 8, "where it is in memory, 0 if it is not loaded")
    offset:    int = at(24, 8, "where it is in the file")
    size:      int = at(32, 8, "bytes")
    link:      int = at(40, 4, "another section that it needs")
    info:      int = at(44, 4, "depends on the kind")
    addralign: int = at(48, 8, "alignment")
    entsize:   int = at(56, 8, "bytes of an entry, if it is a table")


class Symbol(Struct, size=24, source=_GABI + '"Symbol Table"'):
    """A name and an address."""

    name:  int = at(0,  4, "offset of its name in the section of names")
    info:  int = at(4,  1, "kind, and how it binds")
    other: int = at(5,  1, "visibility")
    shndx: int = at(6,  2, "section that it lies in")
    value: int = at(8,  8, "address")
    size:  int = at(16, 8, "bytes")


class Dynamic(Struct, size=16, source=_GABI + '"Dynamic Section"'):
    """What a dynamic linker has to know: one tag and its value."""

    tag:   int = at(0, 8, "what the value is")
    value: int = at(8, 8, "an address or a number")


class Relocation(Struct, size=24, source=_GABI + '"Relocation" (Elf64_Rela)'):
    """A place whose content depends on where the file is loaded."""

    offset: int = at(0,  8, "address of the place")
    info:   int = at(8,  8, "kind, in the low 32 bits, and symbol")
    addend: int = at(16, 8, "what is added, two's complement")
# fmt: on

_Entry = TypeVar("_Entry", bound=Struct)


@dataclass(frozen=True)
class Segment:
    """A part of the image with one set of rights.

    Attributes:
        start: offset from the image's base, in bytes.
        size: bytes in memory; what ``content`` does not cover is zero.
        r, w, x: readable, writable, executable.
        content: the bytes from the file.
    """

    start: int
    size: int
    r: bool
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


@dataclass(frozen=True, repr=False)
class File:
    """An ELF file whose header and program headers make sense.

    Attributes:
        data: its bytes.
        header: the ELF header.
        programs: the program headers.
    """

    data: bytes
    header: ELFHeader
    programs: tuple[ProgramHeader, ...]

    def table(self, kind: type[_Entry], offset: int, count: int, what: str) -> Iterator[_Entry]:
        """The entries of a table at ``offset`` in the file.

        Raises:
            Truncated: it reaches beyond the file.
        """
        return _table(self.data, kind, offset, count, what)

    def sections(self) -> list[SectionHeader]:
        """The section headers; a file without any has none.

        Raises:
            LayoutError: the table is malformed.
        """
        header = self.header
        if header.shnum == 0:
            return []
        if header.shentsize != SectionHeader.SIZE:
            raise LayoutError(
                f"section headers of {header.shentsize} bytes: expected {SectionHeader.SIZE}"
            )
        return list(self.table(SectionHeader, header.shoff, header.shnum, "section header"))

    def section(self, name: bytes) -> SectionHeader | None:
        """The section of that name.

        Raises:
            LayoutError: the table is malformed.
        """
        sections = self.sections()
        if self.header.shstrndx >= len(sections):
            return None
        names = sections[self.header.shstrndx].offset
        for section in sections:
            start = names + section.name
            if self.data[start : start + len(name) + 1] == name + b"\0":
                return section
        return None

    def segment(self, header: ProgramHeader, data: bytes | None = None) -> Segment:
        """What a program header loads.

        Args:
            header: one of this file's.
            data: the file after somebody changed it in place; None for as it is.

        Raises:
            LayoutError: it lies outside the file, or is absurdly large.
        """
        start, offset, filesz = header.vaddr, header.offset, header.filesz
        if filesz > header.memsz or start + header.memsz > MAX_IMAGE:
            raise LayoutError(
                f"segment at {start:#x}: {filesz} bytes in the file, {header.memsz} in memory"
            )
        if offset + filesz > len(self.data):
            raise Truncated(
                f"segment at {start:#x} reaches beyond the {len(self.data)} bytes of the file"
            )
        content = (data or self.data)[offset : offset + filesz]
        flags = header.flags
        return Segment(start, header.memsz, flags.r, flags.w, flags.x, content)


def read(data: bytes) -> File:
    """Read the headers of an ELF file.

    Raises:
        Truncated: a header reaches beyond the file.
        LayoutError: it is no 64-bit little-endian ELF file.
    """
    (header,) = _table(data, ELFHeader, 0, 1, "ELF header")
    if (header.magic, header.klass, header.order, header.version) != (
        MAGIC,
        _CLASS64,
        _LITTLE,
        _CURRENT,
    ):
        raise LayoutError("not a 64-bit little-endian ELF file")
    if header.phentsize != ProgramHeader.SIZE or not 1 <= header.phnum <= MAX_HEADERS:
        raise LayoutError(f"{header.phnum} program headers of {header.phentsize} bytes")
    programs = _table(data, ProgramHeader, header.phoff, header.phnum, "program header")
    return File(data, header, tuple(programs))


def require_shared_object(file: File) -> None:
    """Raise LayoutError unless it is a position-independent file for x86-64."""
    machine, kind = file.header.machine, file.header.kind
    if machine != X86_64:
        raise LayoutError(f"built for machine {machine}, not for x86-64 ({X86_64})")
    if kind != SHARED_OBJECT:
        raise LayoutError(f"ELF type {kind}: expected a position-independent one ({SHARED_OBJECT})")


def _table(data: bytes, kind: type[_Entry], offset: int, count: int, what: str) -> Iterator[_Entry]:
    if count > MAX_ROWS:
        raise LayoutError(f"{what} at {offset:#x}: more than {MAX_ROWS} entries")
    if offset + count * kind.SIZE > len(data):
        raise Truncated(f"{what} at {offset:#x} reaches beyond the {len(data)} bytes of the file")
    for start in range(offset, offset + count * kind.SIZE, kind.SIZE):
        yield kind.unpack(data[start : start + kind.SIZE])
