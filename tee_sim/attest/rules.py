"""Why a Verifier makes each check, and which error a failure is.

The order is that of Intel's verification library: the platform's certificate, TCB info, QE
identity, the quote itself; then the appraisal policy's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tee_sim.attest.ledger import Rule
from tee_sim.errors import (
    BadSignature,
    DebugForbidden,
    Expired,
    NonceMismatch,
    ReferenceValueMismatch,
    Revoked,
    TCBOutOfDate,
    UntrustedChain,
)

_WHO = "Anybody can make certificates with these names; only signatures up to the root count."
_ROOT = "A simulator's evidence, or a forger's, is as consistent as Intel's; only its root differs."
_LIST = "A list that the issuer did not sign can hide that a key was stolen."
_TIME = "Old statements of Intel's do not know what was found, or stolen, since."
_FORM = "What cannot be read cannot be compared; nothing is guessed."

QUOTE_RULES: Final[Mapping[str, Rule]] = {
    "QUOTE.HEADER": Rule(ReferenceValueMismatch, "Another maker's quoting enclave may sign lies."),
    "PCK.CERTIFICATES": Rule(UntrustedChain, _FORM),
    "PCK.CHAIN": Rule(UntrustedChain, _WHO),
    "PCK.ROOT": Rule(UntrustedChain, _ROOT),
    "ROOT_CRL.FORMAT": Rule(UntrustedChain, _FORM),
    "ROOT_CRL.SIGNATURE": Rule(UntrustedChain, _LIST),
    "PCK_CRL.FORMAT": Rule(UntrustedChain, _FORM),
    "PCK_CRL.SIGNATURE": Rule(UntrustedChain, _LIST),
    "PCK.CA_NOT_REVOKED": Rule(Revoked, "Whoever stole a CA's key certifies any platform."),
    "PCK.NOT_REVOKED": Rule(
        Revoked, "Whoever extracted a platform's key signs for any quoting enclave."
    ),
    "TCB_INFO.FORMAT": Rule(ReferenceValueMismatch, _FORM),
    "TCB_INFO.CERTIFICATES": Rule(UntrustedChain, _FORM),
    "TCB_INFO.CHAIN": Rule(UntrustedChain, _WHO),
    "TCB_INFO.ROOT": Rule(UntrustedChain, _ROOT),
    "TCB_INFO.SIGNER_NOT_REVOKED": Rule(
        Revoked, "Whoever stole this key calls any platform up to date."
    ),
    "TCB_INFO.SIGNATURE": Rule(BadSignature, "Unsigned, it calls any platform up to date."),
    "QE_IDENTITY.FORMAT": Rule(ReferenceValueMismatch, _FORM),
    "QE_IDENTITY.CERTIFICATES": Rule(UntrustedChain, _FORM),
    "QE_IDENTITY.CHAIN": Rule(UntrustedChain, _WHO),
    "QE_IDENTITY.ROOT": Rule(UntrustedChain, _ROOT),
    "QE_IDENTITY.SIGNER_NOT_REVOKED": Rule(
        Revoked, "Whoever stole this key calls any enclave a quoting enclave."
    ),
    "QE_IDENTITY.SIGNATURE": Rule(
        BadSignature, "Unsigned, it calls any enclave a genuine quoting enclave."
    ),
    "CERTIFICATES.CURRENT": Rule(Expired, _TIME),
    "CRLS.CURRENT": Rule(Expired, _TIME),
    "TCB_INFO.CURRENT": Rule(Expired, _TIME),
    "QE_IDENTITY.CURRENT": Rule(Expired, _TIME),
    "PCK.SGX_EXTENSION": Rule(ReferenceValueMismatch, _FORM),
    "TCB_INFO.TEE": Rule(ReferenceValueMismatch, "The levels of SGX say nothing about TDX."),
    "TCB_INFO.FMSPC": Rule(
        ReferenceValueMismatch, "Another processor's levels say nothing about this one."
    ),
    "TCB_INFO.PCEID": Rule(
        ReferenceValueMismatch, "Another certification enclave's versions do not compare."
    ),
    "TDX_MODULE.IDENTITY": Rule(
        ReferenceValueMismatch, "A TDX module that Intel does not list may be anybody's."
    ),
    "TDX_MODULE.MRSIGNERSEAM": Rule(
        ReferenceValueMismatch, "Another signer's TDX module may let the host in."
    ),
    "TDX_MODULE.SEAMATTRIBUTES": Rule(
        ReferenceValueMismatch, "A TDX module with attributes, such as debug, hides nothing."
    ),
    "QE_REPORT.SIGNATURE": Rule(
        BadSignature, "Without it the quoting enclave runs on no certified platform."
    ),
    "QE_REPORT.KEY_BINDING": Rule(
        BadSignature, "Else anybody's key goes with a genuine quoting enclave's report."
    ),
    "QE_REPORT.FORMAT": Rule(ReferenceValueMismatch, _FORM),
    "QE_IDENTITY.ID": Rule(
        ReferenceValueMismatch, "SGX and TDX have quoting enclaves of their own."
    ),
    "QE_IDENTITY.MISCSELECT": Rule(
        ReferenceValueMismatch, "An enclave that saves more at exits may leak more."
    ),
    "QE_IDENTITY.ATTRIBUTES": Rule(
        ReferenceValueMismatch, "Out of a quoting enclave in debug mode comes its key."
    ),
    "QE_IDENTITY.MRSIGNER": Rule(
        ReferenceValueMismatch, "An enclave of anybody else's signs whatever it likes."
    ),
    "QE_IDENTITY.ISVPRODID": Rule(
        ReferenceValueMismatch, "Intel signs other enclaves, too; they do not check reports."
    ),
    "QE_IDENTITY.LEVEL": Rule(
        ReferenceValueMismatch, "A version below all levels is one that Intel does not know."
    ),
    "QUOTE.SIGNATURE": Rule(BadSignature, "Without it, anybody wrote this report."),
    "QUOTE.REPORT": Rule(ReferenceValueMismatch, _FORM),
    "TCB.LEVEL": Rule(
        ReferenceValueMismatch, "A platform below all levels is one that Intel does not know."
    ),
    "TCB.NOT_REVOKED": Rule(Revoked, "Whatever a platform on this level signs may be forged."),
}
"""What makes a quote authentic."""

EVIDENCE_RULES: Final[Mapping[str, Rule]] = {
    "EVIDENCE.CUSTOM_CLAIMS": Rule(
        BadSignature,
        "Claims beside a quote are anybody's, unless the report data holds their hash.",
    ),
}

POLICY_RULES: Final[Mapping[str, Rule]] = {
    "POLICY.TCB_STATUS": Rule(
        TCBOutOfDate, "An authentic report of a vulnerable platform may be an attacker's."
    ),
    "POLICY.ADVISORIES": Rule(TCBOutOfDate, "Each advisory is a published attack."),
    "POLICY.TCB_EVALUATION": Rule(
        TCBOutOfDate, "Older collateral, still valid, does not know the latest advisories."
    ),
    "POLICY.DEBUG": Rule(
        DebugForbidden, "Measurement and signature are the same, and the host reads all."
    ),
    "POLICY.MEASUREMENT": Rule(
        ReferenceValueMismatch, "Any program gets a quote; only this one was reviewed."
    ),
    "POLICY.SIGNER": Rule(
        ReferenceValueMismatch, "Any program gets a quote; only this author is trusted."
    ),
    "POLICY.PRODUCT": Rule(
        ReferenceValueMismatch, "The author's other programs do not guard this secret."
    ),
    "POLICY.VERSION": Rule(
        ReferenceValueMismatch, "Old versions keep their old faults, and still get quotes."
    ),
    "POLICY.REPORT_DATA": Rule(
        NonceMismatch, "Without a challenge in it, a quote can be replayed."
    ),
    "POLICY.KEY_BINDING": Rule(
        NonceMismatch, "Else whoever is in the middle relays a genuine quote, with another key."
    ),
}
"""What makes an authentic quote acceptable."""
