"""A logical processor: user mode, exact stops, budgets, Ctrl-C, reproducible RDRAND."""

import signal
import struct
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assembly import (
    CPUID,
    INT3,
    NOP,
    ONES,
    RDRAND_RAX,
    REP_MOVSB,
    REP_STOSB,
    SPIN,
    SYSCALL,
    UD2,
    Process,
    add,
    jump_to,
    load,
    mov,
    store,
    store_byte,
)
from tee_sim.errors import Fault, GeneralProtection, InvalidOpcode, OtherFault, PageFault
from tee_sim.machine import fxsave
from tee_sim.machine.cpu import Stop
from tee_sim.machine.registers import R15, RAX, RBX, RCX, RDI, RDX, RSI
from tee_sim.platform import Platform
from tee_sim.units import PAGE

PLATFORM = Platform("none")
AT = 0x10000
HEAP = 0x20000
XGETBV_FREE = {  # the encodings of what user mode may not execute
    "HLT": "f4",
    "CLI": "fa",
    "STI": "fb",
    "CLTS": "0f06",
    "INVD": "0f08",
    "WBINVD": "0f09",
    "RDMSR": "0f32",
    "WRMSR": "0f30",
    "RDPMC": "0f33",
    "MOV CR3": "0f22d8",
    "MOV from CR3": "0f20d8",
    "MOV DR7": "0f23f8",
    "LGDT": "0f0110",
    "LIDT": "0f0118",
    "LLDT": "0f00d0",
    "LTR": "0f00d8",
    "LMSW": "0f01f0",
    "INVLPG": "0f0138",
    "SWAPGS": "0f01f8",
    "SYSRET": "480f07",
    "SYSEXIT": "0f35",
    "IN": "ec",
    "IN imm": "e480",
    "OUT": "ee",
    "OUT imm": "e680",
    "INSB": "6c",
    "REP INSB": "f36c",
    "OUTSB": "6e",
    "REP OUTSB": "f36e",
    "SYSENTER": "0f34",
    "INT 0x80": "cd80",
    "INT 0": "cd00",
    "INT 3": "cd03",
    "INT 14": "cd0e",
}
UNKNOWN = {  # what this processor does not have
    "UD2": "0f0b",
    "ENCLS": "0f01cf",
    "ENCLU with 66": "660f01d7",
    "ENCLU with F2": "f20f01d7",
    "ENCLU with F3": "f30f01d7",
    "VMCALL": "0f01c1",
    "VMMCALL": "0f01d9",
    "TDCALL": "660f01cc",
    "SEAMCALL": "660f01cf",
    "PVALIDATE": "f20f01ff",
    "VZEROUPPER": "c5f877",
    "VPXOR xmm0": "c5f9efc0",
    "VPXOR ymm0": "c5fdefc0",
    "VPXOR, three bytes": "c4e179efc0",
    "VPXORD zmm0": "62f17d48efc0",
    "VPXOR after a segment prefix": "65c5f9efc0",
    "RDPID": "f30fc7f8",
    "FFFF": "ffff",
}


def run(code: bytes, limit: int | None = None, **registers: int) -> tuple[Process, Stop]:
    process = Process(PLATFORM, code)
    process.start(**registers)
    return process, process.run(limit)


def fault_of(code: bytes, **registers: int) -> tuple[Fault, int]:
    """What the code raises, and where RIP is then, from the start of the code."""
    process, stop = run(code, **registers)
    assert stop.kind == "fault", stop
    assert stop.fault is not None
    return stop.fault, process.registers["rip"] - AT


# Privilege


@pytest.mark.parametrize("encoding", XGETBV_FREE.values(), ids=XGETBV_FREE)
def test_a_privileged_instruction_is_gp_in_user_mode(encoding: str) -> None:
    code = bytes.fromhex(encoding)
    fault, rip = fault_of(NOP + NOP + code + SYSCALL, rax=HEAP)
    assert isinstance(fault, GeneralProtection)
    assert rip == 2


@pytest.mark.parametrize("encoding", UNKNOWN.values(), ids=UNKNOWN)
def test_an_instruction_that_this_processor_lacks_is_ud(encoding: str) -> None:
    code = bytes.fromhex(encoding)
    fault, rip = fault_of(mov(RCX, 7) + NOP + code + SYSCALL)
    assert isinstance(fault, InvalidOpcode)
    assert rip == len(mov(RCX, 7)) + 1


