"""The leaves that build an enclave and take it apart: ECREATE, EADD, EEXTEND, EREMOVE.

EINIT, which ends the building, is in `launching`.

Each has the SDM's three parts: what it checks, what it changes, what it measures. Source for each:
Intel SDM Vol. 3D, "SGX Instruction References", the page of that leaf.
"""

from __future__ import annotations

from collections.abc import Sequence

from tee_sim.abi.image import eadd_record, ecreate_record, eextend_record
from tee_sim.abi.sgx import (
    CHUNK,
    SECS,
    TCS,
    PageType,
    SecinfoFlags,
)
from tee_sim.errors import GeneralProtection, LayoutError, PageFault
from tee_sim.machine.fxsave import SIZE as FXSAVE_SIZE
from tee_sim.machine.paging import is_canonical
from tee_sim.monitors.sgx import checks as rules
from tee_sim.monitors.sgx.enclave import Enclave
from tee_sim.monitors.sgx.epcm import EPCMEntry
from tee_sim.monitors.sgx.processor import SGX
from tee_sim.monitors.sgx.status import refusal
from tee_sim.units import PAGE, is_aligned

XSAVE_HEADER = 64
GPRSGX_SIZE = 184
XFRM_LEGACY = 0x3
"""XFRM with x87 and SSE, the only state this processor has."""


def ecreate(sgx: SGX, page_hpa: int, secs: SECS) -> Enclave:
    """Make ``page_hpa`` the SECS page of a new, empty enclave.

    # Checks
    #GP: alignment; SIZE a power of two of at least two pages; BASEADDR canonical, a multiple of
    SIZE; XFRM, SSAFRAMESIZE, ATTRIBUTES, MISCSELECT and KSS fields legal. #PF: not EPC, or in use.

    # Transition
    MRENCLAVE, MRSIGNER, ISVPRODID and ISVSVN start at zero; ATTRIBUTES.INIT is clear.

    # Measurement
    SSAFRAMESIZE and SIZE. Not BASEADDR, ATTRIBUTES (so not DEBUG) or MISCSELECT.

    Raises:
        GeneralProtection, PageFault: as above; nothing has changed.
    """
    sgx.require_epc_page(page_hpa, "SECS page")
    size, flags = secs.size, secs.attributes.flags
    needed = FXSAVE_SIZE + XSAVE_HEADER + GPRSGX_SIZE + (16 if secs.miscselect.exinfo else 0)
    wrong = [
        (size < 2 * PAGE or size & (size - 1), f"SIZE {size:#x} is no power of two >= 8192"),
        (secs.baseaddr % max(size, 1), f"BASEADDR {secs.baseaddr:#x} is no multiple of SIZE"),
        (
            not is_canonical(secs.baseaddr) or not is_canonical(secs.baseaddr + max(size, 1) - 1),
            f"ELRANGE {secs.baseaddr:#x}+{size:#x} is not canonical",
        ),
        (secs.attributes.xfrm != XFRM_LEGACY, "XFRM must be 3: this processor has x87 and SSE"),
        (secs.ssaframesize * PAGE < needed, "SSAFRAMESIZE is too small for the saved state"),
        (flags.init, "ATTRIBUTES.INIT is set by EINIT alone"),
        (not flags.mode64bit, "ATTRIBUTES.MODE64BIT must be set: only 64-bit mode is modelled"),
        (
            flags.cet or secs.cet_attributes or secs.cet_leg_bitmap_offset,
            "this processor has no CET",
        ),
        (flags.aexnotify and not sgx.aex_notify, "this processor has no AEX-Notify"),
        (secs.miscselect & ~1, "MISCSELECT has a bit that this processor does not know"),
        (not flags.kss and (any(secs.configid) or secs.configsvn), "CONFIGID needs KSS"),
    ]
    _require(wrong)
    sgx.require_free_page(page_hpa)
    fresh = secs.with_(mrenclave=bytes(32), mrsigner=bytes(32), isvprodid=0, isvsvn=0)
    enclave = Enclave(page_hpa, fresh, eid=sgx.next_eid())
    enclave.digest.update(ecreate_record(secs.ssaframesize, size))
    sgx.enclaves[page_hpa] = enclave
    _enter(sgx, page_hpa, EPCMEntry(True, page_type=PageType.SECS, enclavesecs=page_hpa))
    sgx.machine.cache.create(page_hpa, fresh.pack())
    sgx.trace("ECREATE", f"ELRANGE {secs.baseaddr:#x}+{size:#x}")
    return enclave


