"""Into an enclave and out of it: calls, interruptions, and pages of the process.

::

              CallEnclave                    SYSCALL 0
    VTL0 -----------------> enclave (VTL1) -----------------> VTL0     registers carry arguments
              resume                         interruption
    VTL0 -----------------> enclave (VTL1) -----------------> VTL0     registers stay in VTL1

Source: TLFS, "VTL Entry", "VTL Exit", "Virtual Processor State Isolation", "VTL Interrupt
Management".

Simplified: VINA, by which the secure kernel can learn that an interrupt waits for VTL0 and give
way, is not modelled: it waits until the enclave leaves. So how VTL0 could time an enclave by
interrupts is unverified. A call starts at the entry of its thread, which dispatches by number.
"""

from __future__ import annotations

import struct

from tee_sim.errors import Fault, GeneralProtection, OtherFault, PageFault, UsageError
from tee_sim.machine import fxsave
from tee_sim.machine.cpu import LogicalProcessor
from tee_sim.machine.exceptions import NAMES
from tee_sim.machine.paging import (
    ADDRESS_MASK,
    NO_EXECUTE,
    PFEC_FETCH,
    PFEC_PRESENT,
    PFEC_WRITE,
    PRESENT,
    USER,
    WRITABLE,
)
from tee_sim.machine.registers import FLAGS_INITIAL, FSBASE, GSBASE, RAX, RFLAGS, RIP, RSP
from tee_sim.monitors.vbs import checks as rules
from tee_sim.monitors.vbs.enclave import Enclave, State
from tee_sim.monitors.vbs.secure_kernel import SecureKernel, error
from tee_sim.trace import Exit, Leaf
from tee_sim.units import PAGE

_REGISTERS = struct.Struct("<20Q")
SLOT = 1024
"""Bytes for one context in the page of a thread: the second is that of its exception handler."""


def call_enclave(
    sk: SecureKernel, enclave: Enclave, lp: LogicalProcessor, thread: int, registers: list[int]
) -> None:
    """CallEnclave: enter by a thread that is idle.

    # Checks
    The enclave is initialised and has the thread, which is neither inside nor interrupted; no other
    thread of it waits on this processor.

    # Transition
    The registers that both levels share are VTL0's; RIP, RFLAGS, FS, GS and CR3 the enclave's own.

    Raises:
        VBSError: it cannot be entered so.
    """
    sk.require(enclave, State.INITIALIZED, "CallEnclave")
    busy = {*enclave.inside.values(), *(waits for waits, _slot in enclave.waiting.values())}
    if not 0 <= thread < len(enclave.threads) or thread in busy or lp.index in enclave.waiting:
        raise error("CallEnclave", "ERROR_INVALID_PARAMETER", f"thread {thread} is not to be had")
    start, registers = enclave.threads[thread], registers.copy()
    registers[RIP], registers[RFLAGS] = start.entry, FLAGS_INITIAL
    registers[FSBASE], registers[GSBASE], registers[RAX] = start.fs, start.gs, 0
    enclave.inside[lp.index] = thread
    enter(sk, enclave, lp, registers)


def enter(sk: SecureKernel, enclave: Enclave, lp: LogicalProcessor, registers: list[int]) -> None:
    """Go to VTL1 user mode. Whose page tables these are decides what VTL0 can do and see."""
    tables = enclave.space if sk.checks.on(rules.PAGE_TABLES) else enclave.process
    lp.switch(tables.cr3, enclave)
    lp.flush_tlb()
    lp.set_registers(registers)
    if sk.checks.tracer is not None:
        sk.checks.emit(Leaf("CallEnclave", f"{enclave.name} at {registers[RIP]:#x}"))


def leave(sk: SecureKernel, lp: LogicalProcessor, reason: str = "return") -> None:
    """Go back to VTL0, with the registers as they are.

    The thread is idle again; or waits, if it was entered only to handle an exception.
    """
    enclave: Enclave = lp.context
    enclave.inside.pop(lp.index, None)
    if lp.index in enclave.handling and lp.index not in enclave.waiting:
        enclave.waiting[lp.index] = enclave.handling[lp.index], 0
        enclave.events[lp.index] = None  # it is handled once
    lp.switch(enclave.process.cr3, None)
    lp.flush_tlb()
    if sk.checks.tracer is not None:
        sk.checks.emit(Exit(lp.index, reason))


def preempts(sk: SecureKernel, timer: int | None) -> int | None:
    """The timer of VTL0, where it can interrupt an enclave."""
    if timer is None or not sk.checks.on(rules.INTERRUPTS):
        return timer
    sk.checks.report(rules.INTERRUPTS, "VTL0's interrupt waits until the enclave leaves")
    return None


def interrupt(sk: SecureKernel, lp: LogicalProcessor, event: Fault | None) -> Fault | None:
    """Take a processor out of an enclave.

    # Transition
    The context goes to the thread's page in the secure kernel's memory; the registers that VTL0
    shares are cleared (SK.REGISTERS).

    Returns:
        The event as VTL0 sees it: the page that the process is to provide, or that something went
        wrong inside.
    """
    enclave: Enclave = lp.context
    thread = enclave.inside[lp.index]
    slot = int(lp.index in enclave.handling)
    place = enclave.threads[thread].context_hpa + slot * SLOT
    context = _REGISTERS.pack(*lp.registers()) + lp.fpu()
    sk.hypervisor.machine.cache.write(place, context)
    enclave.events[lp.index] = event
    if sk.checks.on(rules.REGISTERS):
        lp.set_registers([0] * 20)
        lp.set_fpu(fxsave.INITIAL)
        sk.checks.report(rules.REGISTERS, "the context stays in VTL1; VTL0 finds zeros")
    enclave.waiting[lp.index] = thread, slot
    leave(sk, lp, event.name if event else "interrupt")
    return _seen(sk, enclave, event)


