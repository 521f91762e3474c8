"""More enclave than EPC: the honest host pages, the hostile one pages at will, nobody notices."""

from __future__ import annotations

import struct
from dataclasses import replace
from hashlib import sha256
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assembly import SSA_0, TCS_0, TCS_1, image, launch, leave, load_from, mov
from bench import secs
from tee_sim import Platform
from tee_sim.abi.image import Image, ImagePage
from tee_sim.abi.sgx import PageType
from tee_sim.errors import EnclaveLost, Fault, MachineCheck, PageFault, SGXError, UsageError
from tee_sim.hypervisor.calls import interleave
from tee_sim.hypervisor.guest import ENCLAVE_BASE, Guest
from tee_sim.hypervisor.sgx import SGXGuest
from tee_sim.hypervisor.swap import LEAST, ROOT
from tee_sim.machine.cpu import LogicalProcessor
from tee_sim.machine.registers import RBX, RCX, RDI, RDX, RSI
from tee_sim.units import MIB, PAGE

SGX = ("sgx-mee", "sgx-tme")
EPC = 48
HEAP = ENCLAVE_BASE + 0x10000
HEAP_PAGES, STRIDE, PASSES = 2 * EPC, 512, 3
WORDS = HEAP_PAGES * PAGE // STRIDE
MASK = 2**64 - 1


def platform(tee: str = "sgx-tme", pages: int = EPC) -> Platform:
    return Platform(tee, memory=20 * MIB, epc=pages * PAGE)


# For each pass, for each 512 bytes of the heap at RSI: [word] += counter; RDI = rol(RDI + word, 7).
WORK = (
    mov(RDX, PASSES)
    + b"\x48\x89\xf3"  # outer: mov rbx, rsi
    + mov(RCX, WORDS)
    + bytes.fromhex("48010b 48033b 48c1c707 4881c300020000 48ffc9 75ea")
    + bytes.fromhex("48ffca 75d8")
    + leave()
)


def answer(start: int = 0, memory: list[int] | None = None) -> int:
    """What `WORK` leaves in RDI."""
    words, rdi = memory if memory is not None else [0] * WORDS, start
    for _ in range(PASSES):
        for index in range(WORDS):
            words[index] = (words[index] + WORDS - index) & MASK
            rdi = (rdi + words[index]) & MASK
            rdi = (rdi << 7 | rdi >> 57) & MASK
    return rdi


def large(code: bytes = WORK, pages: int = HEAP_PAGES, threads: int = 1) -> Image:
    """Code, one thread or two, and a heap that nobody measures."""
    small = image(code, threads=threads)
    heap = tuple(
        ImagePage(0x10000 + at, PageType.REG, True, True, False, bytes(PAGE), 0)
        for at in range(0, pages * PAGE, PAGE)
    )
    return replace(small, size=1 << (pages * PAGE + 0x10000).bit_length(), pages=small.pages + heap)


def swap(guest: Guest):
    assert isinstance(guest, SGXGuest)
    return guest.driver.swap


# Honest


@pytest.mark.parametrize("tee", SGX)
def test_an_enclave_twice_the_size_of_the_epc_computes_the_right_answer(tee: str) -> None:
    host = platform(tee)
    guest = launch(host, large())
    assert len(guest.image.pages) > 2 * EPC
    memory = [0] * WORDS
    for start in (0, 12345):
        assert guest.enter(0, start, HEAP)[0] == answer(start, memory)
    resident = set(guest.pages)
    swapped = {offset for owner, offset in swap(guest).disk if owner is guest}
    assert resident | swapped == {page.offset for page in guest.image.pages}
    assert not resident & swapped
    for offset, hpa in guest.pages.items():
        assert guest.space.translate(guest.base + offset) == hpa
        entry = guest.driver.epcm(hpa)
        assert (entry.enclaveaddress, entry.blocked) == (guest.base + offset, False)
    for offset in swapped:
        assert guest.space.translate(guest.base + offset) is None


