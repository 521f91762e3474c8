"""SGXS: an enclave in a file. The stream *is* the log that is measured.

Fortanix's format stores the records that ECREATE, EADD and EEXTEND hash, in their order, each
EEXTEND with its 256 bytes of content. So ``sha256(file)`` is MRENCLAVE, and anybody can check it
with standard tools. One record is not measured and must be left out of that hash: ``UNMEASRD``
carries content that is loaded and not extended. A stream that begins with ``UNSIZED`` is a template
whose ELRANGE is not yet decided.

`read_records` accepts any sequence of well-formed records. `read_sgxs` wants an enclave, in
canonical order: ECREATE, and for each page its EADD followed by that page's chunks, each once, by
rising offset. Pages may come in any order and are kept in it, for the order is measured. Whatever
else a processor would also load is refused, because an `Image` could not reproduce its MRENCLAVE.

Source: the ``sgxs`` crate of fortanix/rust-sgx (``intel-sgx/sgxs/src/sgxs.rs``).
"""

from collections.abc import Iterator
from typing import TypeAlias

from tee_sim.abi.image import (
    ALL_CHUNKS,
    EADD_TAG,
    ECREATE_TAG,
    EEXTEND_TAG,
    Image,
    ImagePage,
    eadd_record,
    ecreate_record,
    eextend_record,
    page_records,
)
from tee_sim.abi.layout import Struct, at
from tee_sim.abi.sgx import CHUNK, SDM, PageType, SecinfoFlags
from tee_sim.errors import LayoutError, Truncated
from tee_sim.units import PAGE

UNSIZED_TAG = b"UNSIZED\0"
UNMEASRD_TAG = b"UNMEASRD"

_SGXS = "fortanix/rust-sgx, intel-sgx/sgxs/src/sgxs.rs"


# fmt: off
class ECreateRecord(Struct, size=64, source=SDM + '"ECREATE"'):
    """What ECREATE measures."""

    tag:                   bytes = at(0,  8, "ECREATE")
    ssaframesize:          int   = at(8,  4, "pages in one state-save frame")
    size:                  int   = at(12, 8, "bytes of ELRANGE")
    cet_leg_bitmap_offset: int   = at(20, 8, "offset of CET's legacy code bitmap")


class UnsizedRecord(Struct, size=64, source=_SGXS):
    """Stands for ECREATE in a template whose size is filled in later."""

    tag:          bytes = at(0,  8, "UNSIZED")
    ssaframesize: int   = at(8,  4, "pages in one state-save frame")
    size:         int   = at(12, 8, "offset in the enclave where its size is to be written")


class EAddRecord(Struct, size=64, source=SDM + '"EADD"'):
    """What EADD measures."""

    tag:    bytes        = at(0,  8, "EADD")
    offset: int          = at(8,  8, "offset of the page in ELRANGE")
    flags:  SecinfoFlags = at(16, 8, "rights and type of the page")


class EExtendRecord(Struct, size=64 + CHUNK, source=SDM + '"EEXTEND"'):
    """What EEXTEND measures."""

    tag:    bytes = at(0,  8,     "EEXTEND")
    offset: int   = at(8,  8,     "offset of the chunk in ELRANGE")
    data:   bytes = at(64, CHUNK, "contents of the chunk")


class UnmeasuredRecord(Struct, size=64 + CHUNK, source=_SGXS):
    """A chunk that is loaded and not measured."""

    tag:    bytes = at(0,  8,     "UNMEASRD")
    offset: int   = at(8,  8,     "offset of the chunk in ELRANGE")
    data:   bytes = at(64, CHUNK, "contents of the chunk")
# fmt: on


Record: TypeAlias = ECreateRecord | UnsizedRecord | EAddRecord | EExtendRecord | UnmeasuredRecord

_KINDS: dict[bytes, type[Record]] = {
    ECREATE_TAG: ECreateRecord,
    UNSIZED_TAG: UnsizedRecord,
    EADD_TAG: EAddRecord,
    EEXTEND_TAG: EExtendRecord,
    UNMEASRD_TAG: UnmeasuredRecord,
}


def read_records(stream: bytes) -> Iterator[tuple[int, Record]]:
    """The records of a stream, each with its offset in it.

    Raises:
        LayoutError: a record is unknown, cut short or malformed; the message has its offset.
    """
    position = 0
    while position < len(stream):
        tag = stream[position : position + 8]
        kind = _KINDS.get(tag)
        if kind is None:
            raise LayoutError(f"stream offset {position:#x}: no SGXS record starts with {tag!r}")
        end = position + kind.SIZE
        try:
            yield position, kind.unpack(stream[position:end])
        except LayoutError as error:
            raise type(error)(f"stream offset {position:#x}: {error}") from None
        position = end


