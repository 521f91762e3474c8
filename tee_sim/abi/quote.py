"""Quotes: SGX's and TDX's evidence for remote verifiers, versions 3, 4 and 5.

::

    header 48 | [v5: body type u16, size u32] | report body | length u32 | signature data

    signature data, v3:      signature 64 | attestation key 64 | QE part
    signature data, v4, v5:  signature 64 | attestation key 64 | type u16 = 6, size u32 | QE part
    QE part:                 QE report 384 | its signature 64 | size u16, QE authentication data |
                             type u16, size u32, certification data

The attestation key signs header and body. The quoting enclave (QE), which made that key, says so in
its own report; the platform's certified key (PCK) signs that one, and Intel certifies the PCK.

Sources: Intel SGX ECDSA QuoteLibReference DCAP API, "Quote Format"; Intel TDX DCAP Quoting Library
API, "Version 4" and "Version 5 Quote Format"; compared with Intel's verification library, which
ignores bytes after the end of a quote, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self, TypeAlias

from tee_sim.abi.layout import Row, Struct, at, table
from tee_sim.abi.sgx import ReportBody
from tee_sim.abi.tdx import TDReport10, TDReport15
from tee_sim.errors import LayoutError, Truncated, UnknownVersion

INTEL_QE_VENDOR: Final = bytes.fromhex("939A7233F79C4CA9940A0DB3957F0607")
ECDSA_P256: Final = 2
"""Header.attestation_key_type of the only kind of key here."""
SGX, TDX = 0, 0x81
"""Header.tee_type."""
PCK_CHAIN: Final = 5
"""Type of certification data: the PCK certificate and its issuers, as PEM."""
_QE_PART: Final = 6  # type of certification data

Body: TypeAlias = ReportBody | TDReport10 | TDReport15
_BODIES: Final[dict[tuple[int, int], type[Body]]] = {
    (SGX, 1): ReportBody,
    (TDX, 2): TDReport10,
    (TDX, 3): TDReport15,
}
"""The structure of a body by TEE and, in version 5, its type."""


# fmt: off
class Header(
    Struct, size=48, source='Intel SGX ECDSA QuoteLibReference DCAP API, "Quote Header"'
):
    """What kind of quote follows."""

    version:              int   = at(0,  2,  "3, 4 or 5")
    attestation_key_type: int   = at(2,  2,  "2: ECDSA with P-256")
    tee_type:             int   = at(4,  4,  "0: SGX, 0x81: TDX")
    qe_svn:               int   = at(8,  2,  "security version of the quoting enclave (version 3)")
    pce_svn:              int   = at(10, 2,  "security version of the PCE (version 3)")
    qe_vendor_id:         bytes = at(12, 16, "who made the quoting enclave")
    user_data:            bytes = at(28, 20, "the first 16 bytes identify the platform's QE")
# fmt: on

_AFTER_BODY: Final = (
    ("signature", 0, "by the attestation key, over header and body: r, s"),
    ("attestation_key", 0, "x, y; the quoting enclave made it"),
    ("qe_report", 0, "report body of the quoting enclave"),
    ("qe_report_signature", 0, "by the PCK, over this report: r, s"),
    ("qe_auth_data", 2, "what the quoting enclave binds besides its key"),
    ("certification_data", 6, "the PCK certificate and its issuers, or how to find them"),
)
"""Fields, how many bytes of types and sizes stand before each, and what they mean."""


@dataclass(frozen=True)
class Quote:
    """A quote, taken apart; nothing in it is verified.

    Attributes:
        header: what kind it is.
        body_type: structure of the report body.
        raw_body: the report body as it was signed.
        signature: 64 bytes, r || s, by the attestation key, over `signed`.
        attestation_key: 64 bytes, x || y.
        qe_report: 384 bytes, the quoting enclave's own `ReportBody`.
        qe_report_signature: 64 bytes, r || s, by the PCK, over ``qe_report``.
        qe_auth_data: what the quoting enclave binds besides its key.
        certification_type: 5: PEM; others leave it to the verifier to find the PCK certificate.
        certification_data: PCK certificate chain, or what identifies the platform.
    """

    header: Header
    body_type: type[Body]
    raw_body: bytes
    signature: bytes
    attestation_key: bytes
    qe_report: bytes
    qe_report_signature: bytes
    qe_auth_data: bytes
    certification_type: int
    certification_data: bytes

    @property
    def body(self) -> Body:
        """The report body, or `Reserved` if it holds a bit that has no meaning."""
        return self.body_type.unpack(self.raw_body)

    @property
    def signed(self) -> bytes:
        """What the attestation key signs."""
        head = self.header.pack()
        if self.header.version == 5:
            number = next(key[1] for key, kind in _BODIES.items() if kind is self.body_type)
            return head + _typed(number, self.raw_body)
        return head + self.raw_body

    def pack(self) -> bytes:
        """The bytes of this quote."""
        part = self.qe_report + self.qe_report_signature + _sized(self.qe_auth_data, 2)
        part += _typed(self.certification_type, self.certification_data)
        if self.header.version > 3:
            part = _typed(_QE_PART, part)
        return self.signed + _sized(self.signature + self.attestation_key + part, 4)

    def rows(self) -> list[Row]:
        """The table of this quote's fields; a body with reserved bits is one field."""
        where = len(self.signed)
        body = where - len(self.raw_body)
        try:
            found = [*self.header.rows(), *self.body.rows(body, "body.")]
        except LayoutError:
            whole = Row(body, len(self.raw_body), "body", self.raw_body, "holds a reserved bit")
            found = [*self.header.rows(), whole]
        where += 4
        for name, before, meaning in _AFTER_BODY:
            value: bytes = getattr(self, name)
            wrapper = 6 if name == "qe_report" and self.header.version > 3 else 0
            where += before + wrapper
            found.append(Row(where, len(value), name, value, meaning))
            where += len(value)
        return found

    def __repr__(self) -> str:
        return f"Quote(version {self.header.version}, {len(self.pack())} bytes)"

    def _repr_html_(self) -> str:
        return table(repr(self), self.rows())

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The quote at the start of ``data``, or `LayoutError`."""
        return cls.take(data)[0]

    @classmethod
    def take(cls, data: bytes) -> tuple[Self, bytes]:
        """The quote at the start of ``data``, and the bytes after it; or `LayoutError`."""
        reader = _Reader(data, "quote")
        header = Header.unpack(reader.take(Header.SIZE))
        kind = _body_type(header, reader)
        raw_body = reader.take(kind.SIZE)
        auth = _Reader(reader.sized(4), "signature data")
        signature, key = auth.take(64), auth.take(64)
        part = auth
        if header.version > 3:
            if (wrapped := auth.number(2)) != _QE_PART:
                raise UnknownVersion(f"certification data of type {wrapped}; only 6 is known")
            part = _Reader(auth.sized(4), "QE report certification data")
        qe_report, qe_signature = part.take(ReportBody.SIZE), part.take(64)
        qe_auth_data, certification = part.sized(2), part.number(2)
        certification_data = part.sized(4)
        if auth.rest or part.rest:
            raise Truncated("quote: bytes are left over in its signature data")
        fields = (header, kind, raw_body, signature, key, qe_report, qe_signature)
        return cls(*fields, qe_auth_data, certification, certification_data), reader.rest


def unwrap(evidence: bytes) -> tuple[bytes, bytes]:
    """The quote in a piece of evidence, and the custom claims beside it; or `LayoutError`.

    Evidence is a quote; or one behind Open Enclave's report header (``oe_report_header_t``, 16
    bytes), as `oe_get_report` makes it; or behind its evidence header
    (``oe_attestation_header_t``, version 3, 32 bytes), followed by custom claims, whose SHA-256
    is in the report data.

    Source: openenclave/openenclave, ``internal/report.h`` and ``common/attest_plugin.h``.
    """
    reader = _Reader(evidence, "evidence")
    if (version := reader.number(4)) == 1:
        if (kind := reader.number(4)) != 2:
            raise UnknownVersion(f"Open Enclave report of type {kind}: it holds no quote")
        return reader.sized(8), b""
    if version != 3:
        return evidence, b""
    reader.take(16 + 4)  # the format's UUID, which the quote repeats; then alignment
    data = reader.sized(8)
    claims = Quote.take(data)[1]
    return data[: len(data) - len(claims)], claims


def _body_type(header: Header, reader: _Reader) -> type[Body]:
    """The structure of the body that a header announces."""
    version, tee = header.version, header.tee_type
    number, size = {SGX: 1, TDX: 2}.get(tee, 0), None
    if version == 5:
        number, size = reader.number(2), reader.number(4)
    kind = _BODIES.get((tee, number))
    if kind is None or version not in (3, 4, 5) or (version, tee) == (3, TDX):
        raise UnknownVersion(f"no quote of version {version}, TEE {tee:#x}, body type {number}")
    if size not in (None, kind.SIZE):
        raise LayoutError(f"quote: {kind.__name__} is {kind.SIZE} bytes, not {size}")
    return kind


def _sized(data: bytes, width: int) -> bytes:
    return len(data).to_bytes(width, "little") + data


def _typed(number: int, data: bytes) -> bytes:
    return number.to_bytes(2, "little") + _sized(data, 4)


class _Reader:
    """Takes bytes from the front of a buffer."""

    def __init__(self, data: bytes, what: str) -> None:
        if not isinstance(data, bytes):
            raise LayoutError(f"{what}: {type(data).__name__}, not bytes")
        self.rest, self._what = data, what

    def take(self, size: int) -> bytes:
        if size > len(self.rest):
            raise Truncated(f"{self._what}: {len(self.rest)} bytes where {size} should be")
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def sized(self, width: int) -> bytes:
        return self.take(self.number(width))
