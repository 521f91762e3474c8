"""ETRACK: how ring 0 makes sure that no TLB still holds a translation it wants to be rid of.

Blocking a page, or reducing its rights, does not reach into the TLBs of processors that are inside
the enclave. Ring 0 interrupts them, which flushes their TLBs; ETRACK and the leaves that rely on it
(EWB, EACCEPT) make sure that it did.

Source: Intel SDM Vol. 3D, "EPC and Management of EPC Pages": "OS Management of EPC Pages", and the
pages of the leaves in "SGX Instruction References".
"""

from __future__ import annotations

from tee_sim.abi.sgx import PageType
from tee_sim.monitors.sgx.building import enclave_of
from tee_sim.monitors.sgx.enclave import Enclave
from tee_sim.monitors.sgx.processor import SGX
from tee_sim.monitors.sgx.status import status
from tee_sim.trace import Leaf


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
    _begin(sgx, enclave_of(sgx, secs_hpa), "ETRACK")


def etrackc(sgx: SGX, page_hpa: int) -> None:
    """As ETRACK, for the enclave that the page at ``page_hpa`` belongs to.

    # Checks
    #GP: alignment. #PF: not EPC. Error 6 (ZF): not in use. Error 27 (CF): of a type that belongs to
    no enclave. Error 17 (ZF): as ETRACK.

    # Transition
    The epoch goes up by one.

    # Measurement
    None.

    Raises:
        SGXError, GeneralProtection, PageFault: as above; nothing has changed.
    """
    sgx.require_epc_page(page_hpa, "page")
    entry = sgx.epcm[page_hpa]
    if not entry.valid:
        raise status("ETRACKC", 6, f"{page_hpa:#x} is not in use")
    if entry.page_type == PageType.VA:
        raise status("ETRACKC", 27, "a version array belongs to no enclave")
    _begin(sgx, enclave_of(sgx, entry.enclavesecs), "ETRACKC")


def _begin(sgx: SGX, enclave: Enclave, leaf: str) -> None:
    if enclave.epoch and not enclave.is_tracked(enclave.epoch - 1):
        raise status(leaf, 17, f"a processor is inside since before the previous {leaf}")
    enclave.epoch += 1
    if sgx.checks.tracer is not None:
        sgx.checks.emit(Leaf(leaf, f"epoch {enclave.epoch} of the enclave at {enclave.base:#x}"))
