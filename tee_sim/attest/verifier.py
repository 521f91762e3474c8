"""The Verifier of quotes: is this evidence authentic, and what does Intel think of the platform?

All checks of Intel's verification library are made, in its order, and those that it leaves to its
caller where Intel's quote verification enclave makes them. None is skipped because an earlier one
failed: the list shows all that is wrong. Whether the enclave or TD is one that somebody wants to
talk to is another question: `tee_sim.attest.policy`.

Two things are stricter than Intel's, which looks at the end of validity only, and says beside the
verdict that it has passed: here, what is not valid *yet* is refused, too, and what has expired is
refused unless a policy accepts it. The status is found in any case.

Sources: intel/confidential-computing.tee.dcap.qvl (``QuoteVerification.cpp``, ``Verifiers/``);
intel/SGXDataCenterAttestationPrimitives, ``QuoteVerification/QvE/Enclave/qve.cpp``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import Final, TypeAlias, TypeVar

from tee_sim.abi.quote import ECDSA_P256, INTEL_QE_VENDOR, PCK_CHAIN, TDX, Body, Quote, unwrap
from tee_sim.abi.sgx import ReportBody
from tee_sim.abi.tdx import TDReport10, TDReport15
from tee_sim.attest.chains import (
    Certificate,
    RevocationList,
    Window,
    broken_link,
    load_chain,
    load_crl,
    raw_key,
    verify,
)
from tee_sim.attest.claims import claims_of
from tee_sim.attest.collateral import Collateral
from tee_sim.attest.ledger import Ledger, Piece, known
from tee_sim.attest.pck import PCK
from tee_sim.attest.results import AttestationResult
from tee_sim.attest.rules import EVIDENCE_RULES, QUOTE_RULES
from tee_sim.attest.tcb import (
    REVOKED,
    EnclaveIdentity,
    Evaluation,
    Level,
    ModuleIdentity,
    TCBInfo,
    evaluate,
    part_level,
)
from tee_sim.errors import ReferenceValueMismatch, UsageError

INTEL_ROOT_SHA256: Final = bytes.fromhex(
    "44A0196B2B99F889B8E149E95B807A350E7424964399E885A7CBB8CCFAB674D3"
)
"""SHA-256 of the certificate of the real Intel SGX Root CA, in DER."""

ROOT_NAME, CA_NAME, PCK_NAME = "SGX Root CA", "CA", "SGX PCK Certificate"
SIGNING_NAME: Final = "SGX TCB Signing"

T = TypeVar("T")
Chain: TypeAlias = tuple[Certificate, ...]


def verify_quote(
    quote: bytes, collateral: Collateral, *, root: bytes | None = None, at: int
) -> AttestationResult:
    """Verify a quote with Intel's collateral.

    Args:
        quote: version 3, 4 or 5, of SGX or TDX.
        collateral: for the platform's FMSPC and CA.
        root: the one root certificate that is trusted, DER; None: the real Intel's.
        at: when, Unix seconds.

    Returns:
        Every check, and the claims. Nothing is accepted unless the result is: see
        `AttestationResult.accepted` and `AttestationResult.require`.

    Raises:
        LayoutError: the bytes are no quote.
        UsageError: ``at`` is no integer.
    """
    if not isinstance(at, int):
        raise UsageError(f"at: Unix seconds, an integer, not {type(at).__name__}")
    parsed = Quote.parse(quote)
    trusted = INTEL_ROOT_SHA256 if root is None else sha256(root).digest()
    return _Verification(parsed, collateral, trusted, at).run()


def verify_evidence(
    evidence: bytes, collateral: Collateral, *, root: bytes | None = None, at: int
) -> AttestationResult:
    """Verify a quote, or what Open Enclave wraps around one; see `tee_sim.abi.quote.unwrap`.

    Arguments, result and errors are those of `verify_quote`. Custom claims beside the quote become
    the claim ``custom_claims_buffer``.
    """
    quote, custom = unwrap(evidence)
    result = verify_quote(quote, collateral, root=root, at=at)
    if not custom:
        return result
    ledger = Ledger(EVIDENCE_RULES)
    found = result.claims.get("report_data", b"")[:32]
    ledger.same("EVIDENCE.CUSTOM_CLAIMS", lambda: sha256(custom).digest(), lambda: found)
    claims = {**result.claims, "custom_claims_buffer": custom}
    return replace(result, checks=(*result.checks, *ledger.checks), claims=claims)


class _Verification:
    """One quote on its way through the checks."""

    def __init__(self, quote: Quote, collateral: Collateral, root: bytes, at: int) -> None:
        self.quote, self.collateral, self.root, self.at = quote, collateral, root, at
        self.ledger = Ledger(QUOTE_RULES)

    def run(self) -> AttestationResult:
        """Make all checks."""
        body = self._format()
        chain, crls = self._pck_certificate()
        info, signers = self._signed(
            "TCB_INFO", TCBInfo.parse, crls[0], self.collateral.tcb_info_issuer_chain
        )
        identity, more = self._signed(
            "QE_IDENTITY", EnclaveIdentity.parse, crls[0], self.collateral.qe_identity_issuer_chain
        )
        windows = [
            *self._current("CERTIFICATES.CURRENT", *map(_windows_of, (chain, signers, more))),
            *self._current("CRLS.CURRENT", *(partial(_window_of, crl) for crl in crls)),
            *self._current("TCB_INFO.CURRENT", lambda: [_window("TCB info", info())]),
            *self._current("QE_IDENTITY.CURRENT", lambda: [_window("QE identity", identity())]),
        ]
        pck = self.ledger.piece(
            "PCK.SGX_EXTENSION", "the platform", lambda: PCK.parse(chain()[0].sgx_extension)
        )
        self._platform(pck, info)
        if self.quote.header.tee_type == TDX:
            self._tdx_module(body, info)
        level = self._quoting_enclave(chain, identity)
        self.ledger.test("QUOTE.SIGNATURE", "by the attestation key", self._quote_signature)
        verdict = self._tcb(pck, info, level, body)
        return self._result(body, pck, info, verdict, windows)

    def _format(self) -> Piece[Body]:
        """What `Quote.parse` leaves open: who made the quoting enclave, and the report body."""
        header = self.quote.header
        self.ledger.same(
            "QUOTE.HEADER",
            lambda: ("key type", ECDSA_P256, "vendor", INTEL_QE_VENDOR),
            lambda: ("key type", header.attestation_key_type, "vendor", header.qe_vendor_id),
        )
        name = self.quote.body_type.__name__
        return self.ledger.piece("QUOTE.REPORT", f"a {name}", lambda: self.quote.body)

    def _pck_certificate(self) -> tuple[Piece[Chain], tuple[Piece[RevocationList], ...]]:
        """The chain of the platform's key, and the root's and its CA's revocation lists."""
        pem: str | bytes = self.quote.certification_data
        if self.quote.certification_type != PCK_CHAIN:
            pem = self.collateral.pck_certificate_chain or ""
        chain = self._chain("PCK", pem, PCK_NAME, CA_NAME, ROOT_NAME)
        lists: list[Piece[RevocationList]] = []
        for name, der, issuer, whose in (
            ("ROOT_CRL", self.collateral.root_ca_crl, 2, "by the root"),
            ("PCK_CRL", self.collateral.pck_crl, 1, "by the CA of the PCK"),
        ):
            crl = self.ledger.piece(
                f"{name}.FORMAT", "a revocation list", partial(load_crl, der, name)
            )
            lists.append(crl)
            self.ledger.test(f"{name}.SIGNATURE", whose, partial(_issued, crl, chain, issuer))
        self._not_revoked("PCK.CA_NOT_REVOKED", lists[0], lambda: chain()[1])
        self._not_revoked("PCK.NOT_REVOKED", lists[1], lambda: chain()[0])
        return chain, tuple(lists)

    def _chain(self, name: str, pem: str | bytes, *names: str) -> Piece[Chain]:
        """A chain of certificates, from one whose name contains the first up to the root."""
        chain = self.ledger.piece(
            f"{name}.CERTIFICATES",
            f"{len(names)} certificates",
            lambda: load_chain(pem, name, len(names)),
        )

        def find() -> tuple[bool, str]:
            broken = broken_link(chain(), names)
            return not broken, broken or ", ".join(each.name for each in chain())

        self.ledger.test(f"{name}.CHAIN", ", ".join(names), find)
        self.ledger.same(f"{name}.ROOT", lambda: self.root, lambda: chain()[-1].fingerprint)
        return chain

    def _not_revoked(
        self, name: str, crl: Piece[RevocationList], certificate: Piece[Certificate]
    ) -> None:
        def find() -> tuple[bool, str]:
            revoked = crl().revokes(certificate())
            serial = f"{certificate().certificate.serial_number:x}"
            return not revoked, f"serial number {serial}{' is' if revoked else ' is not'} on it"

        self.ledger.test(name, "not on its issuer's list", find)

    def _signed(
        self, name: str, parse: Callable[[str], T], crl: Piece[RevocationList], pem: str
    ) -> tuple[Piece[T], Piece[Chain]]:
        """TCB info or QE identity: what it says, and who signed it."""
        text: str = getattr(self.collateral, name.lower())
        signature: bytes = getattr(self.collateral, f"{name.lower()}_signature")
        said = self.ledger.piece(
            f"{name}.FORMAT", "as Intel's service gives it", partial(parse, text)
        )
        chain = self._chain(name, pem, SIGNING_NAME, ROOT_NAME)
        self._not_revoked(f"{name}.SIGNER_NOT_REVOKED", crl, lambda: chain()[0])
        data = text.encode("utf-8", "replace")
        self.ledger.test(
            f"{name}.SIGNATURE",
            f"by the key of {SIGNING_NAME}",
            lambda: _yes(verify(chain()[0].key, signature, data)),
        )
        return said, chain

    def _current(self, name: str, *windows: Piece[list[Window]]) -> list[Window]:
        """Whether all are valid at the time; those that are known."""
        known_windows, missing = [], False
        for piece in windows:
            found = known(piece)
            known_windows += found or []
            missing |= found is None
        wrong = [window for window in known_windows if not window.holds(self.at)]
        shown = wrong or sorted(known_windows, key=lambda window: window.end)[:1]
        self.ledger.note(
            name,
            False if wrong else None if missing else True,
            f"valid at {_moment(self.at)}",
            "; ".join(f"{w.what}: {_moment(w.start)} to {_moment(w.end)}" for w in shown)
            or "unknown",
        )
        return known_windows

    def _platform(self, pck: Piece[PCK], info: Piece[TCBInfo]) -> None:
        """TCB info is for this platform."""
        same, tee = self.ledger.same, "TDX" if self.quote.header.tee_type == TDX else "SGX"
        same("TCB_INFO.TEE", lambda: tee, lambda: info().id)
        same("TCB_INFO.FMSPC", lambda: pck().fmspc, lambda: info().fmspc)
        same("TCB_INFO.PCEID", lambda: pck().pceid, lambda: info().pceid)

    def _tdx_module(self, body: Piece[Body], info: Piece[TCBInfo]) -> None:
        """The TDX module is Intel's."""

        def td() -> TDReport10:
            return _td(body())

        module = self.ledger.piece(
            "TDX_MODULE.IDENTITY",
            "listed in TCB info",
            lambda: _module(info(), td().tee_tcb_svn[1]),
        )
        same = self.ledger.same
        same("TDX_MODULE.MRSIGNERSEAM", lambda: module().mrsigner, lambda: td().mrsignerseam)
        self.ledger.test(
            "TDX_MODULE.SEAMATTRIBUTES",
            "zero, in TCB info and in the report",
            lambda: (
                bytes(8) == td().seamattributes == module().attributes,
                td().seamattributes,
            ),
        )

    def _quoting_enclave(
        self, chain: Piece[Chain], identity: Piece[EnclaveIdentity]
    ) -> Piece[Level]:
        """The quoting enclave is Intel's, runs on the platform, and made the attestation key."""
        ledger, quote = self.ledger, self.quote
        ledger.test(
            "QE_REPORT.SIGNATURE",
            "by the PCK",
            lambda: _yes(verify(chain()[0].key, quote.qe_report_signature, quote.qe_report)),
        )
        report = ledger.piece(
            "QE_REPORT.FORMAT", "a ReportBody", lambda: ReportBody.unpack(quote.qe_report)
        )
        bound = sha256(quote.attestation_key + quote.qe_auth_data).digest()
        ledger.same("QE_REPORT.KEY_BINDING", lambda: bound, lambda: quote.qe_report[320:352])
        same, tee = ledger.same, "TD_QE" if quote.header.tee_type == TDX else "QE"
        same("QE_IDENTITY.ID", lambda: tee, lambda: identity().id)
        same(
            "QE_IDENTITY.MISCSELECT",
            lambda: identity().miscselect,
            lambda: _masked(quote.qe_report[16:20], identity().miscselect_mask),
        )
        same(
            "QE_IDENTITY.ATTRIBUTES",
            lambda: identity().attributes,
            lambda: _masked(quote.qe_report[48:64], identity().attributes_mask),
        )
        same("QE_IDENTITY.MRSIGNER", lambda: identity().mrsigner, lambda: report().mrsigner)
        same("QE_IDENTITY.ISVPRODID", lambda: identity().isvprodid, lambda: report().isvprodid)
        return ledger.piece(
            "QE_IDENTITY.LEVEL",
            "a level that its ISVSVN reaches",
            lambda: _level(identity().levels, report().isvsvn),
        )

    def _quote_signature(self) -> tuple[bool, str]:
        key = raw_key(self.quote.attestation_key)
        return _yes(verify(key, self.quote.signature, self.quote.signed))

    def _tcb(
        self, pck: Piece[PCK], info: Piece[TCBInfo], level: Piece[Level], body: Piece[Body]
    ) -> Piece[Evaluation]:
        """The TCB level of the platform, and what the parts make of it."""

        def find() -> Evaluation:
            report = body()
            svn2 = report.tee_tcb_svn2 if isinstance(report, TDReport15) else b""
            svn = b"" if isinstance(report, ReportBody) else _td(report).tee_tcb_svn
            return evaluate(info(), pck().components, pck().pcesvn, level(), svn, svn2)

        verdict = self.ledger.piece("TCB.LEVEL", "a level that the platform reaches", find)
        self.ledger.test(
            "TCB.NOT_REVOKED",
            "any status but Revoked",
            lambda: (verdict().status != REVOKED, verdict().status),
        )
        return verdict

    def _result(
        self,
        body: Piece[Body],
        pck: Piece[PCK],
        info: Piece[TCBInfo],
        verdict: Piece[Evaluation],
        windows: list[Window],
    ) -> AttestationResult:
        found = known(verdict)
        claims = claims_of(self.quote, known(body), known(pck), known(info), found)
        if windows:
            claims["validity_from"] = int(max(window.start for window in windows))
            claims["validity_until"] = int(min(window.end for window in windows))
        levels = found.levels if found else ()
        advisories = sorted({name for level in levels for name in level.advisories})
        status = found.status if found else ""
        return AttestationResult(status, tuple(advisories), tuple(self.ledger.checks), claims)