def eadd(
    sgx: SGX, page_hpa: int, secs_hpa: int, linaddr: int, flags: SecinfoFlags, content: bytes
) -> None:
    """Copy ``content`` (one page) into the EPC page ``page_hpa`` of an enclave being built.

    # Checks
    #GP: alignment, W without R, type neither TCS nor REG, outside ELRANGE, TCS fields, enclave
    already initialised (EADD.INIT). #PF: not EPC, page in use, no such SECS.

    # Transition
    A TCS loses its rights and its STATE, CSSA, AEP and DBGOPTIN.

    # Measurement
    Offset in ELRANGE and SECINFO flags; not the content (that is EEXTEND's part).

    Raises:
        GeneralProtection, PageFault: as above; nothing has changed.
    """
    sgx.require_epc_page(page_hpa, "page")
    sgx.require_epc_page(secs_hpa, "SECS page")
    enclave = enclave_of(sgx, secs_hpa)
    kind = flags.page_type
    _require(
        [
            (not is_aligned(linaddr), f"LINADDR {linaddr:#x} is not page-aligned"),
            (kind not in (PageType.TCS, PageType.REG), f"EADD adds no page of type {kind}"),
            (flags.w and not flags.r, "SECINFO: W without R"),
            (flags.pending or flags.modified or flags.pr, "SECINFO: PENDING, MODIFIED, PR"),
            (len(content) != PAGE, f"a page has {PAGE} bytes, not {len(content)}"),
            (not enclave.contains(linaddr), f"LINADDR {linaddr:#x} is outside ELRANGE"),
        ]
    )
    sgx.require_free_page(page_hpa)
    if enclave.initialised and sgx.checks.on(rules.EADD_INIT):
        fault = GeneralProtection("EADD after EINIT: the enclave is complete")
        raise sgx.checks.refuse(rules.EADD_INIT, fault)
    if kind == PageType.TCS:
        flags, content = SecinfoFlags(page_type=PageType.TCS), _clean_tcs(content)
    entry = EPCMEntry(True, flags.r, flags.w, flags.x, kind, secs_hpa, linaddr)
    _enter(sgx, page_hpa, entry)
    sgx.machine.cache.create(page_hpa, content)
    if sgx.checks.on(rules.MEASURE_EADD):
        enclave.digest.update(eadd_record(linaddr - enclave.base, flags))
    sgx.trace("EADD", f"{kind.name} page at {linaddr:#x}")


def eextend(sgx: SGX, chunk_hpa: int, chunks: int = 1) -> None:
    """Measure 256 bytes of an EPC page that was added.

    # Checks
    #GP: not aligned to 256 bytes, enclave already initialised. #PF: not EPC, not a valid REG or
    TCS page.

    # Measurement
    Offset in ELRANGE and the 256 bytes, as they stand in the EPC.

    Args:
        sgx: the processor.
        chunk_hpa: physical address of the chunk.
        chunks: execute the leaf this many times, for consecutive chunks of the same page.

    Raises:
        GeneralProtection, PageFault: as above; nothing has changed.
    """
    page_hpa = chunk_hpa & -PAGE
    if chunk_hpa % CHUNK or chunks < 1 or chunk_hpa - page_hpa + chunks * CHUNK > PAGE:
        raise GeneralProtection(f"{chunk_hpa:#x}: EEXTEND measures aligned chunks of 256 bytes")
    sgx.require_epc_page(page_hpa, "page")
    entry = sgx.epcm[page_hpa]
    if not entry.valid or entry.page_type not in (PageType.REG, PageType.TCS):
        raise PageFault(f"{page_hpa:#x} is not a REG or TCS page", address=chunk_hpa)
    enclave = enclave_of(sgx, entry.enclavesecs)
    if enclave.initialised:
        raise GeneralProtection("EEXTEND after EINIT: the measurement is final")
    if sgx.checks.on(rules.MEASURE_EEXTEND):
        view = sgx.machine.cache.view(page_hpa)
        offset = entry.enclaveaddress - enclave.base
        log: list[bytes | memoryview] = []
        for low in range(chunk_hpa - page_hpa, chunk_hpa - page_hpa + chunks * CHUNK, CHUNK):
            log += (eextend_record(offset + low), view[low : low + CHUNK])
        enclave.digest.update(b"".join(log))
    sgx.trace("EEXTEND", f"{chunks} x 256 bytes at {entry.enclaveaddress:#x}")


