"""EENTER, ERESUME, EEXIT and the asynchronous exit: what crosses the border, and what does not."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from assembly import (
    CODE_GVA,
    CPUID,
    DATA,
    DATA_GVA,
    ENCLU,
    INT3,
    NOP,
    RDRAND_RAX,
    SPIN,
    SSA_0,
    SSA_GVA,
    SYSCALL,
    TCS_0,
    TCS_1,
    TCS_GVA,
    UD2,
    clear_present,
    launch,
    leave,
    load_from,
    mov,
    named,
)
from tee_sim import Platform
from tee_sim.abi.sgx import EXINFO, GPRSGX, TCS, MiscSelect, PageType
from tee_sim.errors import Fault, GeneralProtection, OtherFault, PageFault
from tee_sim.hypervisor.guest import ARENA_BASE
from tee_sim.hypervisor.sgx import SGXGuest
from tee_sim.machine.cpu import LogicalProcessor, Stop
from tee_sim.machine.registers import REGISTER_NAMES
from tee_sim.units import MIB, PAGE

AEP, HOST_RIP = 0x0812_3400, 0x0777_0000
HOST = {
    "rdx": 0xD0,
    "rsp": 0x5000,
    "rbp": 0x6000,
    "rsi": 0x51,
    "rdi": 0xD1,
    **{f"r{n}": 0x100 + n for n in range(8, 16)},
    "rflags": 0x202,
    "fsbase": 0xF5000,
    "gsbase": 0x65000,
}
TF, DF, AC, RF, ARITHMETIC = 0x100, 0x400, 0x40000, 0x10000, 0x8D5
NON_CANONICAL = 1 << 47
STEPS = 10_000


class Door:
    """An enclave, a processor in front of it, and a host that moves every register itself."""

    def __init__(self, code: bytes, *, debug: bool = False, **layout: Any) -> None:
        self.platform = Platform("sgx-tme", memory=20 * MIB, epc=MIB)
        self.guest: SGXGuest = launch(self.platform, code, debug=debug, **layout)
        self.driver = self.guest.driver
        self.sgx, self.cache = self.driver._sgx, self.platform.machine.cache
        self.lp = self.platform.machine.processor(0)

    def host(self, lp: LogicalProcessor | None = None, **changes: int) -> None:
        """The host's registers at an ENCLU."""
        values = {"rbx": TCS_GVA, "rcx": AEP, "rip": HOST_RIP, "rax": 2} | HOST | changes
        lp = lp or self.lp
        lp.switch(self.guest.space.cr3)
        lp.set_registers([values[name] for name in REGISTER_NAMES])

    def enter(self, **changes: int) -> None:
        self.host(**changes)
        self.driver.eenter(self.lp)

    def run(self, **changes: int) -> Stop:
        """Enter and execute until something happens."""
        self.enter(**changes)
        return self.lp.run(STEPS)

    def interrupt(self, event: Fault | None = None) -> Fault | None:
        return self.driver.aex(self.lp, event)

    def resume(self) -> None:
        """With the synthetic registers as they stand."""
        self.driver.eresume(self.lp)

    @property
    def registers(self) -> dict[str, int]:
        return named(self.lp)

    def page(self, offset: int) -> memoryview:
        return self.cache.view(self.guest.pages[offset], write=True)

    def tcs(self, offset: int = TCS_0) -> TCS:
        return TCS.unpack(bytes(self.page(offset)))

    def poke_tcs(self, field: str, value: int) -> None:
        place = TCS.FIELDS[field]
        end = place.offset + place.size
        self.page(TCS_0)[place.offset : end] = value.to_bytes(place.size, "little")

    def frame(self, index: int = 0) -> GPRSGX:
        return GPRSGX.unpack(bytes(self.page(SSA_0 + index * PAGE)[PAGE - 184 :]))

    def state(self) -> tuple[object, ...]:
        """All that an entry changes."""
        return (
            [bytes(self.page(offset)) for offset in self.guest.pages],
            self.registers,
            self.lp.fpu(),
            self.lp.context,
            self.sgx.entries.copy(),
            self.guest.enclave.inside.copy(),
        )


# What EENTER and ERESUME refuse, in the SDM's order

Registers = dict[str, int]


def not_epc(door: Door, registers: Registers) -> None:
    door.guest.read(ARENA_BASE, 1)
    registers["rbx"] = ARENA_BASE + registers["rbx"] % PAGE


