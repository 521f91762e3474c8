"""Row 18: the kernel throws away what the cache has not written back yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack, refused, vault
from tee_sim.attacks.tries import lock, rewound
from tee_sim.errors import GeneralProtection

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform


@attack(
    row=18,
    title="Drop dirty cache lines with INVD",
    reference="CacheWarp (Zhang et al. 2024)",
    stage=vault,
    only=("none", "sgx-mee", "sgx-tme"),  # a hypervisor intercepts it: VM exit
    proves=("INVD.PRM",),
)
def invd(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Write everything back, use up all tries, and invalidate the cache with the new counter in it.

    Args:
        host: the platform; its host is the adversary.
        victim: a vault with all its tries left.
        digest: SHA-256 of the secret (not needed here).
    """
    host.adversary.wbinvd()
    host.adversary.evict(victim.physical("vault_tries"))
    lock(victim)
    try:
        host.adversary.invd()
    except GeneralProtection as fault:
        return refused(fault)
    return rewound(host, victim)
