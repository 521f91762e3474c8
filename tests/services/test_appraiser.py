"""The attestation service accepts what the Verifier accepts, and nothing else."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.quotes import QuotedPlatform, td_body
from services.lab import AT, claims_of, platform, quote, report, service
from tee_sim.attest.collateral import Collateral
from tee_sim.attest.intel import SimulatedIntel
from tee_sim.errors import ServiceError
from tee_sim.services.appraiser import quote_appraiser, simulated_collateral
from tee_sim.services.claims import EVIDENCE
from tee_sim.services.maa import AttestationService
from tee_sim.services.tokens import base64url
from vectors import vector

SGX = "SgxEnclave"
REAL = 1_752_919_277
"""When the collateral of the real quote was valid."""


def attest(of: AttestationService, evidence: bytes, kind: str = SGX) -> dict[str, object]:
    body = json.dumps({EVIDENCE[kind]: base64url(evidence)}).encode()
    return claims_of(of.attest(body, kind))


def refused(
    of: AttestationService, evidence: bytes, message: str, kind: str = "SgxEnclave"
) -> None:
    with pytest.raises(ServiceError, match=message) as refusal:
        attest(of, evidence, kind)
    assert (refusal.value.code, refusal.value.status) == ("InvalidParameter", 400)


def under(intel: SimulatedIntel, at: int = AT, root: bytes | None = None) -> AttestationService:
    appraise = quote_appraiser(simulated_collateral(intel), root or intel.root_der)
    return service(appraise=appraise, clock=lambda: at)


@pytest.mark.parametrize("ca", ["processor", "platform"])
def test_genuine_evidence_is_accepted(ca: str) -> None:
    intel = SimulatedIntel(0)
    evidence = quote(of=QuotedPlatform(intel, ca=ca))
    assert attest(under(intel), evidence)["x-ms-sgx-svn"] == 1
    assert attest(under(intel), report(evidence), "OpenEnclave")["x-ms-sgx-svn"] == 1


def test_evidence_under_another_root_is_refused() -> None:
    intel, other = SimulatedIntel(0), SimulatedIntel(1)
    evidence = quote(of=QuotedPlatform(other))
    refused(under(intel), evidence, "no platform with FMSPC")
    QuotedPlatform(intel)
    refused(under(intel), evidence, "the quote was refused: ")
    refused(under(other, root=intel.root_der), evidence, "the quote was refused: ")
    real = service(appraise=quote_appraiser(simulated_collateral(other)))
    refused(real, evidence, "the quote was refused: ")


def test_a_revoked_platform_and_expired_certificates_are_refused() -> None:
    intel = SimulatedIntel(0)
    victim = QuotedPlatform(intel)
    evidence = quote(of=victim)
    attest(under(intel), evidence)
    refused(under(intel, at=AT + 20 * 365 * 86400), evidence, "CURRENT")
    intel.revoke(victim.chain, at=AT)
    refused(under(intel, at=AT + 1), evidence, "the quote was refused: .*REVOKED")


def test_a_td_is_no_sgx_enclave() -> None:
    evidence = platform().quote(td_body(), 4)
    refused(service(), evidence, "another TEE")
    refused(service(), report(evidence), "another TEE", "OpenEnclave")


def test_a_real_quote_gets_a_token_under_intel_s_real_root() -> None:
    real = vector("dcap/sgx_quote")
    collateral = Collateral.from_json(vector("dcap/sgx_quote_collateral.json"))
    intel = service(appraise=quote_appraiser(lambda *_: collateral), clock=lambda: REAL)
    assert attest(intel, real)["x-ms-sgx-mrenclave"] == real[112:144].hex()
    root = SimulatedIntel(0).root_der
    simulated = quote_appraiser(lambda *_: collateral, root)
    refused(service(appraise=simulated, clock=lambda: REAL), real, "the quote was refused: ")


GENUINE = quote()
UNCHANGED = GENUINE[368:432].hex()


@settings(max_examples=40)
@given(at=st.integers(0, len(GENUINE) - 1), bit=st.integers(0, 7), cut=st.booleans())
def test_evidence_of_which_a_bit_is_changed_gets_no_other_claims(
    at: int, bit: int, cut: bool
) -> None:
    changed = bytearray(GENUINE)
    changed[at] ^= 1 << bit
    evidence = bytes(changed[:at] if cut else changed)
    if at < 1052:  # behind it is the PCK certificate's PEM text, parts of which say nothing
        refused(service(), evidence or b"\0", "the quote was refused: ")
        return
    with suppress(ServiceError):
        assert attest(service(), evidence)["x-ms-sgx-report-data"] == UNCHANGED