def misaligned(door: Door, registers: Registers) -> None:
    registers["rbx"] |= 8


def unmapped(door: Door, registers: Registers) -> None:
    clear_present(door.guest, TCS_GVA)


def bad_aep(door: Door, registers: Registers) -> None:
    registers["rcx"] = NON_CANONICAL


def tcs_entry(**fields: object) -> Callable[[Door, Registers], None]:
    return lambda door, registers: alter(door, TCS_0, **fields)


def ssa_entry(**fields: object) -> Callable[[Door, Registers], None]:
    return lambda door, registers: alter(door, SSA_0, **fields)


def alter(door: Door, offset: int, **fields: object) -> None:
    for name, value in fields.items():
        setattr(door.sgx.epcm[door.guest.pages[offset]], name, value)


def tcs_field(name: str, value: int) -> Callable[[Door, Registers], None]:
    return lambda door, registers: door.poke_tcs(name, value)


def not_initialised(door: Door, registers: Registers) -> None:
    door.guest.enclave.initialised = False


GP, TCS_PF, SSA_PF = (13, 0), (14, 0x8005), (14, 0x8007)
Defect = tuple[Callable[[Door, Registers], None], tuple[int, int]]
EENTER_DEFECTS: dict[str, Defect] = {
    "alignment": (misaligned, GP),
    "not EPC": (not_epc, (14, 0x5)),
    "not mapped": (unmapped, (14, 0x6)),
    "AEP": (bad_aep, GP),
    "TCS invalid": (tcs_entry(valid=False), TCS_PF),
    "TCS blocked": (tcs_entry(blocked=True), TCS_PF),
    "TCS pending": (tcs_entry(pending=True), TCS_PF),
    "TCS modified": (tcs_entry(modified=True), TCS_PF),
    "TCS elsewhere": (tcs_entry(enclaveaddress=TCS_GVA + PAGE), TCS_PF),
    "REG page": (tcs_entry(page_type=PageType.REG), TCS_PF),
    "OSSA": (tcs_field("ossa", SSA_0 + 8), GP),
    "OFSBASE": (tcs_field("ofsbase", 8), GP),
    "OGSBASE": (tcs_field("ogsbase", 8), GP),
    "FLAGS": (tcs_field("flags", 4), GP),
    "AEXNOTIFY": (tcs_field("flags", 2), GP),
    "not initialised": (not_initialised, GP),
    "CSSA": (tcs_field("cssa", 2), GP),
    "SSA invalid": (ssa_entry(valid=False), SSA_PF),
    "SSA not readable": (ssa_entry(r=False), SSA_PF),
    "SSA not writable": (ssa_entry(w=False), SSA_PF),
    "SSA of another": (ssa_entry(enclavesecs=0), SSA_PF),
    "SSA elsewhere": (ssa_entry(enclaveaddress=SSA_GVA + PAGE), SSA_PF),
    "SSA is a TCS": (ssa_entry(page_type=PageType.TCS), SSA_PF),
    "SSA blocked": (ssa_entry(blocked=True), SSA_PF),
    "SSA pending": (ssa_entry(pending=True), SSA_PF),
    "SSA modified": (ssa_entry(modified=True), SSA_PF),
    "OENTRY": (tcs_field("oentry", NON_CANONICAL), GP),
    "FS": (tcs_field("ofsbase", NON_CANONICAL), GP),
    "GS": (tcs_field("ogsbase", NON_CANONICAL), GP),
    "busy": (tcs_field("state", 1), GP),
}


def refusal(door: Door, *names: str, resume: bool = False, **changes: int) -> Fault:
    """Break the rules named, enter, and see that nothing changed."""
    registers = {"rbx": TCS_GVA, "rcx": AEP} | changes
    for name in names:
        EENTER_DEFECTS[name][0](door, registers)
    door.host(**registers)
    before = door.state()
    with pytest.raises(Fault) as error:
        (door.driver.eresume if resume else door.driver.eenter)(door.lp)
    assert door.state() == before
    return error.value


@pytest.mark.parametrize("name", EENTER_DEFECTS)
def test_eenter_refuses(name: str) -> None:
    fault = refusal(Door(leave()), name)
    assert (fault.vector, fault.error_code) == EENTER_DEFECTS[name][1]


