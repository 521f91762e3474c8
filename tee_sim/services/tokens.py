"""JSON Web Tokens of an attestation service: those that it issues, and those that it is sent.

Issued tokens are signed RS256 with the key whose certificate ``/certs`` shows. What customers send
to manage policies is a JWS too: unsecured, or signed by a certificate that it carries itself, so
that its reader has to ask whether that certificate is trusted.

Source: RFC 7515, RFC 7517, RFC 7519; the recordings of the tests of azure-security-attestation
1.0.0 for the names in headers and keys.

Simplified: certificate chains are not followed: the first certificate signs, and has to be trusted
itself. Its dates are not looked at.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jwt
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from tee_sim.errors import ServiceError

MIN_KEY_BITS = 2048


def base64url(data: bytes) -> str:
    """Bytes in base64url, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Bytes from base64url, with or without padding.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(text, str) or not text.isascii() or set("+/") & set(text):
        raise ValueError("not base64url")
    bare = text.rstrip("=")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)


def digest(text: str) -> str:
    """SHA-256 of a text, in base64url."""
    return base64url(hashlib.sha256(text.encode()).digest())


def jwk(certificate: x509.Certificate, **members: str) -> dict[str, Any]:
    """A JSON Web Key that carries a certificate."""
    der = certificate.public_bytes(serialization.Encoding.DER)
    return {**members, "kty": "RSA", "x5c": [base64.b64encode(der).decode()]}


def certificate_of(key: Any) -> tuple[x509.Certificate, rsa.RSAPublicKey]:
    """The first certificate in ``x5c`` of a JSON Web Key or a JWS's header, and its key.

    Raises:
        ServiceError: there is none, or not one of an RSA key of at least 2048 bits.
    """
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(key["x5c"][0], validate=True))
        public = certificate.public_key()
    except (KeyError, IndexError, TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise ServiceError(f"no certificate in x5c: {error}") from None
    if not isinstance(public, rsa.RSAPublicKey) or public.key_size < MIN_KEY_BITS:
        raise ServiceError(f"the certificate holds no RSA key of {MIN_KEY_BITS} bits or more")
    return certificate, public


@dataclass(frozen=True)
class Signer:
    """The RSA key that signs a service's tokens, and its certificate."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def kid(self) -> str:
        """The key's name: SHA-256 of its certificate."""
        return base64.b64encode(self.certificate.fingerprint(SHA256())).decode()

    def token(self, issuer: str, claims: Mapping[str, Any], secured: bool = True) -> str:
        """A token with these claims; an unsecured one proves nothing."""
        key, algorithm = (self.key, "RS256") if secured else ("", "none")
        headers = {"jku": f"{issuer}/certs", "kid": self.kid}
        return jwt.encode({**claims, "iss": issuer}, key, algorithm, headers)


class ReceivedJWS(NamedTuple):
    """A JWS, and whose certificate verifies its signature: None if nobody signed it.

    That certificate came with the JWS. Nobody has said yet that it is trusted.
    """

    text: str
    payload: bytes
    signer: x509.Certificate | None


def read_jws(text: str) -> ReceivedJWS:
    """Take a JWS apart and verify its signature.

    Microsoft's Python client puts its certificate into ``jwk`` and calls the algorithm ``RSA256``;
    the standard's ``x5c`` and ``RS256`` are accepted too.

    Raises:
        ServiceError: it is not a JWS, is signed in another way, or the signature is wrong.
    """
    try:
        found = jwt.PyJWS().decode_complete(text, options={"verify_signature": False})
    except (jwt.PyJWTError, RecursionError, ValueError) as error:
        raise invalid(f"not a JWS: {error}") from None
    header, payload, signature = found["header"], found["payload"], found["signature"]
    algorithm = header.get("alg")
    if algorithm == "none" and not signature:
        return ReceivedJWS(text, payload, None)
    if algorithm not in ("RS256", "RSA256"):
        raise invalid("a JWS is signed RS256, or unsecured and without a signature")
    signer, key = certificate_of(header if "x5c" in header else header.get("jwk"))
    try:
        key.verify(signature, text.rpartition(".")[0].encode(), padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        raise invalid("the signature of the JWS is wrong") from None
    return ReceivedJWS(text, payload, signer)


def invalid(message: str) -> ServiceError:
    """An error in what manages policies."""
    return ServiceError(message, code="InvalidOperation")
