"""Row 4: the kernel makes an address point to another page of the same program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack, refused, stopped, vault
from tee_sim.attacks.tries import lock
from tee_sim.errors import EnclaveLost

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform


@attack(
    row=4,
    title="Remap a guest page",
    reference="SEVered (Morbitzer et al. 2018)",
    stage=vault,
    proves=("EPCM.ENCLAVEADDRESS", "SK.PAGE_TABLES"),
)
def remap_page(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Lock the vault, then point the address of its try counter at the page of its secret.

    Any four bytes of the secret that are a positive number unlock the vault again.

    Args:
        host: the platform; its host is the adversary.
        victim: a vault that holds a secret.
        digest: SHA-256 of the secret (not needed here).
    """
    lock(victim)
    secret = victim.guest.space.translate(victim.address("vault_secret"))
    assert secret is not None, "the victim has just been set up"
    host.adversary.remap(victim.guest, victim.address("vault_tries"), secret)
    try:
        tries = victim.tries_left()
    except EnclaveLost as lost:
        return refused(lost)
    if tries != 0:
        return Outcome(
            "succeeds", f"the counter now reads {tries & 0xFFFFFFFF:#x}: four bytes of the secret"
        )
    return stopped(host, "the counter still reads 0")
