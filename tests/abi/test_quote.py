"""Quotes as bytes: versions, bodies, wrappings, and whatever else somebody may send."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from attest.forge import ENCLAVE, TD, Forge, td15
from tee_sim.abi.quote import PCK_CHAIN, Quote, unwrap
from tee_sim.abi.sgx import ReportBody
from tee_sim.abi.tdx import TDReport10, TDReport15
from tee_sim.errors import LayoutError, Reserved, Truncated, UnknownVersion
from vectors import vector

KINDS = {
    (3, ReportBody): Forge(),
    (4, ReportBody): Forge(version=4),
    (5, ReportBody): Forge(version=5),
    (4, TDReport10): Forge(TD, 4),
    (5, TDReport10): Forge(TD, 5),
    (5, TDReport15): Forge(td15(), 5),
}
V3, V4, V5 = (KINDS[version, ReportBody].quote() for version in (3, 4, 5))


def test_real_sgx_quote() -> None:
    data = vector("dcap/sgx_quote")
    quote = Quote.parse(data)
    assert (quote.header.version, quote.header.tee_type, quote.header.pce_svn) == (3, 0, 15)
    assert isinstance(quote.body, ReportBody)
    assert quote.body.reportdata.startswith(b"Hello, world!")
    assert (len(quote.qe_auth_data), quote.certification_type) == (32, PCK_CHAIN)
    assert quote.pack() == data


def test_real_tdx_quote_is_padded_with_zeros() -> None:
    data = vector("dcap/tdx_quote")
    quote, rest = Quote.take(data)
    assert (quote.header.version, quote.header.tee_type) == (4, 0x81)
    assert isinstance(quote.body, TDReport10)
    assert quote.body.tdattributes.sept_ve_disable
    assert quote.pack() + rest == data
    assert rest == bytes(70)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"v{kind[0]} {kind[1].__name__}")
def test_round_trip(kind: tuple[int, type]) -> None:
    data = KINDS[kind].quote()
    quote = Quote.parse(data)
    assert (quote.header.version, type(quote.body)) == kind
    assert quote.body == KINDS[kind].body
    assert quote.pack() == data
    assert data.startswith(quote.signed)
    assert len(quote.signed) == 48 + 6 * (kind[0] == 5) + kind[1].SIZE


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


LENGTH = 48 + 384  # of the signature data, in a v3 quote of SGX


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", Truncated),
        (V3[:47], Truncated),
        (V3[:-1], Truncated),
        (patched(V3, 0, b"\2"), UnknownVersion),
        (patched(V3, 0, b"\6"), UnknownVersion),
        (patched(V3, 4, b"\x81"), UnknownVersion),  # TDX has no version 3
        (patched(V4, 4, b"\1"), UnknownVersion),
        (patched(V5, 48, b"\2"), UnknownVersion),  # the body of TDX, in a quote of SGX
        (patched(V5, 48, b"\4"), UnknownVersion),
        (patched(V5, 50, b"\x81"), LayoutError),
        (patched(V3, LENGTH, b"\xff\xff\xff\xff"), Truncated),
        (patched(V3, LENGTH, bytes(4)), Truncated),
        (patched(V3, LENGTH + 4 + 576, b"\0"), LayoutError),  # size of QE authentication data
        (patched(V4, LENGTH + 4 + 128, b"\5"), UnknownVersion),
        ("text", LayoutError),
        (None, LayoutError),
    ],
)
def test_what_is_no_quote(data: Any, error: type[LayoutError]) -> None:
    with pytest.raises(error):
        Quote.parse(data)


def test_reserved_bits_show_in_the_body_only() -> None:
    quote = Quote.parse(patched(V3, 48 + 24, b"\1"))
    with pytest.raises(Reserved):
        _ = quote.body


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"v{kind[0]} {kind[1].__name__}")
def test_the_table_says_where_each_field_lies(kind: tuple[int, type]) -> None:
    data = KINDS[kind].quote()
    rows = Quote.parse(data).rows()
    for row in rows:
        if isinstance(row.value, bytes):
            assert data[row.offset : row.offset + row.size] == row.value, row.name
    assert [row.offset for row in rows] == sorted(row.offset for row in rows)
    assert rows[-1].offset + rows[-1].size == len(data)
    names = {row.name for row in rows}
    assert {"version", "body.reportdata", "attestation_key", "qe_report_signature"} <= names | (
        {"body.reportdata"} if kind[1] is TDReport15 else set()
    )


def test_a_body_that_cannot_be_read_is_one_row_of_the_table() -> None:
    quote = Quote.parse(patched(V3, 48 + 24, b"\1"))
    assert [row.value for row in quote.rows() if row.name == "body"] == [quote.raw_body]
    assert "holds a reserved bit" in quote._repr_html_()


@given(st.binary(max_size=3000))
@example(V5 + b"\0" * 99)
def test_any_bytes_are_a_quote_or_a_typed_error(data: bytes) -> None:
    try:
        quote, rest = Quote.take(data)
    except LayoutError:
        return
    assert quote.pack() + rest == data


@given(st.sampled_from((V3, V4, V5)), st.integers(0, 1200), st.binary(max_size=8))
def test_any_change_is_a_quote_or_a_typed_error(data: bytes, at: int, new: bytes) -> None:
    test_any_bytes_are_a_quote_or_a_typed_error.hypothesis.inner_test(patched(data, at, new))


# Open Enclave's wrappings


def report(quote: bytes, version: int = 1, kind: int = 2) -> bytes:
    numbers = ((version, 4), (kind, 4), (len(quote), 8))
    return b"".join(number.to_bytes(size, "little") for number, size in numbers) + quote


def evidence(data: bytes) -> bytes:
    return (3).to_bytes(4, "little") + b"U" * 16 + bytes(4) + len(data).to_bytes(8, "little") + data


def test_unwrapping() -> None:
    assert unwrap(V3) == (V3, b"")
    assert unwrap(report(V3)) == (V3, b"")
    assert unwrap(evidence(V3)) == (V3, b"")
    assert unwrap(evidence(V3 + b"claims")) == (V3, b"claims")


@pytest.mark.parametrize(
    "data",
    [b"", b"\1\0\0\0", report(V3)[:-1], report(V3, kind=1), evidence(b"none"), evidence(V3)[:-1]],
)
def test_what_is_no_wrapped_quote(data: bytes) -> None:
    with pytest.raises(LayoutError):
        Quote.parse(unwrap(data)[0])


def test_report_bodies_of_tds() -> None:
    both = td15()
    assert TDReport15.unpack(both.pack()) == both
    assert both.base == TD
    assert (TDReport10.SIZE, TDReport15.SIZE) == (584, 648)
    assert ENCLAVE.SIZE == 384