ORDERED = ["alignment", "not EPC", "AEP", "TCS invalid", "CSSA", "SSA not writable", "OENTRY"]
ORDERED += ["busy"]
PAIRS = [(a, b) for index, a in enumerate(ORDERED) for b in ORDERED[index + 1 :]]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_of_two_defects_eenter_reports_the_one_that_the_sdm_checks_first(
    first: str, second: str
) -> None:
    alone, both = refusal(Door(leave()), first), refusal(Door(leave()), second, first)
    assert (both.vector, both.error_code) == EENTER_DEFECTS[first][1]
    assert str(both).split(":")[:2] == str(alone).split(":")[:2] or first == "alignment"


def interrupted(code: bytes = SPIN, **layout: Any) -> Door:
    door = Door(code, **layout)
    door.enter()
    door.lp.run(3)
    door.interrupt()
    return door


@pytest.mark.parametrize("name", [name for name in EENTER_DEFECTS if name != "CSSA"])
def test_eresume_refuses(name: str) -> None:
    if name in ("OENTRY", "FS", "GS"):
        return  # ERESUME goes where the save area says
    fault = refusal(interrupted(), name, resume=True)
    assert (fault.vector, fault.error_code) == EENTER_DEFECTS[name][1]


def test_eresume_of_a_thread_that_was_not_interrupted_is_refused() -> None:
    fault = refusal(Door(leave()), resume=True)
    assert (fault.vector, fault.error_code) == GP


@pytest.mark.parametrize("field", [136, 168, 176])
def test_eresume_goes_to_canonical_addresses_alone(field: int) -> None:
    door = interrupted()
    struct.pack_into("<Q", door.page(SSA_0), PAGE - 184 + field, NON_CANONICAL)
    fault = refusal(door, resume=True)
    assert (fault.vector, fault.error_code) == GP


def test_every_page_of_a_save_frame_is_checked() -> None:
    for index in range(3):
        door = Door(leave(), nssa=1, ssaframesize=3)
        alter(door, SSA_0 + index * PAGE, w=False)
        fault = refusal(door)
        assert (fault.vector, fault.error_code) == SSA_PF
        assert fault.address == SSA_GVA + index * PAGE


def test_a_processor_that_is_inside_cannot_enter() -> None:
    door = Door(SPIN)
    door.enter()
    before = door.state()
    with pytest.raises(GeneralProtection):
        door.driver.eenter(door.lp)
    assert door.state() == before


# Entry and exit


def test_eenter_keeps_every_register_of_the_host_but_a_few() -> None:
    door = Door(leave())
    door.enter(rflags=0x202 | DF | AC | ARITHMETIC)
    expected = HOST | {
        "rax": 0,
        "rbx": TCS_GVA,
        "rcx": HOST_RIP + 3,
        "rip": CODE_GVA,
        "rflags": 0x202 | DF | AC | ARITHMETIC,
        "fsbase": DATA_GVA,
        "gsbase": DATA_GVA,
    }
    assert door.registers == expected
    frame = door.frame()
    assert (frame.ursp, frame.urbp) == (HOST["rsp"], HOST["rbp"])
    assert (door.tcs().state, door.tcs().aep, door.tcs().cssa) == (1, AEP, 0)


def test_eexit_clears_nothing_but_gives_the_host_its_segments_back() -> None:
    values = {name: 0x1111 * (n + 1) for n, name in enumerate(REGISTER_NAMES[:16])}
    code = b"".join(mov(REGISTER_NAMES.index(name), v) for name, v in values.items())
    code += b"\x66\x48\x0f\x6e\xc0" + leave(0x0855_0000)
    door = Door(code)
    assert door.run().kind == "enclu"
    fpu = door.lp.fpu()
    assert door.driver.enclu(door.lp) is True
    seen = door.registers
    expected = values | {"rax": 4, "rbx": 0x0855_0000, "rcx": AEP, "rip": 0x0855_0000}
    assert {name: seen[name] for name in expected} == expected
    assert (seen["fsbase"], seen["gsbase"]) == (HOST["fsbase"], HOST["gsbase"])
    assert door.lp.fpu() == fpu
    assert fpu[160:168] == (0x1111).to_bytes(8, "little")
    assert (door.tcs().state, door.tcs().cssa) == (0, 0)
    assert door.lp.context is None


