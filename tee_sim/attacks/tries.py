"""The vault's try counter, which several attacks turn back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, refused, stopped
from tee_sim.errors import EnclaveLost

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform


def lock(victim: DeployedEnclave) -> None:
    """Give wrong PINs until the vault takes no more."""
    while victim.release("0000").result == 0:
        pass


def rewound(host: Platform, victim: DeployedEnclave) -> Outcome:
    """Whether a vault that was locked has tries again."""
    try:
        tries = victim.tries_left()
    except EnclaveLost as lost:
        return refused(lost)
    if tries > 0:
        return Outcome("succeeds", "the vault forgot the wrong PINs: the counter was rewound")
    return stopped(host, "the vault is still locked")
