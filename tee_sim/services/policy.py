"""The claim rules of Microsoft Azure Attestation: which evidence gets a token, and what is in it.

A policy is the Appraisal Policy for Evidence of RFC 9334. A rule is ``conditions => action;``. Each
condition picks those claims for which all its tests hold, and fails if there are none. A name
before it, as in ``c:[type=="svn"]``, stands for the picked claims in the rest of the rule. First
the authorization rules: one ``permit()`` and no ``deny()``, or there is no token. Then the issuance
rules add claims to the token.

Source: Microsoft Learn, "Claim rule grammar", "Claim rule functions supported in policy version
1.2+", "Attestation policy version 1.1".

Simplified: no JmesPath, for SGX evidence is given to a policy as claims only, and no read-only
claims. A deny wins over every permit, no permit means deny, a name that stands for several claims
equals a value if one of them does, and ``=`` in a test means ``==``, as in Microsoft's samples:
the documentation does not say so (unverified).
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from lark import Lark, Token, v_args
from lark.exceptions import UnexpectedInput, UnexpectedToken, VisitError
from lark.visitors import Transformer_NonRecursive

from tee_sim.errors import ServiceError

Value: TypeAlias = bool | int | str
Values: TypeAlias = tuple[Value, ...]

MAX_TEXT = 1 << 16
"""Characters of a policy."""
MAX_CLAIMS = 256
"""Claims that an evaluation may hold: rules can double them."""
MAX_STRING = 1 << 16
"""Characters of a string that AppendString may make."""
MAX_NESTING = 16
"""Calls of functions inside one another."""

VALUE_TYPES = {bool: "Boolean", int: "Integer", str: "String"}
ACTIONS = {  # the sections in their order, and which actions each allows
    "configurationrules": ("issueproperty",),
    "authorizationrules": ("permit", "deny", "add"),
    "issuancerules": ("add", "issue", "issueproperty"),
}
SINCE = {"configurationrules": "1.1", "!": "1.2", "call": "1.2"}
COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
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
    """The policy refuses this evidence, or one of its rules cannot be applied to it."""

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


PROPERTIES = ("type", "value", "valueType", "issuer")
Bound: TypeAlias = dict[str, list[Claim]]


@dataclass(frozen=True)
class Expression:
    """What a value is computed from.

    Attributes:
        values: computes it from the claims that the rule's names stand for.
        literal: the type of a literal, else None.
        depth: calls of functions inside one another.
    """

    values: Callable[[Bound], Values]
    literal: type | None = None
    depth: int = 0


@dataclass(frozen=True)
class Test:
    """What a claim's property has to be."""

    property: str
    operator: str
    wanted: Expression

    def holds(self, claim: Claim, wanted: Values) -> bool:
        """Whether it holds for a claim. Values of different types are never equal or ordered."""
        found: Value = getattr(claim, self.property)
        alike = [value for value in wanted if type(value) is type(found)]
        if self.operator in COMPARE:
            return type(found) is int and any(COMPARE[self.operator](found, v) for v in alike)
        return (found in alike) == (self.operator != "!=")


@dataclass(frozen=True)
class Rule:
    """Conditions, and what to do if all hold.

    Attributes:
        conditions: of each the name, whether it wants no such claim, and the tests.
        action: what to do.
        claims: makes the action's claims from those that the conditions picked.
    """

    conditions: tuple[tuple[str, bool, tuple[Test, ...]], ...]
    action: str
    claims: Callable[[Bound], list[Claim]]

    def pick(self, incoming: list[Claim]) -> Bound | None:
        """The claims that each condition picks, or None if one of them fails."""
        bound: Bound = {}
        for name, absent, tests in self.conditions:
            wanted = [(test, test.wanted.values(bound)) for test in tests]
            found = [c for c in incoming if all(t.holds(c, values) for t, values in wanted)]
            if bool(found) == absent:
                return None
            bound[name] = found
        return bound


