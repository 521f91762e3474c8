"""Thread primitives of Open Enclave and <pthread.h>, with threads that run at the same time."""

from pathlib import Path
from typing import Any

import pytest

from tee_sim.hypervisor.calls import interleave
from tee_sim.platform import Platform

CREW = Path(__file__).parent.parent / "programs" / "crew"
KINDS = ("oe_spin", "oe_mutex", "oe_rwlock", "pthread_mutex")


@pytest.fixture(scope="module")
def crew() -> Any:
    return Platform("sgx-tme").create_enclave(CREW)


@pytest.mark.parametrize("quantum", [7, 50])
@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_nothing_is_lost_under_a_lock(crew: Any, kind: int, quantum: int) -> None:
    before = crew.total()
    lanes: list[Any] = [crew.on_thread(n, quantum) for n in range(3)]
    interleave(*(lane.add.steps(kind, 20) for lane in lanes))
    assert crew.total() - before == 60


def test_without_a_lock_something_is_lost(crew: Any) -> None:
    before = crew.total()
    lanes: list[Any] = [crew.on_thread(n, 7) for n in range(3)]
    interleave(*(lane.add.steps(len(KINDS), 20) for lane in lanes))
    assert crew.total() - before < 60


@pytest.mark.parametrize("quantum", [9, 100])
def test_a_condition_hands_everything_over_in_order(crew: Any, quantum: int) -> None:
    giver, taker = crew.on_thread(0, quantum), crew.on_thread(1, quantum)
    assert interleave(giver.put.steps(8), taker.take.steps(8))[1] == 12345678
    assert interleave(taker.take.steps(8), giver.put.steps(8))[0] == 12345678


def test_once_is_once_and_everybody_waits_for_it() -> None:
    crew = Platform("sgx-tme").create_enclave(CREW)
    lanes: list[Any] = [crew.on_thread(n, 11) for n in range(3)]
    assert interleave(*(lane.first_come.steps() for lane in lanes)) == [1, 1, 1]


def test_a_key_has_a_value_for_each_thread(crew: Any) -> None:
    one, two = crew.on_thread(0), crew.on_thread(1)
    assert [one.own(5), two.own(6), one.own(7), two.own(8)] == [0, 0, 5, 6]


def test_wrong_use_is_refused(crew: Any) -> None:
    assert (crew.misuse(), crew.readers()) == (0, 0)
