"""TPM 2.0: a quote, the keys that sign it, and the evidence that goes to a Verifier with them.

A TPM's structures are big-endian, and here each has one layout: keys on P-256, hashes by SHA-256.

Sources: TCG TPM 2.0 Library, Part 1, "Names", and Part 2 (each structure by its name); TCG EK
Credential Profile, "Template L-2: ECC NIST P256 (Storage)". What ``tpmstream`` 0.1.10 reads in
these bytes was compared. It is no dependency: an alpha version of 2023, without event logs;
``tpm2-pytss`` needs a native TSS.
"""

import hashlib
import struct
from dataclasses import astuple, dataclass
from typing import Final

from tee_sim.errors import LayoutError, Truncated

PCR_COUNT = 24
ALG_SHA256 = 0x000B
MAX_NONCE = 64
"""Most bytes of a quote's nonce (TPM2B_DATA, in a TPM whose largest hash has 64 bytes)."""

_GENERATED, _ATTEST_QUOTE, _RH_ENDORSEMENT = 0xFF544347, 0x8018, 0x4000000B

# TPMT_PUBLIC up to its point: type, name algorithm, attributes, policy, parameters.
_EK: Final = bytes.fromhex(
    "0023000b000300b20020837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa"
    "000600800043001000030010"
)
_AK: Final = bytes.fromhex("0023000b00050072000000100018000b00030010")


def qualified_name(ek: bytes, ak: bytes) -> bytes:
    """Who signs a quote: an attestation key below an endorsement key, 34 bytes.

    The name covers what the attestation key is: fixed to its TPM and *restricted*, so that it signs
    nothing that looks like a quote unless the TPM itself made it.

    Args:
        ek: public endorsement key, x || y, 64 bytes.
        ak: public attestation key, x || y, 64 bytes.
    """
    names = [
        _hashed(template + b"\0\x20" + point[:32] + b"\0\x20" + point[32:])
        for template, point in ((_EK, ek), (_AK, ak))
    ]
    return _hashed(_hashed(_RH_ENDORSEMENT.to_bytes(4, "big") + names[0]) + names[1])


def _hashed(data: bytes) -> bytes:
    return ALG_SHA256.to_bytes(2, "big") + hashlib.sha256(data).digest()


@dataclass(frozen=True)
class Quote:
    """TPMS_ATTEST of a quote: what a TPM says about its PCRs.

    Attributes:
        signer: `qualified_name` of the key that signs it.
        nonce: what the challenger wants to see in it, at most `MAX_NONCE` bytes.
        pcrs: which PCRs, ascending.
        pcr_digest: SHA-256 of their values in that order.
        clock: milliseconds that the TPM has been on.
        reset_count: how often it was reset, and so the machine booted.
        restart_count: how often it was suspended since.
        safe: 1 if no larger clock can have been reported before.
        firmware_version: the TPM's own.
    """

    signer: bytes
    nonce: bytes
    pcrs: tuple[int, ...]
    pcr_digest: bytes
    clock: int
    reset_count: int
    restart_count: int
    safe: int
    firmware_version: int

    def pack(self) -> bytes:
        """The bytes that are signed."""
        mask = sum(1 << pcr for pcr in self.pcrs).to_bytes(3, "little")
        head = _GENERATED, _ATTEST_QUOTE, 34, self.signer, len(self.nonce), self.nonce
        clock = self.clock, self.reset_count, self.restart_count, self.safe, self.firmware_version
        tail = 1, ALG_SHA256, 3, mask, 32, self.pcr_digest
        return struct.pack(_layout(len(self.nonce)), *head, *clock, *tail)


def _layout(nonce: int) -> str:
    return f">IHH34sH{nonce}sQIIBQIHB3sH32s"


def read_quote(data: bytes) -> Quote:
    """The quote in the bytes of a TPMS_ATTEST; `Quote.pack` gives them again.

    Raises:
        LayoutError: they are no quote by a TPM as it is described here.
    """
    size = len(data) - struct.calcsize(_layout(0))
    if not 0 <= size <= MAX_NONCE:
        raise Truncated(f"no TPMS_ATTEST of a quote has {len(data)} bytes")
    values = struct.unpack(_layout(size), data)
    bits = int.from_bytes(values[-3], "little")
    pcrs = tuple(pcr for pcr in range(PCR_COUNT) if bits >> pcr & 1)
    quote = Quote(values[3], values[5], pcrs, values[-1], *values[6:11])
    if quote.pack() != data:
        raise LayoutError("no TPMS_ATTEST of a quote: a tag or a size is another one")
    return quote


def pack_signature(signature: bytes) -> bytes:
    """TPMT_SIGNATURE of ECDSA on P-256 with SHA-256, 72 bytes, from r || s."""
    r, s = signature[:32], signature[32:]
    return struct.pack(">HHH32sH32s", 0x0018, ALG_SHA256, 32, r, 32, s)


def read_signature(data: bytes) -> bytes:
    """The 64 bytes r || s of a TPMT_SIGNATURE.

    Raises:
        LayoutError: it is none by ECDSA on P-256 with SHA-256.
    """
    signature = data[6:38] + data[40:72]
    if pack_signature(signature) != data:
        raise LayoutError("no TPMT_SIGNATURE of ECDSA on P-256 with SHA-256")
    return signature


@dataclass(frozen=True)
class BootEvidence:
    """What a Verifier needs to know how a machine was started.

    Attributes:
        quote: TPMS_ATTEST.
        signature: over it, TPMT_SIGNATURE.
        event_log: see `tee_sim.abi.boot_log`.
        ak_certificate: of the attestation key that signed, DER.
        ek_certificate: of the TPM's endorsement key, DER.
    """

    quote: bytes
    signature: bytes
    event_log: bytes
    ak_certificate: bytes
    ek_certificate: bytes

    def pack(self) -> bytes:
        """All parts, each behind its size in four bytes, little-endian."""
        return b"".join(struct.pack("<I", len(part)) + part for part in astuple(self))

    @classmethod
    def unpack(cls, data: bytes) -> "BootEvidence":
        """The evidence that `pack` wrote.

        Raises:
            Truncated: its parts do not fill the bytes exactly.
        """
        parts, rest = [], data
        for _ in cls.__annotations__:
            size = int.from_bytes(rest[:4], "little")
            parts.append(rest[4 : 4 + size])
            rest = rest[4 + size :]
        evidence = cls(*parts)
        if evidence.pack() != data:
            raise Truncated(f"the five parts of the evidence do not fill its {len(data)} bytes")
        return evidence
