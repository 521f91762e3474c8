"""Row 33: somebody takes the memory modules out and reads them elsewhere."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack, ciphertext, vault

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform


@attack(
    row=33,
    title="Cold boot",
    reference="Halderman et al. 2008",
    stage=vault,
    proves=("MEM.ENCRYPTION",),
)
def cold_boot(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Push the secret out of the cache, cut the power, and read the memory modules.

    Args:
        host: the platform.
        victim: a vault that holds a secret.
        digest: SHA-256 of the secret.
    """
    place = victim.physical("vault_secret")
    host.adversary.wbinvd()
    host.machine.power_cut()
    found = host.adversary.bus.read(place, 32)
    if sha256(found).digest() == digest:
        return Outcome("succeeds", "the secret stood in the memory module", leaked=found)
    return ciphertext(host, f"the module holds {found[:8].hex(' ')} ..., not the secret")
