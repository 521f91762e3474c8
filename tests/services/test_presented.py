"""Tokens, as a Relying Party looks at them."""

from __future__ import annotations

from contextlib import suppress

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.lab import AT, key
from tee_sim.attest.results import AttestationResult
from tee_sim.errors import AttestationError, BadSignature, Expired, LayoutError, UntrustedChain
from tee_sim.services.presented import RULES, appraise_token

CLAIMS = {"iss": "https://service", "aud": "me", "nbf": AT, "exp": AT + 60, "x-ms-sgx-ehd": "YWJj"}


def token(signer: str = "service", algorithm: str = "RS256", **changes: object) -> bytes:
    return jwt.encode(CLAIMS | changes, key(signer) if signer else "", algorithm).encode()


def look(data: bytes) -> AttestationResult:
    public = key("service").public_key()
    return appraise_token(data, public, issuer="https://service", audience="me", at=AT)


def test_a_token_of_the_service_is_accepted_and_its_claims_are_there() -> None:
    result = look(token()).require()
    assert result.claims["custom_claims_buffer"] == b"abc"
    assert [check.name for check in result.checks] == list(RULES)


@pytest.mark.parametrize(
    ("data", "name", "error"),
    [
        (token(signer="", algorithm="none"), "TOKEN.SIGNATURE", BadSignature),
        (token(signer="somebody"), "TOKEN.SIGNATURE", BadSignature),
        (token(algorithm="RS384"), "TOKEN.SIGNATURE", BadSignature),
        (token()[:-8] + b"AAAAAAAA", "TOKEN.SIGNATURE", BadSignature),
        (jwt.encode(CLAIMS, "k" * 32, "HS256").encode(), "TOKEN.SIGNATURE", BadSignature),
        (token(iss="https://other"), "TOKEN.ISSUER", UntrustedChain),
        (token(aud="you"), "TOKEN.AUDIENCE", AttestationError),
        (token(aud=["me", "you"]), "TOKEN.AUDIENCE", AttestationError),
        (token(exp=AT), "TOKEN.CURRENT", Expired),
        (token(nbf=AT + 1), "TOKEN.CURRENT", Expired),
    ],
)
def test_each_check_fails_alone(data: bytes, name: str, error: type[AttestationError]) -> None:
    result = look(data)
    assert [check.name for check in result.failed] == [name]
    with pytest.raises(error, match=name):
        result.require()


def test_a_claim_that_is_missing_fails_its_check() -> None:
    bare = jwt.encode({}, key("service"), "RS256").encode()
    names = ["TOKEN.ISSUER", "TOKEN.AUDIENCE", "TOKEN.CURRENT"]
    assert [check.name for check in look(bare).failed] == names


@pytest.mark.parametrize("changes", [{"x-ms-sgx-ehd": 7}, {"nbf": "soon"}, {"exp": [1]}])
def test_claims_of_a_wrong_type_are_no_token(changes: dict[str, object]) -> None:
    with pytest.raises(LayoutError, match="no token"):
        look(token(**changes))


@given(st.binary(max_size=200))
def test_junk_gets_a_typed_error(junk: bytes) -> None:
    with pytest.raises(LayoutError):
        look(junk)
    head, _, tail = token().partition(b".")
    for data in (head + b"." + junk, junk + b"." + tail):
        with suppress(LayoutError):
            assert not look(data).accepted
