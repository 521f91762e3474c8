"""What tests of the attestation service share: evidence, keys, and a service over TLS."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partialmethod
from pathlib import Path
from typing import Any

import httpx
import jwt
from azure.core.credentials import AccessToken
from azure.security.attestation import AttestationAdministrationClient, AttestationClient
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi import FastAPI

from attest.quotes import QuotedPlatform, sgx_body
from tee_sim.attest.intel import SimulatedIntel
from tee_sim.services.appraiser import quote_appraiser, simulated_collateral
from tee_sim.services.local_ca import certify, new_signer
from tee_sim.services.maa import Appraise, AttestationService
from tee_sim.services.maa_http import serving

AT = 1_795_000_000
RUNTIME = b'{"jwk": {"kty": "EC", "crv": "P-256"}}'
PERMIT_ALL = "version=1.0; authorizationrules{=> permit();}; issuancerules{};"


@cache
def key(name: str) -> rsa.RSAPrivateKey:
    """A key that is made once in a run."""
    return rsa.generate_private_key(65537, 2048)


@cache
def certificate(name: str) -> x509.Certificate:
    """A policy management certificate of that key."""
    return certify(name, key(name))


def pem(item: x509.Certificate | rsa.RSAPrivateKey) -> str:
    """As Microsoft's client takes it."""
    encoding = serialization.Encoding.PEM
    if isinstance(item, x509.Certificate):
        return item.public_bytes(encoding).decode()
    return item.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def quote(bound: bytes = RUNTIME, of: QuotedPlatform | None = None, **fields: object) -> bytes:
    """A quote of an enclave whose report data binds some data."""
    digest = hashlib.sha256(bound).digest() + bytes(32)
    return (of or platform()).quote(sgx_body(**({"reportdata": digest} | fields)))


def report(evidence: bytes) -> bytes:
    """A quote behind Open Enclave's report header."""
    return b"\1\0\0\0\2\0\0\0" + len(evidence).to_bytes(8, "little") + evidence


@cache
def platform() -> QuotedPlatform:
    """The platform that makes quotes here."""
    return QuotedPlatform(SimulatedIntel(0))


def appraiser() -> Appraise:
    """The real Verifier, under the root of the simulated Intel."""
    intel = platform().intel
    return quote_appraiser(simulated_collateral(intel), intel.root_der)


@dataclass
class Lab:
    """A service that runs, and how to reach it."""

    service: AttestationService
    url: str
    ca: str

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "connection_verify": self.ca,
            "validate_issuer": True,
            "issuer": self.url,
            "retry_total": 0,
        }

    def client(self, **options: Any) -> AttestationClient:
        """Microsoft's client for those who attest."""
        return AttestationClient(self.url, Login(), **(self._options | options))

    def administration(self, who: str = "", **options: Any) -> AttestationAdministrationClient:
        """Microsoft's client for the owner; ``who`` names the key that signs."""
        if who:
            options |= {"signing_key": pem(key(who)), "signing_certificate": pem(certificate(who))}
        return AttestationAdministrationClient(self.url, Login(), **(self._options | options))


class Login:
    """A credential of Azure Active Directory; any will do here."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken("lab", int(time.time()) + 3600)


def service(**options: Any) -> AttestationService:
    """A service that nobody can reach yet."""
    signer = new_signer(key("service"))
    given = {"appraise": appraiser(), "issuer": "https://localhost", "signer": signer}
    return AttestationService(**(given | options))


class InProcess:
    """An HTTP client of an application in this process; its exceptions come through.

    Starlette's own TestClient warns that httpx is deprecated.
    """

    def __init__(self, app: FastAPI, authorization: str = "Bearer lab") -> None:
        self.app, self.headers = app, {"Authorization": authorization}

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(
                transport=transport, base_url="https://localhost", headers=self.headers
            ) as client:
                return await client.request(method, path, **options)

        return asyncio.run(send())

    get = partialmethod(request, "GET")
    put = partialmethod(request, "PUT")
    post = partialmethod(request, "POST")
    delete = partialmethod(request, "DELETE")


@contextmanager
def lab(directory: Path, **options: Any) -> Iterator[Lab]:
    """A service over TLS, as long as the block lasts."""
    made = service(**options)
    with serving(made, directory) as ca:
        yield Lab(made, made.issuer, str(ca))


def claims_of(token: str) -> dict[str, Any]:
    """The claims of a token whose signature nobody looks at."""
    return dict(jwt.decode(token, options={"verify_signature": False}))


def unsigned(payload: bytes) -> bytes:
    """A JWS that nobody signed, as a body."""
    return jwt.api_jws.PyJWS().encode(payload, "", algorithm="none").encode()
