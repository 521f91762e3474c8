"""Row 24: the host plays a victim's page back into an enclave of its own, which decrypts it."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack, refused, stopped, vault
from tee_sim.attacks.spy import Spy
from tee_sim.errors import EnclaveLost
from tee_sim.units import PAGE

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform


@attack(
    row=24,
    title="Replay into the attacker's own enclave",
    reference="Battering RAM (De Meulemeester et al. 2025)",
    stage=vault,
    proves=("MEE.TREE",),
    unverified=("vbs",),
)
def bus_theft(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Record the secret's page on the bus, give the page to a spy, and play the record back.

    One key encrypts the memory of all enclaves, and the physical address is the same: what was
    the victim's ciphertext is the spy's. Where memory is not encrypted, the record is enough.

    Args:
        host: the platform; its host is the adversary, with an interposer on the bus.
        victim: a vault that holds a secret.
        digest: SHA-256 of the secret, from its owner: judges whether the attack worked.
    """
    adversary, place = host.adversary, victim.physical("vault_secret")
    adversary.evict(place)
    record = adversary.snapshot(place)
    found = adversary.bus.read(place, 32)
    if sha256(found).digest() == digest:
        return Outcome("succeeds", "the secret passed over the bus in plaintext", leaked=found)
    spy = Spy(host)
    spy.sgx.eremove(place & -PAGE)
    spy.adopt(place & -PAGE)
    adversary.evict(place)
    adversary.replay(record)
    try:
        found = spy.read()
    except EnclaveLost as lost:
        return refused(lost)
    if sha256(found).digest() == digest:
        return Outcome("succeeds", "the spy's page now holds the victim's secret", leaked=found)
    return stopped(host, f"the spy reads {found[:4].hex(' ')} ...")
