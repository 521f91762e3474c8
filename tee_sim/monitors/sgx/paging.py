"""The leaves that move pages out of the EPC and back: EPA, EBLOCK, EWB, ELDB, ELDU, ERDINFO.

::

    EPA        a version-array page: 512 slots
    EBLOCK     no new translation to the page     (old ones are still in TLBs)
    ETRACK     begin to count who was inside      (`tracking`; then interrupt them: TLBs are empty)
    EWB        out: ciphertext and PCMD to the host, the version into a slot
    ELDU       back: only the very page that was evicted last, and only once

What a page is outside, and what is compared when it returns, is in `evicted`. Source for each:
Intel SDM Vol. 3D, "SGX Instruction References", the page of that leaf.

Simplified: leaves run one at a time, so none ever finds a page or a slot in use by another one
(#GP, or error 7 from ELDBC and ELDUC), and ELDBC and ELDUC are ELDB and ELDU.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from tee_sim.abi.sgx import PCMD, SECINFO, VA_SLOT, EvictedPage, PageType, SecinfoFlags
from tee_sim.errors import GeneralProtection, PageFault
from tee_sim.monitors.sgx import checks as rules
from tee_sim.monitors.sgx.building import enclave_of
from tee_sim.monitors.sgx.enclave import Enclave
from tee_sim.monitors.sgx.epcm import EPCMEntry
from tee_sim.monitors.sgx.evicted import mac_header
from tee_sim.monitors.sgx.processor import SGX
from tee_sim.monitors.sgx.status import status
from tee_sim.units import PAGE

OF_ENCLAVES = (PageType.REG, PageType.TCS, PageType.TRIM)
"""Types of page that have an owner's SECS; the others stand for themselves."""


class RDINFO(NamedTuple):
    """What ERDINFO tells. Simplified: values, not the structure of 32 bytes."""

    child_present: bool
    flags: SecinfoFlags
    blocked: bool
    enclavecontext: int


def epa(sgx: SGX, page_hpa: int) -> None:
    """Make ``page_hpa`` an empty version-array page.

    # Checks
    #GP: alignment. #PF: not EPC, or in use.

    # Transition
    The page is zero, of type VA, and no software can read or write it.

    # Measurement
    None.

    Raises:
        GeneralProtection, PageFault: as above; nothing has changed.
    """
    sgx.require_epc_page(page_hpa, "VA page")
    sgx.require_free_page(page_hpa)
    _commit(sgx, page_hpa, EPCMEntry(True, page_type=PageType.VA), bytes(PAGE))
    sgx.trace("EPA", f"{page_hpa:#x}")


def eblock(sgx: SGX, page_hpa: int) -> None:
    """Block a page: from now on no TLB gets a translation to it.

    # Checks
    #GP: alignment. #PF: not EPC. Error 6 (ZF): not in use. Error 18 (CF): a SECS. Error 5 (CF): of
    another type that cannot be blocked. Error 3 (CF): blocked already.

    # Transition
    The entry is blocked and notes the owner's epoch. TLB entries stay as they are.

    # Measurement
    None.

    Raises:
        SGXError, GeneralProtection, PageFault: as above; nothing has changed.
    """
    sgx.require_epc_page(page_hpa, "page")
    entry = sgx.epcm[page_hpa]
    if not entry.valid:
        raise status("EBLOCK", 6, f"{page_hpa:#x} is not in use")
    if entry.page_type == PageType.SECS:
        raise status("EBLOCK", 18, "a SECS page needs no blocking")
    if entry.page_type not in OF_ENCLAVES:
        raise status("EBLOCK", 5, f"a {entry.page_type.name} page cannot be blocked")
    if entry.blocked:
        raise status("EBLOCK", 3, "the page is blocked already")
    entry.blocked, entry.epoch = True, enclave_of(sgx, entry.enclavesecs).epoch
    sgx.machine.mmu.forget()
    sgx.trace("EBLOCK", f"{page_hpa:#x}")


