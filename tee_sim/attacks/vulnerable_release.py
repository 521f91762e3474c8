"""Row 29: the host loads an old release with a known hole, which is signed as well as any."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tee_sim.attacks.hostile_ocall import hostile_ocall
from tee_sim.attacks.outcome import Outcome, Variant, attack, nothing, refused
from tee_sim.errors import CallError
from tee_sim.sdk.image import load_program
from tee_sim.sdk.signing import FIRST_RELEASE, SECOND_RELEASE

if TYPE_CHECKING:
    from tee_sim.hypervisor.honest import Launch
    from tee_sim.platform import Platform


@attack(
    row=29,
    title="Old release with a known hole",
    reference="CVE-2023-36880, CVE-2024-49076; Akamai 2025 (bring your own vulnerable enclave)",
    stage=nothing,
    proves=("SK.REVOKED_IMAGE",),
    only=("vbs",),
    variants=(Variant("patched"), Variant("as sold", patch_level=0)),
)
def vulnerable_release(host: Platform) -> Outcome:
    """Load the first release of the clerk, whose runtime has a hole, in the place of the second.

    Its author has signed both. Nothing on the machine is wrong, and attestation would tell; but who
    uses an enclave of her own machine seldom asks.

    Args:
        host: the platform; its host is the adversary.
    """
    old = load_program("clerk", host.tee.target, guarded=())

    def substitute(launch: Launch) -> Launch:
        signed = host.sign(old.image, FIRST_RELEASE)
        return replace(launch, image=old.image, sigstruct=signed)

    with host.adversary.tampering(substitute):
        try:
            victim = host.create_enclave("clerk", identity=SECOND_RELEASE)
        except CallError as error:
            return refused(error)
    return hostile_ocall(host, victim, victim.make_secret(), victim.log_carefully)
