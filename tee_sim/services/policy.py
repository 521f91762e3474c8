"""The claim rules of Microsoft Azure Attestation: which evidence gets a token, and what is in it.

A policy is the Appraisal Policy for Evidence of RFC 9334. A rule is ``conditions => action;``. Each
condition picks the claims for which all its tests hold, and fails if there are none. A name before
it, as in ``c:[type=="svn"]``, stands for the picked claims in the rest of the rule. First come the
authorization rules: one ``permit()`` and no ``deny()``, or there is no token. Then the issuance
rules add claims to the token. The grammar, and which section allows what, is in ``policy.lark``.

Source: Microsoft Learn, "Claim rule grammar", "Attestation policy version 1.1", and of "Claim rule
functions supported in policy version 1.2+" the ``!`` before a condition.

Simplified: no functions (JmesPath and others), which query the event log of a TPM; a claim's type
is written out. A deny wins over every permit, no permit means deny, a name that stands for several
claims equals what one of them does, and ``=`` in a test means ``==``, as in Microsoft's samples:
the documentation leaves these open (unverified).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeAlias

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedInput, UnexpectedToken, VisitError

from tee_sim.errors import ServiceError

Value: TypeAlias = bool | int | str

MAX_TEXT = 1 << 16
"""Characters of a policy."""
MAX_CLAIMS = 100
"""Claims that an evaluation may hold: each rule can double them."""
VALUE_TYPES = {bool: "Boolean", int: "Integer", str: "String"}
SINCE = {"configurationrules": "1.1", "!": "1.2"}
"""Parts of the language that not every version has."""
ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


class PolicyParsingError(ServiceError):
    """A policy that does not parse.

    Attributes:
        line: 1-based.
        column: 1-based.
    """

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {message}", code="PolicyParsingError")
        self.line, self.column = line, column


class PolicyEvaluationError(ServiceError):
    """The policy refuses this evidence, or its rules cannot be applied."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="PolicyEvaluationError")


@dataclass(frozen=True)
class Claim:
    """One statement.

    Attributes:
        type: its name.
        value: what it says.
        issuer: ``AttestationService``, or ``AttestationPolicy`` if a rule made it.
    """

    type: str
    value: Value
    issuer: str = "AttestationService"

    @property
    def valueType(self) -> str:  # noqa: N802 (a property of the policy language)
        """``Boolean``, ``Integer`` or ``String``."""
        return VALUE_TYPES[type(self.value)]


Bound: TypeAlias = dict[str, list[Claim]]


class Operand(NamedTuple):
    """A literal; or else a property of the claims that a name stands for."""

    literal: Value | None
    name: str = ""
    property: str = ""

    def values(self, bound: Bound) -> list[Value]:
        """What it is at this point of the rule."""
        if self.literal is not None:
            return [self.literal]
        return [getattr(claim, self.property) for claim in bound[self.name]]


class Test(NamedTuple):
    """What a claim's property has to be."""

    property: str
    operator: str
    wanted: Operand

    def at(self, bound: Bound) -> Callable[[Claim], bool]:
        """Whether it holds for a claim. Values of different types are never equal or ordered.

        Of the values that a name stands for one look is enough, whatever their number: in a long
        policy a hundred claims would be compared with a hundred others thousands of times.
        """
        wanted = {(type(value), value) for value in self.wanted.values(bound)}
        if self.operator not in ORDER:
            same = self.operator != "!="
            return lambda claim: (self._found(claim) in wanted) == same
        most = max if "<" in self.operator else min
        limit = most((value for kind, value in wanted if kind is int), default=None)
        order = ORDER[self.operator]

        def holds(claim: Claim) -> bool:
            kind, found = self._found(claim)
            return kind is int and limit is not None and order(found, limit)

        return holds

    def _found(self, claim: Claim) -> tuple[type, Value]:
        value: Value = getattr(claim, self.property)
        return type(value), value


class Condition(NamedTuple):
    """Picks the claims for which all tests hold; with ``absent``, there must be none."""

    absent: bool
    name: str
    tests: tuple[Test, ...]


class Rule(NamedTuple):
    """Conditions, and what to do if all of them hold: with claims that have a name, or new ones."""

    conditions: list[Condition]
    action: str
    claims: str = ""
    type: str | None = None
    value: Operand = Operand("")

    def apply(self, claims: list[Claim]) -> list[Claim] | None:
        """The claims that the action is about, or None if a condition fails."""
        bound: Bound = {}
        for condition in self.conditions:
            tests = [test.at(bound) for test in condition.tests]
            found = [claim for claim in claims if all(holds(claim) for holds in tests)]
            if bool(found) == condition.absent:
                return None
            bound[condition.name] = found
        if self.claims:
            return bound[self.claims]
        if self.type is None:
            return []
        return [Claim(self.type, v, "AttestationPolicy") for v in self.value.values(bound)]


class Issued(NamedTuple):
    """What a policy adds to a token: claims, and properties of the token itself."""

    claims: list[Claim]
    properties: dict[str, Value]


