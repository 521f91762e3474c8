"""The on-die copy: coherent for software, invisible to the bus until it is evicted."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assembly import (
    CODE_GVA,
    DATA_GVA,
    REP_MOVSB,
    add,
    image,
    launch,
    leave,
    load,
    load_from,
    mov,
    store,
)
from tee_sim.abi.image import Image, ImagePage
from tee_sim.abi.sgx import PageType
from tee_sim.checks import Checks
from tee_sim.errors import EnclaveLost, MachineCheck, PageFault, UsageError
from tee_sim.hypervisor.calls import interleave
from tee_sim.hypervisor.guest import RETURN_ADDRESS, Steps
from tee_sim.machine.cache import Cache
from tee_sim.machine.dram import DRAM
from tee_sim.machine.encryption import XTS, XTS_CHECKS, Engine
from tee_sim.machine.entropy import Entropy
from tee_sim.machine.registers import RAX, RBX, RCX, RDI, RDX, RSI, RSP
from tee_sim.platform import Platform
from tee_sim.units import MIB, PAGE

PROTECTED = range(0x10000, 0x20000)


class Keys:
    """One engine for `PROTECTED`, none for the rest."""

    def __init__(self, dram: DRAM) -> None:
        self.xts = XTS(dram, Checks(XTS_CHECKS), Entropy(1))

    def engine(self, hpa: int) -> Engine | None:
        return self.xts if hpa in PROTECTED else None


def cache(frames: int = 8) -> Cache:
    dram = DRAM(MIB)
    return Cache(dram, Keys(dram), frames)


def test_unprotected_memory_is_dram_itself() -> None:
    die = cache()
    die.write(0x100, b"in the open")
    assert die.dram.read(0x100, 11) == b"in the open"
    die.dram.write(0x100, b"by the bus!")
    assert die.read(0x100, 11) == b"by the bus!"
    assert not die.is_cached(0)


def test_eviction_writes_back_and_encrypts() -> None:
    die = cache()
    die.create(PROTECTED.start, b"s" * PAGE)
    assert die.dram.read(PROTECTED.start, PAGE) == bytes(PAGE)
    die.evict(PROTECTED.start + 17)
    assert not die.is_cached(PROTECTED.start)
    stored = die.dram.read(PROTECTED.start, PAGE)
    assert stored not in (bytes(PAGE), b"s" * PAGE)
    assert die.read(PROTECTED.start, PAGE) == b"s" * PAGE


def test_a_clean_page_is_not_written_back() -> None:
    die = cache()
    die.create(PROTECTED.start, b"s" * PAGE)
    die.evict(PROTECTED.start)
    die.read(PROTECTED.start, 8)
    die.dram.write(PROTECTED.start, b"t" * PAGE)
    die.evict(PROTECTED.start)
    assert die.dram.read(PROTECTED.start, PAGE) == b"t" * PAGE


def test_the_bus_does_not_reach_a_cached_page_and_a_dirty_one_overwrites_it() -> None:
    die = cache()
    die.create(PROTECTED.start, b"s" * PAGE)
    die.dram.write(PROTECTED.start, b"t" * PAGE)
    assert die.read(PROTECTED.start, 4) == b"ssss"
    die.wbinvd()
    assert die.read(PROTECTED.start, 4) == b"ssss"


def test_a_power_cut_loses_what_was_not_written_back() -> None:
    die = cache()
    die.create(PROTECTED.start, b"1" * PAGE)
    die.wbinvd()
    die.write(PROTECTED.start, b"2" * PAGE)
    die.lose()
    assert not die.is_cached(PROTECTED.start)
    assert die.read(PROTECTED.start, PAGE) == b"1" * PAGE


def test_a_cache_too_small_for_one_instruction_is_refused() -> None:
    for frames in (-1, 0, 1, 7):
        with pytest.raises(UsageError, match="cache"):
            cache(frames)
    with pytest.raises(UsageError, match="cache"):
        Platform("sgx-tme", cache_pages=2)


@pytest.mark.parametrize(("hpa", "size"), [(-1, 4), (MIB - 2, 4), (MIB, 1), (1 << 40, 8), (0, -1)])
def test_reading_outside_memory_is_a_usage_error(hpa: int, size: int) -> None:
    with pytest.raises(UsageError, match="outside memory"):
        cache().read(hpa, size)


Step = tuple[str, int, int]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["read", "write", "create", "evict", "wbinvd"]),
            st.integers(0, 15),
            st.integers(0, 255),
        ),
        max_size=40,
    )
)
def test_software_sees_one_flat_memory_whatever_is_evicted(steps: list[Step]) -> None:
    die = cache(8)
    for page in PROTECTED[::PAGE]:
        die.create(page, bytes(PAGE))
    expected = {page: bytes(PAGE) for page in PROTECTED[::PAGE]}
    for name, number, byte in steps:
        page = PROTECTED.start + PAGE * number
        if name == "read":
            assert die.read(page, PAGE) == expected[page]
        elif name == "write":
            die.write(page + byte, bytes((byte,)) * 3)
            old = expected[page]
            expected[page] = old[:byte] + bytes((byte,)) * 3 + old[byte + 3 :]
        elif name == "create":
            expected[page] = bytes((byte,)) * PAGE
            die.create(page, expected[page])
        elif name == "evict":
            die.evict(page)
        else:
            die.wbinvd()
    for page, content in expected.items():
        assert die.read(page, PAGE) == content


# A guest whose working set is larger than the cache


TINY = 8
BIG = 0x40000
HEAP_PAGES = 32
HEAP_OFFSET = 0x20000


def big_guest(
    code: bytes, platform: Platform | None = None, heap: bytes = b""
) -> tuple[Platform, int]:
    """Run code over a heap of 32 pages at DATA in an enclave, on a processor with few frames."""
    platform = platform or Platform("sgx-tme", cache_pages=TINY, epc=4 * MIB, memory=64 * MIB)
    small = image(code)
    pages = [
        ImagePage(
            HEAP_OFFSET + PAGE * n,
            PageType.REG,
            True,
            True,
            False,
            heap[PAGE * n : PAGE * (n + 1)].ljust(PAGE, b"\0"),
        )
        for n in range(HEAP_PAGES)
    ]
    guest = launch(platform, Image(BIG, 1, (*small.pages, *pages)))
    result = guest.enter(0, 0, 0)
    guest.close()
    return platform, result[0]


HEAP = CODE_GVA + HEAP_OFFSET


def test_a_loop_over_more_pages_than_the_cache_holds() -> None:
    """Writes n to page n, then sums all pages, four times."""
    fill = (
        mov(RBX, HEAP)
        + mov(RCX, 0)
        + store(RBX, RCX)
        + add(RBX, PAGE)
        + b"\x48\xff\xc1\x48\x83\xf9"
        + bytes((HEAP_PAGES,))
        + b"\x75"
        + bytes((256 - 7 - 7 - 3 - 4 - 2,))
    )
    total = (
        mov(RBX, HEAP)
        + mov(RCX, 0)
        + b"\x48\x03\x3b"  # add rdi, [rbx]
        + add(RBX, PAGE)
        + b"\x48\xff\xc1\x48\x83\xf9"
        + bytes((HEAP_PAGES,))
        + b"\x75"
        + bytes((256 - 3 - 7 - 3 - 4 - 2,))
    )
    _platform, result = big_guest(mov(RDI, 0) + (fill + total) * 4 + leave())
    assert result == 4 * sum(range(HEAP_PAGES))


def test_page_crossing_stores_and_loads() -> None:
    """At every page border, eight bytes across it."""
    code, expected = mov(RDI, 0), 0
    for border in range(1, HEAP_PAGES):
        value = 0x0102030405060708 * border % 2**61
        code += mov(RBX, HEAP + PAGE * border - 3) + mov(RAX, value) + store(RBX, RAX)
    for border in range(1, HEAP_PAGES):
        code += mov(RBX, HEAP + PAGE * border - 3) + b"\x48\x03\x3b"
        expected += 0x0102030405060708 * border % 2**61
    _platform, result = big_guest(code + leave())
    assert result == expected % 2**64


def test_rep_movs_across_the_whole_working_set() -> None:
    half = HEAP_PAGES // 2 * PAGE
    heap = bytes(range(251)) * (half // 251 + 1)
    code = mov(RSI, HEAP) + mov(RDI, HEAP + half) + mov(RCX, half) + REP_MOVSB
    code += load_from(RDI, HEAP + 2 * half - 8) + leave()
    _platform, result = big_guest(code, heap=heap[:half])
    assert result == int.from_bytes(heap[half - 8 : half], "little")


def test_push_and_call_at_page_borders() -> None:
    """A call whose return address, and a push whose operand, straddle two pages."""
    code = mov(RDI, 0)
    for border in range(1, HEAP_PAGES):
        code += mov(RSP, HEAP + PAGE * border + 4) + mov(RAX, border)
        code += b"\x50" + b"\xe8\0\0\0\0" + b"\x58" + b"\x58" + b"\x48\x01\xc7"
    _platform, result = big_guest(code + leave())
    assert result == sum(range(1, HEAP_PAGES))


def test_code_over_many_pages_runs_in_a_tiny_cache() -> None:
    """Straight-line code across page borders, several times around."""
    block = add(RDI, 1) * 1500  # 10,500 bytes: three pages and instructions across their borders
    loop = mov(RDI, 0) + mov(RDX, 3) + block + b"\x48\xff\xca"
    back = b"\x0f\x85" + (-(len(block) + 3 + 6)).to_bytes(4, "little", signed=True)
    _platform, result = big_guest(loop + back + leave())
    assert result == 4500


def test_a_dirty_page_survives_any_number_of_evictions() -> None:
    platform = Platform("sgx-mee", cache_pages=TINY, epc=2 * MIB, memory=64 * MIB)
    code = b""
    for n in range(HEAP_PAGES):
        code += mov(RBX, HEAP + PAGE * n) + mov(RAX, n * n) + store(RBX, RAX)
    code += mov(RDI, 0)
    for n in reversed(range(HEAP_PAGES)):
        code += mov(RBX, HEAP + PAGE * n) + b"\x48\x03\x3b"
    _platform, result = big_guest(code + leave(), platform)
    assert result == sum(n * n for n in range(HEAP_PAGES))


def test_a_slow_answer_to_a_tlb_miss_changes_nothing() -> None:
    """The watchdog looks while code moves in the cache and Python answers."""
    platform = Platform("sgx-tme", cache_pages=TINY, epc=4 * MIB, memory=64 * MIB)
    code = mov(RDI, 0)
    for n in range(HEAP_PAGES):
        code += mov(RBX, HEAP + PAGE * n) + b"\x48\xff\x03" + b"\x48\x03\x3b"  # inc; add rdi
    fill, calls = platform.machine.mmu.fill, []

    def slow(*arguments: Any) -> tuple[int, int]:
        calls.append(arguments)
        if len(calls) in (6, 12, 30):
            time.sleep(0.12)
        return fill(*arguments)

    platform.machine.mmu.fill = slow  # type: ignore[method-assign]
    _platform, result = big_guest(code + leave(), platform)
    assert result == HEAP_PAGES
    assert len(calls) > 30


# The bus and the enclave


@pytest.mark.parametrize("tee", ["sgx-tme", "sgx-mee"])
def test_a_bus_write_to_a_cached_page_changes_nothing(tee: str) -> None:
    platform = Platform(tee, epc=MIB, memory=32 * MIB)
    guest = launch(platform, load_from(RDI, DATA_GVA) + leave(), data=b"original")
    hpa = platform.adversary.hpa(guest, DATA_GVA)
    guest.enter(0, 0, 0)
    platform.adversary.bus.write(hpa, b"tampered")
    assert guest.enter(0, 0, 0)[0].to_bytes(8, "little") == b"original"
    platform.adversary.evict(hpa)  # the dirty page overwrites what the bus wrote
    assert guest.enter(0, 0, 0)[0].to_bytes(8, "little") == b"original"


def test_after_an_eviction_the_bus_write_counts() -> None:
    platform = Platform("sgx-tme", epc=MIB, memory=32 * MIB)
    guest = launch(platform, load_from(RDI, DATA_GVA) + leave(), data=b"original")
    hpa = platform.adversary.hpa(guest, DATA_GVA)
    platform.adversary.evict(hpa)
    platform.adversary.bus.write(hpa, bytes(16))
    assert guest.enter(0, 0, 0)[0].to_bytes(8, "little") != b"original"


def test_the_counter_tree_stops_the_machine_instead() -> None:
    platform = Platform("sgx-mee", epc=MIB, memory=32 * MIB)
    guest = launch(platform, load_from(RDI, DATA_GVA) + leave(), data=b"original")
    hpa = platform.adversary.hpa(guest, DATA_GVA)
    platform.adversary.evict(hpa)
    platform.adversary.bus.write(hpa, bytes(16))
    with pytest.raises(MachineCheck):
        guest.enter(0, 0, 0)


def test_a_power_cut_takes_dirty_data_and_every_enclave_with_it() -> None:
    platform = Platform("sgx-tme", epc=MIB, memory=32 * MIB)
    code = load_from(RDI, DATA_GVA) + mov(RBX, DATA_GVA) + mov(RAX, 7) + store(RBX, RAX) + leave()
    guest = launch(platform, code, data=b"original")
    platform.adversary.wbinvd()
    place = platform.adversary.hpa(guest, DATA_GVA)
    before = platform.adversary.bus.read(place, PAGE)
    assert guest.enter(0, 0, 0)[0].to_bytes(8, "little") == b"original"
    platform.machine.power_cut()
    assert platform.adversary.bus.read(place, PAGE) == before
    with pytest.raises(EnclaveLost, match="power"):
        guest.enter(0, 0, 0)
    guest._boot, guest.lost = platform.machine.boots, None  # a host that does not care
    with pytest.raises(PageFault):
        guest.enter(0, 0, 0)


def test_eviction_in_the_middle_of_a_run_is_unnoticed() -> None:
    platform = Platform("sgx-tme", epc=MIB, memory=32 * MIB, budget=10**8)
    loop = mov(RCX, 300) + mov(RBX, DATA_GVA) + load(RAX, RBX) + add(RAX, 1) + store(RBX, RAX)
    back = b"\x48\xff\xc9\x75" + bytes((256 - 7 - 7 - 7 - 3 - 2,))
    guest = launch(platform, loop + back + load(RDI, RBX) + leave(RETURN_ADDRESS))
    results = interleave(guest.steps(0, 0, 0, quantum=7), evicting(platform))
    assert results[0][0] == 300


def evicting(platform: Platform) -> Steps:
    """Evicts everything each time it is its turn."""
    for _turn in range(400):
        platform.adversary.wbinvd()
        yield
    return 0, 0, 0
