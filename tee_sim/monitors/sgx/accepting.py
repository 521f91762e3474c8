"""Accepting dynamic memory, from inside: EACCEPT, EACCEPTCOPY, EMODPE.

What ring 0 did to a page (`tee_sim.monitors.sgx.dynamic`) counts only once the enclave has said
what it had asked for, and the processor has found that it was just that.

Source: Intel SDM Vol. 3D, "SGX Instruction References", the page of each leaf.
"""

from __future__ import annotations

from tee_sim.abi.sgx import SECINFO, TCS, PageType, SecinfoFlags
from tee_sim.errors import GeneralProtection, LayoutError
from tee_sim.machine.cpu import LogicalProcessor
from tee_sim.machine.paging import READ, WRITE
from tee_sim.machine.registers import RBX, RCX, RDX
from tee_sim.monitors.sgx import checks as rules
from tee_sim.monitors.sgx.enclave import Enclave
from tee_sim.monitors.sgx.epcm import EPCMEntry, epcm_fault
from tee_sim.monitors.sgx.operands import operand
from tee_sim.monitors.sgx.processor import SGX
from tee_sim.monitors.sgx.status import status
from tee_sim.trace import Leaf
from tee_sim.units import PAGE

ACCEPTABLE = (PageType.REG, PageType.TCS, PageType.TRIM)
"""Types of a page that EACCEPT can be about."""


def eaccept(sgx: SGX, lp: LogicalProcessor) -> None:
    """EACCEPT (RAX=5): RBX = SECINFO with what the enclave asked for, RCX = the page.

    # Checks
    SECINFO: as any operand, and reserved bits #GP. The page: #GP alignment, ELRANGE; #PF page
    tables, not EPC. #GP a SECINFO that asks neither for a new REG page or fewer rights, nor for a
    TCS or a trimmed page. #PF page not in use, blocked, of another type or enclave. Error 19: the
    page is not as asked for (EACCEPT.ATTRIBUTES). Error 11: a processor inside may hold an old
    translation (EACCEPT.TRACKED). #GP a TCS that is in use, or has DBGOPTIN.

    # Transition
    PENDING, MODIFIED and PR are cleared: the page can be used.

    # Measurement
    None.

    Raises:
        SGXError, GeneralProtection, PageFault: as above; nothing has changed.

    Simplified: tracking is asked for where PR or MODIFIED is set; a page that comes from EAUG has
    been in no TLB. How hardware keeps track is not published.
    """
    enclave, flags = _request(sgx, lp)
    gva = lp.register(RCX)
    _require_page(enclave, gva)
    hpa = sgx.translate(lp, gva, READ)
    if flags.page_type == PageType.REG:
        legal = (flags.pr or flags.pending) and not flags.modified
    else:
        legal = flags.modified and not flags.pr and not flags.pending
    if flags.page_type not in ACCEPTABLE or not legal:
        raise GeneralProtection("EACCEPT: no change that could be accepted is named in SECINFO")
    entry = sgx.epcm[hpa]
    if (
        not entry.valid
        or entry.blocked
        or entry.page_type not in ACCEPTABLE
        or entry.enclavesecs != enclave.secs_hpa
    ):
        raise epcm_fault(gva, READ, "EACCEPT: not a page of this enclave that can change")
    wanted = (gva, flags.pending, flags.modified, flags.r, flags.w, flags.x, flags.page_type)
    if _state(entry) != wanted and sgx.checks.on(rules.EACCEPT_ATTRIBUTES):
        error = status("EACCEPT", 19, "the host did something else than it was asked for")
        raise sgx.checks.refuse(rules.EACCEPT_ATTRIBUTES, error)
    stale = (entry.pr or entry.modified) and not enclave.is_tracked(entry.epoch)
    if stale and sgx.checks.on(rules.EACCEPT_TRACKED):
        error = status("EACCEPT", 11, "a TLB may hold the page as it was: ETRACK, and interrupt")
        raise sgx.checks.refuse(rules.EACCEPT_TRACKED, error)
    if flags.page_type == PageType.TCS:
        _check_new_tcs(bytes(sgx.machine.cache.view(hpa)))
    entry.pending = entry.modified = entry.pr = False
    sgx.checks.emit(Leaf("EACCEPT", f"{entry.page_type.name} page at {gva:#x}"))


