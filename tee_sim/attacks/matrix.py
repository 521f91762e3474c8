"""The attack matrix: every attack on every platform, computed.

Each cell is a fresh platform, an attack, and what came of it. For a stopped attack the check that
stopped it is switched off and the attack runs again, until the verdict changes: the checks that
had to go are the *layers* of the defence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any

from tee_sim.attacks import ATTACKS
from tee_sim.attacks.outcome import STOPPED, Attack, Outcome, Variant
from tee_sim.checks import Check
from tee_sim.errors import known
from tee_sim.platform import Platform
from tee_sim.tees import TEES

MAX_LAYERS = 8


def run(
    attack: Attack,
    tee: str,
    without: Collection[str] = (),
    variant: Variant | None = None,
) -> Outcome:
    """One attack on one fresh platform.

    Args:
        attack: what to run.
        tee: the platform's name.
        without: names of checks to build it without; those that it lacks are left out. In an
            attack on a Relying Party, these are what that one forgets.
        variant: one of the attack's; None takes the first.
    """
    variant = variant or attack.variants[0]
    there = {check.name for check in TEES[tee].checks}
    if variant.omits is not None:
        variant = replace(variant, omits=variant.omits.union(set(without) - there))
    host = Platform(tee, without=there.intersection(without), patch_level=variant.patch_level)
    return attack.run(host, variant)


def run_with_layers(
    attack: Attack, tee: str, without: Collection[str] = (), variant: Variant | None = None
) -> Outcome:
    """As `run`, and find the layers by switching off whichever check stopped the attack."""
    first = outcome = run(attack, tee, without, variant)
    layers: list[str] = []
    while outcome.verdict == first.verdict and outcome.verdict in STOPPED and outcome.check:
        if outcome.check in layers or len(layers) == MAX_LAYERS:
            break
        layers.append(outcome.check)
        outcome = run(attack, tee, {*without, *layers}, variant)
    return replace(first, layers=tuple(layers))


def compute(
    platforms: Iterable[str] = tuple(TEES),
    attacks: Iterable[str] = (),
    without: Collection[str] = (),
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """The matrix as the JSON form that the command line prints and `view.matrix_table` draws.

    An attack with several variants has an entry for each.

    Args:
        platforms: names of the columns.
        attacks: names of the rows; empty for every row of the matrix.
        without: names of checks to build every platform without.
        progress: called after each cell.

    Raises:
        UsageError: there is no such platform, attack or check.
    """
    columns = known("platform", platforms, TEES)
    wanted = set(known("attack", attacks, ATTACKS))
    wanted = wanted or {attack.name for attack in ATTACKS.values() if attack.row}
    known("check", without, {c.name for tee in columns for c in TEES[tee].checks})
    rows = []
    for attack in (attack for attack in ATTACKS.values() if attack.name in wanted):
        for variant in attack.variants:
            outcomes = {}
            for tee in columns:
                outcome = run_with_layers(attack, tee, without, variant)
                outcomes[tee] = _cell(outcome, tee in attack.unverified)
                progress()
            rows.append(
                {
                    "name": attack.name,
                    "row": attack.row,
                    "reference": attack.reference,
                    "title": attack.title,
                    "outcomes": outcomes,
                }
            )
    return {"platforms": columns, "attacks": rows}


def _cell(outcome: Outcome, unverified: bool) -> dict[str, Any]:
    return {
        "verdict": outcome.verdict,
        "check": outcome.check or None,
        "layers": list(outcome.layers),
        "variant": outcome.variant or None,
        "detail": outcome.detail,
        "unverified": unverified,
    }


def cells(attacks: Iterable[str]) -> int:
    """How many outcomes these attacks have on each platform."""
    return sum(len(ATTACKS[name].variants) for name in attacks)


def register() -> list[tuple[Check, list[str]]]:
    """Every check that any platform has, and the attacks that prove it."""
    checks = {check.name: check for tee in TEES.values() for check in tee.checks}
    return [
        (check, [a.name for a in ATTACKS.values() if check.name in a.proves])
        for check in checks.values()
    ]
