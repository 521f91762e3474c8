"""Tokens as a Relying Party gets them: from somebody who says that the service issued them to him.

Whoever takes a token has not seen the evidence. He relies on what the service made of it, so he has
to know which service that was, when, and for whom its policy admitted the enclave.

Source: RFC 9334, "Passport Model"; RFC 7519; RFC 8725, "JSON Web Token Best Current Practices".
"""

from __future__ import annotations

from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from tee_sim.attest.ledger import Ledger
from tee_sim.attest.results import AttestationResult
from tee_sim.attest.rules import Rule
from tee_sim.errors import (
    BadSignature,
    Expired,
    LayoutError,
    ReferenceValueMismatch,
    UntrustedChain,
)
from tee_sim.services.tokens import from_base64url

RULES: dict[str, Rule] = {
    "TOKEN.SIGNATURE": (BadSignature, "Without it, anybody wrote these claims."),
    "TOKEN.ISSUER": (UntrustedChain, "Anybody can run such a service, with any policy."),
    "TOKEN.AUDIENCE": (ReferenceValueMismatch, "Others get tokens too, for their own programs."),
    "TOKEN.CURRENT": (Expired, "An old token does not know what was found, or stolen, since."),
}


def appraise_token(
    token: bytes, key: RSAPublicKey, *, issuer: str, audience: str, at: int
) -> AttestationResult:
    """Look at a token of an attestation service.

    Args:
        token: a JWS, ASCII.
        key: of the service that is trusted, from the certificate that its ``/certs`` shows.
        issuer: its URL.
        audience: for whom the service's policy has to have issued the token, in the claim ``aud``.
        at: when, Unix seconds.

    Returns:
        Every check, and the token's claims. What the evidence bound besides (``x-ms-sgx-ehd``) is
        the claim ``custom_claims_buffer``.

    Raises:
        LayoutError: it is no token.
    """
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        custom = from_base64url(claims.get("x-ms-sgx-ehd", ""))
        start, end = (int(claims.get(name, 0)) for name in ("nbf", "exp"))
    except (jwt.PyJWTError, RecursionError, ValueError, TypeError) as error:
        raise LayoutError(f"this is no token of an attestation service: {error}") from None
    ledger = Ledger(RULES.__getitem__)
    ledger.test("TOKEN.SIGNATURE", "RS256, by the service", lambda: _signature(token, key))
    ledger.same("TOKEN.ISSUER", lambda: issuer, lambda: claims.get("iss", "nobody"))
    ledger.same("TOKEN.AUDIENCE", lambda: audience, lambda: claims.get("aud", "nobody"))
    ledger.note("TOKEN.CURRENT", start <= at < end, f"valid at {at}", f"{start} to {end}")
    found: dict[str, Any] = {**claims, "custom_claims_buffer": custom}
    return AttestationResult("", (), tuple(ledger.checks), found)


def _signature(token: bytes, key: RSAPublicKey) -> tuple[bool, str]:
    """The algorithm is the Relying Party's choice, never that of the token's header."""
    try:
        jwt.PyJWS().decode(token, key, algorithms=["RS256"])
    except jwt.PyJWTError as error:
        return False, str(error)
    return True, "RS256"
