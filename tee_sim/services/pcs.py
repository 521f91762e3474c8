"""Intel's Provisioning Certification Service, version 4, over the simulated Intel.

The paths are those of Intel's service and of its caching proxy (PCCS), so that clients of either
fetch their collateral here.

Source: Intel SGX and TDX Provisioning Certification Service API, version 4; for ``rootcacrl``,
which only the proxy has, SGXDataCenterAttestationPrimitives, ``QuoteGeneration/pccs``.

Simplified: what should be the PPID encrypted to Intel's RSA key is the PPID itself, followed by
zeros. Platform manifests, registration, FMSPC lists and request identifiers are missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from operator import le
from typing import Annotated, Any, Literal
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError

from tee_sim.attest.certificates import CA, PCK
from tee_sim.attest.endorsements import TEE
from tee_sim.attest.intel import FIRST_NUMBER, SimulatedIntel
from tee_sim.errors import UsageError

JSON, PEM, DER = "application/json", "application/x-pem-file", "application/pkix-crl"
PPID_SIZE, ENCRYPTED_PPID_SIZE = 16, 384


def _hex(size: int) -> Any:
    return Query(pattern=f"^[0-9A-Fa-f]{{{2 * size}}}$")


EncryptedPPID = Annotated[str, _hex(ENCRYPTED_PPID_SIZE)]
CPUSVN = Annotated[str, _hex(16)]
FMSPC = Annotated[str, _hex(6)]
TwoBytes = Annotated[str, _hex(2)]
Update = Literal["early", "standard"]
Number = Annotated[int | None, Query(alias="tcbEvaluationDataNumber", ge=0)]


class PCS:
    """The service's answers; each method answers one path, for the time of its request.

    Args:
        intel: whose certificates and collateral they are.
        clock: tells the time, Unix seconds.
    """

    def __init__(self, intel: SimulatedIntel, clock: Callable[[], int]) -> None:
        self.intel, self.clock = intel, clock

    def pckcert(
        self, encrypted_ppid: EncryptedPPID, cpusvn: CPUSVN, pcesvn: TwoBytes, pceid: TwoBytes
    ) -> Response:
        """The certificate for the highest TCB that is not above the platform's raw TCB."""
        components = bytes.fromhex(cpusvn)
        pce = int.from_bytes(bytes.fromhex(pcesvn), "little")
        for pck, certificate in self._certified(encrypted_ppid, pceid).items():
            if pck.pcesvn <= pce and all(map(le, pck.cpusvn, components)):
                headers = {"SGX-TCBm": pck.raw_tcb.hex().upper(), **self._about(pck)}
                return Response(certificate, headers=headers, media_type=PEM)
        raise HTTPException(404)

    def pckcerts(self, encrypted_ppid: EncryptedPPID, pceid: TwoBytes) -> Response:
        """All certificates of a platform."""
        certified = self._certified(encrypted_ppid, pceid)
        rows = []
        for pck, certificate in certified.items():
            tcb = {f"sgxtcbcomp{i:02}svn": svn for i, svn in enumerate(pck.cpusvn, start=1)}
            tcbm = pck.raw_tcb.hex().upper()
            tcb["pcesvn"] = pck.pcesvn
            rows.append({"tcb": tcb, "tcbm": tcbm, "cert": quote(certificate)})
        return Response(
            json.dumps(rows), headers=self._about(next(iter(certified))), media_type=JSON
        )

    def pckcrl(self, ca: CA, encoding: Literal["pem", "der"] = "pem") -> Response:
        """Which PCK certificates a CA has revoked."""
        data = self.intel.crl(ca, self.clock())
        if encoding == "pem":
            data = x509.load_der_x509_crl(data).public_bytes(Encoding.PEM)
        headers = {"SGX-PCK-CRL-Issuer-Chain": quote(self.intel.issuer_chain(ca))}
        return Response(data, headers=headers, media_type=PEM if encoding == "pem" else DER)

    def rootcacrl(self) -> Response:
        """Which certificates the root has revoked: hexadecimal, as the proxy has it."""
        return Response(self.intel.crl("root", self.clock()).hex(), media_type="text/plain")

    def tcb(
        self, tee: TEE, fmspc: FMSPC, update: Update | None = None, number: Number = None
    ) -> Response:
        """TCB info of an FMSPC."""
        wanted = self._number(update, number)
        try:
            text, signature = self.intel.tcb_info(bytes.fromhex(fmspc), self.clock(), tee, wanted)
        except UsageError as error:
            raise HTTPException(404) from error
        return self._signed("tcbInfo", text, signature, "TCB-Info-Issuer-Chain")

    def qe(self, tee: TEE, update: Update | None = None, number: Number = None) -> Response:
        """The identity of the enclave that makes quotes."""
        return self._identity("TD_QE" if tee == "tdx" else "QE", update, number)

    def qve(self, update: Update | None = None, number: Number = None) -> Response:
        """The identity of the enclave that verifies quotes."""
        return self._identity("QVE", update, number)

    def _identity(self, enclave: str, update: Update | None, number: int | None) -> Response:
        wanted = self._number(update, number)
        text, signature = self.intel.identity(enclave, self.clock(), wanted)
        header = "SGX-Enclave-Identity-Issuer-Chain"
        return self._signed("enclaveIdentity", text, signature, header)

    def _number(self, update: Update | None, number: int | None) -> int:
        """The TCB evaluation data number that a request asks for in one of two ways."""
        if number is None:
            return self.intel.number(self.clock(), early=update == "early")
        if update is not None:
            raise HTTPException(400)
        if number < FIRST_NUMBER:
            raise HTTPException(410)
        if number > self.intel.number(self.clock(), early=True):
            raise HTTPException(404)
        return number

    def _certified(self, encrypted_ppid: str, pceid: str) -> dict[PCK, str]:
        ppid, rest = (data := bytes.fromhex(encrypted_ppid))[:PPID_SIZE], data[PPID_SIZE:]
        certified = self.intel.certified(ppid, bytes.fromhex(pceid))
        if not certified or any(rest):
            raise HTTPException(404)
        return certified

    def _about(self, pck: PCK) -> dict[str, str]:
        return {
            "SGX-FMSPC": pck.fmspc.hex().upper(),
            "SGX-PCK-Certificate-CA-Type": pck.ca,
            "SGX-PCK-Certificate-Issuer-Chain": quote(self.intel.issuer_chain(pck.ca)),
        }

    def _signed(self, name: str, text: str, signature: bytes, header: str) -> Response:
        # The signature covers the text to the byte: it must not be parsed and written again.
        body = f'{{"{name}":{text},"signature":"{signature.hex()}"}}'
        headers = {header: quote(self.intel.issuer_chain("signing"))}
        return Response(body, headers=headers, media_type=JSON)


def create_app(intel: SimulatedIntel, clock: Callable[[], int]) -> FastAPI:
    """The service as a FastAPI application; arguments as of `PCS`."""
    pcs, app = PCS(intel, clock), FastAPI(title="Simulated Intel PCS", openapi_url=None)

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: RequestValidationError) -> Response:
        return Response(status_code=400)

    paths: dict[str, Callable[..., Response]] = {
        "/sgx/certification/v4/pckcert": pcs.pckcert,
        "/sgx/certification/v4/pckcerts": pcs.pckcerts,
        "/sgx/certification/v4/pckcrl": pcs.pckcrl,
        "/sgx/certification/v4/rootcacrl": pcs.rootcacrl,
        "/{tee}/certification/v4/tcb": pcs.tcb,
        "/{tee}/certification/v4/qe/identity": pcs.qe,
        "/sgx/certification/v4/qve/identity": pcs.qve,
    }
    for path, answer in paths.items():
        app.add_api_route(path, answer, methods=["GET"])
    return app
