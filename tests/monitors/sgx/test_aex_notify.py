"""AEX-Notify and EDECCSSA: a thread learns that it was interrupted, and gives up a saved state."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from assembly import (
    CODE_GVA,
    ENCLU,
    NOP,
    SPIN,
    SSA_0,
    SSA_GVA,
    image,
    launch,
    leave,
    mov,
    store_byte,
)
from monitors.sgx.test_entering import HOST, STEPS, TF, Door
from tee_sim import Platform
from tee_sim.abi.image import Identity, measure
from tee_sim.abi.sgx import TCSFlags
from tee_sim.errors import Fault, GeneralProtection
from tee_sim.hypervisor.sgx import production
from tee_sim.machine.registers import RAX, RBX
from tee_sim.sdk.signing import signature
from tee_sim.units import MIB, PAGE

NOTIFY = production(aex_notify=True)
GPR_0 = SSA_GVA + PAGE - 184
ASK = mov(RBX, GPR_0 + 167) + store_byte(RBX, 1)
"""The thread asks to be told when it is resumed: it sets AEXNOTIFY[0] of its own save frame."""


class Notified(Door):
    """A door into an enclave that has AEX-Notify, and asks for it unless told otherwise."""

    def __init__(self, code: bytes = ASK + SPIN, *, nssa: int = 2) -> None:
        self.platform = Platform("sgx-tme", memory=20 * MIB, epc=MIB)
        loaded = image(code, nssa=nssa, tcs={"flags": TCSFlags(aexnotify=True)})
        self.guest = launch(self.platform, loaded, attributes=NOTIFY, init=False)
        self.driver = self.guest.driver
        self.driver.einit(
            self.guest.secs_hpa, signature(measure(loaded), identity=Identity(aex_notify=True))
        )
        self.sgx, self.cache = self.driver._sgx, self.platform.machine.cache
        self.lp = self.platform.machine.processor(0)


def interrupted(**layout: int) -> Notified:
    door = Notified(**layout)
    door.enter()
    door.lp.run(10)
    door.interrupt()
    return door


def refused(door: Door, leaf: Callable[[], object]) -> Fault:
    """The leaf faults, and nothing has changed."""
    before = door.state()
    with pytest.raises(Fault) as error:
        leaf()
    assert door.state() == before
    return error.value


@pytest.mark.parametrize("how", [{"patch_level": 0}, {"without": {"AEX.NOTIFY"}}], ids=str)
def test_ecreate_refuses_the_attribute_on_a_processor_without_it(how) -> None:
    platform = Platform("sgx-tme", memory=20 * MIB, epc=MIB, **how)
    with pytest.raises(GeneralProtection, match="no AEX-Notify"):
        launch(platform, SPIN, attributes=NOTIFY, init=False)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(("secs", "tcs"), [(True, 0), (False, 2)])
def test_tcs_and_secs_must_agree_unless_the_thread_opted_in(secs, tcs, resume) -> None:
    door = Notified() if secs else Door(SPIN)
    door.enter()
    door.interrupt()
    door.poke_tcs("flags", tcs)
    door.host()
    leaf = door.driver.eresume if resume else door.driver.eenter
    assert isinstance(refused(door, lambda: leaf(door.lp)), GeneralProtection)
    door.poke_tcs("flags", tcs | 1)
    leaf(door.lp)
    assert door.lp.context is door.guest.enclave


def test_a_resumed_thread_is_told_and_nothing_is_restored_or_popped() -> None:
    door = interrupted()
    saved = door.frame()
    assert saved.aexnotify == 1
    door.host(rax=3, rsp=0x9000, rbp=0xA000)
    door.resume()
    registers = door.registers
    assert (registers["rip"], registers["rcx"]) == (CODE_GVA, CODE_GVA), "RCX := RIP, as in the SDM"
    assert registers["rax"] == door.tcs().cssa == 1
    assert {name: registers[name] for name in HOST if name not in ("fsbase", "gsbase")} == {
        name: value for name, value in HOST.items() if name not in ("fsbase", "gsbase")
    } | {"rsp": 0x9000, "rbp": 0xA000}
    assert door.frame() == saved
    assert (door.frame(1).ursp, door.frame(1).urbp) == (0x9000, 0xA000)
    door.interrupt()
    assert door.tcs().cssa == 2, "an interruption of the handler goes into the next frame"
    assert (door.registers["rsp"], door.registers["rbp"]) == (0x9000, 0xA000)


def test_an_interrupted_handler_is_resumed_where_it_was() -> None:
    door = interrupted()
    door.resume()
    door.lp.run(1)
    door.interrupt()
    door.resume()
    assert door.registers["rip"] == door.frame(1).rip != CODE_GVA
    assert door.tcs().cssa == 1


@pytest.mark.parametrize("silent", ["TCS", "frame", "processor"])
def test_who_does_not_ask_is_resumed_as_ever(silent: str) -> None:
    if silent == "TCS":
        door: Door = Door(ASK + SPIN)
    else:
        door = Notified(NOP + SPIN if silent == "frame" else ASK + SPIN)
    door.enter()
    door.lp.run(10)
    door.interrupt()
    if silent == "processor":
        door.platform.checks._off |= {"AEX.NOTIFY"}
    rip = door.frame().rip
    door.resume()
    assert (door.registers["rip"], door.tcs().cssa) == (rip, 0)


FRAME_DEFECTS = {
    "invalid": {"valid": False},
    "not readable": {"r": False},
    "not writable": {"w": False},
    "of another": {"enclavesecs": 0},
    "elsewhere": {"enclaveaddress": 0},
    "blocked": {"blocked": True},
    "pending": {"pending": True},
    "modified": {"modified": True},
}


def spoil(door: Door, frame: int, defect: str) -> None:
    for name, value in FRAME_DEFECTS[defect].items():
        setattr(door.sgx.epcm[door.guest.pages[SSA_0 + frame * PAGE]], name, value)


@pytest.mark.parametrize("frame", [0, 1])
@pytest.mark.parametrize("defect", FRAME_DEFECTS)
def test_a_notification_needs_both_frames(defect: str, frame: int) -> None:
    door = interrupted()
    spoil(door, frame, defect)
    fault = refused(door, door.resume)
    assert (fault.vector, fault.error_code) == (14, 0x8007)


def test_a_notification_needs_a_frame_for_the_handler() -> None:
    door = interrupted(nssa=1)
    fault = refused(door, door.resume)
    assert isinstance(fault, GeneralProtection)
    assert str(fault.check) == "EENTER.CSSA"


# EDECCSSA


def deciding(door: Door) -> None:
    """The processor stands on ENCLU with EDECCSSA's number in EAX."""
    registers = door.registers | {"rax": 9}
    door.lp.set_registers(list(registers.values()))