def test_eexit_to_an_address_that_is_not_canonical_is_refused() -> None:
    door = Door(leave(NON_CANONICAL))
    assert door.run().kind == "enclu"
    before = door.state()
    with pytest.raises(GeneralProtection):
        door.driver.enclu(door.lp)
    assert door.state() == before


def test_a_tcs_is_busy_while_a_processor_is_inside() -> None:
    door = Door(SPIN, threads=2)
    door.enter()
    second = door.platform.machine.processor(1)
    door.host(second)
    with pytest.raises(GeneralProtection):
        door.driver.eenter(second)
    door.host(second, rbx=TCS_GVA + TCS_1 - TCS_0)
    door.driver.eenter(second)
    assert (door.tcs().state, door.tcs(TCS_1).state) == (1, 1)
    door.interrupt()
    assert (door.tcs().state, door.tcs(TCS_1).state) == (0, 1)
    assert list(door.guest.enclave.inside) == [1]


def test_cssa_counts_interruptions_and_a_nested_entry_is_told() -> None:
    door = Door(SPIN, nssa=3)
    for depth in range(3):
        door.enter()
        assert door.registers["rax"] == door.tcs().cssa == depth
        door.lp.run(depth + 1)
        door.interrupt()
        assert door.tcs().cssa == depth + 1
    fault = refusal(door)
    assert (fault.vector, fault.error_code) == GP
    for depth in (2, 1, 0):
        door.host(rax=3)
        door.resume()
        assert door.tcs().cssa == depth
        assert door.registers["rax"] == depth
        door.sgx.entries.pop(0)
        door.poke_tcs("state", 0)
        door.lp.switch(door.guest.space.cr3)


# The asynchronous exit

LOADED = {name: 0x0101_0101_0101_0100 + n for n, name in enumerate(REGISTER_NAMES[:16])}
XMM_FROM_RAX = b"".join(
    bytes((0x66, 0x48 | xmm >> 3 << 2, 0x0F, 0x6E, 0xC0 | (xmm & 7) << 3)) for xmm in range(16)
)
WRITE_FS, WRITE_GS = b"\xf3\x48\x0f\xae\xd0", b"\xf3\x48\x0f\xae\xd8"
LOAD_MXCSR, FLD1 = b"\x0f\xae\x10", b"\xd9\xe8"
SET_FLAGS = mov(4, DATA_GVA + 0x800) + b"\x68\xd7\x0e\x04\x00\x9d"  # DF, AC and all arithmetic
BUSY = (
    SET_FLAGS
    + mov(0, DATA_GVA)
    + LOAD_MXCSR
    + FLD1
    + mov(0, 0x1234_5678_9ABC)
    + XMM_FROM_RAX
    + WRITE_FS
    + mov(0, 0x2345_6789_ABCD)
    + WRITE_GS
    + b"".join(mov(REGISTER_NAMES.index(name), value) for name, value in LOADED.items())
)
BUSY_STEPS = 3 + 2 + 1 + 1 + 16 + 1 + 1 + 1 + 16
MXCSR = 0x1FA0


def busy(tail: bytes = SPIN, **layout: Any) -> Door:
    """Inside, with every register set, at the code given."""
    door = Door(BUSY + tail, data=MXCSR.to_bytes(4, "little"), **layout)
    door.enter()
    while door.registers["rip"] != CODE_GVA + len(BUSY):
        assert door.lp.run(1).kind == "limit"
    return door


def test_the_host_sees_synthetic_registers_after_an_asynchronous_exit() -> None:
    door = busy()
    inside = door.registers
    assert inside["rflags"] & ARITHMETIC == ARITHMETIC
    assert door.interrupt() is None
    seen = door.registers
    expected = dict.fromkeys(REGISTER_NAMES, 0) | {
        "rax": 3,
        "rbx": TCS_GVA,
        "rcx": AEP,
        "rip": AEP,
        "rsp": HOST["rsp"],
        "rbp": HOST["rbp"],
        "rflags": inside["rflags"] & ~(ARITHMETIC | RF),
        "fsbase": HOST["fsbase"],
        "gsbase": HOST["gsbase"],
    }
    assert seen == expected


def test_the_host_sees_no_vector_register_after_an_asynchronous_exit() -> None:
    door = busy()
    door.interrupt()
    fcw, fsw, tags = struct.unpack_from("<HHB", door.lp.fpu())
    (mxcsr,) = struct.unpack_from("<I", door.lp.fpu(), 24)
    assert (fcw, fsw, tags, mxcsr) == (0x37F, 0, 0, 0x1FB0)
    assert not any(door.lp.fpu()[32:])


