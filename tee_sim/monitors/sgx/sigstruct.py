"""Sign and verify SIGSTRUCT: who answers for an enclave, and for which one.

The signature is RSA-3072 with exponent 3. Checking it means computing ``signature ** 3 % modulus``
and comparing with the padded digest. SIGSTRUCT carries two quotients, Q1 and Q2, so that the
processor's microcode can do that without dividing; it checks them on the way, and so do we.

Source: Intel SDM Vol. 3D, "Enclave Signature Structure (SIGSTRUCT)" and "EINIT - Initialize an
Enclave for Execution"; RFC 8017, "EMSA-PKCS1-v1_5".
"""

import datetime
import hashlib
from typing import Literal, TypeAlias

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from tee_sim.abi.sgx import Attributes, AttributesMask, MiscSelect
from tee_sim.abi.sgx_sign import HEADER, HEADER2, SIGSTRUCT
from tee_sim.errors import TeeSimError, UsageError
from tee_sim.machine.entropy import published_key

KEY_BYTES = 384
"""Bytes of the modulus, the signature, Q1 and Q2."""

EXPONENT = 3
"""The only public exponent that EINIT accepts."""

ALL_MISC = 0xFFFFFFFF
"""MISCMASK under which every bit of MISCSELECT counts."""

_SHA256_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
_TEACHING_DATE = datetime.date(2024, 1, 1)
_NO_MISC = MiscSelect()

Reason: TypeAlias = Literal["exponent", "modulus", "signature", "q1", "q2"]


class BadSigstruct(TeeSimError):
    """The signature in a SIGSTRUCT does not hold.

    Attributes:
        reason: the field that is wrong.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(f"SIGSTRUCT.{reason.upper()}: {message}")
        self.reason: Reason = reason


def sign(
    measurement: bytes,
    key: RSAPrivateKey,
    *,
    attributes: Attributes,
    attributemask: AttributesMask,
    miscselect: MiscSelect = _NO_MISC,
    miscmask: int = ALL_MISC,
    isvprodid: int = 0,
    isvsvn: int = 0,
    isvfamilyid: bytes = bytes(16),
    isvextprodid: bytes = bytes(16),
    date: datetime.date = _TEACHING_DATE,
    vendor: int = 0,
    swdefined: int = 0,
) -> SIGSTRUCT:
    """Certify one enclave.

    Args:
        measurement: the MRENCLAVE that the enclave must have, 32 bytes.
        key: the signer's RSA key, 3072 bits, exponent 3.
        attributes: ATTRIBUTES that the enclave must have, where the mask says so.
        attributemask: which bits of ATTRIBUTES count. A mask without DEBUG lets the host choose.
        miscselect: MISCSELECT that the enclave must have, where the mask says so.
        miscmask: which bits of MISCSELECT count.
        isvprodid: the product number.
        isvsvn: its security version.
        isvfamilyid: the product family, 16 bytes; non-zero needs KSS.
        isvextprodid: the extended product number, 16 bytes; non-zero needs KSS.
        date: written into SIGSTRUCT; fixed by default, so that builds can be repeated.
        vendor: 0, or 8086h for Intel's own enclaves.
        swdefined: whatever the signer wants to say in 32 bits.

    Raises:
        UsageError: the key has another size or exponent.
        LayoutError: a value does not fit its field.
    """
    public = key.public_key().public_numbers()
    if key.key_size != 8 * KEY_BYTES or public.e != EXPONENT:
        raise UsageError(
            f"SGX signs with RSA-3072 and exponent 3, not RSA-{key.key_size} and {public.e}"
        )
    unsigned = SIGSTRUCT(
        header=HEADER,
        vendor=vendor,
        date=int(f"{date:%Y%m%d}", 16),
        header2=HEADER2,
        swdefined=swdefined,
        modulus=public.n.to_bytes(KEY_BYTES, "little"),
        exponent=EXPONENT,
        miscselect=miscselect,
        miscmask=miscmask,
        attributes=attributes,
        attributemask=attributemask,
        enclavehash=measurement,
        isvfamilyid=isvfamilyid,
        isvextprodid=isvextprodid,
        isvprodid=isvprodid,
        isvsvn=isvsvn,
    )
    big_endian = key.sign(unsigned.signed_bytes(), PKCS1v15(), hashes.SHA256())
    signature = int.from_bytes(big_endian, "big")
    q1, q2 = quotients(signature, public.n)
    return unsigned.with_(signature=big_endian[::-1], q1=_little(q1), q2=_little(q2))


def quotients(signature: int, modulus: int) -> tuple[int, int]:
    """Q1 and Q2: what dividing by the modulus yields when the signature is squared, then cubed."""
    q1, square = divmod(signature * signature, modulus)
    return q1, square * signature // modulus


def verify(sigstruct: SIGSTRUCT) -> None:
    """Check the signature and its quotients. Whose key it is, `mrsigner` tells.

    Raises:
        BadSigstruct: one of them is wrong; ``reason`` names the field.

    Simplified: the SDM does not say which of these the processor looks at first; all of them make
        EINIT return SGX_INVALID_SIGNATURE, except the exponent (SGX_INVALID_SIG_STRUCT).
    """
    modulus = int.from_bytes(sigstruct.modulus, "little")
    signature = int.from_bytes(sigstruct.signature, "little")
    if sigstruct.exponent != EXPONENT:
        raise BadSigstruct("exponent", f"{sigstruct.exponent}, not 3")
    if modulus.bit_length() != 8 * KEY_BYTES:
        raise BadSigstruct("modulus", f"{modulus.bit_length()} bits, not 3072")
    if signature >= modulus or pow(signature, EXPONENT, modulus) != _padded_digest(sigstruct):
        raise BadSigstruct("signature", "the key in MODULUS has not signed these bytes")
    q1, q2 = quotients(signature, modulus)
    if sigstruct.q1 != _little(q1):
        raise BadSigstruct("q1", "not the quotient of SIGNATURE squared by MODULUS")
    if sigstruct.q2 != _little(q2):
        raise BadSigstruct("q2", "not the quotient of SIGNATURE cubed by MODULUS")


def mrsigner(sigstruct: SIGSTRUCT) -> bytes:
    """MRSIGNER: the SHA-256 of the modulus as SIGSTRUCT stores it, 32 bytes."""
    return hashlib.sha256(sigstruct.modulus).digest()


def _padded_digest(sigstruct: SIGSTRUCT) -> int:
    info = _SHA256_DIGEST_INFO + hashlib.sha256(sigstruct.signed_bytes()).digest()
    padding = b"\xff" * (KEY_BYTES - 3 - len(info))
    return int.from_bytes(b"\x00\x01" + padding + b"\x00" + info, "big")


def _little(number: int) -> bytes:
    return number.to_bytes(KEY_BYTES, "little")


def load_signing_key() -> RSAPrivateKey:
    """The key that signs this project's example programs. It is public: it protects nothing."""
    return published_key("signing_key.pem")


def load_attacker_key() -> RSAPrivateKey:
    """Another public key: that of a host which signs a changed program as its own."""
    return published_key("attacker_key.pem")


def load_vendor_key() -> RSAPrivateKey:
    """The public key of the simulated vendor: IA32_SGXLEPUBKEYHASH names it after a reset."""
    return published_key("vendor_key.pem")
