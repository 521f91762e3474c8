"""Evidence as C programs make and verify it: Open Enclave's interface, inside enclaves."""

from __future__ import annotations

import re
import struct
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attester.servers import AT, HEADER, Server, as_the_vendor, requote, server
from tee_sim import Platform
from tee_sim.abi.quote import unwrap
from tee_sim.attest.certificates import PCK_PROFILES, public_bytes
from tee_sim.attest.intel import SimulatedIntel
from tee_sim.attest.verifier import verify_evidence
from tee_sim.attester import evidence_of
from tee_sim.errors import EcallFailed, UsageError
from tee_sim.monitors.sgx.processor import VENDOR_HASH
from tee_sim.platform import DeployedEnclave
from tee_sim.sdk.build import GUEST

NONCE = b"a nonce"
SGX_ECDSA = bytes.fromhex("a3a21e871b4d4014b70aa125d2fbcd8c")
LOCAL = bytes.fromhex("09268c336e0b45e58a2715644d0ef89a")
END = "-----END CERTIFICATE-----\n"
REMOTE = 2
"""OE_EVIDENCE_ATTRIBUTES_SGX_REMOTE"""

# Where things are in evidence with a header: in the quote, behind it.
BODY, SIGNATURE, KEY = HEADER + 48, HEADER + 436, HEADER + 500
QE_REPORT, QE_SIGNATURE, AUTH_DATA = HEADER + 564, HEADER + 948, HEADER + 1014
CHAIN = HEADER + 1052


def evidence(here: Server | None = None) -> bytes:
    return evidence_of((here or server()).attested, NONCE)


def local(here: Server, target: bytes) -> bytes:
    made = here.attested.attest_to(target, NONCE, len(NONCE), 1024)
    return bytes(made.evidence[: int.from_bytes(made.size, "little")])


def refusal(data: bytes, time: bytes = bytes(24)) -> str:
    with pytest.raises(EcallFailed) as error:
        server().verify(data, time)
    return error.value.result


def changed(data: bytes, at: int, change: int = 1) -> bytes:
    return data[:at] + bytes([data[at] ^ change]) + data[at + 1 :]


def rewrapped(data: bytes) -> bytes:
    """Evidence whose header says how long it is."""
    return data[:24] + (len(data) - HEADER).to_bytes(8, "little") + data[HEADER:]


# What is in it


def test_evidence_is_a_header_a_quote_and_the_custom_claims_whose_hash_the_quote_holds() -> None:
    made = evidence()
    version, format_id, size = struct.unpack("<I16s4xQ", made[:HEADER])
    assert (version, format_id, size) == (3, SGX_ECDSA, len(made) - HEADER)
    quote, claims = unwrap(made)
    assert len(quote) == server().service.quote_size
    assert claims.startswith(NONCE)
    assert len(claims) == len(NONCE) + 64
    assert quote[48 + 320 : 48 + 384] == sha256(claims).digest() + bytes(32)
    assert server().status(quote) == ("UpToDate", [])


def test_a_verifier_and_an_enclave_find_the_same_claims() -> None:
    here, made = server(), evidence()
    pck = here.service.pck
    collateral = here.intel.collateral(pck.fmspc, pck.ca, AT)
    result = verify_evidence(made, collateral, root=here.intel.root_der, at=AT).require()
    inside = here.verify(made)
    assert inside.unique_id == result.claims["unique_id"] == here.attested.mrenclave
    assert inside.signer_id == result.claims["signer_id"] == here.attested.mrsigner
    assert inside.custom_claims.startswith(result.claims["custom_claims_buffer"])
    assert int.from_bytes(inside.attributes, "little") == REMOTE


def test_evidence_of_a_debug_enclave_says_so() -> None:
    debug = server().host.create_enclave("attested", debug=True)
    found = server().verify(evidence_of(debug, NONCE))
    assert int.from_bytes(found.attributes, "little") == REMOTE | 1


# Without a service, or with a bad one


@pytest.mark.parametrize(
    ("tee", "result"), [("sgx-tme", "OE_SERVICE_UNAVAILABLE"), ("none", "OE_NOT_FOUND")]
)
def test_a_platform_without_a_quoting_service_has_no_evidence(tee: str, result: str) -> None:
    with pytest.raises(EcallFailed, match=result):
        evidence_of(Platform(tee).create_enclave("attested"), NONCE)