def test_the_save_frame_holds_every_register() -> None:
    door = busy()
    inside, fpu = door.registers, door.lp.fpu()
    door.interrupt()
    frame = door.frame()
    saved = {name: getattr(frame, name) for name in REGISTER_NAMES}
    assert saved == inside
    assert {name: saved[name] for name in LOADED} == LOADED
    assert (saved["fsbase"], saved["gsbase"]) == (0x1234_5678_9ABC, 0x2345_6789_ABCD)
    assert (frame.ursp, frame.urbp) == (HOST["rsp"], HOST["rbp"])
    assert not frame.rflags & TF
    assert frame.exitinfo == 0
    xsave = bytes(door.page(SSA_0)[:576])
    assert xsave[:512] == fpu
    assert struct.unpack_from("<I", xsave, 24) == (MXCSR,)
    assert all(
        xsave[160 + 16 * n : 168 + 16 * n] == (0x1234_5678_9ABC).to_bytes(8, "little")
        for n in range(16)
    )
    assert struct.unpack_from("<QQ", xsave, 512) == (3, 0)


def test_eresume_restores_every_register() -> None:
    door = busy()
    inside, fpu = door.registers, door.lp.fpu()
    door.interrupt()
    door.lp.set_fpu(bytes(512))
    door.host(rax=3, rsp=0x9000, rbp=0xA000, fsbase=0x1000, gsbase=0x2000)
    door.resume()
    assert door.registers == inside
    assert door.lp.fpu() == fpu
    assert (door.frame().ursp, door.frame().urbp) == (0x5000, 0x6000), "EENTER alone sets them"
    door.interrupt()
    assert (door.registers["fsbase"], door.registers["gsbase"]) == (0x1000, 0x2000)
    assert (door.registers["rsp"], door.registers["rbp"]) == (0x5000, 0x6000)


@pytest.mark.parametrize("steps", range(1, 12))
def test_an_interruption_after_any_instruction_changes_nothing_inside(steps: int) -> None:
    code = b"".join(mov(7, 3 * n) + b"\x48\x01\xfe" for n in range(6)) + leave()
    door = Door(code)
    door.enter(rsi=5)
    door.lp.run(steps)
    door.interrupt()
    door.resume()
    assert door.lp.run(STEPS).kind == "enclu"
    door.driver.enclu(door.lp)
    assert door.registers["rsi"] == 5 + 3 * sum(range(6))


DIVIDE = b"\x31\xc9\xf7\xf1"
UNMAPPED = DATA_GVA + 2 * PAGE + 0x123
TOUCH = load_from(7, UNMAPPED)
FAR = load_from(7, NON_CANONICAL)
NO_INFO = (0, 0, False)
EVENTS = {  # code, offset of the faulting instruction, vector, EXITINFO without and with EXINFO
    "#DE": (DIVIDE, 2, 0, (0, 3, True), (0, 3, True)),
    "#UD": (UD2, 0, 6, (6, 3, True), (6, 3, True)),
    "illegal": (CPUID, 0, 6, (6, 3, True), (6, 3, True)),
    "#BP": (INT3, 0, 3, (3, 6, True), (3, 6, True)),
    "#PF": (TOUCH, 10, 14, NO_INFO, (14, 3, True)),
    "#GP": (FAR, 10, 13, NO_INFO, (13, 3, True)),
}


@pytest.mark.parametrize("exinfo", [False, True])
@pytest.mark.parametrize("name", EVENTS)
def test_exitinfo_tells_the_enclave_why_it_was_left(name: str, exinfo: bool) -> None:
    code, offset, vector, without, having = EVENTS[name]
    door = Door(NOP + code, debug=True)
    enclave = door.guest.enclave
    enclave.secs = enclave.secs.with_(miscselect=MiscSelect(exinfo=exinfo))
    door.driver.edbgwr(door.guest.pages[TCS_0] + 8, 1)
    stop = door.run()
    assert stop.fault is not None
    assert stop.fault.vector == vector
    door.page(SSA_0)[PAGE - 200 : PAGE - 184] = b"\xee" * 16
    seen = door.interrupt(stop.fault)
    frame = door.frame()
    info = frame.exitinfo
    assert (info.vector, info.exit_type, info.valid) == (having if exinfo else without)
    assert frame.rip == CODE_GVA + 1 + offset
    below = bytes(door.page(SSA_0)[PAGE - 200 : PAGE - 184])
    if exinfo and vector == 14:
        assert EXINFO.unpack(below) == EXINFO(maddr=UNMAPPED, errcd=4)
    elif exinfo and vector == 13:
        assert EXINFO.unpack(below) == EXINFO(maddr=0, errcd=0)
    else:
        assert below == b"\xee" * 16
    assert seen is not None
    assert seen.address == (UNMAPPED & -PAGE if vector == 14 else 0)