class Policy(NamedTuple):
    """A policy that was parsed: the rules of its sections."""

    configuration: list[Rule]
    authorization: list[Rule]
    issuance: list[Rule]

    def evaluate(self, claims: Iterable[Claim]) -> Issued:
        """Apply the rules, in their order.

        Raises:
            PolicyEvaluationError: it denies, permits nothing, or makes too many claims.
        """
        incoming, issued, actions = list(claims), Issued([], {}), set()
        for rules in self:
            for rule in rules:
                if (made := rule.apply(incoming)) is None:
                    continue
                actions.add(rule.action)
                incoming += made
                if len(incoming) > MAX_CLAIMS:
                    raise PolicyEvaluationError(f"more than {MAX_CLAIMS} claims")
                if rule.action == "issue":
                    issued.claims.extend(made)
                elif rule.action == "issueproperty":
                    issued.properties.update((claim.type, claim.value) for claim in made)
            if rules is self.authorization and "deny" in actions:
                raise PolicyEvaluationError("an authorization rule denies this evidence")
            if rules is self.authorization and "permit" not in actions:
                raise PolicyEvaluationError("no authorization rule permits this evidence")
        return issued


def parse_policy(text: str) -> Policy:
    """Parse the text of a policy.

    Raises:
        PolicyParsingError: it is not a policy; the error has line and column.
    """
    if len(text) > MAX_TEXT:
        raise PolicyParsingError(f"more than {MAX_TEXT} characters", 1, 1)
    try:
        return _Builder().transform(_parser().parse(text))
    except VisitError as error:
        raise error.orig_exc from None
    except UnexpectedInput as error:
        raise _unexpected(text, error) from None


def _unexpected(text: str, error: Any) -> PolicyParsingError:
    """What stands where something else was expected."""
    token = error.token if isinstance(error, UnexpectedToken) else None
    names = error.allowed if token is None else error.accepts or error.expected
    wanted = ", ".join(name.strip("_") for name in sorted(names or ()))
    if token is not None and token.type == "$END":
        lines = text.split("\n")
        at = len(lines), len(lines[-1]) + 1
        return PolicyParsingError(f"the policy ends too early: expected {wanted}", *at)
    word = re.findall(r"\w+|.", text[error.pos_in_stream :][:40], re.DOTALL)[0]
    hint = "; functions are not simulated" if word == "(" else ""
    what = f"unexpected '{word}': expected {wanted}{hint}"
    return PolicyParsingError(what, error.line, error.column)


@cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("policy.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr")


def _refuse(token: Token, message: str) -> NoReturn:
    raise PolicyParsingError(message, token.line or 0, token.column or 0)


def _text(token: Token) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1])  # a backslash quotes the next character


@v_args(inline=True)
class _Builder(Transformer[Token, Policy]):
    """Makes the rules of one text. It sees the parts from left to right, inner ones first."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()  # that the conditions of this rule have bound so far
        self.needs: list[Token] = []  # what not every version has

    def start(self, version: Token, *sections: list[Rule] | None) -> Policy:
        for token in self.needs:
            if version < SINCE[token]:
                _refuse(token, f"'{token}' needs version {SINCE[token]} or later")
        return Policy(*(rules or [] for rules in sections))

    def authorization(self, *parts: Any) -> list[Rule]:
        pairs = zip(parts[::2], parts[1::2], strict=True)
        return [Rule(conditions, *action) for conditions, action in pairs]

    issuance = authorization

    def configuration(self, name: Token, *parts: Any) -> list[Rule]:
        self.needs.append(name)
        return self.authorization(*parts)

    def conditions(self, *conditions: Condition | None) -> list[Condition]:
        return [condition for condition in conditions if condition]

    def condition(self, absent: Token | None, name: Token | None, *tests: Test) -> Condition:
        if absent:
            self.needs.append(absent)
        if name and (absent or name in self.names):
            _refuse(name, f"'{name:.40}' would stand for nothing, or for two things")
        self.names |= {str(name)} if name else set()
        return Condition(absent is not None, str(name or ""), tests)

    def test(self, name: Token, compare: Token, wanted: Operand) -> Test:
        if compare in ORDER and (name != "value" or type(wanted.literal) in (bool, str)):
            _refuse(compare, f"'{compare}' compares integers")
        return Test(str(name), str(compare), wanted)

    def decision(self, verb: Token, *about: Any) -> tuple[Any, ...]:
        if len(about) == 1:
            self._bound(about[0])
        self.names = set()
        first, *value = about or ("",)
        return (str(verb), "", _text(first), *value) if value else (str(verb), str(first))

    adding = issuing = setting = decision

    def value(self, token: Token, part: Token | None = None) -> Operand:
        if part is not None:
            return Operand(None, self._bound(token), str(part))
        if token.type == "STRING":
            return Operand(_text(token))
        return Operand(token == "true" if token.type == "BOOLEAN" else int(token))

    def _bound(self, name: Token) -> str:
        if name not in self.names:
            _refuse(name, f"'{name:.40}' stands for nothing here")
        return str(name)
