"""Verify the report of a VBS enclave, down to how its machine was started.

::

    TPM vendor's root -> certificates of EK and AK -> quote -> PCRs -> event log
      -> what was loaded, its settings, and the secure kernel's key (IDKS) -> report -> enclave

The report alone proves nothing: whoever starts another hypervisor has another key sign it. Memory
is not encrypted under VBS, so the TPM and this chain are all that speaks for the machine.

Source: Microsoft Azure Attestation, "TPM and VBS enclave attestation protocol"; RFC 9334.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tee_sim.abi import boot_log
from tee_sim.abi.boot_log import Boot
from tee_sim.abi.tpm import BootEvidence, Quote, qualified_name, read_quote, read_signature
from tee_sim.abi.vbs import (
    ENCLAVE_TYPE_VBS,
    EnclaveFlags,
    EnclaveIdentity,
    EnclaveReport,
    read_report,
)
from tee_sim.attest.results import AppraisalCheck, AttestationResult
from tee_sim.attest.tpm_endorser import AK_USAGE, EK_USAGE
from tee_sim.errors import (
    AttestationError,
    BadSignature,
    DebugForbidden,
    Expired,
    NonceMismatch,
    ReferenceValueMismatch,
    TCBOutOfDate,
    UntrustedChain,
    UsageError,
    known,
)

_REFUSALS = (
    *(ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm),  # a LayoutError is the first
    *(x509.InvalidVersion, x509.ExtensionNotFound),
)
_Check = tuple[type[AttestationError], str]
_CHECKS: dict[str, _Check] = {
    "AK.CHAIN": (UntrustedChain, "Anybody can make a key and call it a TPM's."),
    "AK.VALIDITY": (Expired, "A vendor vouches for a certificate for a limited time."),
    "EK.CHAIN": (UntrustedChain, "The attestation key could lie outside a TPM."),
    "EK.VALIDITY": (Expired, "A vendor vouches for a certificate for a limited time."),
    "QUOTE.FORMAT": (AttestationError, "A key that signs other things too proves nothing."),
    "QUOTE.SIGNATURE": (BadSignature, "The host could write any quote itself."),
    "QUOTE.SIGNER": (UntrustedChain, "An unrestricted key signs whatever looks like a quote."),
    "QUOTE.NONCE": (NonceMismatch, "The host could replay the quote of an earlier, good boot."),
    "QUOTE.PCRS": (ReferenceValueMismatch, "What is not quoted is not proved."),
    "LOG.FORMAT": (AttestationError, "Two readers must not read different things in one log."),
    "LOG.PCRS": (ReferenceValueMismatch, "The log lies in ordinary memory; the PCRs do not."),
    "LOG.EVENTS": (ReferenceValueMismatch, "PCRs confirm digests; the rest could be invented."),
    "BOOT.SECURE_BOOT": (ReferenceValueMismatch, "Without it, unsigned programs start too."),
    "BOOT.COMPONENTS": (ReferenceValueMismatch, "A component that nobody knows can do anything."),
    "SETTING": (DebugForbidden, "The host could look into what it must not, or switch it off."),
    "MEASUREMENT": (ReferenceValueMismatch, "A changed one can read every enclave."),
    "SVN": (TCBOutOfDate, "Earlier versions have known holes."),
    "REPORT.FORMAT": (AttestationError, "Nothing can be said of other bytes."),
    "REPORT.SIGNATURE": (BadSignature, "The host could write any report itself."),
    "REPORT.ENCLAVE_TYPE": (ReferenceValueMismatch, "Other enclaves are protected otherwise."),
    "REPORT.PLATFORM": (ReferenceValueMismatch, "Then report and log are of two machines."),
    "REPORT.DEBUG": (DebugForbidden, "The host can read and write a debuggable enclave."),
    "REPORT.DATA": (NonceMismatch, "The host could replay the report of another conversation."),
    "IDENTITY": (ReferenceValueMismatch, "A report of another enclave is just as genuine."),
}
"""What `AttestationResult.require` raises for a check, or for checks of that family, and why."""


@dataclass(frozen=True)
class ReferenceValues:
    """What a Relying Party wants to see. What is not named does not matter to it.

    Attributes:
        measurements: for each component of the boot, as `boot_log.Boot` names it, the SHA-256
            digests that it may have. These components have to be loaded, and no others.
        minimum_svns: least security versions of components; ``enclave`` is the enclave's.
        identity: fields of `EnclaveIdentity` and their values, such as ``author_id``.
        enclave_data: what the enclave has to have put into its report, 64 bytes.
        hypervisor, secure_kernel: components whose versions the report repeats.
    """

    measurements: Mapping[str, Sequence[bytes]]
    minimum_svns: Mapping[str, int] = field(default_factory=dict)
    identity: Mapping[str, bytes] = field(default_factory=dict)
    enclave_data: bytes | None = None
    hypervisor: str = "hvix64.exe"
    secure_kernel: str = "securekernel.exe"

    def __post_init__(self) -> None:
        known("field of an identity", self.identity, EnclaveIdentity.FIELDS)


class _Appraisal(list[AppraisalCheck]):
    """The checks so far. What was not found, because something before failed, is None."""

    def check(self, name: str, expected: Any, found: Any, passed: bool | None = None) -> None:
        """Note a check; it passes where ``found`` is ``expected``, unless ``passed`` says."""
        error, why = _CHECKS.get(name) or _CHECKS[name.partition(".")[0]]
        if found is not None and passed is None:
            passed = bool(found == expected)
        texts = (v.hex() if isinstance(v, bytes) else str(v) for v in (expected, found))
        self.append(AppraisalCheck(name, passed, next(texts), next(texts), why, error))

    def at_least(self, name: str, least: int, svn: int | None) -> None:
        """Note whether a security version is high enough."""
        self.check(f"SVN.{name}", f"{least} or more", svn, None if svn is None else svn >= least)

    def attempt(self, name: str, expected: str, do: Callable[..., Any], *args: Any) -> Any:
        """Note whether ``do`` succeeds, and return its value; not tried if an argument is None."""
        value = found = passed = None
        if None not in args:
            try:
                value, found, passed = do(*args), expected, True
            except _REFUSALS as error:
                found, passed = str(error) or type(error).__name__, False
        self.check(name, expected, found, passed)
        return value


def verify_vbs(
    report: bytes,
    boot: BootEvidence,
    *,
    root: bytes,
    nonce: bytes,
    at: int,
    reference: ReferenceValues,
) -> AttestationResult:
    """Appraise a report and the boot behind it.

    Args:
        report: what `EnclaveGetAttestationReport` returned.
        boot: how the machine was started.
        root: certificate of the TPM vendor's root CA, DER; the caller's choice whom to trust.
        nonce: what the caller sent, to be found in the quote.
        at: when, Unix seconds.
        reference: what the caller wants to see.

    Raises:
        UsageError: the root is no certificate.

    Simplified: certificates are not looked up in revocation lists.
    """
    try:
        issuer = x509.load_der_x509_certificate(root)
    except _REFUSALS as error:
        raise UsageError(f"the root is no DER certificate: {error}") from None
    checks = _Appraisal()
    ak = _endorsed(checks, "AK", boot.ak_certificate, AK_USAGE, issuer, at)
    ek = _endorsed(checks, "EK", boot.ek_certificate, EK_USAGE, issuer, at)
    quote = _quote(checks, boot, ak, ek, nonce)
    state = _boot(checks, boot.event_log, quote, reference)
    body = _report(checks, report, state, reference)
    verdicts = [check.passed for check in checks if check.name.startswith("SVN.")]
    status = "" if None in verdicts else "UpToDate" if all(verdicts) else "OutOfDate"
    return AttestationResult(status, (), tuple(checks), _claims(body, state, quote))


def _endorsed(
    checks: _Appraisal,
    who: str,
    der: bytes,
    usage: x509.ObjectIdentifier,
    issuer: x509.Certificate,
    at: int,
) -> bytes | None:
    """The key in a certificate, x || y, if the issuer has certified it for this use."""

    def read() -> tuple[bytes, datetime, datetime]:
        certificate = x509.load_der_x509_certificate(der)
        certificate.verify_directly_issued_by(issuer)
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        key = certificate.public_key()
        if usage not in uses or not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError(f"a certificate for {[use.dotted_string for use in uses]}")
        start = max(each.not_valid_before_utc for each in (certificate, issuer))
        end = min(each.not_valid_after_utc for each in (certificate, issuer))
        return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:], start, end

    found = checks.attempt(f"{who}.CHAIN", f"{usage.dotted_string}, issued by the root", read)
    if found is None:
        checks.check(f"{who}.VALIDITY", "at the given time", None)
        return None
    key, start, end = found
    valid = start.timestamp() <= at <= end.timestamp()
    checks.check(f"{who}.VALIDITY", f"{start} to {end}", f"{at} in Unix seconds", valid)
    return bytes(key)


def _quote(
    checks: _Appraisal, boot: BootEvidence, ak: bytes | None, ek: bytes | None, nonce: bytes
) -> Quote | None:
    def verify(point: bytes) -> None:
        signature = encode_dss_signature(*read_signature(boot.signature))
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + point)
        key.verify(signature, boot.quote, ec.ECDSA(hashes.SHA256()))

    quote: Quote | None
    quote = checks.attempt("QUOTE.FORMAT", "a TPMS_ATTEST of a quote", read_quote, boot.quote)
    checks.attempt("QUOTE.SIGNATURE", "by the attestation key", verify, ak)
    signer = qualified_name(ek, ak) if ek and ak else None
    checks.check("QUOTE.SIGNER", signer, quote and signer and quote.signer)
    checks.check("QUOTE.NONCE", nonce, quote and quote.nonce)
    checks.check("QUOTE.PCRS", tuple(boot_log.SEQUENCES), quote and quote.pcrs)
    return quote


def _boot(
    checks: _Appraisal, log: bytes, quote: Quote | None, reference: ReferenceValues
) -> Boot | None:
    events = checks.attempt("LOG.FORMAT", "a log with one bank", boot_log.read_log, log)
    replayed = None
    if quote and events is not None:
        pcrs = boot_log.replay(events)
        values = b"".join(pcrs.get(pcr, bytes(32)) for pcr in quote.pcrs)
        replayed = hashlib.sha256(values).digest()
    checks.check("LOG.PCRS", quote and quote.pcr_digest, replayed)
    boot: Boot | None
    boot = checks.attempt("LOG.EVENTS", "a whole boot", boot_log.read_boot, events)
    checks.check("BOOT.SECURE_BOOT", True, boot and boot.secure_boot)
    wanted = sorted(reference.measurements)
    checks.check("BOOT.COMPONENTS", wanted, boot and sorted(boot.measurements))
    for tag, secure in boot_log.SETTINGS.items():
        checks.check(f"SETTING.{tag.name}", secure, boot and boot.settings[tag])
    for name, allowed in reference.measurements.items():
        expected = " or ".join(digest.hex() for digest in allowed)
        found = boot and boot.measurements.get(name, b"")
        checks.check(f"MEASUREMENT.{name}", expected, found, boot and found in allowed)
    for name, least in reference.minimum_svns.items():
        if name != "enclave":
            checks.at_least(name, least, boot.svns.get(name, -1) if boot else None)
    return boot


def _report(
    checks: _Appraisal, data: bytes, boot: Boot | None, reference: ReferenceValues
) -> EnclaveReport | None:
    def verify(report: EnclaveReport, boot: Boot) -> None:
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
        key = rsa.RSAPublicNumbers(*boot.idks).public_key()
        key.verify(report.signature, report.signed_statement(), pss, hashes.SHA256())

    report: EnclaveReport | None
    report = checks.attempt("REPORT.FORMAT", "an enclave's report", read_report, data)
    checks.attempt("REPORT.SIGNATURE", "by the key in the log", verify, report, boot)
    body = report.identity if report else None
    checks.check("REPORT.ENCLAVE_TYPE", ENCLAVE_TYPE_VBS, body and body.enclave_type)
    logged = boot and [boot.svns.get(n) for n in (reference.secure_kernel, reference.hypervisor)]
    reported = body and [body.secure_kernel_svn, body.platform_svn]
    checks.check("REPORT.PLATFORM", logged, logged and reported)
    checks.check("REPORT.DEBUG", EnclaveFlags(), body and body.flags)
    if reference.enclave_data is not None:
        checks.check("REPORT.DATA", reference.enclave_data, report and report.enclave_data)
    for name, value in reference.identity.items():
        checks.check(f"IDENTITY.{name}", value, body and getattr(body, name))
    least = reference.minimum_svns.get("enclave", 0)
    checks.at_least("enclave", least, body.enclave_svn if body else None)
    return report


def _claims(report: EnclaveReport | None, boot: Boot | None, quote: Quote | None) -> dict[str, Any]:
    claims: dict[str, Any] = {}
    if report:
        body = report.identity
        claims = {
            "id_version": 1,
            "security_version": body.enclave_svn,
            "attributes": 2 | bool(body.flags),  # OE_EVIDENCE_ATTRIBUTES_SGX_REMOTE and _DEBUG
            "unique_id": body.unique_id,
            "signer_id": body.author_id,
            "product_id": body.image_id,
            "family_id": body.family_id,
            "owner_id": body.owner_id,
            "enclave_data": report.enclave_data,
            "modules": tuple(module.name for module in report.modules),
        }
    if boot:
        claims |= {"measurements": boot.measurements, "security_versions": boot.svns}
    if quote:
        claims["boot_count"] = quote.reset_count
    return claims
