"""Collateral: the Endorsements of Intel that a Verifier needs beside a quote.

The JSON form is that of the ``dcap-qvl`` library, so that the same file serves both: certificate
chains as PEM text, revocation lists as hexadecimal DER, signatures as hexadecimal r || s, and TCB
info and QE identity as *exactly* the text that was signed.

Source: Intel SGX and TDX Provisioning Certification Service API, version 4: its answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from tee_sim.errors import LayoutError

MOST_JSON = 16 << 20
"""Longest JSON text, in characters, that is read; Intel's longest list is 300 KiB."""


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

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read the JSON form; names that it does not know are ignored.

        Raises:
            LayoutError: it is no JSON object of that form.
        """
        data = json_object(text, "collateral")
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = data.get(field.name)
            if value is None and field.name == "pck_certificate_chain":
                continue
            if not isinstance(value, str):
                what = "missing" if value is None else f"{type(value).__name__}, not text"
                raise LayoutError(f"collateral: {field.name} is {what}")
            values[field.name] = value
            if field.type == "bytes":
                try:
                    values[field.name] = bytes.fromhex(value)
                except ValueError:
                    raise LayoutError(f"collateral: {field.name} is not hexadecimal") from None
        return cls(**values)

    def to_json(self) -> str:
        """The JSON form, one field on a line."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.pck_certificate_chain is None:
            del values["pck_certificate_chain"]
        plain = {k: v.hex() if isinstance(v, bytes) else v for k, v in values.items()}
        return json.dumps(plain, indent=2)


def json_object(text: str | bytes, what: str) -> Mapping[str, Any]:
    """A JSON text that holds an object.

    Raises:
        LayoutError: it does not, or it is too long or too deep.
    """
    if len(text) > MOST_JSON:
        raise LayoutError(f"{what}: more than {MOST_JSON >> 20} MiB")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise LayoutError(f"{what}: no JSON: {error}") from None
    if not isinstance(data, dict):
        raise LayoutError(f"{what}: a JSON {type(data).__name__}, not an object")
    return data
