"""Telling what a file holds."""

from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signed_files import signed_file
from tee_sim.abi import sgx
from tee_sim.abi.image import Image, ImagePage, measure
from tee_sim.abi.layout import Row, Struct
from tee_sim.abi.recognise import recognise
from tee_sim.abi.sgx_sign import EINITTOKEN, HEADER, SIGSTRUCT
from tee_sim.abi.sgxs import ecreate_record, write_sgxs
from tee_sim.errors import LayoutError, Truncated
from vectors import vector

ATTRIBUTES = sgx.Attributes(flags=sgx.AttributeFlags(init=True, mode64bit=True), xfrm=3)
BODY = sgx.ReportBody(mrenclave=b"\x11" * 32, attributes=ATTRIBUTES)


@pytest.mark.parametrize(
    "value",
    [
        sgx.SECS(size=1 << 16, baseaddr=1 << 32, ssaframesize=1, attributes=ATTRIBUTES),
        sgx.TCS(ossa=0x3000, nssa=2, oentry=0x1234),
        sgx.REPORT(body=BODY, mac=b"\x22" * 16),
        BODY,
        sgx.TARGETINFO(measurement=b"\x11" * 32, attributes=ATTRIBUTES),
        sgx.KEYREQUEST(keyname=sgx.KeyName.SEAL, keypolicy=sgx.KeyPolicy(mrsigner=True)),
        EINITTOKEN(valid=1, attributes=ATTRIBUTES),
        SIGSTRUCT(header=HEADER, exponent=3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_structure_is_recognised_as_itself(value: Struct) -> None:
    assert [table for _, table in recognise(value.pack())] == [value]


def test_real_sigstructs_are_recognised() -> None:
    data = vector("sgx/test_enclave.sig")
    ((title, table),) = recognise(data)
    assert title.startswith("SIGSTRUCT")
    assert isinstance(table, SIGSTRUCT)
    assert table.pack() == data


def test_a_cut_sigstruct_is_an_error_about_sigstruct() -> None:
    with pytest.raises(Truncated, match="SIGSTRUCT is 1808 bytes, not 100"):
        recognise(HEADER + bytes(84))


def test_a_stream_is_listed_with_its_measurement() -> None:
    page = ImagePage(0x1000, sgx.PageType.REG, True, False, True, bytes(4096))
    image = Image(1 << 16, 1, (page,))
    (_, first), (_, summary), (_, pages) = recognise(write_sgxs(image))
    assert isinstance(first, Struct)
    assert not isinstance(summary, Struct)
    assert not isinstance(pages, Struct)
    assert {row.name: row.value for row in summary} == {
        "EADD": "1",
        "EEXTEND": "16",
        "MRENCLAVE": measure(image),
    }
    assert [(row.name, row.value) for row in pages] == [("page 0x1000", 0x205)]


def test_a_template_without_a_size_is_listed_without_a_measurement() -> None:
    _, (_, summary), _ = recognise(b"UNSIZED\0" + ecreate_record(1, 16)[8:])
    assert summary == []


def test_a_program_is_summarised() -> None:
    (_, header), (_, segments) = recognise(small_elf())
    assert isinstance(header, Sequence)
    assert isinstance(segments, Sequence)
    values = {row.name: row.value for row in header}
    assert (values["class"], values["machine"], values["entry"]) == ("64-bit", "x64", 0x401000)
    assert segments == [Row(0, 120, "PT_LOAD", "r-x", "0x1000 bytes at address 0x401000")]


def test_a_signed_enclave_is_listed_with_its_metadata_signature_patches_and_layout() -> None:
    tables = dict(recognise(signed_file(versions=((2, 4),)).data))
    _, _, metadata, sigstruct, patches, layout = tables.values()
    assert list(tables)[2] == "Metadata of a signed enclave, version 2.4"
    assert isinstance(sigstruct, SIGSTRUCT)
    assert sigstruct.isvprodid == 7
    assert not isinstance(metadata, Struct)
    assert not isinstance(patches, Struct)
    assert not isinstance(layout, Struct)
    values = {row.name: row.value for row in metadata}
    assert (values["enclave_size"], values["magic_num"]) == (0x80000, 0x86A80294635D0E4C)
    assert [row.value for row in patches] == [0x3E00, 60, 40, 62]
    assert [row[2:] for row in layout[:5]] == [
        ("HEAP_MIN", "2 pages at 0x9000, REG rw-", "eadd"),
        ("HEAP_INIT", "1 page at 0xb000, REG rw-", "eadd, post_add, post_remove"),
        ("HEAP_MAX", "4 pages at 0xc000, REG rw-", "post_add"),
        ("GUARD", "1 page at 0x10000", "no page is added"),
        ("STACK_MIN", "2 pages at 0x11000, REG rw-", "eadd, eextend, filled with 0xcccccccc"),
    ]
    assert ("the 7 regions before, 2 times again", "0x9000 bytes further each time") in [
        row[3:] for row in layout
    ]


def small_elf() -> bytes:
    """An ELF header and one program header, nothing else."""
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = [(2, 2), (62, 2), (1, 4), (0x401000, 8), (64, 8), (0, 8), (0, 4), (64, 2), (56, 2)]
    header += [(1, 2), (64, 2), (0, 2), (0, 2)]
    segment = [(1, 4), (5, 4), (0, 8), (0x401000, 8), (0x401000, 8), (120, 8), (4096, 8), (4096, 8)]
    return ident + b"".join(value.to_bytes(size, "little") for value, size in header + segment)


def test_what_is_unknown_is_refused_with_what_is_known() -> None:
    with pytest.raises(LayoutError, match=r"photo\.png: 7 bytes.*SIGSTRUCT, SGXS, ELF, SECS"):
        recognise(b"\x89PNG\r\n\x1a", "photo.png")


@pytest.mark.parametrize("size", [304, 384, 432, 512, 1808, 4096])
def test_zeros_are_nothing(size: int) -> None:
    with pytest.raises(LayoutError):
        recognise(bytes(size))


@given(
    st.sampled_from([b"", HEADER, b"ECREATE\0", b"UNSIZED\0", small_elf()]),
    st.binary(max_size=200),
    st.sampled_from([0, 304, 384, 432, 512, 1808, 4096]),
    st.integers(0, 119),
)
def test_any_bytes_are_recognised_or_refused_with_a_layout_error(
    start: bytes, tail: bytes, size: int, place: int
) -> None:
    for data in (start + tail, start[:place] + tail + start[place:]):
        with suppress(LayoutError):
            assert recognise(data.ljust(size, b"\0"))
