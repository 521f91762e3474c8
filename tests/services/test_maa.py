"""Microsoft's own client drives the attestation service over TLS, and believes its tokens."""

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError
from azure.security.attestation import (
    AttestationClient,
    AttestationPolicyToken,
    AttestationType,
)
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1

from services.lab import (
    AT,
    PERMIT_ALL,
    RUNTIME,
    Lab,
    Login,
    certificate,
    key,
    lab,
    pem,
    quote,
    report,
)
from tee_sim.abi.sgx import AttributeFlags, Attributes
from tee_sim.services.claims import DEFAULT_POLICY, DEPRECATED, OWN_CLAIMS
from tee_sim.services.tokens import jwk

KINDS = pytest.mark.parametrize("kind", ["SgxEnclave", "OpenEnclave"])
DEBUGGABLE = Attributes(flags=AttributeFlags(init=True, mode64bit=True, debug=True), xfrm=3)


@pytest.fixture(scope="module")
def aad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("aad")) as found:
        yield found


@pytest.fixture
def isolated(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path, management=[certificate("owner")]) as found:
        yield found


def attest(of: Lab, kind: str, evidence: bytes, **data: Any) -> Any:
    client = of.client()
    if kind == "SgxEnclave":
        return client.attest_sgx_enclave(evidence, **data)
    return client.attest_open_enclave(report(evidence), **data)


@KINDS
def test_binary_runtime_data_is_enclave_held_data(aad: Lab, kind: str) -> None:
    evidence = quote(b"\0\xffkey", isvprodid=7, isvsvn=9)
    result, token = attest(aad, kind, evidence, runtime_data=b"\0\xffkey")
    assert result.enclave_held_data == b"\0\xffkey"
    assert result.mr_enclave == hashlib.sha256(b"enclave").hexdigest()
    assert result.mr_signer == hashlib.sha256(b"signer").hexdigest()
    assert (result.product_id, result.svn, result.is_debuggable) == (7, 9, False)
    assert (result.issuer, result.verifier_type, result.version) == (aad.url, "sgx", "1.0")
    assert result.runtime_claims is None
    assert result.policy_signer is None
    assert token._header == {
        "alg": "RS256", "typ": "JWT", "jku": f"{aad.url}/certs", "kid": aad.service.signer.kid,
    }  # fmt: skip
    body = token._body
    assert body["exp"] - body["iat"] == 8 * 3600
    assert body["nbf"] == body["iat"]
    sent = evidence if kind == "SgxEnclave" else report(evidence)
    assert body["x-ms-sgx-collateral"]["quotehash"] == hashlib.sha256(sent).hexdigest()
    assert body["x-ms-sgx-report-data"] == hashlib.sha256(b"\0\xffkey").hexdigest() + "00" * 32
    assert set(body) <= OWN_CLAIMS | set(DEPRECATED.values())
    old = {name: value for name, value in body.items() if "x-ms-" not in name}
    assert old["aas-ehd"] == old["maa-ehd"] == body["x-ms-sgx-ehd"]
    assert old["maa-attestationcollateral"] == body["x-ms-sgx-collateral"]
    assert (old["sgx-mrenclave"], old["sgx-mrsigner"]) == (result.mr_enclave, result.mr_signer)
    assert (old["product-id"], old["svn"], old["tee"], old["is-debuggable"]) == (7, 9, "sgx", False)


@KINDS
def test_json_runtime_data_becomes_claims(aad: Lab, kind: str) -> None:
    result, _ = attest(aad, kind, quote(), runtime_json=RUNTIME)
    assert result.runtime_claims == json.loads(RUNTIME)
    assert result.enclave_held_data is None


def test_evidence_without_runtime_data_is_attested(aad: Lab) -> None:
    result, _ = attest(aad, "SgxEnclave", quote(attributes=DEBUGGABLE))
    assert result.is_debuggable is True
    assert result.enclave_held_data is result.runtime_claims is None


