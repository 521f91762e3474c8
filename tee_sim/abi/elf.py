"""ELF files that may lie: pyelftools knows the structures, and no table is believed unseen here.

pyelftools' own loops over segments, sections and symbols go wherever a file sends them, however
often. So `File` takes its header and its structures, and compares each table with the file before
it reads it. What a file has to be, its reader decides: `tee_sim.sdk.elf` for programs that are
built here, `tee_sim.abi.signed` for signed enclaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any

from tee_sim.errors import LayoutError, Truncated
from tee_sim.units import MIB, PAGE, align_down, align_up

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

MAGIC = b"\x7fELF"

MAX_IMAGE = 256 * MIB
"""Largest address that a segment may reach."""

MAX_PROGRAMS = 64
MAX_NAME = 1 << 12
MAX_ROWS = 1 << 16
"""Most entries of any table that are read."""

RIGHTS = {"r": 4, "w": 2, "x": 1}
"""Bits of ``p_flags``."""

_HEADER = 64


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


class File:
    """An ELF file; its headers and the entries of its tables are pyelftools' containers.

    Attributes:
        data: its bytes.
        elf: what pyelftools knows of it.
    """

    def __init__(self, data: bytes, elf: ELFFile) -> None:
        self.data = data
        self.elf = elf

    def table(self, kind: str, offset: int, size: int, what: str) -> Iterator[Any]:
        """The entries in a part of the file; ``kind`` is pyelftools' name, such as ``Elf_Sym``.

        Raises:
            Truncated: it reaches beyond the file.
            LayoutError: it is absurdly long.
        """
        struct = getattr(self.elf.structs, kind)
        step = struct.sizeof()
        if size // step > MAX_ROWS:
            raise LayoutError(
                f"{size} bytes of {what}s at {offset:#x}: more than {MAX_ROWS} of them"
            )
        if offset + size > len(self.data):
            raise Truncated(f"{what} at {offset:#x} reaches beyond {self}")
        for start in range(offset, offset + size - step + 1, step):
            yield struct.parse(self.data[start : start + step])

    def _headers(self, kind: str, what: str, offset: int, count: int, entsize: int) -> list[Any]:
        expected = getattr(self.elf.structs, kind).sizeof()
        if count and entsize != expected:
            raise LayoutError(f"{what}s of {entsize} bytes: expected {expected}")
        return list(self.table(kind, offset, count * entsize, what)) if count else []

    def __str__(self) -> str:
        return f"the {len(self.data)} bytes of the file"

    @cached_property
    def programs(self) -> list[Any]:
        """The program headers."""
        h = self.elf.header
        return self._headers("Elf_Phdr", "program header", h.e_phoff, h.e_phnum, h.e_phentsize)

    @cached_property
    def sections(self) -> list[Any]:
        """The section headers; a file without any has none."""
        h = self.elf.header
        return self._headers("Elf_Shdr", "section header", h.e_shoff, h.e_shnum, h.e_shentsize)

    def section(self, name: str) -> Any | None:
        """The first section of that name."""
        index = self.elf.header.e_shstrndx
        for section in self.sections if index < len(self.sections) else ():
            if self.text(self.sections[index], section.sh_name) == name:
                return section
        return None

    def text(self, strings: Any, offset: int) -> str:
        """The name at ``offset`` of a section of names.

        Raises:
            LayoutError: it does not end there, or is absurdly long.
        """
        start, stop = strings.sh_offset + offset, strings.sh_offset + strings.sh_size
        end = self.data.find(b"\0", start, min(stop, start + MAX_NAME))
        if end < 0:
            raise LayoutError(
                f"name at {start:#x}: no zero byte ends it, within {MAX_NAME} bytes and before "
                f"{stop:#x}, where the section of names ends"
            )
        return self.data[start:end].decode("ascii", errors="replace")

    def segment(self, header: Any, data: bytes | None = None) -> Segment:
        """What one of the program headers loads, from the file or from a changed copy of it.

        Raises:
            LayoutError: it lies outside the file, or is absurdly large.
        """
        start, end, memsz = header.p_vaddr, header.p_offset + header.p_filesz, header.p_memsz
        if header.p_filesz > memsz or start + memsz > MAX_IMAGE:
            raise LayoutError(
                f"segment at {start:#x}: {header.p_filesz} bytes in the file, {memsz} in memory"
            )
        if end > len(self.data):
            raise Truncated(f"segment at {start:#x} reaches beyond {self}")
        rights = {letter: bool(header.p_flags & right) for letter, right in RIGHTS.items()}
        content = (data or self.data)[header.p_offset : end]
        return Segment(start, memsz, content=content, **rights)


def read(data: bytes) -> File:
    """Read the header of an ELF file.

    Raises:
        Truncated: it reaches beyond the file.
        LayoutError: it is no ELF file.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        return File(data, ELFFile(BytesIO(data)))
    except ELFError as error:
        if len(data) < _HEADER:
            raise Truncated(
                f"ELF header reaches beyond the {len(data)} bytes of the file"
            ) from error
        raise LayoutError(f"not a 64-bit or 32-bit ELF file: {error}") from error


def require_shared_object(file: File) -> None:
    """Raise LayoutError unless it is a position-independent file for x86-64, with segments."""
    from elftools.elf.enums import ENUM_E_MACHINE

    head = file.elf.header
    known = head.e_ident.EI_VERSION == "EV_CURRENT"
    if not (known and file.elf.little_endian and file.elf.elfclass == 64):
        raise LayoutError("not a 64-bit little-endian ELF file")
    if head.e_machine != "EM_X86_64":
        number = ENUM_E_MACHINE.get(head.e_machine, head.e_machine)
        raise LayoutError(f"built for machine {number} ({head.e_machine}), not for EM_X86_64")
    if head.e_type != "ET_DYN":
        raise LayoutError(f"ELF type {head.e_type}: expected a position-independent one (ET_DYN)")
    if not 1 <= head.e_phnum <= MAX_PROGRAMS:
        raise LayoutError(f"{head.e_phnum} program headers: expected 1 to {MAX_PROGRAMS}")
