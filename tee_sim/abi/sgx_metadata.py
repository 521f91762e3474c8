"""What Intel's signing tool appends to an enclave: how it is to be loaded, and its SIGSTRUCT.

A signed enclave file (``*.signed.so``) is an ELF shared object whose section ``.note.sgxmeta``
holds one note named ``sgx_metadata``. Its content is one `Metadata` after the other, each for
other versions of the loader, each followed by the tables that it points to. `tee_sim.abi.signed`
reads it.

Sources: intel/linux-sgx, ``common/inc/internal/metadata.h``, ``se_page_attr.h`` and, for the note,
``psw/urts/parser/elfparser.cpp``. These are one vendor's files, not a standard; the declarations
here were compared with them and not with a file that Intel signed (unverified).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from struct import unpack_from
from typing import Final

from tee_sim.abi.elf import File
from tee_sim.abi.layout import Bits, Struct, at, bit
from tee_sim.abi.sgx import Attributes, MiscSelect, SecinfoFlags
from tee_sim.abi.sgx_sign import SIGSTRUCT
from tee_sim.errors import LayoutError, Truncated

METADATA_H: Final = "intel/linux-sgx, metadata.h, "

SECTION = ".note.sgxmeta"
NOTE_NAME = b"sgx_metadata\0"
MAGIC = 0x86A80294635D0E4C
"""`Metadata.magic_num`."""

GROUP_FLAG = 1 << 12
"""Set in the id of a `LayoutGroup`, clear in the id of a `LayoutEntry`."""

ELRANGE_GAP = 10
"""Added to the major version of metadata with an `ElrangeConfig`."""

ROW = 32
"""Bytes of a row of either table."""

MAX_SIZE = 1 << 16
"""Most bytes of one metadata that are read; the signing tool has room for 0x5000."""

_NOTE_HEAD = 12


class LayoutId(IntEnum):
    """What a region of an enclave is for. DYN: added after EINIT, if the processor can."""

    HEAP_MIN = 1
    HEAP_INIT = 2
    HEAP_MAX = 3
    TCS = 4
    TD = 5
    SSA = 6
    STACK_MAX = 7
    STACK_MIN = 8
    THREAD_GROUP = GROUP_FLAG | 9
    GUARD = 10
    HEAP_DYN_MIN = 11
    HEAP_DYN_INIT = 12
    HEAP_DYN_MAX = 13
    TCS_DYN = 14
    TD_DYN = 15
    SSA_DYN = 16
    STACK_DYN_MAX = 17
    STACK_DYN_MIN = 18
    THREAD_GROUP_DYN = GROUP_FLAG | 19
    RSRV_MIN = 20
    RSRV_INIT = 21
    RSRV_MAX = 22
    USER_REGION = 23


# fmt: off
class Directory(Struct, size=8, source=METADATA_H + "data_directory_t"):
    """Where a table is."""

    offset: int = at(0, 4, "bytes from the start of the metadata")
    size:   int = at(4, 4, "bytes")


class Metadata(Struct, size=1888, source=METADATA_H + "metadata_t"):
    """The head of the metadata; the tables follow it."""

    magic_num:            int        = at(0,    8,    "constant, see MAGIC")
    version:              int        = at(8,    8,    "major in the upper half, minor in the lower")
    size:                 int        = at(16,   4,    "bytes of head and tables")
    tcs_policy:           int        = at(20,   4,    "0: a thread keeps its TCS, 1: it does not")
    ssa_frame_size:       int        = at(24,   4,    "SECS.SSAFRAMESIZE")
    max_save_buffer_size: int        = at(28,   4,    "most bytes that XSAVE may need")
    desired_misc_select:  MiscSelect = at(32,   4,    "unused")
    tcs_min_pool:         int        = at(36,   4,    "threads that are always there")
    enclave_size:         int        = at(40,   8,    "SECS.SIZE")
    attributes:           Attributes = at(48,   16,   "SECS.ATTRIBUTES at most")
    enclave_css:          SIGSTRUCT  = at(64,   1808, "the signature")
    patches:              Directory  = at(1872, 8,    "patch table")
    layout:               Directory  = at(1880, 8,    "layout table")


class ElrangeConfig(Struct, size=24, source=METADATA_H + "elrange_config_entry_t"):
    """Where an enclave wants to be, if it has to be at one place inside a larger ELRANGE."""

    enclave_image_address: int = at(0,  8, "linear address of the file's address 0")
    elrange_start_address: int = at(8,  8, "SECS.BASEADDR")
    elrange_size:          int = at(16, 8, "SECS.SIZE")


class Patch(Struct, size=32, source=METADATA_H + "patch_entry_t"):
    """Bytes of the file that are replaced before it is loaded."""

    dst:  int = at(0,  8, "where in the file")
    src:  int = at(8,  4, "where the new bytes are, from the start of the metadata")
    size: int = at(12, 4, "how many")


class EntryAttributes(Bits, size=2, source="intel/linux-sgx, se_page_attr.h"):
    """What is done with the pages of a region."""

    eadd:        bool = bit(0, "added before EINIT")
    eextend:     bool = bit(1, "and measured")
    eremove:     bool = bit(2, "removed again after EINIT")
    post_add:    bool = bit(3, "may be added after EINIT")
    post_remove: bool = bit(4, "trimmed after EINIT")
    dyn_thread:  bool = bit(5, "of a thread that is made after EINIT")
    grow_down:   bool = bit(6, "grows towards lower addresses")


class LayoutEntry(Struct, size=32, source=METADATA_H + "layout_entry_t"):
    """One region of the enclave."""

    id:             int             = at(0,  2, "what it is for, see LayoutId")
    attributes:     EntryAttributes = at(2,  2, "what is done with its pages")
    page_count:     int             = at(4,  4, "pages")
    rva:            int             = at(8,  8, "where it starts in the enclave")
    content_size:   int             = at(16, 4, "bytes of content; without any, 32 bits that fill")
    content_offset: int             = at(20, 4, "its content from the start of the metadata, or 0")
    si_flags:       SecinfoFlags    = at(24, 8, "SECINFO.FLAGS; 0: a gap where no page is")


class LayoutGroup(Struct, size=32, source=METADATA_H + "layout_group_t"):
    """Repeats the entries before it, each time further up."""

    id:          int = at(0, 2, "what it is for, see LayoutId")
    entry_count: int = at(2, 2, "how many of the entries before it")
    load_times:  int = at(4, 4, "how often")
    load_step:   int = at(8, 8, "bytes from one time to the next")
# fmt: on


@dataclass(frozen=True)
class SignedMetadata:
    """One metadata of a file.

    Attributes:
        head: its fixed part.
        data: all of it, tables included.
        position: where it is in the file, in bytes.
    """

    head: Metadata
    data: bytes
    position: int

    def bytes_at(self, offset: int, size: int) -> bytes:
        """Bytes of the tables behind the head.

        Raises:
            LayoutError: they do not lie there.
        """
        if offset < Metadata.SIZE or offset + size > len(self.data):
            raise LayoutError(
                f"metadata points to {size} bytes at {offset:#x}; its tables are at "
                f"{Metadata.SIZE:#x}-{len(self.data):#x}"
            )
        return self.data[offset : offset + size]

    def table(self, directory: Directory) -> Iterator[bytes]:
        """The rows of a table.

        Raises:
            LayoutError: it does not lie behind the head, or the last row is cut.
        """
        data = self.bytes_at(directory.offset, directory.size)
        if len(data) % ROW:
            raise LayoutError(f"metadata: a table of {len(data)} bytes, in rows of {ROW}")
        for start in range(0, len(data), ROW):
            yield data[start : start + ROW]

    def patches(self) -> list[Patch]:
        """The patch table."""
        return [Patch.unpack(row) for row in self.table(self.head.patches)]

    def layout(self) -> list[LayoutEntry | LayoutGroup]:
        """The layout table."""
        return [
            LayoutGroup.unpack(row)
            if unpack_from("<H", row)[0] & GROUP_FLAG
            else LayoutEntry.unpack(row)
            for row in self.table(self.head.layout)
        ]

    def elrange(self) -> ElrangeConfig | None:
        """Where the enclave lies in a larger ELRANGE; None: it is ELRANGE."""
        if self.head.version >> 32 <= ELRANGE_GAP:
            return None
        where = Directory.unpack(self.bytes_at(Metadata.SIZE, Directory.SIZE))
        return ElrangeConfig.unpack(self.bytes_at(where.offset, ElrangeConfig.SIZE))


def is_signed(file: File) -> bool:
    """Whether an ELF file has room for metadata, as every file for the signing tool has."""
    return file.section(SECTION) is not None


def read_metadata(file: File) -> list[SignedMetadata]:
    """Every metadata of a file, in its order; there is at least one.

    Raises:
        LayoutError: there is none, or it is malformed.
    """
    section = file.section(SECTION)
    if section is None:
        raise LayoutError(f"no section {SECTION}: the file was made for no SGX SDK")
    data, start, size = file.data, section.sh_offset, section.sh_size
    if start + size > len(data) or size < _NOTE_HEAD:
        raise Truncated(f"a note of {size} bytes at {start:#x} in a file of {len(data)}")
    (note,) = file.table("Elf_Nhdr", start, _NOTE_HEAD, "note")
    start, stop = start + _NOTE_HEAD, start + size
    if data[start : start + note.n_namesz] != NOTE_NAME or (
        start + note.n_namesz + note.n_descsz > stop
    ):
        raise LayoutError("the section .note.sgxmeta holds no whole note named sgx_metadata")
    start += note.n_namesz  # without the padding that the gABI, and so pyelftools, puts after it
    stop = start + note.n_descsz
    found: list[SignedMetadata] = []
    while stop - start >= Metadata.SIZE and unpack_from("<Q", data, start)[0] == MAGIC:
        head = Metadata.unpack(data[start : start + Metadata.SIZE])
        most = min(stop - start, MAX_SIZE)
        if not Metadata.SIZE <= head.size <= most:
            raise LayoutError(
                f"metadata says that it has {head.size} bytes; between {Metadata.SIZE} and "
                f"{most} are possible"
            )
        found.append(SignedMetadata(head, data[start : start + head.size], start))
        start += head.size
    if not found:
        raise LayoutError("no metadata in .note.sgxmeta: the enclave is not signed yet")
    return found


def version(head: Metadata) -> str:
    """The version of a metadata as it is written: 2.4."""
    return f"{head.version >> 32}.{head.version & 0xFFFFFFFF}"
