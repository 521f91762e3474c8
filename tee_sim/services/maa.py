"""An attestation service in the manner of Microsoft Azure Attestation: evidence in, tokens out.

It is a Verifier with an Appraisal Policy that its owner sets, and its tokens are Attestation
Results that a Relying Party can read without knowing anything of SGX. This module decides and knows
no HTTP; `tee_sim.services.maa_http` gives it the wire.

An instance that was made with policy management certificates is *isolated*: it takes policies and
certificates only from somebody who signs with one of them. Otherwise its mode is *AAD*: whoever
logs in may change the policy.

Source: Microsoft Learn, "How to author and sign an attestation policy", "Azure Attestation claim
sets", "Troubleshooting guide"; the recordings of the tests of azure-security-attestation 1.0.0.

Simplified: nothing in a signed request says for when or for which attestation type it is: whoever
has seen one, and the service shows policies to everybody, can send it again (in Azure roles decide
who may send at all). The service attests SGX only. Its policies are held in memory. A policy cannot
replace a claim that the service makes itself: what it issues under such a name is left out
(unverified). The property ``report_validity_in_minutes``, documented for TPM and VBS, holds for
SGX.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1

from tee_sim.errors import AttestationError, LayoutError, ServiceError
from tee_sim.services import tokens
from tee_sim.services.claims import DEFAULT_POLICY, DEPRECATED, EVIDENCE, OWN_CLAIMS, AttestRequest
from tee_sim.services.policy import Claim, Issued, Policy, PolicyEvaluationError, parse_policy
from tee_sim.services.tokens import ReceivedJWS, Signer, base64url, digest, invalid, jwk

Appraise: TypeAlias = Callable[[str, bytes, int], Mapping[str, Any]]
"""Verifies evidence: attestation type, evidence, Unix time -> claims by Open Enclave's names."""

UNSIGNED = base64url(b'{"alg":"none"}')
"""Header of a JWS that nobody signed."""
TYPES = (*EVIDENCE, "Tpm")
"""Attestation types. That of TPM may have a policy, but no default one."""
TOKEN_MINUTES, ANSWER_MINUTES = 8 * 60, 60
"""How long an attestation token, and an answer about policies, are valid."""
MAX_MINUTES = 365 * 24 * 60
"""The longest that a policy may make a token valid."""
CERTIFICATE_CLAIMS = ("policyCertificate", "x-ms-policyCertificate", "maa-policyCertificate")
"""Where a request carries a certificate: as the client, and the documentation, call it."""


class StoredPolicy(NamedTuple):
    """A policy: the JWS that brought it, and what is in it."""

    jws: ReceivedJWS
    text: str
    policy: Policy

    @classmethod
    def read(cls, jws: ReceivedJWS) -> StoredPolicy:
        """The policy in a JWS.

        Raises:
            ServiceError: there is none.
        """
        try:
            text = tokens.from_base64url(_member(jws, "AttestationPolicy")).decode()
        except ValueError:
            raise invalid("AttestationPolicy is not UTF-8 in base64url") from None
        return cls(jws, text, parse_policy(text))


def _unsigned(text: str) -> StoredPolicy:
    payload = json.dumps({"AttestationPolicy": base64url(text.encode())}).encode()
    return StoredPolicy.read(ReceivedJWS(f"{UNSIGNED}.{base64url(payload)}.", payload, None))


