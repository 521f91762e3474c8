"""A logical processor: user-mode x86-64 code, with every TLB miss asked of the MMU.

What it adds to the engine: precise stops and faults, instructions that must fault or trap, an
instruction budget, and Ctrl-C.

Source for instruction behaviour: Intel SDM Vol. 2; for what is illegal inside an enclave,
Vol. 3D, "Illegal Instructions".

Simplified: the processor is of the Nehalem generation plus RDRAND, RDTSC and FSGSBASE: no AVX (VEX-
and EVEX-coded instructions raise #UD), and misaligned MOVAPS does not fault; one instruction after
another, no caches of its own; LOCK is atomic because logical processors never run at the same time.
"""

from __future__ import annotations

import struct
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tee_sim.errors import Fault, GeneralProtection, InvalidOpcode, OtherFault, PageFault
from tee_sim.machine import fxsave, paging
from tee_sim.machine.cache import POOL_BASE
from tee_sim.machine.decode import (
    first_byte_touched,
    fsgsbase_target,
    rdrand_target,
    sensitive_in,
)
from tee_sim.machine.emulator import NOWHERE, Emulator
from tee_sim.machine.entropy import Entropy
from tee_sim.machine.mmu import ABORT_BASE, MMU
from tee_sim.machine.paging import FETCH, PFEC_FETCH, is_canonical
from tee_sim.units import PAGE

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)
R8, R9, R10, R11, R12, R13, R14, R15, RFLAGS, RIP, FSBASE, GSBASE = range(8, 20)
REGISTER_NAMES: Final = (
    "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15 rflags rip fsbase gsbase"
).split()
"""Order of a register list everywhere: that of the SGX save area (GPRSGX)."""

FLAGS_INITIAL = 0x202
FLAGS_ARITHMETIC = 0x8D5
"""CF, PF, AF, ZF, SF, OF."""

MAX_INSTRUCTION = 15
"""Bytes of the longest x86 instruction."""

DEFAULT_BUDGET = 2_000_000_000
"""Instructions that one run may take."""

INSTRUCTIONS_PER_SECOND = 700_000_000
"""Nominal speed by which an uncounted run is charged against its budget."""

