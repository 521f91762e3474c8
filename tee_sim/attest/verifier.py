"""The Verifier of quotes: is this evidence authentic, and what does Intel think of the platform?

All checks of Intel's verification library are made, in its order. None is skipped because an
earlier one failed: the list shows all that is wrong. Whether the enclave or TD is one that somebody
wants to talk to is another question: `tee_sim.attest.policy`.

Two things are stricter than Intel's, which looks at the end of validity only, and reports beside
its verdict that it has passed: here, what is not valid *yet* is refused, too, and what has expired
is refused unless a policy accepts it. The status is found in any case.

Sources: intel/confidential-computing.tee.dcap.qvl (``QuoteVerification.cpp``, ``Verifiers/``);
intel/SGXDataCenterAttestationPrimitives, ``QuoteVerification/QvE/Enclave/qve.cpp``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from typing import Final, TypeAlias, TypeVar

from tee_sim.abi.quote import ECDSA_P256, INTEL_QE_VENDOR, PCK_CHAIN, TDX, Body, Quote, unwrap
from tee_sim.abi.sgx import ReportBody
from tee_sim.abi.tdx import TDReport10, TDReport15
from tee_sim.attest import chains, tcb
from tee_sim.attest.chains import CRL, Certificate, Window, not_on, verify
from tee_sim.attest.claims import claims_of
from tee_sim.attest.collateral import Collateral
from tee_sim.attest.ledger import Ledger, Piece, known, with_custom_claims
from tee_sim.attest.pck import PCK
from tee_sim.attest.results import AttestationResult
from tee_sim.attest.tcb import EnclaveIdentity, Level, TCBInfo
from tee_sim.errors import NotChecked, UsageError

INTEL_ROOT_SHA256: Final = bytes.fromhex(
    "44A0196B2B99F889B8E149E95B807A350E7424964399E885A7CBB8CCFAB674D3"
)
"""SHA-256 of the certificate of the real Intel SGX Root CA, in DER."""

ROOT, SIGNING = "SGX Root CA", "SGX TCB Signing"
T = TypeVar("T", TCBInfo, EnclaveIdentity)
Given = TypeVar("Given")
Made = TypeVar("Made")
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
    trusted = INTEL_ROOT_SHA256 if root is None else sha256(root).digest()
    return _Verification(Quote.parse(quote), collateral, trusted, at).run()


def verify_evidence(
    evidence: bytes, collateral: Collateral, *, root: bytes | None = None, at: int
) -> AttestationResult:
    """Verify a quote, or what Open Enclave wraps around one; see `tee_sim.abi.quote.unwrap`.

    Arguments, result and errors are those of `verify_quote`. Custom claims beside the quote become
    the claim ``custom_claims_buffer``.
    """
    quote, custom = unwrap(evidence)
    return with_custom_claims(verify_quote(quote, collateral, root=root, at=at), custom)


class _Verification(Ledger):
    """One quote on its way through the checks."""

    def __init__(self, quote: Quote, collateral: Collateral, root: bytes, at: int) -> None:
        super().__init__()
        self.quote, self.collateral, self.root, self.at = quote, collateral, root, at
        self.tdx = quote.header.tee_type == TDX

    def run(self) -> AttestationResult:
        """Make all checks."""
        header = self.quote.header
        self.same(
            "QUOTE.HEADER",
            lambda: (ECDSA_P256, INTEL_QE_VENDOR),
            lambda: (header.attestation_key_type, header.qe_vendor_id),
        )
        body = self.piece("QUOTE.FORMAT", self.quote.body_type.__name__, lambda: self.quote.body)
        chain, crls = self._pck_certificate()
        info, info_chain = self._signed("tcb_info", tcb.parse_tcb_info, crls[0])
        identity, identity_chain = self._signed("qe_identity", tcb.parse_qe_identity, crls[0])
        valid: dict[str, list[Piece[list[Window]]]] = {
            "CERTIFICATES": [
                lambda: [each.window for each in chain()],
                lambda: [each.window for each in (*info_chain(), *identity_chain())],
            ],
            "CRLS": [
                lambda: [chains.crl_window(crls[0](), "ROOT_CRL")],
                lambda: [chains.crl_window(crls[1](), "PCK_CRL")],
            ],
            "TCB_INFO": [lambda: [_window(info())]],
            "QE_IDENTITY": [lambda: [_window(identity())]],
        }
        windows: list[Window] = []
        for name, pieces in valid.items():
            windows += self.current(f"{name}.CURRENT", self.at, pieces)
        pck = self.piece("PCK.FORMAT", "SGX extension", lambda: PCK.parse(chain()[0].sgx_extension))
        self.same("TCB_INFO.TEE", lambda: "TDX" if self.tdx else "SGX", lambda: info().id)
        self.same("TCB_INFO.FMSPC", lambda: pck().fmspc, lambda: info().fmspc)
        self.same("TCB_INFO.PCEID", lambda: pck().pceid, lambda: info().pceid)
        if self.tdx:
            self._tdx_module(lambda: _td(body()), info)
        level = self._quoting_enclave(chain, identity)
        self.test("QUOTE.SIGNATURE", "by the attestation key", self._quote_signature)
        verdict = self._tcb(pck, info, level, body)
        status, levels = known(verdict) or ("", ())
        said = known(info), known(identity)
        claims = claims_of(known(body), known(pck), said, status, levels, windows)
        advisories = sorted({name for level in levels for name in level.advisories})
        return AttestationResult(status, tuple(advisories), tuple(self.checks), claims)

    def _pck_certificate(self) -> tuple[Piece[Chain], tuple[Piece[CRL], Piece[CRL]]]:
        """The chain of the platform's key, and the root's and its CA's revocation lists.

        The lists are checked with the CAs in that chain, so ``pck_crl_issuer_chain`` is not needed.
        """
        given = self.collateral
        pem: str | bytes = self.quote.certification_data
        if self.quote.certification_type != PCK_CHAIN:
            pem = given.pck_certificate_chain or ""
        chain = self._chain("PCK", pem, "SGX PCK Certificate", "CA", ROOT)
        root_crl = self._crl("ROOT_CRL", given.root_ca_crl, lambda: chain()[2])
        pck_crl = self._crl("PCK_CRL", given.pck_crl, lambda: chain()[1])
        self.test("PCK.CA_NOT_REVOKED", "not revoked", lambda: not_on(root_crl(), chain()[1]))
        self.test("PCK.NOT_REVOKED", "not revoked", lambda: not_on(pck_crl(), chain()[0]))
        return chain, (root_crl, pck_crl)

    def _chain(self, name: str, pem: str | bytes, *names: str) -> Piece[Chain]:
        """A chain of certificates, from one whose name contains the first up to the root."""
        number = len(names)
        load = partial(_given, pem, partial(chains.load_chain, length=number))
        chain = self.piece(f"{name}.CERTIFICATES", f"{number} certificates", load)

        def find() -> tuple[bool, str]:
            broken = chains.broken_link(chain(), names)
            return not broken, broken or ", ".join(each.name for each in chain())

        self.test(f"{name}.CHAIN", ", ".join(names), find)
        self.same(f"{name}.ROOT", lambda: self.root, lambda: chain()[-1].fingerprint)
        return chain

    def _crl(self, name: str, der: bytes, issuer: Piece[Certificate]) -> Piece[CRL]:
        crl = self.piece(
            f"{name}.FORMAT", "a revocation list", partial(_given, der, chains.load_crl)
        )
        self.test(f"{name}.SIGNATURE", "by its issuer", lambda: chains.issued(crl(), issuer()))
        return crl

    def _signed(
        self, field: str, parse: Callable[[str], T], crl: Piece[CRL]
    ) -> tuple[Piece[T], Piece[Chain]]:
        """TCB info or QE identity: what it says, and the chain of who signed it."""
        name, text = field.upper(), getattr(self.collateral, field)
        signature = getattr(self.collateral, f"{field}_signature")
        said = self.piece(f"{name}.FORMAT", "as Intel writes it", partial(_given, text, parse))
        chain = self._chain(name, getattr(self.collateral, f"{field}_issuer_chain"), SIGNING, ROOT)
        self.test(f"{name}.SIGNER_NOT_REVOKED", "not revoked", lambda: not_on(crl(), chain()[0]))
        data = text.encode("utf-8", "surrogatepass")
        self.test(f"{name}.SIGNATURE", SIGNING, lambda: verify(chain()[0].key, signature, data))
        return said, chain

    def _tdx_module(self, td: Piece[TDReport10], info: Piece[TCBInfo]) -> None:
        """The TDX module is Intel's."""
        module = self.piece(
            "TDX_MODULE.IDENTITY", "in TCB info", lambda: info().module(td().tee_tcb_svn[1])
        )
        self.same("TDX_MODULE.MRSIGNERSEAM", lambda: module().mrsigner, lambda: td().mrsignerseam)
        self.same(
            "TDX_MODULE.SEAMATTRIBUTES",
            lambda: (bytes(8), module().attributes),
            lambda: (td().seamattributes, td().seamattributes),
        )

    def _quoting_enclave(
        self, chain: Piece[Chain], identity: Piece[EnclaveIdentity]
    ) -> Piece[Level]:
        """The quoting enclave is Intel's, runs on the platform, and made the attestation key."""
        quote, raw = self.quote, self.quote.qe_report
        signature = quote.qe_report_signature
        self.test("QE_REPORT.SIGNATURE", "the PCK", lambda: verify(chain()[0].key, signature, raw))
        report = self.piece("QE_REPORT.FORMAT", "ReportBody", lambda: ReportBody.unpack(raw))
        bound = sha256(quote.attestation_key + quote.qe_auth_data).digest()
        self.same("QE_REPORT.KEY_BINDING", lambda: bound, lambda: raw[320:352])
        self.same("QE_IDENTITY.ID", lambda: "TD_QE" if self.tdx else "QE", lambda: identity().id)
        self.same(
            "QE_IDENTITY.MISCSELECT",
            lambda: identity().miscselect,
            lambda: _masked(raw[16:20], identity().miscselect_mask),
        )
        self.same(
            "QE_IDENTITY.ATTRIBUTES",
            lambda: identity().attributes,
            lambda: _masked(raw[48:64], identity().attributes_mask),
        )
        self.same("QE_IDENTITY.MRSIGNER", lambda: identity().mrsigner, lambda: report().mrsigner)
        self.same("QE_IDENTITY.ISVPRODID", lambda: identity().isvprodid, lambda: report().isvprodid)
        return self.piece(
            "QE_IDENTITY.LEVEL",
            "a level that it reaches",
            lambda: tcb.part_level(identity().levels, report().isvsvn),
        )

    def _quote_signature(self) -> tuple[bool, str]:
        key = chains.raw_key(self.quote.attestation_key)
        return verify(key, self.quote.signature, self.quote.signed)

    def _tcb(
        self, pck: Piece[PCK], info: Piece[TCBInfo], level: Piece[Level], body: Piece[Body]
    ) -> Piece[tuple[str, Sequence[Level]]]:
        """The TCB level of the platform, and what its parts make of it."""

        def find() -> tuple[str, Sequence[Level]]:
            report = body()
            svn2 = report.tee_tcb_svn2 if isinstance(report, TDReport15) else b""
            svn = _td(report).tee_tcb_svn if self.tdx else b""
            return tcb.evaluate(info(), pck().components, pck().pcesvn, level(), svn, svn2)

        verdict = self.piece("TCB.LEVEL", "a level that the platform reaches", find)
        self.test(
            "TCB.NOT_REVOKED",
            "any status but Revoked",
            lambda: (verdict()[0] != "Revoked", verdict()[0]),
        )
        return verdict


def _given(data: Given, load: Callable[[Given], Made]) -> Made:
    """What ``load`` makes of a part of the collateral; of none, nothing can be checked."""
    if not data:
        raise NotChecked("there is none")
    return load(data)


def _window(said: TCBInfo | EnclaveIdentity) -> Window:
    return Window(said.id, said.issue_date, said.next_update)


def _td(body: Body) -> TDReport10:
    """The part of a TD's report that all versions have."""
    assert not isinstance(body, ReportBody)
    return body.base if isinstance(body, TDReport15) else body


def _masked(data: bytes, mask: bytes) -> bytes:
    return bytes(byte & bit for byte, bit in zip(data, mask, strict=True))
