"""Row 5: the kernel moves blocks of a protected page without knowing what is in them."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack, stopped, vault

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform

BLOCK = 16


@attack(
    row=5,
    title="Move encrypted blocks by software",
    reference="SEVurity (Wilke et al. 2020)",
    stage=vault,
    proves=("PRM.ABORT_PAGE", "VTL.MEMORY"),
)
def move_blocks(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Copy the block behind the vault's PIN, which holds its padding, over the PIN itself.

    Nothing has to be decrypted: the layout is public, and the padding of the PIN is a PIN, the
    empty one.

    Args:
        host: the platform; its host is the adversary.
        victim: a vault that holds a secret.
        digest: SHA-256 of the secret, from its owner: judges whether the attack worked.
    """
    pin = victim.physical("vault_pin")
    host.adversary.write(pin, host.adversary.read(pin + BLOCK, BLOCK))
    answer = victim.release("")
    if sha256(answer.secret).digest() == digest:
        return Outcome("succeeds", "the vault opens without a PIN", leaked=answer.secret)
    return stopped(host, "the vault does not open")
