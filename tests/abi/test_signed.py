"""Signed enclave files of Intel's SGX SDK: which pages are added, and which files are refused.

The files come from `signed_files`, and not from Intel's tool; see there.
"""

import time
import tracemalloc
from contextlib import suppress
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signed_files import CODE, PAGE, PATCHED, TABLES, TCS_PAGE, signed_file
from tee_sim.abi import elf, sgx_metadata
from tee_sim.abi.image import ALL_CHUNKS, measure
from tee_sim.abi.layout import Bits, Struct
from tee_sim.abi.recognise import recognise
from tee_sim.abi.sgx import TCS, PageType
from tee_sim.abi.signed import read_signed
from tee_sim.errors import LayoutError, Truncated, UnknownVersion
from tee_sim.monitors.sgx.sigstruct import verify

FILE = signed_file()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"text_relocations": True},
        {"shift": 0},
        {"shift": 0x80000},
        {"versions": ((1, 4),)},
        {"versions": ((2, 1), (2, 3))},
    ],
    ids=str,
)
def test_exactly_the_planned_pages_are_added_and_measured(options):
    if "shift" in options:
        options = {"versions": ((12, 4), (11, 4)), **options}
    file = signed_file(**options)
    signed = read_signed(file.data)
    found = [
        (page.offset, int(page.secinfo_flags), page.content, page.measured == ALL_CHUNKS)
        for page in signed.image.pages
    ]
    assert found == file.pages
    assert measure(signed.image) == file.mrenclave == signed.sigstruct.enclavehash
    verify(signed.sigstruct)


def test_a_page_is_measured_whole_or_not_at_all():
    assert {page.measured for page in read_signed(FILE.data).image.pages} == {0, ALL_CHUNKS}


def test_text_relocations_make_pages_writable_only_where_the_file_says_so():
    def writable_code(file):
        return [p.offset for p in read_signed(file.data).image.pages if p.w and p.x and p.offset]

    with_them = signed_file(text_relocations=True)
    reserved = writable_code(FILE)
    assert len(reserved) == 1
    assert writable_code(with_them) == [0x1000, 0x2000, *reserved]
    assert with_them.mrenclave != FILE.mrenclave


def test_text_relocations_of_no_size_change_nothing():
    file = signed_file(text_relocations=True)
    data = bytearray(file.data)
    data[0x3D10] = data[0x3D30] = 9  # instead of DT_RELASZ and DT_PLTRELSZ
    assert not any(page.w for page in read_signed(bytes(data)).image.pages[:4])


def test_offsets_of_a_thread_wrap_as_the_loaders_additions_do():
    data = FILE.changed("template", b"\xff" * 8, TCS.FIELDS["ossa"].offset)
    threads = [p for p in read_signed(data).image.pages if p.page_type == PageType.TCS]
    assert [TCS.unpack(page.content).ossa for page in threads] == [p.offset - 1 for p in threads]


def test_the_place_of_the_section_headers_is_not_measured():
    at = FILE.at["sections"]
    moved = FILE.data[:at] + bytes(64) + FILE.data[at:]
    moved = moved[:40] + pack("<Q", at + 64) + moved[48:]
    assert measure(read_signed(moved).image) == FILE.mrenclave


def test_the_signature_is_not_measured_and_everything_that_is_loaded_is():
    css = FILE.at["metadata"] + sgx_metadata.Metadata.FIELDS["enclave_css"].offset
    changed = FILE.data[: css + 40] + b"\1" + FILE.data[css + 41 :]
    assert measure(read_signed(changed).image) == FILE.mrenclave
    for place in (CODE, 0x3E80, FILE.at["template"] + 112):  # code, globals, the new globals
        changed = FILE.data[:place] + b"\xaa" + FILE.data[place + 1 :]
        assert measure(read_signed(changed).image) != FILE.mrenclave


def test_patched_bytes_of_the_file_do_not_matter():
    changed = FILE.data[:0x3E00] + bytes(len(PATCHED)) + FILE.data[0x3E00 + len(PATCHED) :]
    assert measure(read_signed(changed).image) == FILE.mrenclave


def test_each_thread_has_its_own_save_area_and_data():
    image = read_signed(FILE.data).image
    added = {page.offset for page in image.pages}
    threads = [page for page in image.pages if page.page_type == PageType.TCS]
    assert len(threads) == 5  # the first, one and two more, one that is removed; none that is later
    for page in threads:
        tcs = TCS.unpack(page.content)
        assert (tcs.ossa, tcs.ofsbase, tcs.oentry) == (
            page.offset + PAGE,
            page.offset + 4 * PAGE,
            CODE,
        )
        assert {tcs.ossa, tcs.ofsbase, tcs.ogsbase} <= added
        assert {page.offset - PAGE, tcs.ofsbase - PAGE}.isdisjoint(added), "guards"