def test_user_mode_may_ask_cpuid_the_time_and_its_selectors() -> None:
    for allowed in ("0fa2", "0f31", "8cd8", "0f01e0", "0f00c8", "8ed8"):
        _process, stop = run(bytes.fromhex(allowed) + SYSCALL)
        assert stop.kind == "syscall", allowed


def test_a_hypervisor_answers_cpuid_only_where_it_wants_to() -> None:
    process = Process(PLATFORM, CPUID + SYSCALL)
    process.lp.cpuid_intercept = lambda leaf, sub: (leaf, sub, 3, 4) if leaf == 77 else None
    try:
        process.start(rax=77, rcx=9)
        assert process.run().kind == "syscall"
        after = process.registers
        assert [after[name] for name in ("rax", "rbx", "rcx", "rdx")] == [77, 9, 3, 4]
        process.start(rax=0)
        process.run()
        assert process.registers["rbx"] == int.from_bytes(b"Genu", "little")
    finally:
        process.lp.cpuid_intercept = None


def test_int3_is_a_breakpoint_on_the_instruction() -> None:
    fault, rip = fault_of(NOP + INT3)
    assert (fault.vector, rip) == (3, 1)


def test_bytes_before_a_divide_error_do_not_make_it_an_int_instruction() -> None:
    """``mov eax, imm32`` that ends in CD 00, then a division by zero."""
    code = b"\xb8\x00\x00\xcd\x00" + b"\x31\xd2\x31\xc9"
    trap = b"\xb8\x00\x00\xcd\x00\xf7\xf1"  # mov eax, ...CD00; div ecx
    fault, rip = fault_of(code + trap)
    assert (fault.vector, rip) == (0, len(code) + 5)


def test_bytes_before_a_gp_do_not_make_it_an_int_instruction() -> None:
    fault, rip = fault_of(b"\xb8\x00\x00\xcd\x0d\xf4")  # mov eax, 0x0dcd0000; hlt
    assert isinstance(fault, GeneralProtection)
    assert rip == 5


def test_the_divide_error_is_precise() -> None:
    code = mov(RAX, 1) + mov(RCX, 0) + mov(RDX, 0)
    fault, rip = fault_of(code + b"\x48\xf7\xf1" + SYSCALL)
    assert isinstance(fault, OtherFault)
    assert (fault.vector, rip) == (0, len(code))


def test_the_trap_flag_traps_after_one_instruction() -> None:
    fault, rip = fault_of(NOP + NOP + SYSCALL, rflags=0x302)
    assert (fault.vector, rip) == (1, 1)


# Exactness


@pytest.mark.parametrize("instructions", range(6))
@pytest.mark.parametrize(
    "last",
    [UD2, b"\xf4", b"\x0f\x01\xd7", SYSCALL, CPUID + UD2, b"\xc5\xf8\x77", b"\xcd\x80", INT3],
)
def test_a_stop_in_the_middle_of_a_block_has_the_exact_rip(instructions: int, last: bytes) -> None:
    process, _stop = run(add(RCX, 1) * instructions + last + NOP * 8)
    assert process.registers["rcx"] == instructions or last.startswith(CPUID)
    at = AT + 7 * instructions + (2 if last[:2] in (CPUID, SYSCALL) else 0)
    assert process.registers["rip"] == at


PIECES = {
    "add": add(RCX, 1),
    "jump": b"\xeb\x00",
    "branch": b"\x31\xc0\x74\x00",
    "rdrand": RDRAND_RAX,
    "cpuid": CPUID + mov(RBX, HEAP),
    "call": b"\xe8\x00\x00\x00\x00\x58",
    "rep": mov(RDI, HEAP) + mov(RCX, 3) + REP_STOSB,
    "store": store_byte(RBX, 1),
}
REFUSED = [b"\xc5\xf8\x77", b"\xc5\xf9\xef\xc0", b"\xcd\x80", b"\xec", b"\xf3\x6c"]


