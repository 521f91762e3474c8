"""Row 1: the kernel reads a private page."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack, stopped, vault

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform


@attack(
    row=1,
    title="Host reads a private page",
    reference="the reason why TEEs exist",
    stage=vault,
    proves=("PRM.ABORT_PAGE", "VTL.MEMORY"),
)
def read_private_page(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Find the page of the secret in the page tables and read it as ring 0.

    Args:
        host: the platform; its host is the adversary.
        victim: a vault that holds a secret.
        digest: SHA-256 of the secret, from its owner: judges whether the attack worked.
    """
    found = host.adversary.read(victim.physical("vault_secret"), 32)
    if sha256(found).digest() == digest:
        return Outcome("succeeds", "the kernel read the secret", leaked=found)
    return stopped(host, f"the kernel read {found[:4].hex(' ')} ...")