def _yes(holds: bool) -> tuple[bool, str]:
    return holds, "it is" if holds else "it is not"


def _issued(crl: Piece[RevocationList], chain: Piece[Chain], issuer: int) -> tuple[bool, str]:
    return _yes(crl().issued_by(chain()[issuer]))


def _windows_of(chain: Piece[Chain]) -> Piece[list[Window]]:
    return lambda: [certificate.window for certificate in chain()]


def _window_of(crl: Piece[RevocationList]) -> list[Window]:
    return [crl().window]


def _window(what: str, said: TCBInfo | EnclaveIdentity) -> Window:
    return Window(what, said.issue_date, said.next_update)


def _moment(seconds: float) -> str:
    """A time for people; Unix seconds where the calendar ends."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def _td(body: Body) -> TDReport10:
    """The part of a TD's report that all versions have."""
    if isinstance(body, TDReport15):
        return body.base
    assert isinstance(body, TDReport10)
    return body


def _module(info: TCBInfo, version: int) -> ModuleIdentity:
    module = info.module(version)
    if module is None:
        raise ReferenceValueMismatch(f"no identity of TDX module {version}")
    return module


def _level(levels: tuple[Level, ...], isvsvn: int) -> Level:
    level = part_level(levels, isvsvn)
    if level is None:
        raise ReferenceValueMismatch(f"ISVSVN {isvsvn} is below all levels")
    return level


def _masked(data: bytes, mask: bytes) -> bytes:
    return bytes(byte & bit for byte, bit in zip(data, mask, strict=True))
