"""Verifying VBS reports: every link of the chain, each broken alone, by name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple, replace
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from tee_sim.abi import boot_log
from tee_sim.abi.boot_log import Event, Tag
from tee_sim.abi.tpm import BootEvidence, read_quote
from tee_sim.abi.vbs import (
    ENCLAVE_TYPE_VBS,
    FORMAT,
    EnclaveFlags,
    EnclaveIdentity,
    EnclaveReport,
    Module,
    ModuleIdentity,
)
from tee_sim.attest import vbs
from tee_sim.attest.results import AttestationResult
from tee_sim.attest.tpm_endorser import NOT_AFTER, NOT_BEFORE, TPMVendor
from tee_sim.attest.vbs import ReferenceValues, verify_vbs, verify_vbs_evidence
from tee_sim.errors import Expired, LayoutError, NotYetValid, UntrustedChain, UsageError
from tee_sim.machine.entropy import Entropy
from tee_sim.machine.measured_boot import Component, idks, measured_boot, sign_statement
from tee_sim.machine.tpm import TPM

NONCE, DATA, NOW = b"n" * 32, b"d" * 64, 1_750_000_000
IDENTITY = EnclaveIdentity(
    unique_id=b"u" * 32,
    author_id=b"a" * 32,
    enclave_svn=2,
    secure_kernel_svn=4,
    platform_svn=3,
    enclave_type=ENCLAVE_TYPE_VBS,
)
BOOT = (
    Component("firmware", 0, b"firmware"),
    Component("boot manager", 0, b"manager"),
    Component("winload.efi", 2, b"loader"),
    Component("hvix64.exe", 3, b"hypervisor"),
    Component("securekernel.exe", 4, b"secure kernel"),
)
REFERENCE = ReferenceValues(
    {component.name: [hashlib.sha256(component.image).digest()] for component in BOOT},
    {"hvix64.exe": 3, "securekernel.exe": 4, "enclave": 2},
    {"author_id": b"a" * 32, "unique_id": b"u" * 32},
    DATA,
)
VENDOR = TPMVendor()


@cache
def other_key() -> rsa.RSAPrivateKey:
    return idks(None)


def report(
    data: bytes = DATA, key: Callable[[], rsa.RSAPrivateKey] = lambda: idks(0), **changes: Any
) -> bytes:
    unsigned = EnclaveReport(
        data, IDENTITY.with_(**changes), (Module(ModuleIdentity(svn=2), "vault.dll"),)
    )
    statement = unsigned.signed_statement()
    return replace(unsigned, signature=sign_statement(key(), statement)).pack()


def swap(**changes: Any) -> tuple[Component, ...]:
    """The boot with another hypervisor."""
    return tuple(c._replace(**changes) if c.name == "hvix64.exe" else c for c in BOOT)


def evidence(
    boot: tuple[Component, ...] = BOOT,
    nonce: bytes = NONCE,
    pcrs: Any = boot_log.SEQUENCES,
    vendor: TPMVendor = VENDOR,
    after: Callable[[TPM], list[Event]] = lambda tpm: [],
    seed: int = 0,
    **how: Any,
) -> BootEvidence:
    tpm = TPM(Entropy(seed))
    log = measured_boot(tpm, boot, idks(0).public_key(), **how)
    log = boot_log.pack_log([*boot_log.read_log(log), *after(tpm)])
    return BootEvidence(*tpm.quote(nonce, pcrs), log, *vendor.certify(tpm.ek, tpm.ak))


GOOD, GOOD_REPORT = evidence(), report()


def verify(data: bytes = GOOD_REPORT, boot: BootEvidence = GOOD, **how: Any) -> AttestationResult:
    how = {"root": VENDOR.root_der, "nonce": NONCE, "at": NOW, "reference": REFERENCE, **how}
    return verify_vbs(data, boot, **how)


def broken(result: AttestationResult) -> set[str]:
    return {check.name for check in result.failed}


def test_a_good_report_of_a_good_boot_is_accepted() -> None:
    result = verify().require()
    assert result.status == "UpToDate"
    assert {
        name: result.claims[name]
        for name in ("unique_id", "signer_id", "security_version", "attributes", "boot_count")
    } == {
        "unique_id": b"u" * 32,
        "signer_id": b"a" * 32,
        "security_version": 2,
        "attributes": 2,
        "boot_count": 1,
    }
    assert result.claims["svn.hvix64.exe"] == 3
    assert "vault.dll" in str(result.to_json())


def own_key(tpm: TPM) -> list[Event]:
    """The kernel of VTL0 extends PCR 12 after the boot, and logs a key of its own."""
    numbers = other_key().public_key().public_numbers()
    facts = {**boot_log.SETTINGS, Tag.VSM_IDKS_INFO: boot_log.pack_rsa(numbers.e, numbers.n)}
    data = boot_log.pack_tags([(Tag.TRUSTBOUNDARY, boot_log.pack_tags(facts.items()))])
    event = Event(12, boot_log.EVENT_TAG, hashlib.sha256(data).digest(), data)
    tpm.extend(event.pcr, event.digest)
    return [event]


def set_to(tag: Tag) -> dict[Tag, bytes]:
    good = boot_log.SETTINGS[tag]
    return {tag: bytes([good[0] ^ 1]) + good[1:]}


LOGS = boot_log.read_log(GOOD.event_log)
OLD = replace(
    REFERENCE,
    measurements={**REFERENCE.measurements, "hvix64.exe": [hashlib.sha256(b"old").digest()]},
)

# What is done: what it is verified with, and the checks that fail; nothing else may.
ATTACKS: dict[str, tuple[Callable[[], AttestationResult], set[str]]] = {
    "a tampered hypervisor": (
        lambda: verify(boot=evidence(swap(image=b"evil"))),
        {"MEASUREMENT.hvix64.exe"},
    ),
    "a tampered firmware": (
        lambda: verify(boot=evidence((BOOT[0]._replace(image=b"evil"), *BOOT[1:]))),
        {"MEASUREMENT.firmware"},
    ),
    "an outdated hypervisor": (
        lambda: verify(report(platform_svn=2), evidence(swap(image=b"old", svn=2)), reference=OLD),
        {"SVN.hvix64.exe"},
    ),
    "a component that nobody knows": (
        lambda: verify(boot=evidence((*BOOT, Component("rootkit.sys", 9, b"")))),
        {"BOOT.COMPONENTS"},
    ),
    "a component that is missing": (
        lambda: verify(boot=evidence((*BOOT[:2], *BOOT[3:]))),
        {"BOOT.COMPONENTS", "MEASUREMENT.winload.efi"},
    ),
    "a tampered hypervisor with a good log": (
        lambda: verify(boot=replace(evidence(swap(image=b"evil")), event_log=GOOD.event_log)),
        {"LOG.PCRS"},
    ),
    "no log": (lambda: verify(boot=replace(GOOD, event_log=b"")), {"LOG.FORMAT"}),
    "an event missing": (
        lambda: verify(boot=replace(GOOD, event_log=boot_log.pack_log(LOGS[:-1]))),
        {"LOG.PCRS", "LOG.EVENTS"},
    ),
    "a type changed": (
        lambda: verify(
            boot=replace(GOOD, event_log=boot_log.pack_log([LOGS[0]._replace(kind=3), *LOGS[1:]]))
        ),
        {"LOG.EVENTS"},
    ),
    "Secure Boot off": (
        lambda: verify(boot=evidence(secure_boot=False)),
        {"BOOT.SECURE_BOOT"},
    ),
    **{
        tag.name: (
            lambda tag=tag: verify(boot=evidence(settings=set_to(tag))),  # type: ignore[misc]
            {f"SETTING.{tag.name}"},
        )
        for tag in boot_log.SETTINGS
    },
    "a quote replayed": (lambda: verify(nonce=b"m" * 32), {"QUOTE.NONCE"}),
    "a quote signed by nobody": (
        lambda: verify(boot=replace(GOOD, quote=evidence(nonce=b"x" * 32).quote), nonce=b"x" * 32),
        {"QUOTE.SIGNATURE"},
    ),
    "another structure quoted": (
        lambda: verify(boot=replace(GOOD, quote=GOOD.quote[:-1])),
        {"QUOTE.FORMAT", "QUOTE.SIGNATURE"},
    ),
    "a PCR left out": (lambda: verify(boot=evidence(pcrs=(0, 4, 7, 12))), {"QUOTE.PCRS"}),
    "another vendor's root": (
        lambda: verify(root=TPMVendor(1).root_der),
        {"AK.CHAIN", "EK.CHAIN"},
    ),
    "an endorsement key's certificate for the attestation key": (
        lambda: verify(boot=replace(GOOD, ak_certificate=GOOD.ek_certificate)),
        {"AK.CHAIN", "QUOTE.SIGNATURE", "QUOTE.SIGNER"},
    ),
    "another TPM's endorsement key": (
        lambda: verify(boot=replace(GOOD, ek_certificate=evidence(seed=5).ek_certificate)),
        {"QUOTE.SIGNER"},
    ),
    "no certificate": (
        lambda: verify(boot=replace(GOOD, ak_certificate=b"")),
        {"AK.FORMAT"},
    ),
    "no root": (lambda: verify(root=b"root"), {"AK.FORMAT", "EK.FORMAT"}),
    "before it is valid": (lambda: verify(at=NOT_BEFORE - 1), {"AK.CURRENT", "EK.CURRENT"}),
    "after it expired": (lambda: verify(at=NOT_AFTER + 1), {"AK.CURRENT", "EK.CURRENT"}),
    "no report": (lambda: verify(b""), {"REPORT.FORMAT"}),
    "a report by another key": (lambda: verify(report(key=other_key)), {"REPORT.SIGNATURE"}),
    "a report by a key measured after the boot": (
        lambda: verify(report(key=other_key), evidence(after=own_key)),
        {"REPORT.SIGNATURE"},
    ),
    "a report of another boot": (
        lambda: verify(report(secure_kernel_svn=5)),
        {"REPORT.PLATFORM"},
    ),
    "an enclave that can be debugged": (
        lambda: verify(report(flags=EnclaveFlags(dynamic_debug_enabled=True))),
        {"REPORT.DEBUG"},
    ),
    "another kind of enclave": (lambda: verify(report(enclave_type=1)), {"REPORT.ENCLAVE_TYPE"}),
    "another author's enclave": (
        lambda: verify(report(author_id=b"b" * 32)),
        {"IDENTITY.author_id"},
    ),
    "an outdated enclave": (lambda: verify(report(enclave_svn=1)), {"SVN.enclave"}),
    "a report replayed": (lambda: verify(report(b"e" * 64)), {"REPORT.DATA"}),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_wrong_is_named(name: str) -> None:
    attack, names = ATTACKS[name]
    result = attack()
    assert broken(result) == names
    assert not result.accepted


def test_each_check_refuses_something() -> None:
    named = {name for _, names in ATTACKS.values() for name in names}
    families = {name if name in vbs.RULES else name.partition(".")[0] for name in named}
    assert families == set(vbs.RULES)


def test_the_boot_that_follows_the_boots_separator_is_not_believed() -> None:
    assert verify(boot=evidence(after=own_key)).accepted


def test_an_outdated_platform_has_a_status() -> None:
    assert ATTACKS["an outdated hypervisor"][0]().status == "OutOfDate"
    assert ATTACKS["no log"][0]().status == ""


PARTS = {
    "report": {"REPORT"},
    "quote": {"QUOTE"},
    "signature": {"QUOTE.SIGNATURE"},
    "event_log": {"LOG"},
    "ak_certificate": {"AK"},
    "ek_certificate": {"EK"},
}


@pytest.mark.parametrize("part", PARTS)
def test_a_change_of_any_single_byte_is_refused_by_name(part: str) -> None:
    data = GOOD_REPORT if part == "report" else getattr(GOOD, part)
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        if part == "report":
            result = verify(bytes(changed))
        else:
            result = verify(boot=replace(GOOD, **{part: bytes(changed)}))
        names = broken(result)
        assert any(name.startswith(tuple(PARTS[part])) for name in names), (position, names)


def test_a_change_of_any_size_on_the_wire_is_refused() -> None:
    packed, start = GOOD.pack(), 0
    for part in astuple(GOOD):
        for position in range(start, start + 4):
            for bit in range(8):
                changed = bytearray(packed)
                changed[position] ^= 1 << bit
                with pytest.raises(LayoutError):
                    BootEvidence.unpack(bytes(changed))
        start += 4 + len(part)
    assert start == len(packed)


@given(st.binary(max_size=200), st.sampled_from([*PARTS]))
def test_bytes_of_any_kind_are_refused_by_a_result(data: bytes, part: str) -> None:
    if part == "report":
        assert not verify(data).accepted
    else:
        assert not verify(boot=replace(GOOD, **{part: data})).accepted


def test_keys_of_the_log_that_are_none_are_refused_by_a_result() -> None:
    for exponent, modulus in ((1, 1), (2, 77), (65537, 2**2048)):
        numbers = rsa.RSAPublicNumbers(exponent, modulus)

        class Key:
            def public_numbers(self, numbers: Any = numbers) -> Any:
                return numbers

        tpm = TPM(Entropy(0))
        log = measured_boot(tpm, BOOT, Key())  # type: ignore[arg-type]
        quote = tpm.quote(NONCE, boot_log.SEQUENCES)
        boot = BootEvidence(*quote, log, GOOD.ak_certificate, GOOD.ek_certificate)
        assert broken(verify(boot=boot)) == {"REPORT.SIGNATURE"}


def test_require_raises_the_error_of_the_first_failed_check() -> None:
    with pytest.raises(Expired, match=r"AK\.CURRENT"):
        verify(at=NOT_AFTER + 1).require()
    with pytest.raises(NotYetValid, match=r"AK\.CURRENT"):
        verify(at=NOT_BEFORE - 1).require()
    with pytest.raises(UntrustedChain, match=r"AK\.CHAIN"):
        verify(root=TPMVendor(1).root_der).require()


def test_checks_that_could_not_be_made_are_listed() -> None:
    everything = [check.name for check in verify().checks]
    bare = verify(b"", BootEvidence(*[b""] * 5))
    assert [check.name for check in bare.checks] == everything
    assert not any(check.passed for check in bare.checks)


CUSTOM = b"a nonce and a key"
BOUND = report(hashlib.sha256(CUSTOM).digest() + bytes(32))
HEAD = b"\3\0\0\0" + FORMAT + bytes(4)


def evidence_with(custom: bytes) -> bytes:
    """Open Enclave's form of the report, with custom claims behind it."""
    return HEAD + (len(BOUND) + len(custom)).to_bytes(8, "little") + BOUND + custom


