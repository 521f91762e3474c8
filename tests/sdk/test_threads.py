"""Threads of one enclave at the same time, each on a logical processor of its own."""

from __future__ import annotations

from typing import Any

import pytest

from assembly import SPIN, launch
from tee_sim import Platform
from tee_sim.errors import BudgetExceeded, EnclaveLost, UsageError
from tee_sim.hypervisor.calls import finish, interleave
from tee_sim.units import MIB

TEES = ("none", "vbs", "sgx-mee", "sgx-tme")


def race(tee: str = "sgx-tme") -> Any:
    return Platform(tee, memory=24 * MIB, epc=MIB).create_enclave("race")


def together(enclave: Any, ecall: str, times: int, *, threads: int = 2, quantum: int = 13) -> int:
    """The number after some threads have added to it at the same time."""
    lanes = [enclave.on_thread(number, quantum) for number in range(threads)]
    before = enclave.total()
    interleave(*(getattr(lane, ecall).steps(times) for lane in lanes))
    return int(enclave.total() - before)


@pytest.mark.parametrize("tee", TEES)
def test_without_a_lock_additions_are_lost(tee: str) -> None:
    assert 300 <= together(race(tee), "add", 300) < 600


@pytest.mark.parametrize("tee", TEES)
@pytest.mark.parametrize(("threads", "quantum"), [(2, 1), (2, 13), (3, 7), (4, 50)])
def test_with_a_lock_none_is_under_any_schedule(tee: str, threads: int, quantum: int) -> None:
    enclave = race(tee)
    assert together(enclave, "add_locked", 40, threads=threads, quantum=quantum) == 40 * threads


def test_one_after_the_other_none_is_lost() -> None:
    enclave = race()
    for number in range(4):
        enclave.on_thread(number).add(100)
    assert enclave.total() == 400


def test_the_same_schedule_loses_the_same_additions() -> None:
    results = [together(race(), "add", 200) for _ in range(2)]
    assert results[0] == results[1] != together(race(), "add", 200, quantum=29)


def test_calls_at_the_same_time_have_their_own_arguments_and_results() -> None:
    enclave: Any = Platform("sgx-tme").create_enclave("careless")
    one, two = (enclave.on_thread(number, 5) for number in range(2))
    assert interleave(one.count.steps(200), two.count.steps(90)) == [200, 90]


def test_threads_enter_before_the_runtime_has_started_and_wait_for_it() -> None:
    enclave = race()
    lanes = [enclave.on_thread(number, 1) for number in range(4)]
    interleave(*(lane.total.steps() for lane in lanes))
    assert enclave.total() == 0


def test_a_thread_that_dies_takes_the_enclave_with_it() -> None:
    enclave: Any = Platform("sgx-tme").create_enclave("careless")
    one, two = (enclave.on_thread(number, 20) for number in range(2))
    with pytest.raises(EnclaveLost):
        interleave(one.count.steps(1000), two.peek.steps(0))
    for lane in (enclave, one, two):
        with pytest.raises(EnclaveLost):
            lane.which()
    assert all(lp.context is None for lp in enclave.guest.host.machine.mmu.processors[1:])


def test_a_call_in_steps_has_a_budget_too() -> None:
    guest = launch(Platform("sgx-tme", memory=24 * MIB, epc=MIB, budget=50_000), SPIN)
    with pytest.raises(BudgetExceeded):
        finish(guest.steps(0, quantum=3))
    assert guest.lost is not None


@pytest.mark.parametrize("thread", [-1, 4])
def test_a_thread_that_does_not_exist_is_refused(thread: int) -> None:
    with pytest.raises(UsageError, match="4 threads"):
        race().on_thread(thread)


def test_a_thread_without_a_processor_is_refused() -> None:
    enclave: Any = Platform("sgx-tme", processors=2).create_enclave("race")
    with pytest.raises(UsageError):
        enclave.on_thread(2).total()