@KINDS
@pytest.mark.parametrize("how", ["runtime_data", "runtime_json"])
def test_runtime_data_that_the_evidence_does_not_bind_is_refused(
    aad: Lab, kind: str, how: str
) -> None:
    with pytest.raises(HttpResponseError, match="SHA-256 of the runtime data") as refusal:
        attest(aad, kind, quote(), **{how: RUNTIME + b" "})
    assert (refusal.value.status_code, refusal.value.error.code) == (400, "InvalidParameter")


def test_initialization_data_is_bound_by_configid(aad: Lab) -> None:
    evidence = quote(configid=hashlib.sha256(b"init").digest() + bytes(32))
    attest(aad, "SgxEnclave", evidence, inittime_data=b"init")
    with pytest.raises(HttpResponseError, match="SHA-256 of the initialization data"):
        attest(aad, "SgxEnclave", evidence, inittime_data=b"more")


@KINDS
def test_a_draft_policy_gives_an_unsecured_token(aad: Lab, kind: str) -> None:
    draft = PERMIT_ALL.replace("rules{}", 'rules{=> issue(type="a", value=1);}')
    _, token = attest(aad, kind, quote(), draft_policy=draft)
    assert token.algorithm == "none"
    assert token.signature_bytes == b""
    assert token._body["a"] == 1
    assert "svn" not in token._body
    with pytest.raises(HttpResponseError, match="denies this evidence"):
        attest(aad, kind, quote(), draft_policy=draft.replace("permit", "deny"))


def test_a_token_that_another_key_signed_is_refused_by_the_client(aad: Lab) -> None:
    genuine = aad.service.signer
    client = aad.client()
    attest_once = client.attest_sgx_enclave
    attest_once(quote())  # the client knows the keys from now on
    aad.service.signer = replace(genuine, key=key("impostor"))
    try:
        with pytest.raises(ValueError, match="Could not verify signature"):
            attest_once(quote())
    finally:
        aad.service.signer = genuine


def test_times_in_tokens_are_the_clock_s(tmp_path: Path) -> None:
    with lab(tmp_path, clock=lambda: AT + 0.9) as old:
        _, token = old.client(validate_expiration=False).attest_sgx_enclave(quote())
        assert (token._body["iat"], token._body["exp"]) == (AT, AT + 8 * 3600)
        with pytest.raises(ValueError, match="Token is expired"):
            old.client().attest_sgx_enclave(quote())


def test_tls_is_verified_with_the_local_ca(aad: Lab) -> None:
    client = AttestationClient(aad.url, Login(), retry_total=0)
    with pytest.raises(ServiceRequestError, match="CERTIFICATE_VERIFY_FAILED"):
        client.get_open_id_metadata()


def test_the_server_s_key_is_for_its_owner_only(aad: Lab) -> None:
    directory = Path(aad.ca).parent
    assert sorted(file.name for file in directory.iterdir()) == [
        "ca.pem",
        "server.key",
        "server.pem",
    ]
    if os.name == "posix":
        assert (directory / "server.key").stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in (directory / "ca.pem").read_bytes()


def test_metadata_and_keys_are_public(aad: Lab) -> None:
    metadata = aad.client().get_open_id_metadata()
    assert (metadata["issuer"], metadata["jwks_uri"]) == (aad.url, f"{aad.url}/certs")
    assert set(metadata["response_types_supported"]) == {"token", "none"}
    (signer,) = aad.client().get_signing_certificates()
    assert signer.key_id == aad.service.signer.kid
    found = x509.load_pem_x509_certificate(signer.certificates[0].encode())
    assert found == aad.service.signer.certificate


TYPES = [AttestationType.SGX_ENCLAVE, AttestationType.OPEN_ENCLAVE, AttestationType.TPM]


