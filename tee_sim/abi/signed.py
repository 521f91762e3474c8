"""Signed enclave files of Intel's SGX SDK: what its loader adds and measures, page by page.

The file says everything: code and data in its segments, stacks, heap and threads in the layout
table of its metadata, and the MRENCLAVE that must come out in its SIGSTRUCT. The loader

1. overwrites bytes of the file as the patch table says: the enclave's global data, which only the
   signing tool knows, and the place of the section headers, which a linker may choose freely;
2. adds the segments in the order of the program headers, whole pages, each measured, those without
   content in the file too; it relocates nothing, the enclave does that itself, inside; in a file
   with text relocations, pages that these change are added writable;
3. adds the regions of the layout table in its order; a group repeats regions before it.

Sources: intel/linux-sgx, ``psw/urts/loader.cpp`` (``build_image``), ``parser/elfparser.cpp`` and
``sdk/sign_tool/SignTool/manage_metadata.cpp``. That the same MRENCLAVE comes out for a file that
Intel's own tool signed is unverified: none could be had.

Simplified: what the loader does after EINIT (trimming regions, removing them, adding others with
EAUG) is left out; nothing of it is measured. An enclave that names its base address is loaded at
another. Metadata before version 1.4 is refused; whether a version is too new for the loader is not
asked. What makes the loader refuse a file and changes no page is not checked: undefined symbols,
kinds of relocation, a file for the simulated mode.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from struct import pack

from tee_sim.abi import sgx_metadata as meta
from tee_sim.abi.elf import MAX_IMAGE, File, read, require_shared_object
from tee_sim.abi.image import ALL_CHUNKS, Image, ImagePage, Segment
from tee_sim.abi.sgx import TCS, PageType, SecinfoFlags
from tee_sim.abi.sgx_sign import SIGSTRUCT
from tee_sim.errors import LayoutError, Truncated, UnknownVersion
from tee_sim.units import PAGE

MAX_PAGES = 1 << 18
"""Most pages that a layout table may describe, and most regions: a gigabyte of enclave."""

OLDEST = 1 << 32 | 4
"""Metadata before version 1.4 numbers its regions otherwise, and is not read."""

_TCS = SecinfoFlags(page_type=PageType.TCS)
_WORD = 8
_MASK64 = (1 << 64) - 1


@dataclass(frozen=True)
class SignedEnclave:
    """A signed enclave file, ready to be loaded.

    Attributes:
        image: what the loader adds.
        metadata: what it went by.
    """

    image: Image
    metadata: meta.Metadata

    @property
    def sigstruct(self) -> SIGSTRUCT:
        """The author's signature, ENCLAVEHASH in it."""
        return self.metadata.enclave_css


def read_signed(data: bytes) -> SignedEnclave:
    """Read a signed enclave file as Intel's loader does on a processor with dynamic memory.

    Raises:
        LayoutError: it is none, or one that the loader would refuse.
    """
    file = read(data)
    require_shared_object(file)
    metadata = _newest(meta.read_metadata(file))
    size, shift = metadata.head.enclave_size, 0
    if elrange := metadata.elrange():
        size, shift = elrange.elrange_size, _shift(elrange, size)
    regions = _regions(metadata)
    pages = [*_file_pages(file, metadata), *_region_pages(metadata, regions)]
    if shift:
        pages = [_moved(page, shift) for page in pages]
    return SignedEnclave(Image(size, metadata.head.ssa_frame_size, tuple(pages)), metadata.head)


def _newest(candidates: list[meta.SignedMetadata]) -> meta.SignedMetadata:
    """The one that a loader takes: the highest version, and the first of equals."""
    newest = max(candidates, key=lambda candidate: candidate.head.version)
    if newest.head.version < OLDEST:
        raise UnknownVersion(f"metadata of version {meta.version(newest.head)}: 1.4 is the oldest")
    return newest


def _shift(elrange: meta.ElrangeConfig, size: int) -> int:
    """Where in ELRANGE the file's address 0 is."""
    shift = elrange.enclave_image_address - elrange.elrange_start_address
    if shift < 0 or shift % PAGE or shift + size > elrange.elrange_size:
        raise LayoutError(
            f"ELRANGE {elrange.elrange_start_address:#x}+{elrange.elrange_size:#x} does not hold "
            f"{size:#x} bytes at {elrange.enclave_image_address:#x}"
        )
    return shift


def _moved(page: ImagePage, shift: int) -> ImagePage:
    rights = (page.page_type, page.r, page.w, page.x)
    return ImagePage(page.offset + shift, *rights, page.content, page.measured)


# The file's own segments


def _file_pages(file: File, metadata: meta.SignedMetadata) -> Iterator[ImagePage]:
    relocated = _text_relocations(file)
    patched = _patch(file.data, metadata)
    room = MAX_IMAGE // PAGE
    for header in file.programs:
        if header.p_type == "PT_LOAD" and header.p_memsz:
            segment = file.segment(header, patched)
            room -= len(segment.pages())
            if room < 0:
                raise LayoutError(f"segments of more than {MAX_IMAGE} bytes in all: some overlap")
            yield from _segment_pages(segment, relocated)


