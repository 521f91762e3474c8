"""ETRACK: how ring 0 makes sure that no TLB still holds a translation it wants to be rid of.

Blocking a page, or reducing its rights, does not reach into the TLBs of processors that are inside
the enclave. Ring 0 interrupts them, which flushes their TLBs; ETRACK and the leaves that rely on it
(EWB, EACCEPT) make sure that it did.

Source: Intel SDM Vol. 3D, "EPC and Management of EPC Pages": "OS Management of EPC Pages", and the
page of ETRACK in "SGX Instruction References".
"""

from __future__ import annotations

from tee_sim.monitors.sgx.building import enclave_of
from tee_sim.monitors.sgx.processor import SGX
from tee_sim.monitors.sgx.status import status


def etrack(sgx: SGX, secs_hpa: int) -> None:
    """Begin a tracking cycle for the enclave whose SECS is at ``secs_hpa``.

    # Checks
    #GP: alignment. #PF: not EPC, no SECS. Error 17: the previous cycle is not complete, a processor
    that was inside when it began still is.

    # Transition
    The epoch goes up by one.

    # Measurement
    None.

    Raises:
        SGXError, GeneralProtection, PageFault: as above; nothing has changed.
    """
    sgx.require_epc_page(secs_hpa, "SECS page")
    enclave = enclave_of(sgx, secs_hpa)
    if enclave.epoch and not enclave.is_tracked(enclave.epoch - 1):
        raise status("ETRACK", 17, "a processor is inside since before the previous ETRACK")
    enclave.epoch += 1
