"""The REST API of Microsoft Azure Attestation, version 2020-10-01.

Every refusal is a 4xx with ``{"error": {"code": ..., "message": ...}}``.

Source: azure-security-attestation 1.0.0, its ``_generated`` operations; Microsoft Learn,
"Troubleshooting guide", for the codes of errors.

Simplified: a caller is logged in with any bearer token. There is no Azure Active Directory, and
there are no roles.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from tee_sim.errors import ServiceError
from tee_sim.services.local_ca import tls_files
from tee_sim.services.maa import AttestationService
from tee_sim.services.running import running

API_VERSION = "2020-10-01"
MAX_BODY = 1 << 20
"""Bytes of a request's body."""


def attestation_app(service: AttestationService) -> FastAPI:
    """The service over HTTP."""
    app = FastAPI(title="Attestation service of tee_sim", openapi_url=None)
    for error in (ServiceError, HTTPException, ClientDisconnect):
        app.add_exception_handler(error, _refuse)
    app.add_api_route("/certs", service.keys)
    app.add_api_route("/.well-known/openid-configuration", service.metadata)
    managed: dict[tuple[str, str], Callable[..., str]] = {
        ("POST", "/attest/{kind}"): service.attest,
        ("GET", "/policies/{kind}"): lambda _, kind: service.policy(kind),
        ("PUT", "/policies/{kind}"): service.set_policy,
        ("POST", "/policies/{kind}:reset"): service.reset_policy,
        ("GET", "/certificates"): lambda _: service.certificates(),
        ("POST", "/certificates:add"): partial(service.change_certificates, add=True),
        ("POST", "/certificates:remove"): partial(service.change_certificates, add=False),
    }
    for (method, path), answer in managed.items():
        app.add_api_route(path, _handler(answer), methods=[method])
    return app


@contextmanager
def serving(
    service: AttestationService, directory: Path | None, port: int = 0
) -> Iterator[Path | None]:
    """Run the service until the block ends; its issuer becomes its address.

    Args:
        service: what decides.
        directory: where the TLS files go; None for no TLS, which Microsoft's client refuses.
        port: 0 for any that is free.

    Yields:
        The file of the CA that clients have to trust, or None.

    Raises:
        UsageError: the port cannot be had.
    """
    tls = directory and tls_files(directory)
    files = {"certificate": str(tls.certificate), "key": str(tls.key)} if tls else {}
    with running(attestation_app(service), port=port, **files) as url:
        service.issuer = url
        yield tls and tls.ca


def _handler(answer: Callable[..., str]) -> Callable[[Request], Awaitable[dict[str, str]]]:
    """Answers, with a token, callers who are logged in."""

    async def handle(request: Request) -> dict[str, str]:
        scheme, _, login = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not login:
            raise ServiceError("log in with a bearer token", code="Unauthorized", status=401)
        if request.query_params.get("api-version") != API_VERSION:
            raise ServiceError(f"the query must say api-version={API_VERSION}")
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY:
                raise ServiceError(f"the body is longer than {MAX_BODY} bytes", status=413)
        return {"token": await run_in_threadpool(answer, bytes(body), **request.path_params)}

    return handle


async def _refuse(_: Request, error: Any) -> JSONResponse:
    """An error, as Azure words it."""
    status, code = getattr(error, "status", 404), getattr(error, "code", "NotFound")
    return JSONResponse({"error": {"code": code, "message": str(error)}}, status)