def test_a_region_with_content_is_measured_whatever_its_attributes_say():
    last, before = read_signed(FILE.data).image.pages[-1:-3:-1]
    assert before.content.startswith(b"not measured? yes, it is")
    assert (before.measured, last.measured, any(last.content)) == (ALL_CHUNKS, ALL_CHUNKS, False)


@pytest.mark.parametrize("versions", [((1, 4), (2, 4)), ((2, 4), (1, 4))])
def test_the_highest_version_is_taken_wherever_it_is(versions):
    file = signed_file(versions=versions)
    found = sgx_metadata.read_metadata(elf.read(file.data))
    assert [sgx_metadata.version(one.head) for one in found] == [f"{a}.{b}" for a, b in versions]
    assert sgx_metadata.version(read_signed(file.data).metadata) == "2.4"


def test_metadata_before_1_4_is_refused():
    with pytest.raises(UnknownVersion, match=r"metadata of version 1\.3: 1\.4 is the oldest"):
        read_signed(signed_file(versions=((1, 3),)).data)


def row(index: int, offset: int) -> int:
    """Where in the layout table a field of a row is."""
    return 32 * index + offset


GROUP = 17  # row of the group of threads
BAD = [
    ("metadata", b"\0", 0, LayoutError, "not signed yet"),
    ("metadata", pack("<I", TABLES - 1), 16, LayoutError, "metadata says that it has 1887 bytes"),
    ("metadata", pack("<I", 1 << 31), 16, LayoutError, "metadata says that it has 2147483648"),
    ("metadata", pack("<I", 0), 16, LayoutError, "metadata says that it has 0 bytes"),
    ("metadata", pack("<I", 0), 24, LayoutError, "at least one page"),
    ("metadata", pack("<Q", 0x7F000), 40, LayoutError, "do not fit the enclave of 0x7f000"),
    ("metadata", pack("<Q", 0x81000), 40, LayoutError, "no power of two"),
    ("metadata", pack("<II", TABLES - 1, 32), 1872, LayoutError, "metadata points to 32 bytes at"),
    ("metadata", pack("<II", TABLES, 31), 1872, LayoutError, "a table of 31 bytes, in rows of 32"),
    ("metadata", pack("<I", 1 << 31), 1876, LayoutError, "metadata points to 2147483648 bytes"),
    ("metadata", pack("<I", 1 << 31), 1884, LayoutError, "metadata points to 2147483648 bytes"),
    ("patches", pack("<Q", 1 << 40), 0, Truncated, "a patch at 0x10000000000 reaches beyond"),
    ("patches", pack("<I", 0), 8, LayoutError, "metadata points to 39 bytes at 0x0"),
    ("patches", pack("<I", 1 << 31), 12, LayoutError, "metadata points to 2147483648 bytes"),
    ("layout", pack("<I", 0xFFFFFFFF), row(0, 4), LayoutError, "4294967295 pages at 0x9000 do not"),
    ("layout", pack("<Q", 0x9001), row(0, 8), LayoutError, "2 pages at 0x9001 do not fit"),
    ("layout", pack("<Q", 0x8000), row(0, 8), LayoutError, "page 0x8000 is added twice"),
    ("layout", pack("<Q", 0xA000), row(0, 8), LayoutError, "two regions hold the page 0xb000"),
    ("layout", pack("<Q", 1 << 63), row(0, 8), LayoutError, "do not fit"),
    ("layout", b"\x80", row(0, 2), LayoutError, "reserved bits"),
    ("layout", pack("<Q", 0x300), row(0, 24), LayoutError, "EADD adds no page of type"),
    ("layout", pack("<Q", 0x900), row(0, 24), LayoutError, "PageType"),
    ("layout", pack("<I", TABLES - 8), row(6, 20), LayoutError, "metadata points to 72 bytes"),
    ("layout", pack("<I", 4097), row(6, 16), LayoutError, "metadata points to 4097|4097 bytes for"),
    ("layout", pack("<H", GROUP + 1), row(GROUP, 2), LayoutError, "repeats 18 entries 2 times"),
    ("layout", pack("<I", 0xFFFFFFFF), row(GROUP, 4), LayoutError, "4294967295 times"),
    ("layout", pack("<HI", 0, 0xFFFFFFFF), row(GROUP, 2), LayoutError, "0 entries 4294967295"),
    ("layout", pack("<I", 8000), row(GROUP, 4), LayoutError, "do not fit"),
    ("layout", pack("<Q", 0), row(GROUP, 8), LayoutError, "two regions hold"),
    ("layout", pack("<Q", 1 << 63), row(GROUP, 8), LayoutError, "do not fit"),
    ("layout", pack("<H", 0x1009), row(GROUP - 2, 0), LayoutError, "group"),
    ("layout", pack("<I", 0), row(34, 4), LayoutError, "24 bytes for 0 pages"),
    ("start", pack("<H", 183), 18, LayoutError, "machine 183"),
    ("start", pack("<H", 2), 16, LayoutError, "position-independent"),
    ("note", pack("<I", 12), 0, LayoutError, "no whole note"),
    ("note", pack("<I", 0xFFFFFFFF), 0, LayoutError, "no whole note"),
    ("note", pack("<I", 1 << 31), 4, LayoutError, "no whole note"),
    ("note", b"X", 14, LayoutError, "no whole note"),
    ("sections", pack("<Q", 11), 128 + 32, Truncated, "a note of 11 bytes"),
    ("sections", pack("<Q", 1 << 40), 128 + 24, Truncated, "a note of"),
    ("sections", pack("<I", 0), 128, LayoutError, "no section .note.sgxmeta"),
]


