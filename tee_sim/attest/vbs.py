"""Verify the report of a VBS enclave, down to how its machine was started.

::

    TPM vendor's root -> certificates of EK and AK -> quote -> PCRs -> event log
      -> what was loaded, its settings, and the secure kernel's key (IDKS) -> report -> enclave

The report alone proves nothing: whoever starts another hypervisor has another key sign it. Memory
is not encrypted under VBS, so the TPM and this chain are all that speaks for the machine.

Source: Microsoft Azure Attestation, "TPM and VBS enclave attestation protocol"; RFC 9334.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from ssl import DER_cert_to_PEM_cert
from typing import Any, Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256

from tee_sim import errors
from tee_sim.abi.boot_log import SEQUENCES, SETTINGS, Boot, Tag, read_boot, read_log, replay
from tee_sim.abi.tpm import BootEvidence, Quote, qualified_name, read_quote, read_signature
from tee_sim.abi.vbs import (
    ENCLAVE_TYPE_VBS,
    EnclaveFlags,
    EnclaveIdentity,
    EnclaveReport,
    read_report,
    unwrap,
)
from tee_sim.attest.certificates import public_bytes
from tee_sim.attest.chains import broken_link, load_chain, verify
from tee_sim.attest.claims import DEBUG, REMOTE
from tee_sim.attest.fields import Fields, json_object
from tee_sim.attest.ledger import Ledger, Piece, known, with_custom_claims
from tee_sim.attest.results import AttestationResult
from tee_sim.attest.rules import Rule
from tee_sim.attest.tpm_endorser import AK_NAME, EK_NAME, ROOT_NAME

_MISMATCH: Final = errors.ReferenceValueMismatch


RULES: Final[Mapping[str, Rule]] = {
    "AK": (errors.UntrustedChain, "Anybody can make a key and call it a TPM's."),
    "EK": (errors.UntrustedChain, "The attestation key could lie outside every TPM."),
    "AK.CURRENT": (errors.Expired, "A vendor vouches for a key for a limited time."),
    "EK.CURRENT": (errors.Expired, "A vendor vouches for a key for a limited time."),
    "QUOTE.FORMAT": (_MISMATCH, "A key that signs other things too proves nothing."),
    "QUOTE.SIGNATURE": (errors.BadSignature, "The host could write any quote itself."),
    "QUOTE.SIGNER": (errors.UntrustedChain, "An unrestricted key signs any quote."),
    "QUOTE.NONCE": (errors.NonceMismatch, "The host could replay the quote of a good boot."),
    "QUOTE.PCRS": (_MISMATCH, "What is not quoted is not proved."),
    "LOG.FORMAT": (_MISMATCH, "Two readers must not read different things in one log."),
    "LOG.PCRS": (_MISMATCH, "The log lies in ordinary memory; the PCRs do not."),
    "LOG.EVENTS": (_MISMATCH, "PCRs confirm digests; the rest could be invented."),
    "BOOT.SECURE_BOOT": (_MISMATCH, "Without it, unsigned programs start too."),
    "BOOT.COMPONENTS": (_MISMATCH, "A component that nobody knows can do anything."),
    "REPORT.FORMAT": (_MISMATCH, "Nothing can be said of other bytes."),
    "REPORT.SIGNATURE": (errors.BadSignature, "The host could write any report itself."),
    "REPORT.ENCLAVE_TYPE": (_MISMATCH, "Other enclaves are protected otherwise."),
    "REPORT.PLATFORM": (_MISMATCH, "Then report and log are of different boots."),
    "REPORT.DEBUG": (errors.DebugForbidden, "The host reads and writes such an enclave."),
    "REPORT.DATA": (errors.NonceMismatch, "The host could replay an older report."),
    "MEASUREMENT": (_MISMATCH, "A changed component can read every enclave."),
    "SETTING": (errors.DebugForbidden, "The host could look in, or switch protection off."),
    "SVN": (errors.TCBOutOfDate, "Earlier versions have known holes."),
    "IDENTITY": (_MISMATCH, "The report of another enclave is just as genuine."),
}
"""Every check, or the first part of its name: which error a failure is, and why it is made."""


def _rule_of(name: str) -> Rule:
    return RULES.get(name) or RULES[name.partition(".")[0]]


_IN_FILES: Final = ("measurements", "minimum_svns", "identity")


@dataclass(frozen=True)
class ReferenceValues:
    """What a Relying Party wants to see. What is not named does not matter to it.

    Attributes:
        measurements: for each component of the boot, as `Boot` names it, the SHA-256 digests that
            it may have. These components have to be loaded, and no others.
        minimum_svns: least security versions of components; ``enclave`` is the enclave's.
        identity: fields of `EnclaveIdentity` and their values, such as ``author_id``.
        enclave_data: what the enclave has to have put into its report, 64 bytes.
        hypervisor, secure_kernel: components whose versions the report repeats.

    Raises:
        UsageError: an identity has no such field.
    """

    measurements: Mapping[str, Sequence[bytes]]
    minimum_svns: Mapping[str, int] = field(default_factory=dict)
    identity: Mapping[str, bytes] = field(default_factory=dict)
    enclave_data: bytes | None = None
    hypervisor: str = "hvix64.exe"
    secure_kernel: str = "securekernel.exe"

    def __post_init__(self) -> None:
        errors.known("field of an identity", self.identity, EnclaveIdentity.FIELDS)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote, or somebody by hand.

        Raises:
            LayoutError: it is no JSON object of that form.
            UsageError: it has a name that means nothing.
        """
        given = Fields(json_object(text, "reference values"), "reference values")
        errors.known("reference value", given.data, _IN_FILES)
        parts = {name: given.child(name) for name in _IN_FILES if name in given.data}
        empty = Fields({}, "")
        digests, svns, identity = (parts.get(name, empty) for name in _IN_FILES)
        return cls(
            {name: digests.hexes(name, 32) for name in digests.data},
            {name: svns.number(name) for name in svns.data},
            {name: identity.hex(name) for name in identity.data},
        )

    def to_json(self) -> str:
        """Measurements, least versions and identity as JSON; bytes are in hexadecimal."""
        digests = {name: [each.hex() for each in row] for name, row in self.measurements.items()}
        identity = {name: value.hex() for name, value in self.identity.items()}
        values = digests, dict(self.minimum_svns), identity
        return json.dumps(dict(zip(_IN_FILES, values, strict=True)), indent=2)


