"""The situations of the Linux kernel's SGX self-tests, with the exceptions that the kernel expects.

The situations, vectors and error codes are those of Linux, ``tools/testing/selftests/sgx/main.c``
(sixteen tests from 6.0 on); the code is our own. An enclave that is larger than the EPC
(``unclobbered_vdso_oversubscribed``) is a matter of paging, and tested there.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from assembly import CODE, ONES, TCS_0
from monitors.sgx.servant import (
    CALLEE_SAVED,
    FREE_GVA,
    GET,
    NEW,
    NEW_TCS,
    PAGE_GVA,
    STORM,
    TRIMMED,
    Servant,
    flags,
)
from tee_sim import Platform
from tee_sim.abi.sgx import TCS, PageType
from tee_sim.errors import EnclaveLost, Fault, PageFault, SGXError, UsageError
from tee_sim.hypervisor.growing import READ_ONLY, Growing
from tee_sim.hypervisor.guest import ENCLAVE_BASE, Guest
from tee_sim.machine.cpu import LogicalProcessor
from tee_sim.monitors.sgx.enclu import Leaf
from tee_sim.units import MIB, PAGE

MAGIC, MAGIC2 = 0x1122334455667788, 0x8877665544332211
CHANGED = flags("r", pr=True)


@pytest.fixture
def servant() -> Servant:
    return Servant()


@pytest.fixture
def memory(servant: Servant) -> Growing:
    return Growing(servant.guest)


def repaired(servant: Servant, repair: Callable[[], object]) -> None:
    """At the first exception, run ``repair`` on another thread, and resume."""
    done = []

    def handler(_guest: Guest, _lp: LogicalProcessor, event: Fault | None) -> bool:
        if event is None or done:
            return False
        done.append(event)
        repair()
        return True

    servant.guest.handlers.append(handler)


def test_unclobbered_what_is_put_is_found_and_callee_saved_registers_survive(
    servant: Servant,
) -> None:
    servant.put(PAGE_GVA, MAGIC)
    kept = {name: 0xA0 + number for name, number in CALLEE_SAVED.items()}
    assert servant.guest.enter(0, GET, PAGE_GVA, kept)[0] == MAGIC
    registers = servant.platform.adversary.registers(servant.platform.machine.processor(0))
    assert {name: registers[name] for name in kept} == kept
    assert not servant.faults


def test_clobbered_what_is_put_is_found_though_no_register_survives(servant: Servant) -> None:
    servant.put(PAGE_GVA, MAGIC)
    assert servant.guest.enter(0, STORM, PAGE_GVA)[0] == MAGIC
    registers = servant.platform.adversary.registers(servant.platform.machine.processor(0))
    assert {registers[name] for name in CALLEE_SAVED} == {ONES}


def test_clobbered_with_a_handler_that_is_asked_at_each_interruption(servant: Servant) -> None:
    servant.put(PAGE_GVA, MAGIC)
    asked = []
    servant.guest.handlers.append(lambda *_: bool(asked.append(1)) or True)
    servant.guest.timer = 1
    assert servant.guest.enter(0, STORM, PAGE_GVA)[0] == MAGIC
    assert len(asked) >= len(CALLEE_SAVED)


def test_both_threads_can_be_entered(servant: Servant) -> None:
    for thread in (0, 1):
        servant.put(PAGE_GVA, MAGIC + thread, thread)
        assert servant.get(PAGE_GVA, thread) == MAGIC + thread
    assert not servant.faults


def test_a_read_only_page_table_entry_gives_an_ordinary_page_fault(servant: Servant) -> None:
    servant.put(PAGE_GVA, MAGIC)
    hpa, space = servant.hpa(PAGE_GVA), servant.guest.space
    space.map(PAGE_GVA, hpa, writable=False)
    servant.platform.machine.mmu.shootdown()
    repaired(servant, lambda: space.map(PAGE_GVA, hpa, writable=True))
    servant.put(PAGE_GVA, MAGIC2)
    assert servant.faults == [(14, 0x7, PAGE_GVA)]
    assert servant.get(PAGE_GVA) == MAGIC2


def test_the_rights_of_a_tcs_page_cannot_be_changed(servant: Servant, memory: Growing) -> None:
    tcs = ENCLAVE_BASE + TCS_0
    with pytest.raises(UsageError):
        memory.restrict(tcs, 1, READ_ONLY)
    # What the kernel refuses, the processor refuses, too.
    with pytest.raises(PageFault):
        servant.driver.emodpr(servant.hpa(tcs), flags("r"))
    servant.put(PAGE_GVA, MAGIC)


def test_rights_are_taken_by_emodpr_and_given_back_by_emodpe(
    servant: Servant, memory: Growing
) -> None:
    servant.put(PAGE_GVA, MAGIC)
    memory.restrict(PAGE_GVA, 1, READ_ONLY)
    assert servant.accept(PAGE_GVA, CHANGED) == 0
    assert servant.get(PAGE_GVA) == MAGIC
    # From another thread: the first one has been interrupted and waits to be resumed.
    repaired(servant, lambda: servant.do(Leaf.EMODPE, PAGE_GVA, flags("rw"), thread=1))
    servant.put(PAGE_GVA, MAGIC2)
    assert servant.faults == [(14, 0x8007, PAGE_GVA)]
    assert servant.get(PAGE_GVA) == MAGIC2


def test_a_page_is_added_where_the_enclave_touches_nothing_and_then_has_to_be_accepted(
    servant: Servant, memory: Growing
) -> None:
    seen: list[tuple[int, int]] = []

    def handler(_guest: Guest, _lp: LogicalProcessor, event: Fault | None) -> bool:
        assert isinstance(event, PageFault)
        seen.append((event.error_code, event.address))
        if event.error_code == 0x8007:
            assert servant.accept(FREE_GVA, NEW, thread=1) == 0
            return True
        return False  # the kernel's pager is asked

    servant.guest.handlers.append(handler)
    servant.put(FREE_GVA, MAGIC)
    assert seen == [(0x6, FREE_GVA), (0x8007, FREE_GVA)]
    assert servant.get(FREE_GVA) == MAGIC


def test_a_page_is_added_where_the_enclave_accepts_nothing(
    servant: Servant, memory: Growing
) -> None:
    assert servant.accept(FREE_GVA, NEW) == 0
    assert servant.faults == [(14, 0x4, FREE_GVA)]
    servant.put(FREE_GVA, MAGIC)
    assert servant.get(FREE_GVA) == MAGIC


def test_without_the_kernels_service_the_exception_is_that_of_a_missing_page(
    servant: Servant,
) -> None:
    with pytest.raises(EnclaveLost):
        servant.accept(FREE_GVA, NEW)
    assert servant.faults == [(14, 0x4, FREE_GVA)]


def test_a_thread_is_made_used_and_removed_and_its_place_used_as_data(
    servant: Servant, memory: Growing
) -> None:
    tcs, ssa = FREE_GVA, FREE_GVA + PAGE
    for page in (tcs, ssa):
        assert servant.accept(page, NEW) == 0
    content = TCS(ossa=ssa - ENCLAVE_BASE, nssa=1, oentry=CODE).pack()
    for at in range(0, 72, 8):
        servant.put(tcs + at, int.from_bytes(content[at : at + 8], "little"))
    memory.change(tcs, 1, PageType.TCS)
    assert servant.accept(tcs, NEW_TCS) == 0
    servant.put(PAGE_GVA, MAGIC, thread=2)
    assert servant.get(PAGE_GVA, thread=2) == MAGIC

    memory.change(tcs, 2, PageType.TRIM)
    for page in (tcs, ssa):
        assert servant.accept(page, TRIMMED) == 0
    memory.remove(tcs, 2)
    assert servant.accept(tcs, NEW) == 0
    assert servant.get(tcs) == 0
    servant.put(tcs, MAGIC2)
    assert servant.get(tcs) == MAGIC2


def trim(servant: Servant, memory: Growing) -> None:
    servant.put(PAGE_GVA, MAGIC)
    assert servant.get(PAGE_GVA) == MAGIC
    memory.change(PAGE_GVA, 1, PageType.TRIM)


def test_a_page_whose_removal_was_not_accepted_cannot_be_removed(
    servant: Servant, memory: Growing
) -> None:
    trim(servant, memory)
    with pytest.raises(SGXError) as refused:
        memory.remove(PAGE_GVA)
    assert refused.value.code == 20
    assert servant.guest.pages[PAGE_GVA - ENCLAVE_BASE]


@pytest.mark.parametrize("accepted", [False, True])
def test_a_trimmed_page_cannot_be_read_whether_accepted_or_not(
    servant: Servant, memory: Growing, accepted: bool
) -> None:
    trim(servant, memory)
    if accepted:
        assert servant.accept(PAGE_GVA, TRIMMED) == 0
    with pytest.raises(EnclaveLost):
        servant.get(PAGE_GVA)
    assert servant.faults == [(14, 0x8005, PAGE_GVA)]


def test_a_page_that_was_never_touched_can_be_removed(servant: Servant, memory: Growing) -> None:
    memory.change(PAGE_GVA, 1, PageType.TRIM)
    assert servant.accept(PAGE_GVA, TRIMMED) == 0
    memory.remove(PAGE_GVA)
    assert PAGE_GVA - ENCLAVE_BASE not in servant.guest.pages


def test_every_page_of_a_heap_as_large_as_the_epc_can_be_removed_and_added_again() -> None:
    servant = Servant(Platform("sgx-tme", memory=20 * MIB, epc=48 * PAGE), size=0x100000)
    memory, heap = Growing(servant.guest), ENCLAVE_BASE + 0x10000
    count = 48 - len(servant.guest.pages) - 1  # and the SECS
    pages = range(heap, heap + count * PAGE, PAGE)
    for _ in range(2):
        assert {servant.accept(page, NEW) for page in pages} == {0}
        assert {servant.get(page) for page in pages} == {0}
        for page in pages:
            servant.put(page, page ^ MAGIC)
        assert all(servant.get(page) == page ^ MAGIC for page in pages)
        with pytest.raises(UsageError, match="out of enclave page cache"):
            servant.driver.epc.take()
        memory.change(heap, count, PageType.TRIM)
        assert {servant.accept(page, TRIMMED) for page in pages} == {0}
        memory.remove(heap, count)
