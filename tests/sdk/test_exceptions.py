"""Exceptions and interruptions inside: two stages, vectored handlers, notices."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tee_sim import Platform
from tee_sim.errors import (
    BudgetExceeded,
    EcallFailed,
    EnclaveLost,
    GeneralProtection,
    InvalidOpcode,
    OtherFault,
    PageFault,
)
from tee_sim.hypervisor.guest import Guest
from tee_sim.machine.cpu import LogicalProcessor
from tee_sim.sdk import guards
from tee_sim.sdk.host import COMMAND_EXCEPTION, EXIT_NESTED
from tee_sim.sdk.image import load_program
from tee_sim.units import MIB, PAGE

HANDLERS = Path(__file__).parent.parent / "programs" / "handlers"
SEARCH, EXECUTION, FAIL_FIRST = 0, 0xFFFFFFFF, 1


def handlers(**how: Any) -> Any:
    return Platform("sgx-tme", memory=24 * MIB, epc=MIB, **how).create_enclave(HANDLERS)


def handling(**how: Any) -> Any:
    """With one handler, which steps over whatever fails."""
    enclave = handlers(**how)
    enclave.add(0, False)
    enclave.answer(0, EXECUTION)
    return enclave


# vector -> OE_EXCEPTION_ code, error code, the address that it is about
RAISED = {
    0: (0x0, 0, 0),
    6: (0x3, 0, 0),
    13: (0x4, 0, 0),
    14: (0x5, 4, 0x12345678),
}


@pytest.mark.parametrize("vector", RAISED)
def test_a_handler_is_told_what_happened_and_decides_where_to_go_on(vector: int) -> None:
    enclave = handling()
    assert enclave.fail(vector) == 7
    assert (enclave.code(), enclave.error(), enclave.about()) == RAISED[vector]
    assert enclave.flags() == 1, "hardware"
    assert enclave.at_the_instruction() is (vector != 13), "#GP: the fetch at the target fails"
    assert enclave.noted() == 0x1


KINDS = {0: OtherFault, 6: InvalidOpcode, 13: GeneralProtection, 14: PageFault}


@pytest.mark.parametrize("tee", ["none", "vbs", "sgx-mee", "sgx-tme"])
@pytest.mark.parametrize("vector", KINDS)
def test_without_a_handler_the_enclave_is_lost_and_its_end_named(vector: int, tee: str) -> None:
    enclave: Any = Platform(tee, memory=24 * MIB, epc=MIB).create_enclave(HANDLERS)
    with pytest.raises(EnclaveLost, match="the program inside died") as lost:
        enclave.fail(vector)
    assert isinstance(lost.value.fault, KINDS[vector])
    with pytest.raises(EnclaveLost):
        enclave.noted()


def test_page_faults_are_reported_to_those_who_ask_for_exinfo_alone() -> None:
    platform = Platform("sgx-tme")
    vault: Any = platform.create_enclave("vault")
    assert not vault.guest.enclave.secs.miscselect.exinfo
    strongbox: Any = platform.create_enclave("strongbox")
    assert strongbox.guest.enclave.secs.miscselect.exinfo
    strongbox.make_secret("2718")
    assert strongbox.fetch(0x1234_5678) == 2**64 - 1
    assert strongbox.last_address() == 0x1234_5678, "the enclave sees the whole address"
    assert strongbox.fetch(strongbox.address("strongbox_pin")) == 0, "not a way to read inside"


def test_handlers_are_asked_in_order_until_one_takes_it() -> None:
    enclave = handlers()
    for number, first in ((0, False), (1, False), (2, True), (3, False)):
        enclave.add(number, first)
        enclave.answer(number, SEARCH)
    enclave.answer(1, EXECUTION)
    enclave.fail(6)
    assert enclave.noted() == 0x312, "2 came first; 3 was not asked"
    enclave.take_away(0)
    enclave.fail(6)
    assert enclave.noted() == 0x31232


def test_an_exception_that_no_handler_takes_ends_the_enclave() -> None:
    enclave = handlers()
    enclave.add(0, False)
    with pytest.raises(EnclaveLost, match="OE_ENCLAVE_ABORTING"):
        enclave.fail(0)


def test_the_list_of_handlers_refuses_what_open_enclave_refuses() -> None:
    enclave = handlers()
    enclave.add(0, False)
    for call, result in (
        (lambda: enclave.add(0, True), "OE_FAILURE"),
        (lambda: enclave.add(-1, False), "OE_INVALID_PARAMETER"),
        (lambda: enclave.add_at(enclave.guest.arena[0]), "OE_INVALID_PARAMETER"),
        (lambda: enclave.take_away(1), "OE_FAILURE"),
        (lambda: enclave.take_away(-1), "OE_INVALID_PARAMETER"),
    ):
        with pytest.raises(EcallFailed) as error:
            call()
        assert error.value.result == result
    base = enclave.guest.base
    for number in range(63):
        enclave.add_at(base + number)
    with pytest.raises(EcallFailed, match="OE_FAILURE"):
        enclave.add_at(base + 63)


def test_registers_flags_and_vector_state_survive_a_handled_exception() -> None:
    enclave = handling()
    assert enclave.mix(50, True) == enclave.mix(50, False)


def test_a_handler_may_fail_itself() -> None:
    enclave = handling()
    enclave.answer(0, FAIL_FIRST)
    assert enclave.fail(0) == 7
    assert enclave.noted() == 0x11


def test_an_exception_that_is_none_is_refused() -> None:
    enclave = handling()
    refused = []

    def pretend(guest: Guest, lp: LogicalProcessor, event: object) -> bool:
        """The timer has fired; the host claims an exception."""
        if event is None and not refused:
            guest.timer = None
            other = guest.steps(0, COMMAND_EXCEPTION, 0, processor=1)
            with pytest.raises(StopIteration) as stop:
                next(other)
            refused.append(stop.value.value)
        return True

    enclave.guest.handlers.append(pretend)
    enclave.guest.timer = 300
    alone = handling().mix(50, False)
    assert enclave.mix(50, False) == alone
    assert refused == [(EXIT_NESTED, 0, 0)]
    assert enclave.noted() == 0


def test_a_fault_that_stays_ends_with_the_budget() -> None:
    platform = Platform("sgx-tme", memory=24 * MIB, epc=MIB, budget=1_000_000)
    strongbox: Any = platform.create_enclave("strongbox")
    strongbox.make_secret("2718")
    platform.adversary.unmap(strongbox.guest, strongbox.address("strongbox_pin"))
    with pytest.raises(BudgetExceeded):
        strongbox.release("2718")


@pytest.mark.parametrize("every", [1, 2, 3, 50])
def test_interruptions_do_not_disturb_the_handling(every: int) -> None:
    enclave = handling()
    enclave.guest.timer = every
    assert enclave.mix(3, True) == undisturbed(3)
    assert enclave.noted() == 0x111


@cache
def undisturbed(rounds: int) -> int:
    return int(handlers().mix(rounds, False))


# Notices (AEX-Notify)


def interrupted(enclave: Any, every: int, at_most: int | None = None) -> list[int]:
    """Interrupt the enclave from now on; one entry for each time."""
    times: list[int] = []

    def look(guest: Guest, _lp: LogicalProcessor, event: object) -> bool:
        if event is not None:
            return False
        times.append(1)
        if len(times) == at_most:
            guest.timer = None
        return True

    enclave.guest.handlers.append(look)
    enclave.guest.timer = every
    return times


def test_the_program_hears_of_each_interruption() -> None:
    enclave = handlers()
    enclave.listen(True)
    times = interrupted(enclave, 1000)
    assert enclave.mix(500, False) == undisturbed(500)
    enclave.guest.timer = None
    assert enclave.heard() == len(times) > 5


@pytest.mark.parametrize("how", [{"patch_level": 0}, {"without": {"AEX.NOTIFY"}}], ids=str)
def test_it_hears_of_none_on_a_processor_without_it(how: dict[str, Any]) -> None:
    enclave = handlers(**how)
    enclave.listen(True)
    times = interrupted(enclave, 1000)
    assert enclave.mix(500, False) == undisturbed(500)
    enclave.guest.timer = None
    assert len(times) > 5
    assert enclave.heard() == 0
    assert not enclave.guest.enclave.secs.attributes.flags.aexnotify


def test_it_hears_of_none_when_it_has_stopped_listening() -> None:
    enclave = handlers()
    enclave.listen(True)
    enclave.listen(False)
    interrupted(enclave, 100)
    enclave.mix(50, False)
    enclave.guest.timer = None
    assert enclave.heard() == 0


@settings(max_examples=15, deadline=None)
@given(every=st.integers(1, 700), listening=st.booleans())
def test_no_schedule_changes_the_result(every: int, listening: bool) -> None:
    """Exceptions, interruptions and notices at any place, in each other too."""
    enclave = handling()
    enclave.listen(listening)
    # A thread that listens and is interrupted after each few instructions does not get ahead
    # until the timer stops.
    interrupted(enclave, every, at_most=200)
    assert enclave.mix(4, True) == undisturbed(4)
    enclave.guest.timer = None
    assert enclave.mix(4, False) == undisturbed(4)


# The runtime's guard


def test_a_build_without_a_guard_differs_in_one_measured_word() -> None:
    guarded = load_program("strongbox", "sgx")
    careless = load_program("strongbox", "sgx", guarded=())
    differing = [
        (one.offset, at)
        for one, two in zip(guarded.image.pages, careless.image.pages, strict=True)
        for at in range(PAGE)
        if one.content[at] != two.content[at]
    ]
    assert differing == [(guarded.threads[0].gs, 48)]


def test_switching_a_guard_off_deploys_the_careless_build() -> None:
    platform = Platform("sgx-tme", without={"RUNTIME.REENTRY"})
    careless = load_program("strongbox", "sgx", guarded=guards.ALL - {"RUNTIME.REENTRY"})
    assert platform.build("strongbox") == careless
    assert Platform("none").build("vault").image == load_program("vault", "none").image
    assert guards.bits(guards.ALL) == (1 << len(guards.GUARDS)) - 1
