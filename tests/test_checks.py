"""The register of checks: well described, and every one of them real."""

import ast
from collections import Counter

import pytest

from attacks.walk import problem, proofs
from tee_sim.attacks import ATTACKS, Attack
from tee_sim.attacks.matrix import register
from tee_sim.checks import Check
from tee_sim.tees import TEES
from test_imports import TREES

CHECKS = [check for check, _ in register()]
ALL_CHECKS = pytest.mark.parametrize("check", CHECKS, ids=str)


def proof_id(value: object) -> str:
    return value.name if isinstance(value, Attack) else str(value)


@pytest.mark.parametrize(("check", "attack", "tee"), proofs(), ids=proof_id)
def test_a_check_stops_an_attack_that_succeeds_without_it(
    check: Check, attack: Attack, tee: str
) -> None:
    assert not problem(check, attack, tee)


@ALL_CHECKS
def test_a_check_has_an_attack_that_proves_it(check: Check) -> None:
    assert any(check.name in attack.proves for attack in ATTACKS.values())


@ALL_CHECKS
def test_a_check_has_a_short_title_a_sentence_and_a_source(check: Check) -> None:
    assert 1 <= len(check.title.split()) <= 8
    assert check.title[0].isupper()
    assert not check.title.endswith(".")
    assert len(check.stops.split()) >= 5
    assert check.stops[0].isupper()
    assert check.stops.endswith(".")
    assert len(check.source) > 10


def test_names_are_unique() -> None:
    for tee in TEES.values():
        assert not [name for name, n in Counter(c.name for c in tee.checks).items() if n > 1]
    different = {(check.name, check) for tee in TEES.values() for check in tee.checks}
    assert len({name for name, _ in different}) == len(different) == len(CHECKS)
    assert len({check.title for check in CHECKS}) == len(CHECKS)


def test_attacks_prove_checks_that_exist() -> None:
    claimed = {name for attack in ATTACKS.values() for name in attack.proves}
    assert claimed <= {check.name for check in CHECKS}


def test_every_check_in_the_sources_is_in_the_register() -> None:
    declared = {
        node.args[0].value
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Check"
        if isinstance(node.args[0], ast.Constant)
    }
    assert declared == {check.name for check in CHECKS}
