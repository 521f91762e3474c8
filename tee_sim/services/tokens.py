"""JSON Web Tokens of an attestation service: those that it issues, and those that it is sent.

Issued tokens are signed RS256 with the key whose certificate ``/certs`` shows. What customers send
to manage policies is a JWS too: unsecured, or signed by a certificate that it carries itself, so
that whoever reads it has to ask whether that certificate is trusted.

Source: RFC 7515, RFC 7517, RFC 7519; the recordings of the tests of azure-security-attestation
1.0.0 for the names in headers, keys and bodies.

Simplified: a certificate chain is not followed. What signs is the first certificate, and that one
itself has to be among the trusted ones; its dates are not looked at.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

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
    if not text.isascii() or set("+/") & set(text):
        raise ValueError("not base64url")
    padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
    return base64.b64decode(padded, altchars=b"-_", validate=True)


def jwk(certificate: x509.Certificate, **members: str) -> dict[str, Any]:
    """A JSON Web Key that carries a certificate."""
    der = certificate.public_bytes(serialization.Encoding.DER)
    return {**members, "kty": "RSA", "x5c": [base64.b64encode(der).decode()]}


def certificate_of(key: Any) -> x509.Certificate:
    """The first certificate of a JSON Web Key or a header's ``x5c``.

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
    return certificate


@dataclass(frozen=True)
class Signer:
    """The key that signs a service's tokens.

    Attributes:
        key: RSA.
        certificate: of its public half.
    """

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @cached_property
    def kid(self) -> str:
        """The key's name: SHA-256 of its certificate."""
        return base64.b64encode(self.certificate.fingerprint(SHA256())).decode()

    def token(self, issuer: str, claims: Mapping[str, Any], secured: bool = True) -> str:
        """A token with these claims; unsecured for a draft policy, which proves nothing."""
        return jwt.encode(
            dict(claims),
            self.key if secured else "",
            algorithm="RS256" if secured else "none",
            headers={"jku": f"{issuer}/certs", "kid": self.kid},
        )


@dataclass(frozen=True)
class ReceivedJWS:
    """A JWS whose signature, if it has one, was verified with the certificate that it carries.

    Attributes:
        text: all of it.
        payload: what it says.
        signer: that certificate; None if it is unsecured. Nobody has said that it is trusted.
    """

    text: str
    payload: bytes
    signer: x509.Certificate | None

    @property
    def digest(self) -> str:
        """SHA-256 of the text, in base64url."""
        return base64url(hashlib.sha256(self.text.encode()).digest())


def read_jws(text: str) -> ReceivedJWS:
    """Take a JWS apart and verify its signature.

    Microsoft's Python client puts its certificate into ``jwk`` and calls the algorithm ``RSA256``;
    the standard's ``x5c`` and ``RS256`` are accepted too.

    Raises:
        ServiceError: it is not a JWS, is signed in another way, or the signature is wrong.
    """
    try:
        found = jwt.PyJWS().decode_complete(text, options={"verify_signature": False})
    except (jwt.PyJWTError, UnicodeError, RecursionError, ValueError) as error:
        raise ServiceError(f"not a JWS: {error}", code="InvalidOperation") from None
    header, payload, signature = found["header"], found["payload"], found["signature"]
    if header.get("alg") == "none":
        if signature:
            raise ServiceError("an unsecured JWS has no signature", code="InvalidOperation")
        return ReceivedJWS(text, payload, None)
    if header.get("alg") not in ("RS256", "RSA256") or "crit" in header:
        raise ServiceError("a policy is signed RS256 or not at all", code="InvalidOperation")
    signer = certificate_of(header if "x5c" in header else header.get("jwk"))
    key = signer.public_key()
    try:
        assert isinstance(key, rsa.RSAPublicKey)
        key.verify(signature, text.rpartition(".")[0].encode(), padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        raise ServiceError("the signature of the JWS is wrong", code="InvalidOperation") from None
    return ReceivedJWS(text, payload, signer)
