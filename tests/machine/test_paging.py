"""The page walk: what it reads, what it sets, and the code of each refusal."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tee_sim.errors import GeneralProtection, PageFault
from tee_sim.machine.dram import DRAM
from tee_sim.machine.paging import (
    ACCESSED,
    ADDRESS_MASK,
    DIRTY,
    FETCH,
    LARGE,
    NO_EXECUTE,
    PRESENT,
    READ,
    USER,
    WRITABLE,
    WRITE,
    R,
    W,
    X,
    is_canonical,
    walk,
)
from tee_sim.units import MIB, PAGE

GVA = 0x1234_5678_9ABC
ALL = PRESENT | WRITABLE | USER
LEVELS = ("PML4", "PDPT", "PD", "PT")
TABLES = (0x1000, 0x2000, 0x3000, 0x4000)
TARGET = 0x8000


def everywhere(_hpa: int) -> bool:
    return True


class Tables:
    """One translation of `GVA` to `TARGET`, whose four entries can be changed."""

    def __init__(self) -> None:
        self.dram = DRAM(MIB)
        self.places = [
            table + ((GVA >> shift) & 0x1FF) * 8
            for table, shift in zip(TABLES, (39, 30, 21, 12), strict=True)
        ]
        for place, target in zip(self.places, (*TABLES[1:], TARGET), strict=True):
            self.dram.qwords[place >> 3] = target | ALL

    def __getitem__(self, level: int) -> int:
        return self.dram.qwords[self.places[level] >> 3]

    def __setitem__(self, level: int, entry: int) -> None:
        self.dram.qwords[self.places[level] >> 3] = entry

    def walk(self, access: int, gva: int = GVA) -> tuple[int, int]:
        found = walk(self.dram.qwords, TABLES[0], gva, access, everywhere)
        return found.hpa, found.permissions

    def refusal(self, access: int) -> int:
        with pytest.raises(PageFault) as caught:
            self.walk(access)
        assert caught.value.address == GVA
        assert caught.value.vector == 14
        assert caught.value.check is None
        return caught.value.error_code


@pytest.fixture
def tables() -> Iterator[Tables]:
    return Tables()


def test_a_page_is_found_through_four_tables(tables: Tables) -> None:
    found = walk(tables.dram.qwords, TABLES[0], GVA, READ, everywhere)
    assert found.hpa == TARGET
    assert list(found.entries) == tables.places


@pytest.mark.parametrize("level", range(4), ids=LEVELS)
@pytest.mark.parametrize(("access", "code"), [(READ, 4), (WRITE, 6), (FETCH, 0x14)])
def test_a_missing_entry_faults_as_not_present(
    tables: Tables, level: int, access: int, code: int
) -> None:
    tables[level] &= ~PRESENT
    assert tables.refusal(access) == code


@pytest.mark.parametrize("level", range(4), ids=LEVELS)
def test_a_write_needs_the_writable_bit_at_every_level(tables: Tables, level: int) -> None:
    tables[level] &= ~WRITABLE
    assert tables.refusal(WRITE) == 0x7
    assert tables.walk(READ)[1] & W == 0


@pytest.mark.parametrize("level", range(4), ids=LEVELS)
def test_a_fetch_is_refused_by_nx_at_any_level(tables: Tables, level: int) -> None:
    tables[level] |= NO_EXECUTE
    assert tables.refusal(FETCH) == 0x15
    assert tables.walk(READ)[1] == R


@pytest.mark.parametrize("level", range(4), ids=LEVELS)
@pytest.mark.parametrize(("access", "code"), [(READ, 5), (WRITE, 7), (FETCH, 0x15)])
def test_a_supervisor_page_is_refused_to_user_mode(
    tables: Tables, level: int, access: int, code: int
) -> None:
    tables[level] &= ~USER
    assert tables.refusal(access) == code


@pytest.mark.parametrize("level", range(1, 3), ids=LEVELS[1:3])
def test_large_pages_are_refused_as_a_reserved_bit(tables: Tables, level: int) -> None:
    tables[level] |= LARGE
    assert tables.refusal(READ) == 0xD


@pytest.mark.parametrize("level", range(4), ids=LEVELS)
@pytest.mark.parametrize("beyond", [MIB, 1 << 40, 2 << 40, ADDRESS_MASK])
def test_an_address_beyond_memory_is_a_reserved_bit(
    tables: Tables, level: int, beyond: int
) -> None:
    tables[level] = beyond | ALL
    assert tables.refusal(READ) == 0xD
    assert tables.refusal(FETCH) == 0x1D


def test_a_successful_walk_sets_every_accessed_bit(tables: Tables) -> None:
    tables.walk(READ)
    assert all(tables[level] & ACCESSED for level in range(4))
    assert not tables[3] & DIRTY


def test_only_a_write_sets_the_dirty_bit_and_only_in_the_last_entry(tables: Tables) -> None:
    tables.walk(WRITE)
    assert tables[3] & DIRTY
    assert not any(tables[level] & DIRTY for level in range(3))


def test_a_refused_write_does_not_set_the_dirty_bit(tables: Tables) -> None:
    tables[3] &= ~WRITABLE
    tables.refusal(WRITE)
    assert not tables[3] & DIRTY


def test_a_clean_page_is_not_writable_yet(tables: Tables) -> None:
    assert tables.walk(READ)[1] == R | X
    assert tables.walk(WRITE)[1] == R | W | X
    assert tables.walk(READ)[1] == R | W | X
    tables[3] &= ~DIRTY
    assert tables.walk(READ)[1] == R | X


@given(st.integers(0, 2**64 - 1))
def test_canonical_addresses_repeat_bit_47(gva: int) -> None:
    assert is_canonical(gva) == (gva >> 47 in (0, 0x1FFFF))


@pytest.mark.parametrize("level", range(4), ids=LEVELS)
def test_a_hidden_table_reads_as_reserved_bits_and_is_not_written(
    tables: Tables, level: int
) -> None:
    before = tables[level]
    with pytest.raises(PageFault) as caught:
        walk(tables.dram.qwords, TABLES[0], GVA, WRITE, lambda hpa: hpa & -PAGE != TABLES[level])
    assert caught.value.error_code == 0xF
    assert tables[level] == before


@pytest.mark.parametrize("gva", [1 << 47, 1 << 63, 0xFFFF_7FFF_FFFF_FFFF])
def test_an_address_that_is_not_canonical_is_gp(tables: Tables, gva: int) -> None:
    with pytest.raises(GeneralProtection):
        tables.walk(READ, gva)


@given(st.integers(0, 2**35 - 1), st.integers(0, 2**35 - 1))
def test_two_pages_share_a_translation_only_if_they_are_the_same(one: int, two: int) -> None:
    dram = DRAM(MIB)
    table = 0x1000
    for shift in (27, 18, 9):
        dram.qwords[(table >> 3) + ((one >> shift) & 0x1FF)] = (table + PAGE) | ALL
        table += PAGE
    dram.qwords[(table >> 3) + (one & 0x1FF)] = TARGET | ALL
    assert walk(dram.qwords, 0x1000, one << 12, READ, everywhere).hpa == TARGET
    if one != two:
        with pytest.raises(PageFault):
            walk(dram.qwords, 0x1000, two << 12, READ, everywhere)