def eacceptcopy(sgx: SGX, lp: LogicalProcessor) -> None:
    """EACCEPTCOPY (RAX=7): RBX = SECINFO, RCX = a PENDING page, RDX = the page to copy into it.

    # Checks
    #GP alignment of all three, ELRANGE; #PF page tables, not EPC. SECINFO: as any operand; #GP
    reserved bits, W without R, a type other than REG. #PF a source that the enclave could not read.
    Error 19: the target is not a PENDING page for this place (EACCEPT.ATTRIBUTES).

    # Transition
    The target holds the source's bytes and has SECINFO's rights, X among them; it is not PENDING.

    # Measurement
    None.

    Raises:
        SGXError, GeneralProtection, PageFault: as above; nothing has changed.

    The SDM's text asks for R of the target where it checks the source; here it is R of the source
    (unverified).
    """
    enclave: Enclave = lp.context
    secinfo_gva, target_gva, source_gva = (lp.register(number) for number in (RBX, RCX, RDX))
    if secinfo_gva % SECINFO.SIZE:
        raise GeneralProtection(f"SECINFO {secinfo_gva:#x} is not aligned to 64 bytes")
    if target_gva % PAGE or source_gva % PAGE:
        raise GeneralProtection("EACCEPTCOPY: both pages must be page-aligned")
    for gva in (secinfo_gva, target_gva, source_gva):
        _require_page(enclave, gva & -PAGE)
    sgx.translate(lp, secinfo_gva, READ)
    target, source = sgx.translate(lp, target_gva, WRITE), sgx.translate(lp, source_gva, READ)
    _enclave, flags = _request(sgx, lp)
    if (flags.w and not flags.r) or flags.page_type != PageType.REG:
        raise GeneralProtection("EACCEPTCOPY: SECINFO must name a REG page, and R with W")
    sgx.epcm.authorize(enclave, source_gva, source, READ)
    entry = sgx.epcm[target]
    wanted = (target_gva, True, False, True, True, False, PageType.REG)
    ours = entry.valid and not entry.blocked and entry.enclavesecs == enclave.secs_hpa
    if (not ours or _state(entry) != wanted) and sgx.checks.on(rules.EACCEPT_ATTRIBUTES):
        error = status("EACCEPTCOPY", 19, "the target is no pending page for this place")
        raise sgx.checks.refuse(rules.EACCEPT_ATTRIBUTES, error)
    cache = sgx.machine.cache
    cache.view(target, write=True)[:] = bytes(cache.view(source))
    entry.r, entry.w, entry.x, entry.pending = flags.r, flags.w, flags.x, False
    sgx.checks.emit(Leaf("EACCEPTCOPY", f"{source_gva:#x} to {target_gva:#x}"))


def emodpe(sgx: SGX, lp: LogicalProcessor) -> None:
    """EMODPE (RAX=6): RBX = SECINFO with the rights to add, RCX = the page.

    # Checks
    #GP alignment of both, ELRANGE; #PF page tables, not EPC. SECINFO: as any operand, and reserved
    bits #GP. #PF a page that is not this enclave's REG page for this place, or is blocked, PENDING
    or MODIFIED. #GP a result with W and without R.

    # Transition
    Rights are added, none is taken. No tracking: a TLB with fewer rights only asks again.

    # Measurement
    None.

    Raises:
        GeneralProtection, PageFault: as above; nothing has changed.
    """
    enclave: Enclave = lp.context
    secinfo_gva, gva = lp.register(RBX), lp.register(RCX)
    if secinfo_gva % SECINFO.SIZE:
        raise GeneralProtection(f"SECINFO {secinfo_gva:#x} is not aligned to 64 bytes")
    _require_page(enclave, gva)
    _require_page(enclave, secinfo_gva & -PAGE)
    sgx.translate(lp, secinfo_gva, READ)
    hpa = sgx.translate(lp, gva, READ)
    _enclave, flags = _request(sgx, lp)
    entry = sgx.epcm[hpa]
    if (
        not entry.valid
        or entry.pending
        or entry.modified
        or entry.blocked
        or entry.page_type != PageType.REG
        or entry.enclavesecs != enclave.secs_hpa
        or entry.enclaveaddress != gva
    ):
        raise epcm_fault(gva, READ, "EMODPE: not an accepted REG page of this enclave")
    if flags.w and not (entry.r or flags.r):
        raise GeneralProtection("EMODPE: W without R")
    entry.r, entry.w, entry.x = entry.r or flags.r, entry.w or flags.w, entry.x or flags.x
    sgx.checks.emit(Leaf("EMODPE", f"page at {gva:#x}"))


def _request(sgx: SGX, lp: LogicalProcessor) -> tuple[Enclave, SecinfoFlags]:
    """The enclave that executes the leaf, and what its SECINFO says."""
    content = operand(sgx, lp, lp.register(RBX), SECINFO.SIZE, SECINFO.SIZE)
    try:
        return lp.context, SECINFO.unpack(bytes(content)).flags
    except LayoutError as error:
        raise GeneralProtection(str(error)) from None


def _require_page(enclave: Enclave, gva: int) -> None:
    if gva % PAGE:
        raise GeneralProtection(f"{gva:#x} is not page-aligned")
    if not enclave.contains(gva):
        raise GeneralProtection(f"{gva:#x} lies outside the enclave")


def _state(entry: EPCMEntry) -> tuple[int, bool, bool, bool, bool, bool, PageType]:
    """What EACCEPT compares: all but PR."""
    state = entry.enclaveaddress, entry.pending, entry.modified
    return *state, entry.r, entry.w, entry.x, entry.page_type


def _check_new_tcs(content: bytes) -> None:
    """A TCS that the enclave filled must be one that no thread has used."""
    try:
        tcs = TCS.unpack(content)
    except LayoutError as error:
        raise GeneralProtection(str(error)) from None
    if tcs.flags.dbgoptin or tcs.cssa >= tcs.nssa or tcs.aep or tcs.state:
        raise GeneralProtection("EACCEPT: the TCS is in use, opted in, or has no save frame")