class Liar:
    """A quoting service that answers what it likes."""

    def __init__(self, target: bytes, quote: bytes, size: int | None = None) -> None:
        self.target, self.quote, self.quote_size = target, quote, size or len(quote)

    def get_target_info(self) -> bytes:
        return self.target

    def get_quote(self, report: bytes) -> bytes:
        return self.quote


RESERVED = bytes(48) + b"\xff\xff" + bytes(6) + b"\xff" * 8 + bytes(64) + b"\xff" * 384
"""A TARGETINFO that EREPORT would not have."""


@pytest.mark.parametrize("target", [b"", b"\xff" * 32, RESERVED])
def test_a_lying_service_gets_no_evidence_out_of_a_program(target: bytes) -> None:
    here = Server()
    other = unwrap(evidence(here))[0]  # genuine, but with another key's hash in it
    enclave = here.host.create_enclave("attested")
    for quote in (other, b"short", bytes(5000), other[:-1]):
        here.host.host.quoting = Liar(target, quote)
        with pytest.raises(EcallFailed, match="OE_QUOTE_PROVIDER_CALL_ERROR"):
            evidence_of(enclave, NONCE)
    here.host.host.quoting = Liar(target, other, 1 << 63)
    with pytest.raises(EcallFailed, match="OE_OUT_OF_MEMORY"):
        evidence_of(enclave, NONCE)
    here.host.host.quoting = here.service
    assert here.status(unwrap(evidence_of(enclave, NONCE))[0]) == ("UpToDate", [])


def test_why_the_service_refuses_reaches_who_called_the_program() -> None:
    here = Server()
    here.service.quote_size -= 1
    with pytest.raises(EcallFailed, match="get_quote failed with OE_INVALID_PARAMETER"):
        evidence(here)


def test_a_program_without_attest_and_a_nonce_too_long_are_refused() -> None:
    here = server()
    with pytest.raises(UsageError, match="no ecall named 'attest' in reporter"):
        evidence_of(here.reporter, NONCE)
    with pytest.raises(EcallFailed, match="OE_INVALID_PARAMETER"):
        evidence_of(here.attested, bytes(65))
    with pytest.raises(EcallFailed, match="OE_BUFFER_TOO_SMALL"):
        here.attested.attest(NONCE, len(NONCE), 1000)


# Verification inside

PLACES = {
    "version": (HEADER, "OE_REPORT_PARSE_ERROR"),
    "key type": (HEADER + 2, "OE_REPORT_PARSE_ERROR"),
    "TEE type": (HEADER + 4, "OE_REPORT_PARSE_ERROR"),
    "vendor": (HEADER + 12, "OE_REPORT_PARSE_ERROR"),
    "user data": (HEADER + 28, "OE_QUOTE_VERIFICATION_ERROR"),
    "MRENCLAVE": (BODY + 64, "OE_QUOTE_VERIFICATION_ERROR"),
    "debug": (BODY + 48, "OE_QUOTE_VERIFICATION_ERROR"),
    "signature size": (HEADER + 432, "OE_REPORT_PARSE_ERROR"),
    "signature": (SIGNATURE, "OE_QUOTE_VERIFICATION_ERROR"),
    "attestation key": (KEY, "OE_QUOTE_HASH_MISMATCH"),
    "QE's MRSIGNER": (QE_REPORT + 128, "OE_QUOTE_VERIFICATION_ERROR"),
    "QE's signature": (QE_SIGNATURE, "OE_QUOTE_VERIFICATION_ERROR"),
    "authentication data": (AUTH_DATA, "OE_QUOTE_HASH_MISMATCH"),
    "certification type": (AUTH_DATA + 32, "OE_MISSING_CERTIFICATE_CHAIN"),
    "custom claims": (-1, "OE_QUOTE_HASH_MISMATCH"),
    "header's version": (0, "OE_INVALID_PARAMETER"),
    "header's format": (4, "OE_NOT_FOUND"),
    "header's size": (24, "OE_INVALID_PARAMETER"),
}