@dataclass(frozen=True)
class Issued:
    """What a policy adds to a token: claims, and properties of the token itself."""

    claims: list[Claim] = field(default_factory=list)
    properties: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    """A policy that was parsed: its version and the rules of each section."""

    version: str
    sections: Mapping[str, tuple[Rule, ...]]

    def evaluate(self, claims: Iterable[Claim]) -> Issued:
        """Apply the rules, in their order.

        Raises:
            PolicyEvaluationError: it permits nothing, denies, or cannot be applied.
        """
        incoming, issued, actions = list(claims), Issued(), set()
        for section in ACTIONS:
            for rule in self.sections.get(section, ()):
                bound = rule.pick(incoming)
                if bound is None:
                    continue
                actions.add(rule.action)
                made = rule.claims(bound)
                incoming += made
                if len(incoming) > MAX_CLAIMS:
                    raise PolicyEvaluationError(f"more than {MAX_CLAIMS} claims")
                if rule.action == "issue":
                    issued.claims.extend(made)
                elif rule.action == "issueproperty":
                    issued.properties.update((claim.type, claim.value) for claim in made)
            if section == "authorizationrules":
                _authorize(actions)
        return issued


def _authorize(actions: set[str]) -> None:
    if "deny" in actions:
        raise PolicyEvaluationError("an authorization rule denies this evidence")
    if "permit" not in actions:
        raise PolicyEvaluationError("no authorization rule permits this evidence")


def parse_policy(text: str) -> Policy:
    """Parse the text of a policy.

    Raises:
        PolicyParsingError: it is not a policy; the error has line and column.
    """
    lines = text.split("\n")
    if len(text) > MAX_TEXT:
        raise PolicyParsingError(f"more than {MAX_TEXT} characters", len(lines), 1)
    try:
        return _Builder().transform(_parser().parse(text))
    except VisitError as error:
        raise error.orig_exc from None
    except UnexpectedInput as error:
        if isinstance(error, UnexpectedToken) and error.token.type == "$END":
            at = (len(lines), len(lines[-1]) + 1)
            raise PolicyParsingError("the policy ends too early", *at) from None
        found = text[error.pos_in_stream or 0 :].split()[0]
        raise PolicyParsingError(f"unexpected '{found:.40}'", error.line, error.column) from None


def _one(function: str, values: Values, kind: type) -> Any:
    """The only one of these values, which must be of a type."""
    if len(values) != 1 or type(values[0]) is not kind:
        raise PolicyEvaluationError(f"{function} takes one {VALUE_TYPES[kind]}, not {values!r:.80}")
    return values[0]


def _json_to_claim_value(text: Values) -> Values:
    try:
        data = json.loads(_one("JsonToClaimValue", text, str))
    except (ValueError, RecursionError):
        raise PolicyEvaluationError("JsonToClaimValue takes JSON") from None
    values = tuple(v for v in (data if isinstance(data, list) else [data]) if v is not None)
    if not all(type(value) in VALUE_TYPES for value in values):
        raise PolicyEvaluationError("JsonToClaimValue takes Booleans, integers and strings")
    return values


def _append_string(first: Values, second: Values) -> Values:
    text = str(_one("AppendString", first, str)) + str(_one("AppendString", second, str))
    if len(text) > MAX_STRING:
        raise PolicyEvaluationError(f"AppendString: more than {MAX_STRING} characters")
    return (text,)


def _exact(values: Values) -> set[tuple[type, Value]]:
    """Values as a set in which true is not 1."""
    return {(type(value), value) for value in values}


FUNCTIONS: Mapping[str, tuple[int, Callable[..., Values]]] = {
    "JsonToClaimValue": (1, _json_to_claim_value),
    "AppendString": (2, _append_string),
    "NegateBool": (1, lambda one: (not _one("NegateBool", one, bool),)),
    "IsSubsetOf": (2, lambda one, other: (_exact(one) <= _exact(other),)),
    "ContainsOnlyValue": (2, lambda one, only: (len(only) == 1 and _exact(one) == _exact(only),)),
}


def _refuse(token: Token, message: str) -> NoReturn:
    raise PolicyParsingError(message, token.line or 0, token.column or 0)


def _check(token: Token, allowed: Iterable[str], what: str) -> str:
    if token not in allowed:
        _refuse(token, f"{what} '{token:.40}': there are {', '.join(allowed) or 'none'}")
    return str(token)