@given(
    st.lists(st.sampled_from(sorted(PIECES)), max_size=8),
    st.sampled_from(REFUSED),
    st.integers(0, 5),
    st.lists(st.tuples(st.sampled_from([None, 1, 2, 5]), st.booleans(), st.booleans()), max_size=6),
)
def test_a_refused_instruction_is_never_executed(
    names: list[str], refused: bytes, border: int, runs: list[tuple[int | None, bool, bool]]
) -> None:
    """Whatever ran before it, counted or not, at a page's end or not, and again and again."""
    before = b"".join(PIECES[name] for name in names)
    start = PAGE - len(before) - border if border < 5 else 0
    process = Process(PLATFORM, NOP * start + before + refused + SYSCALL)
    process.map(HEAP)
    process.map(HEAP + PAGE)
    for limit, flush_code, flush_tlb in [*runs, (None, False, False), (None, False, False)]:
        process.start(rip=AT + start, rbx=HEAP, rsp=HEAP + PAGE + 0x800)
        while (stop := process.run(limit)).kind == "limit":
            if flush_code:
                process.lp.flush_code()
            if flush_tlb:
                process.lp.flush_tlb()
        assert stop.kind == "fault"
        assert process.registers["rip"] == AT + start + len(before)
    process.space.free()


def test_a_page_fault_is_precise_and_can_be_resumed() -> None:
    code = add(RCX, 1) + load(RAX, RBX, 0x10) + add(RCX, 1) + SYSCALL
    process = Process(PLATFORM, code)
    process.start(rbx=HEAP)
    stop = process.run()
    assert isinstance(stop.fault, PageFault)
    assert (stop.fault.error_code, stop.fault.address) == (4, HEAP + 0x10)
    assert process.registers["rip"] == AT + 7
    process.map(HEAP, bytes(0x10) + b"8 bytes.")
    assert process.run().kind == "syscall"
    assert process.registers["rax"].to_bytes(8, "little") == b"8 bytes."
    assert process.registers["rcx"] == 2


def test_a_block_that_runs_off_its_page_executes_up_to_the_last_instruction() -> None:
    """The processor must not fetch ahead: what stands before the page's end comes first."""
    code = add(RCX, 1) * 3
    process = Process(PLATFORM, b"".ljust(PAGE - len(code), b"\x90") + code)
    process.start(rip=AT + PAGE - len(code))
    stop = process.run()
    assert isinstance(stop.fault, PageFault)
    assert stop.fault.address == AT + PAGE
    assert stop.fault.error_code == 0x14
    assert process.registers["rcx"] == 3
    assert process.registers["rip"] == AT + PAGE


def test_data_faults_come_before_the_fetch_of_the_next_page() -> None:
    """The order of faults is what a controlled channel observes."""
    code = load(RAX, RBX)
    process = Process(PLATFORM, b"".ljust(PAGE - len(code), b"\x90") + code)
    process.start(rip=AT + PAGE - len(code), rbx=HEAP)
    stop = process.run()
    assert isinstance(stop.fault, PageFault)
    assert stop.fault.address == HEAP


def test_an_instruction_across_two_pages_faults_on_the_second() -> None:
    instruction = add(RCX, 1)
    process = Process(PLATFORM, b"".ljust(PAGE - 3, b"\x90") + instruction[:3])
    process.start(rip=AT + PAGE - 3)
    stop = process.run()
    assert isinstance(stop.fault, PageFault)
    assert (stop.fault.address, process.registers["rip"]) == (AT + PAGE, AT + PAGE - 3)
    process.map(AT + PAGE, instruction[3:] + SYSCALL, executable=True)
    assert process.run().kind == "syscall"
    assert process.registers["rcx"] == 1


def test_a_null_call_is_a_fetch_fault_at_zero() -> None:
    fault, rip = fault_of(jump_to(0))
    assert isinstance(fault, PageFault)
    assert (fault.error_code, fault.address, rip) == (0x14, 0, -AT)


def test_a_jump_to_nowhere_is_a_fetch_fault_at_the_target() -> None:
    fault, _rip = fault_of(jump_to(0x7000_0000))
    assert isinstance(fault, PageFault)
    assert (fault.error_code, fault.address) == (0x14, 0x7000_0000)


