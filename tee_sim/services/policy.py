"""The claim rules of Microsoft Azure Attestation: which evidence gets a token, and what is in it.

A policy is the Appraisal Policy for Evidence of RFC 9334. A rule is ``conditions => action;``. Each
condition picks the claims for which all its tests hold, and fails if there are none. A name before
it, as in ``c:[type=="svn"]``, stands for the picked claims in the rest of the rule. First come the
authorization rules: one ``permit()`` and no ``deny()``, or there is no token. Then the issuance
rules add claims to the token.

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
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeAlias

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedInput, UnexpectedToken, VisitError

from tee_sim.errors import ServiceError

Value: TypeAlias = bool | int | str

MAX_TEXT = 1 << 16
"""Characters of a policy."""
MAX_CLAIMS = 256
"""Claims that an evaluation may hold: each rule can double them."""
VALUE_TYPES = {bool: "Boolean", int: "Integer", str: "String"}
PROPERTIES = ("type", "value", "valueType", "issuer")
ACTIONS = {  # the sections in their order, and which actions each allows
    "configurationrules": ("issueproperty",),
    "authorizationrules": ("permit", "deny", "add"),
    "issuancerules": ("add", "issue", "issueproperty"),
}
VERSIONS = ("1.0", "1.1", "1.2")
SINCE = {"configurationrules": "1.1", "!": "1.2"}
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

    def holds(self, claim: Claim, wanted: list[Value]) -> bool:
        """Whether it holds for a claim. Values of different types are never equal or ordered."""
        found: Value = getattr(claim, self.property)
        alike = [value for value in wanted if type(value) is type(found)]
        if self.operator in ORDER:
            return type(found) is int and any(ORDER[self.operator](found, v) for v in alike)
        return (found in alike) == (self.operator != "!=")


class Condition(NamedTuple):
    """Picks claims; with ``absent``, it holds if there are none."""

    absent: bool
    name: str
    tests: tuple[Test, ...]

    def pick(self, claims: list[Claim], bound: Bound) -> list[Claim]:
        """The claims for which all tests hold."""
        wanted = [(test, test.wanted.values(bound)) for test in self.tests]
        return [c for c in claims if all(test.holds(c, values) for test, values in wanted)]


class Rule(NamedTuple):
    """Conditions, and what to do if all of them hold."""

    conditions: list[Condition]
    action: Token
    arguments: Mapping[str, Any]

    def apply(self, claims: list[Claim]) -> list[Claim] | None:
        """The claims that the action is about, or None if a condition fails."""
        bound: Bound = {}
        for condition in self.conditions:
            bound[condition.name] = condition.pick(claims, bound)
            if bool(bound[condition.name]) == condition.absent:
                return None
        if "claim" in self.arguments:
            return list(bound[self.arguments["claim"]])
        if not self.arguments:
            return []
        kind, value = self.arguments["type"].literal, self.arguments["value"]
        return [Claim(kind, v, "AttestationPolicy") for v in value.values(bound)]


@dataclass(frozen=True)
class Issued:
    """What a policy adds to a token: claims, and properties of the token itself."""

    claims: list[Claim] = field(default_factory=list)
    properties: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    """A policy that was parsed: its version, and the rules of each section."""

    version: str
    sections: Mapping[str, list[Rule]]

    def evaluate(self, claims: Iterable[Claim]) -> Issued:
        """Apply the rules, in their order.

        Raises:
            PolicyEvaluationError: it denies, permits nothing, or makes too many claims.
        """
        incoming, issued, actions = list(claims), Issued(), set()
        for section in ACTIONS:
            for rule in self.sections.get(section, ()):
                if (made := rule.apply(incoming)) is None:
                    continue
                actions.add(str(rule.action))
                incoming += made
                if len(incoming) > MAX_CLAIMS:
                    raise PolicyEvaluationError(f"more than {MAX_CLAIMS} claims")
                if rule.action == "issue":
                    issued.claims.extend(made)
                elif rule.action == "issueproperty":
                    issued.properties.update((claim.type, claim.value) for claim in made)
            if section == "authorizationrules" and "deny" in actions:
                raise PolicyEvaluationError("an authorization rule denies this evidence")
            if section == "authorizationrules" and "permit" not in actions:
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
        lines, at, what = text.split("\n"), (error.line, error.column), "the policy ends too early"
        if not isinstance(error, UnexpectedToken):
            what = f"unexpected {text[error.pos_in_stream or 0]!r}"
        elif error.token.type == "$END":
            at = len(lines), len(lines[-1]) + 1
        else:
            hint = ": functions are not simulated" if error.token == "(" else ""
            what = f"unexpected '{error.token:.40}'{hint}"
        raise PolicyParsingError(what, *at) from None


@cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("policy.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr")


def _refuse(token: Token, message: str) -> NoReturn:
    raise PolicyParsingError(message, token.line or 0, token.column or 0)


def _check(token: Token, allowed: Iterable[str], what: str) -> str:
    if token not in allowed:
        _refuse(token, f"{what} '{token:.40}': there are {', '.join(allowed) or 'none'}")
    return str(token)


@v_args(inline=True)
class _Builder(Transformer[Token, Policy]):
    """Makes the rules of one text. It sees the parts from left to right, inner ones first."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []  # that the conditions of this rule have bound so far
        self.needs: list[Token] = []  # what not every version has

    def start(self, version: Token, *sections: tuple[Token, list[Rule]]) -> Policy:
        _check(version, VERSIONS, "version")
        for token in self.needs:
            if version < SINCE[token]:
                _refuse(token, f"'{token}' needs version {SINCE[token]} or later")
        found: dict[str, list[Rule]] = {}
        for name, rules in sections:
            if name in found:
                _refuse(name, f"a second section {name}")
            found[str(name)] = rules
        if "authorizationrules" not in found:
            _refuse(version, "there is no section authorizationrules")
        return Policy(str(version), found)

    def section(self, name: Token, *rules: Rule) -> tuple[Token, list[Rule]]:
        _check(name, ACTIONS, "section")
        self.needs += [name] if name in SINCE else []
        for rule in rules:
            _check(rule.action, ACTIONS[name], f"in {name}, action")
        return name, list(rules)

    def rule(self, *parts: Any) -> Rule:
        *conditions, (action, arguments) = parts
        self.names.clear()
        return Rule(list(filter(None, conditions)), action, arguments)

    def condition(self, absent: Token | None, name: Token | None, *tests: Test) -> Condition:
        self.needs += [absent] if absent else []
        if name is not None:
            if absent or name in self.names:
                _refuse(name, f"'{name:.40}' would stand for nothing, or for two things")
            self.names.append(str(name))
        return Condition(absent is not None, str(name or ""), tests)

    def test(self, name: Token, compare: Token, wanted: Operand) -> Test:
        _check(name, PROPERTIES, "property")
        if compare in ORDER and (name != "value" or type(wanted.literal) in (bool, str)):
            _refuse(compare, f"'{compare}' compares integers")
        return Test(str(name), str(compare), wanted)

    def action(self, name: Token, *given: Any) -> tuple[Token, Mapping[str, Any]]:
        given = tuple(filter(None, given))
        takes = [[]] if name in ("permit", "deny") else [["claim"], ["type", "value"]]
        if sorted(key for key, _ in given) not in takes:
            what = " or ".join(" and ".join(keys) or "nothing" for keys in takes)
            _refuse(name, f"'{name:.40}' takes {what}")
        return name, dict(given)

    def argument(self, name: Token, value: Operand | Token) -> tuple[str, Any]:
        kinds = {"claim": Token, "type": Operand, "value": Operand}
        _check(name, kinds, "argument")
        literal = isinstance(value, Operand) and isinstance(value.literal, str)
        if not isinstance(value, kinds[name]) or (name == "type" and not literal):
            _refuse(name, f"'{name}' is not {'a name' if name == 'claim' else 'such a value'}")
        if isinstance(value, Token):
            _check(value, self.names, "name")
        return str(name), value

    def literal(self, token: Token) -> Operand:
        if token.type == "STRING":  # a backslash quotes the next character
            return Operand(re.sub(r"\\(.)", r"\1", token[1:-1]))
        return Operand(token == "true" if token.type == "BOOLEAN" else int(token))

    def reference(self, name: Token, part: Token) -> Operand:
        _check(name, self.names, "name")
        return Operand(None, str(name), _check(part, PROPERTIES, "property"))