@pytest.mark.parametrize("what", PLACES)
def test_an_enclave_refuses_evidence_with_a_changed_byte(what: str) -> None:
    at, result = PLACES[what]
    made = evidence()
    assert refusal(changed(made, at % len(made))) == result


def test_an_enclave_believes_no_quoting_enclave_but_the_vendors() -> None:
    here = Server()
    here.service.qe = as_the_vendor(here, "qe")
    requote(here)
    assert refusal(evidence(here)) == "OE_QUOTE_ENCLAVE_IDENTITY_VERIFICATION_FAILED"


def test_an_enclave_believes_no_root_but_the_one_in_its_image() -> None:
    other = Server(intel=1)
    made = evidence(other)
    assert other.status(unwrap(made)[0]) == ("UpToDate", [])
    assert refusal(made) == "OE_QUOTE_VERIFICATION_ERROR"


def test_a_genuine_root_above_somebody_elses_certificates_convinces_nobody() -> None:
    """All names are right, the keys are not: nothing but the signatures is in the way."""
    other = Server(intel=1)
    mine, theirs = (s.service.chain.split(END) for s in (server(), other))
    for chain in ([*theirs[:2], mine[2], ""], [theirs[0], *mine[1:]]):
        made = with_chain(evidence(other), END.join(chain).encode())
        assert refusal(made) == "OE_QUOTE_VERIFICATION_ERROR"


def test_an_issuer_of_another_name_is_none_although_the_key_fits() -> None:
    here = server()
    authority = here.intel._authorities["platform"]
    profile = replace(authority.profile, common_name="Intel SGX TCB Signing")
    namesake = object.__new__(type(authority))
    vars(namesake).update(vars(authority), profile=profile)
    pck = x509.load_pem_x509_certificate(here.service.chain.encode())
    forged = namesake.issue(PCK_PROFILES["platform"], pck.public_key())  # type: ignore[arg-type]
    rest = here.service.chain[here.service.chain.index(END) + len(END) :].encode()
    own = authority.issue(PCK_PROFILES["platform"], pck.public_key())  # type: ignore[arg-type]
    here.verify(with_chain(evidence(), own.public_bytes(Encoding.PEM) + rest))
    made = with_chain(evidence(), forged.public_bytes(Encoding.PEM) + rest)
    assert refusal(made) == "OE_QUOTE_VERIFICATION_ERROR"


def test_the_image_pins_the_root_and_the_signer_of_the_simulated_intel() -> None:
    text = (GUEST / "src" / "vendor.h").read_text()
    found = bytes(int(byte, 16) for byte in re.findall(r"0x([0-9a-f]{2})\b", text.split("0x11")[0]))
    root = x509.load_der_x509_certificate(SimulatedIntel().root_der)
    assert found == public_bytes(root.public_key()) + VENDOR_HASH


def when(*parts: int) -> bytes:
    return struct.pack("<6I", *parts)


@pytest.mark.parametrize(
    ("time", "result"),
    [
        (when(2024, 1, 1, 0, 0, 0), ""),
        (when(2030, 12, 31, 23, 59, 59), ""),
        (when(2023, 12, 31, 23, 59, 59), "OE_VERIFY_FAILED_TO_FIND_VALIDITY_PERIOD"),
        (when(2031, 1, 1, 0, 0, 0), "OE_VERIFY_FAILED_TO_FIND_VALIDITY_PERIOD"),
        (when(10_000, 1, 1, 0, 0, 0), "OE_INVALID_UTC_DATE_TIME"),
        (when(2026, 100, 1, 0, 0, 0), "OE_INVALID_UTC_DATE_TIME"),
    ],
)
def test_certificates_have_to_be_valid_at_the_time_of_the_policy(time: bytes, result: str) -> None:
    if result:
        assert refusal(evidence(), time) == result
    else:
        server().verify(evidence(), time)


def with_chain(made: bytes, chain: bytes) -> bytes:
    """The same evidence with another chain, all sizes right."""
    old = int.from_bytes(made[CHAIN - 4 : CHAIN], "little")
    quote, claims = bytearray(made[HEADER : CHAIN + old]), made[CHAIN + old :]
    quote[1048:] = len(chain).to_bytes(4, "little") + chain
    quote[432:436] = (len(quote) - 436).to_bytes(4, "little")
    return rewrapped(made[:HEADER] + bytes(quote) + claims)


