"""Row 36: the host runs a program of its own in the victim's place."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack, nothing, stopped
from tee_sim.sdk.host import Enclave
from tee_sim.sdk.image import load_program

if TYPE_CHECKING:
    from tee_sim.hypervisor.honest import Launch
    from tee_sim.platform import DeployedEnclave, Platform

PIN = "2718"


def launch_impostor(host: Platform) -> tuple[DeployedEnclave, Enclave]:
    """Launch a false vault, signed by the host, where its owner asks for the real one.

    Returns:
        What the owner takes for her vault, and the host's back door into it.
    """
    false_vault = load_program("impostor", host.tee.target)

    def substitute(launch: Launch) -> Launch:
        return replace(launch, image=false_vault.image, sigstruct=host.sign_as_host(false_vault))

    with host.adversary.tampering(substitute):
        vault = host.create_enclave("vault")
    return vault, Enclave(false_vault.interface, vault.guest, name="back door")


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
    vault, back_door = launch_impostor(host)
    vault.make_secret(PIN)
    stolen = back_door.stolen_pin().rstrip(b"\0")
    if stolen == PIN.encode():
        return Outcome("succeeds", f"the host collected the PIN {PIN}", leaked=stolen)
    return stopped(host, "the host did not get the PIN", "")
