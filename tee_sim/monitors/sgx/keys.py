"""EGETKEY: keys that only this processor can make, and only for the enclave they are meant for.

A key is derived from the fuses of the processor and from a record of what it is bound to: some of
it the enclave's identity, which the processor fills in itself, some of it the caller's request.

Sources: Intel SDM Vol. 3D, "EGETKEY - Retrieves a Cryptographic Key", with its table "Key
Derivation" and its pseudocode; where the two differ (KEYID of the provisioning keys), the latter.

Simplified: the derivation function is a secret of the silicon; here it is one AES-CMAC under the
root provisioning key over the record below, whose layout is ours. So the key of an older CPUSVN is
not computed from that of a newer one, as it is there; only the check keeps the newer one away.
PADDING is left out: it is the same constant for every enclave with a valid signature.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from tee_sim.abi.layout import Struct, at
from tee_sim.abi.sgx import KEYREQUEST, SDM, TARGETINFO, KeyName
from tee_sim.errors import GeneralProtection, LayoutError
from tee_sim.machine.cpu import LogicalProcessor
from tee_sim.machine.registers import RBX, RCX
from tee_sim.monitors.sgx import checks as rules
from tee_sim.monitors.sgx.enclave import Enclave
from tee_sim.monitors.sgx.operands import operand
from tee_sim.monitors.sgx.processor import SGX
from tee_sim.monitors.sgx.status import refusal, status

REQUIRED_SEALING_MASK = 0x3
"""ATTRIBUTES that enter every key, whatever the mask says: INIT and DEBUG."""

KSS_POLICY = 0x3C
"""Bits of KEYPOLICY that need KSS."""

SEALING = (KeyName.SEAL, KeyName.PROVISION_SEAL)
"""The keys whose binding the caller chooses in KEYPOLICY."""

CAPABILITY: Final = {
    KeyName.EINITTOKEN: "einittokenkey",
    KeyName.PROVISION: "provisionkey",
    KeyName.PROVISION_SEAL: "provisionkey",
}
"""The bit of ATTRIBUTES that a key needs; the others are for every enclave."""


# fmt: off
class KeyDependencies(Struct, size=416, source=SDM + '"EGETKEY": TMP_KEYDEPENDENCIES'):
    """What a key is bound to. A row that a key leaves at zero does not bind it."""

    keyname:       int   = at(0,   2,  "which key")
    keypolicy:     int   = at(2,   2,  "KEYPOLICY of the request")
    isvprodid:     int   = at(4,   2,  "ISVPRODID of the enclave")
    isvsvn:        int   = at(6,   2,  "ISVSVN of the request")
    configsvn:     int   = at(8,   2,  "CONFIGSVN of the request")
    miscselect:    int   = at(12,  4,  "MISCSELECT of the enclave under the mask")
    miscmask:      int   = at(16,  4,  "inverted MISCMASK of the request")
    attributes:    bytes = at(32,  16, "ATTRIBUTES of the enclave under the mask")
    attributemask: bytes = at(48,  16, "ATTRIBUTEMASK of the request")
    ownerepoch:    bytes = at(64,  16, "CR_SGXOWNEREPOCH")
    cpusvn:        bytes = at(80,  16, "CPUSVN of the request")
    seal_fuses:    bytes = at(96,  16, "CR_SEAL_FUSES, the root seal key")
    isvfamilyid:   bytes = at(112, 16, "ISVFAMILYID of the enclave")
    isvextprodid:  bytes = at(128, 16, "ISVEXTPRODID of the enclave")
    keyid:         bytes = at(144, 32, "KEYID of the request")
    mrenclave:     bytes = at(176, 32, "MRENCLAVE of the enclave")
    mrsigner:      bytes = at(208, 32, "MRSIGNER of the enclave")
    configid:      bytes = at(240, 64, "CONFIGID of the enclave")
# fmt: on


def egetkey(sgx: SGX, lp: LogicalProcessor) -> None:
    """Write the key that the KEYREQUEST at RBX asks for to RCX, 16 bytes.

    # Checks
    #GP, #PF: the operands, 512 and 16 bytes aligned to their size. #GP: reserved fields; KSS's
    policy bits or CONFIGSVN without KSS. Then, error code in parentheses: no such key (256);
    ATTRIBUTES without the key's capability (2); CPUSVN beyond the current one (32); ISVSVN or
    CONFIGSVN above the enclave's (64).

    # Transition
    The key is written; nothing else changes.

    # Measurement
    None.

    Raises:
        SGXError, GeneralProtection, PageFault: as above; nothing has changed.

    Simplified: the SDM lets processors check in any order; this is the one of its pseudocode. That
    an enclave with EINITTOKENKEY has the signer in IA32_SGXLEPUBKEYHASH is checked by EINIT alone.
    """
    registers = lp.registers()
    data = operand(sgx, lp, registers[RBX], KEYREQUEST.SIZE, 512)
    output = operand(sgx, lp, registers[RCX], 16, 16, write=True)
    try:
        request = KEYREQUEST.unpack(bytes(data))
    except LayoutError as error:
        raise GeneralProtection(f"KEYREQUEST: {error}") from None
    if request.cet_attributes_mask:
        raise GeneralProtection("KEYREQUEST.CET_ATTRIBUTES_MASK is reserved without CET")
    enclave: Enclave = lp.context
    kss = enclave.secs.attributes.flags.kss
    if not kss and (request.keypolicy & KSS_POLICY or request.configsvn):
        raise GeneralProtection("KEYREQUEST: this policy, and CONFIGSVN, need KSS")
    _authorize(sgx, enclave, request)
    output[:] = derive(sgx, dependencies(sgx, enclave, request))


def _authorize(sgx: SGX, enclave: Enclave, request: KEYREQUEST) -> None:
    """Raise unless this enclave may have this key."""
    secs, on = enclave.secs, sgx.checks.on
    if request.keyname not in tuple(KeyName):
        raise status("EGETKEY", 256, f"there is no key {request.keyname}")
    name = KeyName(request.keyname)
    if name == KeyName.REPORT:
        return
    if name in CAPABILITY and not getattr(secs.attributes.flags, CAPABILITY[name]):
        text = f"{name.name} needs ATTRIBUTES.{CAPABILITY[name].upper()}"
        if name == KeyName.EINITTOKEN:
            raise status("EGETKEY", 2, text)
        if on(rules.EGETKEY_PROVISIONKEY):
            raise refusal(sgx.checks, rules.EGETKEY_PROVISIONKEY, "EGETKEY", 2, text)
    if is_beyond(request.cpusvn, sgx.cpusvn) and on(rules.EGETKEY_CPUSVN):
        text = f"CPUSVN {request.cpusvn.hex()} is beyond the current {sgx.cpusvn.hex()}"
        raise refusal(sgx.checks, rules.EGETKEY_CPUSVN, "EGETKEY", 32, text)
    if request.isvsvn > secs.isvsvn and on(rules.EGETKEY_ISVSVN):
        text = f"ISVSVN {request.isvsvn} is above the enclave's own {secs.isvsvn}"
        raise refusal(sgx.checks, rules.EGETKEY_ISVSVN, "EGETKEY", 64, text)
    # The pseudocode asks this of SEAL alone, the text of every key that is bound to CONFIGSVN.
    if name in SEALING and request.configsvn > secs.configsvn:
        text = f"CONFIGSVN {request.configsvn} is above the enclave's own {secs.configsvn}"
        raise status("EGETKEY", 64, text)


def dependencies(sgx: SGX, enclave: Enclave, request: KEYREQUEST) -> KeyDependencies:
    """What the requested key is bound to: one row of the SDM's table "Key Derivation"."""
    secs, policy, name = enclave.secs, request.keypolicy, KeyName(request.keyname)
    if name == KeyName.REPORT:
        own = TARGETINFO(
            measurement=secs.mrenclave,
            attributes=secs.attributes,
            miscselect=secs.miscselect,
            configid=secs.configid,
            configsvn=secs.configsvn,
        )
        return report_dependencies(sgx, own, request.keyid)
    sealing, provisioning = name in SEALING, CAPABILITY.get(name) == "provisionkey"
    masks, config = name != KeyName.EINITTOKEN, sealing and bool(policy.configid)
    mask = request.attributemask.with_(flags=request.attributemask.flags | REQUIRED_SEALING_MASK)
    return KeyDependencies(
        keyname=name,
        keypolicy=policy if sealing else 0,
        isvprodid=0 if sealing and policy.noisvprodid else secs.isvprodid,
        isvsvn=request.isvsvn,
        configsvn=request.configsvn if config else 0,
        miscselect=secs.miscselect & request.miscmask,
        miscmask=~request.miscmask & 0xFFFF_FFFF if masks else 0,
        attributes=_and(secs.attributes.pack(), mask.pack()),
        attributemask=request.attributemask.pack() if masks else bytes(16),
        ownerepoch=bytes(16) if provisioning else sgx.ownerepoch,
        cpusvn=request.cpusvn,
        seal_fuses=bytes(16) if name == KeyName.PROVISION else sgx.seal_fuses,
        isvfamilyid=enclave.isvfamilyid if sealing and policy.isvfamilyid else bytes(16),
        isvextprodid=enclave.isvextprodid if sealing and policy.isvextprodid else bytes(16),
        keyid=bytes(32) if provisioning else request.keyid,
        mrenclave=secs.mrenclave if name == KeyName.SEAL and policy.mrenclave else bytes(32),
        mrsigner=secs.mrsigner if name != KeyName.SEAL or policy.mrsigner else bytes(32),
        configid=secs.configid if config else bytes(64),
    )


