import shutil
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.conftest import program
from tee_sim.abi.image import measure
from tee_sim.abi.sgx import TCS, PageType
from tee_sim.errors import BuildError, LayoutError, Truncated
from tee_sim.sdk.build import shipped
from tee_sim.sdk.edl import Interface
from tee_sim.sdk.elf import read_elf
from tee_sim.sdk.image import lay_out, load_program, thread_data_offsets
from tee_sim.sdk.sources import Config, find
from tee_sim.units import PAGE

VAULT = shipped(find("vault"), "vault", "sgx").read_bytes()
PHOFF, PHSIZE = 64, 56


def pages(loaded):
    return {page.offset: page for page in loaded.image.pages}


def first_load() -> int:
    """File offset of the first PT_LOAD program header."""
    for index in range(20):
        at = PHOFF + index * PHSIZE
        if struct.unpack_from("<I", VAULT, at)[0] == 1:
            return at
    raise AssertionError


def patched(at: int, layout: str, value: int) -> bytes:
    data = bytearray(VAULT)
    struct.pack_into(layout, data, at, value)
    return bytes(data)


def test_rights_are_exact_and_never_writable_and_executable():
    loaded = program("vault")
    rights = {(p.r, p.w, p.x) for p in loaded.image.pages if p.page_type == PageType.REG}
    assert rights == {(True, False, False), (True, False, True), (True, True, False)}


@pytest.mark.parametrize("name", ["vault", "types"])
def test_each_thread_has_guards_around_its_stack(name):
    loaded = program(name)
    found = pages(loaded)
    for thread in loaded.threads:
        bottom, top = thread.stack
        assert bottom - PAGE not in found
        assert top not in found
        assert all(found[at].w for at in range(bottom, top, PAGE))
        tcs = TCS.unpack(found[thread.tcs].content)
        assert found[thread.tcs].page_type == PageType.TCS
        assert (tcs.oentry, tcs.ossa, tcs.nssa) == (thread.entry, thread.ssa, thread.nssa)
        assert tcs.ogsbase == tcs.ofsbase == thread.gs
        assert all(found[thread.ssa + n * PAGE].w for n in range(thread.nssa))
        assert found[thread.entry & -PAGE].x


def test_thread_data_holds_offsets_and_its_words_agree():
    loaded = program("types")
    at = thread_data_offsets()
    for index, thread in enumerate(loaded.threads):
        content = pages(loaded)[thread.gs].content
        word = {name: struct.unpack_from("<Q", content, offset)[0] for name, offset in at.items()}
        assert word["TD_SELF"] == thread.gs
        assert word["TD_STACK_TOP"] == thread.stack[1]
        assert (word["TD_HEAP"], word["TD_HEAP"] + word["TD_HEAP_SIZE"]) == loaded.heap
        assert word["TD_ENCLAVE_SIZE"] == loaded.image.size
        assert word["TD_INDEX"] == index
        assert not any(word[name] for name in at if at[name] >= at["TD_RETURN_TARGET"])


def test_the_heap_is_added_and_not_measured_and_all_else_is():
    loaded = program("vault")
    for page in loaded.image.pages:
        heap = loaded.heap[0] <= page.offset < loaded.heap[1]
        assert page.measured == (0 if heap else 0xFFFF)


def test_spare_room_lies_behind_the_heap_and_has_no_page():
    loaded, found = program("grower"), pages(program("grower"))
    at = thread_data_offsets()["TD_SPARE_SIZE"]
    for thread in loaded.threads:
        (spare,) = struct.unpack_from("<Q", found[thread.gs].content, at)
        assert spare == 32 * PAGE
        assert thread.stack[0] >= loaded.heap[1] + spare + PAGE
    assert not [offset for offset in found if 0 <= offset - loaded.heap[1] < spare]


def test_the_size_is_the_next_power_of_two():
    loaded = program("vault")
    end = max(page.offset for page in loaded.image.pages) + PAGE
    assert loaded.image.size / 2 < end <= loaded.image.size


def test_what_attacks_aim_at_has_pages_of_its_own():
    for name, symbols in {
        "vault": ["vault_secret", "vault_pin", "vault_tries"],
        "sketch": ["sketch_bitmap", "sketch_canvas", "sketch_ink", "sketch_paper"],
    }.items():
        loaded = program(name)
        for symbol in symbols:
            offset = loaded.symbols[symbol]
            assert offset % PAGE == 0
            alone = [s for s, at in loaded.symbols.items() if offset <= at < offset + PAGE]
            assert alone == [symbol]
            assert pages(loaded)[offset].w


