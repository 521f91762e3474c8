"""Guests as their host runs them: together, to their end, and out of memory."""

from __future__ import annotations

import _thread
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable

import pytest

from assembly import (
    CODE_GVA,
    DATA_GVA,
    SPIN,
    UD2,
    add,
    image,
    jump_to,
    launch,
    leave,
    load_from,
    mov,
    store,
)
from tee_sim import Platform
from tee_sim.errors import (
    BudgetExceeded,
    EnclaveLost,
    Fault,
    GeneralProtection,
    InvalidOpcode,
    PageFault,
    UsageError,
)
from tee_sim.hypervisor.calls import interleave
from tee_sim.hypervisor.guest import ARENA_BASE, HEAP_BASE, HEAP_SIZE, Guest, Result
from tee_sim.machine.registers import RAX, RBX, RDI, RSI, RSP
from tee_sim.sdk.image import load_program
from tee_sim.units import MIB, PAGE

SGX = ("sgx-mee", "sgx-tme")


def platform(tee: str = "sgx-tme", **changes: int) -> Platform:
    return Platform(tee, **{"memory": 24 * MIB, "epc": MIB} | changes)


def free(host: Platform) -> list[int]:
    """Free pages of ordinary memory and of the EPC; none of them twice."""
    sgx = host.host.sgx
    allocators = [host.host.frames] + ([sgx.epc] if sgx else [])
    for it in allocators:
        assert len(set(it._freed)) == len(it._freed)
    return [(it._stop - it._next) // PAGE + len(it._freed) for it in allocators]


# loop: mix RSI into RDI, store it, load it again, 500 times
MIX = (
    mov(RBX, DATA_GVA)
    + mov(1, 500)
    + b"\x48\x01\xf7\x48\xc1\xc7\x07"  # add rdi, rsi; rol rdi, 7
    + store(RBX, RDI)
    + b"\x48\x8b\x33\x48\xff\xc9"  # mov rsi, [rbx]; dec rcx
    + b"\x75\xea"
    + leave()
)


def results(host: Platform, quantum: int | None) -> list[Result]:
    """What two guests answer, at the same time or, without a quantum, one after the other."""
    guests = [launch(host, MIX) for _ in range(2)]
    arguments = [(3, 5), (1000, 77)]
    if quantum is None:
        return [guest.enter(0, *pair) for guest, pair in zip(guests, arguments, strict=True)]
    return interleave(
        *(
            guest.steps(0, *pair, processor=index, quantum=quantum)
            for index, (guest, pair) in enumerate(zip(guests, arguments, strict=True))
        )
    )


@pytest.mark.parametrize(
    ("tee", "quantum"),
    [("sgx-tme", 1), ("sgx-tme", 7), ("sgx-tme", 100_000), ("sgx-mee", 100)],
)
def test_guests_at_the_same_time_answer_as_one_after_the_other(tee: str, quantum: int) -> None:
    alone = results(platform(tee), None)
    assert len(set(alone)) == 2
    assert results(platform(tee), quantum) == alone


def test_two_threads_of_one_enclave_interleave_the_same_way_each_time() -> None:
    """They race for one word of memory: the outcome depends on the order, which is fixed."""
    answers = []
    for _ in range(3):
        guest = launch(platform(), MIX, threads=2)
        calls = [guest.steps(n, n + 1, 9, processor=n, quantum=13) for n in range(2)]
        answers.append(interleave(*calls))
    assert answers[0] == answers[1] == answers[2]
    apart = launch(platform(), MIX, threads=2)
    assert answers[0] != [apart.enter(n, n + 1, 9) for n in range(2)]


def test_the_arena_gets_a_page_when_it_is_first_touched() -> None:
    host = platform()
    far = ARENA_BASE + 100 * PAGE
    guest = launch(
        host, mov(RBX, far) + mov(RAX, 7) + store(RBX, RAX) + load_from(RDI, far) + leave()
    )
    before = free(host)
    assert guest.enter(0)[0] == 7
    used = before[0] - free(host)[0]
    assert used == 3, "two tables and the page"
    assert guest.read(far, 8) == (7).to_bytes(8, "little")
    assert guest.enter(0)[0] == 7
    assert free(host)[0] == before[0] - used


@pytest.mark.parametrize("gva", [ARENA_BASE - 8, HEAP_BASE + HEAP_SIZE])
def test_memory_beside_arena_and_heap_is_not_lent(gva: int) -> None:
    guest = launch(platform(), load_from(RDI, gva) + leave())
    with pytest.raises(UsageError):
        guest.read(gva, 8)
    with pytest.raises(EnclaveLost):
        guest.enter(0)


RUNAWAY = mov(RSP, DATA_GVA + PAGE) + b"\xe8\xfb\xff\xff\xff"
DEATHS: dict[str, tuple[bytes, type[Fault]]] = {
    "a jump to unmapped memory": (jump_to(CODE_GVA + 0x3000), PageFault),
    "a jump outside": (jump_to(0x1000), Fault),
    "a jump to no address": (jump_to(1 << 47), GeneralProtection),
    "an illegal instruction": (UD2, InvalidOpcode),
    "a read of nothing": (load_from(RDI, 0), PageFault),
    "a stack overflow": (RUNAWAY, PageFault),
}


@pytest.mark.parametrize("tee", ["sgx-tme", "sgx-mee"])
@pytest.mark.parametrize("name", DEATHS)
def test_a_guest_that_dies_is_lost_for_good_and_nobody_else_is(tee: str, name: str) -> None:
    host = platform(tee)
    bystander = launch(host, MIX)
    expected = bystander.enter(0, 1, 2)
    before = free(host)
    code, kind = DEATHS[name]
    guest = launch(host, code)
    with pytest.raises(EnclaveLost) as lost:
        guest.enter(0)
    assert isinstance(lost.value.fault, kind)
    for _ in range(3):
        with pytest.raises(EnclaveLost) as again:
            guest.enter(0)
        assert again.value.fault is lost.value.fault
    guest.close()
    assert free(host) == before
    assert launch(host, MIX).enter(0, 1, 2) == expected
    assert host.machine.processor(0).context is None


def test_an_endless_loop_ends_with_its_budget() -> None:
    host = platform(budget=20_000_000)
    guest = launch(host, SPIN)
    with pytest.raises(BudgetExceeded, match="20,000,000"):
        guest.enter(0)
    with pytest.raises(EnclaveLost):
        guest.enter(0)
    assert launch(host, MIX).enter(0, 1, 2) == launch(platform(), MIX).enter(0, 1, 2)


def test_a_counted_run_ends_with_its_budget_too() -> None:
    guest = launch(platform(budget=1000), SPIN)
    guest.timer = 10_000
    with pytest.raises(BudgetExceeded):
        guest.enter(0)


CTRL_C: dict[str, Callable[[], None]] = {
    "a signal": lambda: os.kill(os.getpid(), signal.SIGINT),
    "another thread": _thread.interrupt_main,
}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("how", CTRL_C)
def test_ctrl_c_ends_an_endless_guest_and_nothing_else(how: str) -> None:
    host = platform(budget=10**12)
    bystander, guest = launch(host, MIX), launch(host, SPIN)
    expected = bystander.enter(0, 1, 2)
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.2, CTRL_C[how])
    try:
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012  # it must not arrive before
            timer.start()
            guest.enter(0)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, old)
    with pytest.raises(EnclaveLost):
        guest.enter(0)
    assert host.machine.processor(0).context is None
    assert bystander.enter(0, 1, 2) == expected
    assert launch(host, MIX).enter(0, 1, 2) == expected


