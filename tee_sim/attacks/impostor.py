"""Row 36: the host runs a program of its own in the victim's place."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack, nothing
from tee_sim.sdk.host import Enclave
from tee_sim.sdk.image import load_program

if TYPE_CHECKING:
    from tee_sim.hypervisor.honest import Launch
    from tee_sim.platform import Platform

PIN = "2718"


@attack(
    row=36,
    title="Impostor enclave",
    reference="the reason for remote attestation",
    stage=nothing,
)
def impostor(host: Platform) -> Outcome:
    """Launch a false vault, properly signed by the host, and wait for the owner to use it.

    Args:
        host: the platform; its host is the adversary.
    """
    false_vault = load_program("impostor", host.tee.target)

    def substitute(launch: Launch) -> Launch:
        return replace(launch, image=false_vault.image, sigstruct=host.sign_as_host(false_vault))

    with host.adversary.tampering(substitute):
        vault = host.create_enclave("vault")
    vault.make_secret(PIN)
    back_door = Enclave(false_vault.interface, vault.guest, name="back door")
    stolen = back_door.stolen_pin().rstrip(b"\0")
    if stolen == PIN.encode():
        return Outcome("succeeds", f"the host collected the PIN {PIN}", leaked=stolen)
    return Outcome("blocked", "the host did not get the PIN")
