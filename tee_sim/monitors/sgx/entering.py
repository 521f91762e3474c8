"""The leaves and events that cross the enclave's border: EENTER, EEXIT, AEX, ERESUME.

::

              EENTER                        EEXIT
    host -----------------> enclave -----------------> host      registers are NOT cleared
              ERESUME                        AEX
    host -----------------> enclave -----------------> host      registers go to the SSA frame,
                                                                 the host sees synthetic ones

Source: Intel SDM Vol. 3D, "Enclave Entry and Exit", "Enclave Exiting Events", and the pages of
the leaves in "SGX Instruction References".

Simplified: no CET, no AEX-Notify, no XSAVE state beyond SSE; FS and GS are their bases alone.
"""

from __future__ import annotations

import struct

from tee_sim.abi.sgx import EXINFO, ExitInfo, PageType
from tee_sim.errors import Fault, GeneralProtection, MachineCheck, OtherFault, PageFault
from tee_sim.machine import fxsave
from tee_sim.machine.cpu import (
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
    LogicalProcessor,
)
from tee_sim.machine.exceptions import NAMES
from tee_sim.machine.paging import READ, WRITE, is_canonical
from tee_sim.monitors.sgx import checks as rules
from tee_sim.monitors.sgx.building import GPRSGX_SIZE, XFRM_LEGACY, enclave_of
from tee_sim.monitors.sgx.enclave import Enclave, Entry
from tee_sim.monitors.sgx.epcm import epcm_fault
from tee_sim.monitors.sgx.processor import SGX
from tee_sim.trace import Exit, Leaf
from tee_sim.units import PAGE

EENTER, ERESUME, EEXIT = 2, 3, 4
ENCLU_BYTES = 3
ALL_ONES = (1 << 64) - 1
FLAG_TF, FLAG_RF = 1 << 8, 1 << 16
FLAGS_RESTORED = FLAGS_ARITHMETIC | 1 << 10 | 1 << 14 | FLAG_RF | 1 << 18 | 1 << 21
"""What ERESUME takes from the SSA: CF PF AF ZF SF OF, DF, NT, RF, AC, ID; never IF or IOPL."""

DBGOPTIN = 1

_TCS = struct.Struct("<QQQIIQQQQ")
"""STATE, FLAGS, OSSA, CSSA, NSSA, OENTRY, AEP, OFSBASE, OGSBASE: `abi.sgx.TCS`, read fast."""
_STATE, _CSSA, _AEP = 0, 24, 40
_GPR_AREA = struct.Struct("<18Q")
_URSP, _EXITINFO, _FSBASE = 144, 160, 168

_REPORTED = {0: 3, 1: 3, 3: 6, 5: 3, 6: 3, 16: 3, 17: 3, 19: 3}
"""Vectors that EXITINFO reports without EXINFO, and their type (3 hardware, 6 software)."""

_DETAILED = {13: 3, 14: 3}
"""#GP and #PF, which it reports if MISCSELECT.EXINFO is set, with details in EXINFO."""


def enclu(sgx: SGX, lp: LogicalProcessor) -> bool:
    """Execute the ENCLU on which the processor stopped. Returns True if it left the enclave.

    Raises:
        GeneralProtection: the leaf does not exist, or not in this mode.
        PageFault: the leaf's own checks.
    """
    leaf, inside = lp.register(RAX) & 0xFFFF_FFFF, lp.context is not None
    if leaf == EEXIT and inside:
        eexit(sgx, lp)
        return True
    if leaf in (EENTER, ERESUME) and not inside:
        eenter(sgx, lp, resume=leaf == ERESUME)
        return False
    where = "inside" if inside else "outside"
    raise GeneralProtection(f"ENCLU leaf {leaf} does not exist, or not {where} an enclave")