class _PageBuilder:
    """Collects the chunks of the page whose EADD was read last."""

    def __init__(self, record: EAddRecord) -> None:
        flags = record.flags
        allowed = SecinfoFlags(r=flags.r, w=flags.w, x=flags.x, page_type=flags.page_type)
        if flags != allowed:
            raise LayoutError(
                f"EADD of page {record.offset:#x} with {flags}: only R, W, X and type"
            )
        if flags.page_type == PageType.TCS and (flags.r or flags.w or flags.x):
            raise LayoutError(f"EADD of TCS {record.offset:#x} has rights; EADD measures none")
        self.record = record
        self.content = bytearray(PAGE)
        self.measured = 0
        self.next_chunk = 0

    def add(self, record: EExtendRecord | UnmeasuredRecord) -> None:
        """Put a chunk where it belongs; it must lie in this page, after the chunks before it."""
        chunk, odd = divmod(record.offset - self.record.offset, CHUNK)
        if odd or not self.next_chunk <= chunk < PAGE // CHUNK:
            raise LayoutError(
                f"chunk {record.offset:#x} is out of order in page {self.record.offset:#x}"
            )
        self.content[chunk * CHUNK : (chunk + 1) * CHUNK] = record.data
        self.measured |= isinstance(record, EExtendRecord) << chunk
        self.next_chunk = chunk + 1

    def page(self) -> ImagePage:
        """The page; chunks that the stream did not mention are zero."""
        flags = self.record.flags
        return ImagePage(
            offset=self.record.offset,
            page_type=flags.page_type,
            r=flags.r,
            w=flags.w,
            x=flags.x,
            content=bytes(self.content),
            measured=self.measured,
        )


def read_sgxs(stream: bytes) -> Image:
    """The enclave in an SGXS stream.

    Raises:
        LayoutError: the stream is malformed, or not canonical, or describes no enclave that could
            be created; where one record is at fault, the message has its offset in the stream.
    """
    records = read_records(stream)
    try:
        _, create = next(records)
    except StopIteration:
        raise Truncated("an SGXS stream begins with ECREATE; this one is empty") from None
    if isinstance(create, UnsizedRecord):
        raise LayoutError("UNSIZED stream: its size must be filled in before it is an enclave")
    if not isinstance(create, ECreateRecord):
        raise LayoutError(f"an SGXS stream begins with ECREATE, not {create.tag!r}")
    if create.cet_leg_bitmap_offset:
        raise LayoutError("ECREATE names a legacy code bitmap; CET is not simulated")
    pages: list[_PageBuilder] = []
    for position, record in records:
        try:
            _read_page_record(pages, record)
        except LayoutError as error:
            raise type(error)(f"stream offset {position:#x}: {error}") from None
    return Image(create.size, create.ssaframesize, tuple(builder.page() for builder in pages))


def _read_page_record(pages: list[_PageBuilder], record: Record) -> None:
    """Let one record after ECREATE start a page, or continue the last one."""
    if isinstance(record, EAddRecord):
        pages.append(_PageBuilder(record))
    elif isinstance(record, EExtendRecord | UnmeasuredRecord) and pages:
        pages[-1].add(record)
    else:
        raise LayoutError(f"record {record.tag!r} has no place here")


def write_sgxs(image: Image) -> bytes:
    """The canonical SGXS stream of an enclave, as the processor measures it.

    A TCS is written as EADD leaves it: without rights, and with STATE, DBGOPTIN, CSSA and AEP
    clear. Chunks that are neither measured nor zero become UNMEASRD records; if there are none,
    the SHA-256 of the stream is MRENCLAVE.
    """
    parts = [ecreate_record(image.ssaframesize, image.size)]
    for page in image.pages:
        if page.measured == ALL_CHUNKS:
            parts.append(page_records(page))
        else:
            parts += _page_with_unmeasured(page)
    return b"".join(parts)


def _page_with_unmeasured(page: ImagePage) -> Iterator[bytes]:
    content = page.epc_content
    yield eadd_record(page.offset, page.secinfo_flags)
    for index, low in enumerate(range(0, PAGE, CHUNK)):
        data = content[low : low + CHUNK]
        if page.is_measured(index):
            yield eextend_record(page.offset + low) + data
        elif any(data):
            record = UnmeasuredRecord(tag=UNMEASRD_TAG, offset=page.offset + low, data=data)
            yield record.pack()
