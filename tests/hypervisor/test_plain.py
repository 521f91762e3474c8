"""Programs without a TEE, and the ways out that lead nowhere."""

from __future__ import annotations

import pytest

from assembly import CPUID, ENCLU, INT3, NOP, SYSCALL, UD2, add, image, launch, mov
from tee_sim import Platform
from tee_sim.errors import EnclaveLost, Fault, GeneralProtection, InvalidOpcode, UsageError
from tee_sim.hypervisor.guest import Guest
from tee_sim.hypervisor.honest import Launch
from tee_sim.machine.cpu import LogicalProcessor
from tee_sim.machine.registers import RAX, RDI
from tee_sim.units import MIB


def plain(code: bytes) -> Guest:
    host = Platform("none", memory=16 * MIB, budget=50_000_000).host
    return host.launch(Launch("plain", image(code), None))


@pytest.mark.parametrize("code", [ENCLU, mov(RAX, 2) + ENCLU, UD2], ids=["ENCLU", "EENTER", "UD2"])
def test_a_machine_without_sgx_has_no_enclu(code: bytes) -> None:
    guest = plain(code)
    for _again in range(2):
        with pytest.raises(EnclaveLost) as lost:
            guest.enter(0)
        assert isinstance(lost.value.fault, InvalidOpcode)


def test_syscall_inside_leads_nowhere_even_where_it_is_not_refused() -> None:
    sizes = {"memory": 22 * MIB, "epc": MIB, "budget": 50_000_000}
    host = Platform("sgx-tme", without={"ENCLAVE.ILLEGAL_INSTRUCTION"}, **sizes)
    with pytest.raises(EnclaveLost) as lost:
        launch(host, SYSCALL).enter(0)
    assert isinstance(lost.value.fault, InvalidOpcode)


def test_a_refused_exit_is_one_interruption() -> None:
    """The handler of a refused ENCLU is asked once, not once more for a timer."""
    host = Platform("sgx-tme", memory=22 * MIB, epc=MIB, budget=50_000_000)
    guest = launch(host, mov(RAX, 77) + ENCLU)
    events: list[Fault | None] = []

    def handler(_guest: Guest, _lp: LogicalProcessor, event: Fault | None) -> bool:
        events.append(event)
        return len(events) < 3

    guest.handlers.append(handler)
    with pytest.raises(EnclaveLost):
        guest.enter(0)
    assert [type(event) for event in events] == [GeneralProtection] * 3


@pytest.mark.parametrize("timer", [0, -1])
def test_an_interruption_after_no_instruction_is_a_usage_error(timer: int) -> None:
    guest = plain(NOP + SYSCALL)
    guest.timer = timer
    with pytest.raises(UsageError, match="at least one instruction"):
        guest.enter(0)


def test_the_kernel_sees_and_changes_a_program_without_a_tee() -> None:
    guest = plain(mov(RDI, 40) + add(RDI, 1) + add(RDI, 1) + SYSCALL)
    seen = []

    def handler(_guest: Guest, lp: LogicalProcessor, _event: Fault | None) -> bool:
        values = lp.registers()
        seen.append(values[RDI])
        values[RDI] += 100
        lp.set_registers(values)
        return True

    guest.timer = 2
    guest.handlers.append(handler)
    assert guest.enter(0)[0] == 142
    assert seen == [41]


@pytest.mark.parametrize("code", [INT3, b"\xf4", CPUID + b"\xcd\x80"])
def test_a_plain_program_dies_of_a_typed_fault(code: bytes) -> None:
    with pytest.raises(EnclaveLost) as lost:
        plain(code).enter(0)
    assert isinstance(lost.value.fault, Fault)
