"""Attacks: scripts against the adversary's API, one file for each row of the matrix.

    outcome = attacks.read_private_page(host, vault, digest)

Each is called with a platform and what its stage prepares (see its ``stage``), or with
`Attack.run` on a fresh platform. The ``proofs_*`` modules hold attacks that are not rows: each
proves one check. Every attack that a module of this package declares is a name of this package.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from tee_sim.attacks.outcome import STOPPED, VERDICTS, Attack, Outcome, Variant

__all__ = ["ATTACKS", "STOPPED", "VERDICTS", "Attack", "Outcome", "Variant"]


def _declared() -> dict[str, Attack]:
    """Every attack, by name: the rows of the matrix in order, then the proofs."""
    names = [f"{__name__}.{found.name}" for found in iter_modules(__path__)]
    modules = [import_module(name) for name in names if name != f"{__name__}.matrix"]
    declared = {a for module in modules for a in vars(module).values() if type(a) is Attack}
    found = {attack.name: attack for attack in declared}
    assert len(found) == len(declared), "two attacks have one name"
    return dict(sorted(found.items(), key=lambda item: (item[1].row == 0, item[1].row, item[0])))


ATTACKS = _declared()
"""Every attack by name: the rows of the matrix, then the proofs of single checks."""

globals().update(ATTACKS)


def __getattr__(name: str) -> Any:
    raise AttributeError(f"no attack '{name}'; there are {', '.join(ATTACKS)}")