def report_dependencies(sgx: SGX, target: TARGETINFO, keyid: bytes) -> KeyDependencies:
    """What the report key of an enclave is bound to: its own request and EREPORT agree on it."""
    return KeyDependencies(
        keyname=KeyName.REPORT,
        configsvn=target.configsvn,
        miscselect=target.miscselect,
        attributes=target.attributes.pack(),
        ownerepoch=sgx.ownerepoch,
        cpusvn=sgx.cpusvn,
        seal_fuses=sgx.seal_fuses,
        keyid=keyid,
        mrenclave=target.measurement,
        configid=target.configid,
    )


def derive(sgx: SGX, record: KeyDependencies) -> bytes:
    """The key that belongs to a record, 16 bytes; see the module's text."""
    on, report = sgx.checks.on, record.keyname == KeyName.REPORT
    if report and not on(rules.REPORT_TARGET):
        record = record.with_(mrenclave=bytes(32))
    if not report and not on(rules.KEY_MRENCLAVE):
        record = record.with_(mrenclave=bytes(32))
    if not on(rules.KEY_MRSIGNER):
        record = record.with_(mrsigner=bytes(32))
    root = sgx.provisioning_fuses
    if not on(rules.KEY_FUSES):
        record, root = record.with_(seal_fuses=bytes(16)), bytes(16)
    return cmac(root, record.pack())


def cmac(key: bytes, data: bytes) -> bytes:
    """AES-CMAC, 16 bytes (NIST SP 800-38B)."""
    mac = CMAC(AES(key))
    mac.update(data)
    return mac.finalize()


def is_beyond(asked: bytes, current: bytes) -> bool:
    """Whether one CPUSVN names a version of some component that another does not have yet.

    Simplified: how a processor compares CPUSVNs is not published; see `processor.cpusvn`.
    """
    return any(a > c for a, c in zip(asked, current, strict=True))


def _and(one: bytes, other: bytes) -> bytes:
    return bytes(a & b for a, b in zip(one, other, strict=True))
