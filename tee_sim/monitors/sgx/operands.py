"""Memory operands of the ENCLU leaves that an enclave executes: EREPORT, EGETKEY, EACCEPT, ...

Such an operand lies inside the enclave and passes the checks of any access by its code; the leaf
then reads or writes the plaintext on the die.
"""

from __future__ import annotations

from tee_sim.errors import GeneralProtection, PageFault
from tee_sim.machine.cpu import LogicalProcessor
from tee_sim.machine.paging import READ, WRITE
from tee_sim.monitors.sgx.enclave import Enclave
from tee_sim.monitors.sgx.processor import SGX
from tee_sim.units import PAGE


def operand(
    sgx: SGX, lp: LogicalProcessor, gva: int, size: int, align: int, *, write: bool = False
) -> memoryview:
    """The ``size`` bytes at ``gva`` of the enclave that ``lp`` runs in, in place.

    # Checks
    #GP: not aligned, or not wholly in ELRANGE. #PF: the page tables, not EPC, or the EPCM's rules
    for an access by the enclave's code.

    Args:
        sgx: the processor.
        lp: the logical processor, inside an enclave.
        gva: linear address.
        size: bytes, at most a page; an aligned operand never crosses one.
        align: bytes.
        write: the leaf will write it.

    Raises:
        GeneralProtection, PageFault: as above.
    """
    enclave: Enclave = lp.context
    if gva % align:
        raise GeneralProtection(f"operand {gva:#x} is not aligned to {align} bytes")
    if not enclave.base <= gva <= enclave.limit - size:
        raise GeneralProtection(f"operand {gva:#x} lies outside the enclave")
    access = WRITE if write else READ
    hpa = sgx.machine.mmu.translate(lp, gva, access)
    if hpa not in sgx.epcm:
        raise PageFault(f"operand {gva:#x} is not an EPC page", address=gva, error_code=0x5)
    sgx.epcm.authorize(enclave, gva, hpa, access)
    offset = gva % PAGE
    return sgx.machine.cache.view(hpa, write=write)[offset : offset + size]
