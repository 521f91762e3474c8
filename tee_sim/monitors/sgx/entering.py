"""Into an enclave: EENTER, ERESUME and EDECCSSA. The way out is `tee_sim.monitors.sgx.exiting`.

Source: Intel SDM Vol. 3D, "Enclave Entry and Exit", and the pages of the leaves in "SGX Instruction
References".

Simplified: no CET, no XSAVE state beyond SSE; FS and GS are their bases alone; POPF can set TF in a
thread that did not opt in, and the host then sees a #DB.
"""

from __future__ import annotations

import struct

from tee_sim.abi.sgx import PageType
from tee_sim.errors import GeneralProtection
from tee_sim.machine import fxsave
from tee_sim.machine.cpu import LogicalProcessor
from tee_sim.machine.paging import READ, WRITE, is_canonical
from tee_sim.machine.registers import FSBASE, GSBASE, RAX, RBP, RBX, RCX, RFLAGS, RIP, RSP
from tee_sim.monitors.sgx import checks as rules
from tee_sim.monitors.sgx import ssa
from tee_sim.monitors.sgx.building import enclave_of
from tee_sim.monitors.sgx.enclave import Enclave, Entry
from tee_sim.monitors.sgx.epcm import EPCMEntry, epcm_fault
from tee_sim.monitors.sgx.exiting import TCS_AEP, TCS_CSSA, TCS_STATE, flush
from tee_sim.monitors.sgx.processor import SGX
from tee_sim.monitors.sgx.ssa import FLAG_TF
from tee_sim.trace import Leaf
from tee_sim.units import PAGE

ENCLU_BYTES = 3
ALL_ONES = (1 << 64) - 1
DBGOPTIN, AEXNOTIFY = 1, 2
"""TCS.FLAGS."""

_TCS = struct.Struct("<QQQIIQQQQ")
"""STATE, FLAGS, OSSA, CSSA, NSSA, OENTRY, AEP, OFSBASE, OGSBASE: `abi.sgx.TCS`, read fast."""


