"""Row 2: the kernel overwrites a private page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack, stopped, vault

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform

FORGED_TRIES = 99


@attack(
    row=2,
    title="Host writes a private page",
    reference="the reason why TEEs exist",
    stage=vault,
    proves=("PRM.ABORT_PAGE", "VTL.MEMORY"),
)
def write_private_page(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Give oneself 99 more tries at the PIN by writing the vault's counter as ring 0.

    Args:
        host: the platform; its host is the adversary.
        victim: a vault that holds a secret.
        digest: SHA-256 of the secret (not needed here).
    """
    host.adversary.write(victim.physical("vault_tries"), FORGED_TRIES.to_bytes(4, "little"))
    tries = victim.tries_left()
    if tries == FORGED_TRIES:
        return Outcome("succeeds", f"the vault now allows {tries} wrong PINs")
    return stopped(host, f"the write had no effect: {tries} tries left")