def test_an_old_exitinfo_does_not_outlive_the_next_exit() -> None:
    door = Door(UD2)
    door.interrupt(door.run().fault)
    assert door.frame().exitinfo.valid
    door.resume()
    door.interrupt()
    assert door.frame().exitinfo == 0


# Debugging


def opted_in(code: bytes) -> Door:
    door = Door(code, debug=True)
    door.driver.edbgwr(door.guest.pages[TCS_0] + TCS.FIELDS["flags"].offset, 1)
    return door


def test_int3_is_a_breakpoint_for_a_thread_that_opted_in_and_illegal_for_others() -> None:
    for door, vector in ((Door(NOP + INT3), 6), (opted_in(NOP + INT3), 3)):
        stop = door.run()
        assert stop.fault is not None
        assert stop.fault.vector == vector
        assert door.registers["rip"] == CODE_GVA + 1


def test_the_trap_flag_stays_outside_of_a_thread_that_did_not_opt_in() -> None:
    door = Door(NOP * 5 + SPIN)
    door.enter(rflags=0x302)
    assert not door.registers["rflags"] & TF
    assert door.lp.run(4).kind == "limit"
    door.interrupt()
    assert door.registers["rflags"] & TF
    assert not door.frame().rflags & TF
    door.resume()
    assert not door.registers["rflags"] & TF
    assert door.lp.run(4).kind == "limit"


def test_the_trap_flag_is_back_after_eexit() -> None:
    door = Door(leave())
    assert door.run(rflags=0x302).kind == "enclu"
    door.driver.enclu(door.lp)
    assert door.registers["rflags"] == 0x302


def test_a_thread_that_opted_in_is_single_stepped_by_its_host() -> None:
    door = opted_in(NOP * 8 + SPIN)
    door.enter(rflags=0x302)
    for step in range(1, 5):
        stop = door.lp.run()
        assert isinstance(stop.fault, OtherFault)
        assert stop.fault.vector == 1
        door.interrupt(stop.fault)
        assert door.frame().rip == CODE_GVA + step
        assert not door.frame().rflags & TF
        assert door.registers["rflags"] & TF
        door.resume()


def test_a_debugger_that_clears_the_trap_flag_lets_the_thread_run() -> None:
    door = opted_in(NOP * 8 + SPIN)
    stop = door.run(rflags=0x302)
    door.interrupt(stop.fault)
    door.host(rax=3, rflags=0x202)
    door.resume()
    assert door.lp.run(20).kind == "limit"


# Instructions

ILLEGAL = {
    "CPUID": CPUID,
    "GETSEC": b"\x0f\x37",
    "RDPMC": b"\x0f\x33",
    "SGDT": b"\x0f\x01\x00",
    "SIDT": b"\x0f\x01\x08",
    "SLDT": b"\x0f\x00\xc0",
    "STR": b"\x0f\x00\xc8",
    "SMSW": b"\x0f\x01\xe0",
    "VMCALL": b"\x0f\x01\xc1",
    "VMFUNC": b"\x0f\x01\xd4",
    "IN": b"\xe4\x10",
    "IN DX": b"\xec",
    "OUT": b"\xe6\x10",
    "OUT DX": b"\xee",
    "INSB": b"\x6c",
    "REP INSB": b"\xf3\x6c",
    "INSD": b"\x6d",
    "OUTSB": b"\x6e",
    "OUTSD": b"\x6f",
    "INT 80h": b"\xcd\x80",
    "INT 3, long": b"\xcd\x03",
    "INT3": INT3,
    "SYSCALL": SYSCALL,
    "SYSENTER": b"\x0f\x34",
    "RETF": b"\xcb",
    "RETF imm16": b"\xca\x08\x00",
    "RETF 64": b"\x48\xcb",
    "RETF 16": b"\x66\xcb",
    "IRET": b"\xcf",
    "IRETQ": b"\x48\xcf",
    "IRET 16": b"\x66\xcf",
    "far CALL": b"\xff\x1f",
    "far JMP": b"\xff\x2f",
    "MOV DS": b"\x8e\xd8",
    "MOV ES": b"\x8e\xc0",
    "MOV SS": b"\x8e\xd0",
    "MOV FS": b"\x8e\xe0",
    "MOV GS": b"\x8e\xe8",
    "MOV DS, memory": b"\x8e\x1f",
    "POP FS": b"\x0f\xa1",
    "POP GS": b"\x0f\xa9",
    "LSS": b"\x0f\xb2\x07",
    "LFS": b"\x0f\xb4\x07",
    "LGS": b"\x0f\xb5\x07",
    "ENCLU 66": b"\x66" + ENCLU,
    "ENCLU F2": b"\xf2" + ENCLU,
    "ENCLU F3": b"\xf3" + ENCLU,
    "ENCLS": b"\x0f\x01\xcf",
}
READY = mov(4, DATA_GVA + 0x800) + mov(7, DATA_GVA + 0x100)


