"""The debugger's leaves, EDBGRD and EDBGWR: they work on debug enclaves only.

Source: Intel SDM Vol. 3D, "Enclave Code Debug and Profiling", and the pages of the leaves.
"""

from __future__ import annotations

from tee_sim.abi.sgx import TCS, PageType
from tee_sim.errors import GeneralProtection, PageFault
from tee_sim.monitors.sgx import checks as rules
from tee_sim.monitors.sgx.building import enclave_of
from tee_sim.monitors.sgx.processor import SGX
from tee_sim.monitors.sgx.status import status
from tee_sim.units import PAGE

ALL_ONES = (1 << 64) - 1
_TCS_FLAGS = TCS.FIELDS["flags"].offset


def edbgrd(sgx: SGX, hpa: int) -> int:
    """Read 8 bytes of a debug enclave, or learn whether a version slot is occupied.

    # Checks
    #GP: not 8-byte aligned, or the enclave was not created with ATTRIBUTES.DEBUG (EDBGRD.DEBUG).
    #PF: not a valid REG, TCS or VA page of the EPC. Error 21: the page is pending or modified.

    # Transition
    None. Of a version array only this much is told: 0 for a free slot, all ones for another.

    Args:
        sgx: the processor.
        hpa: physical address of the 8 bytes.

    Returns:
        The value, little-endian.

    Raises:
        SGXError, GeneralProtection, PageFault: as above.
    """
    page, offset = _debuggable(sgx, hpa, "EDBGRD"), hpa % PAGE
    value = int.from_bytes(sgx.machine.cache.view(page)[offset : offset + 8], "little")
    return value and ALL_ONES if sgx.epcm[page].page_type == PageType.VA else value


def edbgwr(sgx: SGX, hpa: int, value: int) -> None:
    """Write 8 bytes of a debug enclave; in a TCS only FLAGS.

    # Checks
    As EDBGRD; #GP for any other field of a TCS.

    # Transition
    The bytes change; the measurement does not.

    Args:
        sgx: the processor.
        hpa: physical address of the 8 bytes.
        value: 64 bits.

    Raises:
        SGXError, GeneralProtection, PageFault: as above; nothing has changed.
    """
    page, offset = _debuggable(sgx, hpa, "EDBGWR"), hpa % PAGE
    if sgx.epcm[page].page_type == PageType.TCS and offset != _TCS_FLAGS:
        raise GeneralProtection("EDBGWR: of a TCS only FLAGS can be written")
    if not 0 <= value < 1 << 64:
        raise GeneralProtection(f"EDBGWR: {value:#x} does not fit 64 bits")
    view = sgx.machine.cache.view(page, write=True)
    view[offset : offset + 8] = value.to_bytes(8, "little")


def _debuggable(sgx: SGX, hpa: int, leaf: str) -> int:
    """The page, if the leaf may touch it."""
    if hpa % 8:
        raise GeneralProtection(f"{leaf}: {hpa:#x} is not 8-byte aligned")
    page = hpa & -PAGE
    if page not in sgx.epcm:
        raise PageFault(f"{leaf}: {hpa:#x} is not in the EPC", address=hpa)
    entry = sgx.epcm[page]
    if entry.valid and entry.page_type == PageType.VA and leaf == "EDBGRD":
        return page
    if not entry.valid or entry.page_type not in (PageType.REG, PageType.TCS):
        raise PageFault(f"{leaf}: {page:#x} is not a REG or TCS page in use", address=hpa)
    if not enclave_of(sgx, entry.enclavesecs).debug and sgx.checks.on(rules.EDBG_DEBUG):
        fault = GeneralProtection(f"{leaf}: this is a production enclave")
        raise sgx.checks.refuse(rules.EDBG_DEBUG, fault)
    if entry.pending or entry.modified:
        raise status(leaf, 21, "the enclave has not accepted this page")
    return page
