"""Intel's certificates and revocation lists for SGX and TDX, from keys that a seed decides.

::

    Intel SGX Root CA
      Intel SGX PCK Processor CA     certifies client platforms
        Intel SGX PCK Certificate    one for each platform and raw TCB: its PCK signs for the QE
      Intel SGX PCK Platform CA      certifies server platforms
        Intel SGX PCK Certificate
      Intel SGX TCB Signing          signs TCB info and the identities of Intel's enclaves

Source: Intel SGX PCK Certificate and Certificate Revocation List Profile Specification.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tee_sim.attest.chains import SGX_EXTENSION
from tee_sim.attest.pck import SGX_ARC
from tee_sim.errors import UsageError

CA = Literal["processor", "platform"]

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

SIMULATED = b"Made by the simulator tee_sim, not by Intel. Trust it for nothing real."
NETSCAPE_COMMENT = x509.ObjectIdentifier("2.16.840.1.113730.1.13")
"""A comment that every tool displays, and no verifier looks at."""

# DER tags.
_BOOLEAN, _INTEGER, _OCTETS, _OID, _ENUMERATED, _IA5, _SEQUENCE = 1, 2, 4, 6, 10, 0x16, 0x30


@dataclass(frozen=True)
class Profile:
    """What all certificates of one kind share.

    Attributes:
        common_name: of the subject.
        start: first second of validity, Unix time.
        end: last second of validity, Unix time.
        path_length: how many CAs may follow; None for what is no CA.
        crl: where its issuer's revocation list is published.
    """

    common_name: str
    start: int
    end: int
    path_length: int | None = None
    crl: str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"

    @property
    def subject(self) -> x509.Name:
        """Intel's name in Intel's order, the common name first."""
        rest = "C=US,ST=CA,L=Santa Clara,O=Intel Corporation"
        return x509.Name.from_rfc4514_string(f"{rest},CN={self.common_name}")


_2018, _2033, _2049 = 1526899810, 2000285410, 2524607999  # as Intel's CAs
_2024, _2031 = 1704067200, 1924991999  # seven years, as Intel's, for what is below the CAs

PROFILES = {
    "root": Profile("Intel SGX Root CA", _2018, _2049, 1),
    "processor": Profile("Intel SGX PCK Processor CA", _2018, _2033, 0),
    "platform": Profile("Intel SGX PCK Platform CA", _2018, _2033, 0),
    "signing": Profile("Intel SGX TCB Signing", _2024, _2031),
}
_PCK_CRL = "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca={}&encoding=der"
PCK_PROFILES: Mapping[CA, Profile] = {
    ca: Profile("Intel SGX PCK Certificate", _2024, _2031, crl=_PCK_CRL.format(ca))
    for ca in get_args(CA)
}


@dataclass(frozen=True)
class PCK:
    """What a PCK certificate says of a platform at one raw TCB: the SGX extension.

    Attributes:
        ppid: Platform Provisioning ID, 16 bytes.
        cpusvn: 16 bytes, which are also the 16 component SVNs.
        pcesvn: ISVSVN of the provisioning certification enclave, 0-65535.
        pceid: 2 bytes.
        fmspc: family, model, stepping, platform type and custom SKU, 6 bytes.
        ca: who certifies it.
        dynamic_platform: packages can be added. This and the next two are in a server's only.
        cached_keys: Intel keeps the platform's root keys.
        smt_enabled: simultaneous multithreading is on.

    Simplified: how CPUSVN maps to the component SVNs is known to Intel only, and need not be byte
    for byte as here. The platform instance ID is derived from the PPID; Intel draws it.
    """

    ppid: bytes
    cpusvn: bytes
    pcesvn: int
    pceid: bytes
    fmspc: bytes
    ca: CA = "processor"
    dynamic_platform: bool = False
    cached_keys: bool = True
    smt_enabled: bool = True

    def __post_init__(self) -> None:
        for name, size in (("ppid", 16), ("cpusvn", 16), ("pceid", 2), ("fmspc", 6)):
            value = getattr(self, name)
            if not isinstance(value, bytes) or len(value) != size:
                raise UsageError(f"{name} is {value!r}; it must be {size} bytes")
        if self.pcesvn not in range(0x10000):
            raise UsageError(f"pcesvn is {self.pcesvn!r}; it must be 0-65535")
        if self.ca not in get_args(CA):
            raise UsageError(f"there is no PCK {self.ca} CA; there are: {', '.join(PCK_PROFILES)}")

    @property
    def raw_tcb(self) -> bytes:
        """TCBm: CPUSVN, then PCESVN in little-endian order, 18 bytes."""
        return self.cpusvn + self.pcesvn.to_bytes(2, "little")

    def extension(self) -> bytes:
        """The SGX extension, DER."""
        svns = [*self.cpusvn, self.pcesvn]
        tcb = [_attribute([2, i], _integer(svn)) for i, svn in enumerate(svns, start=1)]
        tcb.append(_attribute([2, 18], _der(_OCTETS, self.cpusvn)))
        # The fifth is the SGX type: 0 standard, 1 scalable.
        parts = [
            _attribute([1], _der(_OCTETS, self.ppid)),
            _attribute([2], _der(_SEQUENCE, *tcb)),
            _attribute([3], _der(_OCTETS, self.pceid)),
            _attribute([4], _der(_OCTETS, self.fmspc)),
            _attribute([5], _der(_ENUMERATED, bytes([self.ca == "platform"]))),
        ]
        if self.ca == "platform":
            instance = hashlib.sha256(b"platform instance|" + self.ppid).digest()[:16]
            flags = (self.dynamic_platform, self.cached_keys, self.smt_enabled)
            booleans = [_der(_BOOLEAN, b"\xff" if on else b"\0") for on in flags]
            config = [_attribute([7, i], value) for i, value in enumerate(booleans, start=1)]
            parts.append(_attribute([6], _der(_OCTETS, instance)))
            parts.append(_attribute([7], _der(_SEQUENCE, *config)))
        return _der(_SEQUENCE, *parts)


class Authority:
    """A certificate of the simulated Intel, with its private key.

    Args:
        secret: what the private key is derived from.
        profile: what kind of certificate.
        issuer: who signs it; None for the root.

    Simplified: Intel's private keys lie in hardware security modules. These follow from a seed, so
    that runs can be repeated; whoever knows the seed is Intel. That is why verifiers must not
    trust this root for anything real, and why each certificate says that it is simulated.
    """

    def __init__(self, secret: bytes, profile: Profile, issuer: Authority | None = None) -> None:
        self.profile = profile
        self.key = derive_key(secret, profile.common_name)
        public = self.key.public_key()
        self._key_identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
        self.certificate = (issuer or self).issue(profile, public)
        self.chain: str = pem(self.certificate) + (issuer.chain if issuer else "")

    def issue(
        self, profile: Profile, key: ec.EllipticCurvePublicKey, sgx_extension: bytes = b""
    ) -> x509.Certificate:
        """A certificate for a key, signed by this authority."""
        is_ca = profile.path_length is not None
        identifier = x509.SubjectKeyIdentifier.from_public_key(key)
        unique = profile.crl.encode() + identifier.digest + sgx_extension
        url = [x509.UniformResourceIdentifier(profile.crl)]
        crls = x509.CRLDistributionPoints([x509.DistributionPoint(url, None, None, None)])
        # For signatures that bind, or else for certificates and revocation lists; for nothing more.
        usage = x509.KeyUsage(*[not is_ca] * 2, *[False] * 3, *[is_ca] * 2, *[False] * 2)
        builder = (
            x509.CertificateBuilder()
            .subject_name(profile.subject)
            .issuer_name(self.profile.subject)
            .serial_number(int.from_bytes(hashlib.sha256(unique).digest()[:20], "big") >> 1)
            .not_valid_before(_time(profile.start))
            .not_valid_after(_time(profile.end))
            .public_key(key)
            .add_extension(self._key_identifier, critical=False)
            .add_extension(crls, critical=False)
            .add_extension(identifier, critical=False)
            .add_extension(usage, critical=True)
            .add_extension(x509.BasicConstraints(is_ca, profile.path_length), critical=True)
        )
        if sgx_extension:
            own = x509.UnrecognizedExtension(SGX_EXTENSION, sgx_extension)
            builder = builder.add_extension(own, critical=False)
        comment = x509.UnrecognizedExtension(NETSCAPE_COMMENT, _der(_IA5, SIMULATED))
        builder = builder.add_extension(comment, critical=False)
        return builder.sign(self.key, hashes.SHA256(), ecdsa_deterministic=True)

    def crl(self, revoked: Mapping[int, int], at: int, days: int) -> bytes:
        """The revocation list that is issued at a time, DER.

        Args:
            revoked: serial number and time of each revocation, Unix seconds.
            at: when the list is issued, Unix seconds.
            days: how long it is valid.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.profile.subject)
            .last_update(_time(at))
            .next_update(_time(at) + timedelta(days=days))
            .add_extension(x509.CRLNumber(len(revoked) + 1), critical=False)
            .add_extension(self._key_identifier, critical=False)
        )
        for serial, when in revoked.items():
            entry = x509.RevokedCertificateBuilder().serial_number(serial)
            builder = builder.add_revoked_certificate(entry.revocation_date(_time(when)).build())
        crl = builder.sign(self.key, hashes.SHA256(), ecdsa_deterministic=True)
        return crl.public_bytes(Encoding.DER)