@pytest.mark.parametrize("gva", [0xFFFF_FFFF_FFFF_F000, 0xFFFF_FFFF_FFFF_F7F8, ONES - 7])
@pytest.mark.parametrize("how", ["read", "write", "jump"])
def test_the_top_of_the_address_space_is_not_the_guests(gva: int, how: str) -> None:
    code = {
        "read": load(RAX, RBX) + SYSCALL,
        "write": store(RBX, RAX) + SYSCALL,
        "jump": jump_to(gva),
    }[how]
    _process, stop = run(code, 1000, rbx=gva)
    assert isinstance(stop.fault, PageFault), stop
    assert stop.fault.address & -PAGE == gva & -PAGE


@pytest.mark.parametrize("gva", [1 << 47, 0xFFFF_7FFF_FFFF_FFF0, 1 << 63, (1 << 48) + AT])
@pytest.mark.parametrize("how", ["read", "write", "jump"])
def test_an_address_that_is_not_canonical_is_gp(gva: int, how: str) -> None:
    code = {
        "read": load(RAX, RBX) + SYSCALL,
        "write": store(RBX, RAX) + SYSCALL,
        "jump": jump_to(gva),
    }[how]
    _process, stop = run(code, 1000, rbx=gva)
    assert isinstance(stop.fault, GeneralProtection), stop


# Limits


@given(st.lists(st.sampled_from(["add", "rdrand", "rep", "jump", "cpuid"]), min_size=1, max_size=8))
def test_a_limit_is_exact(kinds: list[str]) -> None:
    """Each piece counts its instructions in R15, last."""
    pieces = {
        "add": (add(R15, 1), 1),
        "rdrand": (RDRAND_RAX + add(R15, 2), 2),
        # An iteration of a REP counts as an instruction, and its end as one more.
        "rep": (mov(RCX, 3) + mov(RDI, HEAP) + REP_STOSB + add(R15, 7), 7),
        "jump": (b"\xeb\x00" + add(R15, 2), 2),
        "cpuid": (CPUID + add(R15, 2), 2),
    }
    code, ends = b"", [0]
    for kind in kinds:
        code += pieces[kind][0]
        ends.append(ends[-1] + pieces[kind][1])
    process = Process(PLATFORM, code + SYSCALL)
    process.map(HEAP)
    for limit in range(1, ends[-1] + 1):
        process.start()
        assert process.run(limit).kind == "limit"
        done = max(end for end in ends if end <= limit)
        assert process.registers["r15"] == done, limit
    assert process.run(1).kind == "syscall"


def test_single_steps_end_where_an_uncounted_run_ends() -> None:
    code = mov(RCX, 5) + mov(RDI, HEAP) + mov(RSI, HEAP + 64) + REP_MOVSB + RDRAND_RAX + SYSCALL
    process = Process(PLATFORM, code)
    process.map(HEAP, bytes(64) + b"abcde")
    steps = 0
    while (stop := process.run(1)).kind == "limit":
        steps += 1
    assert stop.kind == "syscall"
    assert 3 + 5 + 1 <= steps <= 3 + 6 + 1
    assert process.machine.read(process.space.translate(HEAP) or 0, 5) == b"abcde"


@pytest.mark.parametrize("limit", range(1, 5))
def test_a_limit_before_a_refused_instruction_is_exact(limit: int) -> None:
    process, stop = run(add(RCX, 1) * 4 + b"\xc5\xf8\x77" + SYSCALL, limit)
    assert stop.kind == "limit"
    assert process.registers["rcx"] == limit
    stop = process.run(10)
    assert isinstance(stop.fault, InvalidOpcode)
    assert process.registers["rcx"] == 4


def test_a_limit_of_zero_executes_nothing() -> None:
    process, stop = run(add(RCX, 1) + SPIN, 0)
    assert stop.kind == "limit"
    assert (process.registers["rcx"], process.registers["rip"]) == (0, AT)


def test_a_budget_ends_an_endless_loop() -> None:
    platform = Platform("none", budget=50_000_000)
    process = Process(platform, SPIN)
    started = time.perf_counter()
    assert process.run().kind == "budget"
    assert time.perf_counter() - started < 30
    assert process.run(10**9).kind == "budget"
    assert process.run(10).kind == "limit"


# Registers


