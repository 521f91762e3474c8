"""What makes a check real, for every check in the register.

A check is real if an attack shows it: with everything on the attack is stopped; with the check and
the layers that stand with it off, it succeeds; and with all of those off but this one, it is
stopped by this one.

As a program it walks one check, on one platform, and prints what is wrong:
``python -m attacks.walk EPCM.VALID``. The mutation test runs it with a copy of the package.
"""

import json
import sys
from functools import cache

import tee_sim
from tee_sim.attacks import ATTACKS, STOPPED, Attack, Outcome, matrix
from tee_sim.attacks.outcome import vault
from tee_sim.checks import Check
from tee_sim.errors import TeeSimError
from tee_sim.platform import Platform
from tee_sim.tees import TEES

SILENT = {"MEASURE.EADD", "MEASURE.EEXTEND"}
"""Checks that never refuse anything themselves: they feed the one that does."""


Proof = tuple[Check, Attack, str]
"""A check, an attack that proves it, and a platform on which it does."""


def proofs() -> list[Proof]:
    """Every check that is proved, by each of its proofs, on each platform to which both apply."""
    found = []
    for check, names in matrix.register():
        attacks = [ATTACKS[name] for name in names]
        found += [
            (check, attack, tee.name)
            for attack in attacks
            for tee in TEES.values()
            if check in tee.checks and (not attack.only or tee.name in attack.only)
        ]
    return found


@cache
def layers(attack: Attack, tee: str) -> Outcome:
    """The attack with every check on, and the layers that stop it."""
    return matrix.run_with_layers(attack, tee)


@cache
def run(attack: Attack, tee: str, without: frozenset[str]) -> Outcome:
    """The attack with some checks off."""
    return matrix.run(attack, tee, without)


@cache
def honest(tee: str) -> str:
    """What is wrong with an honest launch of the vault; empty if nothing is."""
    try:
        vault(Platform(tee))
    except TeeSimError as error:
        return f"an honest launch on {tee} is refused: {error}"
    return ""


def problem(check: Check, attack: Attack, tee: str) -> str:
    """What keeps this proof from being one; empty if nothing does."""
    name, where = check.name, f"{attack.name} on {tee}"
    if name in SILENT and honest(tee):
        return honest(tee)
    first = layers(attack, tee)
    if first.verdict not in STOPPED:
        return f"{where} {first.verdict} although every check is on"
    stack = frozenset((*first.layers, name))
    if name in SILENT:
        alone = run(attack, tee, frozenset((name,)))
        return "" if alone.verdict == "succeeds" else f"{where} {alone.verdict} without {name}"
    last = run(attack, tee, stack - {name}) if len(stack) > 1 else first
    if last.verdict not in STOPPED or last.check != name:
        by = f" by {last.check}" if last.check else ""
        return f"{where} {last.verdict}{by} although {name} is on"
    if name not in first.layers:
        return f"{where} meets {list(first.layers)} and never {name}"
    bare = run(attack, tee, stack)
    if bare.verdict != "succeeds":
        return f"{where} is {bare.verdict} by {bare.check} without {sorted(stack)}"
    return ""


def main(name: str) -> None:
    """Walk one check by its last proof, and print what is wrong."""
    proof = next(proof for proof in reversed(proofs()) if proof[0].name == name)
    print(json.dumps({"package": tee_sim.__file__, "problem": problem(*proof)}))


if __name__ == "__main__":
    main(sys.argv[1])
