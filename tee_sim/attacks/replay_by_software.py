"""Row 3: the kernel copies a page and puts the old copy back later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack, vault
from tee_sim.attacks.tries import lock, rewound
from tee_sim.units import PAGE

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform


@attack(
    row=3,
    title="Replay of an old page by software",
    reference="SEV: Hetzelt and Buhren 2017; Morbitzer et al. 2018",
    stage=vault,
    proves=("PRM.ABORT_PAGE", "VTL.MEMORY"),
)
def replay_by_software(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Copy the page of the try counter, use up all tries, and put the copy back.

    Args:
        host: the platform; its host is the adversary.
        victim: a vault with all its tries left.
        digest: SHA-256 of the secret (not needed here).
    """
    page = victim.physical("vault_tries")
    before = host.adversary.read(page, PAGE)
    lock(victim)
    host.adversary.write(page, before)
    host.adversary.evict(page)
    return rewound(host, victim)
