"""The attack matrix: every attack on every platform, computed.

Each cell is a fresh platform, an attack, and what came of it. For a stopped attack the check that
stopped it is switched off and the attack runs again, until the verdict changes: the checks that
had to go are the *layers* of the defence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from tee_sim.attacks import ATTACKS
from tee_sim.attacks.outcome import STOPPED, Attack, Outcome, with_layers
from tee_sim.checks import Check
from tee_sim.platform import TEES, Platform

MAX_LAYERS = 8


def run(attack: Attack, tee: str, without: Collection[str] = (), seed: int = 0) -> Outcome:
    """One attack on one fresh platform; checks that the platform lacks are left out of ``without``.

    Args:
        attack: what to run.
        tee: the platform's name.
        without: names of checks to build it without.
        seed: of the platform.
    """
    known = {check.name for check in TEES[tee].checks}
    return attack.run(Platform(tee, seed=seed, without=known.intersection(without)))


def run_with_layers(attack: Attack, tee: str, without: Collection[str] = ()) -> Outcome:
    """As `run`, and find the layers by switching off whichever check stopped the attack."""
    first = outcome = run(attack, tee, without)
    layers: list[str] = []
    while outcome.verdict == first.verdict and outcome.verdict in STOPPED and outcome.check:
        if outcome.check in layers or len(layers) == MAX_LAYERS:
            break
        layers.append(outcome.check)
        outcome = run(attack, tee, {*without, *layers})
    return with_layers(first, tuple(layers))


def compute(
    platforms: Iterable[str] = tuple(TEES),
    attacks: Iterable[str] = (),
    without: Collection[str] = (),
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """The matrix as the JSON form that the command line prints and `view.matrix_table` draws.

    Args:
        platforms: names of the columns.
        attacks: names of the rows; empty for every row of the matrix.
        without: names of checks to build every platform without.
        progress: called after each cell.
    """
    columns = list(platforms)
    wanted = list(attacks) or [a.name for a in ATTACKS.values() if a.row]
    rows = []
    for attack in sorted((ATTACKS[name] for name in wanted), key=lambda a: (a.row == 0, a.row)):
        outcomes = {}
        for tee in columns:
            outcome = run_with_layers(attack, tee, without)
            outcomes[tee] = {
                "verdict": outcome.verdict,
                "check": outcome.check or None,
                "layers": list(outcome.layers),
                "variant": outcome.variant or None,
                "detail": outcome.detail,
            }
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


def register() -> list[tuple[Check, list[str]]]:
    """Every check that any platform has, and the attacks that prove it."""
    checks = {check.name: check for tee in TEES.values() for check in tee.checks}
    return [
        (check, [a.name for a in ATTACKS.values() if check.name in a.proves])
        for check in checks.values()
    ]