def test_a_chain_has_three_certificates_in_their_order() -> None:
    chain = server().service.chain
    pck, ca, root, _ = (part + END for part in chain.split(END))
    server().verify(with_chain(evidence(), (pck + ca + root).encode()))
    for wrong, result in (
        (pck + root, "OE_MISSING_CERTIFICATE_CHAIN"),
        (ca + root + root, "OE_QUOTE_VERIFICATION_ERROR"),
        (ca + pck + root, "OE_QUOTE_VERIFICATION_ERROR"),
        (pck + root + ca, "OE_QUOTE_VERIFICATION_ERROR"),
        ("", "OE_MISSING_CERTIFICATE_CHAIN"),
    ):
        assert refusal(with_chain(evidence(), wrong.encode())) == result


def with_quote(quote: bytes) -> bytes:
    """Evidence with a quote whose signature data have another size."""
    head = quote[:432] + (len(quote) - 436).to_bytes(4, "little") + quote[436:]
    return rewrapped(evidence()[:HEADER] + head + unwrap(evidence())[1])


def test_nothing_may_be_left_over_in_a_quote_and_no_part_may_be_too_large() -> None:
    quote = unwrap(evidence())[0]
    at = AUTH_DATA - 2 - HEADER
    assert refusal(with_quote(quote + b"x")) == "OE_REPORT_PARSE_ERROR"
    for size in (257, 5000, 60_000):
        large = quote[:at] + size.to_bytes(2, "little") + bytes(size) + quote[at + 34 :]
        wanted = "OE_OUT_OF_MEMORY" if size == 60_000 else "OE_QUOTE_HASH_MISMATCH"
        assert refusal(with_quote(large)) == wanted


def pem(der: bytes) -> bytes:
    text = b64encode(der)
    lines = b"\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return b"-----BEGIN CERTIFICATE-----\n" + lines + b"\n" + END.encode()


@given(st.data())
@settings(max_examples=40)
def test_no_chain_harms_the_enclave_that_reads_it(data: st.DataObject) -> None:
    """DER lengths are what parsers trip over: bytes of the certificates are changed at random."""
    certificates = x509.load_pem_x509_certificates(server().service.chain.encode())
    which = data.draw(st.integers(0, 2))
    der = bytearray(certificates[which].public_bytes(Encoding.DER))
    for _ in range(data.draw(st.integers(1, 3))):
        der[data.draw(st.integers(0, min(300, len(der) - 1)))] = data.draw(st.integers(0, 255))
    der = der[: data.draw(st.integers(0, len(der)))] if data.draw(st.booleans()) else der
    blocks = [pem(c.public_bytes(Encoding.DER)) for c in certificates]
    unchanged = bytes(der) == certificates[which].public_bytes(Encoding.DER)
    blocks[which] = pem(bytes(der))
    made = with_chain(evidence(), b"".join(blocks))
    if not unchanged:
        assert refusal(made) in ("OE_MISSING_CERTIFICATE_CHAIN", "OE_QUOTE_VERIFICATION_ERROR")
    assert server().attested.lost is None


@given(st.binary(max_size=600), st.integers(0, 5200))
@example(b"", 0)
@example(b"", 5200)
@settings(max_examples=40)
def test_no_evidence_harms_the_enclave_that_reads_it(junk: bytes, at: int) -> None:
    made = evidence()
    for data in (junk, made[:at] + junk, rewrapped(made[: HEADER + at] + junk)):
        if data != made:
            assert refusal(data).startswith("OE_")
    assert server().attested.lost is None


# Local attestation


def test_two_enclaves_on_one_processor_convince_each_other() -> None:
    here = server()
    made = local(here, here.attested.my_target())
    assert made[4:20] == LOCAL
    found = here.verify(made)
    assert found.unique_id == here.attested.mrenclave
    assert found.custom_claims.startswith(NONCE)
    assert int.from_bytes(found.attributes, "little") == 0