class AttestationService:
    """One instance of the service.

    Args:
        appraise: verifies evidence, or raises `AttestationError`.
        issuer: the URL under which clients reach it, without a slash at its end; tokens name it.
        signer: signs its tokens.
        management: the certificates that may sign policies; with none, its mode is AAD.
        clock: Unix time, in seconds.
    """

    def __init__(
        self,
        appraise: Appraise,
        *,
        issuer: str,
        signer: Signer,
        management: Iterable[x509.Certificate] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.issuer, self.signer, self.management = issuer, signer, tuple(management)
        self.isolated = bool(self.management)
        self._appraise, self._clock = appraise, clock
        self._default = _unsigned(DEFAULT_POLICY)
        self._policies = dict.fromkeys(EVIDENCE, self._default)
        self._lock = threading.Lock()

    def attest(self, body: bytes, kind: str) -> str:
        """Appraise evidence, and issue a token.

        A request may bring a draft policy, to see what it would do; the token is unsecured then.

        Args:
            body: the request, JSON.
            kind: attestation type.

        Raises:
            ServiceError: the request is malformed, its evidence is not genuine or does not
                confirm its data, or the policy refuses.
        """
        request = AttestRequest.read(body)
        evidence: bytes = getattr(request, EVIDENCE[_known(kind, EVIDENCE)])
        if not evidence:
            raise ServiceError(f"the request has no {EVIDENCE[kind]}")
        try:
            found = self._appraise(kind, evidence, int(self._clock()))
        except (AttestationError, LayoutError) as error:
            raise ServiceError(f"the {EVIDENCE[kind]} was refused: {error}") from None
        own = request.claims(evidence, found)
        draft = request.draft_policy_for_attestation
        stored = self._policies[kind] if draft is None else _unsigned(draft)
        names = [(name, own[new]) for new, old in DEPRECATED.items() for name in (new, f"${old}")]
        issued = stored.policy.evaluate(Claim(name, value) for name, value in names)
        own |= {"x-ms-ver": "1.0", "jti": secrets.token_hex(32)}
        own["x-ms-policy-hash"] = digest(base64url(stored.text.encode()))
        if stored.jws.signer is not None:
            own["x-ms-policy-signer"] = jwk(stored.jws.signer)
        return self._token(_custom(issued) | own, _minutes(issued), secured=draft is None)

    def policy(self, kind: str) -> str:
        """A token that holds the policy of an attestation type."""
        stored = self._policies.get(_known(kind, TYPES))
        return self._token({"x-ms-policy": stored.jws.text if stored else f"{UNSIGNED}.."})

    def set_policy(self, body: bytes, kind: str) -> str:
        """Take a policy from a JWS, and answer what was taken.

        Raises:
            ServiceError: it is no policy, or whoever sends it may not set it.
        """
        _known(kind, TYPES)
        jws = self._permitted(body)
        self._policies[kind] = StoredPolicy.read(jws)
        answer = {
            "x-ms-policy-result": "Updated",
            "x-ms-policy-token-hash": digest(jws.text),
        }
        signer = {"x-ms-policy-signer": _key(jws.signer)} if jws.signer else {}
        return self._token(answer | signer)

    def reset_policy(self, body: bytes, kind: str) -> str:
        """Go back to the default policy, at the request of a JWS without a payload.

        Raises:
            ServiceError: it has one, or whoever sends it may not ask.
        """
        _known(kind, TYPES)
        if self._permitted(body).payload:
            raise invalid("a reset is a JWS without a payload")
        if kind in EVIDENCE:
            self._policies[kind] = self._default
        else:
            self._policies.pop(kind, None)
        return self._token({"x-ms-policy-result": "Removed"})

    def certificates(self) -> str:
        """A token that holds the policy management certificates."""
        keys = [_key(certificate) for certificate in self.management]
        return self._token({"x-ms-policy-certificates": {"keys": keys}})

    def change_certificates(self, body: bytes, *, add: bool) -> str:
        """Add or remove the policy management certificate in a JWS that another one signed.

        Raises:
            ServiceError: whoever sends it may not, or it is the last one to be removed.
        """
        if not self.isolated:
            raise invalid("an instance in AAD mode has no policy management certificates")
        with self._lock:
            jws = self._permitted(body)
            certificate, _ = tokens.certificate_of(_member(jws, *CERTIFICATE_CLAIMS))
            others = tuple(known for known in self.management if known != certificate)
            if not (add or others):
                raise invalid("the last policy management certificate cannot be removed")
            self.management = (*others, certificate) if add else others
        thumbprint = certificate.fingerprint(SHA1()).hex().upper()
        answer = {"x-ms-policycertificates-result": "IsPresent" if add else "IsAbsent"}
        return self._token(answer | {"x-ms-certificate-thumbprint": thumbprint})

    def keys(self) -> dict[str, Any]:
        """The JSON Web Key Set that verifies the service's tokens."""
        return {"keys": [jwk(self.signer.certificate, kid=self.signer.kid)]}

    def metadata(self) -> dict[str, Any]:
        """What OpenID Connect Discovery asks for; the values are unverified, the names are not."""
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/certs",
            "response_types_supported": ["token", "none"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "claims_supported": sorted(OWN_CLAIMS),
        }

    def _permitted(self, body: bytes) -> ReceivedJWS:
        """The JWS of somebody who may manage policies: the client sends it bare, or as JSON."""
        try:
            text = body.decode("ascii").strip()
            jws = tokens.read_jws(str(json.loads(text)) if text.startswith('"') else text)
        except ValueError:
            raise invalid("the body is not a JWS") from None
        if self.isolated and jws.signer not in self.management:
            who = "nobody" if jws.signer is None else "a certificate that is not trusted"
            raise invalid(f"a policy management certificate has to sign this; {who} did")
        return jws

    def _token(
        self, claims: dict[str, Any], minutes: int = ANSWER_MINUTES, *, secured: bool = True
    ) -> str:
        now = int(self._clock())
        times = {"iat": now, "nbf": now, "exp": now + 60 * minutes}
        return self.signer.token(self.issuer, claims | times, secured)


def _custom(issued: Issued) -> dict[str, Any]:
    """The claims that a policy issued, without those that only the service may make."""
    values: dict[str, list[Any]] = {}
    for claim in issued.claims:
        if claim.type not in OWN_CLAIMS:
            values.setdefault(claim.type, []).append(claim.value)
    return {name: many if many[1:] else many[0] for name, many in values.items()}


def _minutes(issued: Issued) -> int:
    minutes = issued.properties.get("report_validity_in_minutes", TOKEN_MINUTES)
    if type(minutes) is not int or not 1 <= minutes <= MAX_MINUTES:
        raise PolicyEvaluationError(f"report_validity_in_minutes is not 1-{MAX_MINUTES}")
    return minutes


def _known(kind: str, kinds: Iterable[str]) -> str:
    if kind not in kinds:
        raise ServiceError(f"no attestation type {kind!r:.40}; there are: {', '.join(kinds)}")
    return kind


def _member(jws: ReceivedJWS, *names: str) -> Any:
    """The first of these members that the payload, a JSON object, has."""
    try:
        payload = json.loads(jws.payload)
        return next(payload[name] for name in names if name in payload)
    except (ValueError, RecursionError, TypeError, StopIteration):
        raise invalid(f"the payload of the JWS is no JSON with {names[0]}") from None


def _key(certificate: x509.Certificate) -> dict[str, Any]:
    return jwk(certificate, alg="RS256", use="sig")
