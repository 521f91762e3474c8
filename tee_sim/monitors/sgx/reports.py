"""EREPORT and EVERIFYREPORT2: proof, to somebody on the same processor, of who one is.

A report is authenticated with a key that its target, and no other enclave, gets from EGETKEY; so
the target can tell that the processor made it. Nobody else can tell anything.

Source: Intel SDM Vol. 3D, "EREPORT - Create a Cryptographic Report of the Enclave".
"""

from __future__ import annotations

import hmac

from tee_sim.abi.layout import Struct, at
from tee_sim.abi.sgx import REPORT, TARGETINFO, ReportBody
from tee_sim.errors import GeneralProtection, LayoutError
from tee_sim.machine.cpu import LogicalProcessor
from tee_sim.machine.registers import RBX, RCX, RDX
from tee_sim.monitors.sgx import checks as rules
from tee_sim.monitors.sgx.enclave import Enclave
from tee_sim.monitors.sgx.keys import cmac, derive, is_beyond, report_dependencies
from tee_sim.monitors.sgx.operands import operand
from tee_sim.monitors.sgx.processor import SGX
from tee_sim.monitors.sgx.status import refusal, status

REPORTDATA_SIZE = 64

REPORT_TYPE_TEE = 0x81
"""REPORTTYPE.TYPE of a structure that is no SGX report."""


# fmt: off
class REPORTMACSTRUCT(Struct, size=256, source="intel/linux-sgx, common/inc/sgx_report2.h"):
    """The authenticated part of a TDREPORT, which EVERIFYREPORT2 checks."""

    reporttype:        int   = at(0,   4,  "81h in the lowest byte; subtype and version are 0")
    cpusvn:            bytes = at(16,  16, "security version of the processor")
    tee_tcb_info_hash: bytes = at(32,  48, "SHA-384 of TEE_TCB_INFO")
    tee_info_hash:     bytes = at(80,  48, "SHA-384 of TEE_INFO")
    reportdata:        bytes = at(128, 64, "what the reporter wants to say")
    mac:               bytes = at(224, 32, "MAC of the first 224 bytes")
# fmt: on


def ereport(sgx: SGX, lp: LogicalProcessor) -> None:
    """Write a report of the enclave to RDX, for the TARGETINFO at RBX, with the data at RCX.

    # Checks
    #GP, #PF: the operands, in the order RBX (512 bytes, aligned to 512), its reserved fields, RCX
    (64 bytes, aligned to 128), RDX (432 bytes, aligned to 512).

    # Transition
    The report is written, and authenticated with the target's report key.

    # Measurement
    None.

    Raises:
        GeneralProtection, PageFault: as above; nothing has changed.
    """
    registers = lp.registers()
    data = operand(sgx, lp, registers[RBX], TARGETINFO.SIZE, 512)
    try:
        target = TARGETINFO.unpack(bytes(data))
    except LayoutError as error:
        raise GeneralProtection(f"TARGETINFO: {error}") from None
    if target.cet_attributes:
        raise GeneralProtection("TARGETINFO.CET_ATTRIBUTES is reserved without CET")
    said = bytes(operand(sgx, lp, registers[RCX], REPORTDATA_SIZE, 128))
    output = operand(sgx, lp, registers[RDX], REPORT.SIZE, 512, write=True)
    output[:] = report(sgx, lp.context, target, said).pack()


def report(sgx: SGX, enclave: Enclave, target: TARGETINFO, reportdata: bytes) -> REPORT:
    """The report of an enclave for a target."""
    secs = enclave.secs
    body = ReportBody(
        cpusvn=sgx.cpusvn,
        miscselect=secs.miscselect,
        isvextprodid=enclave.isvextprodid,
        attributes=secs.attributes,
        mrenclave=secs.mrenclave,
        mrsigner=secs.mrsigner,
        configid=secs.configid,
        isvprodid=secs.isvprodid,
        isvsvn=secs.isvsvn,
        configsvn=secs.configsvn,
        isvfamilyid=enclave.isvfamilyid,
        reportdata=reportdata,
    )
    key = derive(sgx, report_dependencies(sgx, target, sgx.report_keyid))
    return REPORT(body=body, keyid=sgx.report_keyid, mac=cmac(key, body.pack()))


def everifyreport2(sgx: SGX, lp: LogicalProcessor) -> None:
    """Check that this platform made the REPORTMACSTRUCT at RBX, for example a trust domain's.

    # Checks
    #GP, #PF: the operand, 256 bytes, aligned to 256. Then, error code in parentheses: type,
    reserved fields or MAC (28); CPUSVN beyond the current one (32).

    # Transition
    None.

    # Measurement
    None.

    Raises:
        SGXError, GeneralProtection, PageFault: as above.

    Source: intel/linux-sgx, ``common/inc/sgx_report2.h``, ``sgx_verify_report2.cpp`` (structure,
    kinds of refusal). The number 28 and the order of the checks are unverified.

    Simplified: nothing on this platform makes such a structure yet: that is the TDX module's part.
    """
    data = bytes(operand(sgx, lp, lp.registers()[RBX], REPORTMACSTRUCT.SIZE, 256))
    try:
        structure = REPORTMACSTRUCT.unpack(data)
    except LayoutError as error:
        raise status("EVERIFYREPORT2", 28, str(error)) from None
    if structure.reporttype != REPORT_TYPE_TEE:
        raise status("EVERIFYREPORT2", 28, f"type {structure.reporttype:#x}, not 0x81")
    if is_beyond(structure.cpusvn, sgx.cpusvn):
        raise status("EVERIFYREPORT2", 32, "made with a CPUSVN beyond the current one")
    genuine = hmac.compare_digest(structure.mac, report_mac(sgx, structure))
    if not genuine and sgx.checks.on(rules.REPORT2_MAC):
        text = "this platform, since it was switched on, did not make this structure"
        raise refusal(sgx.checks, rules.REPORT2_MAC, "EVERIFYREPORT2", 28, text)


def report_mac(sgx: SGX, structure: REPORTMACSTRUCT) -> bytes:
    """The MAC that belongs into a REPORTMACSTRUCT: HMAC-SHA256, 32 bytes.

    Simplified: where its key comes from is not published; here it is made at each boot.
    """
    return hmac.digest(sgx.report_mac_key, structure.pack()[:224], "sha256")
