"""Collateral: the Endorsements of Intel that a Verifier needs beside a quote.

The JSON form is that of the ``dcap-qvl`` library, so that the same file serves both: certificate
chains as PEM text, revocation lists as hexadecimal DER, signatures as hexadecimal r || s, and TCB
info and QE identity as *exactly* the text that was signed.

Source: Intel SGX and TDX Provisioning Certification Service API, version 4: its answers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from types import UnionType
from typing import Any, Self

from tee_sim.attest.fields import Fields, json_object
from tee_sim.errors import LayoutError

_TYPES: dict[Any, type | UnionType] = {"str": str, "bytes": bytes, "str | None": str | None}


@dataclass(frozen=True)
class Collateral:
    """What Intel says about the platforms of one kind, at one time.

    Attributes:
        pck_crl_issuer_chain: PEM: the CA that issued the PCK's CRL, and the root.
        root_ca_crl: DER: which certificates the root has revoked.
        pck_crl: DER: which PCK certificates their CA has revoked.
        tcb_info_issuer_chain: PEM: the TCB signing certificate, and the root.
        tcb_info: JSON text: the TCB levels of one FMSPC.
        tcb_info_signature: 64 bytes, r || s.
        qe_identity_issuer_chain: PEM: the TCB signing certificate, and the root.
        qe_identity: JSON text: which quoting enclave is genuine.
        qe_identity_signature: 64 bytes, r || s.
        pck_certificate_chain: PEM, for quotes that do not carry it themselves.
    """

    pck_crl_issuer_chain: str
    root_ca_crl: bytes
    pck_crl: bytes
    tcb_info_issuer_chain: str
    tcb_info: str
    tcb_info_signature: bytes
    qe_identity_issuer_chain: str
    qe_identity: str
    qe_identity_signature: bytes
    pck_certificate_chain: str | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            if not isinstance(value := getattr(self, field.name), _TYPES[field.type]):
                raise LayoutError(f"collateral: {field.name} is {type(value).__name__}")

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read the JSON form; names that it does not know are ignored.

        Raises:
            LayoutError: it is no JSON object of that form.
        """
        given = Fields(json_object(text, "collateral"), "collateral")
        values: dict[str, Any] = {}
        for field in fields(cls):
            if field.name != "pck_certificate_chain" or given.data.get(field.name) is not None:
                read = given.hex if field.type == "bytes" else given.text
                values[field.name] = read(field.name)
        return cls(**values)

    def to_json(self) -> str:
        """The JSON form, one field on a line."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {k: v.hex() if isinstance(v, bytes) else v for k, v in values.items()}
        return json.dumps({k: v for k, v in plain.items() if v is not None}, indent=2)


def signed_part(answer: str, name: str) -> tuple[str, bytes]:
    """The exact text that is signed in an answer of Intel's service, and the signature.

    Args:
        answer: ``{"tcbInfo": {...}, "signature": "..."}``, or with another name.
        name: ``tcbInfo`` or ``enclaveIdentity``.

    Raises:
        LayoutError: the answer is not of that form.
    """
    given = Fields(json_object(answer, "answer"), "answer")
    given.child(name)
    try:
        start = answer.index("{", answer.index(f'"{name}"'))
        end = json.JSONDecoder().raw_decode(answer, start)[1]
    except ValueError:
        raise given.wrong(name, "is not where it should be") from None
    return answer[start:end], given.hex("signature", 64)