@pytest.mark.parametrize("code", ILLEGAL.values(), ids=list(ILLEGAL))
def test_an_instruction_that_is_illegal_inside_is_an_invalid_opcode(code: bytes) -> None:
    door = Door(READY + code + leave())
    before = bytes(door.page(DATA))
    stop = door.run()
    assert stop.fault is not None
    assert (stop.fault.vector, stop.fault.error_code) == (6, 0)
    assert door.registers["rip"] == CODE_GVA + len(READY)
    assert bytes(door.page(DATA)) == before


LEGAL = {
    "RDTSC": b"\x0f\x31",
    "RDRAND": RDRAND_RAX,
    "RDSEED": b"\x48\x0f\xc7\xf8",
    "RDFSBASE": b"\xf3\x48\x0f\xae\xc0",
    "WRFSBASE": mov(0, 0x1000) + WRITE_FS,
    "WRGSBASE": mov(0, 0x1000) + WRITE_GS,
    "PUSHF, POPF": b"\x9c\x9d",
}


@pytest.mark.parametrize("code", LEGAL.values(), ids=list(LEGAL))
def test_an_instruction_that_is_legal_inside_runs(code: bytes) -> None:
    assert Door(READY + code + leave()).run().kind == "enclu"


@pytest.mark.parametrize("leaf", [2, 3, 10, 0xFFFF_FFFF])
def test_an_enclu_leaf_that_is_unknown_or_not_for_inside_is_a_general_protection_fault(
    leaf: int,
) -> None:
    door = Door(mov(0, leaf) + ENCLU)
    assert door.run().kind == "enclu"
    before = door.state()
    with pytest.raises(GeneralProtection):
        door.driver.enclu(door.lp)
    assert door.state() == before


@pytest.mark.parametrize("leaf", [0, 1, 4, 5, 6, 7, 8, 9, 10])
def test_an_enclu_leaf_that_is_unknown_or_not_for_outside_is_refused(leaf: int) -> None:
    door = Door(leave())
    door.host(rax=leaf)
    before = door.state()
    with pytest.raises(GeneralProtection):
        door.driver.enclu(door.lp)
    assert door.state() == before


def test_a_page_fault_is_repaired_and_the_access_done_again() -> None:
    door = Door(load_from(7, DATA_GVA + 8) + leave(), data=b"-" * 8 + b"repaired")
    entry = clear_present(door.guest, DATA_GVA)
    stop = door.run()
    assert isinstance(stop.fault, PageFault)
    seen = door.interrupt(stop.fault)
    assert seen is not None
    assert (seen.address, seen.error_code) == (DATA_GVA, 4)
    door.guest.space.set_entry(DATA_GVA, entry)
    door.resume()
    assert door.lp.run(STEPS).kind == "enclu"
    assert door.registers["rdi"].to_bytes(8, "little") == b"repaired"


@pytest.mark.parametrize("debug", [False, True])
def test_only_a_debug_enclave_says_where_it_faulted(debug: bool) -> None:
    door = Door(UD2, debug=debug)
    stop = door.run()
    seen = door.interrupt(stop.fault)
    assert seen is not None
    assert (f"{CODE_GVA:#x}" in str(seen)) == debug