def verify_vbs(
    report: bytes,
    boot: BootEvidence,
    *,
    root: bytes,
    nonce: bytes,
    at: int,
    reference: ReferenceValues,
) -> AttestationResult:
    """Appraise a report and the boot behind it. Nothing is accepted unless the result is.

    Args:
        report: what `EnclaveGetAttestationReport` returned.
        boot: how the machine was started.
        root: certificate of the TPM vendor's root CA, DER; the caller's choice whom to trust.
        nonce: what the caller sent, to be found in the quote.
        at: when, Unix seconds.
        reference: what the caller wants to see.

    Simplified: the vendor's certificates are known by their names, and not looked up in
    revocation lists.
    """
    ledger = Ledger(_rule_of)
    ak = _key(ledger, "AK", AK_NAME, boot.ak_certificate, root, at)
    ek = _key(ledger, "EK", EK_NAME, boot.ek_certificate, root, at)
    quote = ledger.piece("QUOTE.FORMAT", "TPMS_ATTEST of a quote", lambda: read_quote(boot.quote))
    ledger.test(
        "QUOTE.SIGNATURE",
        "by the attestation key",
        lambda: verify(ak(), read_signature(boot.signature), boot.quote),
    )
    ledger.same(
        "QUOTE.SIGNER",
        lambda: qualified_name(*map(public_bytes, (ek(), ak()))),
        lambda: quote().signer,
    )
    ledger.same("QUOTE.NONCE", lambda: nonce, lambda: quote().nonce)
    ledger.same("QUOTE.PCRS", lambda: tuple(SEQUENCES), lambda: quote().pcrs)
    state = _boot(ledger, boot.event_log, quote, reference)
    body = _report(ledger, report, state, reference)
    old = any(check.name.startswith("SVN.") and check.passed is False for check in ledger.checks)
    good = all(check.passed for check in ledger.checks)
    status = "OutOfDate" if old else "UpToDate" if good else ""
    claims = _claims(known(body), known(state), known(quote))
    return AttestationResult(status, (), tuple(ledger.checks), claims)


def verify_vbs_evidence(evidence: bytes, boot: BootEvidence, **how: Any) -> AttestationResult:
    """`verify_vbs` of a report, or of one in Open Enclave's form (`tee_sim.abi.vbs.unwrap`).

    Custom claims behind the report become the claim ``custom_claims_buffer``.

    Raises:
        LayoutError: the bytes are no evidence of VBS.
    """
    report, custom = unwrap(evidence)
    return with_custom_claims(verify_vbs(report, boot, **how), custom)


def _key(
    ledger: Ledger, who: str, name: str, der: bytes, root: bytes, at: int
) -> Piece[EllipticCurvePublicKey]:
    """The key in a certificate that the root has issued."""
    pem = DER_cert_to_PEM_cert(der) + DER_cert_to_PEM_cert(root)
    chain = ledger.piece(f"{who}.FORMAT", "a certificate", lambda: load_chain(pem, 2))

    def issued() -> tuple[bool, str]:
        broken = broken_link(chain(), (name, ROOT_NAME))
        return not broken, broken or "it is"

    ledger.test(f"{who}.CHAIN", f"{name}, issued by the root", issued)
    ledger.current(f"{who}.CURRENT", at, [lambda: [each.window for each in chain()]])
    return lambda: chain()[0].key