@pytest.mark.parametrize(("place", "value", "plus", "error", "said"), BAD)
def test_a_wrong_file_is_refused_at_once_with_its_reason(place, value, plus, error, said):
    data = FILE.changed(place, value, plus)
    tracemalloc.start()
    started = time.monotonic()
    try:
        with pytest.raises(error, match=said):
            read_signed(data)
        assert time.monotonic() - started < 5, "it took too long"
        assert tracemalloc.get_traced_memory()[1] < 64 << 20, "it took too much memory"
    finally:
        tracemalloc.stop()


def test_more_memory_than_can_be_simulated_is_refused_at_once():
    large = signed_file()
    at = large.at["metadata"] + 40
    data = bytearray(large.changed("layout", pack("<IQ", 1 << 20, 1 << 32), row(0, 4)))
    data[at : at + 8] = pack("<Q", 1 << 40)
    with pytest.raises(LayoutError, match="more than 262144 pages to add"):
        read_signed(bytes(data))


@pytest.mark.parametrize(
    ("image", "start", "size"),
    [
        (0x4000_0000, 0x4008_0000, 0x20_0000),
        (0x4000_0800, 0x4000_0000, 0x20_0000),
        (0x4018_1000, 0x4000_0000, 0x20_0000),
        (0x4000_0000, 0x4000_0000, 0x4_0000),
    ],
)
def test_an_enclave_outside_its_own_elrange_is_refused(image, start, size):
    file = signed_file(shift=0x80000, versions=((12, 4),))
    with pytest.raises(LayoutError, match="does not hold 0x80000 bytes at"):
        read_signed(file.changed("metadata", pack("<QQQ", image, start, size), TABLES + 8))


def test_the_row_that_the_table_above_calls_a_group_is_one():
    (metadata, _) = sgx_metadata.read_metadata(elf.read(FILE.data))
    group = metadata.layout()[GROUP]
    assert isinstance(group, sgx_metadata.LayoutGroup)
    assert (group.entry_count, group.load_times) == (7, 2)
    assert metadata.layout()[6].si_flags == TCS_PAGE


def test_overlapping_segments_are_refused_without_being_loaded():
    huge = [(i, pack("<IIQQQQQQ", 1, 4, 0, 0, 0, 0, 256 << 20, PAGE)) for i in range(7)]
    data = bytearray(FILE.data)
    for index, header in huge:
        data[64 + 56 * index : 120 + 56 * index] = header
    with pytest.raises(LayoutError, match="some overlap"):
        read_signed(bytes(data))


def test_text_relocations_without_their_section_are_refused():
    file = signed_file(text_relocations=True)
    with pytest.raises(LayoutError, match="no section at 0x500"):
        read_signed(file.changed("sections", bytes(8), 64 + 16))


@pytest.mark.parametrize("size", [0, 63, 64, 400, 0x4000, 0x5030, *range(0x5040, 0x5070, 7)])
def test_a_cut_file_is_refused(size):
    with pytest.raises(LayoutError):
        read_signed(FILE.data[:size])


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_any_change_gives_an_answer_or_a_layout_error(data):
    content = bytearray(FILE.data)
    places = {"start": 0, "program headers": 64, "dynamic": 0x3D00, **FILE.at}
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.sampled_from(sorted(places.values()))) + data.draw(st.integers(0, 200))
        value = data.draw(st.sampled_from([b"\0", b"\xff", b"\xff" * 4, b"\x7f" * 8, b"\x80"]))
        content[at : at + len(value)] = value
    for reader in (read_signed, recognise):
        with suppress(LayoutError):
            assert reader(bytes(content[: len(FILE.data)]))


def test_every_declaration_names_its_source_and_meanings():
    kinds = [
        value
        for value in vars(sgx_metadata).values()
        if isinstance(value, type)
        and issubclass(value, Struct | Bits)
        and value.__module__ == sgx_metadata.__name__
    ]
    assert len(kinds) == 7
    assert all(kind.SOURCE.startswith("intel/linux-sgx, ") for kind in kinds)
    assert all(field.meaning for kind in kinds for field in kind.FIELDS.values())
