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

from tee_sim.abi.image import Segment
from tee_sim.errors import LayoutError, Truncated
from tee_sim.units import MIB

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

MAGIC = b"\x7fELF"

MAX_IMAGE = 256 * MIB
"""Largest address that a segment may reach."""

MAX_PROGRAMS = 64
"""Most program headers of a program, and most that are shown."""

MAX_NAME = 1 << 12
MAX_ROWS = 1 << 16
"""Most entries of any table that are read."""

RIGHTS = {"r": 4, "w": 2, "x": 1}
"""Bits of ``p_flags``."""

_HEADER = 64


@dataclass(frozen=True, eq=False, repr=False)
class File:
    """An ELF file; its headers and the entries of its tables are pyelftools' containers.

    Attributes:
        data: its bytes.
        elf: what pyelftools knows of it.
    """

    data: bytes
    elf: ELFFile

    def table(self, kind: str, offset: int, size: int, what: str) -> Iterator[Any]:
        """The entries in a part of the file; ``kind`` is pyelftools' name, such as ``Elf_Sym``.

        Raises:
            Truncated: it reaches beyond the file.
            LayoutError: it is absurdly long.
        """
        struct = getattr(self.elf.structs, kind)
        step = struct.sizeof()
        if size // step > MAX_ROWS:
            raise LayoutError(f"{size} bytes of {what}s at {offset:#x}: over {MAX_ROWS} of them")
        self._must_hold(offset + size, f"{what} at {offset:#x}")
        for start in range(offset, offset + size - step + 1, step):
            yield struct.parse(self.data[start : start + step])

    def _must_hold(self, end: int, what: str) -> None:
        if end > len(self.data):
            raise Truncated(f"{what} reaches beyond the {len(self.data)} bytes of the file")

    def _headers(self, prefix: str, kind: str, what: str) -> list[Any]:
        fields = (f"e_{prefix}off", f"e_{prefix}num", f"e_{prefix}entsize")
        offset, count, size = (self.elf.header[field] for field in fields)
        expected = getattr(self.elf.structs, kind).sizeof()
        if count and size != expected:
            raise LayoutError(f"{what}s of {size} bytes: expected {expected}")
        return list(self.table(kind, offset, count * size, what)) if count else []

    @cached_property
    def programs(self) -> list[Any]:
        """The program headers."""
        return self._headers("ph", "Elf_Phdr", "program header")

    @cached_property
    def sections(self) -> list[Any]:
        """The section headers; a file without any has none."""
        return self._headers("sh", "Elf_Shdr", "section header")

    def section(self, name: str) -> Any | None:
        """The first section of that name."""
        names = self.elf.header.e_shstrndx
        for section in self.sections if names < len(self.sections) else ():
            if self.text(self.sections[names], section.sh_name) == name:
                return section
        return None

    def text(self, strings: Any, offset: int) -> str:
        """The name at ``offset`` of a section of names.

        Raises:
            LayoutError: it does not end there, or is absurdly long.
        """
        start = strings.sh_offset + offset
        stop = min(strings.sh_offset + strings.sh_size, start + MAX_NAME)
        end = self.data.find(b"\0", start, stop)
        if end < 0:
            raise LayoutError(f"name at {start:#x}: no zero byte ends it before {stop:#x}")
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
        self._must_hold(end, f"segment at {start:#x}")
        r, w, x = (bool(header.p_flags & right) for right in RIGHTS.values())
        return Segment(start, memsz, r, w, x, (data or self.data)[header.p_offset : end])


def read(data: bytes) -> File:
    """Read the header of an ELF file.

    Raises:
        Truncated: it is not whole.
        LayoutError: it is none.
    """
    from elftools.elf.elffile import ELFFile

    try:
        return File(data, ELFFile(BytesIO(data)))
    except Exception as error:  # on a broken file the library raises errors of many kinds
        kind = Truncated if len(data) < _HEADER else LayoutError
        said = f"not a 64-bit or 32-bit ELF file: no ELF header in {len(data)} bytes ({error})"
        raise kind(said) from error


def require_shared_object(file: File) -> None:
    """Raise LayoutError unless it is a position-independent file for x86-64, with segments."""
    elf, head = file.elf, file.elf.header
    form = (elf.elfclass, elf.little_endian, head.e_ident.EI_VERSION)
    if form != (64, True, "EV_CURRENT"):
        raise LayoutError("not a 64-bit little-endian ELF file")
    if head.e_machine != "EM_X86_64":
        number = int.from_bytes(file.data[18:20], "little")
        raise LayoutError(f"built for machine {number} ({head.e_machine}), not for x86-64")
    if head.e_type != "ET_DYN":
        raise LayoutError(f"ELF type {head.e_type}: expected a position-independent one (ET_DYN)")
    if not 1 <= head.e_phnum <= MAX_PROGRAMS:
        raise LayoutError(f"{head.e_phnum} program headers: expected 1 to {MAX_PROGRAMS}")
