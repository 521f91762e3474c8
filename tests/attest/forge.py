"""Quotes and collateral under a root of their own, any part of which a test can change.

Independent of the simulated Intel in the package, on purpose: a Verifier that was tested with its
own Endorser only would share that one's mistakes. `dcap-qvl` accepts what is made here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from tee_sim.abi.quote import INTEL_QE_VENDOR, Body, Header, Quote
from tee_sim.abi.sgx import AttributeFlags, Attributes, ReportBody
from tee_sim.abi.tdx import TDAttributes, TDReport10, TDReport15
from tee_sim.attest.chains import SGX_EXTENSION
from tee_sim.attest.collateral import Collateral

AT = 1_750_000_000
DAY = 86_400
MRSIGNER = bytes(range(32))
ENCLAVE = ReportBody(
    attributes=Attributes(flags=AttributeFlags(init=True, mode64bit=True), xfrm=3),
    mrenclave=b"\x11" * 32,
    mrsigner=b"\x22" * 32,
    isvprodid=7,
    isvsvn=5,
    reportdata=sha256(b"held").digest() + bytes(32),
)
TD = TDReport10(
    tee_tcb_svn=bytes([5, 1, 3]) + bytes(13),
    tdattributes=TDAttributes(sept_ve_disable=True),
    xfam=3,
    mrtd=b"\x33" * 48,
    reportdata=ENCLAVE.reportdata,
)


def td15(now: bytes = TD.tee_tcb_svn, **changes: Any) -> TDReport15:
    return TDReport15(base=TD.with_(**changes), tee_tcb_svn2=now)


def key(number: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(number + 1000, ec.SECP256R1())


def public(private: ec.EllipticCurvePrivateKey) -> bytes:
    encoded = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return encoded[1:]


def sign(private: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    der = private.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    r, s = decode_dss_signature(der)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def der(tag: int, *parts: bytes) -> bytes:
    data = b"".join(parts)
    size = len(data)
    head = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + head + data


def entry(value: bytes, *numbers: int) -> bytes:
    return der(0x30, der(6, bytes.fromhex("2A864886F84D010D01"), bytes(numbers)), value)


def number(value: int, tag: int = 2) -> bytes:
    return der(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def sgx_extension(
    components: tuple[int, ...],
    pcesvn: int,
    fmspc: bytes,
    pceid: bytes = b"\0\0",
    cpusvn: bytes | None = None,
) -> bytes:
    own = bytes(components) if cpusvn is None else cpusvn
    tcb = [entry(number(svn), 2, n) for n, svn in enumerate((*components, pcesvn), 1)]
    tcb.append(entry(der(4, own), 2, 18))
    return der(
        0x30,
        entry(der(4, b"P" * 16), 1),
        entry(der(0x30, *tcb), 2),
        entry(der(4, pceid), 3),
        entry(der(4, fmspc), 4),
        entry(number(0, 0x0A), 5),
    )


def level(svns: tuple[int, ...], pcesvn: int, status: str, *advisories: str, **more: Any) -> Any:
    tcb = {"sgxtcbcomponents": [{"svn": svn} for svn in svns], "pcesvn": pcesvn}
    if "tdx" in more:
        tcb["tdxtcbcomponents"] = [{"svn": svn} for svn in more.pop("tdx")]
    return {"tcb": tcb, **judged(status, *advisories), **more}


def part(isvsvn: int, status: str, *advisories: str) -> Any:
    return {"tcb": {"isvsvn": isvsvn}, **judged(status, *advisories)}


def judged(status: str, *advisories: str) -> Any:
    return {
        "tcbDate": date(AT - 9 * DAY),
        "tcbStatus": status,
        "advisoryIDs": list(advisories),
    }


MODULE = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}


def identity(name: str, *levels: Any, **changes: str) -> Any:
    """Of a TDX module."""
    return {"id": name, **MODULE, **changes, "tcbLevels": list(levels)}


NAMES = {
    "root": "Intel SGX Root CA",
    "ca": "Intel SGX PCK Processor CA",
    "pck": "Intel SGX PCK Certificate",
    "signing": "Intel SGX TCB Signing",
}
ISSUERS = {"root": "root", "ca": "root", "pck": "ca", "signing": "root"}


@dataclass
class Forge:
    """One platform with its quoting enclave, and Intel; change what you like, then make."""

    body: Body = ENCLAVE
    version: int = 3
    components: tuple[int, ...] = (3,) * 16
    pcesvn: int = 11
    auth_data: bytes = bytes(32)
    keys: dict[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=lambda: dict(NAMES))
    starts: dict[str, int] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    not_ca: set[str] = field(default_factory=set)
    revoked: set[str] = field(default_factory=set)
    extension: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    qe: dict[str, Any] = field(default_factory=dict)
    tcb_info: dict[str, Any] = field(default_factory=dict)
    qe_identity: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tdx = not isinstance(self.body, ReportBody)
        everybody = [*NAMES, "attestation"]
        self.keys = {name: key(n) for n, name in enumerate(everybody)} | self.keys
        times = {"issueDate": date(AT - 10 * DAY), "nextUpdate": date(AT + 20 * DAY)}
        more = {"tdx": (0,) * 16} if self.tdx else {}
        modules: dict[str, Any] = {}
        if self.tdx:
            modules = {
                "tdxModule": MODULE,
                "tdxModuleIdentities": [identity("TDX_01", part(5, "UpToDate"))],
            }
        self.tcb_info = {
            "id": "TDX" if self.tdx else "SGX",
            "version": 3,
            **times,
            "fmspc": "00906ED50000",
            "pceId": "0000",
            "tcbType": 0,
            "tcbEvaluationDataNumber": 17,
            **modules,
            "tcbLevels": [level((3,) * 16, 11, "UpToDate", **more)],
        } | self.tcb_info
        self.qe_identity = {
            "id": "TD_QE" if self.tdx else "QE",
            "version": 2,
            **times,
            "tcbEvaluationDataNumber": 17,
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": "11000000000000000000000000000000",
            "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
            "mrsigner": MRSIGNER.hex().upper(),
            "isvprodid": 1,
            "tcbLevels": [part(8, "UpToDate")],
        } | self.qe_identity

    def certificate(self, name: str) -> x509.Certificate:
        subject, issuer = self.names[name], self.names[ISSUERS[name]]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(self.keys[name].public_key())
            .serial_number(100 + list(NAMES).index(name))
            .not_valid_before(moment(self.starts.get(name, AT - 100 * DAY)))
            .not_valid_after(moment(self.ends.get(name, AT + 100 * DAY)))
        )
        ca = name in ("root", "ca") and name not in self.not_ca
        point = x509.DistributionPoint(
            [x509.UniformResourceIdentifier("https://localhost/crl.der")], None, None, None
        )
        own = x509.SubjectKeyIdentifier.from_public_key(self.keys[name].public_key())
        issuer_key = self.keys[ISSUERS[name]]
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        for value, critical in (
            (x509.BasicConstraints(ca, None), True),
            (x509.CRLDistributionPoints([point]), False),
            (own, False),
            (above, False),
        ):
            builder = builder.add_extension(value, critical)
        if name == "pck":
            parts = {"fmspc": bytes.fromhex("00906ED50000")} | self.extension
            raw = parts.pop("raw", None) or sgx_extension(self.components, self.pcesvn, **parts)
            builder = builder.add_extension(
                x509.UnrecognizedExtension(SGX_EXTENSION, raw), critical=False
            )
        return builder.sign(issuer_key, hashes.SHA256(), ecdsa_deterministic=True)

    def chain(self, *names: str) -> str:
        return "".join(self.certificate(name).public_bytes(Encoding.PEM).decode() for name in names)

    @property
    def root(self) -> bytes:
        return self.certificate("root").public_bytes(Encoding.DER)

    def crl(self, issuer: str, *subjects: str) -> bytes:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.names[issuer])]))
            .last_update(moment(self.starts.get(f"{issuer} crl", AT - 10 * DAY)))
            .next_update(moment(self.ends.get(f"{issuer} crl", AT + 20 * DAY)))
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.keys[issuer].public_key()),
                critical=False,
            )
        )
        for name in sorted(self.revoked & set(subjects)):
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(100 + list(NAMES).index(name))
                .revocation_date(moment(AT - 11 * DAY))
                .build()
            )
        made = builder.sign(self.keys[issuer], hashes.SHA256(), ecdsa_deterministic=True)
        return made.public_bytes(Encoding.DER)

    def collateral(self) -> Collateral:
        info, identity = json.dumps(self.tcb_info), json.dumps(self.qe_identity)
        signing = self.chain("signing", "root")
        return Collateral(
            pck_crl_issuer_chain=self.chain("ca", "root"),
            root_ca_crl=self.crl("root", "ca", "signing", "root"),
            pck_crl=self.crl("ca", "pck"),
            tcb_info_issuer_chain=signing,
            tcb_info=info,
            tcb_info_signature=sign(self.keys["signing"], info.encode()),
            qe_identity_issuer_chain=signing,
            qe_identity=identity,
            qe_identity_signature=sign(self.keys["signing"], identity.encode()),
        )

    def quote(self) -> bytes:
        bound = sha256(public(self.keys["attestation"]) + self.auth_data).digest()
        report = ReportBody(
            **{
                "attributes": Attributes(
                    flags=AttributeFlags(init=True, provisionkey=True), xfrm=3
                ),
                "mrsigner": MRSIGNER,
                "isvprodid": 1,
                "isvsvn": 8,
                "reportdata": bound + bytes(32),
            }
            | self.qe
        ).pack()
        header = {
            "version": self.version,
            "attestation_key_type": 2,
            "tee_type": 0x81 if self.tdx else 0,
            "qe_vendor_id": INTEL_QE_VENDOR,
        }
        quote = Quote(
            Header(**header | self.header),
            type(self.body),
            self.body.pack(),
            bytes(64),
            public(self.keys["attestation"]),
            report,
            sign(self.keys["pck"], report),
            self.auth_data,
            5,
            self.chain("pck", "ca", "root").encode(),
        )
        signature = sign(self.keys["attestation"], quote.signed)
        return Quote(**vars(quote) | {"signature": signature}).pack()


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
