"""Crossing the enclave's border: what the host learns, and that nothing inside changes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assembly import (
    CODE_GVA,
    DATA_GVA,
    ENCLU,
    INT3,
    NOP,
    SSA_GVA,
    SYSCALL,
    TCS_GVA,
    UD2,
    Process,
    add,
    launch,
    leave,
    load,
    mov,
    named,
    store,
)
from tee_sim.abi.sgx import GPRSGX, TCS
from tee_sim.errors import (
    EnclaveLost,
    Fault,
    GeneralProtection,
    InvalidOpcode,
    OtherFault,
    PageFault,
)
from tee_sim.hypervisor.guest import RETURN_ADDRESS
from tee_sim.machine import fxsave
from tee_sim.machine.cpu import LogicalProcessor, Stop
from tee_sim.machine.registers import RAX, RBX, RCX, RDI, REGISTER_NAMES
from tee_sim.platform import Platform
from tee_sim.units import MIB, PAGE

PLATFORM = Platform("sgx-tme", memory=128 * MIB, epc=64 * MIB)
HOST_RIP = 0x0070_0000
NOT_CANONICAL = 1 << 47
GPR = PAGE - GPRSGX.SIZE
HOST = {
    name: 0x1010_1010_1010_1010 * (index + 1) % 2**64
    for index, name in enumerate(REGISTER_NAMES[:16])
} | {
    "rflags": 0x246 | 0x400 | 0x40000,  # DF and AC, the flags that nobody clears
    "fsbase": 0x7000_1000,
    "gsbase": 0x7000_2000,
}


@pytest.fixture(autouse=True)
def nobody_inside() -> Iterator[None]:
    """No test leaves the shared processor inside an enclave."""
    yield
    assert PLATFORM.host.sgx is not None
    PLATFORM.host.sgx.abandon(PLATFORM.machine.processor(0))


class Thread:
    """An enclave of hand-assembled code, its first thread, and a host that fills all registers."""

    def __init__(
        self, code: bytes = NOP * 64 + leave(), *, platform: Platform = PLATFORM, **how: Any
    ) -> None:
        self.guest = launch(platform, code, **how)
        assert platform.host.sgx is not None
        self.platform, self.driver = platform, platform.host.sgx
        self.cache, self.sgx = platform.machine.cache, platform.host.sgx._sgx
        self.lp: LogicalProcessor = platform.machine.processor(0)
        self.host()

    def host(self, **registers: int) -> None:
        """The host stands on an ENCLU, with a value of its own in every register."""
        values = HOST | {"rax": 2, "rbx": TCS_GVA, "rcx": RETURN_ADDRESS, "rip": HOST_RIP}
        values |= registers
        self.lp.switch(self.guest.space.cr3)
        self.lp.set_registers([values[name] for name in REGISTER_NAMES])

    def enter(self, **registers: int) -> None:
        self.host(**registers)
        self.driver.eenter(self.lp)

    def resume(self, **registers: int) -> None:
        self.host(**{"rax": 3} | registers)
        self.driver.eresume(self.lp)

    def refused(self, resume: bool = False, **registers: int) -> Fault:
        """Enter or resume, which fails and changes nothing."""
        self.host(**({"rax": 3} if resume else {}) | registers)
        before = self.state()
        with pytest.raises(Fault) as caught:
            (self.driver.eresume if resume else self.driver.eenter)(self.lp)
        assert self.state() == before
        return caught.value

    def state(self) -> tuple[object, ...]:
        pages = {hpa: self.cache.read(hpa, PAGE) for hpa in self.guest.pages.values()}
        return self.lp.registers(), self.lp.fpu(), self.lp.context, dict(self.sgx.entries), pages

    def run(self) -> Stop:
        return self.lp.run(100_000)

    def hpa(self, gva: int) -> int:
        return self.guest.pages[(gva & -PAGE) - self.guest.base]

    def page(self, gva: int) -> bytes:
        return self.cache.read(self.hpa(gva), PAGE)

    def poke(self, gva: int, data: bytes) -> None:
        """Change an EPC page as only the processor can."""
        self.cache.write(self.hpa(gva) + gva % PAGE, data)

    def tcs(self) -> TCS:
        return TCS.unpack(self.page(TCS_GVA))

    def saved(self, index: int = 0) -> GPRSGX:
        return GPRSGX.unpack(self.page(SSA_GVA + PAGE * index)[GPR:])

    def epcm(self, gva: int, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(self.sgx.epcm[self.hpa(gva)], name, value)
        self.platform.machine.mmu.shootdown()

    @property
    def registers(self) -> dict[str, int]:
        return named(self.lp)


def fpu_image(fill: int, mxcsr: int = 0x5F80) -> bytes:
    """Control words and vector registers that are nobody's default."""
    image = bytearray(fxsave.INITIAL)
    struct.pack_into("<H", image, 0, 0x27F)
    struct.pack_into("<I", image, 24, mxcsr)
    image[160:416] = bytes((fill + index) % 256 for index in range(256))
    return bytes(image)


