"""Row 32: the host changes one byte of a program before it launches it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack, nothing, refused, stopped
from tee_sim.errors import CallError
from tee_sim.units import PAGE

if TYPE_CHECKING:
    from tee_sim.abi.image import Image
    from tee_sim.hypervisor.honest import Launch
    from tee_sim.platform import Platform

MAX_TRIES = (3).to_bytes(4, "little")
MORE_TRIES = (127).to_bytes(4, "little")


def more_tries(image: Image) -> Image:
    """The vault's image with every ``= 3`` of its code turned into ``= 127``.

    The instruction is C7 05 <offset> 03 00 00 00: MOV DWORD PTR [RIP+offset], 3.
    """

    def change(content: bytes) -> bytes:
        at = content.find(b"\xc7\x05")
        while at >= 0:
            if content[at + 6 : at + 10] == MAX_TRIES:
                content = content[: at + 6] + MORE_TRIES + content[at + 10 :]
            at = content.find(b"\xc7\x05", at + 1)
        return content

    pages = tuple(replace(p, content=change(p.content)) if p.x else p for p in image.pages)
    assert all(len(page.content) == PAGE for page in pages)
    return replace(image, pages=pages)


@attack(
    row=32,
    title="Tampered image at launch",
    reference="one changed byte",
    stage=nothing,
    proves=("EINIT.ENCLAVEHASH", "MEASURE.EEXTEND", "SK.IMAGE_SIGNATURE"),
)
def tampered_image(host: Platform) -> Outcome:
    """Launch a vault that allows 127 wrong PINs, under its author's signature for the real one.

    Args:
        host: the platform; its host is the adversary.
    """

    def change(launch: Launch) -> Launch:
        return replace(launch, image=more_tries(launch.image))

    with host.adversary.tampering(change):
        try:
            victim = host.create_enclave("vault")
        except CallError as error:
            return refused(error)
    victim.make_secret("2718")
    tries = victim.tries_left()
    if tries == int.from_bytes(MORE_TRIES, "little"):
        return Outcome("succeeds", f"the vault runs, and allows {tries} wrong PINs")
    return stopped(host, f"the vault runs unchanged: {tries} tries", "")