def verify_evidence(data: bytes) -> AttestationResult:
    reference = replace(REFERENCE, enclave_data=None)
    how: Any = {"root": VENDOR.root_der, "nonce": NONCE, "at": NOW, "reference": reference}
    return verify_vbs_evidence(data, GOOD, **how)


def test_custom_claims_behind_a_report_are_those_that_it_binds() -> None:
    result = verify_evidence(evidence_with(CUSTOM)).require()
    assert result.claims["custom_claims_buffer"] == CUSTOM
    assert "custom_claims_buffer" not in verify_evidence(BOUND).require().claims
    assert broken(verify_evidence(evidence_with(CUSTOM + b"!"))) == {"EVIDENCE.CUSTOM_CLAIMS"}
    for data in (b"", HEAD, evidence_with(b"")[:-1], evidence_with(b"") + b"!", BOUND[:20]):
        with pytest.raises(LayoutError):
            verify_evidence(data)


@given(st.binary(max_size=300), st.integers(0, 700))
def test_evidence_of_any_kind_is_refused_or_no_evidence(junk: bytes, start: int) -> None:
    data = evidence_with(CUSTOM)
    for changed in (junk, HEAD + junk, data[:start] + junk):
        with suppress(LayoutError):
            assert changed == data or not verify_evidence(changed).accepted