@pytest.mark.parametrize("kind", TYPES)
def test_policies_are_read_set_and_reset(aad: Lab, kind: AttestationType) -> None:
    administration = aad.administration()
    default = "" if kind == AttestationType.TPM else DEFAULT_POLICY
    assert administration.get_policy(kind)[0] == default
    result, token = administration.set_policy(kind, PERMIT_ALL)
    assert result.policy_resolution == "Updated"
    assert result.policy_signer is None
    sent = AttestationPolicyToken(PERMIT_ALL).to_jwt_string()
    assert result.policy_token_hash == hashlib.sha256(sent.encode()).digest()
    assert token._body["exp"] - token._body["iat"] == 3600
    assert administration.get_policy(kind)[0] == PERMIT_ALL
    for other in TYPES:
        if other != kind:
            administration.reset_policy(other)
    assert administration.get_policy(kind)[0] == PERMIT_ALL
    assert administration.reset_policy(kind)[0].policy_resolution == "Removed"
    assert administration.get_policy(kind)[0] == default


def test_hashes_of_policies_are_those_of_azure(aad: Lab) -> None:
    """The values that the client's own recordings of the real service show."""
    shared, _ = attest(aad, "SgxEnclave", quote())
    draft, _ = attest(aad, "SgxEnclave", quote(), draft_policy=PERMIT_ALL)
    assert base64.urlsafe_b64encode(shared.policy_hash) == (
        b"bROrN897ZfWmWY2V0FLUlu3uwk5xatGnKYHn3zBbSlw="
    )
    assert base64.urlsafe_b64encode(draft.policy_hash) == (
        b"z0FRjKS0ssQTNur1V6BV8WIrh9M3fzgTo0EfHRvapWU="
    )


def test_a_policy_in_force_decides_and_adds_claims(aad: Lab) -> None:
    rules = """version=1.0;
        authorizationrules { [type=="x-ms-sgx-is-debuggable", value==false]
            && [type=="$product-id", value==7] && [type=="x-ms-sgx-svn", value>=2] => permit(); };
        issuancerules { c:[type=="x-ms-sgx-mrsigner"] => issue(type="who", value=c.value);
            => issue(type="many", value=1); => issue(type="many", value="two");
            => issueproperty(type="report_validity_in_minutes", value=5); };"""
    administration = aad.administration()
    administration.set_policy(AttestationType.SGX_ENCLAVE, rules)
    try:
        result, token = attest(aad, "SgxEnclave", quote(isvprodid=7, isvsvn=2))
        assert token._body["who"] == result.mr_signer
        assert token._body["many"] == [1, "two"]
        assert token._body["exp"] - token._body["iat"] == 300
        attest(aad, "OpenEnclave", quote())  # which has a policy of its own
        for fields in ({"isvsvn": 1}, {"isvprodid": 8}, {"attributes": DEBUGGABLE}):
            with pytest.raises(HttpResponseError, match="no authorization rule") as refusal:
                attest(aad, "SgxEnclave", quote(**({"isvprodid": 7, "isvsvn": 2} | fields)))
            assert refusal.value.error.code == "PolicyEvaluationError"
    finally:
        administration.reset_policy(AttestationType.SGX_ENCLAVE)


def test_a_policy_cannot_replace_the_service_s_own_claims(aad: Lab) -> None:
    names = ("iss", "exp", "x-ms-sgx-mrenclave", "x-ms-runtime", "x-ms-policy-signer", "nonce")
    rules = "".join(f'=> issue(type="{name}", value="forged");' for name in names)
    draft = PERMIT_ALL.replace("issuancerules{", "issuancerules{" + rules)
    _, token = attest(aad, "SgxEnclave", quote(), draft_policy=draft)
    assert "forged" not in token._body.values()


@pytest.mark.parametrize("minutes", ["0", "-1", "true", '"1"', "525601"])
def test_a_token_lives_for_a_minute_to_a_year(aad: Lab, minutes: str) -> None:
    rule = f'=> issueproperty(type="report_validity_in_minutes", value={minutes});'
    draft = PERMIT_ALL.replace("issuancerules{", "issuancerules{" + rule)
    with pytest.raises(HttpResponseError, match="report_validity_in_minutes"):
        attest(aad, "SgxEnclave", quote(), draft_policy=draft)


