"""The policy language: what each construct means, and that nothing but a policy is taken."""

import contextlib
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tee_sim.services.claims import DEFAULT_POLICY
from tee_sim.services.policy import (
    MAX_CLAIMS,
    MAX_TEXT,
    Claim,
    PolicyEvaluationError,
    PolicyParsingError,
    parse_policy,
)

CLAIMS = (
    Claim("debug", False),
    Claim("svn", 3),
    Claim("signer", "abcd"),
    Claim("os", "linux"),
    Claim("os", "plan9", "CustomClaim"),
)
PERMIT = "authorizationrules{=>permit();};"


def policy(issuance: str = "", authorization: str = "=> permit();", version: str = "1.0") -> str:
    return (
        f"version= {version};\nauthorizationrules {{ {authorization} }};"
        f"\nissuancerules {{ {issuance} }};"
    )


def issued(text: str) -> list[tuple[str, Any, str]]:
    found = parse_policy(text).evaluate(CLAIMS).claims
    return [(claim.type, claim.value, claim.issuer) for claim in found]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ('[type=="svn"]', True),
        ('[type=="nothing"]', False),
        ('[type=="svn", value==3]', True),
        ('[type=="svn", value==4]', False),
        ('[type=="svn", value!=4]', True),
        ('[type=="svn", value!=3]', False),
        ('[type=="svn", value>=3]', True),
        ('[type=="svn", value>3]', False),
        ('[type=="svn", value<=3]', True),
        ('[type=="svn", value<3]', False),
        ('[type=="svn", value> -1]', True),
        ('[type=="svn", value=="3"]', False),  # a string is no integer
        ('[type=="debug", value==false]', True),
        ('[type=="debug", value==0]', False),  # nor is a Boolean
        ('[type=="debug", value>=0]', False),
        ('[type=="signer", value>=0]', False),
        ('[type=="signer", value=="abcd"]', True),
        ('[type=="signer", value=="ABCD"]', False),
        ('[type=="svn", valueType=="Integer"]', True),
        ('[type=="svn", valueType=="String"]', False),
        ('[type=="os", issuer=="CustomClaim", value=="plan9"]', True),
        ('[type=="os", issuer=="AttestationService", value=="plan9"]', False),
        ('[type="svn", value=3]', True),  # as Microsoft's samples have it
        ('[type=="debug", value==false] && [type=="svn", value>=3]', True),
        ('[type=="debug", value==false] && [type=="svn", value>=4]', False),
        ('c:[type=="svn"] && [type=="svn", value==c.value]', True),
        ('c:[type=="svn"] && [type=="debug", value==c.value]', False),
        ('c:[type=="svn"] && [type=="svn", value<c.value]', False),
        ('c:[type=="os"] && [type=="os", value!=c.value]', False),
        ('c:[type=="os"] && [type=="os", value>=c.value]', False),  # nor are strings ordered
        ('c:[type=="debug"] && [type=="debug", value>=c.value]', False),
        ('c:[value!=true] && [type=="svn", value<c.value]', False),  # 3 alone is an integer
        ('c:[value!=4] && [type=="svn", value<=c.value]', True),  # as one of several is
        ('![type=="nothing"]', True),
        ('![type=="svn"]', False),
        ('![type=="svn", value==4]', True),
    ],
)
def test_a_condition_holds_if_it_picks_a_claim(condition: str, holds: bool) -> None:
    text = policy(authorization=f"{condition} => permit();", version="1.2")
    if holds:
        assert parse_policy(text).evaluate(CLAIMS)
    else:
        with pytest.raises(PolicyEvaluationError, match="no authorization rule permits"):
            parse_policy(text).evaluate(CLAIMS)


@pytest.mark.parametrize(
    ("rules", "error"),
    [
        ("=> permit();", None),
        ("", "no authorization rule permits"),
        ("=> deny();", "denies"),
        ("=> permit(); => deny();", "denies"),
        ("=> deny(); => permit();", "denies"),
        ('[type=="svn", value<3] => deny(); => permit();', None),
        ('=> add(type="ok", value=true);', "no authorization rule permits"),
        ('=> add(type="ok", value=true); [type=="ok", value==true] => permit();', None),
        ('[type=="ok"] => permit(); => add(type="ok", value=true);', "no authorization rule"),
    ],
)
def test_authorization_wants_a_permit_and_no_deny(rules: str, error: str | None) -> None:
    parsed = parse_policy(policy(authorization=rules))
    if error is None:
        assert parsed.evaluate(CLAIMS).claims == []
    else:
        with pytest.raises(PolicyEvaluationError, match=error) as refusal:
            parsed.evaluate(CLAIMS)
        assert (refusal.value.code, refusal.value.status) == ("PolicyEvaluationError", 400)