def ewb(sgx: SGX, page_hpa: int, slot_hpa: int) -> EvictedPage:
    """Evict a page: encrypt it for the host, and keep its version in the slot at ``slot_hpa``.

    # Checks
    #GP: alignment of the page. #PF: not EPC. #GP: alignment of the slot. #PF: not EPC. #GP: the
    slot is in the page itself. #PF: the page is not in use. #PF: the slot is not in a version-array
    page (VA.PT). Then, of an enclave's page: error 10 (EWB.BLOCKED); error 11 (EWB.TRACKED). Of a
    SECS: error 13, pages of its enclave are in the EPC (EWB.CHILD). All three set ZF.

    # Transition
    The page is free. The slot holds its version; if it was occupied, code 12 (CF) says so, and the
    version that it held is lost all the same. Ciphertext, rights and MAC are the host's
    (EWB.ENCRYPTION, EWB.VERSION).

    # Measurement
    None.

    Raises:
        SGXError, GeneralProtection, PageFault: as above; nothing has changed.

    Simplified: the page's bytes stay where they were until the slot is used again. "EBLOCK is not
    correct" (#GP) is not told from "not tracked".
    """
    sgx.require_epc_page(page_hpa, "page")
    _require_slot(sgx, slot_hpa)
    if slot_hpa & -PAGE == page_hpa:
        raise GeneralProtection("EWB: the version cannot stay in the page that leaves")
    entry = sgx.epcm[page_hpa]
    if not entry.valid:
        raise PageFault(f"{page_hpa:#x} is not in use", address=page_hpa)
    _require_va(sgx, slot_hpa)
    _require_evictable(sgx, page_hpa, entry)
    content: bytes | memoryview = sgx.machine.cache.view(page_hpa)
    eid = owner = 0
    if entry.page_type in OF_ENCLAVES:
        eid = owner = enclave_of(sgx, entry.enclavesecs).eid
    elif entry.page_type == PageType.SECS:
        enclave = enclave_of(sgx, page_hpa)
        owner, content = enclave.eid, sgx.paging.pack_secs(enclave)
    flags = _secinfo(entry)
    slot = sgx.machine.cache.view(slot_hpa & -PAGE, write=True)
    version = sgx.paging.next_version()
    header = mac_header(eid, entry.enclaveaddress, flags)
    srcpge, mac = sgx.paging.encrypt(version, header, content)
    pcmd = PCMD(secinfo=SECINFO(flags=flags), enclaveid=owner, mac=mac)
    occupied = _version(slot, slot_hpa) != 0
    struct.pack_into("<Q", slot, slot_hpa % PAGE, version)
    if entry.page_type == PageType.SECS:
        del sgx.enclaves[page_hpa]
    entry.valid = False
    sgx.machine.mmu.forget()
    sgx.trace("EWB", f"{entry.page_type.name} page of {entry.enclaveaddress:#x}")
    return EvictedPage(entry.enclaveaddress, srcpge, pcmd, occupied)


def eldu(
    sgx: SGX,
    page_hpa: int,
    secs_hpa: int,
    slot_hpa: int,
    evicted: EvictedPage,
    *,
    block: bool = False,
) -> Enclave | None:
    """ELDU or, with ``block``, ELDB: bring an evicted page back into the free page ``page_hpa``.

    # Checks
    #GP: alignment of the page. #PF: not EPC. #GP: alignment of the slot. #PF: not EPC. #PF: the
    page is in use. #PF: the slot is not in a version-array page (VA.PT). For an enclave's page,
    #GP: alignment of the SECS, #PF: no SECS there; for another one #GP: a SECS is named. Error 9
    (ZF): the MAC over content, rights, type, address, EID and version is another (ELD.MAC); the
    page stays free and the slot as it is.

    # Transition
    The slot is free. The page is what it was when it left, under the SECS that was named. ELDB
    blocks it again, unless it is a SECS or a version array.

    # Measurement
    None: the measurement of an enclave does not change while it is moved.

    Args:
        sgx: the processor.
        page_hpa: where to.
        secs_hpa: PAGEINFO.SECS, its enclave's SECS page; 0 for a SECS or a version array.
        slot_hpa: where its version is.
        evicted: what EWB gave out.
        block: ELDB.

    Returns:
        The enclave if the page is a SECS, else None.

    Raises:
        SGXError, GeneralProtection, PageFault: as above; nothing has changed.
    """
    leaf = "ELDB" if block else "ELDU"
    sgx.require_epc_page(page_hpa, "page")
    _require_slot(sgx, slot_hpa)
    if len(evicted.srcpge) != PAGE:
        raise GeneralProtection(f"{leaf}: a page has {PAGE} bytes, not {len(evicted.srcpge)}")
    sgx.require_free_page(page_hpa)
    _require_va(sgx, slot_hpa)
    flags, owner = evicted.pcmd.secinfo.flags, None
    if flags.page_type in OF_ENCLAVES:
        sgx.require_epc_page(secs_hpa, "SECS page")
        owner = enclave_of(sgx, secs_hpa)
    elif secs_hpa:
        raise GeneralProtection(f"{leaf}: a {flags.page_type.name} page has no other SECS")
    slot = sgx.machine.cache.view(slot_hpa & -PAGE, write=True)
    header = mac_header(owner.eid if owner else 0, evicted.linaddr, flags)
    version = _version(slot, slot_hpa)
    content = sgx.paging.decrypt(version, header, evicted.srcpge, evicted.pcmd.mac)
    if content is None:
        text = "not the page whose version this slot holds, or not for this address and enclave"
        raise sgx.checks.refuse(rules.ELD_MAC, status(leaf, 9, text))
    enclave = None
    if flags.page_type == PageType.SECS:
        enclave = sgx.enclaves[page_hpa] = sgx.paging.unpack_secs(content, page_hpa)
        content = enclave.secs.pack()
    struct.pack_into("<Q", slot, slot_hpa % PAGE, 0)
    entry = EPCMEntry(True, flags.r, flags.w, flags.x, flags.page_type)
    entry.enclavesecs, entry.enclaveaddress = page_hpa if enclave else secs_hpa, evicted.linaddr
    entry.pending, entry.modified, entry.pr = flags.pending, flags.modified, flags.pr
    if owner is not None:
        # EWB has made sure that the page is in no TLB: a change of it counts as tracked. Whether a
        # page that ELDB blocks does is unverified: here it does not.
        entry.blocked, entry.epoch = block, owner.epoch if block else -1
    _commit(sgx, page_hpa, entry, content)
    sgx.trace(leaf, f"{flags.page_type.name} page of {evicted.linaddr:#x}")
    return enclave