def test_a_policy_that_does_not_parse_changes_nothing(aad: Lab) -> None:
    administration = aad.administration()
    with pytest.raises(HttpResponseError, match="line 1, column 44") as refusal:
        administration.set_policy("SgxEnclave", "version=1.0; authorizationrules{=> permit()};")
    assert (refusal.value.status_code, refusal.value.error.code) == (400, "PolicyParsingError")
    assert administration.get_policy("SgxEnclave")[0] == DEFAULT_POLICY


def test_in_aad_mode_a_policy_may_be_signed_by_anybody(aad: Lab) -> None:
    administration = aad.administration("anybody")
    result, _ = administration.set_policy("OpenEnclave", PERMIT_ALL)
    assert result.policy_signer.certificates[0].replace("\n", "") == pem(
        certificate("anybody")
    ).replace("\n", "")
    assert attest(aad, "OpenEnclave", quote())[1]._body["x-ms-policy-signer"] == jwk(
        certificate("anybody")
    )
    assert administration.get_policy("OpenEnclave")[0] == PERMIT_ALL
    administration.reset_policy("OpenEnclave")
    assert administration.get_policy_management_certificates()[0] == []
    with pytest.raises(HttpResponseError, match="AAD mode"):
        administration.add_policy_management_certificate(pem(certificate("anybody")))


def refuse(code: str, match: str, call: Any, *arguments: Any) -> None:
    with pytest.raises(HttpResponseError, match=match) as refusal:
        call(*arguments)
    assert (refusal.value.status_code, refusal.value.error.code) == (400, code)


def test_an_isolated_instance_takes_policies_from_its_signers_only(isolated: Lab) -> None:
    owner = isolated.administration("owner")
    assert owner.set_policy("SgxEnclave", PERMIT_ALL)[0].policy_resolution == "Updated"
    _, token = attest(isolated, "SgxEnclave", quote())
    assert token._body["x-ms-policy-signer"] == jwk(certificate("owner"))
    for other in (isolated.administration(), isolated.administration("anybody")):
        refuse("InvalidOperation", "has to sign", other.set_policy, "SgxEnclave", DEFAULT_POLICY)
        refuse("InvalidOperation", "has to sign", other.reset_policy, "SgxEnclave")
    assert owner.get_policy("SgxEnclave")[0] == PERMIT_ALL
    owner.reset_policy("SgxEnclave")
    assert owner.get_policy("SgxEnclave")[0] == DEFAULT_POLICY


def test_certificates_are_listed_added_and_removed(isolated: Lab) -> None:
    owner, deputy = isolated.administration("owner"), isolated.administration("deputy")
    new = pem(certificate("deputy"))
    refuse("InvalidOperation", "has to sign", deputy.add_policy_management_certificate, new)
    for _ in range(2):
        result, _ = owner.add_policy_management_certificate(new)
        assert result.certificate_resolution == "IsPresent"
        sha1 = certificate("deputy").fingerprint(SHA1())
        assert result.certificate_thumbprint == sha1.hex().upper()
    listed = [chain[0] for chain in deputy.get_policy_management_certificates()[0]]
    assert [x509.load_pem_x509_certificate(c.encode()) for c in listed] == [
        certificate("owner"), certificate("deputy"),
    ]  # fmt: skip
    deputy.set_policy("SgxEnclave", PERMIT_ALL)
    for _ in range(2):
        result, _ = deputy.remove_policy_management_certificate(pem(certificate("owner")))
        assert result.certificate_resolution == "IsAbsent"
    refuse("InvalidOperation", "has to sign", owner.set_policy, "SgxEnclave", PERMIT_ALL)
    refuse("InvalidOperation", "last", deputy.remove_policy_management_certificate, new)


def test_fifty_clients_at_the_same_time(aad: Lab) -> None:
    def one(number: int) -> Any:
        bound = b"client %d" % number
        result, _ = aad.client().attest_sgx_enclave(quote(bound), runtime_data=bound)
        assert result.enclave_held_data == bound
        return result.unique_id

    with ThreadPoolExecutor(50) as pool:
        assert len(set(pool.map(one, range(50)))) == 50
