"""Certificates for services on this machine: TLS below a CA that only this laboratory trusts.

Simplified: the CA's private key is thrown away once it has signed, so there is no revocation.
"""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tee_sim.services.tokens import MIN_KEY_BITS, Signer

Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, tzinfo=UTC)
CA = "tee_sim local CA"
NAMES = (x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1")))
"""What a server may be called."""


class TLSFiles(NamedTuple):
    """PEM files: the CA that clients trust, and the server's certificate and private key."""

    ca: Path
    certificate: Path
    key: Path


def certify(name: str, key: Key, ca: Key | None = None) -> x509.Certificate:
    """A certificate for a server on this machine; or, with no CA's key, for a CA or signer."""
    own, signer = ca is None, ca or key
    issuer, public = name if own else CA, key.public_key()
    usage = x509.KeyUsage(True, *[False] * 4, *[own] * 2, *[False] * 2)
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(own, None), True),
        (usage, True),  # for signatures; a CA's also below certificates
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
        (x509.SubjectKeyIdentifier.from_public_key(public), False),
        *([] if own else [(x509.SubjectAlternativeName(NAMES), False)]),
    ]
    subject, by = (x509.Name.from_rfc4514_string(f"CN={each}") for each in (name, issuer))
    builder = x509.CertificateBuilder(by, subject, public, x509.random_serial_number(), START, END)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, SHA256())


def tls_files(directory: Path) -> TLSFiles:
    """Make a CA and a server's certificate for localhost, and write them to a directory."""
    ca, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    files = TLSFiles(*(directory / name for name in ("ca.pem", "server.pem", "server.key")))
    files.ca.write_bytes(certify(CA, ca).public_bytes(Encoding.PEM))
    files.certificate.write_bytes(certify("localhost", server, ca).public_bytes(Encoding.PEM))
    files.key.touch(mode=0o600)
    private = server.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files.key.write_bytes(private)
    return files


def new_signer(key: rsa.RSAPrivateKey | None = None) -> Signer:
    """What signs a service's tokens: a given key, or a new one."""
    key = key or rsa.generate_private_key(65537, MIN_KEY_BITS)
    return Signer(key, certify("tee_sim attestation service", key))
