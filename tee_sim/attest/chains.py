"""Certificate chains and revocation lists of Intel's kind: ECDSA P-256, of a known length.

Sources: RFC 5280; Intel SGX PCK Certificate and Certificate Revocation List Profile Specification.

Simplified: path building, name constraints and key usage are left out: a chain is taken in the
order in which it comes, and every certificate in it has a role and a name that are known. The
root's own signature is not looked at: the caller trusts the root, or does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tee_sim.errors import LayoutError

T = TypeVar("T")
CRL: TypeAlias = x509.CertificateRevocationList

SGX_EXTENSION: Final = x509.ObjectIdentifier("1.2.840.113741.1.13.1")
"""The extension of a PCK certificate that describes the platform."""

MOST_PEM = 1 << 16
"""Longest chain that is read, bytes; Intel's are about 4,000."""

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


class Window(NamedTuple):
    """When something is valid: from ``start`` to ``end``, Unix seconds, both included."""

    what: str
    start: float
    end: float


@dataclass(frozen=True, eq=False)
class Certificate:
    """A certificate, and what a Verifier looks at in it; a wrong extension shows when asked for."""

    certificate: x509.Certificate
    name: str
    key: ec.EllipticCurvePublicKey
    window: Window

    def _extension(self, oid: x509.ObjectIdentifier) -> x509.ExtensionType | None:
        found = or_layout_error("certificate", lambda: self.certificate.extensions)
        return next((each.value for each in found if each.oid == oid), None)

    @property
    def ca(self) -> bool:
        """Whether it may issue certificates."""
        constraints = self._extension(x509.BasicConstraints.oid)
        return isinstance(constraints, x509.BasicConstraints) and constraints.ca

    @property
    def sgx_extension(self) -> bytes | None:
        """The description of a platform, DER."""
        extension = self._extension(SGX_EXTENSION)
        return extension.public_bytes() if extension else None

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of its DER form."""
        return sha256(self.certificate.public_bytes(Encoding.DER)).digest()


def or_layout_error(what: str, load: Callable[[], T]) -> T:
    """What ``load`` makes of some bytes, or `LayoutError` if the library cannot read them."""
    try:
        return load()
    except _MALFORMED as error:
        raise error if isinstance(error, LayoutError) else LayoutError(f"{what}: {error}") from None


@lru_cache(maxsize=64)
def load_chain(pem: str | bytes, length: int) -> tuple[Certificate, ...]:
    """That many certificates of a PEM text, the leaf first, the root last; else `LayoutError`.

    The answer depends on the text only, so it is remembered: one chain serves many quotes.
    """
    data = pem.encode("utf-8", "replace") if isinstance(pem, str) else pem
    if len(data) > MOST_PEM:
        raise LayoutError(f"certificates: more than {MOST_PEM} bytes")
    loaded = or_layout_error("certificates", lambda: x509.load_pem_x509_certificates(data))
    if len(loaded) != length:
        raise LayoutError(f"{len(loaded)} certificates, not {length}")
    return or_layout_error("certificate", lambda: tuple(map(_certificate, loaded)))


def _certificate(loaded: x509.Certificate) -> Certificate:
    key = loaded.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise LayoutError("a certificate whose key is not on the curve P-256")
    names = loaded.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if names else ""
    start, end = loaded.not_valid_before_utc, loaded.not_valid_after_utc
    return Certificate(loaded, name, key, Window(name, start.timestamp(), end.timestamp()))


@lru_cache(maxsize=64)
def broken_link(chain: tuple[Certificate, ...], names: tuple[str, ...]) -> str:
    """What is wrong with a chain below its root; empty if nothing is.

    ``names`` is what each certificate's common name must contain.
    """
    for certificate, name in zip(chain, names, strict=True):
        if name not in certificate.name:
            return f"'{certificate.name}' where '{name}' should be"
    for certificate, issuer in pairwise(chain):
        if issuer is not chain[-1] and not issuer.ca:
            return f"'{issuer.name}' is no certification authority"
        try:
            certificate.certificate.verify_directly_issued_by(issuer.certificate)
        except (*_MALFORMED, InvalidSignature):
            return f"'{certificate.name}' was not issued by '{issuer.name}'"
    return ""


def load_crl(der: bytes) -> CRL:
    """A revocation list in DER, or `LayoutError`."""

    def load() -> CRL:
        crl = x509.load_der_x509_crl(der)
        crl_window(crl, "")  # so that a date which is none shows now
        return crl

    return or_layout_error("revocation list", load)


def issued(crl: CRL, issuer: Certificate) -> tuple[bool, str]:
    """Whether a list names a certificate as its issuer, and is signed by it; or `LayoutError`."""

    def find() -> tuple[bool, str]:
        if crl.issuer != issuer.certificate.subject:
            return False, f"by {crl.issuer.rfc4514_string()}"
        return _yes(crl.is_signature_valid(issuer.key))

    return or_layout_error("revocation list", find)


def not_on(crl: CRL, certificate: Certificate) -> tuple[bool, str]:
    """Whether a certificate is not on a list; or `LayoutError`."""

    def find() -> tuple[bool, str]:
        serial = certificate.certificate.serial_number
        entry = crl.get_revoked_certificate_by_serial_number(serial)
        return entry is None, f"serial number {serial:#x} is {'on it' if entry else 'not on it'}"

    return or_layout_error("revocation list", find)


def crl_window(crl: CRL, what: str) -> Window:
    """When a list is valid; one that does not say until when never is."""
    end = crl.next_update_utc.timestamp() if crl.next_update_utc else 0
    return Window(what, crl.last_update_utc.timestamp(), end)


def verify(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> tuple[bool, str]:
    """Whether 64 bytes r || s are the key's ECDSA signature with SHA-256 of the data."""
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), data, _ECDSA)
    except InvalidSignature:
        return _yes(False)
    return _yes(len(signature) == 64)


def _yes(holds: bool) -> tuple[bool, str]:
    return holds, "it is" if holds else "it is not"


def raw_key(point: bytes) -> ec.EllipticCurvePublicKey:
    """The public key x || y, 64 bytes, or `LayoutError` if that is no point of the curve."""
    load = ec.EllipticCurvePublicKey.from_encoded_point
    return or_layout_error("public key", lambda: load(ec.SECP256R1(), b"\x04" + point))


def load_root(data: bytes) -> bytes:
    """A root certificate, PEM or DER, in DER; else `LayoutError`."""
    load = x509.load_pem_x509_certificate if b"-BEGIN" in data else x509.load_der_x509_certificate
    return or_layout_error("root", lambda: load(data).public_bytes(Encoding.DER))
