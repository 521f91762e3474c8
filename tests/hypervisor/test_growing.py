"""The kernel's service for dynamic memory, and the program that uses it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from assembly import SPIN, TCS_0, TCS_1, image, launch
from tee_sim import Platform
from tee_sim.abi.image import ImagePage
from tee_sim.abi.sgx import PageType, SecinfoFlags
from tee_sim.attacks.proofs_dynamic import grower
from tee_sim.errors import EcallFailed, EnclaveLost, PageFault, SGXError, UsageError
from tee_sim.hypervisor.calls import interleave
from tee_sim.hypervisor.growing import READ_ONLY, Growing
from tee_sim.hypervisor.guest import ENCLAVE_BASE
from tee_sim.hypervisor.sgx import SGXGuest
from tee_sim.hypervisor.swap import ROOT
from tee_sim.platform import DeployedEnclave
from tee_sim.sdk.host import Enclave
from tee_sim.units import MIB, PAGE

FREE = ENCLAVE_BASE + 0x6000
HEAP = ENCLAVE_BASE + 0x10000
TRIM, TCS = PageType.TRIM, PageType.TCS


@pytest.fixture
def guest() -> SGXGuest:
    return launch(Platform("sgx-tme", memory=20 * MIB, epc=MIB), SPIN, threads=2)


@pytest.fixture(params=["sgx-mee", "sgx-tme"])
def host(request: pytest.FixtureRequest) -> Platform:
    return Platform(request.param)


@pytest.fixture
def program(host: Platform) -> DeployedEnclave:
    return grower(host)[0]


def total(size: int) -> bytes:
    return sum(number % 256 for number in range(size)).to_bytes(8, "little")


def thread(program: DeployedEnclave, number: int) -> Enclave:
    return Enclave(program.interface, program.guest, thread=number)


# The service


def test_pages_are_added_only_in_the_range_and_only_once(guest: SGXGuest) -> None:
    memory = Growing(guest, range(0x6000, 0x7000, PAGE))
    hpa = memory.augment(FREE)
    assert guest.space.translate(FREE) == hpa == guest.pages[0x6000]
    assert memory.added == {0x6000}
    for gva in (FREE, FREE + 8, FREE + PAGE, ENCLAVE_BASE - PAGE):
        with pytest.raises(UsageError):
            memory.augment(gva)


def test_a_fault_outside_the_range_or_on_a_page_that_is_there_is_not_answered(
    guest: SGXGuest,
) -> None:
    memory = Growing(guest, range(0x6000, 0x7000, PAGE))
    answer = guest.pagers[-1]
    for gva in (FREE + PAGE, ENCLAVE_BASE - PAGE, ENCLAVE_BASE):
        assert not answer(PageFault("", address=gva, error_code=4))
    assert answer(PageFault("", address=FREE + 8, error_code=6))
    assert not answer(PageFault("", address=FREE, error_code=0x8007))
    assert memory.added == {0x6000}


def test_only_pages_that_are_there_are_changed_and_only_trimmed_ones_removed(
    guest: SGXGuest,
) -> None:
    memory = Growing(guest)
    tcs = ENCLAVE_BASE + TCS_0
    for refused in (
        lambda: memory.restrict(FREE, 1, READ_ONLY),
        lambda: memory.restrict(tcs, 1, READ_ONLY),
        lambda: memory.change(tcs + PAGE, 3, TRIM),
        lambda: memory.change(tcs, 2**64 - 1, TRIM),
        lambda: memory.change(tcs + 8, 1, TRIM),
        lambda: memory.change(tcs, 1, PageType.REG),
        lambda: memory.change(tcs, 1, 99),
        lambda: memory.remove(tcs),
    ):
        with pytest.raises(UsageError):
            refused()
    memory.change(tcs, 1, TRIM)
    with pytest.raises(UsageError):
        memory.restrict(tcs, 1, READ_ONLY)
    with pytest.raises(SGXError):
        memory.remove(tcs)


def test_a_thread_goes_on_after_an_interruption_and_its_enclave_ends_if_it_cannot(
    guest: SGXGuest,
) -> None:
    memory, processors = Growing(guest), guest.host.machine.mmu.processors
    calls = [guest.steps(number, processor=number, quantum=10) for number in (0, 1)]
    for call in calls:
        next(call)
    memory.restrict(ENCLAVE_BASE + 0x4000, 1, READ_ONLY)
    assert [lp.context for lp in processors[:2]] == [guest.enclave] * 2
    for call in calls:
        next(call)
    memory.change(ENCLAVE_BASE + TCS_0, 1, TRIM)
    with pytest.raises(EnclaveLost, match="cannot go on"):
        next(calls[0])


@pytest.fixture
def crowded() -> SGXGuest:
    """Forty pages of heap from `HEAP`, and an EPC of 24."""
    small = image(SPIN)
    heap = tuple(
        ImagePage(HEAP - ENCLAVE_BASE + at, PageType.REG, True, True, False, bytes(PAGE), 0)
        for at in range(0, 40 * PAGE, PAGE)
    )
    large = replace(small, size=1 << 18, pages=small.pages + heap)
    return launch(Platform("sgx-tme", memory=20 * MIB, epc=24 * PAGE), large)


def flags(guest: SGXGuest, gva: int) -> SecinfoFlags:
    """What the EPCM holds about a page, or the PCMD on the disk."""
    stored = guest.driver.swap.disk.get((guest, gva - guest.base))
    if stored is not None:
        return stored.page.pcmd.secinfo.flags
    return guest.driver.erdinfo(guest.pages[gva - guest.base]).flags


def test_a_range_larger_than_the_epc_is_changed_page_by_page(crowded: SGXGuest) -> None:
    memory, gvas = Growing(crowded), range(HEAP, HEAP + 40 * PAGE, PAGE)
    memory.restrict(HEAP, 30, READ_ONLY)
    for gva in gvas:
        found, asked = flags(crowded, gva), gva < HEAP + 30 * PAGE
        assert (found.r, found.w, found.pr) == (True, not asked, asked)
    memory.change(HEAP + 30 * PAGE, 10, TRIM)
    for gva in gvas:
        asked = gva >= HEAP + 30 * PAGE
        assert flags(crowded, gva).page_type == (TRIM if asked else PageType.REG)
    for offset, hpa in crowded.pages.items():
        assert crowded.driver.epcm(hpa).enclaveaddress == crowded.base + offset


def test_a_range_that_is_refused_is_not_changed_in_part(guest: SGXGuest) -> None:
    memory, first, second = Growing(guest), ENCLAVE_BASE + TCS_0, ENCLAVE_BASE + TCS_1
    memory.change(first, 1, TRIM)
    memory.augment(second - PAGE)
    before = {gva: repr(guest.driver.epcm(at)) for gva, at in guest.pages.items()}
    for refused in (
        lambda: memory.restrict(second - PAGE, 2, READ_ONLY),
        lambda: memory.change(second - PAGE, 2, TCS),
        lambda: memory.change(ENCLAVE_BASE, 1000, TRIM),
        lambda: memory.remove(first, 2),
        lambda: memory.change(first, 1, TRIM),
    ):
        with pytest.raises(UsageError):
            refused()
    assert {gva: repr(guest.driver.epcm(at)) for gva, at in guest.pages.items()} == before


def test_what_was_changed_before_a_refusal_is_tracked(guest: SGXGuest) -> None:
    memory = Growing(guest)
    memory.augment(FREE)
    memory.augment(FREE + PAGE)
    guest.driver._sgx.epcm[guest.pages[0x6000]].pending = False  # it was accepted
    with pytest.raises(SGXError):
        memory.restrict(FREE, 2, READ_ONLY)
    entry = guest.driver.epcm(guest.pages[0x6000])
    assert entry.pr
    assert guest.enclave.is_tracked(entry.epoch)


def test_a_page_that_is_on_the_disk_is_not_added_again(guest: SGXGuest) -> None:
    memory = Growing(guest)
    memory.augment(FREE)
    guest.driver.swap.evict(guest, 0x6000)
    with pytest.raises(UsageError, match="has a page already"):
        memory.augment(FREE)
    assert guest.driver.swap.load(guest, 0x6000)


def test_a_page_is_added_to_its_own_enclave_even_if_the_root_was_out(guest: SGXGuest) -> None:
    memory, swap = Growing(guest), guest.driver.swap
    for offset in [*guest.pages, ROOT]:
        swap.evict(guest, offset)
    entry = guest.driver.epcm(memory.augment(FREE))
    assert entry.enclavesecs == guest.secs_hpa
    guest.close()
    with pytest.raises(UsageError, match="no SECS page"):
        memory.augment(FREE)


def test_threads_keep_their_numbers_when_one_is_removed(guest: SGXGuest) -> None:
    memory, numbers = Growing(guest), list(guest.tcs_offsets)
    first = ENCLAVE_BASE + numbers[0]
    memory.change(first, 1, TRIM)
    guest.driver._sgx.epcm[guest.pages[numbers[0]]].modified = False  # it was accepted
    memory.remove(first)
    assert guest.tcs_offsets == numbers
    with pytest.raises(PageFault):
        next(guest.steps(0, quantum=10))
    next(guest.steps(1, quantum=10))
    assert numbers[0] in guest.pages  # the pager answered that fault with a new page
    guest.driver._sgx.epcm[guest.pages[numbers[0]]].pending = False  # it was accepted
    memory.restrict(first, 1, READ_ONLY)  # a page like any other by now
    memory.change(first, 1, TCS)
    assert guest.tcs_offsets == numbers
    with pytest.raises(UsageError):
        memory.restrict(first, 1, READ_ONLY)


def test_closing_gives_back_every_page_that_was_added(guest: SGXGuest) -> None:
    platform_epc, memory = guest.driver.epc, Growing(guest)
    hpas = {memory.augment(FREE), memory.augment(FREE + PAGE)}
    guest.close()
    assert hpas <= set(platform_epc._freed)


def test_the_service_shows_itself(guest: SGXGuest) -> None:
    memory = Growing(guest)
    memory.augment(FREE)
    memory.change(ENCLAVE_BASE + TCS_0, 1, TRIM)
    assert repr(memory) == "<Growing: 1 pages added, 1 trimmed>"
    shown = memory._repr_html_()
    assert "0x6000" in shown
    assert f"{TCS_0:#x}" in shown


# The program


def test_the_heap_grows_as_far_as_there_is_room(program: DeployedEnclave) -> None:
    assert program.fill(1000) == total(1000)
    assert program.fill(60_000) == total(60_000)
    assert program.fill(60_000) == total(60_000)
    with pytest.raises(EcallFailed, match="OE_OUT_OF_MEMORY"):
        program.fill(200_000)
    assert program.fill(70_000) == total(70_000)


def test_a_heap_whose_host_gives_no_page_does_not_grow(host: Platform) -> None:
    program = host.create_enclave("grower")
    assert program.fill(1000) == total(1000)
    with pytest.raises(EnclaveLost, match="0x4"):
        program.fill(60_000)


def test_a_thread_made_at_run_time_works_beside_the_first(program: DeployedEnclave) -> None:
    toil = next(f.index for f in program.interface.trusted if f.name == "toil")
    alone = program.number()
    thread(program, 1).toil()
    once = program.number() - alone
    assert once == 20_000
    together = (program.guest.steps(n, toil, processor=n, quantum=997) for n in (0, 1))
    interleave(*together)
    assert once < program.number() - alone <= 3 * once


def test_there_is_room_for_four_threads_and_the_stack_of_each_has_guards(
    program: DeployedEnclave,
) -> None:
    for _ in range(3):
        program.add_thread()
    for number in (1, 2, 3, 4):
        thread(program, number).toil()
    assert program.number() == 80_000
    offsets = program.guest.tcs_offsets[1:]
    assert isinstance(program.guest, SGXGuest)
    for tcs in offsets:
        assert tcs - PAGE not in program.guest.pages
        assert tcs - 4 * PAGE not in program.guest.pages
    with pytest.raises(EcallFailed, match="OE_OUT_OF_MEMORY"):
        program.add_thread()


def test_a_thread_that_was_not_accepted_cannot_be_entered(host: Platform) -> None:
    program = host.create_enclave("grower")
    assert isinstance(program.guest, SGXGuest)
    memory = Growing(program.guest)
    program.on_ocall("change_type", lambda *_: None)
    with pytest.raises(EcallFailed, match="OE_FAILURE"):
        program.add_thread()
    memory.change(program.guest.base + max(memory.added) - 3 * PAGE, 1, TCS)
    with pytest.raises(EnclaveLost) as lost:
        thread(program, 1).toil()
    assert lost.value.fault is not None
    assert lost.value.fault.check is not None
    assert lost.value.fault.check.name == "EPCM.MODIFIED"


def test_a_published_page_is_read_only_for_every_thread(program: DeployedEnclave) -> None:
    thread(program, 1).toil()
    program.publish()
    assert program.intact()
    with pytest.raises(EnclaveLost, match=r"EPCM\.W"):
        thread(program, 1).toil()


def test_a_page_that_was_given_back_is_free(program: DeployedEnclave) -> None:
    assert isinstance(program.guest, SGXGuest)
    offset = program.address("grower_page") - program.guest.base
    hpa = program.guest.pages[offset]
    program.give_back()
    assert offset not in program.guest.pages
    assert not program.guest.driver.epcm(hpa).valid
    assert program.guest.driver.epc.take() == hpa


@pytest.mark.parametrize("ask", ["publish", "add_thread", "give_back"])
def test_a_change_can_be_accepted_when_the_page_has_been_out(
    program: DeployedEnclave, ask: str
) -> None:
    """PR, MODIFIED and a TCS, MODIFIED and trimmed."""
    guest, evicted = program.guest, []
    assert isinstance(guest, SGXGuest)
    swap, memory = guest.driver.swap, Growing(guest)

    def evicting(gva: int, pages: int, argument: int) -> None:
        (memory.restrict if ask == "publish" else memory.change)(gva, pages, argument)
        for offset in range(gva - guest.base, gva - guest.base + pages * PAGE, PAGE):
            swap.evict(guest, offset)
            evicted.append(offset)

    for name, service in memory.ocalls.items():
        program.on_ocall(name, service if name == "remove_pages" else evicting)
    getattr(program, ask)()
    assert evicted
    assert not [offset for offset in evicted if (guest, offset) in swap.disk]


def test_without_a_tee_there_is_nothing_to_accept() -> None:
    program = Platform("none").create_enclave("grower")
    with pytest.raises(UsageError, match="SGX enclave"):
        Growing(program.guest)
    assert program.fill(1000) == total(1000)
    with pytest.raises(EcallFailed, match="OE_OUT_OF_MEMORY"):
        program.fill(60_000)
