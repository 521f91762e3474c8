"""The list of checks that a Verifier fills in, one after the other.

What a check needs may be missing, because something before it could not be read. `Ledger.piece`
reads such a part and gives back a function, which yields the part, or else ends the check that asks
for it as *not checked*. So each check is written as if all that it needs were there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import TypeAlias, TypeVar

from tee_sim.attest.chains import Window
from tee_sim.attest.results import AppraisalCheck, AttestationResult
from tee_sim.attest.rules import Rule, rule_of
from tee_sim.errors import AttestationError, LayoutError, NotChecked, NotYetValid

T = TypeVar("T")
Piece: TypeAlias = Callable[[], T]


class Ledger:
    """Collects checks; ``rule_of`` says of each why it is made, and which error a failure is."""

    def __init__(self, rule_of: Callable[[str], Rule] = rule_of) -> None:
        self._rule_of = rule_of
        self.checks: list[AppraisalCheck] = []

    def note(
        self,
        name: str,
        passed: bool | None,
        expected: object,
        found: object,
        error: type[AttestationError] | None = None,
    ) -> None:
        """Add a check whose outcome is known; ``error`` is for a failure of a special kind."""
        usual, why = self._rule_of(name)
        self.checks.append(
            AppraisalCheck(name, passed, show(expected), show(found), why, error or usual)
        )

    def test(self, name: str, expected: str, find: Piece[tuple[bool, object]]) -> None:
        """Add a check: ``find`` says whether it passed, and what was found."""
        try:
            passed, found = find()
        except (LayoutError, NotChecked) as error:
            self.note(name, _verdict(error), expected, error)
        else:
            self.note(name, passed, expected, found)

    def same(self, name: str, expected: Piece[object], found: Piece[object]) -> None:
        """Add a check that two values are equal."""
        values = [known(expected), known(found)]
        passed = values[0] == values[1] if None not in values else None
        shown = ["unknown" if value is None else value for value in values]
        self.note(name, passed, shown[0], shown[1])

    def current(self, name: str, at: int, pieces: list[Piece[list[Window]]]) -> list[Window]:
        """Add a check that everything is valid at a time; those windows that are known."""
        found = [known(piece) for piece in pieces]
        windows = [window for each in found for window in each or ()]
        wrong = [each for each in windows if not each.start <= at <= each.end]
        shown = wrong or sorted(windows, key=lambda window: window.end)[:1]
        text = "; ".join(f"{w.what}: {_date(w.start)} to {_date(w.end)}" for w in shown)
        passed = False if wrong else None if None in found else True
        error = NotYetValid if any(at < window.start for window in wrong) else None
        self.note(name, passed, f"valid at {_date(at)}", text or "unknown", error)
        return windows

    def piece(self, name: str, expected: str, load: Piece[T]) -> Piece[T]:
        """Add a check that something can be had, for which ``load`` raises a typed error if not."""
        try:
            part = load()
        except (LayoutError, AttestationError) as error:
            self.note(name, _verdict(error), expected, error)
        else:
            self.note(name, True, expected, "as expected")
            return lambda: part

        def missing() -> T:
            raise NotChecked(f"unknown, because of {name}")

        return missing


def with_custom_claims(result: AttestationResult, custom: bytes) -> AttestationResult:
    """A result for evidence with custom claims beside it, which the report data must confirm."""
    if not custom:
        return result
    ledger, found = Ledger(), result.claims.get("report_data", b"")[:32]
    ledger.same("EVIDENCE.CUSTOM_CLAIMS", lambda: sha256(custom).digest(), lambda: found)
    claims = {**result.claims, "custom_claims_buffer": custom}
    return replace(result, checks=(*result.checks, *ledger.checks), claims=claims)


def _verdict(error: Exception) -> bool | None:
    return None if isinstance(error, NotChecked) else False


def _date(seconds: float) -> str:
    """A time for people; Unix seconds where the calendar ends."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def known(piece: Piece[T]) -> T | None:
    """The part, or None if it is missing."""
    try:
        return piece()
    except NotChecked:
        return None


def show(value: object) -> str:
    """A value as text: bytes in hexadecimal."""
    if isinstance(value, bytes):
        return value.hex()
    return ", ".join(map(show, value)) or "none" if isinstance(value, tuple) else str(value)
