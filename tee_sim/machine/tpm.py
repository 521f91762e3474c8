"""A TPM 2.0, reduced to what a measured boot needs: PCRs, an endorsement and an attestation key."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tee_sim.abi.boot_log import extended
from tee_sim.abi.tpm import MAX_NONCE, PCR_COUNT, Quote, pack_signature, qualified_name
from tee_sim.errors import UsageError
from tee_sim.machine.entropy import Entropy

FIRMWARE_VERSION = 0x0001_0000_0000_0000

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_DYNAMIC = range(17, 23)


class TPM:
    """A TPM that lies outside the processor, and that software can only ask.

    Args:
        entropy: for the two keys, which it keeps as long as it exists.

    Attributes:
        ek, ak: the public keys, x || y, 64 bytes. The endorsement key decrypts only.
        reset_count: how often the machine was booted.

    Source: TCG TPM 2.0 Library, Part 3, "TPM2_PCR_Extend", "TPM2_Quote".

    Simplified: one bank, SHA-256; no command interface, no hierarchies, authorizations, localities,
    sealing and NV memory. Its clock is a count of quotes. The vendor certifies the attestation key
    when it makes the TPM, as TCG's "TPM 2.0 Keys for Device Identity and Attestation" has it for an
    initial attestation key; for others there is a protocol (TPM2_ActivateCredential).
    """

    def __init__(self, entropy: Entropy) -> None:
        self._ak, ek = (_key(entropy, purpose) for purpose in ("TPM AK", "TPM EK"))
        self.ek, self.ak = _point(ek), _point(self._ak)
        self._clock, self.reset_count = 0, -1
        self.reset()

    def reset(self) -> None:
        """_TPM_Init: the machine is switched on. PCRs 17-22 wait for a late launch, all ones."""
        self.reset_count += 1
        self._pcrs = [b"\xff" * 32 if i in _DYNAMIC else bytes(32) for i in range(PCR_COUNT)]

    def extend(self, pcr: int, digest: bytes) -> None:
        """TPM2_PCR_Extend: the only way to change a PCR, and there is no way back.

        Raises:
            UsageError: there is no such PCR, or the digest has not 32 bytes.
        """
        if pcr not in range(PCR_COUNT) or len(digest) != 32:
            raise UsageError(f"extend a PCR of 0-23 by 32 bytes, not {pcr} by {len(digest)}")
        self._pcrs[pcr] = extended(self._pcrs[pcr], digest)

    def quote(self, nonce: bytes, pcrs: Collection[int]) -> tuple[bytes, bytes]:
        """TPM2_Quote: what the PCRs hold, TPMS_ATTEST and TPMT_SIGNATURE.

        Args:
            nonce: the challenge, at most 64 bytes.
            pcrs: which PCRs.

        Raises:
            UsageError: the nonce is too long, or there is no such PCR.
        """
        if (
            not isinstance(nonce, bytes)
            or len(nonce) > MAX_NONCE
            or not set(pcrs) <= set(range(PCR_COUNT))
        ):
            raise UsageError(f"quote PCRs of 0-23 with a nonce of bytes, at most {MAX_NONCE}")
        self._clock += 1
        chosen = tuple(sorted(set(pcrs)))
        digest = hashlib.sha256(b"".join(self._pcrs[pcr] for pcr in chosen)).digest()
        clock = self._clock, self.reset_count, 0, 1, FIRMWARE_VERSION
        quote = Quote(qualified_name(self.ek, self.ak), nonce, chosen, digest, *clock).pack()
        signature = self._ak.sign(quote, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        numbers = decode_dss_signature(signature)
        return quote, pack_signature(b"".join(part.to_bytes(32, "big") for part in numbers))


def _key(entropy: Entropy, purpose: str) -> ec.EllipticCurvePrivateKey:
    number = int.from_bytes(entropy.take(48, purpose), "big") % (_P256_ORDER - 1) + 1
    return ec.derive_private_key(number, ec.SECP256R1())


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
