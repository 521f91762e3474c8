"""The list of checks that a Verifier fills in, one after the other.

What a check needs may be missing, because something before it could not be read. `Ledger.piece`
reads such a part and gives back a function, which yields the part, or else ends the check that asks
for it as *not checked*. So each check is written as if all that it needs were there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

from tee_sim.attest.results import AppraisalCheck
from tee_sim.attest.rules import Rule, rule_of
from tee_sim.errors import AttestationError, LayoutError, NotChecked

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


def _verdict(error: Exception) -> bool | None:
    return None if isinstance(error, NotChecked) else False


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
