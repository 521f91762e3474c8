"""Out of an enclave: EEXIT, and the asynchronous exit (AEX).

::

              EENTER                        EEXIT
    host -----------------> enclave -----------------> host      registers are NOT cleared
              ERESUME                        AEX
    host -----------------> enclave -----------------> host      registers go to the SSA frame,
                                                                 the host sees synthetic ones

Source: Intel SDM Vol. 3D, "Enclave Entry and Exit", "Enclave Exiting Events", and the page of
EEXIT in "SGX Instruction References".
"""

from __future__ import annotations

import struct

from tee_sim.errors import Fault, GeneralProtection, MachineCheck, OtherFault, PageFault
from tee_sim.machine.cpu import LogicalProcessor
from tee_sim.machine.exceptions import NAMES
from tee_sim.machine.paging import is_canonical
from tee_sim.machine.registers import (
    FLAGS_ARITHMETIC,
    FSBASE,
    GSBASE,
    RAX,
    RBP,
    RBX,
    RCX,
    RFLAGS,
    RIP,
    RSP,
)
from tee_sim.monitors.sgx import checks as rules
from tee_sim.monitors.sgx import ssa
from tee_sim.monitors.sgx.enclave import Enclave, Entry
from tee_sim.monitors.sgx.processor import SGX
from tee_sim.monitors.sgx.ssa import FLAG_RF, FLAG_TF
from tee_sim.trace import Exit
from tee_sim.units import PAGE

ERESUME = 3
TCS_STATE, TCS_CSSA, TCS_AEP = 0, 24, 40
"""Offsets in the TCS of what the processor itself changes."""


def eexit(sgx: SGX, lp: LogicalProcessor) -> None:
    """EEXIT (RAX=4): leave for RBX.

    # Checks
    RBX canonical #GP.

    # Transition
    RIP = RBX, RCX = AEP, FS and GS are the host's again, the TCS is free, the TLB is flushed. No
    other register changes: what the enclave leaves in them, the host reads.
    """
    registers = lp.registers()
    if not is_canonical(registers[RBX]):
        raise GeneralProtection(f"EEXIT: target {registers[RBX]:#x} is not canonical")
    entry = sgx.entries[lp.index]
    registers[RIP], registers[RCX] = registers[RBX], entry.aep
    _leave(sgx, lp, entry, registers)
    lp.set_registers(registers)
    if sgx.checks.tracer is not None:
        sgx.checks.emit(Exit(lp.index, "EEXIT"))


def aex(sgx: SGX, lp: LogicalProcessor, event: Fault | None) -> Fault | None:
    """Asynchronous exit: ``event`` (None for an interrupt) takes the processor out.

    # Checks
    None: it always succeeds, into the frame that EENTER checked.

    # Transition
    Registers go to SSA[CSSA] (RFLAGS without TF), CSSA goes up by one, the TCS is free. The host
    sees synthetic registers (AEX.SYNTHETIC_STATE), so that our message about the event does not
    say either where it was, unless the enclave can be debugged; and, for #PF, an address without
    its low 12 bits (AEX.CR2).

    Returns:
        The event as the host sees it.
    """
    entry = sgx.entries[lp.index]
    registers, cache = lp.registers(), sgx.machine.cache
    ursp, urbp = ssa.save(cache, entry, registers, lp.fpu(), event)
    tcs = cache.view(entry.tcs_hpa, write=True)
    (cssa,) = struct.unpack_from("<I", tcs, TCS_CSSA)
    struct.pack_into("<I", tcs, TCS_CSSA, (cssa + 1) & 0xFFFFFFFF)
    if sgx.checks.on(rules.AEX_STATE):
        flags = registers[RFLAGS] & ~(FLAGS_ARITHMETIC | FLAG_RF)
        registers = [0] * 20
        registers[RAX], registers[RBX], registers[RCX] = ERESUME, entry.tcs_gva, entry.aep
        registers[RSP], registers[RBP], registers[RFLAGS] = ursp, urbp, flags
        lp.set_fpu(ssa.synthetic_fpu(event))
        sgx.checks.report(rules.AEX_STATE, "the registers went to the SSA; the host sees none")
    registers[RIP] = entry.aep
    _leave(sgx, lp, entry, registers)
    lp.set_registers(registers)
    if sgx.checks.tracer is not None:
        sgx.checks.emit(Exit(lp.index, event.name if event else "interrupt"))
    return _seen(sgx, entry.enclave, event)


def abandon(sgx: SGX, lp: LogicalProcessor) -> None:
    """Interrupt a processor for good, for a host that will never resume it."""
    entry = sgx.entries.get(lp.index)
    if entry is None:
        return
    try:
        aex(sgx, lp, None)
    except MachineCheck:
        # Memory has failed: nothing can be saved any more. The machine needs a reset.
        sgx.entries.pop(lp.index, None)
        entry.enclave.inside.pop(lp.index, None)
        lp.switch(lp.cr3, None)
        lp.flush_tlb()


def _leave(sgx: SGX, lp: LogicalProcessor, entry: Entry, registers: list[int]) -> None:
    """What EEXIT and AEX have in common."""
    registers[FSBASE], registers[GSBASE] = entry.host_fs, entry.host_gs
    if not entry.opted_in:
        registers[RFLAGS] = registers[RFLAGS] & ~FLAG_TF | entry.trap_flag
    struct.pack_into("<Q", sgx.machine.cache.view(entry.tcs_hpa, write=True), TCS_STATE, 0)
    del sgx.entries[lp.index]
    entry.enclave.inside.pop(lp.index, None)
    lp.switch(lp.cr3, None)
    flush(sgx, lp)


def flush(sgx: SGX, lp: LogicalProcessor) -> None:
    """Forget all translations, as every entry and exit does (ENCLAVE.TLB_FLUSH)."""
    if sgx.checks.on(rules.TLB_FLUSH):
        lp.flush_tlb()


def _seen(sgx: SGX, enclave: Enclave, event: Fault | None) -> Fault | None:
    """The event as the host sees it."""
    seen: Fault
    if isinstance(event, PageFault) and sgx.checks.on(rules.AEX_CR2):
        page = event.address & -PAGE
        sgx.checks.report(rules.AEX_CR2, f"the host sees {page:#x}, not the byte")
        where = f"at page {page:#x} of the enclave"
        seen = PageFault(where, error_code=event.error_code, address=page)
    elif isinstance(event, PageFault | None) or enclave.debug or not sgx.checks.on(rules.AEX_STATE):
        return event
    elif isinstance(event, OtherFault):
        name = NAMES.get(event.vector, f"vector {event.vector}")
        seen = OtherFault(f"{name} {_SOMEWHERE}", vector=event.vector, error_code=event.error_code)
    else:
        seen = type(event)(_SOMEWHERE, error_code=event.error_code)
    seen.check = event.check
    return seen


_SOMEWHERE = "inside the enclave; where, it does not tell unless it is a debug enclave"