def test_every_register_can_be_written_and_read_back() -> None:
    process = Process(PLATFORM, NOP)
    values = [0x1111_1111_1111_1111 * (index % 15 + 1) for index in range(16)]
    process.lp.set_registers([*values, 0x246, AT, 0x7000_1000, 0x7000_2000])
    assert process.lp.registers() == [*values, 0x246, AT, 0x7000_1000, 0x7000_2000]


def test_a_fault_leaves_every_register_as_it_was() -> None:
    process = Process(PLATFORM, UD2)
    values = [0x0101_0101_0101_0101 * (index + 1) for index in range(16)]
    before = [*values, 0x202, AT, 0x7000_1000, 0x7000_2000]
    fpu = fxsave_image(bytes(range(256)), mxcsr=0x1F80 | 0x6000)
    process.lp.set_registers(before)
    process.lp.set_fpu(fpu)
    for _again in range(3):
        assert isinstance(process.run().fault, InvalidOpcode)
        assert process.lp.registers() == before
        assert process.lp.fpu() == fpu


def fxsave_image(xmm: bytes, *, mxcsr: int = 0x1F80, fcw: int = 0x37F) -> bytes:
    image = bytearray(fxsave.INITIAL)
    struct.pack_into("<H", image, 0, fcw)
    struct.pack_into("<I", image, 24, mxcsr)
    image[160:416] = xmm
    return bytes(image)


@given(st.binary(min_size=256, max_size=256), st.sampled_from([0x1F80, 0x1FB0, 0x7F80, 0xFFC0]))
def test_sse_state_goes_in_and_comes_out(xmm: bytes, mxcsr: int) -> None:
    process = Process(PLATFORM, NOP)
    image = fxsave_image(xmm, mxcsr=mxcsr, fcw=0x27F)
    process.lp.set_fpu(image)
    assert process.lp.fpu() == image


@pytest.mark.parametrize("pushes", range(9))
def test_our_fxsave_image_is_what_the_instruction_stores(pushes: int) -> None:
    """Also when the x87 stack's top is not register 0: ST(i) are stored, not R(i)."""
    constants = [b"\xd9\xe8", b"\xd9\xeb", b"\xd9\xee", b"\xd9\xe9"]  # 1, pi, 0, log2(10)
    code = b"".join(constants[n % 4] for n in range(pushes)) + b"\x48\x0f\xae\x03" + SYSCALL
    process = Process(PLATFORM, code)
    process.map(HEAP)
    process.start(rbx=HEAP)
    process.lp.set_fpu(fxsave_image(bytes(range(256))))
    assert process.run().kind == "syscall"
    stored = process.machine.read(process.space.translate(HEAP) or 0, 512)
    ours = process.lp.fpu()
    assert ours[:5] == stored[:5]
    assert ours[24:28] == stored[24:28]
    assert ours[32:416] == stored[32:416]


def test_x87_values_survive_a_round_trip() -> None:
    code = b"\xd9\xe8\xd9\xeb" + NOP + b"\xde\xc1\xdd\x1b" + SYSCALL  # 1, pi, +, store
    process = Process(PLATFORM, code)
    process.map(HEAP)
    process.start(rbx=HEAP)
    assert process.run(3).kind == "limit"
    saved = process.lp.fpu()
    process.lp.set_fpu(fxsave.INITIAL)
    process.lp.set_fpu(saved)
    assert process.lp.fpu() == saved
    process.run()
    stored = process.machine.read(process.space.translate(HEAP) or 0, 8)
    assert struct.unpack("<d", stored)[0] == pytest.approx(4.14159265)


# RDRAND


def test_rdrand_is_the_same_in_two_runs_with_one_seed() -> None:
    def draws(seed: int | None) -> list[int]:
        process = Process(Platform("none", seed=seed), (RDRAND_RAX + SYSCALL) * 4)
        found = []
        for _draw in range(4):
            process.run()
            found.append(process.registers["rax"])
        return found

    assert draws(1) == draws(1)
    assert len(set(draws(1) + draws(2) + draws(None) + draws(None))) == 16