@v_args(inline=True)
class _Builder(Transformer_NonRecursive[Token, Policy]):
    """Makes the rules of one text. It sees the parts from left to right, inner ones first."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []  # bound by the conditions of this rule so far
        self.needs: dict[str, Token] = {}  # what the policy's version must offer

    def start(self, version: Token, *sections: tuple[Token, tuple[Rule, ...]]) -> Policy:
        _check(version, ("1.0", "1.1", "1.2"), "version")
        for need, token in self.needs.items():
            if version < SINCE[need]:
                _refuse(token, f"needs version {SINCE[need]} or later")
        found: dict[str, tuple[Rule, ...]] = {}
        for name, rules in sections:
            if name in found:
                _refuse(name, f"a second section {name}")
            found[str(name)] = rules
        if "authorizationrules" not in found:
            _refuse(version, "there is no section authorizationrules")
        return Policy(str(version), found)

    def section(self, name: Token, *rules: tuple[Token, Rule]) -> tuple[Token, tuple[Rule, ...]]:
        _check(name, ACTIONS, "section")
        if name in SINCE:
            self.needs.setdefault(name, name)
        for action, _ in rules:
            _check(action, ACTIONS[name], f"in {name}, action")
        return name, tuple(rule for _, rule in rules)

    def rule(self, *parts: Any) -> tuple[Token, Rule]:
        *conditions, (action, claims) = parts
        self.names.clear()
        return action, Rule(tuple(filter(None, conditions)), str(action), claims)

    def condition(self, absent: Token | None, name: Token | None, *tests: Test) -> Any:
        if absent is not None:
            self.needs.setdefault("!", absent)
        if name is not None:
            if absent is not None or name in self.names:
                _refuse(name, f"'{name:.40}' would stand for nothing, or for two things")
            self.names.append(str(name))
        return str(name or ""), absent is not None, tests

    def test(self, name: Token, compare: Token, wanted: Any) -> Test:
        _check(name, PROPERTIES, "property")
        if not isinstance(wanted, Expression):
            _refuse(wanted, "expected a value")
        if compare in COMPARE and (name != "value" or wanted.literal not in (int, None)):
            _refuse(compare, f"'{compare}' compares integers only")
        return Test(str(name), str(compare), wanted)

    def action(self, name: Token, *arguments: Any) -> tuple[Token, Callable[[Bound], list[Claim]]]:
        keys = sorted(key for key, _ in filter(None, arguments))
        takes = [[]] if name in ("permit", "deny") else [["claim"], ["type", "value"]]
        if keys not in takes:
            _refuse(
                name,
                f"'{name:.40}' takes {' or '.join(' and '.join(t) or 'nothing' for t in takes)}",
            )
        given = dict(filter(None, arguments))
        if not given:
            return name, lambda bound: []
        if "claim" in given:
            return name, lambda bound: list(bound[given["claim"]])

        def make(bound: Bound) -> list[Claim]:
            kind = _one("type", given["type"].values(bound), str)
            return [Claim(kind, v, "AttestationPolicy") for v in given["value"].values(bound)]

        return name, make

    def argument(self, name: Token, value: Any) -> tuple[str, Any]:
        _check(name, ("claim", "type", "value"), "argument")
        if isinstance(value, Expression) == (name == "claim"):
            _refuse(name, f"{name} takes {'a name' if name == 'claim' else 'a value'}")
        return str(name), value

    def claims(self, name: Token) -> Token:
        _check(name, self.names, "name")
        return name

    def reference(self, name: Token, part: Token) -> Expression:
        _check(name, self.names, "name")
        _check(part, PROPERTIES, "property")
        return Expression(lambda bound: tuple(getattr(c, part) for c in bound[name]))

    def call(self, name: Token, *arguments: Any) -> Expression:
        _check(name, FUNCTIONS, "function")
        self.needs.setdefault("call", name)
        count, function = FUNCTIONS[name]
        if len(arguments) != count or not all(isinstance(a, Expression) for a in arguments):
            _refuse(name, f"{name} takes {count} value{'s' * (count > 1)}")
        depth = 1 + max(a.depth for a in arguments)
        if depth > MAX_NESTING:
            _refuse(name, f"more than {MAX_NESTING} calls inside one another")
        return Expression(
            lambda bound: function(*(a.values(bound) for a in arguments)), None, depth
        )

    def string(self, token: Token) -> Expression:
        text = re.sub(r"\\(.)", r"\1", token[1:-1])
        return Expression(lambda bound: (text,), str)

    def integer(self, token: Token) -> Expression:
        return Expression(lambda bound: (int(token),), int)

    def boolean(self, token: Token) -> Expression:
        return Expression(lambda bound: (token == "true",), bool)


@cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("policy.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr")