def eenter(sgx: SGX, lp: LogicalProcessor, resume: bool = False) -> None:
    """EENTER (RAX=2) or, with ``resume``, ERESUME (RAX=3): RBX = TCS, RCX = AEP, RIP = the ENCLU.

    # Checks
    In the SDM's order: outside an enclave #GP; alignment #GP; EPC #PF; AEP canonical #GP; EPCM of
    the TCS #PF; its fields #GP; enclave initialised #GP; CSSA against NSSA #GP; every SSA page
    #PF; targets canonical #GP; TCS busy #GP, last.

    # Transition
    EENTER sets RAX = CSSA, RCX = address after the ENCLU, RIP, FS, GS; every other register is
    still the host's. RSP and RBP go to the SSA (U_RSP, U_RBP). ERESUME restores all registers
    from the last saved frame instead; of RFLAGS those that user code can set (unverified), TF
    excepted. Both flush the TLB.

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
    if cssa >= nssa and sgx.checks.on(rules.EENTER_CSSA):
        fault = GeneralProtection(f"EENTER: all {nssa} SSA frames are in use")
        raise sgx.checks.refuse(rules.EENTER_CSSA, fault)
    size = enclave.secs.ssaframesize * PAGE
    ssa_hpas = _check_ssa(sgx, lp, enclave, enclave.base + ossa + cssa * size, size)
    frame, gpr = sgx.machine.cache.view(ssa_hpas[-1], write=True), PAGE - GPRSGX_SIZE
    base = enclave.base
    targets = _saved(frame) if resume else (base + oentry, base + ofsbase, base + ogsbase)
    if not all(map(is_canonical, targets)):
        raise GeneralProtection("EENTER: the target, FS or GS is not canonical")
    if state and sgx.checks.on(rules.TCS_STATE):
        fault = GeneralProtection("EENTER: another logical processor uses this TCS")
        raise sgx.checks.refuse(rules.TCS_STATE, fault)
    host_fs, host_gs, tf = registers[FSBASE], registers[GSBASE], registers[RFLAGS] & FLAG_TF
    host_stack = registers[RSP], registers[RBP]
    struct.pack_into("<Q", page, _STATE, 1)
    struct.pack_into("<Q", page, _AEP, aep)
    if resume:
        _load_state(sgx, lp, registers, frame, ssa_hpas[0])
        # TF is never in the frame: whether to go on stepping is up to who resumes.
        registers[RFLAGS] = registers[RFLAGS] & ~FLAG_TF | tf
        struct.pack_into("<I", page, _CSSA, cssa)
    else:
        registers[RAX], registers[RCX] = cssa, (registers[RIP] + ENCLU_BYTES) & ALL_ONES
        registers[RIP], registers[FSBASE], registers[GSBASE] = targets
    struct.pack_into("<QQ", frame, gpr + _URSP, *host_stack)
    opted_in = bool(flags & DBGOPTIN)
    if not opted_in and tf and sgx.checks.on(rules.EENTER_TF):
        sgx.checks.report(rules.EENTER_TF, "RFLAGS.TF stays outside until the exit")
        registers[RFLAGS] &= ~FLAG_TF
    entry = Entry(enclave, tcs_gva, tcs_hpa, aep, ssa_hpas, host_fs, host_gs, tf, opted_in)
    sgx.entries[lp.index] = entry
    enclave.inside.add(lp.index)
    lp.switch(lp.cr3, enclave)
    lp.set_registers(registers)
    _flush(sgx, lp)
    if sgx.checks.tracer is not None:
        sgx.checks.emit(Leaf("ERESUME" if resume else "EENTER", f"TCS {tcs_gva:#x}, CSSA {cssa}"))


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
    registers, fpu = lp.registers(), lp.fpu()
    cache = sgx.machine.cache
    xsave = cache.view(entry.ssa_hpas[0], write=True)
    xsave[: fxsave.SIZE] = fpu
    struct.pack_into("<Q", xsave, fxsave.SIZE, XFRM_LEGACY)  # XSTATE_BV: x87 and SSE are there
    frame, gpr = cache.view(entry.ssa_hpas[-1], write=True), PAGE - GPRSGX_SIZE
    saved_flags = registers[RFLAGS] & ~FLAG_TF
    _GPR_AREA.pack_into(frame, gpr, *registers[:RFLAGS], saved_flags, registers[RIP])
    ursp, urbp = struct.unpack_from("<QQ", frame, gpr + _URSP)
    struct.pack_into("<QQ", frame, gpr + _FSBASE, registers[FSBASE], registers[GSBASE])
    detailed = bool(entry.enclave.secs.miscselect.exinfo)
    struct.pack_into("<I", frame, gpr + _EXITINFO, _exit_info(event, detailed))
    if detailed and event is not None and event.vector in _DETAILED:
        # The enclave is told the whole address; it is the host that gets a masked one.
        frame[gpr - EXINFO.SIZE : gpr] = EXINFO(
            maddr=event.address, errcd=event.error_code & 0xFFFFFFFF
        ).pack()
    tcs = cache.view(entry.tcs_hpa, write=True)
    (cssa,) = struct.unpack_from("<I", tcs, _CSSA)
    struct.pack_into("<I", tcs, _CSSA, (cssa + 1) & 0xFFFFFFFF)
    if sgx.checks.on(rules.AEX_STATE):
        flags = registers[RFLAGS] & ~(FLAGS_ARITHMETIC | FLAG_RF)
        registers = [0] * 20
        registers[RAX], registers[RBX], registers[RCX] = ERESUME, entry.tcs_gva, entry.aep
        registers[RSP], registers[RBP], registers[RFLAGS] = ursp, urbp, flags
        lp.set_fpu(_SYNTHETIC_FPU.get(event.vector if event else -1, _SYNTHETIC_FPU[-1]))
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
        entry.enclave.inside.discard(lp.index)
        lp.switch(lp.cr3, None)
        lp.flush_tlb()


def _check_tcs(sgx: SGX, lp: LogicalProcessor, tcs_gva: int, aep: int) -> tuple[int, Enclave]:
    """The checks of the TCS page itself, in order; returns its address and its enclave."""
    if tcs_gva % PAGE:
        raise GeneralProtection(f"TCS {tcs_gva:#x} is not page-aligned")
    hpa = sgx.translate(lp, tcs_gva, WRITE)
    if not is_canonical(aep):
        raise GeneralProtection(f"AEP {aep:#x} is not canonical")
    entry = sgx.epcm[hpa]
    if not entry.valid or entry.blocked or entry.pending or entry.modified:
        raise epcm_fault(tcs_gva, READ, "the TCS page is not in use, blocked or not accepted")
    if entry.page_type != PageType.TCS and sgx.checks.on(rules.EENTER_PT_TCS):
        fault = epcm_fault(tcs_gva, READ, f"a {entry.page_type.name} page is no TCS")
        raise sgx.checks.refuse(rules.EENTER_PT_TCS, fault)
    if entry.enclaveaddress != tcs_gva:
        raise epcm_fault(tcs_gva, READ, f"this TCS belongs at {entry.enclaveaddress:#x}")
    return hpa, enclave_of(sgx, entry.enclavesecs)


def _check_fields(sgx: SGX, enclave: Enclave, flags: int, offsets: int) -> None:
    if offsets % PAGE:
        raise GeneralProtection("TCS: OSSA, OFSBASE and OGSBASE must be page-aligned")
    if flags & ~3:
        raise GeneralProtection(f"TCS.FLAGS {flags:#x} has reserved bits set")
    if not enclave.initialised and sgx.checks.on(rules.EENTER_INIT):
        refusal = GeneralProtection("EENTER: the enclave has not passed EINIT")
        raise sgx.checks.refuse(rules.EENTER_INIT, refusal)
    if flags & 2:
        raise GeneralProtection("TCS.FLAGS.AEXNOTIFY: the enclave was created without it")


def _check_ssa(
    sgx: SGX, lp: LogicalProcessor, enclave: Enclave, start: int, size: int
) -> tuple[int, ...]:
    """Physical pages of one SSA frame; each must be a writable REG page of this enclave."""
    pages = []
    for gva in range(start, start + size, PAGE):
        try:
            hpa = sgx.translate(lp, gva, WRITE)
            entry = sgx.epcm[hpa]
            if (
                not (entry.valid and entry.r and entry.w)
                or entry.enclavesecs != enclave.secs_hpa
                or entry.page_type != PageType.REG
                or entry.enclaveaddress != gva
                or entry.blocked
                or entry.pending
                or entry.modified
            ):
                raise epcm_fault(gva, WRITE, "the SSA frame is not the enclave's own memory")
        except PageFault as fault:
            if sgx.checks.on(rules.EENTER_SSA):
                raise sgx.checks.refuse(rules.EENTER_SSA, fault) from None
            hpa = sgx.machine.mmu.translate(lp, gva, WRITE)
        pages.append(hpa)
    return tuple(pages)


def _saved(frame: memoryview) -> tuple[int, ...]:
    """RIP, FS and GS of an interrupted thread."""
    gpr = PAGE - GPRSGX_SIZE
    rip = struct.unpack_from("<Q", frame, gpr + 8 * RIP)
    return rip + struct.unpack_from("<QQ", frame, gpr + _FSBASE)


def _load_state(
    sgx: SGX, lp: LogicalProcessor, registers: list[int], frame: memoryview, fpu_hpa: int
) -> None:
    """ERESUME: the registers that the last AEX saved."""
    host_flags = registers[RFLAGS]
    registers[:18] = _GPR_AREA.unpack_from(frame, PAGE - GPRSGX_SIZE)
    registers[RFLAGS] = registers[RFLAGS] & FLAGS_RESTORED | host_flags & ~FLAGS_RESTORED
    registers[18:] = struct.unpack_from("<QQ", frame, PAGE - GPRSGX_SIZE + _FSBASE)
    lp.set_fpu(bytes(sgx.machine.cache.view(fpu_hpa)[: fxsave.SIZE]))


def _leave(sgx: SGX, lp: LogicalProcessor, entry: Entry, registers: list[int]) -> None:
    """What EEXIT and AEX have in common."""
    registers[FSBASE], registers[GSBASE] = entry.host_fs, entry.host_gs
    registers[RFLAGS] = registers[RFLAGS] & ~FLAG_TF | entry.trap_flag
    struct.pack_into("<Q", sgx.machine.cache.view(entry.tcs_hpa, write=True), _STATE, 0)
    del sgx.entries[lp.index]
    entry.enclave.inside.discard(lp.index)
    lp.switch(lp.cr3, None)
    _flush(sgx, lp)


def _flush(sgx: SGX, lp: LogicalProcessor) -> None:
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


def _exit_info(event: Fault | None, detailed: bool) -> ExitInfo:
    """EXITINFO for the enclave's own handler: vectors that it is told about."""
    reported = _REPORTED | _DETAILED if detailed else _REPORTED
    if event is None or event.vector not in reported:
        return ExitInfo()
    return ExitInfo(vector=event.vector, exit_type=reported[event.vector], valid=True)


def _synthetic_fpu(fcw: int = 0x37F, fsw: int = 0, mxcsr: int = 0x1FB0) -> bytes:
    image = bytearray(fxsave.INITIAL)
    struct.pack_into("<HH", image, 0, fcw, fsw)
    struct.pack_into("<I", image, 24, mxcsr)
    return bytes(image)


_SYNTHETIC_FPU = {
    -1: _synthetic_fpu(),
    16: _synthetic_fpu(0x37E, 0x8081),
    19: _synthetic_fpu(mxcsr=0x1F01),
}
"""x87 and SSE state that the host finds, by vector of the event: #MF and #XM show their own."""

_SOMEWHERE = "inside the enclave; where, it does not tell unless it is a debug enclave"