def erdinfo(sgx: SGX, page_hpa: int) -> RDINFO:
    """What the EPCM says about a page: for the hypervisor of a guest that does its own paging.

    # Checks
    #GP: alignment. Code 26 (CF): not EPC. Code 6 (CF): not in use.

    # Transition
    None.

    # Measurement
    None.

    Returns:
        ENCLAVECONTEXT is the address of the enclave's SECS page; 0 for a version array.

    Raises:
        SGXError, GeneralProtection: as above.
    """
    if page_hpa % PAGE:
        raise GeneralProtection(f"page {page_hpa:#x} is not page-aligned")
    if page_hpa not in sgx.epcm:
        raise status("ERDINFO", 26, f"{page_hpa:#x} is not in the EPC")
    entry = sgx.epcm[page_hpa]
    if not entry.valid:
        raise status("ERDINFO", 6, f"{page_hpa:#x} is not in use")
    parent = entry.page_type == PageType.SECS and bool(sgx.epcm.owned_by(page_hpa))
    return RDINFO(parent, _secinfo(entry), entry.blocked, entry.enclavesecs)


def _require_slot(sgx: SGX, slot_hpa: int) -> None:
    if slot_hpa % VA_SLOT:
        raise GeneralProtection(f"version slot {slot_hpa:#x} is not aligned to {VA_SLOT} bytes")
    if slot_hpa not in sgx.epcm:
        raise PageFault(f"version slot {slot_hpa:#x} is not in the EPC", address=slot_hpa)


def _require_va(sgx: SGX, slot_hpa: int) -> None:
    entry = sgx.epcm[slot_hpa & -PAGE]
    if not entry.valid:
        raise PageFault(f"the page of slot {slot_hpa:#x} is not in use", address=slot_hpa)
    if entry.page_type != PageType.VA and sgx.checks.on(rules.VA_PT):
        fault = PageFault(f"slot {slot_hpa:#x} lies in no version-array page", address=slot_hpa)
        raise sgx.checks.refuse(rules.VA_PT, fault)


def _require_evictable(sgx: SGX, page_hpa: int, entry: EPCMEntry) -> None:
    """The checks of EWB that depend on the type of the page."""
    on, refuse = sgx.checks.on, sgx.checks.refuse
    if entry.page_type == PageType.SECS:
        if sgx.epcm.owned_by(page_hpa) and on(rules.EWB_CHILD):
            raise refuse(rules.EWB_CHILD, status("EWB", 13, "the enclave has pages in the EPC"))
    elif entry.page_type in OF_ENCLAVES:
        if not entry.blocked and on(rules.EWB_BLOCKED):
            raise refuse(rules.EWB_BLOCKED, status("EWB", 10, "EBLOCK the page first"))
        tracked = enclave_of(sgx, entry.enclavesecs).is_tracked(entry.epoch)
        if not tracked and on(rules.EWB_TRACKED):
            text = "ETRACK, then interrupt whoever was inside: a TLB may reach the page"
            raise refuse(rules.EWB_TRACKED, status("EWB", 11, text))


def _secinfo(entry: EPCMEntry) -> SecinfoFlags:
    return SecinfoFlags(
        r=entry.r,
        w=entry.w,
        x=entry.x,
        pending=entry.pending,
        modified=entry.modified,
        pr=entry.pr,
        page_type=entry.page_type,
    )


def _version(va_page: memoryview, slot_hpa: int) -> int:
    version: int = struct.unpack_from("<Q", va_page, slot_hpa % PAGE)[0]
    return version


def _commit(sgx: SGX, page_hpa: int, entry: EPCMEntry, content: bytes) -> None:
    sgx.epcm.set(page_hpa, entry)
    sgx.machine.cache.create(page_hpa, content)
    sgx.machine.mmu.forget()