@pytest.mark.parametrize("clobbered", [False, True])
@pytest.mark.parametrize("tee", SGX)
def test_a_value_makes_a_round_trip_through_an_oversubscribed_epc(
    tee: str, clobbered: bool
) -> None:
    """As the kernel's self-tests unclobbered_vdso_oversubscribed and clobbered_vdso.

    RDI = 0 puts RSI into the last page of a heap as large as the EPC; else it is got from there.
    """
    last = HEAP + (EPC - 1) * PAGE
    code = mov(RBX, last) + bytes.fromhex("4885ff 7503 488933 488b3b") + leave()
    guest = launch(platform(tee), large(code, EPC))
    others = dict.fromkeys(("rdx", "rbp", "r10", "r15"), 2**64 - 1) if clobbered else {}
    assert guest.enter(0, 0, 0x1122334455667788, registers=others)[0] == 0x1122334455667788
    for page in range(EPC):
        swap(guest).load(guest, 0x10000 + page * PAGE)
    swap(guest).evict(guest, last - guest.base)
    assert guest.enter(0, 1, 0, registers=others)[0] == 0x1122334455667788


@pytest.mark.parametrize("pages", [LEAST + 2, LEAST + 3, LEAST + 5, 24, 40])
def test_a_small_epc_is_slow_and_no_more(pages: int) -> None:
    guest = launch(platform(pages=pages), large())
    assert guest.enter(0, 0, HEAP)[0] == answer()


def test_an_epc_too_small_to_take_turns_is_said_clearly() -> None:
    host = platform(pages=LEAST)
    with pytest.raises(UsageError, match="out of enclave page cache"):
        launch(host, large())
    assert host.host.sgx.epc.left == LEAST


def test_more_enclaves_than_fit_take_turns_roots_included() -> None:
    host = platform(pages=40)
    vaults = [host.create_enclave("vault") for _ in range(8)]
    digests = [vault.make_secret(f"{n}") for n, vault in enumerate(vaults)]
    disk = host.host.sgx.swap.disk
    assert [guest for guest, offset in disk if offset == ROOT]
    for n, vault in enumerate(vaults):
        released = vault.release(f"{n}")
        assert sha256(released.secret).digest() == digests[n]
        assert vault.tries_left() == 3
    for vault in vaults:
        vault.close()
    assert host.host.sgx.epc.left == 40
    assert not disk
    assert not host.host.sgx._sgx.enclaves


def test_an_enclave_whose_root_is_out_can_be_closed() -> None:
    host = platform(pages=40)
    vaults = [host.create_enclave("vault") for _ in range(5)]
    out = next(vault for vault in vaults if (vault.guest, ROOT) in host.host.sgx.swap.disk)
    out.close()
    for vault in vaults:
        vault.close()
    assert host.host.sgx.epc.left == 40


def test_the_mapping_is_as_before_when_a_page_is_back() -> None:
    guest = launch(platform(), large(leave(), 8))
    for page in guest.image.pages:
        gva = guest.base + page.offset
        before = guest.space.entry(gva)
        swap(guest).evict(guest, page.offset)
        assert guest.space.entry(gva) == 0
        assert page.offset not in guest.pages
        assert swap(guest).load(guest, page.offset)
        flags = (1 << 12) - 1 | 1 << 63
        assert guest.space.entry(gva) & flags == before & flags
        assert not swap(guest).load(guest, page.offset)


def test_symbols_have_no_physical_address_while_they_are_out() -> None:
    vault = platform().create_enclave("vault")
    vault.make_secret("1")
    place = vault.physical("vault_secret")
    offset = vault.address("vault_secret") - vault.guest.base & -PAGE
    swap(vault.guest).evict(vault.guest, offset)
    with pytest.raises(UsageError, match="not mapped"):
        vault.physical("vault_secret")
    assert vault.release("1").result == 1
    assert vault.physical("vault_secret") % PAGE == place % PAGE


@pytest.mark.parametrize("offset", [TCS_0, SSA_0])
def test_thread_and_save_area_may_be_out_at_entry_and_at_resumption(offset: int) -> None:
    guest = launch(platform(), large(pages=HEAP_PAGES))
    interrupted = []

    def out(victim: Guest, lp: LogicalProcessor, event: Fault | None) -> bool:
        if offset in guest.pages:
            swap(guest).evict(guest, offset)
        interrupted.append(offset in guest.pages)
        return event is None

    swap(guest).load(guest, offset)
    swap(guest).evict(guest, offset)
    guest.handlers.append(out)
    guest.timer = 700
    assert guest.enter(0, 0, HEAP)[0] == answer()
    assert len(interrupted) > 10
    assert not any(interrupted)