def _seen(sk: SecureKernel, enclave: Enclave, event: Fault | None) -> Fault | None:
    if event is None or enclave.debug or not sk.checks.on(rules.REGISTERS):
        return event
    seen: Fault
    if isinstance(event, PageFault) and not (
        event.address in enclave and sk.checks.on(rules.PAGE_TABLES)
    ):
        page = event.address & -PAGE
        seen = PageFault(f"at page {page:#x}", error_code=event.error_code, address=page)
    elif isinstance(event, OtherFault):
        what = f"{NAMES.get(event.vector, f'vector {event.vector}')} inside the enclave"
        seen = OtherFault(what, vector=event.vector)
    else:
        seen = type(event)("somewhere inside the enclave")
    seen.check = event.check
    return seen


def context_of(
    sk: SecureKernel, enclave: Enclave, thread: int, slot: int = 0
) -> tuple[list[int], bytes]:
    """The registers that an interrupted thread had, and its x87 and SSE state."""
    place = enclave.threads[thread].context_hpa + slot * SLOT
    context = sk.hypervisor.machine.cache.read(place, _REGISTERS.size + fxsave.SIZE)
    registers = list(_REGISTERS.unpack(context[: _REGISTERS.size]))
    return registers, context[_REGISTERS.size :]


def resume(
    sk: SecureKernel, enclave: Enclave, lp: LogicalProcessor, target: tuple[int, ...] = ()
) -> None:
    """Go on with an interrupted thread; with another RSP and RIP if they are given.

    Raises:
        VBSError: the enclave was terminated, or none of its threads waits on this processor.
    """
    sk.require(enclave, State.INITIALIZED, "CallEnclave")
    if lp.index not in enclave.waiting:
        raise error("CallEnclave", "ERROR_INVALID_PARAMETER", "no thread waits on this processor")
    thread, slot = enclave.waiting.pop(lp.index)
    enclave.inside[lp.index] = thread
    registers, fpu = context_of(sk, enclave, thread, slot)
    if target:
        registers[RSP], registers[RIP] = target
    lp.set_fpu(fpu)
    enter(sk, enclave, lp, registers)


def abandon(sk: SecureKernel, enclave: Enclave, lp: LogicalProcessor) -> None:
    """A processor whose call VTL0 has given up: out, and its thread is never resumed."""
    if lp.context is enclave:
        interrupt(sk, lp, None)


def vtl0_page(sk: SecureKernel, enclave: Enclave, gva: int) -> int | None:
    """The entry in VTL0's own page tables for an address of the process, or None.

    # Checks
    The page is VTL0's (SK.VTL0_PAGE).

    Raises:
        GeneralProtection: it is not.
    """
    try:
        entry = enclave.process.entry(gva)
    except UsageError:
        return None  # tables that VTL0 itself could not use
    usable = entry & PRESENT and entry & USER
    if not usable or entry & ADDRESS_MASK >= sk.hypervisor.machine.dram.size:
        return None  # its own user code could not use the page either
    if not sk.hypervisor.is_open(entry & ADDRESS_MASK) and sk.checks.on(rules.VTL0_PAGE):
        fault = GeneralProtection(f"VTL0 lends a page of VTL1 at {gva:#x}")
        raise sk.checks.refuse(rules.VTL0_PAGE, fault)
    return entry


def mirror(sk: SecureKernel, enclave: Enclave, fault: PageFault) -> bool:
    """After a page fault outside the enclave: let it use that page of the process, as VTL0 does.

    # Checks
    The enclave may touch its process (SK.STRICT_MEMORY), does not want to execute there
    (SK.NO_EXECUTE), and the page is VTL0's (SK.VTL0_PAGE).

    # Transition
    The page is mapped at the same address in the secure kernel's tables, until VTL0 changes it.

    Returns:
        Whether there is something new to use.

    Raises:
        GeneralProtection: refused.
    """
    gva = fault.address & -PAGE
    if fault.address in enclave or not sk.checks.on(rules.PAGE_TABLES):
        return False
    if enclave.strict and sk.checks.on(rules.STRICT_MEMORY):
        touch = GeneralProtection("the enclave may not touch the memory of its process")
        raise sk.checks.refuse(rules.STRICT_MEMORY, touch)
    entry = vtl0_page(sk, enclave, gva)
    if entry is None:
        return False
    executable = not entry & NO_EXECUTE
    if fault.error_code & PFEC_FETCH and sk.checks.on(rules.NO_EXECUTE):
        jump = GeneralProtection("the enclave may not execute ordinary memory")
        raise sk.checks.refuse(rules.NO_EXECUTE, jump)
    if fault.error_code & PFEC_PRESENT and enclave.mirrored.get(gva) == entry:
        return False
    if fault.error_code & PFEC_WRITE and not entry & WRITABLE:
        return False
    enclave.mirrored[gva] = entry
    enclave.space.map(
        gva,
        entry & ADDRESS_MASK,
        writable=bool(entry & WRITABLE),
        executable=executable and not sk.checks.on(rules.NO_EXECUTE),
    )
    sk.hypervisor.machine.mmu.forget()
    return True
