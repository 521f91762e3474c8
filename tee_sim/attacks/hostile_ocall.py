"""Row 22: the host answers a call from inside with an address inside."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, Variant, attack, stopped
from tee_sim.errors import EcallFailed

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform

Scene = tuple["DeployedEnclave", bytes, Callable[[int], None]]


def careful(host: Platform) -> Scene:
    """Stage: a clerk with a secret, who looks at the host's answer before using it."""
    victim = host.create_enclave("clerk")
    return victim, victim.make_secret(), victim.log_carefully


def careless(host: Platform) -> Scene:
    """Stage: a clerk with a secret, who believes the host."""
    victim = host.create_enclave("clerk")
    return victim, victim.make_secret(), victim.log_carelessly


@attack(
    row=22,
    title="Hostile answer to an ocall",
    reference="Checkoway, Shacham 2013 (Iago); Van Bulck et al. 2019",
    stage=careful,
    proves=("RUNTIME.OUTSIDE",),
    variants=(Variant("careful program"), Variant("careless program", stage=careless)),
)
def hostile_ocall(
    host: Platform, victim: DeployedEnclave, digest: bytes, log: Callable[[int], None]
) -> Outcome:
    """Lend the clerk its own clearance as room for the log, and have an entry written there.

    Where the program looks, a host without a TEE in its way needs no such trick: it reads the
    secret in memory.

    Args:
        host: the platform; its host is the adversary.
        victim: a clerk who holds a secret.
        digest: SHA-256 of the secret, from its owner: judges whether the attack worked.
        log: the ecall that writes an entry to the log.
    """
    clearance = victim.address("clerk_clearance")
    victim.on_ocall("find_room", lambda size: clearance)
    try:
        log(1)
        found, how = victim.show().secret, "the clerk cleared the host, and showed the secret"
    except EcallFailed:
        found, how = host.adversary.read(victim.physical("clerk_secret"), 32), "read in memory"
    if sha256(found).digest() == digest:
        return Outcome("succeeds", how, leaked=found)
    return stopped(host, "the clerk refused to write inside", "RUNTIME.OUTSIDE")