_GPR = struct.Struct("<20Q")
_TICK = 0.05
_EXCEPTIONS = {0: "#DE", 1: "#DB", 3: "#BP", 4: "#OF", 12: "#SS", 16: "#MF", 17: "#AC", 19: "#XM"}
_NEVER_IN_USER_MODE = frozenset(("IN INSB INSW INSD OUT OUTSB OUTSW OUTSD SYSENTER").split())


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the processor stopped.

    ``kind`` is ``"enclu"`` or ``"syscall"`` (RIP is on the instruction), ``"fault"`` (RIP is on
    the faulting instruction), ``"limit"`` (that many instructions were executed) or ``"budget"``.
    """

    kind: str
    fault: Fault | None = None


_ENCLU, _SYSCALL = Stop("enclu"), Stop("syscall")


class _Watchdog:
    """Makes uncounted runs return to Python 20 times a second, to see signals and the clock."""

    def __init__(self) -> None:
        self._processors: weakref.WeakSet[LogicalProcessor] = weakref.WeakSet()
        self._thread: threading.Thread | None = None

    def watch(self, lp: LogicalProcessor) -> None:
        self._processors.add(lp)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._loop, name="tee-sim-watchdog", daemon=True)
            self._thread.start()

    def _loop(self) -> None:
        while True:
            time.sleep(_TICK)
            for lp in list(self._processors):
                lp.nudge()


_watchdog = _Watchdog()


class LogicalProcessor:
    """One hardware thread.

    Attributes:
        index: its number.
        cr3: physical address of the page tables in use.
        context: the TEE's state for the code that runs here, None outside any TEE.
        decisions: the MMU's remembered decisions for (cr3, context).
        cpuid_intercept: what a hypervisor answers to CPUID: (leaf, subleaf) -> (eax, ebx, ecx,
            edx), or None to let the processor answer.
        budget: instructions that one `run` may take before it stops with ``"budget"``.
    """

    def __init__(self, index: int, mmu: MMU, entropy: Entropy, budget: int) -> None:
        self.index, self.mmu, self.entropy, self.budget = index, mmu, entropy, budget
        self.cr3 = 0
        self.context: Any = None
        self.decisions = mmu.decisions((0, None))
        self.cpuid_intercept: Callable[[int, int], tuple[int, int, int, int] | None] | None = None
        # The registers while the processor stands still: moving them to and from the engine costs
        # microseconds, so it is done once a run.
        self._known: list[int] | None = None
        self._written = False
        self._pending: Stop | None = None
        self._raised: BaseException | None = None
        self._trap: tuple[int, Fault] | None = None
        self._counting = 0
        self._fills, self._flush_after = 0, 512
        memories = (
            (0, mmu.cache.dram.size, mmu.cache.dram.pointer),
            (POOL_BASE, mmu.cache.size, mmu.cache.pointer),
            (ABORT_BASE, 3 * PAGE, mmu.abort_pointer),
        )
        self._emulator = Emulator(memories, ABORT_BASE + 2 * PAGE, self)
        mmu.processors.append(self)
        _watchdog.watch(self)

    # Registers

    def registers(self) -> list[int]:
        """The 20 general registers, in the order of `REGISTER_NAMES`."""
        if self._known is None:
            self._known = self._live()
        return self._known.copy()

    def register(self, number: int) -> int:
        """One of the general registers."""
        return (self._known or self.registers())[number]

    def _live(self) -> list[int]:
        """The registers as the engine has them, inside a hook."""
        return list(_GPR.unpack(self._emulator.registers()))

    def set_registers(self, values: Sequence[int]) -> None:
        """Write the 20 general registers."""
        self._known, self._written = list(values), True

    def fpu(self) -> bytes:
        """The x87 and SSE state as a 512-byte FXSAVE image."""
        return fxsave.to_image(self._emulator.fpu())

    def set_fpu(self, image: bytes) -> None:
        """Load x87 and SSE state from a 512-byte FXSAVE image."""
        self._emulator.set_fpu(fxsave.from_image(image))

    # Translation

    def switch(self, cr3: int, context: Any = None) -> None:
        """Use other page tables and another protection context. Does not flush the TLB."""
        self.cr3, self.context = cr3, context
        self.decisions = self.mmu.decisions((cr3, context))

    def flush_tlb(self) -> None:
        """Forget all translations."""
        if self._fills:
            self._emulator.flush_tlb()
            self._fills = 0

    def flush_code(self) -> None:
        """Forget all translated code."""
        self._emulator.flush_code()

    # Execution

    def run(self, limit: int | None = None) -> Stop:
        """Execute from RIP until something happens.

        Args:
            limit: stop after exactly this many instructions (a REP iteration counts as one);
                None runs uncounted, about ten times as fast, until ``budget``.

        Raises:
            KeyboardInterrupt: Ctrl-C; the registers are those of the interrupted instruction.

        Simplified: an uncounted run is charged by time, at `INSTRUCTIONS_PER_SECOND`.
        """
        self._count_mode(0 if limit is None else min(limit, 2))
        if limit is not None:
            return self._execute(min(limit, self.budget)) or Stop(
                "limit" if limit <= self.budget else "budget"
            )
        remaining = float(self.budget)
        while remaining > 0:
            started = time.thread_time()
            stop = self._execute(0)
            if stop is not None:
                return stop
            remaining -= (time.thread_time() - started) * INSTRUCTIONS_PER_SECOND
        return Stop("budget")

    def nudge(self) -> None:
        """Make an uncounted run return to Python for a moment. Called from another thread."""
        if not self._counting:
            self._emulator.stop()

    def _execute(self, count: int) -> Stop | None:
        self._pending = self._raised = self._trap = None
        registers = self._known or self.registers()
        rip, self._known = registers[RIP], None
        if self._written:
            self._emulator.set_registers(_GPR.pack(*registers))
            self._written = False
        status = self._emulator.start(rip, count)
        if self._trap is not None and self._raised is None:
            self._step_to_trap(*self._trap)
        if self._raised is not None:
            self._emulator.clear_exception()
            raise self._raised
        stop = self._pending
        if stop is not None and stop.kind == "fault":
            self._emulator.clear_exception()
            self._locate(stop.fault)
        elif stop is None and not status and self.register(RIP) == NOWHERE:
            return Stop("fault", paging.fault(NOWHERE, FETCH, 0, "no page is mapped there"))
        elif stop is None and status:
            # Every refusal is recorded by a hook; one that is not was cut short by a signal.
            self._emulator.clear_exception()
            raise KeyboardInterrupt
        return stop

    def _locate(self, fault: Fault | None) -> None:
        """Make the address of a data page fault exact: the engine reports its page alone."""
        if not isinstance(fault, PageFault) or fault.error_code & PFEC_FETCH:
            return
        values = dict(zip(REGISTER_NAMES, self.registers(), strict=True))
        code = self.mmu.peek(self, values["rip"], MAX_INSTRUCTION)
        fault.address = first_byte_touched(code, fault.address & -PAGE, values.__getitem__)

    def _count_mode(self, mode: int) -> None:
        """Counting acts on code translated afterwards only, so a change drops the code cache."""
        if mode != self._counting:
            if not mode:
                self._emulator.stop_counting()
            self._counting = mode
            self.flush_code()

    def _step_to_trap(self, address: int, fault: Fault) -> None:
        """Run the straight-line code before a refused instruction, and fault on it."""
        self.flush_code()
        while not self._pending and not self._raised and (rip := self._live()[RIP]) != address:
            self._emulator.start(rip, 1)
        if not self._counting:
            self._emulator.stop_counting()
        self.flush_code()
        self._pending = self._pending or Stop("fault", fault)

    # What the engine calls (`emulator.Hooks`)

    def on_fill(self, gva: int, access: int) -> tuple[int, int] | None:
        """Ask the MMU; a refusal becomes the stop."""
        try:
            if self._fills > self._flush_after:
                # The engine's TLB grows only at a flush.
                self._flush_after = min(self._flush_after * 2, 1 << 16)
                self.flush_tlb()
            answer = self.mmu.fill(self, gva, access)
            # Counted last: answering may have flushed, and this entry comes after that.
            self._fills += 1
            return answer
        except Fault as fault:
            self._pending = Stop("fault", fault)
        except BaseException as error:
            self._raised = error
        return None

    def on_block(self, gva: int, size: int) -> None:
        """Look for instructions that may not run here, before they do."""
        try:
            for offset, mnemonic in sensitive_in(self.mmu.peek(self, gva, size)):
                fault = self._refusal(mnemonic, gva + offset)
                if fault is not None:
                    self._trap = gva + offset, fault
                    break
            else:
                return
        except BaseException as error:
            self._raised = error
        self._emulator.stop()

    def on_invalid(self) -> None:
        """ENCLU stops; RDRAND is emulated; everything else is #UD."""
        try:
            values = self._live()
            rip = values[RIP]
            code = self.mmu.peek(self, rip, MAX_INSTRUCTION)
            if code.startswith(b"\x0f\x01\xd7"):
                self._pending, self._known = _ENCLU, values
            elif self._rdrand(code) or self._fsgsbase(code):
                return
            else:
                self._pending = Stop(
                    "fault", InvalidOpcode(f"illegal instruction {code[:4].hex(' ')} at {rip:#x}")
                )
        except BaseException as error:
            self._raised = error
        self._emulator.stop()

    def on_interrupt(self, vector: int) -> None:
        """An exception or a software interrupt becomes the stop."""
        try:
            rip = self._live()[RIP]
            if self.mmu.peek(self, rip - 2, 2) == bytes((0xCD, vector)):
                rip -= 2
                fault = self._refusal("INT n", rip) or GeneralProtection(f"INT {vector:#x}")
            elif vector == 3:
                rip -= 1
                fault = self._refusal("INT3", rip) or OtherFault("INT3", vector=3)
            elif vector == 13:
                fault = GeneralProtection(f"privileged or illegal operation at {rip:#x}")
            else:
                name = _EXCEPTIONS.get(vector, f"vector {vector}")
                fault = OtherFault(f"{name} at {rip:#x}", vector=vector)
            self._emulator.set_register(RIP, rip)
            self._pending = Stop("fault", fault)
        except BaseException as error:
            self._raised = error
        self._emulator.stop()

    def on_cpuid(self) -> bool:
        """A hypervisor that intercepts CPUID answers it."""
        values = self._live()
        answer = self.cpuid_intercept and self.cpuid_intercept(values[RAX], values[RCX])
        if not answer:
            return False
        for register, value in zip((RAX, RBX, RCX, RDX), answer, strict=True):
            self._emulator.set_register(register, value)
        return True

    def on_syscall(self) -> None:
        """SYSCALL stops."""
        self._pending = _SYSCALL
        self._emulator.stop()

    def _refusal(self, mnemonic: str, rip: int) -> Fault | None:
        """Why this instruction may not run here, or None."""
        if mnemonic == "AVX":
            return InvalidOpcode(f"AVX code at {rip:#x}: this processor has SSE only")
        try:
            self.mmu.guard.instruction(self, mnemonic)
        except Fault as fault:
            return fault
        if mnemonic in _NEVER_IN_USER_MODE:
            return GeneralProtection(f"{mnemonic} at {rip:#x} in user mode")
        return None

    def _rdrand(self, code: bytes) -> bool:
        """RDRAND and RDSEED draw on the machine's entropy, so that runs can be reproduced."""
        target = rdrand_target(code)
        if target is None:
            return False
        register, size, length = target
        values = self._live()
        kept = 0 if size >= 4 else values[register] >> 16 << 16
        values[register] = kept | int.from_bytes(self.entropy.take(size, "RDRAND"), "little")
        values[RFLAGS] = values[RFLAGS] & ~FLAGS_ARITHMETIC | 1
        values[RIP] += length
        self._emulator.set_registers(_GPR.pack(*values))
        return True

    def _fsgsbase(self, code: bytes) -> bool:
        """RDFSBASE and its relatives, which user code and enclaves may use."""
        target = fsgsbase_target(code)
        if target is None:
            return False
        operation, register, size, length = target
        # Hardware numbers RAX RCX RDX RBX RSP RBP RSI RDI R8-R15: the order of our lists.
        values, base = self._live(), FSBASE + (operation & 1)
        source, sink = (register, base) if operation & 2 else (base, register)
        values[sink] = values[source] & (1 << 8 * size) - 1
        if operation & 2 and not is_canonical(values[sink]):
            self._pending = Stop("fault", GeneralProtection("WRFSBASE: no canonical address"))
            self._emulator.stop()
            return True
        values[RIP] += length
        self._emulator.set_registers(_GPR.pack(*values))
        return True