# EENTER


def test_an_enclu_that_a_program_executes_enters() -> None:
    """Not the driver's shortcut: real code outside, which continues behind its ENCLU."""
    thread = Thread(leave(target=0x10000 + 3 * 10 + 3))
    outside = Process(
        PLATFORM, mov(RAX, 2) + mov(RBX, TCS_GVA) + mov(RCX, 0x4444) + ENCLU + SYSCALL
    )
    for gva in (CODE_GVA, DATA_GVA, TCS_GVA, SSA_GVA, SSA_GVA + PAGE):
        outside.map(gva, hpa=thread.hpa(gva), executable=True)
    assert outside.run().kind == "enclu"
    assert not thread.driver.enclu(outside.lp)
    assert outside.registers["rcx"] == 0x10000 + 3 * 10 + 3
    assert outside.run().kind == "enclu"
    assert thread.driver.enclu(outside.lp)
    assert outside.registers["rcx"] == 0x4444
    assert outside.run().kind == "syscall"


@pytest.mark.parametrize("crossing", ["enter", "exit", "interrupt", "resume"])
def test_every_crossing_flushes_the_tlb(crossing: str) -> None:
    thread = Thread(load(RAX, RDI) + leave())
    flushes: list[int] = []

    def crossed(action: Callable[[], object]) -> None:
        thread.lp._fills = 1  # as if something were in it
        action()
        flushes.append(thread.lp._fills)

    crossed(lambda: thread.enter(rdi=DATA_GVA))
    if crossing == "exit":
        assert thread.run().kind == "enclu"
        crossed(lambda: thread.driver.enclu(thread.lp))
    if crossing in ("interrupt", "resume"):
        crossed(lambda: thread.driver.aex(thread.lp, None))
    if crossing == "resume":
        crossed(thread.resume)
    assert not any(flushes)


def test_the_leaf_number_is_in_eax() -> None:
    """The upper half of RAX does not count."""
    code = mov(RDI, 5) + mov(RBX, RETURN_ADDRESS) + mov(RAX, 0xABCD_0000_0004) + ENCLU
    assert launch(PLATFORM, code).enter(0)[0] == 5


def test_a_tcs_whose_secs_is_gone_is_a_fault() -> None:
    """Only possible on a processor without EREMOVE.CHILD."""
    platform = Platform("sgx-tme", without={"EREMOVE.CHILD"}, memory=32 * MIB, epc=4 * MIB)
    thread = Thread(platform=platform)
    thread.driver.eremove(thread.guest.secs_hpa)
    assert isinstance(thread.refused(), Fault)


# Asynchronous exits

XM = OtherFault("#XM", vector=19)
MF = OtherFault("#MF", vector=16)
EVENTS: list[Fault | None] = [
    None,
    *(OtherFault("", vector=vector) for vector in (0, 1, 3, 5, 12, 17)),
    InvalidOpcode(""),
    GeneralProtection(""),
    PageFault("", error_code=0x8007, address=DATA_GVA + 0x123),
    MF,
    XM,
]


def interrupted(event: Fault | None = None, **how: Any) -> Thread:
    """A thread with a value of its own in every register, interrupted."""
    thread = Thread(**how)
    thread.enter(rsp=0x1111, rbp=0x2222)
    values = thread.lp.registers()
    values[:16] = [0x5EC2_E700 + index for index in range(16)]
    values[16:] = [0x202 | 0x8D5 | 0x400 | 0x10000, CODE_GVA + 5, DATA_GVA + 8, DATA_GVA + 16]
    thread.lp.set_registers(values)
    thread.lp.set_fpu(fpu_image(33))
    thread.driver.aex(thread.lp, event)
    return thread


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{getattr(event, 'vector', None)}")
def test_the_host_sees_synthetic_registers(event: Fault | None) -> None:
    thread = interrupted(event)
    expected = dict.fromkeys(REGISTER_NAMES, 0) | {
        "rax": 3,
        "rbx": TCS_GVA,
        "rcx": RETURN_ADDRESS,
        "rip": RETURN_ADDRESS,
        "rsp": 0x1111,
        "rbp": 0x2222,
        "rflags": 0x602,  # CF PF AF ZF SF OF RF are clear, DF is as it was
        "fsbase": 0x7000_1000,
        "gsbase": 0x7000_2000,
    }
    assert thread.registers == expected
    fpu = bytearray(fxsave.INITIAL)
    mxcsr = 0x1F01 if event is XM else 0x1FB0
    struct.pack_into("<HH", fpu, 0, 0x37E if event is MF else 0x37F, 0x8081 if event is MF else 0)
    struct.pack_into("<I", fpu, 24, mxcsr)
    assert thread.lp.fpu() == bytes(fpu)


