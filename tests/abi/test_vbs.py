"""The report of a VBS enclave: its layout, round trips, and hostile bytes."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tee_sim.abi import vbs
from tee_sim.abi.layout import Struct
from tee_sim.errors import LayoutError, Reserved, Truncated, UnknownVersion

U32 = st.integers(0, 2**32 - 1)


def raw(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


IDENTITIES = st.builds(
    vbs.EnclaveIdentity,
    **{name: raw(32) for name in ("owner_id", "unique_id", "author_id")},
    **{name: raw(16) for name in ("family_id", "image_id")},
    flags=st.integers(0, 7).map(vbs.EnclaveFlags.of),
    enclave_svn=U32,
    secure_kernel_svn=U32,
    platform_svn=U32,
    signing_level=U32,
    enclave_type=U32,
)
MODULES = st.builds(
    vbs.Module,
    st.builds(
        vbs.ModuleIdentity,
        **{name: raw(32) for name in ("unique_id", "author_id")},
        **{name: raw(16) for name in ("family_id", "image_id")},
        svn=U32,
    ),
    st.text(max_size=12),
)
REPORTS = st.builds(
    vbs.EnclaveReport,
    raw(64),
    IDENTITIES,
    st.lists(MODULES, max_size=3).map(tuple),
    st.binary(max_size=300),
)
MODULE = vbs.Module(vbs.ModuleIdentity(svn=3), "vault.dll")
REPORT = vbs.EnclaveReport(bytes(range(64)), vbs.EnclaveIdentity(), (MODULE, MODULE), b"s" * 256)


@given(report=REPORTS)
def test_a_report_is_read_as_it_was_written(report: vbs.EnclaveReport) -> None:
    data = report.pack()
    assert vbs.read_report(data) == report
    assert data[24 : 24 + struct.unpack_from("<I", data, 12)[0]] == report.signed_statement()


@given(junk=st.binary(max_size=400) | st.lists(st.tuples(st.integers(0, 767), st.integers(0, 255))))
def test_bytes_of_any_kind_are_parsed_or_refused(junk: bytes | list[tuple[int, int]]) -> None:
    data = bytearray(REPORT.pack())
    if isinstance(junk, bytes):
        data = bytearray(junk)
    else:
        for position, value in junk:
            data[position % len(data)] = value
    try:
        report = vbs.read_report(bytes(data))
    except LayoutError:
        return
    assert report.pack() == data


@given(cut=st.integers(0, len(REPORT.pack()) - 1))
def test_a_cut_report_is_refused(cut: int) -> None:
    with pytest.raises(LayoutError):
        vbs.read_report(REPORT.pack()[:cut])
    with pytest.raises(Truncated):
        vbs.read_report(REPORT.pack() + bytes(cut + 1))


@pytest.mark.parametrize(
    ("kind", "field", "offset", "size"),
    [
        (vbs.PackageHeader, "signature_size", 16, 4),
        (vbs.ReportHead, "enclave_data", 8, 64),
        (vbs.ReportHead, "enclave_identity", 72, 152),
        (vbs.EnclaveIdentity, "author_id", 64, 32),
        (vbs.EnclaveIdentity, "image_id", 112, 16),
        (vbs.EnclaveIdentity, "enclave_svn", 128, 4),
        (vbs.EnclaveIdentity, "flags", 140, 4),
        (vbs.EnclaveIdentity, "enclave_type", 148, 4),
        (vbs.ModuleIdentity, "svn", 96, 4),
    ],
)
def test_fields_are_where_the_header_puts_them(
    kind: type[Struct], field: str, offset: int, size: int
) -> None:
    assert (kind.FIELDS[field].offset, kind.FIELDS[field].size) == (offset, size)


def _put(offset: int, value: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:offset] + struct.pack("<I", value) + data[offset + 4 :]


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (_put(0, 5), Truncated, "sizes in the package"),
        (_put(4, 2), UnknownVersion, "package version 2"),
        (_put(8, 0), UnknownVersion, "scheme 0"),
        (_put(12, 2**32 - 1), UnknownVersion, "type "),
        (_put(12, 223), LayoutError, "ReportHead is 224"),
        (_put(16, 257), Truncated, "sizes"),
        (_put(20, 1), Reserved, "0x14-0x17"),
        (_put(24, 225), Truncated, "sizes"),
        (_put(28, 2), UnknownVersion, "report version 2"),
        (_put(24 + 72 + 140, 8), Reserved, "EnclaveFlags"),
        (_put(24 + 224, 0), UnknownVersion, "type 0"),
        (_put(24 + 228, 8), Truncated, "ModuleIdentity is 100"),
        (_put(24 + 228, 0), Truncated, "block of 0"),
        (_put(24 + 228, 106), Truncated, "ModuleIdentity is 100"),
        (_put(24 + 228, 127), Truncated, "odd"),
        (_put(24 + 228, 2**31), Truncated, "block of 2147483648"),
    ],
)
def test_a_field_that_lies_is_named(
    change: Callable[[bytes], bytes], error: type[LayoutError], match: str
) -> None:
    with pytest.raises(error, match=match):
        vbs.read_report(change(REPORT.pack()))


def test_a_report_cannot_be_built_from_values_that_do_not_fit() -> None:
    with pytest.raises(LayoutError, match="enclave_data takes 64 bytes"):
        vbs.EnclaveReport(b"short", vbs.EnclaveIdentity()).pack()