def inside_twice() -> Notified:
    door = interrupted()
    door.resume()
    deciding(door)
    return door


def test_edeccssa_gives_up_the_newest_saved_state_and_changes_no_register() -> None:
    door = inside_twice()
    before = door.registers
    assert door.driver.enclu(door.lp) is False
    assert door.tcs().cssa == 0
    assert door.registers == before | {"rip": before["rip"] + 3}
    spare = door.frame(1)
    door.interrupt()
    assert door.tcs().cssa == 1
    assert door.frame().rip == before["rip"] + 3, "the next exit fills the frame below"
    assert door.frame(1) == spare
    assert (door.registers["rsp"], door.registers["rbp"]) == (0x5000, 0x6000)


def test_edeccssa_in_code() -> None:
    after = mov(RAX, 9) + ENCLU + leave()
    test_rax = b"\x48\x85\xc0\x75" + bytes([len(ASK + SPIN)])  # test rax, rax; jne
    door = Notified(test_rax + ASK + SPIN + after)
    door.enter()
    door.lp.run(10)
    door.interrupt()
    door.resume()
    assert door.lp.run(STEPS).kind == "enclu"
    assert door.driver.enclu(door.lp) is False
    assert door.lp.run(STEPS).kind == "enclu"
    assert door.driver.enclu(door.lp) is True
    assert door.tcs().cssa == 0


@pytest.mark.parametrize("defect", FRAME_DEFECTS)
def test_edeccssa_needs_the_frame_below(defect: str) -> None:
    door = inside_twice()
    spoil(door, 0, defect)
    fault = refused(door, lambda: door.driver.enclu(door.lp))
    assert (fault.vector, fault.error_code) == (14, 0x8007)


def test_edeccssa_without_a_saved_state_is_refused() -> None:
    door = Notified()
    door.enter()
    deciding(door)
    fault = refused(door, lambda: door.driver.enclu(door.lp))
    assert isinstance(fault, GeneralProtection)
    assert "CSSA is 0" in str(fault)


def test_edeccssa_does_not_exist_before_the_update() -> None:
    door = inside_twice()
    door.platform.checks._off |= {"AEX.NOTIFY"}
    fault = refused(door, lambda: door.driver.enclu(door.lp))
    assert isinstance(fault, GeneralProtection)


# RFLAGS.TF at an exit


@pytest.mark.parametrize("opted_in", [False, True])
def test_eexit_restores_the_hosts_trap_flag_for_threads_that_did_not_opt_in(opted_in: bool) -> None:
    door = Door(NOP + leave(), debug=True)
    door.poke_tcs("flags", int(opted_in))
    door.enter(rflags=0x202 | TF)
    door.lp.set_registers(list((door.registers | {"rflags": 0x202}).values()))
    assert door.lp.run(STEPS).kind == "enclu"
    door.driver.enclu(door.lp)
    assert bool(door.registers["rflags"] & TF) is not opted_in
