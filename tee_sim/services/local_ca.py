"""Certificates for services on this machine: TLS below a CA that only this laboratory trusts.

Simplified: the CA's private key is thrown away once it has signed, so there is no revocation.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tee_sim.services.tokens import MIN_KEY_BITS, Signer

START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, tzinfo=UTC)
NAMES = (
    x509.DNSName("localhost"),
    *(x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")),
)


class TLSFiles(NamedTuple):
    """PEM files of a TLS server: the CA that clients trust, and the server's own two."""

    ca: Path
    certificate: Path
    key: Path


class Issuer(NamedTuple):
    """Who signs a certificate."""

    name: str
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def certify(
    name: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, issuer: Issuer | None = None
) -> x509.Certificate:
    """A certificate for a key: of a TLS server on this machine, or, with no issuer, of a CA.

    Args:
        name: common name of the subject.
        key: whose public half is certified.
        issuer: who signs; None for the key itself.
    """
    by = issuer or Issuer(name, key)
    usage = x509.KeyUsage(True, *[False] * 4, *[issuer is None] * 2, *[False] * 2)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name.from_rfc4514_string(f"CN={name}"))
        .issuer_name(x509.Name.from_rfc4514_string(f"CN={by.name}"))
        .serial_number(x509.random_serial_number())
        .not_valid_before(START)
        .not_valid_after(END)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(issuer is None, None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if issuer:
        builder = builder.add_extension(x509.SubjectAlternativeName(NAMES), critical=False)
    return builder.sign(by.key, SHA256())


def tls_files(directory: Path) -> TLSFiles:
    """Make a CA and a server's certificate for localhost, and write them to a directory."""
    ca, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = Issuer("tee_sim local CA", ca)
    files = TLSFiles(*(directory / name for name in ("ca.pem", "server.pem", "server.key")))
    files.ca.write_bytes(certify(issuer.name, ca).public_bytes(Encoding.PEM))
    files.certificate.write_bytes(certify("localhost", server, issuer).public_bytes(Encoding.PEM))
    files.key.touch(mode=0o600)
    files.key.write_bytes(server.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def new_signer(key: rsa.RSAPrivateKey | None = None) -> Signer:
    """What signs a service's tokens: a given key, or a new one."""
    key = key or rsa.generate_private_key(65537, MIN_KEY_BITS)
    return Signer(key, certify("tee_sim attestation service", key))