@pytest.mark.parametrize(
    ("spoil", "result"),
    [
        (lambda made: changed(made, HEADER + 64), "OE_VERIFY_FAILED_AES_CMAC_MISMATCH"),
        (lambda made: changed(made, HEADER + 420), "OE_VERIFY_FAILED_AES_CMAC_MISMATCH"),
        (lambda made: changed(made, HEADER + 432), "OE_QUOTE_HASH_MISMATCH"),
        (lambda made: rewrapped(made[: HEADER + 431]), "OE_REPORT_PARSE_ERROR"),
    ],
)
def test_tampered_local_evidence_is_refused(spoil: Callable[[bytes], bytes], result: str) -> None:
    here = server()
    assert refusal(spoil(local(here, here.attested.my_target()))) == result


def test_local_evidence_convinces_nobody_but_its_target_on_the_same_processor() -> None:
    here, there = server(), server(seed=1)
    mismatch = "OE_VERIFY_FAILED_AES_CMAC_MISMATCH"
    assert refusal(local(here, here.reporter.my_target())) == mismatch
    assert refusal(local(there, here.attested.my_target())) == mismatch


# Open Enclave's older form, and what its functions refuse

WITNESS = Path(__file__).parent.parent / "programs" / "witness"


@cache
def witness() -> DeployedEnclave:
    return server().host.create_enclave(WITNESS)


def remote_report(data: bytes = b"said".ljust(64)) -> bytes:
    made = witness().remote_report(data, 8192)
    return bytes(made.report[: int.from_bytes(made.size, "little")])


def test_an_older_report_is_a_quote_behind_another_header() -> None:
    report = remote_report()
    assert struct.unpack("<IIQ", report[:16]) == (1, 2, len(report) - 16)
    quote, claims = unwrap(report)
    assert (quote, claims) == (report[16:], b"")
    assert server().status(quote) == ("UpToDate", [])
    found = witness().check_report(report, len(report))
    assert (found.unique_id, found.data) == (witness().mrenclave, b"said".ljust(64))
    assert int.from_bytes(found.attributes, "little") == REMOTE
    assert witness().target_of(report, len(report))[:32] == witness().mrenclave


@given(st.integers(0, 1051), st.integers(1, 255))
@settings(max_examples=20)
def test_an_older_report_with_a_changed_byte_is_refused(at: int, change: int) -> None:
    report = changed(remote_report(), at, change)
    with pytest.raises(EcallFailed):
        witness().check_report(report, len(report))


ATTESTER_MISUSE = (
    ["OE_INVALID_PARAMETER"] * 3
    + ["OE_NOT_FOUND"]
    + ["OE_INVALID_PARAMETER"] * 8
    + ["OE_UNSUPPORTED", "OE_NOT_FOUND"]
)
VERIFIER_MISUSE = (
    ["OE_INVALID_PARAMETER"] * 8
    + ["OE_UNSUPPORTED", "OE_REPORT_PARSE_ERROR", "OE_NOT_FOUND", "OE_REPORT_PARSE_ERROR"]
    + ["OE_VERIFY_FAILED_AES_CMAC_MISMATCH"]
)


@pytest.mark.parametrize(("how", "code"), list(enumerate(ATTESTER_MISUSE)))
def test_the_attester_refuses_illegal_arguments(how: int, code: str) -> None:
    with pytest.raises(EcallFailed, match=code):
        witness().misuse_attester(how)


@pytest.mark.parametrize(("how", "code"), list(enumerate(VERIFIER_MISUSE)))
def test_the_verifier_refuses_illegal_arguments(how: int, code: str) -> None:
    with pytest.raises(EcallFailed, match=code):
        witness().misuse_verifier(how, witness().guest.arena[0])


def test_nothing_leaks_out_of_the_heap() -> None:
    before = witness().free_memory()
    report = remote_report()
    witness().check_report(report, len(report))
    witness().misuse_attester(len(ATTESTER_MISUSE))  # no misuse
    with pytest.raises(EcallFailed):
        witness().check_report(changed(report, 500), len(report))
    for how in range(len(VERIFIER_MISUSE)):
        with pytest.raises(EcallFailed):
            witness().misuse_verifier(how, witness().guest.arena[0])
    assert witness().free_memory() == before > 0
