"""Why a Verifier makes each check, and which error a failure is.

A check that several parts have in common, such as ``TCB_INFO.ROOT``, is found by its last word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from tee_sim.errors import (
    AttestationError,
    BadSignature,
    DebugForbidden,
    Expired,
    NonceMismatch,
    ReferenceValueMismatch,
    Revoked,
    TCBOutOfDate,
    UntrustedChain,
)

Rule: TypeAlias = tuple[type[AttestationError], str]
_LIST: Final = (UntrustedChain, "A list that its issuer did not sign can hide a stolen key.")
_TDX: Final = (ReferenceValueMismatch, "A TDX module that Intel did not make may let the host in.")

# fmt: off
RULES: Final[Mapping[str, Rule]] = {
    "FORMAT": (ReferenceValueMismatch, "What cannot be read cannot be compared."),
    "CERTIFICATES": (UntrustedChain, "What cannot be read cannot be compared."),
    "CHAIN": (UntrustedChain, "Names are anybody's; only signatures up to the root count."),
    "ROOT": (UntrustedChain, "A forger's or a simulator's evidence differs in its root only."),
    "SIGNER_NOT_REVOKED": (Revoked, "Whoever stole this key says whatever he likes."),
    "CURRENT": (Expired, "Old statements do not know what was found, or stolen, since."),

    "QUOTE.HEADER": (ReferenceValueMismatch, "Another maker's quoting enclave may sign lies."),
    "ROOT_CRL.SIGNATURE": _LIST,
    "PCK_CRL.SIGNATURE": _LIST,
    "PCK.CA_NOT_REVOKED": (Revoked, "Whoever stole a CA's key certifies any platform."),
    "PCK.NOT_REVOKED": (Revoked, "With a platform's key, anything is a quoting enclave."),
    "TCB_INFO.SIGNATURE": (BadSignature, "Unsigned, it calls any platform up to date."),
    "QE_IDENTITY.SIGNATURE": (BadSignature, "Unsigned, it calls anything a quoting enclave."),
    "TCB_INFO.TEE": (ReferenceValueMismatch, "The levels of SGX say nothing about TDX."),
    "TCB_INFO.FMSPC": (ReferenceValueMismatch, "These are another processor's levels."),
    "TCB_INFO.PCEID": (ReferenceValueMismatch, "Another PCE's versions do not compare."),
    "TDX_MODULE.IDENTITY": _TDX,
    "TDX_MODULE.MRSIGNERSEAM": _TDX,
    "TDX_MODULE.SEAMATTRIBUTES": (ReferenceValueMismatch, "A debug TDX module hides nothing."),
    "QE_REPORT.SIGNATURE": (BadSignature, "Else the enclave ran on no certified platform."),
    "QE_REPORT.KEY_BINDING": (BadSignature, "Else anybody's key goes with a genuine report."),
    "QE_IDENTITY.ID": (ReferenceValueMismatch, "SGX and TDX have quoting enclaves of their own."),
    "QE_IDENTITY.MISCSELECT": (ReferenceValueMismatch, "What is saved at exits may leak."),
    "QE_IDENTITY.ATTRIBUTES": (ReferenceValueMismatch, "A debugger reads the key out of it."),
    "QE_IDENTITY.MRSIGNER": (ReferenceValueMismatch, "Anybody else's signs what it likes."),
    "QE_IDENTITY.ISVPRODID": (ReferenceValueMismatch, "Intel's other enclaves check no reports."),
    "QE_IDENTITY.LEVEL": (ReferenceValueMismatch, "A version that Intel does not know."),
    "QUOTE.SIGNATURE": (BadSignature, "Without it, anybody wrote this report."),
    "TCB.LEVEL": (ReferenceValueMismatch, "A platform that Intel does not know."),
    "TCB.NOT_REVOKED": (Revoked, "Whatever a platform on this level signs may be forged."),
    "EVIDENCE.CUSTOM_CLAIMS": (BadSignature, "Anybody adds claims that the report does not hold."),
    "EVIDENCE.NONCE": (NonceMismatch, "Evidence of yesterday tells nothing about today."),
    "EVIDENCE.CHANNEL": (NonceMismatch, "Whoever relays genuine evidence gets what it was for."),

    "POLICY.TCB_STATUS": (TCBOutOfDate, "On a vulnerable platform, attackers sign reports."),
    "POLICY.ADVISORIES": (TCBOutOfDate, "Each advisory is a published attack."),
    "POLICY.TCB_EVALUATION": (TCBOutOfDate, "Older collateral misses the latest advisories."),
    "POLICY.DEBUG": (DebugForbidden, "All measurements are the same, and the host reads all."),
    "POLICY.MEASUREMENT": (ReferenceValueMismatch, "Any program gets a quote."),
    "POLICY.SIGNER": (ReferenceValueMismatch, "Any author's program gets a quote."),
    "POLICY.PRODUCT": (ReferenceValueMismatch, "The author's other programs guard other things."),
    "POLICY.VERSION": (ReferenceValueMismatch, "Old versions keep their faults, and get quotes."),
    "POLICY.REPORT_DATA": (NonceMismatch, "A quote without a challenge in it can be replayed."),
    "POLICY.KEY_BINDING": (NonceMismatch, "A genuine quote can be relayed with another key."),
}
# fmt: on


def rule_of(name: str) -> Rule:
    """The rule of a check."""
    return RULES.get(name) or RULES[name.partition(".")[2]]