@pytest.mark.parametrize("pages", [24, EPC])
def test_processors_that_are_inside_are_interrupted_and_go_on(pages: int) -> None:
    """Two threads, each with half of the heap: an eviction by one takes out the other."""
    guest = launch(platform(pages=pages), large(pages=2 * HEAP_PAGES, threads=2))
    halves = HEAP, HEAP + HEAP_PAGES * PAGE
    calls = [guest.steps(n, n, at, processor=n, quantum=50) for n, at in enumerate(halves)]
    assert [rdi for rdi, _, _ in interleave(*calls)] == [answer(0), answer(1)]
    assert not guest.enclave.inside


def test_a_root_page_is_not_evicted_under_its_enclave() -> None:
    guest = launch(platform(), large(threads=2))
    call = guest.steps(1, 0, HEAP, processor=1, quantum=100)
    next(call)
    with pytest.raises(SGXError, match="SGX_CHILD_PRESENT"):
        swap(guest).evict(guest, ROOT)
    assert swap(guest).is_resident(guest, ROOT)
    (result,) = interleave(call)
    assert result[0] == answer()


def test_evicting_the_thread_of_a_running_processor_brings_it_back() -> None:
    guest = launch(platform(), large(threads=2))
    call = guest.steps(1, 0, HEAP, processor=1, quantum=100)
    next(call)
    lp = guest.host.machine.processor(1)
    for offset in (TCS_1, 0, SSA_0):
        if offset in guest.pages:
            swap(guest).evict(guest, offset)
        assert lp.context is guest.enclave
    (result,) = interleave(call)
    assert result[0] == answer()


# Power cuts


@pytest.mark.parametrize("tee", SGX)
def test_after_a_power_cut_the_pager_starts_over(tee: str) -> None:
    host = platform(tee)
    old = host.create_enclave("vault")
    pager, offsets = swap(old.guest), list(old.guest.pages)
    for offset in offsets[: len(offsets) // 2]:
        pager.evict(old.guest, offset)
    host.machine.power_cut()
    for offset in offsets:
        assert not pager.load(old.guest, offset)
        with pytest.raises(UsageError):
            pager.evict(old.guest, offset)
    assert not old.guest.pages
    assert not pager.disk
    new = host.create_enclave("vault")
    digest = new.make_secret("1")
    pager.evict(new.guest, next(iter(new.guest.pages)))
    old.close()  # none of the pages is its own any more
    assert sha256(new.release("1").secret).digest() == digest
    new.close()
    left = host.host.sgx.epc.left
    assert left == EPC
    assert len({host.host.sgx.epc.take() for _ in range(left)}) == EPC


def test_the_dead_enclaves_of_earlier_boots_take_no_room() -> None:
    host = platform(pages=32)
    for _ in range(5):
        host.create_enclave("vault").make_secret("1")
        host.machine.power_cut()
    assert host.host.sgx.epc.left == 32


# Hostile: paging at random


def at_random(guest: Guest, rng: Random, how_often: float = 0.3):
    """A handler that pages out what it likes, whenever it is asked."""

    def handler(victim: Guest, lp: LogicalProcessor, event: Fault | None) -> bool:
        while rng.random() < how_often and guest.pages:
            swap(guest).evict(guest, rng.choice(list(guest.pages)))
        return event is None

    return handler


@pytest.mark.parametrize("tee", SGX)
@pytest.mark.parametrize("seed", range(3))
def test_it_computes_the_right_answer_while_the_host_pages_at_random(tee: str, seed: int) -> None:
    host = platform(tee)
    guest = launch(host, large())
    rng = Random(seed)
    guest.handlers.append(at_random(guest, rng))
    memory = [0] * WORDS
    for _ in range(2):
        guest.timer = rng.randrange(50, 500)
        assert guest.enter(0, 1, HEAP)[0] == answer(1, memory)


@pytest.mark.slow
@pytest.mark.parametrize("tee", SGX)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), timer=st.integers(10, 400), pages=st.integers(LEAST + 2, 64))
def test_no_pattern_of_paging_changes_an_answer(
    tee: str, seed: int, timer: int, pages: int
) -> None:
    code = WORK.replace(struct.pack("<Q", PASSES), struct.pack("<Q", 1), 1)
    host = platform(tee, pages)
    guest = launch(host, large(code))
    guest.handlers.append(at_random(guest, Random(seed), 0.5))
    guest.timer = timer
    one_pass, rdi = [WORDS - index for index in range(WORDS)], 0
    for word in one_pass:
        rdi = (rdi + word) & MASK
        rdi = (rdi << 7 | rdi >> 57) & MASK
    assert guest.enter(0, 0, HEAP)[0] == rdi