def derive_key(secret: bytes, purpose: str) -> ec.EllipticCurvePrivateKey:
    """A P-256 private key that follows from a secret.

    Source: NIST FIPS 186-5, "ECDSA Key Pair Generation using Extra Random Bits"; SHAKE-256 takes
    the random bit generator's place.
    """
    extra = hashlib.shake_256(secret + b"|" + purpose.encode()).digest(48)
    number = int.from_bytes(extra, "big") % (P256_ORDER - 1) + 1
    return ec.derive_private_key(number, ec.SECP256R1())


def sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """ECDSA P-256 with SHA-256 (RFC 6979), as Intel's structures hold it: 64 bytes r || s."""
    signature = key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    return b"".join(part.to_bytes(32, "big") for part in decode_dss_signature(signature))


def public_key(raw: bytes) -> ec.EllipticCurvePublicKey:
    """A P-256 public key from its 64 bytes x || y.

    Raises:
        UsageError: they are no point of the curve.
    """
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + raw)
    except (TypeError, ValueError):
        raise UsageError(f"{raw!r} is no public key of P-256 (64 bytes, x || y)") from None


def pem(certificate: x509.Certificate) -> str:
    """A certificate as PEM text."""
    return certificate.public_bytes(Encoding.PEM).decode()


def _time(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _der(tag: int, *contents: bytes) -> bytes:
    """A DER element: tag, length, contents."""
    body = b"".join(contents)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def _integer(value: int) -> bytes:
    return _der(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _attribute(path: list[int], value: bytes) -> bytes:
    """A value with its object identifier below the SGX extension's."""
    return _der(_SEQUENCE, _der(_OID, SGX_ARC + bytes(path)), value)


def public_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """The reverse of `public_key`."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
