"""Quotes from fields and keys, under the simulated Intel, for tests of verifiers.

The quoting enclave and the platform are missing here: what they would sign is put together by hand.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from struct import pack
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tee_sim.abi.sgx import AttributeFlags, Attributes, ReportBody
from tee_sim.attest.certificates import CA, derive_key, sign
from tee_sim.attest.collateral import Collateral
from tee_sim.attest.endorsements import MRSIGNER
from tee_sim.attest.intel import DAY, SimulatedIntel

AT = 1_752_919_277
FMSPC = bytes.fromhex("00a067110000")
INTEL_QE = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
ENCLAVE = Attributes(flags=AttributeFlags(init=True, mode64bit=True), xfrm=3)
QUOTING_ENCLAVE = Attributes(
    flags=AttributeFlags(init=True, mode64bit=True, provisionkey=True), xfrm=3
)
SEPT_VE_DISABLE = 1 << 28
TD_SVN = bytes([5, 0, 2]) + bytes(13)


def raw_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public key as x || y, 64 bytes."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def sgx_body(**fields: object) -> bytes:
    """The report body of an enclave; any field can be given."""
    given = {
        "cpusvn": b"\2" * 16,
        "attributes": ENCLAVE,
        "mrenclave": hashlib.sha256(b"enclave").digest(),
        "mrsigner": hashlib.sha256(b"signer").digest(),
        "isvprodid": 1,
        "isvsvn": 1,
        "reportdata": hashlib.sha512(b"nonce").digest(),
    }
    return ReportBody(**(given | fields)).pack()


def td_body(
    *,
    tee_tcb_svn: bytes = TD_SVN,
    mrsignerseam: bytes = bytes(48),
    seamattributes: int = 0,
    tdattributes: int = SEPT_VE_DISABLE,
    tee_tcb_svn2: bytes | None = None,
    mrservicetd: bytes = bytes(48),
) -> bytes:
    """TD report body 1.0, 584 bytes, or 1.5, 648 bytes, if it has a second TEE_TCB_SVN."""
    names = "mrseam mrtd mrconfigid mrowner mrownerconfig rtmr0 rtmr1 rtmr2 rtmr3".split()
    of = {name: hashlib.sha384(name.encode()).digest() for name in names}
    body = tee_tcb_svn + of["mrseam"] + mrsignerseam
    body += pack("<QQQ", seamattributes, tdattributes, 0xE742E6)
    body += b"".join(of[name] for name in names[1:]) + hashlib.sha512(b"nonce").digest()
    return body if tee_tcb_svn2 is None else body + tee_tcb_svn2 + mrservicetd


@dataclass
class QuotedPlatform:
    """A platform with its keys, as the simulated Intel knows it."""

    intel: SimulatedIntel
    ca: CA = "processor"
    cpusvn: bytes = b"\2" * 16
    pcesvn: int = 1
    fmspc: bytes = FMSPC
    qe_isvsvn: int = 1
    name: str = "platform"
    carries_certificates: bool = True

    def __post_init__(self) -> None:
        secret = self.name.encode()
        self.pck = derive_key(secret, f"PCK {self.cpusvn.hex()} {self.pcesvn}")
        self.attestation_key = derive_key(secret, "attestation key")
        self.ppid = hashlib.sha256(secret).digest()[:16]
        self.chain = self.intel.certify(
            raw_key(self.pck),
            ppid=self.ppid,
            cpusvn=self.cpusvn,
            pcesvn=self.pcesvn,
            fmspc=self.fmspc,
            pceid=bytes(2),
            ca=self.ca,
        )

    def quote(self, body: bytes, version: int = 3, **qe: object) -> bytes:
        """Quote v3 of an SGX body, or v4 or v5 of a TD body or an SGX body."""
        tdx = len(body) != 384
        svns = (1, self.pcesvn) if version == 3 else (0, 0)
        header = pack("<HHIHH", version, 2, 0x81 if tdx else 0, *svns) + INTEL_QE + bytes(20)
        if version == 5:
            kind = {384: 1, 584: 2, 648: 3}[len(body)]
            header += pack("<HI", kind, len(body))
        signed = header + body
        data = self._certification(tdx, qe)
        if version > 3:
            data = pack("<HI", 6, len(data)) + data
        data = sign(self.attestation_key, signed) + raw_key(self.attestation_key) + data
        return signed + pack("<I", len(data)) + data

    def _certification(self, tdx: bool, qe: dict[str, object]) -> bytes:
        """The quoting enclave's report, what signs it, and the certificates for that."""
        authentication_data = bytes(range(32))
        bound = hashlib.sha256(raw_key(self.attestation_key) + authentication_data).digest()
        given = {
            "attributes": QUOTING_ENCLAVE,
            "mrsigner": bytes.fromhex(MRSIGNER),
            "isvprodid": 2 if tdx else 1,
            "isvsvn": self.qe_isvsvn,
            "reportdata": bound + bytes(32),
        }
        report = sgx_body(**(given | qe))
        kind, about = 5, self.chain.encode() + b"\0"
        if not self.carries_certificates:
            raw_tcb = self.cpusvn + pack("<H", self.pcesvn)
            kind, about = 3, self.ppid + bytes(368) + raw_tcb + bytes(2)
        data = report + sign(self.pck, report)
        data += pack("<H", len(authentication_data)) + authentication_data
        return data + pack("<HI", kind, len(about)) + about