def test_the_measurement_depends_on_code_and_layout_only(tmp_path):
    before = measure(program("vault").image)
    copy = tmp_path / "vault"
    shutil.copytree(find("vault"), copy)
    source = copy / "vault.c"
    source.write_text(source.read_text() + "/* a comment */\n")
    assert measure(load_program(copy).image) == before
    source.write_text(source.read_text().replace("#define MAX_TRIES 3", "#define MAX_TRIES 4"))
    assert measure(load_program(copy).image) != before


def test_the_shipped_form_is_used_as_long_as_its_sources_are_unchanged(tmp_path, monkeypatch):
    copy = tmp_path / "vault"
    shutil.copytree(find("vault"), copy)

    def refuse(*_):
        raise BuildError("compiled")

    monkeypatch.setattr("tee_sim.sdk.build.build", refuse)
    assert load_program(copy).name == "vault"
    (copy / "vault.c").write_text((copy / "vault.c").read_text() + "\n")
    with pytest.raises(BuildError, match="compiled"):
        load_program(copy)


def test_thread_and_page_counts_come_from_the_config():
    loaded = lay_out(read_elf(VAULT), Config("v", 3, 5, 4), Interface())
    assert len(loaded.threads) == 4
    assert loaded.heap[1] - loaded.heap[0] == 3 * PAGE
    assert all(top - bottom == 5 * PAGE for bottom, top in (t.stack for t in loaded.threads))


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        (b"", Truncated, "ELF header"),
        (VAULT[:100], Truncated, "program header"),
        (VAULT[:0x1000], Truncated, "segment"),
        (patched(0, "<I", 0), LayoutError, "not a 64-bit"),
        (patched(4, "<B", 1), LayoutError, "not a 64-bit"),
        (patched(18, "<H", 183), LayoutError, "machine 183"),
        (patched(16, "<H", 2), LayoutError, "position-independent"),
        (patched(24, "<Q", 0), LayoutError, "entry"),
        (patched(24, "<Q", 2**64 - 1), LayoutError, "entry"),
        (patched(32, "<Q", 2**64 - 1), Truncated, "program header"),
        (patched(54, "<H", 0), LayoutError, "program headers"),
        (patched(56, "<H", 0), LayoutError, "program headers"),
        (patched(56, "<H", 0xFFFF), LayoutError, "program headers"),
        (patched(40, "<Q", 2**63), Truncated, "section header"),
        (patched(58, "<H", 3), LayoutError, "section headers"),
        (patched(first_load(), "<I", 3), LayoutError, "dynamic linker"),
        (patched(first_load(), "<I", 7), LayoutError, "thread-local"),
        (patched(first_load() + 4, "<I", 7), LayoutError, "writable and executable"),
        (patched(first_load() + 4, "<I", 0), LayoutError, "not readable"),
        (patched(first_load() + 8, "<Q", 2**64 - 1), Truncated, "beyond"),
        (patched(first_load() + 16, "<Q", 0x100000), LayoutError, "no segment starts at 0"),
        (patched(first_load() + 32, "<Q", 2**40), LayoutError, "in memory"),
        (patched(first_load() + 40, "<Q", 2**64 - 1), LayoutError, "in memory"),
        (patched(first_load() + 40, "<Q", 0x2000), LayoutError, "share a page"),
    ],
)
def test_a_wrong_elf_is_refused_with_its_reason(data, error, said):
    with pytest.raises(error, match=said):
        read_elf(data)


@given(st.integers(0, len(VAULT) - 1))
@settings(max_examples=200)
def test_a_truncated_elf_is_a_layout_error_or_lacks_only_names(size):
    check(VAULT[:size])


@given(st.lists(st.tuples(st.integers(0, 0x1A0), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=500)
def test_changed_headers_never_give_an_untyped_error(changes):
    data = bytearray(VAULT)
    for at, value in changes:
        data[at] = value
    check(bytes(data))


@given(st.lists(st.tuples(st.integers(0x1700, len(VAULT) - 1), st.integers(0, 255)), min_size=1))
@settings(max_examples=300)
def test_changed_tables_never_give_an_untyped_error(changes):
    data = bytearray(VAULT)
    for at, value in changes:
        data[at] = value
    check(bytes(data))


@given(st.binary(max_size=300))
def test_any_bytes_give_a_layout_error(data):
    with pytest.raises(LayoutError):
        read_elf(data)


def check(data: bytes) -> None:
    """Either a typed error, or an image that keeps every rule."""
    try:
        loaded = lay_out(read_elf(data), Config("hostile"), Interface())
    except LayoutError:
        return
    assert all(not (page.w and page.x) for page in loaded.image.pages)
    assert all(0 <= at < loaded.image.size for at in loaded.symbols.values())
