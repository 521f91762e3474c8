"""Certificates and revocation lists of Intel's kind: ECDSA P-256, and chains of a known length.

Sources: RFC 5280; Intel SGX PCK Certificate and Certificate Revocation List Profile Specification.

Simplified: path building, name constraints and key usage are left out: a chain is taken in the
order in which it comes, and every certificate in it has a role and a name that are known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID

from tee_sim.errors import LayoutError

T = TypeVar("T")

SGX_EXTENSION: Final = x509.ObjectIdentifier("1.2.840.113741.1.13.1")
"""The extension of a PCK certificate that describes the platform."""

_ECDSA: Final = ec.ECDSA(SHA256())
_MALFORMED: Final = (
    ValueError,
    TypeError,
    Warning,  # the library warns of some malformed certificates; a caller may make that an error
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises for bytes that are no certificate or revocation list."""


@dataclass(frozen=True)
class Window:
    """When something is valid: from ``start`` to ``end``, Unix seconds, both included."""

    what: str
    start: float
    end: float

    def holds(self, at: int) -> bool:
        """Whether that time is in it."""
        return self.start <= at <= self.end


@dataclass(frozen=True, eq=False)
class Certificate:
    """A certificate, and what a Verifier looks at in it."""

    certificate: x509.Certificate
    name: str
    ca: bool
    key: ec.EllipticCurvePublicKey
    window: Window
    sgx_extension: bytes | None

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of its DER form."""
        return sha256(self.certificate.public_bytes(Encoding.DER)).digest()


@dataclass(frozen=True)
class RevocationList:
    """A certificate revocation list (CRL), and what a Verifier looks at in it."""

    crl: x509.CertificateRevocationList
    window: Window

    def issued_by(self, issuer: Certificate) -> bool:
        """Whether the certificate's key signed this list, and the list names its subject."""
        same = self.crl.issuer == issuer.certificate.subject
        return same and self.crl.is_signature_valid(issuer.key)

    def revokes(self, certificate: Certificate) -> bool:
        """Whether the certificate is on the list."""
        serial = certificate.certificate.serial_number
        return self.crl.get_revoked_certificate_by_serial_number(serial) is not None


def _or_layout_error(what: str, load: Callable[[], T]) -> T:
    try:
        return load()
    except _MALFORMED as error:
        raise LayoutError(f"{what}: {error}") from None


@lru_cache(maxsize=64)
def load_chain(pem: str | bytes, what: str, length: int) -> tuple[Certificate, ...]:
    """The certificates of a PEM text: the leaf first, the root last.

    The answer depends on the text only, so it is remembered: one chain serves many quotes.

    Raises:
        LayoutError: there are not ``length`` certificates in it, or not of the expected kind.
    """
    data = pem.encode("utf-8", "replace") if isinstance(pem, str) else pem
    loaded = _or_layout_error(what, lambda: x509.load_pem_x509_certificates(data))
    if len(loaded) != length:
        raise LayoutError(f"{what}: {len(loaded)} certificates, not {length}")
    return _or_layout_error(what, lambda: tuple(_certificate(each, what) for each in loaded))


def load_root(data: bytes) -> bytes:
    """The DER form of a root certificate in PEM or DER.

    Raises:
        LayoutError: it is neither.
    """
    load = (
        x509.load_pem_x509_certificate if b"-----BEGIN" in data else x509.load_der_x509_certificate
    )
    return _or_layout_error("root", lambda: load(data).public_bytes(Encoding.DER))


def _certificate(loaded: x509.Certificate, what: str) -> Certificate:
    key = loaded.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise LayoutError(f"{what}: a key that is not on the curve P-256")
    names = loaded.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if names else ""
    ca, sgx = False, None
    for extension in loaded.extensions:
        if extension.oid == ExtensionOID.BASIC_CONSTRAINTS:
            ca = extension.value.ca
        elif extension.oid == SGX_EXTENSION:
            sgx = extension.value.public_bytes()
    window = _window(name or what, loaded.not_valid_before_utc, loaded.not_valid_after_utc)
    return Certificate(loaded, name, ca, key, window, sgx)


def load_crl(der: bytes, what: str) -> RevocationList:
    """A revocation list in DER.

    Raises:
        LayoutError: it is none, or it does not say when the next one comes.
    """

    def load() -> RevocationList:
        crl = x509.load_der_x509_crl(der)
        if crl.next_update_utc is None:
            raise LayoutError(f"{what}: it has no end")
        for _ in crl:  # so that a malformed entry shows now
            pass
        crl.issuer  # noqa: B018  # likewise
        return RevocationList(crl, _window(what, crl.last_update_utc, crl.next_update_utc))

    return _or_layout_error(what, load)


def _window(what: str, start: datetime, end: datetime) -> Window:
    return Window(what, start.timestamp(), end.timestamp())


@lru_cache(maxsize=64)
def broken_link(chain: tuple[Certificate, ...], names: tuple[str, ...]) -> str:
    """What is wrong with a chain, from the leaf up to the root, which signs itself.

    Args:
        chain: the certificates.
        names: what each one's common name must contain.

    Returns:
        Empty if nothing is.
    """
    for certificate, name in zip(chain, names, strict=True):
        if name not in certificate.name:
            return f"'{certificate.name}' where '{name}' should be"
    for certificate, issuer in zip(chain, (*chain[1:], chain[-1]), strict=True):
        if not issuer.ca:
            return f"'{issuer.name}' is no certification authority"
        try:
            certificate.certificate.verify_directly_issued_by(issuer.certificate)
        except (*_MALFORMED, InvalidSignature):
            return f"'{certificate.name}' was not issued by '{issuer.name}'"
    return ""


def verify(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> bool:
    """Whether 64 bytes r || s are the key's ECDSA signature with SHA-256 of the data."""
    if len(signature) != 64:
        return False
    numbers = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    try:
        key.verify(encode_dss_signature(*numbers), data, _ECDSA)
    except InvalidSignature:
        return False
    return True


def raw_key(point: bytes) -> ec.EllipticCurvePublicKey:
    """The public key x || y, 64 bytes.

    Raises:
        LayoutError: it is no point of the curve.
    """
    curve = ec.SECP256R1()
    return _or_layout_error(
        "attestation key",
        lambda: ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + point),
    )


def forget() -> None:
    """Forget every chain that was remembered; for measurements."""
    load_chain.cache_clear()
    broken_link.cache_clear()
