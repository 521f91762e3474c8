"""A logical processor: user-mode x86-64 code, with every TLB miss asked of the MMU.

What it adds to the engine: precise stops and faults, instructions that must fault or trap, an
instruction budget, and Ctrl-C.

Source for instruction behaviour: Intel SDM Vol. 2; for what is illegal inside an enclave,
Vol. 3D, "Illegal Instructions".

Simplified: the processor is of the Nehalem generation plus RDRAND, RDTSC and FSGSBASE: no AVX (VEX-
and EVEX-coded instructions raise #UD), no RDTSCP, and CPUID tells nothing of SGX; RDTSC reads the
real computer's counter, so it alone differs from run to run; misaligned MOVAPS and RFLAGS.AC do not
fault, a non-canonical stack is #GP instead of #SS, and an ENCLU behind a prefix that hardware would
ignore is #UD; one instruction after another, no caches of its own; LOCK is atomic because logical
processors never run at the same time.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from tee_sim.errors import Fault, InvalidOpcode, PageFault, UsageError
from tee_sim.machine import fxsave, paging
from tee_sim.machine.cache import POOL_BASE
from tee_sim.machine.decode import MAX_INSTRUCTION, ends_in, first_byte_touched, sensitive_in
from tee_sim.machine.emulated import emulate
from tee_sim.machine.emulator import Emulator
from tee_sim.machine.entropy import Entropy
from tee_sim.machine.exceptions import exception, refusal
from tee_sim.machine.mmu import ABORT_BASE, MMU
from tee_sim.machine.paging import FETCH, PFEC_FETCH
from tee_sim.machine.registers import RAX, RBX, RCX, RDX, REGISTER_NAMES, RIP
from tee_sim.machine.watchdog import INSTRUCTIONS_PER_SECOND, Watchdog, cpu_time_of
from tee_sim.units import PAGE

DEFAULT_BUDGET = 2_000_000_000
"""Instructions that one run may take."""

_GPR = struct.Struct("<20Q")


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the processor stopped.

    ``kind`` is ``"enclu"`` (RIP is on it), ``"syscall"`` (RIP is behind it), ``"fault"`` (RIP is on
    the faulting instruction), ``"limit"`` (that many instructions were executed) or ``"budget"``.
    """

    kind: str
    fault: Fault | None = None


