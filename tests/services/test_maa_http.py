"""Whatever is sent, the service answers as Azure does: a token, or a 4xx with code and message."""

import base64
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from services.lab import (
    PERMIT_ALL,
    RUNTIME,
    InProcess,
    certificate,
    claims_of,
    key,
    quote,
    report,
    service,
    unsigned,
)
from tee_sim.services.claims import DEFAULT_POLICY
from tee_sim.services.local_ca import certify
from tee_sim.services.maa_http import API_VERSION, MAX_BODY, attestation_app
from tee_sim.services.running import running
from tee_sim.services.tokens import base64url, jwk

VERSION = {"api-version": API_VERSION}
AAD = InProcess(attestation_app(service()))
ISOLATED = InProcess(attestation_app(service(management=[certificate("owner")])))
POLICY = {"AttestationPolicy": base64url(PERMIT_ALL.encode())}
TOO_DEEP = b"[" * 100_000
QUOTE = base64url(quote())


def refused(answer: Any, code: str, status: int = 400) -> str:
    """The message of an answer that refuses."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    assert set(answer.json()["error"]) == {"code", "message"}
    assert answer.json()["error"]["code"] == code
    return str(answer.json()["error"]["message"])


def attest(body: Any, kind: str = "SgxEnclave", client: InProcess = AAD) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(f"/attest/{kind}", content=content, params=VERSION)


def put(jws: str | bytes, client: InProcess = AAD, kind: str = "SgxEnclave") -> Any:
    return client.put(f"/policies/{kind}", content=jws, params=VERSION)


def signed(payload: Any, who: str = "owner", **header: Any) -> str:
    """A JWS as the standard has it, with x5c in its header."""
    headers = {"x5c": jwk(certificate(who))["x5c"]} | header
    return jwt.api_jws.encode(json.dumps(payload).encode(), key(who), "RS256", headers=headers)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Invalid JSON"),
        (b"\xff", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (TOO_DEEP, "Invalid JSON"),
        ([], "object"),
        (7, "object"),
        ({}, "no quote"),
        ({"quote": None}, "quote: Value error"),
        ({"quote": ""}, "no quote"),
        ({"report": QUOTE}, "no quote"),
        ({"quote": 7}, "quote: Value error"),
        ({"quote": "*"}, "quote: Value error"),
        ({"quote": "a+/b"}, "quote: Value error"),
        ({"quote": "ä"}, "quote: Value error"),
        ({"quote": "A"}, "quote: Value error"),
        ({"quote": "AAAA"}, "was refused"),
        ({"quote": QUOTE[:600]}, "was refused"),
        ({"quote": base64url(report(quote()))}, "was refused"),
        ({"quote": QUOTE, "runtimeData": "x"}, "runtimeData"),
        ({"quote": QUOTE, "runtimeData": {"data": "AAAA"}}, "runtimeData.dataType: Field required"),
        ({"quote": QUOTE, "runtimeData": {"dataType": "JSON"}}, "runtimeData.data: Field required"),
        ({"quote": QUOTE, "runtimeData": {"data": "AAAA", "dataType": "XML"}}, "'Binary' or"),
        ({"quote": QUOTE, "runtimeData": {"data": "AAAA", "dataType": "JSON"}}, "SHA-256"),
        ({"quote": QUOTE, "initTimeData": {"data": "AAAA", "dataType": "JSON"}}, "SHA-256"),
        ({"quote": QUOTE, "nonce": 7}, "nonce: Input should be a valid string"),
    ],
)  # fmt: skip
def test_a_malformed_request_is_refused(body: Any, message: str) -> None:
    assert message in refused(attest(body), "InvalidParameter")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"{",
        TOO_DEEP,
        b"[]",
        b'"text"',
        b"null",
        b'{"a": NaN}',
        b'{"a": 1e400}',
        b'{"a": "\\ud800"}',
    ],
)  # fmt: skip
def test_runtime_json_has_to_be_an_object_that_a_token_can_hold(data: bytes) -> None:
    bound = {"data": base64url(data), "dataType": "JSON"}
    message = refused(
        attest({"quote": base64url(quote(data)), "runtimeData": bound}), "InvalidParameter"
    )
    assert "JSON" in message
    binary = attest(
        {"quote": base64url(quote(data)), "runtimeData": bound | {"dataType": "Binary"}}
    )
    assert claims_of(binary.json()["token"])["x-ms-sgx-ehd"] == base64url(data)


def test_padding_and_a_nonce_are_taken() -> None:
    padded = base64.urlsafe_b64encode(quote(RUNTIME)).decode()
    answer = attest({"quote": padded, "nonce": "1234", "unknown": 1})
    assert claims_of(answer.json()["token"])["nonce"] == "1234"


@pytest.mark.parametrize(
    ("draft", "code"),
    [
        ("", "PolicyParsingError"),
        ("\0é", "PolicyParsingError"),
        ("version=1.0;authorizationrules{};", "PolicyEvaluationError"),
        ("\ud800", "InvalidParameter"),
    ],
)
def test_a_draft_policy_that_is_none_is_refused(draft: str, code: str) -> None:
    refused(attest({"quote": QUOTE, "draftPolicyForAttestation": draft}), code)


@pytest.mark.parametrize("kind", ["sgxenclave", "Tpm", "SevSnpVm", "%00", "SgxEnclave:reset"])
def test_an_attestation_type_that_is_not_attested_is_refused(kind: str) -> None:
    assert "no attestation type" in refused(attest({}, kind), "InvalidParameter")


@pytest.mark.parametrize("kind", ["sgxenclave", "SevSnpVm", "%20"])
def test_an_unknown_attestation_type_has_no_policy(kind: str) -> None:
    refused(AAD.get(f"/policies/{kind}", params=VERSION), "InvalidParameter")
    refused(put(unsigned(json.dumps(POLICY).encode()), kind=kind), "InvalidParameter")
    refused(
        AAD.post(f"/policies/{kind}:reset", content=unsigned(b""), params=VERSION),
        "InvalidParameter",
    )


@pytest.mark.parametrize("query", [{}, {"api-version": "2018-09-01-preview"}])
def test_another_version_of_the_api_is_refused(query: dict[str, str]) -> None:
    message = refused(AAD.get("/certificates", params=query), "InvalidParameter")
    assert API_VERSION in message


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic lab", "lab"])
def test_who_is_not_logged_in_gets_keys_and_metadata_only(header: str) -> None:
    client = InProcess(attestation_app(service()), header)
    for method, path in [
        ("POST", "/attest/SgxEnclave"), ("GET", "/policies/Tpm"), ("PUT", "/policies/Tpm"),
        ("POST", "/policies/Tpm:reset"), ("GET", "/certificates"), ("POST", "/certificates:add"),
        ("POST", "/certificates:remove"),
    ]:  # fmt: skip
        refused(client.request(method, path, params=VERSION), "Unauthorized", 401)
    assert client.get("/certs").is_success
    assert client.get("/.well-known/openid-configuration").is_success


@pytest.mark.parametrize("path", ["/", "/attest", "/attest/SgxEnclave/x", "/docs", "/policies"])
def test_other_paths_and_methods_are_refused_in_the_same_shape(path: str) -> None:
    refused(AAD.get(path), "NotFound", 404)
    refused(AAD.delete("/certs"), "NotFound", 404)


def test_a_huge_body_is_refused_before_it_is_all_read() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1 << 16
            yield b" " * (1 << 16)

    for content in (b" " * (MAX_BODY + 1), endless()):
        answer = AAD.post("/attest/SgxEnclave", content=content, params=VERSION)
        refused(answer, "InvalidParameter", 413)
    assert MAX_BODY < read <= MAX_BODY + (2 << 16)
    assert "Invalid JSON" in refused(attest(b" " * MAX_BODY), "InvalidParameter")


JWS = [
    "", ".", "..", "...", "a.b.c", "é.é.é", "\x00", '"', '"\\ud800"', "7", "{}", '"' + "[" * 9999,
    "e30..", "e30.e30.", "bnVsbA..", "W10.e30.", "eyJhbGciOiJub25lIn0.e30.AAAA",
    f"{base64url(TOO_DEEP)}.e30.", "eyJhbGciOlsibm9uZSJdfQ.e30.",
]  # fmt: skip


@pytest.mark.parametrize("jws", JWS)
@pytest.mark.parametrize("client", [AAD, ISOLATED], ids=["AAD", "isolated"])
def test_what_is_no_jws_is_refused(client: InProcess, jws: str) -> None:
    body = jws.encode()
    for answer in (
        put(body, client),
        client.post("/policies/SgxEnclave:reset", content=body, params=VERSION),
        client.post("/certificates:add", content=body, params=VERSION),
        client.post("/certificates:remove", content=body, params=VERSION),
    ):
        refused(answer, "InvalidOperation")


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\xff", b"[]", b"7", b"null", b"{}", TOO_DEEP, b'{"AttestationPolicy": 7}',
        b'{"AttestationPolicy": null}', b'{"AttestationPolicy": "*"}',
        b'{"AttestationPolicy": "_w"}',
    ],
)  # fmt: skip
def test_a_jws_without_a_policy_is_refused(payload: bytes) -> None:
    refused(put(unsigned(payload)), "InvalidOperation")


def test_an_unsecured_jws_has_no_signature() -> None:
    jws = unsigned(json.dumps(POLICY).encode())
    refused(put(jws + b"AAAA"), "InvalidOperation")
    assert put(jws, kind="Tpm").is_success


def swapped(jws: str, part: int, text: str) -> str:
    parts = jws.split(".")
    parts[part] = text
    return ".".join(parts)


def test_the_standard_s_names_are_taken_too() -> None:
    client = InProcess(attestation_app(service(management=[certificate("owner")])))
    assert put(signed(POLICY), client).is_success
    assert put(json.dumps(signed(POLICY)), client).is_success
    for name in ("x-ms-policyCertificate", "maa-policyCertificate"):
        jws = signed({name: jwk(certificate("deputy"))})
        assert client.post("/certificates:add", content=jws, params=VERSION).is_success
    headers = {"x5c": jwk(certificate("deputy"))["x5c"]}
    reset = jwt.api_jws.encode(b"", key("deputy"), "RS256", headers=headers)
    assert client.post("/policies/SgxEnclave:reset", content=reset, params=VERSION).is_success


FORGED = {
    "unsigned": unsigned(json.dumps(POLICY).encode()).decode(),
    "by somebody else": signed(POLICY, "anybody"),
    "in the owner's name": signed(POLICY, "anybody", x5c=jwk(certificate("owner"))["x5c"]),
    "another payload": swapped(
        signed(POLICY), 1, base64url(json.dumps(POLICY | {"a": 1}).encode())
    ),
    "another header": swapped(signed(POLICY), 0, signed(POLICY, kid="1").split(".")[0]),
    "no signature": swapped(signed(POLICY), 2, ""),
    "alg none": swapped(signed(POLICY), 0, "eyJhbGciOiJub25lIn0"),
    "critical extension": signed(POLICY, crit=["b64"], b64=True),
}


@pytest.mark.parametrize("jws", FORGED.values(), ids=FORGED)
def test_an_isolated_instance_refuses_a_forged_policy(jws: str) -> None:
    refused(put(jws, ISOLATED), "InvalidOperation")
    stored = claims_of(ISOLATED.get("/policies/SgxEnclave", params=VERSION).json()["token"])
    payload = jwt.api_jws.decode_complete(
        stored["x-ms-policy"], options={"verify_signature": False}
    )["payload"]
    assert json.loads(payload)["AttestationPolicy"] == base64url(DEFAULT_POLICY.encode())


def test_the_jws_of_one_request_does_not_serve_for_another() -> None:
    client = InProcess(attestation_app(service(management=[certificate("owner")])))
    policy, more = signed(POLICY), signed({"policyCertificate": jwk(certificate("deputy"))})
    for path, jws in [
        ("/policies/SgxEnclave:reset", policy), ("/policies/SgxEnclave:reset", more),
        ("/certificates:add", policy), ("/certificates:remove", policy),
    ]:  # fmt: skip
        refused(client.post(path, content=jws, params=VERSION), "InvalidOperation")


SMALL = rsa.generate_private_key(65537, 1024)
CURVE = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    "key_of",
    [
        7, None, "x", [], {}, {"x5c": []}, {"x5c": [7]}, {"x5c": ["*"]}, {"x5c": ["AAAA"]},
        {"x5c": {}}, {"x5c": "MIIB"}, jwk(certify("small", SMALL)), jwk(certify("curve", CURVE)),
    ],
)  # fmt: skip
def test_only_a_certificate_of_an_rsa_key_is_added(key_of: Any) -> None:
    jws = signed({"policyCertificate": key_of})
    refused(ISOLATED.post("/certificates:add", content=jws, params=VERSION), "InvalidParameter")
    header = {"alg": "RSA256", "jwk": key_of}
    forged = swapped(signed(POLICY), 0, base64url(json.dumps(header).encode()))
    refused(put(forged, ISOLATED), "InvalidParameter")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "quote": JSON | st.just(QUOTE) | st.binary(max_size=60).map(base64url),
        "runtimeData": JSON | st.fixed_dictionaries({"data": JSON, "dataType": JSON}),
        "initTimeData": JSON,
        "draftPolicyForAttestation": JSON | st.just(PERMIT_ALL),
        "nonce": JSON,
    },
)


@settings(max_examples=60)
@given(body=st.binary(max_size=80) | REQUESTS, kind=st.sampled_from(["SgxEnclave", "OpenEnclave"]))
def test_any_request_gets_a_token_or_a_refusal(body: Any, kind: str) -> None:
    answer = attest(body, kind)
    assert answer.is_success or refused(answer, answer.json()["error"]["code"])


@settings(max_examples=60)
@given(
    header=JSON | st.fixed_dictionaries({"alg": st.sampled_from(["none", "RS256"]), "x5c": JSON}),
    payload=st.binary(max_size=40) | JSON.map(lambda data: json.dumps(data).encode()),
    signature=st.binary(max_size=20),
)
def test_any_jws_gets_a_token_or_a_refusal(header: Any, payload: bytes, signature: bytes) -> None:
    parts = (json.dumps(header).encode(), payload, signature)
    jws = ".".join(map(base64url, parts))
    for client in (AAD, ISOLATED):
        answer = put(jws, client, "Tpm")
        assert answer.is_success or refused(answer, answer.json()["error"]["code"])
        answer = client.post("/certificates:add", content=jws, params=VERSION)
        assert refused(answer, answer.json()["error"]["code"])


def test_a_client_that_goes_away_is_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    head = "POST /attest/SgxEnclave?api-version=2020-10-01 HTTP/1.1\r\nHost: x\r\n"
    head += "Authorization: Bearer lab\r\nContent-Length: 1000\r\n\r\n{"
    with running(attestation_app(service())) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(head.encode())
        assert httpx.get(f"{url}/certs").is_success
    assert capfd.readouterr().err == ""