def _segment_pages(
    segment: Segment, relocated: Collection[int] = (), page_type: PageType = PageType.REG
) -> Iterator[ImagePage]:
    """Pages that a text relocation changes are writable, as far as the file has content."""
    end = segment.start + len(segment.content)
    for offset in segment.pages():
        w = segment.w or (offset < end and offset // PAGE in relocated)
        content = segment.page(offset)
        yield ImagePage(offset, page_type, segment.r, w, segment.x, content)


def _patch(data: bytes, metadata: meta.SignedMetadata) -> bytes:
    patched = bytearray(data)
    for patch in metadata.patches():
        content = metadata.bytes_at(patch.src, patch.size)
        if patch.dst + patch.size > len(data):
            raise Truncated(f"a patch at {patch.dst:#x} reaches beyond the {len(data)} bytes")
        patched[patch.dst : patch.dst + patch.size] = content
    return bytes(patched)


def _text_relocations(file: File) -> set[int]:
    """Numbers of the pages that relocations change, if the file says that code is among them."""
    tags: dict[str | int, int] = {}
    for header in file.programs:
        if header.p_type == "PT_DYNAMIC":
            for entry in file.table("Elf_Dyn", header.p_offset, header.p_filesz, "dynamic entry"):
                if entry.d_tag == "DT_NULL":
                    break
                tags[entry.d_tag] = entry.d_val
            break
    if "DT_TEXTREL" not in tags:
        return set()
    found: set[int] = set()
    for start, size in (("DT_RELA", "DT_RELASZ"), ("DT_JMPREL", "DT_PLTRELSZ")):
        if start in tags and tags.get(size):
            for place in _relocated(file, tags[start], tags[size]):
                found |= {place // PAGE, (place + _WORD - 1) // PAGE}
    return found


def _relocated(file: File, address: int, size: int) -> Iterator[int]:
    for section in file.sections:
        if section.sh_addr == address:  # as the loader finds it: the first one there
            rows = file.table("Elf_Rela", section.sh_offset, size, "relocation")
            yield from (row.r_offset for row in rows if row.r_info_type)
            return
    raise LayoutError(f"no section at {address:#x}, where the relocations should be")


# The regions of the layout table


def _regions(metadata: meta.SignedMetadata) -> list[tuple[int, meta.LayoutEntry]]:
    """Each region and where it starts, groups carried out; none overlaps another."""
    regions = list(_places(metadata.layout()))
    total = 0
    for start, entry in regions:
        size = entry.page_count * PAGE
        if start % PAGE or start + size > metadata.head.enclave_size:
            raise LayoutError(
                f"layout: {entry.page_count} pages at {start:#x} do not fit the enclave of "
                f"{metadata.head.enclave_size:#x} bytes"
            )
        total += entry.page_count if entry.attributes.eadd else 0
        if total > MAX_PAGES:
            raise LayoutError(f"layout: more than {MAX_PAGES} pages to add; that is not simulated")
    placed = sorted((start, start + entry.page_count * PAGE) for start, entry in regions)
    for (_, stop), (start, _) in pairwise(placed):
        if stop > start:
            raise LayoutError(f"layout: two regions hold the page {start:#x}")
    return regions


def _places(
    layout: list[meta.LayoutEntry | meta.LayoutGroup],
) -> Iterator[tuple[int, meta.LayoutEntry]]:
    repeated = 0
    for index, row in enumerate(layout):
        if isinstance(row, meta.LayoutEntry):
            yield row.rva, row
            continue
        entries = layout[max(index - row.entry_count, 0) : index]
        repeated += max(row.entry_count, 1) * row.load_times
        if row.entry_count > index or repeated > MAX_PAGES:
            raise LayoutError(
                f"layout: a group repeats {row.entry_count} entries {row.load_times} times; "
                f"{index} are before it, and no more than {MAX_PAGES} regions are read"
            )
        for time in range(1, row.load_times + 1):
            for entry in entries:
                if isinstance(entry, meta.LayoutGroup):
                    raise LayoutError("layout: a group repeats another group")
                yield entry.rva + time * row.load_step, entry


def _region_pages(
    metadata: meta.SignedMetadata, regions: list[tuple[int, meta.LayoutEntry]]
) -> Iterator[ImagePage]:
    for start, entry in regions:
        flags, size = entry.si_flags, entry.page_count * PAGE
        if not entry.attributes.eadd or (not flags and not entry.content_offset):
            continue  # pages of later, or a gap
        rights = (flags.r, flags.w, flags.x)
        content = pack("<I", entry.content_size) * (PAGE // 4)
        if entry.content_offset:
            content = metadata.bytes_at(entry.content_offset, entry.content_size)
            if len(content) > size:
                raise LayoutError(f"layout: {len(content)} bytes for {entry.page_count} pages")
            if flags != _TCS:  # measured, whatever the attributes say
                segment = Segment(start, size, *rights, content)
                yield from _segment_pages(segment, page_type=flags.page_type)
                continue
            content = _tcs(content, start)
        measured = ALL_CHUNKS if entry.attributes.eextend else 0
        for offset in range(start, start + size, PAGE):
            yield ImagePage(offset, flags.page_type, *rights, content, measured)


def _tcs(template: bytes, start: int) -> bytes:
    """A TCS whose offsets, written relative to itself, are made relative to the enclave."""
    tcs = TCS.unpack(template.ljust(PAGE, b"\0"))
    moved = {name: getattr(tcs, name) + start & _MASK64 for name in ("ossa", "ofsbase", "ogsbase")}
    return tcs.with_(**moved).pack()
