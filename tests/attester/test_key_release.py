"""Secure key release from end to end: enclave, host, Verifier, policy, Relying Party."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attester.servers import AT, HEADER, Server, server
from tee_sim import Platform
from tee_sim.abi.image import measure
from tee_sim.attest.policy import Policy, appraise
from tee_sim.attest.relying_party import RelyingParty
from tee_sim.attest.results import AppraisalCheck, AttestationResult
from tee_sim.attest.tpm_endorser import TPMVendor
from tee_sim.attest.vbs import verify_vbs_evidence
from tee_sim.attest.verifier import verify_evidence
from tee_sim.attester import evidence_of, published_values
from tee_sim.errors import (
    AttestationError,
    DebugForbidden,
    EcallFailed,
    LayoutError,
    NonceMismatch,
    ReferenceValueMismatch,
)
from tee_sim.units import MIB

SECRET = b"the vault's combination: 1234"


def relying_party(here: Server, **policy: object) -> RelyingParty:
    """Somebody who wants this very program, on a platform without known weakness."""
    pck, enclave = here.service.pck, here.attested
    assert enclave.mrenclave
    collateral = here.intel.collateral(pck.fmspc, pck.ca, AT)
    wanted = Policy(**({"measurements": (enclave.mrenclave,)} | policy))  # type: ignore[arg-type]

    def opinion(evidence: bytes) -> AttestationResult:
        found = verify_evidence(evidence, collateral, root=here.intel.root_der, at=AT)
        return appraise(found, wanted)

    return RelyingParty(opinion, seed=0)


def test_the_secret_reaches_the_enclave_and_nobody_else() -> None:
    here = server()
    owner = relying_party(here)
    message = owner.release(evidence_of(here.attested, owner.challenge()), SECRET)
    assert SECRET not in message
    assert here.attested.receive(message, len(message)) == sha256(SECRET).digest()
    other = here.host.create_enclave("attested")
    evidence_of(other, b"makes a key of its own")
    with pytest.raises(EcallFailed, match="OE_CRYPTO_ERROR"):
        other.receive(message, len(message))
    physical = here.attested.physical("attested_secret")
    assert here.host.adversary.read(physical, len(SECRET)) != SECRET


def test_the_same_protocol_on_vbs() -> None:
    host, vendor = Platform("vbs", memory=64 * MIB), TPMVendor()
    enclave = host.create_enclave("attested")
    assert host.host.vbs
    boot = host.host.vbs.boot_evidence(b"nonce", vendor.certify)

    def owner(**policy: Any) -> RelyingParty:
        how: Any = {
            "root": vendor.root_der,
            "nonce": b"nonce",
            "at": AT,
            "reference": published_values(),
        }
        wanted = Policy(**policy)
        return RelyingParty(lambda data: appraise(verify_vbs_evidence(data, boot, **how), wanted))

    program = owner(measurements=(measure(enclave.program.image),), minimum_version=2)
    message = program.release(evidence_of(enclave, program.challenge()), SECRET)
    assert enclave.receive(message, len(message)) == sha256(SECRET).digest()
    forged = bytearray(evidence_of(enclave, program.challenge()))
    forged[-64:] = evidence_of(host.create_enclave("attested"), b"the host's")[-64:]
    with pytest.raises(AttestationError, match="CUSTOM_CLAIMS"):
        program.release(bytes(forged), SECRET)
    debug = host.create_enclave("attested", debug=True)
    with pytest.raises(DebugForbidden):
        owner(allow_debug=True).release(evidence_of(debug, b""), SECRET)


def test_what_is_bound_has_to_be_a_key() -> None:
    party: RelyingParty

    def opinion(evidence: bytes) -> AttestationResult:
        claims = {"custom_claims_buffer": evidence}
        return AttestationResult("UpToDate", (), (AppraisalCheck("A", True, "", "", ""),), claims)

    party = RelyingParty(opinion)
    with pytest.raises(LayoutError, match="public key"):
        party.release(party.challenge() + bytes(64), SECRET)


def test_no_evidence_serves_twice_and_none_without_a_challenge() -> None:
    here = server()
    owner = relying_party(here)
    evidence = evidence_of(here.attested, owner.challenge())
    owner.release(evidence, SECRET)
    for replayed in (evidence, evidence_of(here.attested, bytes(32))):
        with pytest.raises(NonceMismatch, match="an open challenge"):
            owner.release(replayed, SECRET)


def test_a_key_in_the_middle_is_refused() -> None:
    here = server()
    owner = relying_party(here)
    evidence = bytearray(evidence_of(here.attested, owner.challenge()))
    mine = evidence_of(here.host.create_enclave("attested"), b"the host's")[-64:]
    evidence[-64:] = mine
    with pytest.raises(AttestationError, match="CUSTOM_CLAIMS"):
        owner.release(bytes(evidence), SECRET)


def test_evidence_without_custom_claims_binds_no_key() -> None:
    here = server()
    owner = relying_party(here, measurements=None)
    with pytest.raises(NonceMismatch):
        owner.release(here.quote(owner.challenge() + bytes(32)), SECRET)


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        ({"measurements": (bytes(32),)}, ReferenceValueMismatch),
        ({"minimum_version": 3}, ReferenceValueMismatch),
        ({"product_id": 8}, ReferenceValueMismatch),
    ],
)
def test_what_the_policy_does_not_want_gets_nothing(
    policy: dict[str, object], error: type[Exception]
) -> None:
    here = server()
    owner = relying_party(here, **policy)
    with pytest.raises(error):
        owner.release(evidence_of(here.attested, owner.challenge()), SECRET)


def test_a_debug_enclave_and_an_unpatched_platform_get_nothing() -> None:
    here, old = server(), server(patch_level=0)
    owner = relying_party(here)
    debug = here.host.create_enclave("attested", debug=True)
    with pytest.raises(DebugForbidden):
        owner.release(evidence_of(debug, owner.challenge()), SECRET)
    careful, careless = relying_party(old), relying_party(old, tcb_statuses=("OutOfDate",))
    with pytest.raises(AttestationError, match="OutOfDate"):
        careful.release(evidence_of(old.attested, careful.challenge()), SECRET)
    careless.release(evidence_of(old.attested, careless.challenge()), SECRET)


@given(st.data())
@settings(max_examples=30)
def test_an_enclave_takes_no_message_that_was_changed(data: st.DataObject) -> None:
    here = server()
    owner = relying_party(here)
    message = bytearray(owner.release(evidence_of(here.attested, owner.challenge()), SECRET))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(EcallFailed, match="OE_CRYPTO_ERROR"):
        here.attested.receive(bytes(message), len(message))


def test_messages_of_impossible_sizes_are_refused() -> None:
    here = server()
    evidence_of(here.attested, b"makes the key")
    for size in (0, 79, 80 + 257):
        with pytest.raises(EcallFailed, match="OE_INVALID_PARAMETER"):
            here.attested.receive(bytes(size), size)
    fresh = here.host.create_enclave("attested")
    with pytest.raises(EcallFailed, match="OE_PUBLIC_KEY_NOT_FOUND"):
        fresh.receive(bytes(100), 100)


@given(st.binary(max_size=200), st.integers(0, 5300))
@settings(max_examples=30)
def test_junk_gets_a_typed_error(junk: bytes, at: int) -> None:
    here = server()
    evidence = evidence_of(here.attested, b"x")
    for data in (junk, evidence[:at] + junk, evidence[:HEADER] + junk):
        with pytest.raises((AttestationError, LayoutError)):
            relying_party(here).release(data, SECRET)


def test_a_seed_makes_challenges_repeatable_and_none_makes_them_unpredictable() -> None:
    def nobody(evidence: bytes) -> AttestationResult:
        raise AssertionError

    parties = [RelyingParty(nobody, seed) for seed in (1, 1, 2, None, None)]
    one, same, other, drawn, again = (party.challenge() for party in parties)
    assert one == same
    assert len({one, other, drawn, again}) == 4
    assert parties[0].challenge() != one
