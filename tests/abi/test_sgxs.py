"""Measurement, and the SGXS stream."""

import hashlib
import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tee_sim.abi.image import (
    Image,
    ImagePage,
    eadd_record,
    ecreate_record,
    eextend_record,
    measure,
)
from tee_sim.abi.sgx import TCS, PageType, TCSFlags
from tee_sim.abi.sgxs import (
    UNMEASRD_TAG,
    EExtendRecord,
    UnmeasuredRecord,
    read_records,
    read_sgxs,
    write_sgxs,
)
from tee_sim.errors import LayoutError, Reserved, Truncated
from tee_sim.units import PAGE

SIZE = 1 << 16
DATA = bytes(range(256)) * 16
ECREATE = ecreate_record(1, SIZE)
EADD = eadd_record(PAGE, 0x203)


def page(offset: int = PAGE, content: bytes = DATA, measured: int = 0xFFFF) -> ImagePage:
    return ImagePage(offset, PageType.REG, True, True, False, content, measured)


def image(*pages: ImagePage) -> Image:
    return Image(SIZE, 1, pages)


def tcs_page(**fields: Any) -> ImagePage:
    tcs = TCS(ossa=PAGE, nssa=2, **fields)
    return ImagePage(PAGE, PageType.TCS, True, True, False, tcs.pack())


def extend(offset: int, data: bytes = DATA[:256]) -> bytes:
    return eextend_record(offset) + data


def unmeasured(offset: int) -> bytes:
    return UnmeasuredRecord(tag=UNMEASRD_TAG, offset=offset, data=DATA[:256]).pack()


@st.composite
def pages(draw: st.DrawFn, number: int) -> ImagePage:
    """A page as a loader may hand it over: a TCS may ask for rights and have live fields."""
    chunks = st.binary(min_size=256, max_size=256) | st.just(bytes(256))
    return ImagePage(
        offset=number * PAGE,
        page_type=draw(st.sampled_from([PageType.REG, PageType.TCS])),
        r=draw(st.booleans()),
        w=draw(st.booleans()),
        x=draw(st.booleans()),
        content=draw(chunks) + draw(chunks) + bytes(PAGE - 512),
        measured=draw(st.just(0xFFFF) | st.integers(0, 0xFFFF)),
    )


@st.composite
def images(draw: st.DrawFn) -> Image:
    numbers = draw(st.lists(st.integers(0, SIZE // PAGE - 1), unique=True, max_size=4))
    return Image(SIZE, draw(st.integers(1, 4)), tuple(draw(pages(number)) for number in numbers))


def measure_by_the_book(enclave: Image) -> bytes:
    """MRENCLAVE written a second time, straight from the operation sections of the manual."""
    log = struct.pack("<QIQ", 0x0045544145524345, enclave.ssaframesize, enclave.size).ljust(
        64, b"\0"
    )
    for added in enclave.pages:
        content, flags = bytearray(added.content), added.r | added.w << 1 | added.x << 2
        if added.page_type == PageType.TCS:
            flags = 0
            content[0:8] = bytes(8)
            content[8] &= 0xFE
            content[24:28] = bytes(4)
            content[40:48] = bytes(8)
        flags |= added.page_type << 8
        log += struct.pack("<QQQ", 0x0000000044444145, added.offset, flags).ljust(64, b"\0")
        for chunk in range(16):
            if added.measured & 1 << chunk:
                start = 256 * chunk
                record = struct.pack("<QQ", 0x00444E4554584545, added.offset + start)
                log += record.ljust(64, b"\0") + content[start : start + 256]
    return hashlib.sha256(log).digest()


@given(images())
def test_the_measurement_is_the_manuals(enclave: Image) -> None:
    assert measure(enclave) == measure_by_the_book(enclave)


def test_records_are_the_manuals() -> None:
    assert ecreate_record(2, 0x8000) == (
        b"ECREATE\0" + b"\2\0\0\0" + b"\0\x80\0\0\0\0\0\0" + bytes(44)
    )
    assert ecreate_record(2, 0x8000, 0x1000)[20:28] == b"\0\x10\0\0\0\0\0\0"
    assert eadd_record(0x3000, 0x201) == (
        b"EADD\0\0\0\0" + b"\0\x30\0\0\0\0\0\0" + b"\x01\x02\0\0\0\0\0\0" + bytes(40)
    )
    assert eextend_record(0x3100) == b"EEXTEND\0" + b"\0\x31\0\0\0\0\0\0" + bytes(48)


@pytest.mark.parametrize(
    "other",
    [
        image(page(), page(2 * PAGE)),
        image(page(2 * PAGE)),
        image(page(content=DATA[:-1] + b"\0")),
        image(page(measured=0x7FFF)),
        image(replace(page(), x=True)),
        Image(2 * SIZE, 1, (page(),)),
        Image(SIZE, 2, (page(),)),
    ],
)
def test_whatever_is_covered_changes_the_measurement(other: Image) -> None:
    assert measure(other) != measure(image(page()))


def test_the_order_of_pages_is_measured() -> None:
    first, second = page(PAGE), page(2 * PAGE)
    assert measure(image(first, second)) != measure(image(second, first))


def test_unmeasured_content_does_not_change_the_measurement() -> None:
    assert measure(image(page(measured=0))) == measure(image(page(content=bytes(PAGE), measured=0)))


def test_a_tcs_is_measured_without_rights_and_live_fields() -> None:
    plain = replace(tcs_page(), r=False, w=False)
    live = tcs_page(state=1, cssa=1, aep=0x7000, flags=TCSFlags(dbgoptin=True))
    assert measure(image(live)) == measure(image(plain))
    assert measure(image(tcs_page(flags=TCSFlags(aexnotify=True)))) != measure(image(plain))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"offset": 100}, "0x64"),
        ({"offset": -PAGE}, "-0x1000"),
        ({"page_type": PageType.SECS}, "SECS"),
        ({"page_type": PageType.SS_FIRST}, "SS_FIRST"),
        ({"content": b"short"}, "5 bytes"),
        ({"measured": 1 << 16}, "0x10000"),
    ],
)
def test_a_page_that_cannot_be_added_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(LayoutError, match=said):
        replace(page(), **wrong)