@pytest.mark.parametrize(
    "code",
    [UD2, b"\x0f\x0b\x5e\xc2\xe7\x00", b"\xf4", b"\x31\xc9\xf7\xf1", INT3, mov(RAX, 99) + ENCLU],
)
def test_the_host_is_told_no_address_and_no_byte_of_the_code_that_faulted(code: bytes) -> None:
    guest = launch(PLATFORM, NOP * 0x123 + code)
    with pytest.raises(EnclaveLost) as lost:
        guest.enter(0)
    for text in (str(lost.value), str(lost.value.fault), repr(lost.value.fault)):
        assert f"{CODE_GVA + 0x123:x}"[:6] not in text
        assert code[:4].hex(" ") not in text


# ERESUME


def test_a_saved_rflags_gives_no_privilege() -> None:
    """The enclave can write its own save area: IOPL, VM, NT and IF are not its to set."""
    thread = interrupted()
    thread.poke(
        SSA_GVA + GPR + GPRSGX.FIELDS["rflags"].offset, (0x3_7000 | 1).to_bytes(8, "little")
    )
    thread.resume()
    flags = thread.registers["rflags"]
    assert flags & 0x3000 == 0, "IOPL"
    assert flags & 0x2_0000 == 0, "VM"
    assert flags & 0x202 == 0x202, "IF and the bit that is always set"
    assert flags & 1


def test_frames_of_several_pages_keep_fpu_and_registers_at_their_ends() -> None:
    thread = Thread(ssaframesize=2, nssa=1)
    thread.lp.set_fpu(fpu_image(3))
    thread.enter()
    thread.driver.aex(thread.lp, None)
    assert thread.page(SSA_GVA)[:512] == fpu_image(3)
    assert GPRSGX.unpack(thread.page(SSA_GVA + PAGE)[GPR:]).rip == CODE_GVA
    for gva in (SSA_GVA, SSA_GVA + PAGE):
        broken = Thread(ssaframesize=2, nssa=1)
        broken.epcm(gva, w=False)
        assert isinstance(broken.refused(), PageFault)


# A program that uses many registers: its result does not depend on interruptions.
MIX = (
    mov(RDI, 0)
    + mov(RCX, 12)
    + mov(RBX, DATA_GVA)
    + b"\x66\x48\x0f\x6e\xc1"  # movq xmm0, rcx
    + b"\x66\x0f\xd4\xc8"  # paddq xmm1, xmm0
    + b"\xd9\xe8\xd9\xeb\xde\xc1\xdd\x1b"  # fld1; fldpi; faddp; fstp qword [rbx]
    + b"\x48\x03\x3b"  # add rdi, [rbx]
    + store(RBX, RDI, 8)
    + b"\x48\x03\x7b\x08"  # add rdi, [rbx+8]
    + add(RDI, 3)
    + b"\x48\xff\xc9\x75\xd5"  # dec rcx; jnz to the movq
    + b"\x66\x48\x0f\x7e\xc8"  # movq rax, xmm1
    + b"\x48\x01\xc7"  # add rdi, rax
)


@pytest.fixture(scope="module")
def undisturbed() -> int:
    return launch(PLATFORM, clear_xmm() + MIX + leave()).enter(0)[0]


def clear_xmm() -> bytes:
    return b"\x66\x0f\xef\xc9"


@pytest.mark.parametrize("every", [1, 2, 3, 5, 7, 50])
def test_interruptions_do_not_change_the_result(undisturbed: int, every: int) -> None:
    guest = launch(PLATFORM, clear_xmm() + MIX + leave())
    exits: list[object] = []

    def look(victim: object, lp: LogicalProcessor, event: Fault | None) -> bool:
        exits.append(event)
        lp.set_fpu(fpu_image(len(exits) % 200))  # the host uses the vector registers, too
        return True

    guest.timer = every
    guest.handlers.append(look)
    assert guest.enter(0)[0] == undisturbed
    assert len(exits) >= 100 // every


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12))
def test_no_schedule_of_interruptions_changes_the_result(
    undisturbed: int, schedule: list[int]
) -> None:
    guest = launch(PLATFORM, clear_xmm() + MIX + leave())
    pending = list(schedule)

    def look(victim: Any, _lp: LogicalProcessor, _event: Fault | None) -> bool:
        victim.timer = pending.pop() if pending else None
        return True

    guest.timer = pending.pop()
    guest.handlers.append(look)
    assert guest.enter(0)[0] == undisturbed
    guest.close()