class SimulatedQuote(NamedTuple):
    """A quote, all that is needed to judge it, and the verdict."""

    name: str
    quote: bytes
    collateral: Collateral
    root_der: bytes
    at: int
    status: str
    advisories: list[str]


def simulated_quotes() -> list[SimulatedQuote]:
    """Quotes that are authentic under the simulated root, with every TCB status of dcap-qvl's."""
    found = []

    def add(
        name: str,
        status: str,
        advisories: str = "",
        version: int = 3,
        ca: CA = "processor",
        body: bytes | None = None,
        intel: SimulatedIntel | None = None,
        **platform: object,
    ) -> None:
        intel = intel or SimulatedIntel()
        maker = QuotedPlatform(intel, ca, **platform)
        quote = maker.quote(body or sgx_body(cpusvn=maker.cpusvn), version)
        collateral = intel.collateral(FMSPC, ca, AT, "sgx" if version == 3 else "tdx")
        given = [f"INTEL-SA-{number}" for number in advisories.split()]
        found.append(
            SimulatedQuote(name, quote, collateral, intel.root_der, AT + DAY, status, given)
        )

    add("client SGX", "UpToDate")
    add("server SGX", "UpToDate", ca="platform")
    add("as it was sold", "OutOfDate", "00289", cpusvn=b"\1" * 16)
    for status in ("SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded"):
        intel = SimulatedIntel()
        intel.publish("INTEL-SA-00615", at=AT - DAY, status=status)
        add(status, status, "00615", intel=intel)
    intel = SimulatedIntel()
    intel.publish("INTEL-SA-00334", at=AT - 2 * DAY, status="ConfigurationNeeded")
    intel.publish("INTEL-SA-00657", at=AT - DAY, cpusvn=b"\3" * 16)
    add("recovered", "OutOfDateConfigurationNeeded", "00334 00657", intel=intel)
    add("updated", "UpToDate", intel=intel, cpusvn=b"\3" * 16)
    intel = SimulatedIntel()
    intel.publish("INTEL-SA-00477", at=AT - DAY, subject="QE", isvsvn=2)
    add("old quoting enclave", "OutOfDate", "00477", intel=intel)
    add("TD 1.0, v4", "UpToDate", version=4, ca="platform", body=td_body())
    add("TD 1.0, v5", "UpToDate", version=5, ca="platform", body=td_body())
    td15 = td_body(tee_tcb_svn2=TD_SVN)
    add("TD 1.5, v5", "UpToDate", version=5, ca="platform", body=td15)
    old = td_body(tee_tcb_svn=bytes([4, 0, 1]) + bytes(13))
    add("old TDX module", "OutOfDate", "00289", version=4, ca="platform", body=old)
    return found


def what_counts(quote: bytes) -> list[int]:
    """Positions of a quote's bytes that mean something to a verifier.

    What does not: line ends in PEM, the root's certificate (a verifier has its own), the size of
    the certificates, which can cut it off; for dcap-qvl the type of the outer certification data.
    """
    start = quote.index(b"-----BEGIN")
    texts = [m.span() for m in re.finditer(rb"(?<=CERTIFICATE-----\n)[^-]+", quote)][:2]
    coded = [i for a, b in texts for i in range(a, b) if quote[i] != ord("\n")]
    outer_type = {3: 0, 4: 48 + 584, 5: 54 + 648}[quote[0]] + 4 + 64 + 64
    ignored = {*range(start - 4, start)} | ({outer_type, outer_type + 1} if quote[0] > 3 else set())
    return [i for i in range(start) if i not in ignored] + coded
