"""An enclave before it is loaded, and the measurement that loading it will produce.

MRENCLAVE is the SHA-256 of a log of 64-byte records: one ECREATE, then one EADD for each page, and
one EEXTEND followed by 256 bytes of content for each chunk that is measured. The log depends on
nothing but the `Image`, so whoever has the image can compute MRENCLAVE without a processor: the
signer does, and a verifier that rebuilds the program does.

Not measured: the base address, ATTRIBUTES (and so DEBUG), MISCSELECT, CONFIGID, and every chunk
that was not extended, whose content the host may choose freely.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from struct import Struct as Codec

from tee_sim.abi.sgx import (
    CHUNK,
    TCS,
    AttributeFlags,
    Attributes,
    MiscSelect,
    PageType,
    SecinfoFlags,
)
from tee_sim.errors import LayoutError
from tee_sim.html import table
from tee_sim.units import PAGE, align_down, align_up, is_aligned

ALL_CHUNKS = 0xFFFF
"""`ImagePage.measured` of a page that is measured whole."""

NO_MISC = MiscSelect()

ECREATE_TAG = b"ECREATE\0"
EADD_TAG = b"EADD\0\0\0\0"
EEXTEND_TAG = b"EEXTEND\0"

_ECREATE = Codec("<8sIQQ36x")
_EADD = Codec("<8sQQ40x")
_EEXTEND = Codec("<8sQ48x")
_WHOLE_PAGE = Codec("<8sQQ40x" + f"8sQ48x{CHUNK}s" * (PAGE // CHUNK))
_CHUNKS = Codec(f"{CHUNK}s" * (PAGE // CHUNK))
_CHUNK_OFFSETS = tuple(range(0, PAGE, CHUNK))
_TCS_CLEARED = ("state", "cssa", "aep")


def ecreate_record(ssaframesize: int, size: int, cet_leg_bitmap_offset: int = 0) -> bytes:
    """The 64 bytes that ECREATE measures.

    Args:
        ssaframesize: pages in one state-save frame.
        size: bytes of ELRANGE.
        cet_leg_bitmap_offset: SECS.CET_LEG_BITMAP_OFFSET, zero without CET.

    Source: Intel SDM Vol. 3D, "ECREATE - Create an SECS page in the Enclave Page Cache".
    """
    return _ECREATE.pack(ECREATE_TAG, ssaframesize, size, cet_leg_bitmap_offset)


def eadd_record(offset: int, secinfo_flags: int) -> bytes:
    """The 64 bytes that EADD measures.

    Args:
        offset: of the page, in bytes from the start of ELRANGE.
        secinfo_flags: SECINFO.FLAGS; for a TCS with R, W and X already cleared, as EADD does.

    Source: Intel SDM Vol. 3D, "EADD - Add a Page to an Uninitialized Enclave".
    """
    return _EADD.pack(EADD_TAG, offset, secinfo_flags)


def eextend_record(offset: int) -> bytes:
    """The 64 bytes that EEXTEND measures before the 256 bytes of content.

    Args:
        offset: of the chunk, in bytes from the start of ELRANGE.

    Source: Intel SDM Vol. 3D, "EEXTEND - Extend Uninitialized Enclave Measurement by 256 Bytes".
    """
    return _EEXTEND.pack(EEXTEND_TAG, offset)


@cache
def _flags(page_type: PageType, r: bool, w: bool, x: bool) -> SecinfoFlags:
    return SecinfoFlags(r=r, w=w, x=x, page_type=page_type)


@dataclass(frozen=True)
class Identity:
    """Who an enclave is, besides its measurement and its signer.

    Attributes:
        isvprodid, isvsvn: product number and security version, by the author.
        isvfamilyid, isvextprodid: 16 bytes each, by the author (KSS).
        configid, configsvn: 64 bytes and a number, by whoever launches the enclave (KSS).
        provisionkey, einittokenkey: ask for the keys of that name.
        miscselect: what an asynchronous exit saves besides.
        aex_notify: threads may ask to be notified of asynchronous exits.
        strict_memory: the program may not touch the memory of its process (VBS).
    """

    isvprodid: int = 0
    isvsvn: int = 0
    isvfamilyid: bytes = bytes(16)
    isvextprodid: bytes = bytes(16)
    configid: bytes = bytes(64)
    configsvn: int = 0
    provisionkey: bool = False
    einittokenkey: bool = False
    miscselect: MiscSelect = NO_MISC
    aex_notify: bool = False
    strict_memory: bool = False

    def attributes(self, *, debug: bool = False) -> Attributes:
        """ATTRIBUTES for a 64-bit enclave with x87 and SSE state; KSS is enabled if it is used."""
        kss = any(self.isvfamilyid + self.isvextprodid + self.configid) or self.configsvn > 0
        flags = AttributeFlags(
            mode64bit=True,
            debug=debug,
            kss=kss,
            provisionkey=self.provisionkey,
            einittokenkey=self.einittokenkey,
            aexnotify=self.aex_notify,
        )
        return Attributes(flags=flags, xfrm=3)


PLAIN = Identity()
"""The identity of a program whose author says nothing."""


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


@dataclass(frozen=True)
class ImagePage:
    """One page of an enclave, as the loader hands it to EADD and EEXTEND.

    Attributes:
        offset: in bytes from the start of ELRANGE, a multiple of 4096.
        page_type: TCS or REG; EADD adds no others.
        r, w, x: the rights that the loader asks for; a TCS gets none.
        content: 4096 bytes.
        measured: bit i is set if the 256 bytes at ``256 * i`` are measured.

    Simplified: no shadow-stack pages (SS_FIRST, SS_REST), which need CET.
    """

    offset: int
    page_type: PageType
    r: bool
    w: bool
    x: bool
    content: bytes
    measured: int = ALL_CHUNKS

    def __post_init__(self) -> None:
        if self.offset < 0 or not is_aligned(self.offset):
            raise LayoutError(f"a page cannot start at {self.offset:#x}: no multiple of 4096")
        if self.page_type not in (PageType.TCS, PageType.REG):
            raise LayoutError(
                f"page {self.offset:#x}: EADD adds no page of type {self.page_type!r}"
            )
        if len(self.content) != PAGE:
            raise LayoutError(f"page {self.offset:#x} holds {len(self.content)} bytes, not {PAGE}")
        if not 0 <= self.measured <= ALL_CHUNKS:
            raise LayoutError(f"page {self.offset:#x}: {self.measured:#x} is no mask of 16 chunks")

    def __repr__(self) -> str:
        rights = "".join(letter for letter in "rwx" if getattr(self, letter)) or "no rights"
        chunks = self.measured.bit_count()
        return (
            f"<{self.page_type.name} page at {self.offset:#x}, {rights}, {chunks} chunks measured>"
        )

    @property
    def secinfo_flags(self) -> SecinfoFlags:
        """SECINFO.FLAGS as EADD measures it: a TCS loses R, W and X."""
        if self.page_type == PageType.TCS:
            return _flags(PageType.TCS, False, False, False)
        return _flags(self.page_type, self.r, self.w, self.x)

    @property
    def epc_content(self) -> bytes:
        """What the EPC page holds after EADD: a TCS loses STATE, DBGOPTIN, CSSA and AEP."""
        if self.page_type != PageType.TCS:
            return self.content
        page = bytearray(self.content)
        page[TCS.FIELDS["flags"].offset] &= ~1  # DBGOPTIN
        for name in _TCS_CLEARED:
            field = TCS.FIELDS[name]
            page[field.offset : field.offset + field.size] = bytes(field.size)
        return bytes(page)

    def is_measured(self, chunk: int) -> bool:
        """Whether chunk 0-15 of this page is measured."""
        return bool(self.measured >> chunk & 1)


@dataclass(frozen=True, repr=False)
class Image:
    """An enclave as its signer ships it: everything that MRENCLAVE covers, and no more.

    Attributes:
        size: bytes of ELRANGE, a power of two, at least 8192.
        ssaframesize: pages in one state-save frame.
        pages: in the order in which they are added; the order is measured.
    """

    size: int
    ssaframesize: int
    pages: tuple[ImagePage, ...]

    def __post_init__(self) -> None:
        if self.size < 2 * PAGE or self.size & (self.size - 1) or self.size >= 1 << 64:
            raise LayoutError(f"ELRANGE of {self.size:#x} bytes: no power of two from 8192 on")
        if not 1 <= self.ssaframesize < 1 << 32:
            raise LayoutError(f"a state-save frame has at least one page, not {self.ssaframesize}")
        seen: set[int] = set()
        for page in self.pages:
            if page.offset >= self.size:
                raise LayoutError(f"page {page.offset:#x} lies outside {self.size:#x} bytes")
            if page.offset in seen:
                raise LayoutError(f"page {page.offset:#x} is added twice")
            seen.add(page.offset)

    def __repr__(self) -> str:
        return f"<Image of {len(self.pages)} pages in {self.size:#x} bytes>"

    def _repr_html_(self) -> str:
        rows = (
            (
                f"{page.offset:#x}",
                f"{page.page_type.name} "
                f"{'r' if page.r else '-'}{'w' if page.w else '-'}{'x' if page.x else '-'}"
                f"{'' if page.measured == ALL_CHUNKS else ', not measured whole'}",
            )
            for page in self.pages
        )
        return table(f"Image: {len(self.pages)} pages in {self.size:#x} bytes", rows)


def page_records(page: ImagePage) -> bytes:
    """What adding and extending this page appends to the measured log."""
    content, flags, start = page.epc_content, page.secinfo_flags, page.offset
    if page.measured == ALL_CHUNKS:
        values: list[bytes | int] = [EEXTEND_TAG] * (3 * len(_CHUNK_OFFSETS))
        values[1::3] = range(start, start + PAGE, CHUNK)
        values[2::3] = _CHUNKS.unpack(content)
        return _WHOLE_PAGE.pack(EADD_TAG, start, flags, *values)
    parts = [eadd_record(start, flags)]
    for index, low in enumerate(_CHUNK_OFFSETS):
        if page.is_measured(index):
            parts += (eextend_record(start + low), content[low : low + CHUNK])
    return b"".join(parts)


def measured_log(image: Image) -> Iterator[bytes]:
    """The log whose SHA-256 is MRENCLAVE, one piece for ECREATE and one for each page."""
    yield ecreate_record(image.ssaframesize, image.size)
    for page in image.pages:
        yield page_records(page)


def measure(image: Image) -> bytes:
    """MRENCLAVE of the enclave that a faithful loader builds from this image: 32 bytes.

    Source: Intel SDM Vol. 3D, "MRENCLAVE".
    """
    digest = hashlib.sha256()
    for piece in measured_log(image):
        digest.update(piece)
    return digest.digest()
