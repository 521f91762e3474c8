"""The Endorser of TPMs: a simulated vendor who certifies the keys of the TPMs that it makes."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tee_sim.attest.certificates import derive_key, public_key

AK_USAGE = x509.ObjectIdentifier("2.23.133.8.3")
"""tcg-kp-AIKCertificate."""
EK_USAGE = x509.ObjectIdentifier("2.23.133.8.1")
"""tcg-kp-EKCertificate."""

NOT_BEFORE, NOT_AFTER = 1704067200, 2524607999
"""When all of its certificates are valid, Unix seconds: 2024 to 2049."""

ROOT_NAME, AK_NAME, EK_NAME = "TPM root CA", "TPM attestation key", "TPM endorsement key"
"""What the common names of its certificates contain."""

_MAKER = "tee_sim: simulated, its private keys are public"


class TPMVendor:
    """A vendor of TPMs, with a root CA that follows from a seed.

    Attributes:
        root_der: certificate of the root, which a Verifier has to choose to trust.

    Source: TCG EK Credential Profile; TCG TPM 2.0 Keys for Device Identity and Attestation.

    Simplified: the root certifies keys itself, without the names of the TPM's model (which go into
    the subject's alternative name), and revokes none.
    """

    def __init__(self, seed: int = 0) -> None:
        self._key = derive_key(f"seed {seed}".encode(), ROOT_NAME)
        self.root_der = self._issue(ROOT_NAME, self._key.public_key(), None)

    def certify(self, ek: bytes, ak: bytes) -> tuple[bytes, bytes]:
        """Certificates of a TPM's attestation key and of its endorsement key, DER, in this order.

        Args:
            ek: public endorsement key, x || y, 64 bytes.
            ak: public attestation key, likewise.

        Raises:
            UsageError: one is no point of P-256.
        """
        return (
            self._issue(AK_NAME, public_key(ak), AK_USAGE),
            self._issue(EK_NAME, public_key(ek), EK_USAGE),
        )

    def _issue(
        self, name: str, key: ec.EllipticCurvePublicKey, usage: x509.ObjectIdentifier | None
    ) -> bytes:
        identifier = x509.SubjectKeyIdentifier.from_public_key(key)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(ROOT_NAME))
            .serial_number(int.from_bytes(identifier.digest, "big") >> 1 | 1)
            .not_valid_before(datetime.fromtimestamp(NOT_BEFORE, UTC))
            .not_valid_after(datetime.fromtimestamp(NOT_AFTER, UTC))
            .public_key(key)
            .add_extension(identifier, critical=False)
            .add_extension(x509.BasicConstraints(usage is None, None), critical=True)
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
        signed = builder.sign(self._key, hashes.SHA256(), ecdsa_deterministic=True)
        return signed.public_bytes(Encoding.DER)


def _name(name: str) -> x509.Name:
    parts = (NameOID.ORGANIZATION_NAME, _MAKER), (NameOID.COMMON_NAME, f"{name} (simulated)")
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in parts])