# Memory


@pytest.mark.parametrize("tee", ["none", "vbs", "sgx-mee", "sgx-tme"])
def test_close_gives_back_all_memory(tee: str) -> None:
    host = platform(tee, epc=2 * MIB)
    program = load_program("vault", host.tee.target)
    first = host.create_enclave(program)
    first.make_secret("1")
    first.close()
    before = free(host)
    for cycle in range(300 if tee == "sgx-tme" else 60):
        guest: Guest = host.create_enclave(program).guest if cycle % 50 == 0 else small(host)
        guest.write(ARENA_BASE, b"used")
        if host.tee.target == "sgx" and cycle % 10:
            guest.enter(0)
        guest.close()
        guest.close()
    assert free(host) == before
    sgx = host.host.sgx
    assert sgx is None or not sgx._sgx.enclaves


def small(host: Platform) -> Guest:
    return host.load(image(leave()))


def test_closed_guests_are_not_kept() -> None:
    host = platform()
    for _ in range(50):
        guest = small(host)
        guest.enter(0)
        guest.close()
    gc.collect()
    contexts = [key for key in host.machine.mmu._decisions if key[1] is not None]
    assert len(contexts) <= 2, f"{len(contexts)} enclaves are remembered after their end"


def test_a_guest_is_closed_while_it_is_inside() -> None:
    host = platform()
    before = free(host)
    guest = launch(host, SPIN)
    call = guest.steps(0, processor=2, quantum=10)
    next(call)
    guest.close()
    assert free(host) == before
    assert host.machine.processor(2).context is None
    with pytest.raises(EnclaveLost, match="closed"):
        next(call)


@pytest.mark.parametrize("tee", SGX)
def test_running_out_of_epc_is_said_clearly_and_leaks_nothing(tee: str) -> None:
    host = platform(tee, epc=14 * PAGE)  # too small for pages to take turns
    kept = small(host)
    before = free(host)
    held = [small(host) for _ in range(before[1] // 6)]
    left = free(host)
    with pytest.raises(UsageError, match="out of enclave page cache"):
        small(host)
    assert free(host) == left
    for guest in held:
        guest.close()
    assert free(host) == before
    kept.enter(0)


def test_running_out_of_ordinary_memory_is_said_clearly_and_leaks_nothing() -> None:
    host = platform()
    frames = host.host.frames
    before = free(host)
    taken = []
    while free(host)[0] > 3:
        taken.append(frames.take())
    with pytest.raises(UsageError, match="out of ordinary memory"):
        small(host)
    for hpa in taken:
        frames.give(hpa)
    assert free(host) == before


REFUSED: dict[str, Callable[[Platform], object]] = {
    "no such thread": lambda host: small(host).enter(1),
    "no such register": lambda host: small(host).enter(0, registers={"eax": 1}),
    "no such processor": lambda host: next(small(host).steps(0, processor=9)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_call_that_makes_no_sense_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError):
        REFUSED[name](platform())


def test_registers_reach_the_guest_and_come_back() -> None:
    guest = launch(platform(), add(RDI, 1) + b"\x4c\x89\xd6" + leave())  # mov rsi, r10
    assert guest.enter(0, 41, registers={"r10": 99, "rdx": 7}) == (42, 99, 7)
    assert guest.enter(0, 2**64 - 1)[0] == 0
    assert RSI == 6