@pytest.mark.parametrize(
    ("size", "ssaframesize", "offsets", "said"),
    [
        (4096, 1, [], "power of two"),
        (SIZE + PAGE, 1, [], "power of two"),
        (0, 1, [], "power of two"),
        (SIZE, 0, [], "at least one page"),
        (SIZE, 1, [SIZE], "outside"),
        (SIZE, 1, [PAGE, PAGE], "twice"),
    ],
)
def test_an_enclave_that_cannot_be_created_is_refused(
    size: int, ssaframesize: int, offsets: list[int], said: str
) -> None:
    with pytest.raises(LayoutError, match=said):
        Image(size, ssaframesize, tuple(page(offset) for offset in offsets))


@given(images())
def test_what_is_written_is_read_as_the_processor_holds_it(enclave: Image) -> None:
    read = read_sgxs(write_sgxs(enclave))
    assert measure(read) == measure(enclave)
    assert [added.offset for added in read.pages] == [added.offset for added in enclave.pages]
    for got, wanted in zip(read.pages, enclave.pages, strict=True):
        assert got.content == wanted.epc_content
        assert got.secinfo_flags == wanted.secinfo_flags
        assert got.measured == wanted.measured
    assert read_sgxs(write_sgxs(read)) == read


def test_the_digest_of_a_wholly_measured_stream_is_the_measurement() -> None:
    enclave = image(page(2 * PAGE), tcs_page())
    assert hashlib.sha256(write_sgxs(enclave)).digest() == measure(enclave)


@given(
    st.lists(
        st.sampled_from(
            [ECREATE, EADD, extend(PAGE), extend(PAGE + 256), extend(PAGE + 3), unmeasured(PAGE)]
        )
        | st.binary(max_size=70),
        max_size=6,
    ).map(b"".join)
)
def test_any_bytes_are_an_enclave_or_a_layout_error(data: bytes) -> None:
    for stream in (data, ECREATE + EADD + data):
        try:
            enclave = read_sgxs(stream)
        except LayoutError:
            continue
        assert measure(read_sgxs(write_sgxs(enclave))) == measure(enclave)


def test_records_come_with_their_offset_in_the_stream() -> None:
    stream = ECREATE + EADD + extend(PAGE) + unmeasured(PAGE + 256)
    read = list(read_records(stream))
    assert [position for position, _ in read] == [0, 64, 128, 448]
    assert isinstance(read[2][1], EExtendRecord)
    assert b"".join(record.pack() for _, record in read) == stream


@pytest.mark.parametrize(
    ("stream", "error", "said"),
    [
        (b"", Truncated, "begins with ECREATE"),
        (EADD, LayoutError, "begins with ECREATE"),
        (b"UNSIZED\0" + bytes(56), LayoutError, "UNSIZED"),
        (ecreate_record(1, SIZE, PAGE), LayoutError, "CET"),
        (ecreate_record(1, 5000), LayoutError, "power of two"),
        (ECREATE + b"EREMOVE\0" + bytes(56), LayoutError, "offset 0x40: .*EREMOVE"),
        (ECREATE + EADD[:-1], Truncated, "offset 0x40: "),
        (ECREATE + EADD[:-1] + b"\1", Reserved, "offset 0x40: .*0x18-0x3f"),
        (ECREATE + ECREATE, LayoutError, "offset 0x40: .*no place"),
        (ECREATE + extend(PAGE), LayoutError, "offset 0x40: .*no place"),
        (ECREATE + EADD + extend(0), LayoutError, "offset 0x80: .*out of order"),
        (ECREATE + EADD + extend(2 * PAGE), LayoutError, "offset 0x80: .*out of order"),
        (ECREATE + EADD + extend(PAGE + 8), LayoutError, "offset 0x80: .*out of order"),
        (ECREATE + EADD + 2 * extend(PAGE), LayoutError, "offset 0x1c0: .*out of order"),
        (ECREATE + EADD + extend(PAGE) + unmeasured(PAGE), LayoutError, "offset 0x1c0: "),
        (ECREATE + 2 * EADD, LayoutError, "twice"),
        (ECREATE + eadd_record(PAGE, 0x20B), LayoutError, "offset 0x40: .*pending"),
        (ECREATE + eadd_record(PAGE, 0x101), LayoutError, "offset 0x40: .*has rights"),
        (ECREATE + eadd_record(PAGE, 0x003), LayoutError, "type"),
        (ECREATE + eadd_record(SIZE, 0x203), LayoutError, "outside"),
        (ECREATE + eadd_record(PAGE + 8, 0x203), LayoutError, "no multiple of 4096"),
    ],
)
def test_a_stream_that_is_not_canonical_is_refused(
    stream: bytes, error: type[LayoutError], said: str
) -> None:
    with pytest.raises(error, match=said):
        read_sgxs(stream)


def test_chunks_that_the_stream_leaves_out_are_zero() -> None:
    read = read_sgxs(ECREATE + EADD + extend(PAGE + 512))
    assert read.pages[0].content == bytes(512) + DATA[:256] + bytes(PAGE - 768)
    assert read.pages[0].measured == 1 << 2