def test_a_long_policy_costs_no_more_than_its_length() -> None:
    """A hundred claims, each compared with a hundred others, a thousand times: 3 s once."""
    claims = [Claim(f"x{n}", n) for n in range(MAX_CLAIMS - 3)]
    tests = ",".join(["value<=c.value"] * 1000)
    parsed = parse_policy(policy(authorization=f"c:[value>=0] && [{tests}] => permit();"))
    start = time.process_time()
    assert parsed.evaluate(claims).claims == []
    assert time.process_time() - start < 1


MADE = "AttestationPolicy"


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ('=> issue(type="level", value=100);', [("level", 100, MADE)]),
        ('=> issue(type="level", value=-1);', [("level", -1, MADE)]),
        ('=> issue(type="ok", value=true);', [("ok", True, MADE)]),
        ('=> issue(type="", value="");', [("", "", MADE)]),
        (r'=> issue(type="q", value="say \"no\" to C:\\");', [("q", 'say "no" to C:\\', MADE)]),
        ('c:[type=="svn"] => issue(type="is", value=c.value);', [("is", 3, MADE)]),
        ('c:[type=="svn"] => issue(type="is", value=c.valueType);', [("is", "Integer", MADE)]),
        ('c:[type=="svn"] => issue(claim=c);', [("svn", 3, "AttestationService")]),
        (
            'c:[type=="os"] => issue(claim = c);',
            [("os", "linux", "AttestationService"), ("os", "plan9", "CustomClaim")],
        ),
        (
            'c:[type=="os"] => issue(type="all", value=c.value);',
            [("all", "linux", MADE), ("all", "plan9", MADE)],
        ),
        ('[type=="nothing"] => issue(type="x", value=1);', []),
        ('=> add(type="x", value=1);', []),
        ('=> add(type="x", value=1); c:[type=="x"] => issue(claim=c);', [("x", 1, MADE)]),
        ('=> issue(type="x", value=1); [type=="x"] => issue(type="y", value=2);',
         [("x", 1, MADE), ("y", 2, MADE)]),
        ('// nothing here => permit(\n=> issue(type="x", value=1); // or here\n',
         [("x", 1, MADE)]),
    ],
)  # fmt: skip
def test_issuance_rules_make_claims(rules: str, expected: list[tuple[str, Any, str]]) -> None:
    assert issued(policy(rules)) == expected


def test_properties_come_from_issueproperty() -> None:
    rules = '=> issueproperty(type="minutes", value=5); => issueproperty(type="minutes", value=7);'
    found = parse_policy(policy(rules)).evaluate(CLAIMS)
    assert (found.claims, found.properties) == ([], {"minutes": 7})
    configuration = 'configurationrules{=> issueproperty(type="tcb", value="azuredefault");};'
    configured = f"version=1.1;{configuration}{PERMIT}"
    assert parse_policy(configured).evaluate(CLAIMS).properties == {"tcb": "azuredefault"}


def test_issuance_rules_are_not_mandatory() -> None:
    assert parse_policy(f"version=1.0;{PERMIT}").evaluate(()).claims == []


