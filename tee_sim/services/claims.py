"""What an attestation request holds, and which claims its evidence becomes.

Source: Microsoft Learn, "Azure Attestation claim sets"; the recordings of the tests of
azure-security-attestation 1.0.0; openenclave/openenclave, ``attestation/sgx/evidence.h``.

Simplified: initialization data is bound by the first 32 bytes of CONFIGID (unverified).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import from_json

from tee_sim.attest.claims import DEBUG
from tee_sim.errors import ServiceError
from tee_sim.services.tokens import base64url, from_base64url

EVIDENCE = {"SgxEnclave": "quote", "OpenEnclave": "report"}
"""Attestation types, and where the request carries the evidence."""
DEPRECATED = {
    "x-ms-sgx-is-debuggable": "is-debuggable",
    "x-ms-sgx-mrsigner": "sgx-mrsigner",
    "x-ms-sgx-mrenclave": "sgx-mrenclave",
    "x-ms-sgx-product-id": "product-id",
    "x-ms-sgx-svn": "svn",
    "x-ms-attestation-type": "tee",
}
"""The claims that a policy sees, and their old names: it sees those too, after a ``$``."""
DEFAULT_POLICY = "version= 1.0;authorizationrules{{=> permit();}};issuancerules{{{}}};".format(
    "".join(f'c:[type=="{k}"] => issue(type="{v}", value=c.value);' for k, v in DEPRECATED.items())
)
"""Permits everything, and adds the claims by their old names."""
COLLATERAL = {
    "qeidcertshash": "sgx_qe_id_issuer_chain",
    "qeidcrlhash": "sgx_root_ca_crl",
    "qeidhash": "sgx_qe_id_info",
    "tcbinfocertshash": "sgx_tcb_issuer_chain",
    "tcbinfocrlhash": "sgx_root_ca_crl",
    "tcbinfohash": "sgx_tcb_info",
}
"""Parts of ``x-ms-sgx-collateral``, and which endorsement each is the SHA-256 of."""
OWN_CLAIMS = {
    *"iss iat nbf exp jti nonce x-ms-ver x-ms-policy-hash x-ms-policy-signer".split(),
    *"x-ms-runtime x-ms-inittime x-ms-sgx-ehd aas-ehd maa-ehd x-ms-sgx-report-data".split(),
    *("x-ms-sgx-collateral", "maa-attestationcollateral", *DEPRECATED),
}
"""The claims that the service makes itself."""

Base64Url: TypeAlias = Annotated[bytes, BeforeValidator(from_base64url)]


class BoundData(BaseModel, alias_generator=to_camel):
    """Data that the evidence has to confirm: it contains the data's SHA-256."""

    data: Base64Url
    data_type: Literal["Binary", "JSON"]

    def confirm(self, field: bytes, what: str) -> None:
        """Compare the data's SHA-256 with the first 32 bytes of a field of the evidence.

        Raises:
            ServiceError: they differ.
        """
        if hashlib.sha256(self.data).digest() != field[:32]:
            raise ServiceError(f"the evidence does not contain the SHA-256 of the {what} data")

    def json_object(self) -> dict[str, Any]:
        """The data, as JSON that a token can hold.

        Raises:
            ServiceError: it is no JSON object, or a number in it is too large.
        """
        try:
            found = from_json(self.data, allow_inf_nan=False)
            json.dumps(found, allow_nan=False)
        except ValueError as error:
            raise ServiceError(f"the data is no JSON: {error}") from None
        if not isinstance(found, dict):
            raise ServiceError("the data is JSON, but no object")
        return found


class AttestRequest(BaseModel, alias_generator=to_camel):
    """The body of a request to attest."""

    quote: Base64Url = b""
    report: Base64Url = b""
    runtime_data: BoundData | None = None
    init_time_data: BoundData | None = None
    draft_policy_for_attestation: str | None = None
    nonce: str | None = None

    @classmethod
    def read(cls, body: bytes) -> AttestRequest:
        """The request in a body of JSON.

        Raises:
            ServiceError: it is none.
        """
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "request"
            raise ServiceError(f"{where}: {first['msg']}") from None

    def claims(self, evidence: bytes, found: Mapping[str, Any]) -> dict[str, Any]:
        """The claims of a token, from what the evidence says by Open Enclave's names.

        Raises:
            ServiceError: the evidence does not confirm the data of this request.
        """
        endorsements = {part: _sha256(found[name]) for part, name in COLLATERAL.items()}
        collateral = {**endorsements, "quotehash": _sha256(evidence)}
        claims: dict[str, Any] = {
            "x-ms-attestation-type": "sgx",
            "x-ms-sgx-is-debuggable": bool(found["attributes"] & DEBUG),
            "x-ms-sgx-product-id": found["product_id"],
            "x-ms-sgx-mrsigner": found["signer_id"].hex(),
            "x-ms-sgx-mrenclave": found["unique_id"].hex(),
            "x-ms-sgx-svn": found["security_version"],
            "x-ms-sgx-report-data": found["sgx_report_data"].hex(),
            "x-ms-sgx-collateral": collateral,
            "maa-attestationcollateral": collateral,
        }
        if self.nonce is not None:
            claims["nonce"] = self.nonce
        if (runtime := self.runtime_data) is not None:
            runtime.confirm(found["sgx_report_data"], "runtime")
            if runtime.data_type == "JSON":
                claims["x-ms-runtime"] = runtime.json_object()
            else:
                names = ("x-ms-sgx-ehd", "aas-ehd", "maa-ehd")
                claims |= dict.fromkeys(names, base64url(runtime.data))
        if (initial := self.init_time_data) is not None:
            initial.confirm(found["sgx_config_id"], "initialization")
            if initial.data_type == "JSON":
                claims["x-ms-inittime"] = initial.json_object()
        return claims


def _sha256(data: bytes | str) -> str:
    return hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()