@pytest.mark.parametrize(
    ("encoding", "register", "mask"),
    [
        ("480fc7f0", "rax", ONES),
        ("490fc7f7", "r15", ONES),
        ("0fc7f1", "rcx", 0xFFFF_FFFF),
        ("660fc7f2", "rdx", 0xFFFF),
        ("480fc7fb", "rbx", ONES),
    ],
)
def test_rdrand_fills_its_operand_and_sets_carry(encoding: str, register: str, mask: int) -> None:
    process = Process(PLATFORM, bytes.fromhex(encoding) + SYSCALL)
    process.start(**{register: ONES}, rflags=0x202 | 0x8D4)
    assert process.run().kind == "syscall"
    after = process.registers
    if mask == 0xFFFF:
        assert after[register] >> 16 == ONES >> 16
    else:
        assert after[register] <= mask
    assert after[register] & mask != mask
    assert after["rflags"] & 0x8D5 == 1


# Ctrl-C


@pytest.fixture
def interrupt_soon() -> Callable[[float], None]:
    def later(seconds: float) -> None:
        threading.Timer(seconds, lambda: signal.raise_signal(signal.SIGINT)).start()

    return later


@pytest.mark.parametrize("limit", [None, 2**40])
def test_ctrl_c_reaches_an_endless_loop(
    interrupt_soon: Callable[[float], None], limit: int | None
) -> None:
    endless = Platform("none", budget=10**13)
    process = Process(endless, SPIN if limit is None else add(RCX, 1) * 8 + b"\xeb\xc6")
    interrupt_soon(0.1)
    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        process.run(limit)
    assert time.perf_counter() - started < 30
    assert process.run(100).kind == "limit"
    other = Process(PLATFORM, add(RCX, 3) + SYSCALL)
    assert other.run().kind == "syscall"
    assert other.registers["rcx"] == 3


def test_ctrl_c_in_a_hook_is_not_lost() -> None:
    """The signal arrives while Python answers a TLB miss."""
    platform = Platform("none")
    process = Process(platform, load(RAX, RBX) + add(RCX, 1) + SYSCALL)
    process.map(HEAP)
    process.start(rbx=HEAP)
    fill, calls = process.machine.mmu.fill, []

    def interrupted(*arguments: object) -> tuple[int, int]:
        calls.append(arguments)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return fill(*arguments)  # type: ignore[arg-type]

    process.machine.mmu.fill = interrupted  # type: ignore[method-assign,assignment]
    with pytest.raises(KeyboardInterrupt):
        process.run()
    assert process.registers["rcx"] == 0
    assert process.run().kind == "syscall"
    assert process.registers["rcx"] == 1


def test_a_bug_in_a_guard_is_not_taken_for_a_fault() -> None:
    platform = Platform("none")
    process = Process(platform, store_byte(RBX, 1) + SYSCALL)
    process.map(HEAP)
    process.start(rbx=HEAP)

    def broken(*_arguments: object) -> int:
        raise ZeroDivisionError("a bug")

    process.machine.mmu.guard.authorize, good = broken, process.machine.mmu.guard.authorize  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError, match="a bug"):
        process.run()
    process.machine.mmu.guard.authorize = good  # type: ignore[method-assign]
    assert process.run().kind == "syscall"


@pytest.mark.parametrize("increment", ["48ff03", "f048ff03"], ids=["inc", "lock inc"])
def test_a_long_run_executes_each_instruction_once(increment: str) -> None:
    """The engine must not be stopped and resumed in the middle of a read-modify-write."""
    body = bytes.fromhex(increment) + b"\x48\xff\xc9"
    process = Process(PLATFORM, body + b"\x75" + bytes((256 - len(body) - 2,)) + SYSCALL)
    hpa = process.map(HEAP)
    process.start(rbx=HEAP, rcx=30_000_000)
    assert process.run().kind == "syscall"
    assert int.from_bytes(process.machine.read(hpa, 8), "little") == 30_000_000


def test_the_watchdog_survives_many_processors() -> None:
    """It walks the running processors while others start and end."""
    process = Process(PLATFORM, SYSCALL)
    until = time.perf_counter() + 0.3
    while time.perf_counter() < until:
        process.start()
        assert process.run().kind == "syscall"
    loop = Process(Platform("none", budget=100_000_000), SPIN)
    assert loop.run().kind == "budget"