def test_the_default_policy_adds_the_deprecated_claims() -> None:
    claims = [Claim("x-ms-sgx-svn", 3), Claim("x-ms-attestation-type", "sgx")]
    found = parse_policy(DEFAULT_POLICY).evaluate(claims).claims
    assert [(c.type, c.value) for c in found] == [("svn", 3), ("tee", "sgx")]


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 1, 1, "ends too early"),
        ("version=1.0;\n\n", 3, 1, "ends too early"),
        ("version=1.0", 1, 12, "ends too early"),
        ("version=one;", 1, 9, "unexpected 'one'"),
        ("version=?;", 1, 9, r"unexpected '\?'"),
        (f"version=2.0;{PERMIT}", 1, 9, "unexpected '2': expected NUMBER"),
        ("version=1.0;\nissuancerules{};", 2, 1, "expected AUTHORIZATIONRULES"),
        (f"version=1.0;\n{PERMIT}\nrules{{}};", 3, 1, "'rules': expected .*ISSUANCERULES"),
        (f"version=1.0;{PERMIT}\n{PERMIT}", 2, 1, "unexpected 'authorizationrules'"),
        ("version=1.0;configurationrules{};" + PERMIT, 1, 13, "needs version 1.1"),
        (policy(authorization='![type=="a"] => permit();'), 2, 22, "'!' needs version 1.2"),
        (policy(authorization="=> permit()"), 2, 34, "unexpected '}'"),
        (policy(authorization="=> issue(claim=c);"), 2, 25, "expected ADD, DENY"),
        (policy(authorization='=> issue(type="a", value=1);'), 2, 25, "expected ADD, DENY, PERMIT"),
        (policy("=> permit();"), 3, 20, "unexpected 'permit': expected ADD, ISSUE, SET"),
        (policy("=> permit(type=1);"), 3, 20, "unexpected 'permit'"),
        (policy('=> deny(value="a");'), 3, 20, "unexpected 'deny'"),
        (policy('=> issue(type="a");'), 3, 34, "expected COMMA"),
        (policy('=> issue(type="a", type="b", value=1);'), 3, 36, "expected VALUE"),
        (policy('=> issue(type=1, value=1);'), 3, 31, "expected STRING"),
        (policy('=> issue(colour="a", value=1);'), 3, 26, "expected CLAIM, TYPE"),
        (policy('c:[type=="a"] => issue(claim=c.value);'), 3, 47, "expected RPAR"),
        (policy('c:[type=="a"] => issue(type="b", value=c);'), 3, 57, "expected DOT"),
        (policy('c:[type=="a"] => issue(type="b", value=c.colour);'), 3, 58, "expected PROPERTY"),
        (policy('c:[type=="a"] => issue(claim=c); => issue(claim=c);'), 3, 65, "for nothing"),
        (policy('c:[type==c.type] => issue(claim=c);'), 3, 26, "for nothing"),
        (policy('c:[type=="a"] && c:[type=="b"] => issue(claim=c);'), 3, 34, "two things"),
        (policy('c:![type=="a"] => issue(claim=c);'), 3, 19, "unexpected '!'"),
        (policy('!c:[type=="a"] => issue(type="b", value=1);', version="1.2"), 3, 18, "nothing"),
        (policy('[colour=="a"] => issue(type="b", value=1);'), 3, 18, "expected PROPERTY"),
        (policy('[value>="a"] => issue(type="b", value=1);'), 3, 23, "compares integers"),
        (policy('[type<1] => issue(type="b", value=1);'), 3, 22, "compares integers"),
        (policy('[] => issue(type="b", value=1);'), 3, 18, "unexpected ']'"),
        (policy('=> issue(type="b", value=1234567890123456789);'), 3, 42, "unexpected"),
        (policy('=> issue(type="b", value=1.5);'), 3, 43, "unexpected"),
        (policy('=> issue(type="b", value="open);'), 3, 42, "unexpected"),
        (policy('=> issue(type="b", value=JmesPath("{}", "a"));', version="1.2"), 3, 50,
         "functions are not simulated"),
        (" " * (MAX_TEXT + 1), 1, 1, f"more than {MAX_TEXT}"),
    ],
)  # fmt: skip
def test_what_is_no_policy_is_refused_with_its_place(
    text: str, line: int, column: int, message: str
) -> None:
    with pytest.raises(PolicyParsingError, match=message) as refusal:
        parse_policy(text)
    assert (refusal.value.line, refusal.value.column) == (line, column)
    assert (refusal.value.code, refusal.value.status) == ("PolicyParsingError", 400)


def test_rules_that_double_claims_come_to_an_end() -> None:
    rules = '=> add(type="a", value=1);' + 'c:[type=="a"] => add(claim=c);' * 100
    with pytest.raises(PolicyEvaluationError, match=f"more than {MAX_CLAIMS} claims"):
        parse_policy(policy(rules)).evaluate(CLAIMS)


def test_an_evaluation_holds_a_limited_number_of_claims() -> None:
    add = '=> add(type="a", value=1);'
    left = MAX_CLAIMS - len(CLAIMS)
    assert parse_policy(policy(add * left)).evaluate(CLAIMS)
    with pytest.raises(PolicyEvaluationError, match=f"more than {MAX_CLAIMS} claims"):
        parse_policy(policy(add * (left + 1))).evaluate(CLAIMS)


def test_texts_share_nothing() -> None:
    with pytest.raises(PolicyParsingError):
        parse_policy(policy('c:[type=="a"] && ![type=="b"] => oops;'))
    assert issued(policy('c:[type=="svn"] => issue(claim=c);'))


WORDS = [
    "version", "=", "1.0", "1.2", ";", "authorizationrules", "issuancerules", "{", "}", "=>", "&&",
    "permit", "issue", "add", "(", ")", "c", ":", "[", "]", "type", "value", "==", ">", "!", '"a"',
    "1", "true", ".", ",", "claim", "//", "\n", "\0", "é",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join)))
@example('version=1.0;authorizationrules{[type=="\\"]=>permit();};')
def test_any_text_is_a_policy_or_a_parsing_error(text: str) -> None:
    for candidate in (text, policy(text), policy(authorization=text)):
        with contextlib.suppress(PolicyParsingError, PolicyEvaluationError):
            parse_policy(candidate).evaluate(CLAIMS)
