"""The REST API of Microsoft Azure Attestation, version 2020-10-01.

Every refusal is a 4xx with ``{"error": {"code": ..., "message": ...}}``.

Source: azure-security-attestation 1.0.0, its ``_generated`` operations; Microsoft Learn,
"Troubleshooting guide", for the codes of errors.

Simplified: a caller is logged in with any bearer token, or with one of those that the service was
given. There is no Azure Active Directory, and there are no roles.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from tee_sim.errors import ServiceError
from tee_sim.services.maa import AttestationService

API_VERSION = "2020-10-01"
MAX_BODY = 1 << 20
"""Bytes of a request's body."""


def attestation_app(service: AttestationService, logins: Collection[str] = ()) -> FastAPI:
    """The service over HTTP.

    Args:
        service: what decides.
        logins: the bearer tokens that callers may have; with none, any will do.
    """
    app = FastAPI(title="Attestation service of tee_sim", openapi_url=None)
    app.add_exception_handler(ServiceError, _refuse)
    app.add_exception_handler(HTTPException, _refuse)
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
        app.add_api_route(path, _handler(answer, logins), methods=[method])
    return app


def _handler(
    answer: Callable[..., str], logins: Collection[str]
) -> Callable[[Request], Awaitable[dict[str, str]]]:
    """Answers, with a token, callers who are logged in."""

    async def handle(request: Request) -> dict[str, str]:
        scheme, _, login = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not login or (logins and login not in logins):
            raise ServiceError("log in with a bearer token", code="Unauthorized", status=401)
        if request.query_params.get("api-version") != API_VERSION:
            raise ServiceError(f"the query must say api-version={API_VERSION}")
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY:
                raise ServiceError(f"the body is longer than {MAX_BODY} bytes", status=413)
        return {"token": await run_in_threadpool(answer, body, **request.path_params)}

    return handle


async def _refuse(_: Request, error: Any) -> JSONResponse:
    """An error, as Azure words it."""
    status, code = getattr(error, "status", 404), getattr(error, "code", "NotFound")
    return JSONResponse({"error": {"code": code, "message": str(error)}}, status)
