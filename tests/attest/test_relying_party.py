"""The Relying Party, with a Verifier that believes everything: what she checks herself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tee_sim.attest.certificates import derive_key, public_bytes
from tee_sim.attest.relying_party import RelyingParty, decrypt, encrypt
from tee_sim.attest.results import AppraisalCheck, AttestationResult
from tee_sim.errors import BadSignature, LayoutError, NonceMismatch

MINE, OTHER = (derive_key(b"test", name) for name in ("mine", "other"))
KEY, WRONG = (public_bytes(key.public_key()) for key in (MINE, OTHER))


def believing(evidence: bytes) -> AttestationResult:
    looked = AppraisalCheck("ANYTHING", True, "", "", "")
    return AttestationResult("", (), (looked,), {"custom_claims_buffer": evidence})


@given(st.binary(max_size=100), st.data())
def test_what_is_encrypted_to_a_key_its_owner_reads_and_nobody_changes(
    secret: bytes, data: st.DataObject
) -> None:
    message = encrypt(secret, KEY, derive_key(b"test", "sender"))
    assert decrypt(message, MINE) == secret
    with pytest.raises(BadSignature, match="another key"):
        decrypt(message, OTHER)
    at = data.draw(st.integers(0, len(message) - 1))
    with pytest.raises((BadSignature, LayoutError)):
        decrypt(message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :], MINE)
    with pytest.raises((BadSignature, LayoutError)):
        decrypt(message[:at], MINE)


def test_the_channel_gets_the_secret_only_if_its_key_is_the_one_in_the_evidence() -> None:
    user = RelyingParty(believing, seed=0)
    evidence = user.challenge() + KEY
    assert [c.name for c in user.judge(evidence, WRONG).failed] == ["EVIDENCE.CHANNEL"]
    with pytest.raises(NonceMismatch, match=r"EVIDENCE\.CHANNEL"):
        user.release(evidence, b"secret", WRONG)
    assert decrypt(user.release(evidence, b"secret", KEY), MINE) == b"secret"


def test_to_judge_uses_no_challenge_up_and_to_release_does() -> None:
    user = RelyingParty(believing, seed=0)
    evidence = user.challenge() + KEY
    for _ in range(2):
        assert user.judge(evidence).accepted
    user.release(evidence, b"secret")
    assert [c.name for c in user.judge(evidence).failed] == ["EVIDENCE.NONCE"]


@pytest.mark.parametrize("omits", ["EVIDENCE.NONCE", {"EVIDENCE.NONCE"}])
def test_who_forgets_the_nonce_takes_anything(omits: str) -> None:
    user = RelyingParty(believing, seed=0, omits=omits)
    assert decrypt(user.release(KEY, b"secret"), MINE) == b"secret"


def test_evidence_without_a_key_gets_nothing_even_from_who_forgets_everything() -> None:
    user = RelyingParty(believing, seed=0, omits={"EVIDENCE.NONCE", "EVIDENCE.CHANNEL"})
    with pytest.raises(LayoutError, match="public key"):
        user.release(b"", b"secret")