def eenter(sgx: SGX, lp: LogicalProcessor, resume: bool = False) -> None:
    """EENTER (RAX=2) or, with ``resume``, ERESUME (RAX=3): RBX = TCS, RCX = AEP, RIP = the ENCLU.

    # Checks
    In the SDM's order: outside an enclave #GP; alignment #GP; EPC #PF; AEP canonical #GP; EPCM of
    the TCS #PF; its fields #GP; enclave initialised #GP; AEXNOTIFY as in the SECS #GP; CSSA
    against NSSA #GP; every SSA page #PF; targets canonical #GP; TCS busy #GP, last.

    # Transition
    EENTER sets RAX = CSSA, RCX = address after the ENCLU, RIP, FS, GS; every other register is
    still the host's. RSP and RBP go to the SSA (U_RSP, U_RBP). ERESUME restores all registers
    from the last saved frame instead; of RFLAGS those that user code can set (unverified), TF
    excepted. But if thread and frame ask for it (AEX.NOTIFY), ERESUME restores and pops nothing:
    it enters as EENTER does, with RCX = RIP, so that the thread learns of the interruption. All
    flush the TLB.

    # Measurement
    OENTRY, OSSA, NSSA and the segment offsets were measured with the TCS.

    Raises:
        GeneralProtection, PageFault: as above; the processor is as it was.
    """
    if lp.index in sgx.entries:
        raise GeneralProtection("EENTER: this processor is inside an enclave already")
    registers = lp.registers()
    tcs_gva, aep = registers[RBX], registers[RCX]
    tcs_hpa, enclave = _check_tcs(sgx, lp, tcs_gva, aep)
    page = sgx.machine.cache.view(tcs_hpa, write=True)
    state, flags, ossa, cssa, nssa, oentry, _aep, ofsbase, ogsbase = _TCS.unpack_from(page)
    _check_fields(sgx, enclave, flags, ossa | ofsbase | ogsbase)
    cssa -= resume
    if cssa < 0:
        raise GeneralProtection("ERESUME: CSSA is 0, nothing was interrupted")
    ssa_hpas, frame = _check_frame(sgx, lp, enclave, ossa, nssa, cssa)
    asked = flags & AEXNOTIFY and ssa.asks_for_notice(frame)
    notified = bool(resume and asked and sgx.aex_notify)
    if notified:
        resume, cssa = False, cssa + 1
        ssa_hpas, frame = _check_frame(sgx, lp, enclave, ossa, nssa, cssa)
    base = enclave.base
    targets = ssa.targets(frame) if resume else (base + oentry, base + ofsbase, base + ogsbase)
    if not all(map(is_canonical, targets)):
        raise GeneralProtection("EENTER, ERESUME: the target, FS or GS is not canonical")
    if state and sgx.checks.on(rules.TCS_STATE):
        fault = GeneralProtection("EENTER, ERESUME: another logical processor uses this TCS")
        raise sgx.checks.refuse(rules.TCS_STATE, fault)
    host_fs, host_gs, tf = registers[FSBASE], registers[GSBASE], registers[RFLAGS] & FLAG_TF
    host_stack = registers[RSP], registers[RBP]
    struct.pack_into("<Q", page, TCS_STATE, 1)
    struct.pack_into("<Q", page, TCS_AEP, aep)
    if resume:
        ssa.load(registers, frame)
        lp.set_fpu(bytes(sgx.machine.cache.view(ssa_hpas[0])[: fxsave.SIZE]))
        # TF is never in the frame: whether to go on stepping is up to who resumes.
        registers[RFLAGS] = registers[RFLAGS] & ~FLAG_TF | tf
        struct.pack_into("<I", page, TCS_CSSA, cssa)
    else:
        behind = targets[0] if notified else (registers[RIP] + ENCLU_BYTES) & ALL_ONES
        registers[RAX], registers[RCX] = cssa, behind
        registers[RIP], registers[FSBASE], registers[GSBASE] = targets
        struct.pack_into("<QQ", frame, ssa.URSP, *host_stack)
    if notified:
        sgx.checks.report(rules.AEX_NOTIFY, "the thread is told that it was interrupted")
    opted_in = bool(flags & DBGOPTIN)
    if not opted_in and tf and sgx.checks.on(rules.EENTER_TF):
        sgx.checks.report(rules.EENTER_TF, "RFLAGS.TF stays outside until the exit")
        registers[RFLAGS] &= ~FLAG_TF
    entry = Entry(enclave, tcs_gva, tcs_hpa, aep, ssa_hpas, host_fs, host_gs, tf, opted_in)
    sgx.entries[lp.index] = entry
    enclave.inside[lp.index] = enclave.epoch
    lp.switch(lp.cr3, enclave)
    lp.set_registers(registers)
    flush(sgx, lp)
    if sgx.checks.tracer is not None:
        sgx.checks.emit(Leaf("ERESUME" if resume else "EENTER", f"TCS {tcs_gva:#x}, CSSA {cssa}"))


def _check_tcs(sgx: SGX, lp: LogicalProcessor, tcs_gva: int, aep: int) -> tuple[int, Enclave]:
    """The checks of the TCS page itself, in order; returns its address and its enclave."""
    if tcs_gva % PAGE:
        raise GeneralProtection(f"TCS {tcs_gva:#x} is not page-aligned")
    hpa = sgx.translate(lp, tcs_gva, WRITE)
    if not is_canonical(aep):
        raise GeneralProtection(f"AEP {aep:#x} is not canonical")
    entry = sgx.epcm[hpa]
    if entry.enclaveaddress != tcs_gva or not entry.is_ready(PageType.TCS):
        _judge_tcs(sgx, entry, tcs_gva)
    return hpa, enclave_of(sgx, entry.enclavesecs)


