"""The list of checks that a Verifier fills in, one after the other.

What a check needs may be missing because something before it could not be read. `Ledger.piece`
reads such a part and gives back a function: calling it yields the part, or ends the check that
needs it as *not checked*. So each check is written as if all that it needs were there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias, TypeVar

from tee_sim.attest.results import AppraisalCheck
from tee_sim.errors import AttestationError, LayoutError, NotChecked

T = TypeVar("T")
Piece: TypeAlias = Callable[[], T]


class Rule(NamedTuple):
    """What is the same each time a check is made: the error that it raises, and why it is made."""

    error: type[AttestationError]
    why: str


class Ledger:
    """Collects checks.

    Args:
        rules: every check's rule, by its name.
    """

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = rules
        self.checks: list[AppraisalCheck] = []

    def note(self, name: str, passed: bool | None, expected: object, found: object) -> None:
        """Add a check whose outcome is known."""
        rule = self._rules[name]
        texts = show(expected), show(found)
        self.checks.append(AppraisalCheck(name, passed, *texts, rule.why, rule.error))

    def test(self, name: str, expected: str, find: Callable[[], tuple[bool, object]]) -> None:
        """Add a check: ``find`` says whether it passed, and what was found."""
        try:
            passed, found = find()
        except NotChecked as error:
            self.note(name, None, expected, error)
        else:
            self.note(name, passed, expected, found)

    def same(self, name: str, expected: Piece[object], found: Piece[object]) -> None:
        """Add a check that two values are equal."""
        values: list[object] = []
        missing = False
        for piece in (expected, found):
            try:
                values.append(piece())
            except NotChecked as error:
                values.append(error)
                missing = True
        self.note(name, None if missing else values[0] == values[1], *values)

    def piece(self, name: str, expected: str, load: Piece[T]) -> Piece[T]:
        """Add a check that something can be read: ``load`` raises `LayoutError` if not.

        Returns:
            What gives the part that was read, or raises `NotChecked`.
        """
        try:
            part = load()
        except NotChecked as error:
            self.note(name, None, expected, error)
        except LayoutError as error:
            self.note(name, False, expected, error)
        else:
            self.note(name, True, expected, "readable")
            return lambda: part

        def missing() -> T:
            raise NotChecked(f"unknown, because of {name}")

        return missing


def show(value: object) -> str:
    """A value as text: bytes in hexadecimal."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple | list | frozenset):
        return ", ".join(map(show, value)) or "none"
    return str(value)
