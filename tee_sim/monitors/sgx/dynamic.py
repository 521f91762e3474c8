"""Dynamic memory: pages come, change and go after EINIT, and the enclave has the last word.

::

    ring 0 proposes                       inside decides
    EAUG    a new page, PENDING  -------> EACCEPT, or EACCEPTCOPY from a page it trusts
    EMODPR  fewer rights, PR     -------> EACCEPT, after ETRACK
    EMODT   another type, MODIFIED -----> EACCEPT, after ETRACK
                                          EMODPE: more rights, at once

A PENDING or MODIFIED page cannot be used, so a proposal that the enclave did not ask for does no
harm. Here is what ring 0 does; the enclave's part is in `tee_sim.monitors.sgx.accepting`. Source
for each leaf: Intel SDM Vol. 3D, "SGX Instruction References", the page of that leaf.

Simplified: no shadow-stack pages, which need CET; leaves never run at the same moment, so no
conflict (SGX_EPC_PAGE_CONFLICT) occurs.
"""

from __future__ import annotations

from tee_sim.abi.sgx import PageType, SecinfoFlags
from tee_sim.errors import GeneralProtection, PageFault
from tee_sim.monitors.sgx import checks as rules
from tee_sim.monitors.sgx.building import enclave_of
from tee_sim.monitors.sgx.epcm import EPCMEntry
from tee_sim.monitors.sgx.processor import SGX
from tee_sim.monitors.sgx.status import status
from tee_sim.trace import Leaf
from tee_sim.units import PAGE, is_aligned


def eaug(sgx: SGX, page_hpa: int, secs_hpa: int, linaddr: int) -> None:
    """Add a page of zeros at ``linaddr`` to an initialised enclave; it is PENDING.

    # Checks
    In the SDM's order: #GP alignment; #PF not EPC; #PF page in use; #PF no such SECS; #GP not
    initialised; #GP outside ELRANGE. Not that ``linaddr`` is free: the enclave must know.

    # Transition
    The page is zeroed, readable, writable, of type REG and PENDING.

    # Measurement
    None: MRENCLAVE is final.

    Raises:
        GeneralProtection, PageFault: as above; nothing has changed.

    Simplified: no SECINFO operand; on a processor without CET it must be absent.
    """
    sgx.require_epc_page(page_hpa, "page")
    if not is_aligned(linaddr):
        raise GeneralProtection(f"LINADDR {linaddr:#x} is not page-aligned")
    sgx.require_epc_page(secs_hpa, "SECS page")
    sgx.require_free_page(page_hpa)
    enclave = enclave_of(sgx, secs_hpa)
    if not enclave.initialised:
        raise GeneralProtection("EAUG before EINIT: add pages with EADD")
    if not enclave.contains(linaddr):
        raise GeneralProtection(f"LINADDR {linaddr:#x} is outside ELRANGE")
    sgx.machine.cache.create(page_hpa, bytes(PAGE))
    entry = EPCMEntry(True, True, True, False, PageType.REG, secs_hpa, linaddr, pending=True)
    sgx.epcm.set(page_hpa, entry)
    sgx.machine.mmu.forget()
    sgx.checks.emit(Leaf("EAUG", f"page at {linaddr:#x}, pending"))


def emodpr(sgx: SGX, page_hpa: int, flags: SecinfoFlags) -> None:
    """Take rights away from a page: those that ``flags`` does not name.

    # Checks
    #GP alignment; #PF not EPC; #GP W without R; #PF page not in use; error 20 PENDING or MODIFIED;
    #PF not REG; #GP enclave not initialised. A right that the page does not have is not given
    (EMODPR.MASK).

    # Transition
    The rights become those in both; PR is set until the enclave accepts. TLBs keep what they hold.

    # Measurement
    None.

    Raises:
        SGXError, GeneralProtection, PageFault: as above; nothing has changed.
    """
    sgx.require_epc_page(page_hpa, "page")
    if flags.w and not flags.r:
        raise GeneralProtection("SECINFO: W without R")
    entry = _modifiable(sgx, page_hpa, "EMODPR", (PageType.REG,), type_first=False)
    rights = flags.r, flags.w, flags.x
    kept = entry.r and flags.r, entry.w and flags.w, entry.x and flags.x
    if rights != kept and sgx.checks.on(rules.EMODPR_MASK):
        sgx.checks.report(rules.EMODPR_MASK, "a right that the page does not have is not given")
        rights = kept
    entry.r, entry.w, entry.x = rights
    entry.pr = True
    _changed(sgx, entry)
    sgx.checks.emit(Leaf("EMODPR", f"page at {entry.enclaveaddress:#x}"))


def emodt(sgx: SGX, page_hpa: int, flags: SecinfoFlags) -> None:
    """Make a page a TCS, or trim it: the first step of its removal.

    # Checks
    #GP alignment; #PF not EPC; #GP type neither TCS nor TRIM; #PF page not in use; #PF not REG,
    nor a TCS to trim; error 20 PENDING or MODIFIED; #GP enclave not initialised.

    # Transition
    The page has the new type and no rights; MODIFIED is set until the enclave accepts. TLBs keep
    what they hold.

    # Measurement
    None.

    Raises:
        SGXError, GeneralProtection, PageFault: as above; nothing has changed.
    """
    sgx.require_epc_page(page_hpa, "page")
    kind = flags.page_type
    if kind not in (PageType.TCS, PageType.TRIM):
        raise GeneralProtection(f"EMODT makes no page of type {kind.name}")
    before = (PageType.REG, PageType.TCS) if kind == PageType.TRIM else (PageType.REG,)
    entry = _modifiable(sgx, page_hpa, "EMODT", before, type_first=True)
    entry.r = entry.w = entry.x = entry.pr = False
    entry.modified, entry.page_type = True, kind
    _changed(sgx, entry)
    sgx.checks.emit(Leaf("EMODT", f"page at {entry.enclaveaddress:#x} becomes {kind.name}"))


def _modifiable(
    sgx: SGX, hpa: int, leaf: str, types: tuple[PageType, ...], *, type_first: bool
) -> EPCMEntry:
    """The entry that ring 0 may change; the two leaves look at type and state in another order."""
    entry = sgx.epcm[hpa]
    if not entry.valid:
        raise PageFault(f"{leaf}: {hpa:#x} is not in use", address=hpa)
    wrong_type = PageFault(f"{leaf}: {hpa:#x} is a {entry.page_type.name} page", address=hpa)
    if type_first and entry.page_type not in types:
        raise wrong_type
    if entry.pending or entry.modified:
        raise status(leaf, 20, "the enclave has not accepted the last change of this page")
    if entry.page_type not in types:
        raise wrong_type
    if not enclave_of(sgx, entry.enclavesecs).initialised:
        raise GeneralProtection(f"{leaf}: the enclave has not passed EINIT")
    return entry


def _changed(sgx: SGX, entry: EPCMEntry) -> None:
    """Later decisions are made anew; what TLBs hold now is of this epoch."""
    entry.epoch = sgx.enclaves[entry.enclavesecs].epoch
    sgx.machine.mmu.forget()