def _judge_tcs(sgx: SGX, entry: EPCMEntry, tcs_gva: int) -> None:
    """Name the check that refuses a TCS page."""
    for broken, check, why in (
        (not entry.valid, rules.EPCM_VALID, "the TCS page is not in use"),
        (entry.blocked, rules.EPCM_BLOCKED, "the TCS page is blocked"),
        (entry.enclaveaddress != tcs_gva, rules.EPCM_ENCLAVEADDRESS, "this TCS belongs elsewhere"),
        (entry.page_type != PageType.TCS, rules.EENTER_PT_TCS, "this page is no TCS"),
        (entry.pending, rules.EPCM_PENDING, "the enclave has not accepted this page"),
        (entry.modified, rules.EPCM_MODIFIED, "the enclave has not accepted this TCS"),
    ):
        if broken and sgx.checks.on(check):
            raise sgx.checks.refuse(check, epcm_fault(tcs_gva, READ, why))


def _check_fields(sgx: SGX, enclave: Enclave, flags: int, offsets: int) -> None:
    if offsets % PAGE:
        raise GeneralProtection("TCS: OSSA, OFSBASE and OGSBASE must be page-aligned")
    if flags & ~3:
        raise GeneralProtection(f"TCS.FLAGS {flags:#x} has reserved bits set")
    if not enclave.initialised and sgx.checks.on(rules.EENTER_INIT):
        refusal = GeneralProtection("EENTER, ERESUME: the enclave has not passed EINIT")
        raise sgx.checks.refuse(rules.EENTER_INIT, refusal)
    asked = bool(flags & AEXNOTIFY)
    if asked != enclave.secs.attributes.flags.aexnotify and not flags & DBGOPTIN:
        raise GeneralProtection("TCS.FLAGS.AEXNOTIFY differs from ATTRIBUTES.AEXNOTIFY")


def edeccssa(sgx: SGX, lp: LogicalProcessor) -> None:
    """EDECCSSA (RAX=9): the thread gives up its newest saved state, without returning to it.

    # Checks
    CSSA 0 #GP; the pages of the frame below as in EENTER, #PF.

    # Transition
    CSSA goes down by one, and the next exit saves into that frame. No register changes.

    Raises:
        GeneralProtection, PageFault: as above, or #GP: a processor without it.
    """
    if not sgx.aex_notify:
        raise GeneralProtection("this processor has no EDECCSSA")
    entry = sgx.entries[lp.index]
    page = sgx.machine.cache.view(entry.tcs_hpa, write=True)
    _, _, ossa, cssa, nssa, *_ = _TCS.unpack_from(page)
    if cssa == 0:
        raise GeneralProtection("EDECCSSA: CSSA is 0, no state is saved")
    entry.ssa_hpas, _ = _check_frame(sgx, lp, entry.enclave, ossa, nssa, cssa - 1)
    struct.pack_into("<I", page, TCS_CSSA, cssa - 1)


def _check_frame(
    sgx: SGX, lp: LogicalProcessor, enclave: Enclave, ossa: int, nssa: int, index: int
) -> tuple[tuple[int, ...], memoryview]:
    """The pages of an SSA frame, each a writable REG page of this enclave, and its last page."""
    if index >= nssa and sgx.checks.on(rules.EENTER_CSSA):
        fault = GeneralProtection(f"EENTER, ERESUME: all {nssa} SSA frames are in use")
        raise sgx.checks.refuse(rules.EENTER_CSSA, fault)
    size = enclave.secs.ssaframesize * PAGE
    start, pages = enclave.base + ossa + index * size, []
    for gva in range(start, start + size, PAGE):
        hpa = sgx.machine.mmu.translate(lp, gva, WRITE)
        if not _is_own_memory(sgx, enclave, gva, hpa) and sgx.checks.on(rules.EENTER_SSA):
            outside = epcm_fault(gva, WRITE, "the SSA frame is not the enclave's own memory")
            raise sgx.checks.refuse(rules.EENTER_SSA, outside)
        pages.append(hpa)
    return tuple(pages), sgx.machine.cache.view(pages[-1], write=True)


def _is_own_memory(sgx: SGX, enclave: Enclave, gva: int, hpa: int) -> bool:
    """Whether ``hpa`` is the enclave's readable and writable page for ``gva``."""
    if hpa not in sgx.epcm:
        return False
    entry = sgx.epcm[hpa]
    return (
        entry.is_ready(PageType.REG)
        and entry.r
        and entry.w
        and entry.enclavesecs == enclave.secs_hpa
        and entry.enclaveaddress == gva
    )
