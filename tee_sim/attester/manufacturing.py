"""What the vendor knows of a processor because he made it: the keys that certify the platform.

In the factory the root provisioning key is burnt into the fuses, and a copy is kept. From that copy
the vendor computes what EGETKEY gives to his provisioning certification enclave (PCE) at each raw
TCB, and from this the PCE's key pair, the PCK. So he can certify a platform's keys without asking
the platform; and whoever steals one provisioning key can sign as that platform.

::

    root provisioning key (fuses)
      EGETKEY(PROVISION, CPUSVN, ISVSVN)    only for an enclave of the vendor with PROVISIONKEY
        PCK private key                     inside the PCE, and at the vendor
      EGETKEY(PROVISION, 0, 0)
        PPID                                names the platform

Source: intel/linux-sgx, ``psw/ae/pce/pce_helper.cpp`` (both derivations).

Simplified: the vendor keeps no copy of the fuses here; he looks at the processor itself, once, in
`manufacture`. On servers Intel's second root, the platform's own keys and their registration, is
left out: one package, one set of fuses.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from tee_sim.abi.sgx import AttributeFlags, Attributes, AttributesMask, KeyName
from tee_sim.attest.certificates import CA, P256_ORDER, public_bytes
from tee_sim.attest.intel import SimulatedIntel
from tee_sim.checks import PATCH_LEVEL
from tee_sim.errors import UsageError
from tee_sim.monitors.sgx.keys import KeyDependencies, cmac, derive
from tee_sim.monitors.sgx.processor import SGX, VENDOR_HASH, cpusvn
from tee_sim.platform import Platform
from tee_sim.sdk.signing import ALL_BITS
from tee_sim.sdk.sources import find, read

PCEID = bytes(2)
"""Which PCE: Intel has never had another."""


@dataclass(frozen=True)
class Model:
    """What is printed on the box.

    Attributes:
        fmspc: family, model, stepping, platform type and custom SKU, 6 bytes.
        ca: who certifies the platform: client processors one CA, servers another.
    """

    fmspc: bytes
    ca: CA


MODELS = {
    "sgx-mee": Model(bytes.fromhex("00906ed50000"), "processor"),
    "sgx-tme": Model(bytes.fromhex("00606a000000"), "platform"),
}


def manufacture(platform: Platform, intel: SimulatedIntel) -> bytes:
    """Have the vendor certify a processor's keys, one for each patch level that it can have.

    Returns:
        The platform's PPID, 16 bytes.

    Raises:
        UsageError: the processor has no SGX.
    """
    sgx = platform.monitor
    if not isinstance(sgx, SGX):
        raise UsageError(f"{platform.tee.name} has no SGX; there are: {', '.join(MODELS)}")
    model, isvsvn = MODELS[platform.tee.name], read(find("pce")).config.isvsvn
    ppid = cmac(provisioning_key(sgx, bytes(16), 0), bytes(16))
    for level in range(PATCH_LEVEL + 1):
        key = derive_key(provisioning_key(sgx, cpusvn(level), isvsvn), b"PAK_KEY_DER")
        intel.certify(
            public_bytes(key.public_key()),
            ppid=ppid,
            cpusvn=cpusvn(level),
            pcesvn=isvsvn,
            fmspc=model.fmspc,
            pceid=PCEID,
            ca=model.ca,
        )
    return ppid


def provisioning_key(sgx: SGX, version: bytes, isvsvn: int) -> bytes:
    """What EGETKEY gives the PCE, 16 bytes.

    Args:
        sgx: the processor.
        version: CPUSVN, 16 bytes.
        isvsvn: of the PCE.
    """
    mask = AttributesMask(flags=ALL_BITS & ~AttributeFlags(mode64bit=True), xfrm=0)
    record = KeyDependencies(
        keyname=KeyName.PROVISION,
        isvprodid=read(find("pce")).config.isvprodid,
        isvsvn=isvsvn,
        attributes=Attributes(flags=AttributeFlags(init=True, provisionkey=True), xfrm=0).pack(),
        attributemask=mask.pack(),
        cpusvn=version,
        mrsigner=VENDOR_HASH,
    )
    return derive(sgx, record)


def derive_key(key: bytes, label: bytes) -> ec.EllipticCurvePrivateKey:
    """A P-256 private key from a key of the processor, as the vendor's enclaves derive theirs.

    Args:
        key: 16 bytes.
        label: at most 13 bytes.

    Source: intel/linux-sgx, ``get_pce_priv_key``: three blocks of AES-CMAC, 320 bits of which are
    "extra random bits" as in NIST FIPS 186-5.
    """
    blocks = (cmac(key, bytes([n]) + label.ljust(13, b"\0") + b"\x01\x40") for n in (1, 2, 3))
    number = int.from_bytes(b"".join(blocks)[:40], "big") % (P256_ORDER - 1) + 1
    return ec.derive_private_key(number, ec.SECP256R1())