STEPS = st.lists(st.one_of(st.sampled_from(["right", "wrong", "left"]), st.integers(0, 40)))


@settings(max_examples=30, deadline=None)
@given(steps=STEPS)
def test_a_vault_counts_right_whatever_is_out_between_calls(steps: list[str | int]) -> None:
    host = Platform("sgx-tme", memory=20 * MIB, epc=40 * PAGE)
    vault = host.create_enclave("vault")
    secret, tries = vault.make_secret("1"), 3
    for step in steps:
        if isinstance(step, int):
            offsets = list(vault.guest.pages)
            swap(vault.guest).evict(vault.guest, offsets[step % len(offsets)]) if offsets else None
        elif step == "left":
            assert vault.tries_left() == tries
        else:
            released = vault.release("1" if step == "right" else "2")
            assert released.result == (-1 if tries == 0 else step == "right")
            if tries and step == "right":
                assert sha256(released.secret).digest() == secret
            tries = 0 if tries == 0 else 3 if step == "right" else tries - 1


# Hostile: what is on the disk


def held(vault) -> tuple:
    """The vault's pages on the disk, by symbol."""
    guest = vault.guest
    for symbol in ("vault_secret", "vault_tries"):
        offset = vault.address(symbol) - guest.base & -PAGE
        if offset in guest.pages:
            swap(guest).evict(guest, offset)
        yield swap(guest).disk[guest, offset]


def replay(vault) -> None:
    _, tries = held(vault)
    old = tries.page
    assert vault.release("x").result == 0
    _, tries = held(vault)
    tries.page = old


def exchange(vault) -> None:
    secret, tries = held(vault)
    secret.page, tries.page = tries.page, secret.page


def reorder(vault) -> None:
    """Both page and version: each is right for the other, but not at this address."""
    secret, tries = held(vault)
    secret.slot, tries.slot = tries.slot, secret.slot
    secret.page, tries.page = (
        replace(tries.page, linaddr=secret.page.linaddr),
        replace(secret.page, linaddr=tries.page.linaddr),
    )


def corrupt(vault) -> None:
    _, tries = held(vault)
    tries.page = replace(
        tries.page, srcpge=bytes([tries.page.srcpge[0] ^ 1]) + tries.page.srcpge[1:]
    )


@pytest.mark.parametrize("tee", SGX)
@pytest.mark.parametrize("change", [replay, exchange, reorder, corrupt])
def test_what_the_host_does_to_the_disk_is_noticed(tee: str, change) -> None:
    vault = platform(tee).create_enclave("vault")
    vault.make_secret("1")
    change(vault)
    with pytest.raises(SGXError) as refused:
        vault.tries_left()
    assert (refused.value.code, refused.value.check.name) == (9, "ELD.MAC")
    with pytest.raises(EnclaveLost):  # the call was cut short in the middle
        vault.tries_left()


def test_a_page_that_was_refused_at_entry_can_be_put_right() -> None:
    guest = launch(platform(), large(load_from(RDI, HEAP) + leave(), 4))
    swap(guest).evict(guest, TCS_0)
    stored = swap(guest).disk[guest, TCS_0]
    right, stored.page = stored.page, replace(stored.page, linaddr=HEAP)
    before = guest.driver.epc.left
    for _ in range(2):
        with pytest.raises(SGXError, match="SGX_MAC_COMPARE_FAIL"):
            guest.enter(0)
    assert guest.driver.epc.left == before
    stored.page = right
    assert guest.enter(0, 1, RSI)[0] == 0


