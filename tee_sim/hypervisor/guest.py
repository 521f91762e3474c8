"""A protected program as its host runs it: enter, handle what interrupts it, resume, leave.

One loop serves every technology. What differs (how to enter, what an interruption does to the
registers, how to resume) is in the subclasses, one file each: `plain`, `sgx`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

from tee_sim.abi.image import Image
from tee_sim.abi.sgx import TCS, PageType
from tee_sim.errors import (
    BudgetExceeded,
    EnclaveLost,
    Fault,
    MachineCheck,
    PageFault,
    UsageError,
)
from tee_sim.html import table
from tee_sim.hypervisor.calls import finish
from tee_sim.machine.cpu import LogicalProcessor, Stop
from tee_sim.machine.memory import AddressSpace
from tee_sim.machine.registers import R8, R9, RDI, RDX, REGISTER_NAMES, RSI
from tee_sim.units import MIB, PAGE, align_down

if TYPE_CHECKING:
    from tee_sim.hypervisor.honest import Host, Quoting

ENCLAVE_BASE = 0x4000_0000
ARENA_BASE = 0x1000_0000
ARENA_SIZE = 4 * MIB
HEAP_BASE, HEAP_SIZE = ARENA_BASE + ARENA_SIZE, 16 * MIB
RETURN_ADDRESS = 0x0800_0000
"""Where an enclave leaves to, in the process that hosts it. Host software here is Python, so the
processor stops there instead of executing."""

LEAF_COST = 10_000
"""Instructions that a leaf executed inside, or a fault, counts for in the budget of a call."""

MASK64 = (1 << 64) - 1

T = TypeVar("T")
Result = tuple[int, int, int]
Steps = Generator[None, None, Result]
Handler = Callable[["Guest", LogicalProcessor, Fault | None], bool]
"""Called by the kernel at each interruption (None: a timer); True means handled, resume."""


class Guest(ABC):
    """One enclave, or one unprotected program, in an address space of its own.

    Args:
        host: who runs it.
        image: what is loaded.
        base: linear address of the image's offset 0.

    Attributes:
        space: its page tables. They are the host's.
        handlers: who is asked at each interruption before the kernel gives up; newest first.
        pagers: the honest kernel's answers to a page fault, asked in order; True means that the
            page is there now.
        timer: interrupt after this many instructions, again and again; None for no timer.
        trap_flag: enter with RFLAGS.TF set.
        meanwhile: (n, action): after each n instructions, what other processors do while this
            one stays inside.
        exception_call: RDI to enter an interrupted thread with, so that it can handle an exception
            that the host cannot, and RDI at the exit that asks to resume it; None if the program
            takes no such calls.
        lock: see `Machine.lock`.
    """

    arena = (ARENA_BASE, ARENA_SIZE)
    heap = (HEAP_BASE, HEAP_SIZE)

    def __init__(self, host: Host, image: Image, base: int = ENCLAVE_BASE) -> None:
        self.host, self.image, self.base = host, image, base
        self.space = self._new_space()
        self.handlers: list[Handler] = []
        self.pagers: list[Callable[[PageFault], bool]] = [self._lend_missing]
        self.timer: int | None = None
        self.trap_flag = False
        self.meanwhile: tuple[int, Callable[[], None]] | None = None
        self.exception_call: tuple[int, int] | None = None
        self._lost: EnclaveLost | None = None
        self._boot, self.lock = host.machine.boots, host.machine.lock
        self.tcs_offsets = [p.offset for p in image.pages if p.page_type == PageType.TCS]
        self._borrowed: list[int] = []

    @property
    def lost(self) -> EnclaveLost | None:
        """Why it cannot be called any more, or None."""
        if self._lost is None and self._boot != self.host.machine.boots:
            self._lost = EnclaveLost("the machine lost its power")
        return self._lost

    @lost.setter
    def lost(self, reason: EnclaveLost | None) -> None:
        self._lost = reason

    def __repr__(self) -> str:
        state = f"lost: {self.lost}" if self.lost else "alive"
        return f"<{type(self).__name__} at {self.base:#x}, {len(self.image.pages)} pages, {state}>"

    def _repr_html_(self) -> str:
        rows = [
            ("linear address", self.base),
            ("bytes", self.image.size),
            ("pages", str(len(self.image.pages))),
            ("page tables (CR3)", self.space.cr3),
            ("state", str(self.lost or "alive")),
        ]
        return table(type(self).__name__, rows)

    @property
    def quoting(self) -> Quoting | None:
        """The host's quoting service, if it has one."""
        return self.host.quoting

    # Ordinary memory of the process, lent to the program inside

    def read(self, gva: int, size: int) -> bytes:
        """Bytes that host software sees at ``gva`` in this address space."""
        return b"".join(self.host.machine.read(*piece) for piece in self._pieces(gva, size))

    def write(self, gva: int, data: bytes) -> None:
        """Store bytes at ``gva`` as host software."""
        at = 0
        for hpa, length in self._pieces(gva, len(data)):
            self.host.machine.write(hpa, data[at : at + length])
            at += length

    def _pieces(self, gva: int, size: int) -> Iterable[tuple[int, int]]:
        while size > 0:
            length = min(size, PAGE - gva % PAGE)
            hpa = self.space.translate(gva)
            if hpa is None:
                if not self._lend(gva):
                    raise UsageError(f"nothing is mapped at {gva:#x} in this address space")
                hpa = self.space.translate(gva)
                assert hpa is not None, "a page was just mapped there"
            yield hpa, length
            gva, size = gva + length, size - length

    def _lend(self, gva: int) -> bool:
        """Map a fresh page of the arena or the heap on first use; False elsewhere."""
        if not ARENA_BASE <= gva < HEAP_BASE + HEAP_SIZE:
            return False
        hpa = self.borrow()
        self.host.machine.write(hpa, bytes(PAGE))
        self.space.map(align_down(gva), hpa)
        return True

    def borrow(self) -> int:
        """A page of ordinary memory that is given back when the program is taken down."""
        self._borrowed.append(self.host.frames.take())
        return self._borrowed[-1]

    # Running

    def enter(
        self, thread: int, rdi: int = 0, rsi: int = 0, registers: Mapping[str, int] | None = None
    ) -> Result:
        """Enter the program on ``thread`` with two arguments; return RDI, RSI, RDX at its exit.

        R8 and R9 tell the program where the arena is and how large. ``registers`` sets any others
        by name (``rdx``, ``rsp``, ...), for programs that were not made for this runtime; what
        the technology itself needs to enter (RAX, RBX, RCX, RIP on SGX) it overrides.

        Raises:
            EnclaveLost: the program died of a fault that nobody handled, or had died before.
            BudgetExceeded: it ran too long.
            Fault: the entry itself was refused.
            MachineCheck: the memory controller stopped the machine.
        """
        with self.lock:
            return finish(self.steps(thread, rdi, rsi, registers=registers))

    def steps(
        self,
        thread: int,
        rdi: int = 0,
        rsi: int = 0,
        *,
        registers: Mapping[str, int] | None = None,
        processor: int = 0,
        quantum: int | None = None,
    ) -> Steps:
        """As `enter`, on the given logical processor, pausing after each ``quantum`` instructions.

        A pause is not an interruption: the processor stays inside. It is how several logical
        processors run at the same time (`interleave`).
        """
        self._require_alive()
        if thread not in range(len(self.tcs_offsets)):
            raise UsageError(f"this program has {len(self.tcs_offsets)} threads, from 0")
        lp = self.host.machine.processor(processor)
        if lp.occupied:
            raise UsageError(
                f"logical processor {processor} is inside a program that was not interrupted; take "
                "another, or interrupt it"
            )
        # What an interrupted program, further out, left in the registers is given back to it.
        outer = (lp.cr3, lp.registers(), lp.fpu()) if lp.interrupted else None
        self._start(lp, self.tcs_offsets[thread], self._arguments(rdi, rsi, registers or {}))
        lp.occupied = True
        try:
            return (yield from self._until_it_leaves(lp, quantum))
        except BaseException as error:
            self._abandon(lp, error)
            raise
        finally:
            lp.occupied = False
            if outer and not lp.engine_is_gone:
                lp.switch(outer[0])
                lp.set_registers(outer[1])
                lp.set_fpu(outer[2])

    def _until_it_leaves(self, lp: LogicalProcessor, quantum: int | None) -> Steps:
        """Run, serve and interrupt the program, until it leaves on its own."""
        spent = 0  # instructions of its budget, besides those of the run in progress
        offered: Fault | None = None
        while True:
            others = self.meanwhile
            limit = quantum or (others[0] if others else self._preempts())
            if limit is not None and limit < 1:
                raise UsageError(f"interrupt after at least one instruction, not {limit}")
            stop = self.host.machine.run(lp, limit)
            if stop.kind in ("enclu", "syscall"):
                try:
                    left = self._left(lp, stop)
                except Fault as fault:
                    stop = Stop("fault", fault)
                else:
                    if left and offered is None:
                        return lp.register(RDI), lp.register(RSI), lp.register(RDX)
                    if left and offered is not None:
                        self._answered(lp, offered)
                        offered = None
                    spent += LEAF_COST
                    if limit != 1 and spent < lp.budget:
                        continue
                    stop = Stop("limit")
            if stop.kind == "limit":
                spent += limit or 0
                stop = stop if spent < lp.budget else Stop("budget")
            if stop.kind == "limit" and quantum:
                yield
                self._require_alive()
            elif stop.kind == "limit" and others:
                others[1]()
                self._require_alive()
            else:
                spent += LEAF_COST if stop.kind == "fault" else 0
                stop = stop if spent < lp.budget else Stop("budget")
                offered = self._interrupted(lp, stop, offered)

    def _require_alive(self) -> None:
        if self.lost is not None:
            raise EnclaveLost(str(self.lost), fault=self.lost.fault)

    def _arguments(self, rdi: int, rsi: int, others: Mapping[str, int]) -> list[int]:
        registers = [0] * 20
        registers[RDI], registers[RSI] = rdi & MASK64, rsi & MASK64
        registers[R8], registers[R9] = self.arena
        for name, value in others.items():
            if name not in REGISTER_NAMES:
                raise UsageError(f"no register '{name}'; there are {', '.join(REGISTER_NAMES)}")
            registers[REGISTER_NAMES.index(name)] = value & MASK64
        return registers

    def _interrupted(self, lp: LogicalProcessor, stop: Stop, offered: Fault | None) -> Fault | None:
        """Leave, let the kernel and whoever hooked into it act, and resume.

        An exception that nobody outside can handle is offered to the program: the thread is
        entered once more (`exception_call`), and resumed if it says so.

        Args:
            lp: the processor.
            stop: why it stopped.
            offered: the exception that the program has been offered and not yet answered.

        Returns:
            The exception that is on offer now.
        """
        if isinstance(stop.fault, MachineCheck):
            raise stop.fault
        seen = self._exit(lp, stop.fault)
        lp.occupied = False
        if stop.kind == "budget":
            raise BudgetExceeded(
                f"the program inside ran for its whole budget of {lp.budget:,} instructions; "
                "Platform(budget=...) changes it"
            )
        lp.interrupted += 1
        try:
            handled = [handler(self, lp, seen) for handler in list(reversed(self.handlers))]
        finally:
            lp.interrupted -= 1
        self._require_alive()
        if any(handled) or seen is None or self._provide_page(seen):
            self._resume(lp)
            return offered
        if offered is not None or not self._offer(lp):
            seen = offered or seen
            raise EnclaveLost(f"the program inside died: {seen}", fault=seen)
        return seen

    def _answered(self, lp: LogicalProcessor, offered: Fault) -> None:
        """The program has left after it was offered an exception: resume it if it says so."""
        assert self.exception_call is not None, "it was offered one"
        if lp.register(RDI) != self.exception_call[1]:
            raise EnclaveLost(f"the program inside died: {offered}", fault=offered)
        self._resume(lp)
        lp.occupied = True

    def _provide_page(self, fault: Fault) -> bool:
        """Whether the kernel could make a missing page appear."""
        return isinstance(fault, PageFault) and any(pager(fault) for pager in self.pagers)

    def _lend_missing(self, fault: PageFault) -> bool:
        return self.space.translate(fault.address) is None and self._lend(fault.address)

    def _abandon(self, lp: LogicalProcessor, error: BaseException) -> None:
        """The call ends without an answer: its thread is left inside for good."""
        if not lp.engine_is_gone:
            self._forget(lp)
        if isinstance(error, EnclaveLost):
            self.lost = error
        else:
            cause = error if isinstance(error, Fault) else None
            what = str(error) or type(error).__name__
            self.lost = EnclaveLost(f"its last call did not finish: {what}", fault=cause)

    def close(self) -> None:
        """Take the program down and give its memory back. Closing it twice is harmless."""
        self.lost = self.lost or EnclaveLost("it was closed")
        for hpa in self._borrowed:
            self.host.frames.give(hpa)
        self._borrowed.clear()
        self.space.free()
        self.host.machine.mmu.shootdown()

    # What differs between technologies

    def _new_space(self) -> AddressSpace:
        """The page tables of the process that hosts the program."""
        return self.host.new_address_space()

    def _preempts(self) -> int | None:
        """The timer, where it can interrupt the program."""
        return self.timer

    @abstractmethod
    def _start(self, lp: LogicalProcessor, tcs_offset: int, registers: list[int]) -> None:
        """Enter through the thread at ``tcs_offset``."""

    @abstractmethod
    def _left(self, lp: LogicalProcessor, stop: Stop) -> bool:
        """Do what the program's ENCLU or SYSCALL asks for; whether that took it out.

        Raises:
            Fault: it was refused.
        """

    @abstractmethod
    def _exit(self, lp: LogicalProcessor, event: Fault | None) -> Fault | None:
        """Interrupt it; the event as the host sees it."""

    def _offer(self, lp: LogicalProcessor) -> bool:
        """Enter the interrupted thread, for it to handle what happened; False if that cannot be."""
        return False

    @abstractmethod
    def _resume(self, lp: LogicalProcessor) -> None:
        """Continue after an interruption."""

    @abstractmethod
    def _forget(self, lp: LogicalProcessor) -> None:
        """Bring a processor whose call was abandoned back to the host."""

    def tcs(self, offset: int) -> TCS:
        """The thread control structure at ``offset``, as it was loaded."""
        page = next(page for page in self.image.pages if page.offset == offset)
        return TCS.unpack(page.content)