def test_reference_values_go_through_json() -> None:
    reference = replace(REFERENCE, enclave_data=None)
    assert ReferenceValues.from_json(reference.to_json()) == reference
    assert ReferenceValues.from_json("{}") == ReferenceValues({})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON"),
        ("[]", "not an object"),
        ('{"measurement": {}}', "no reference value named 'measurement'"),
        ('{"measurements": []}', "is no dict"),
        ('{"measurements": {"a": "00"}}', "is no list"),
        ('{"measurements": {"a": [1]}}', "is no str"),
        ('{"measurements": {"a": ["00"]}}', "is not 32 bytes"),
        ('{"minimum_svns": {"a": -1}}', "is not in 0-65535"),
        ('{"identity": {"author": "00"}}', "no field of an identity"),
        ('{"identity": {"author_id": "0"}}', "hexadecimal"),
    ],
)
def test_what_is_no_file_of_reference_values(text: str, message: str) -> None:
    with pytest.raises((LayoutError, UsageError), match=message):
        ReferenceValues.from_json(text)


def test_misuse_is_an_error_and_no_result() -> None:
    with pytest.raises(UsageError, match="author_id"):
        ReferenceValues({}, identity={"author": b""})
    with pytest.raises(UsageError):
        VENDOR.certify(bytes(64), b"")


def test_every_certificate_says_that_it_is_simulated() -> None:
    for der in (VENDOR.root_der, GOOD.ak_certificate, GOOD.ek_certificate):
        certificate = x509.load_der_x509_certificate(der)
        assert "simulated" in certificate.subject.rfc4514_string()
        assert "simulated" in certificate.issuer.rfc4514_string()


def test_a_reset_forgets_a_bad_boot_and_counts() -> None:
    tpm = TPM(Entropy(0))
    measured_boot(tpm, swap(image=b"evil"), idks(0).public_key())
    log = measured_boot(tpm, BOOT, idks(0).public_key())
    quote, signature = tpm.quote(NONCE, boot_log.SEQUENCES)
    assert verify(boot=replace(GOOD, quote=quote, signature=signature, event_log=log)).accepted
    assert read_quote(quote).reset_count == 2
