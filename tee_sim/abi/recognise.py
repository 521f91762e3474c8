"""Tell what a file holds, and lay its bytes out as tables.

SIGSTRUCT, SGXS and ELF say themselves what they are. The other structures have no magic number:
they are known by their size, and by values that no processor would write or accept otherwise.
Where two fit, both are given.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeAlias

from tee_sim.abi import sgx
from tee_sim.abi.image import ECREATE_TAG, measure
from tee_sim.abi.layout import Row, Struct
from tee_sim.abi.sgx_sign import EINITTOKEN, HEADER, SIGSTRUCT
from tee_sim.abi.sgxs import UNSIZED_TAG, EAddRecord, UnsizedRecord, read_records, read_sgxs
from tee_sim.errors import LayoutError
from tee_sim.units import PAGE

if TYPE_CHECKING:
    from elftools.elf.segments import Segment

Table: TypeAlias = Struct | Sequence[Row]

_ELF_MAGIC = b"\x7fELF"
_MOST_SEGMENTS = 64
_RIGHTS = (("r", 4), ("w", 2), ("x", 1))


def recognise(data: bytes, name: str = "") -> list[tuple[str, Table]]:
    """The tables in a file, each with a title; ``name`` is what an error message calls it.

    Raises:
        LayoutError: it is none of what is known here, or claims to be and is malformed.
    """
    if data.startswith(HEADER):
        return [("SIGSTRUCT: a signed enclave's certificate", SIGSTRUCT.unpack(data))]
    if data.startswith((ECREATE_TAG, UNSIZED_TAG)):
        return _sgxs(data)
    if data.startswith(_ELF_MAGIC):
        return _elf(data)
    found: list[tuple[str, Table]] = []
    for title, kind, plausible in _BY_SIZE:
        if len(data) == kind.SIZE and any(data):
            try:
                value = kind.unpack(data)
            except LayoutError:
                continue
            if plausible(value):
                found.append((title, value))
    if not found:
        known = ", ".join(f"{kind.__name__} ({kind.SIZE} bytes)" for _, kind, _ in _BY_SIZE)
        raise LayoutError(
            f"{name or 'the data'}: {len(data)} bytes, and none of SIGSTRUCT, SGXS, ELF, {known}"
        )
    return found


def _secs_fits(secs: sgx.SECS) -> bool:
    size = secs.size
    return size >= 2 * PAGE and size & (size - 1) == 0 and secs.baseaddr % size == 0


def _tcs_fits(tcs: sgx.TCS) -> bool:
    return tcs.ossa % PAGE == 0 and 0 <= tcs.cssa <= tcs.nssa != 0


def _attributes_fit(holder: sgx.TARGETINFO | sgx.ReportBody) -> bool:
    """Whether x87 and SSE state are in XFRM, without which there is no enclave."""
    return holder.attributes.xfrm & 3 == 3


_BY_SIZE: list[tuple[str, type[Struct], Callable[[Any], bool]]] = [
    ("SECS: an enclave's control structure", sgx.SECS, _secs_fits),
    ("TCS: a thread's control structure", sgx.TCS, _tcs_fits),
    ("REPORT: what EREPORT wrote", sgx.REPORT, lambda report: _attributes_fit(report.body)),
    ("REPORT without its key and MAC", sgx.ReportBody, _attributes_fit),
    ("TARGETINFO: whom a report is for", sgx.TARGETINFO, _attributes_fit),
    (
        "KEYREQUEST: which key EGETKEY derives",
        sgx.KEYREQUEST,
        lambda request: request.keyname <= max(sgx.KeyName),
    ),
    ("EINITTOKEN: a permission to launch", EINITTOKEN, lambda token: token.valid <= 1),
]


def _sgxs(data: bytes) -> list[tuple[str, Table]]:
    """The first record of an SGXS stream, what it amounts to, and a line for each page."""
    records = read_records(data)
    _, first = next(records)
    counts: Counter[str] = Counter()
    pages: list[Row] = []
    for position, record in records:
        counts[record.tag.rstrip(b"\0").decode()] += 1
        if isinstance(record, EAddRecord):
            name = f"page {record.offset:#x}"
            pages.append(Row(position, record.SIZE, name, record.flags, "rights and type"))
    summary = [
        Row(first.SIZE, len(data) - first.SIZE, name, str(count), "records of this kind")
        for name, count in counts.items()
    ]
    if not isinstance(first, UnsizedRecord):
        mrenclave = measure(read_sgxs(data))
        summary.append(Row(0, len(data), "MRENCLAVE", mrenclave, "SHA-256 of what is measured"))
    return [
        ("SGXS: an enclave to load", first),
        ("The whole stream", summary),
        ("Its pages, in the order in which they are added", pages),
    ]


def _elf(data: bytes) -> list[tuple[str, Table]]:
    """A short summary of an ELF file: what it is for, and what is loaded where."""
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(BytesIO(data))
        header = [
            Row(4, 1, "class", f"{elf.elfclass}-bit", "size of an address"),
            Row(18, 2, "machine", elf.get_machine_arch(), "processor"),
            Row(24, elf.elfclass // 8, "entry", elf["e_entry"], "where execution starts"),
            Row(0, len(data), "sha256", hashlib.sha256(data).digest(), "digest of the whole file"),
        ]
        count = min(elf.num_segments(), _MOST_SEGMENTS)
        segments = [_segment(elf.get_segment(index)) for index in range(count)]
    except Exception as error:  # on a broken file the library raises errors of many kinds
        raise LayoutError(f"an ELF file that cannot be read: {error!r}") from error
    return [("ELF: a program", header), ("Its segments", segments)]


def _segment(segment: Segment) -> Row:
    flags = segment["p_flags"]
    rights = "".join(letter if flags & mask else "-" for letter, mask in _RIGHTS)
    return Row(
        segment["p_offset"],
        segment["p_filesz"],
        str(segment["p_type"]),
        rights,
        f"{segment['p_memsz']:#x} bytes at address {segment['p_vaddr']:#x}",
    )