def _boot(
    ledger: Ledger, log: bytes, quote: Piece[Quote], reference: ReferenceValues
) -> Piece[Boot]:
    """What was started, and whether it should have been."""
    events = ledger.piece("LOG.FORMAT", "a log with one bank", lambda: read_log(log))
    ledger.same("LOG.PCRS", lambda: quote().pcr_digest, lambda: replay(events(), quote().pcrs))
    boot = ledger.piece("LOG.EVENTS", "a whole boot", lambda: read_boot(events()))

    def setting(tag: Tag) -> tuple[bool, bytes]:
        value = boot().settings[tag]
        return value == SETTINGS[tag], value

    def measurement(name: str) -> tuple[bool, bytes]:
        value = boot().measurements.get(name, b"")
        return value in reference.measurements[name], value

    def version(name: str) -> tuple[bool, int]:
        value = boot().svns.get(name, -1)
        return value >= reference.minimum_svns[name], value

    ledger.same("BOOT.SECURE_BOOT", lambda: True, lambda: boot().secure_boot)
    wanted = sorted(reference.measurements)
    ledger.same("BOOT.COMPONENTS", lambda: wanted, lambda: sorted(boot().measurements))
    for tag, secure in SETTINGS.items():
        ledger.test(f"SETTING.{tag.name}", secure.hex(), partial(setting, tag))
    for name, allowed in reference.measurements.items():
        expected = " or ".join(digest.hex() for digest in allowed)
        ledger.test(f"MEASUREMENT.{name}", expected, partial(measurement, name))
    for name, least in reference.minimum_svns.items():
        if name != "enclave":
            ledger.test(f"SVN.{name}", f"{least} or more", partial(version, name))
    return boot


def _report(
    ledger: Ledger, data: bytes, boot: Piece[Boot], reference: ReferenceValues
) -> Piece[EnclaveReport]:
    """The report, and whether it is of the enclave that is wanted."""
    report = ledger.piece("REPORT.FORMAT", "an enclave's report", lambda: read_report(data))

    def signed() -> tuple[bool, str]:
        statement, signature = report().signed_statement(), report().signature
        numbers, pss = RSAPublicNumbers(*boot().idks), PSS(MGF1(SHA256()), PSS.AUTO)
        try:
            numbers.public_key().verify(signature, statement, pss, SHA256())
        except (ValueError, InvalidSignature) as error:
            return False, f"it is not {error}"
        return True, "it is"

    def expect(check: str, name: str, value: object) -> None:
        ledger.same(check, lambda: value, lambda: getattr(report().identity, name))

    def recent() -> tuple[bool, int]:
        return report().identity.enclave_svn >= least, report().identity.enclave_svn

    ledger.test("REPORT.SIGNATURE", "by the key in the log", signed)
    names = reference.secure_kernel, reference.hypervisor
    ledger.same(
        "REPORT.PLATFORM",
        lambda: tuple(boot().svns.get(name) for name in names),
        lambda: (report().identity.secure_kernel_svn, report().identity.platform_svn),
    )
    expect("REPORT.ENCLAVE_TYPE", "enclave_type", ENCLAVE_TYPE_VBS)
    expect("REPORT.DEBUG", "flags", EnclaveFlags())
    for name, value in reference.identity.items():
        expect(f"IDENTITY.{name}", name, value)
    if reference.enclave_data is not None:
        wanted = reference.enclave_data
        ledger.same("REPORT.DATA", lambda: wanted, lambda: report().enclave_data)
    least = reference.minimum_svns.get("enclave", 0)
    ledger.test("SVN.enclave", f"{least} or more", recent)
    return report


def _claims(report: EnclaveReport | None, boot: Boot | None, quote: Quote | None) -> dict[str, Any]:
    """Open Enclave's names where it has one; the others are those of their structures."""
    claims: dict[str, Any] = {}
    if report:
        body = report.identity
        claims = {
            "id_version": 1,
            "security_version": body.enclave_svn,
            "attributes": REMOTE | (DEBUG if body.flags else 0),
            "unique_id": body.unique_id,
            "signer_id": body.author_id,
            "product_id": body.image_id,
            "report_data": report.enclave_data,
            "modules": ", ".join(module.name for module in report.modules),
        }
        more = "family_id", "owner_id", "secure_kernel_svn", "platform_svn", "signing_level"
        claims |= {name: getattr(body, name) for name in more}
    if boot:
        claims |= {f"measurement.{name}": digest for name, digest in boot.measurements.items()}
        claims |= {f"svn.{name}": svn for name, svn in boot.svns.items()}
    if quote:
        claims["boot_count"] = quote.reset_count
    return claims