_ENCLU, _SYSCALL = Stop("enclu"), Stop("syscall")
_watchdog = Watchdog()


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
        occupied: a program is on it and was not interrupted; set by whoever runs one.
        interrupted: how many programs are, one within the other.
        fetched: where the code lies that the TLB has translations for, by number of its page.
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
        self._fetch: int | None = None
        self._running = self._stepping = self._stale = False
        self._counting, self._cut = 0, ""
        self._deadline: float | None = None
        self._seconds: float | None = None
        self._thread, self._unneeded = 0, -1
        self.fetched: dict[int, int] = {}
        self._fills, self._flush_after = 0, 512
        self.occupied, self.interrupted = False, 0
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

    @property
    def engine_is_gone(self) -> bool:
        """Whether Python, on its way out, has closed the engine already."""
        return self._emulator.closed

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
        if cr3 != self.cr3 or context is not self.context:
            self.cr3, self.context = cr3, context
            self.decisions = self.mmu.decisions((cr3, context))

    def flush_tlb(self) -> None:
        """Forget all translations."""
        if self._fills:
            self._emulator.flush_tlb()
            self._fills = 0
            self.fetched.clear()

    def flush_code(self) -> None:
        """Forget all translated code: at once, or as soon as the block that is running is left.

        The engine needs what it knows about a running block to say where in it a fault happened;
        not so for the first instruction of one (`_step`).
        """
        if self._running and not self._stepping:
            self._stale = True
        else:
            self._emulator.flush_code()

    # Execution

    def run(self, limit: int | None = None) -> Stop:
        """Execute from RIP until something happens.

        Args:
            limit: stop after exactly this many instructions (each iteration of a REP counts as
                one, and its end as one more); None runs uncounted, about ten times as fast,
                until ``budget``.

        Raises:
            KeyboardInterrupt: Ctrl-C. The run cannot be resumed: it may have been stopped in the
                middle of an instruction. Nor can it after ``"budget"`` without a limit.

        Simplified: an uncounted run is charged by processor time, at `INSTRUCTIONS_PER_SECOND`. A
        counted run ends before its limit at code that changes while it is running, and at a block
        with a refused instruction in it that is not the first.
        """
        if limit is not None and limit < 1:
            if limit < 0:
                raise UsageError(f"a run of {limit} instructions")
            return Stop("limit")
        count = 0 if limit is None else min(limit, self.budget)
        _watchdog.listen()
        self._count_mode(min(count, 2))
        self._thread, self._cut, self._deadline = threading.get_ident(), "", None
        self._seconds = inf if count else self.budget / INSTRUCTIONS_PER_SECOND
        try:
            stop = self._execute(count)
        finally:
            self._seconds = None
        return stop or Stop("limit" if limit is not None and limit <= self.budget else "budget")

    def overdue(self, interrupted: bool) -> None:
        """Give up the run in progress, if there is one. The watchdog's thread calls this."""
        seconds = self._seconds
        if seconds is None:
            return
        now = cpu_time_of(self._thread)
        if self._deadline is None:
            self._deadline = now + seconds
        if interrupted or now > self._deadline:
            self._cut = "interrupt" if interrupted else "budget"
            self._emulator.stop()

    def _execute(self, count: int) -> Stop | None:
        entry = self.register(RIP)
        while True:
            self._burst(count)
            if self._pending is None and self._stale:
                # The instruction at RIP was refused, to get out of a block that is stale now.
                self._step()
            elif self._trap is not None or self._is_ahead():
                if count and self.register(RIP) != entry:
                    return None
                self._approach(count)
            if self._pending is not None:
                self._locate(self._pending.fault)
                return self._pending
            if count or self._cut:
                return None

    def _burst(self, count: int) -> None:
        """Let the engine run once."""
        self._pending = self._raised = self._trap = self._fetch = None
        self._stale = False
        registers = self._known or self.registers()
        self._known = None
        if self._written:
            self._emulator.set_registers(_GPR.pack(*registers))
            self._written = False
        self._running = True
        try:
            status = self._emulator.start(registers[RIP], count)
        finally:
            self._running = False
        if status or (self._pending is not None and self._pending.fault is not None):
            self._emulator.clear_exception()
        if self._stale or self._trap is not None:
            # A block with a refused instruction is looked at again the next time.
            self._emulator.flush_code()
        if raised := self._raised or self._emulator.lost:
            raise raised
        # Every refusal is recorded by a hook; one that is not was cut short by a signal.
        if self._cut == "interrupt" or (status and not self._pending and not self._stale):
            raise KeyboardInterrupt

    def _step(self) -> None:
        """Execute the instruction at RIP as the first of a block, which it may therefore drop."""
        rip = self.register(RIP)
        self._emulator.flush_code()
        self._stepping = True
        if ends_in(self.mmu.peek(self, rip, min(MAX_INSTRUCTION, PAGE - rip % PAGE))):
            self._unneeded = (rip & -PAGE) + PAGE
        try:
            self._burst(1)
        finally:
            self._stepping, self._unneeded = False, -1
            self._emulator.flush_code()
            self.flush_tlb()

    def _is_ahead(self) -> bool:
        """Whether the engine refused to fetch what stands behind code that it did not run yet."""
        return self._fetch is not None and self._fetch != self.register(RIP) & -PAGE

    def _approach(self, count: int) -> None:
        """Run the straight-line code before a refused instruction or page, and fault there.

        RIP is where the run began if it is counted; ``count`` may be used up before.
        """
        address, fault = self._trap or (None, None)
        self._pending = None
        steps = 0
        while self._pending is None and not (count and steps >= count):
            if (rip := self.register(RIP)) != address:
                self._step()
                address, fault = self._trap or (address, fault)
                steps += rip != address  # unless it was just refused
            else:
                self._pending = Stop("fault", fault)

    def _locate(self, fault: Fault | None) -> None:
        """Make the address of a page fault exact: the engine reports its page alone."""
        if not isinstance(fault, PageFault):
            return
        page, values = fault.address & -PAGE, self.registers()
        if fault.error_code & PFEC_FETCH:
            fault.address = max(page, values[RIP])
            return
        code = self.mmu.peek(self, values[RIP], MAX_INSTRUCTION)
        fault.address = first_byte_touched(code, page, lambda r: values[REGISTER_NAMES.index(r)])

    def _count_mode(self, mode: int) -> None:
        """Counting acts on code translated afterwards only, so a change drops the code cache."""
        if mode != self._counting:
            self._counting = mode
            self.flush_code()

    # What the engine calls (`emulator.Hooks`)

    def on_fill(self, gva: int, access: int) -> tuple[int, int] | None:
        """Ask the MMU; a refusal becomes the stop."""
        try:
            if self._fills > self._flush_after:
                # The engine's TLB grows only at a flush.
                self._flush_after = min(self._flush_after * 2, 1 << 16)
                self.flush_tlb()
            if gva == self._unneeded and access == FETCH:
                # The engine translates more code than the one instruction that it will execute.
                answer = ABORT_BASE, paging.X
            else:
                answer = self.mmu.fill(self, gva, access)
            if self._stale:
                return None
            # Counted last: answering may have flushed, and this entry comes after that.
            self._fills += 1
            if access == FETCH:
                self.fetched[gva >> 12] = answer[0]
            return answer
        except Fault as fault:
            self._pending = Stop("fault", fault)
            self._fetch = gva & -PAGE if access == FETCH else None
        except BaseException as error:
            self._raised = error
        return None

    def on_block(self, gva: int, size: int) -> None:
        """Look for instructions that may not run here, before they do."""
        try:
            for offset, mnemonic in sensitive_in(self.mmu.peek(self, gva, size)):
                if self._stepping and offset:
                    return
                fault = refusal(self, mnemonic, gva + offset)
                if fault is not None:
                    self._trap = gva + offset, fault
                    break
            else:
                if not self._stale:
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
            if self._stale:
                pass  # looking at the code has moved some of it: look again
            elif code.startswith(b"\x0f\x01\xd7"):
                self._pending, self._known = _ENCLU, values
            elif emulate(code, values, self.entropy):
                self._emulator.set_registers(_GPR.pack(*values))
                return
            else:
                what = f"illegal instruction {code[:4].hex(' ')} at {rip:#x}"
                self._pending = Stop("fault", InvalidOpcode(what))
        except Fault as fault:
            self._pending = Stop("fault", fault)
        except BaseException as error:
            self._raised = error
        self._emulator.stop()

    def on_interrupt(self, vector: int) -> None:
        """An exception becomes the stop. ``INT n`` is refused before (`on_block`)."""
        try:
            rip = self._live()[RIP] - (vector == 3)  # the engine is behind INT3
            self._emulator.set_register(RIP, rip)
            self._pending = Stop("fault", exception(self, vector, rip))
        except BaseException as error:
            self._raised = error
        self._emulator.stop()

    def on_cpuid(self) -> bool:
        """A hypervisor that intercepts CPUID answers it."""
        try:
            values = self._live()
            answer = self.cpuid_intercept and self.cpuid_intercept(values[RAX], values[RCX])
            if not answer:
                return False
            for register, value in list(zip((RAX, RBX, RCX, RDX), answer, strict=True)):
                self._emulator.set_register(register, value & 0xFFFF_FFFF)
        except BaseException as error:
            self._raised = error
            self._emulator.stop()
        return True

    def on_syscall(self) -> None:
        """SYSCALL stops."""
        self._pending = _SYSCALL
        self._emulator.stop()