def test_a_version_array_that_was_taken_away_is_replaced() -> None:
    vault = platform().create_enclave("vault")
    digest, guest = vault.make_secret("1"), vault.guest
    offset = vault.address("vault_secret") - guest.base & -PAGE
    swap(guest).evict(guest, offset)
    array = swap(guest).disk[guest, offset].slot & -PAGE
    assert swap(guest).load(guest, offset)
    guest.driver.eremove(array)
    swap(guest).evict(guest, offset)
    assert swap(guest).disk[guest, offset].slot & -PAGE != array
    assert sha256(vault.release("1").secret).digest() == digest


def test_a_page_that_somebody_put_in_a_version_arrays_place_is_left_alone() -> None:
    host = platform(pages=40)
    guest = launch(host, large(pages=4))
    swap(guest).evict(guest, HEAP - guest.base)
    array, *_ = swap(guest)._arrays
    sgx = host.adversary.sgx
    sgx.eremove(array)
    sgx.ecreate(array, secs())
    guest.close()
    assert sgx.epcm(array).valid


def test_a_page_that_cannot_be_written_out_is_the_end_of_its_enclave_and_of_no_other() -> None:
    host = platform(pages=40)
    vault, other = host.create_enclave("vault"), host.create_enclave("vault")
    digest, guest = other.make_secret("1"), vault.guest
    vault.make_secret("1")
    call = guest.steps(0, quantum=1, processor=1)
    next(call)
    offset, hpa = next(iter(guest.pages.items()))
    guest.driver.eblock(hpa)  # the pager will find it blocked already
    swap(guest).evict(guest, offset)
    assert not swap(guest).is_resident(guest, offset)
    assert not guest.driver.epcm(hpa).valid
    with pytest.raises(EnclaveLost, match="could not be written out: EBLOCK refused"):
        next(call)
    with pytest.raises(EnclaveLost, match="could not be written out: EBLOCK refused"):
        vault.release("1")
    assert sha256(other.release("1").secret).digest() == digest
    vault.close()
    other.close()
    assert host.host.sgx.epc.left == 40


def test_memory_that_was_changed_stops_the_machine_when_it_is_written_out() -> None:
    host = platform("sgx-mee")
    vault = host.create_enclave("vault")
    vault.make_secret("1")
    place = vault.physical("vault_secret")
    host.adversary.evict(place)
    block = host.adversary.bus.read(place & -16, 16)
    host.adversary.bus.write(place & -16, bytes(byte ^ 1 for byte in block))
    with pytest.raises(MachineCheck):
        swap(vault.guest).evict(vault.guest, vault.address("vault_secret") - ENCLAVE_BASE & -PAGE)


def test_a_thread_that_cannot_be_resumed_does_not_keep_the_others_out() -> None:
    guest = launch(platform(), large(threads=2))
    calls = [guest.steps(n, n, HEAP, processor=n, quantum=50) for n in (0, 1)]
    for call in calls:
        next(call)

    with guest.interrupted():
        swap(guest).evict(guest, TCS_0)
        stored = swap(guest).disk[guest, TCS_0]
        stored.page = replace(stored.page, linaddr=HEAP)
    processors = guest.host.machine.mmu.processors
    assert [lp.context for lp in processors[:2]] == [None, guest.enclave]
    for call in calls:
        with pytest.raises(EnclaveLost, match="cannot go on: ELDU refused"):
            next(call)


def test_an_exception_whose_thread_is_not_to_be_had_is_the_end() -> None:
    box = platform().create_enclave("strongbox")
    box.make_secret("1")
    guest = box.guest

    def spoil(victim: Guest, lp: LogicalProcessor, event: Fault | None) -> bool:
        if event is not None and not isinstance(event, PageFault):
            tcs = victim.tcs_offsets[0]
            swap(victim).evict(victim, tcs)
            stored = swap(victim).disk[victim, tcs]
            stored.page = replace(stored.page, linaddr=HEAP)
        return False

    guest.handlers.append(spoil)
    with pytest.raises(EnclaveLost, match="#DE"):
        box.divide(1, 0)


def test_no_secret_stands_on_the_disk() -> None:
    vault = platform().create_enclave("vault")
    vault.make_secret("1")
    secret = vault.release("1").secret
    for stored in held(vault):
        assert secret[:8] not in stored.page.srcpge