def eremove(sgx: SGX, page_hpa: int) -> None:
    """Take a page out of its enclave; the slot is free again.

    # Checks
    #GP alignment. Error 13: a SECS whose enclave still has pages. Error 14: a logical processor
    runs in the enclave; not for a version array, nor for a trimmed page that the enclave accepted,
    which is in no TLB. A free page is left as it is.

    # Transition
    The EPCM entry becomes invalid. The page's bytes stay where they are.

    Raises:
        SGXError, GeneralProtection, PageFault: as above; nothing has changed.
    """
    sgx.require_epc_page(page_hpa, "page")
    entry = sgx.epcm[page_hpa]
    if not entry.valid:
        return
    given_up = entry.page_type == PageType.TRIM and not entry.modified
    if entry.page_type == PageType.SECS:
        if sgx.epcm.owned_by(page_hpa) and sgx.checks.on(rules.EREMOVE_CHILD):
            raise refusal(
                sgx.checks, rules.EREMOVE_CHILD, "EREMOVE", 13, "the enclave still has pages"
            )
        sgx.enclaves.pop(page_hpa, None)
    elif (
        not given_up and _is_active(sgx, entry.enclavesecs) and sgx.checks.on(rules.EREMOVE_ACTIVE)
    ):
        raise refusal(
            sgx.checks, rules.EREMOVE_ACTIVE, "EREMOVE", 14, "a thread runs in the enclave"
        )
    entry.valid = False
    sgx.machine.mmu.forget()
    sgx.trace("EREMOVE", f"{page_hpa:#x}")


def enclave_of(sgx: SGX, secs_hpa: int) -> Enclave:
    """The enclave whose SECS page is ``secs_hpa``; #PF if there is none."""
    enclave = sgx.enclaves.get(secs_hpa)
    if enclave is None:
        raise PageFault(f"{secs_hpa:#x} is not a valid SECS page", address=secs_hpa)
    return enclave


def _is_active(sgx: SGX, secs_hpa: int) -> bool:
    enclave = sgx.enclaves.get(secs_hpa)
    return enclave is not None and bool(enclave.inside)


def _enter(sgx: SGX, page_hpa: int, entry: EPCMEntry) -> None:
    sgx.epcm.set(page_hpa, entry)
    sgx.machine.mmu.forget()


def _clean_tcs(content: bytes) -> bytes:
    """Check a TCS that is being added, and clear what only the processor may set."""
    try:
        tcs = TCS.unpack(content)
    except LayoutError as error:
        raise GeneralProtection(str(error)) from None
    _require(
        [
            (not is_aligned(tcs.ossa), "TCS.OSSA is not page-aligned"),
            (not is_aligned(tcs.ofsbase), "TCS.OFSBASE is not page-aligned"),
            (not is_aligned(tcs.ogsbase), "TCS.OGSBASE is not page-aligned"),
        ]
    )
    return tcs.with_(state=0, cssa=0, aep=0, flags=tcs.flags.with_(dbgoptin=False)).pack()


def _require(wrong: Sequence[tuple[object, str]]) -> None:
    for failed, why in wrong:
        if failed:
            raise GeneralProtection(why)
