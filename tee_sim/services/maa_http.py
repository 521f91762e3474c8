"""The REST API of Microsoft Azure Attestation, version 2020-10-01.

Every refusal is a 4xx with ``{"error": {"code": ..., "message": ...}}``.

Source: azure-security-attestation 1.0.0, its ``_generated`` operations; Microsoft Learn,
"Troubleshooting guide", for the codes of errors.

Simplified: a caller is logged in with any bearer token, or with one of those that the service was
given. There is no Azure Active Directory, and there are no roles.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from tee_sim.errors import ServiceError
from tee_sim.services.maa import AttestationService

API_VERSION = "2020-10-01"
MAX_BODY = 1 << 20
"""Bytes of a request's body."""


async def _body(request: Request) -> bytes:
    """The body; reading stops where it becomes too long."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise ServiceError(f"the body is longer than {MAX_BODY} bytes", status=413)
    return bytes(body)


async def _text(body: Annotated[bytes, Depends(_body)]) -> str:
    """A JWS, as it is or as a JSON string: the client sends both."""
    try:
        text = body.decode("ascii").strip()
        return str(json.loads(text)) if text.startswith('"') else text
    except ValueError:
        raise ServiceError("the body is not a JWS", code="InvalidOperation") from None


Body = Annotated[bytes, Depends(_body)]
Text = Annotated[str, Depends(_text)]


def attestation_app(service: AttestationService, logins: Collection[str] = ()) -> FastAPI:
    """The service over HTTP.

    Args:
        service: what decides.
        logins: the bearer tokens that callers may have; with none, any will do.
    """

    def check(request: Request) -> None:
        scheme, _, login = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not login or (logins and login not in logins):
            raise ServiceError("log in with a bearer token", code="Unauthorized", status=401)
        if request.query_params.get("api-version") != API_VERSION:
            raise ServiceError(f"the query must say api-version={API_VERSION}")

    app = FastAPI(title="Attestation service of tee_sim", openapi_url=None)
    app.add_exception_handler(ServiceError, _refuse)
    app.add_exception_handler(HTTPException, _refuse)
    app.get("/certs")(service.keys)
    app.get("/.well-known/openid-configuration")(service.metadata)
    app.include_router(_managed(service), dependencies=[Depends(check)])
    return app


def _managed(service: AttestationService) -> APIRouter:
    """What only callers who are logged in may use. Each answer is a token."""
    router = APIRouter()

    @router.post("/attest/{kind}")
    def attest(kind: str, body: Body) -> dict[str, str]:
        return {"token": service.attest(kind, body)}

    @router.get("/policies/{kind}")
    def policy(kind: str) -> dict[str, str]:
        return {"token": service.policy(kind)}

    @router.put("/policies/{kind}")
    def set_policy(kind: str, text: Text) -> dict[str, str]:
        return {"token": service.set_policy(kind, text)}

    @router.post("/policies/{kind}:reset")
    def reset_policy(kind: str, text: Text) -> dict[str, str]:
        return {"token": service.reset_policy(kind, text)}

    @router.get("/certificates")
    def certificates() -> dict[str, str]:
        return {"token": service.certificates()}

    @router.post("/certificates:add")
    def add_certificate(text: Text) -> dict[str, str]:
        return {"token": service.change_certificates(text, add=True)}

    @router.post("/certificates:remove")
    def remove_certificate(text: Text) -> dict[str, str]:
        return {"token": service.change_certificates(text, add=False)}

    return router


async def _refuse(_: Request, error: Any) -> JSONResponse:
    """An error, as Azure words it."""
    if isinstance(error, ServiceError):
        status, code, message = error.status, error.code, str(error)
    else:
        status, code, message = error.status_code, str(error.detail).replace(" ", ""), error.detail
    return JSONResponse({"error": {"code": code, "message": message}}, status)
