"""Row 34: somebody on the memory bus changes a block that the program will read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack, refused, stopped, vault
from tee_sim.attacks.tries import lock
from tee_sim.errors import EnclaveLost

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform


@attack(
    row=34,
    title="Corruption on the memory bus",
    reference="active DIMM interposer",
    stage=vault,
    proves=("MEE.MAC",),
)
def bus_corruption(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Lock the vault, then flip bits in the block of DRAM that holds its try counter.

    The attacker cannot choose what the block decrypts to; any non-zero counter will do.

    Args:
        host: the platform; its host is the adversary, with an interposer on the bus.
        victim: a vault with all its tries left.
        digest: SHA-256 of the secret (not needed here).
    """
    adversary, place = host.adversary, victim.physical("vault_tries")
    lock(victim)
    adversary.evict(place)
    block = adversary.bus.read(place, 16)
    adversary.bus.write(place, bytes(byte ^ 0x55 for byte in block))
    try:
        tries = victim.tries_left()
    except EnclaveLost as lost:
        return refused(lost)
    if tries != 0:
        return Outcome("succeeds", f"the vault reads {tries & 0xFFFFFFFF:#x} tries, and goes on")
    return stopped(host, "the vault is still locked")
