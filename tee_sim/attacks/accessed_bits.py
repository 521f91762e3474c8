"""Row 11: the kernel learns a secret from the accessed bits of its page tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack
from tee_sim.attacks.page_faults import PIXELS, drawn_sketch, judge
from tee_sim.machine.paging import ACCESSED, DIRTY

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform

EVERY = 5
"""Instructions between two looks; the program takes more for a pixel."""


def watch_bits(host: Platform, victim: DeployedEnclave) -> tuple[list[int], int]:
    """Let the victim draw; note at each interruption which colour was read since the last one.

    No page is ever missing. An interruption makes the processor forget its translations, so the
    next access walks the page tables again and sets the accessed bit that was cleared.

    Returns:
        The colours, 1 for ink, and how many page faults there were.
    """
    adversary, guest = host.adversary, victim.guest
    pages = {
        colour: victim.address(name) for colour, name in enumerate(("sketch_paper", "sketch_ink"))
    }
    seen: list[int] = []
    faults: list[int] = []

    def look(_registers: dict[str, int]) -> None:
        for colour, gva in pages.items():
            entry = adversary.walk(guest, gva)
            if entry.value & ACCESSED:
                seen.append(colour)
                adversary.edit(guest, gva, entry.value & ~(ACCESSED | DIRTY))

    def on_fault(address: int) -> bool:
        faults.append(address)
        return False

    with adversary.interrupting(guest, EVERY, look), adversary.faulting(guest, on_fault):
        victim.draw()
    return seen, len(faults)


@attack(
    row=11,
    title="Accessed and dirty bits",
    reference="Van Bulck et al. 2017; Wang et al. 2017",
    stage=drawn_sketch,
    unverified=("vbs",),
)
def accessed_bits(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Recover a picture drawn inside without a single page fault.

    Args:
        host: the platform; its host is the adversary.
        victim: a sketch program that has chosen its picture.
        digest: SHA-256 of the picture, 32 bytes of one bit a pixel.
    """
    seen, faults = watch_bits(host, victim)
    return judge(host, seen[-PIXELS:], digest, f"accessed bits, with {faults} page faults")
