"""Attestation Results: every check that a Verifier made, and what it concluded.

A Verifier does not stop at the first failure: what can still be checked is checked, and what cannot
is listed as not checked. So a refusal is a *result*. `AttestationResult.require` turns it into the
exception of the first failed check, for callers that want the good case only.

Source: RFC 9334, "Attestation Results".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any, Self

from tee_sim.errors import AttestationError, NotChecked

_SIGNS = {True: "&#10003; passed", False: "&#10007; FAILED", None: "&ndash; not checked"}
_WORDS = {True: "passed", False: "failed", None: "not checked"}


@dataclass(frozen=True)
class AppraisalCheck:
    """One thing that a Verifier looks at.

    Attributes:
        name: such as ``QUOTE.SIGNATURE``.
        passed: None if it could not be checked, because something before it failed.
        expected: what it should be, as text.
        found: what it is, as text.
        why: what goes wrong where nobody checks this, in one sentence.
        error: what `AttestationResult.require` raises if it failed.
    """

    name: str
    passed: bool | None
    expected: str
    found: str
    why: str
    error: type[AttestationError] = field(default=AttestationError, repr=False, compare=False)

    @property
    def outcome(self) -> str:
        """``passed``, ``failed`` or ``not checked``."""
        return _WORDS[self.passed]

    def require(self) -> None:
        """Raise this check's `AttestationError` unless it passed."""
        if not self.passed:
            kind = NotChecked if self.passed is None else self.error
            raise kind(f"expected {self.expected}, found {self.found}", check=self.name)


@dataclass(frozen=True)
class AttestationResult:
    """What a Verifier, and perhaps a policy, say about a piece of evidence.

    Attributes:
        status: TCB status in the vendor's words (``UpToDate``); empty if none could be found.
        advisories: the vendor's security advisories that concern this platform, sorted.
        checks: all checks in the order in which they were made.
        claims: what the evidence says, by Open Enclave's names. They are worth something only
            if `accepted`.
    """

    status: str
    advisories: tuple[str, ...]
    checks: tuple[AppraisalCheck, ...]
    claims: Mapping[str, Any]

    @property
    def accepted(self) -> bool:
        """Whether there are checks, and all passed."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[AppraisalCheck, ...]:
        """The checks that failed, without those that could not be made."""
        return tuple(check for check in self.checks if check.passed is False)

    def require(self) -> Self:
        """This result, if it is accepted.

        Raises:
            AttestationError: of the first failed check, or `NotChecked`.
        """
        for check in (*self.failed, *self.checks):
            check.require()
        if not self.checks:
            raise NotChecked("no check was made")
        return self

    def to_json(self) -> dict[str, Any]:
        """Plain data for a program: bytes in hexadecimal."""
        names = ("name", "outcome", "expected", "found", "why")
        return {
            "accepted": self.accepted,
            "status": self.status,
            "advisories": list(self.advisories),
            "checks": [{name: getattr(check, name) for name in names} for check in self.checks],
            "claims": {name: plain(value) for name, value in self.claims.items()},
        }

    def _words(self) -> str:
        verdict = "Accepted" if self.accepted else "REFUSED"
        return ", ".join(filter(None, (verdict, self.status, *self.advisories)))

    def __repr__(self) -> str:
        failed = ", ".join(check.name for check in self.failed)
        return f"AttestationResult({self._words()}{failed and f'; failed: {failed}'})"

    def _repr_html_(self) -> str:
        """The checks as a table, the verdict in its caption."""
        heads = ("Check", "Result", "Expected", "Found", "Why it matters")
        head = "".join(f"<th scope='col' style='text-align:left'>{name}</th>" for name in heads)
        body = "".join(
            f"<tr><th scope='row' style='text-align:left'>{escape(check.name)}</th>"
            f"<td style='white-space:nowrap'>{_SIGNS[check.passed]}</td>"
            + "".join(
                f"<td style='text-align:left;overflow-wrap:anywhere'>{escape(text)}</td>"
                for text in (check.expected, check.found, check.why)
            )
            + "</tr>"
            for check in self.checks
        )
        return (
            f"<table><caption>{escape(self._words())}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )


def plain(value: Any) -> Any:
    """A claim as JSON can hold it."""
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, str | bool | int | None) else str(value)
