"""Tell what a file holds, and lay its bytes out as tables.

SIGSTRUCT, SGXS and ELF say themselves what they are; an ELF file may be a signed enclave. The
other structures have no magic number: they are known by their size, and by values that no
processor would write or accept otherwise. Where two fit, both are given.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from tee_sim.abi import elf, sgx
from tee_sim.abi.image import ECREATE_TAG, measure
from tee_sim.abi.layout import Row, Struct
from tee_sim.abi.sgx_metadata import (
    LayoutEntry,
    LayoutGroup,
    LayoutId,
    SignedMetadata,
    is_signed,
    read_metadata,
    version,
)
from tee_sim.abi.sgx_sign import EINITTOKEN, HEADER, SIGSTRUCT
from tee_sim.abi.sgxs import UNSIZED_TAG, EAddRecord, UnsizedRecord, read_records, read_sgxs
from tee_sim.errors import LayoutError
from tee_sim.units import PAGE

Table: TypeAlias = Struct | Sequence[Row]


def recognise(data: bytes, name: str = "") -> list[tuple[str, Table]]:
    """The tables in a file, each with a title; ``name`` is what an error message calls it.

    Raises:
        LayoutError: it is none of what is known here, or claims to be and is malformed.
    """
    if data.startswith(HEADER):
        return [("SIGSTRUCT: a signed enclave's certificate", SIGSTRUCT.unpack(data))]
    if data.startswith((ECREATE_TAG, UNSIZED_TAG)):
        return _sgxs(data)
    if data.startswith(elf.MAGIC):
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
    """A short summary of an ELF file: what it is for, what is loaded where, and its metadata."""
    file = elf.read(data)
    bits, entry = file.elf.elfclass, file.elf.header.e_entry
    header = [
        Row(4, 1, "class", f"{bits}-bit", "size of an address"),
        Row(18, 2, "machine", file.elf.get_machine_arch(), "processor"),
        Row(24, bits // 8, "entry", entry, "where execution starts"),
        Row(0, len(data), "sha256", hashlib.sha256(data).digest(), "digest of the whole file"),
    ]
    tables: list[tuple[str, Table]] = [
        ("ELF: a program", header),
        ("Its segments", [_segment(program) for program in file.programs[: elf.MAX_PROGRAMS]]),
    ]
    if is_signed(file):
        for metadata in read_metadata(file):
            tables += _metadata(metadata)
    return tables


def _segment(program: Any) -> Row:
    kind, flags = program.p_type, program.p_flags
    return Row(
        program.p_offset,
        program.p_filesz,
        kind if isinstance(kind, str) else f"{kind:#x}",
        "".join(letter if flags & right else "-" for letter, right in elf.RIGHTS.items()),
        f"{program.p_memsz:#x} bytes at address {program.p_vaddr:#x}",
    )


def _rights(flags: sgx.SecinfoFlags) -> str:
    return "".join(letter if getattr(flags, letter) else "-" for letter in "rwx")


def _metadata(metadata: SignedMetadata) -> list[tuple[str, Table]]:
    """The metadata of a signed enclave, without its signature; the signature; both tables."""
    head = metadata.head
    title, css = f"version {version(head)}", head.FIELDS["enclave_css"].offset
    rows = [row for row in head.rows(metadata.position) if not row.name.startswith("enclave_css.")]
    patches = [
        Row(metadata.position + patch.src, patch.size, "patch", patch.dst, "where in the file")
        for patch in metadata.patches()
    ]
    start = metadata.position + head.layout.offset
    layout = [_region(start + 32 * index, row) for index, row in enumerate(metadata.layout())]
    return [
        (f"Metadata of a signed enclave, {title}", rows),
        (f"SIGSTRUCT at {metadata.position + css:#x}", head.enclave_css),
        (f"Patches of {title}: what is overwritten before loading", patches),
        (f"Layout of {title}: what is loaded after the segments", layout),
    ]


def _region(position: int, row: LayoutEntry | LayoutGroup) -> Row:
    name = LayoutId(row.id).name if row.id in set(LayoutId) else f"{row.id:#x}"
    if isinstance(row, LayoutGroup):
        value = f"the {row.entry_count} regions before, {row.load_times} times again"
        return Row(position, row.SIZE, name, value, f"{row.load_step:#x} bytes further each time")
    what = [field for field in row.attributes.FIELDS if getattr(row.attributes, field)]
    if row.content_offset or row.content_size:
        what.append(
            f"{row.content_size} bytes from {row.content_offset:#x} of the metadata"
            if row.content_offset
            else f"filled with {row.content_size:#x}"
        )
    value = f"{row.page_count} page{'s' * (row.page_count != 1)} at {row.rva:#x}"
    if row.si_flags:
        value += f", {row.si_flags.page_type.name} {_rights(row.si_flags)}"
    return Row(position, row.SIZE, name, value, ", ".join(what) or "no page is added")
