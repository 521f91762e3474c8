"""Row 24: somebody with a probe on the memory bus records a page and plays it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack, vault
from tee_sim.attacks.tries import lock, rewound

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform


@attack(
    row=24,
    title="Replay on the memory bus",
    reference="Battering RAM (De Meulemeester et al. 2025)",
    stage=vault,
    proves=("MEE.TREE",),
    unverified=("vbs",),
)
def bus_replay(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Record the page of the try counter (and its integrity data), use up all tries, play it back.

    Args:
        host: the platform; its host is the adversary, with an interposer on the bus.
        victim: a vault with all its tries left.
        digest: SHA-256 of the secret (not needed here).
    """
    adversary, page = host.adversary, victim.physical("vault_tries")
    adversary.evict(page)
    before = adversary.snapshot(page)
    lock(victim)
    adversary.evict(page)
    adversary.replay(before)
    return rewound(host, victim)
