"""Row 26: somebody on the memory bus learns a secret from the addresses that pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack
from tee_sim.attacks.page_faults import PIXELS, drawn_sketch, judge
from tee_sim.units import PAGE

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform
    from tee_sim.trace import Transfer

OFTEN = 5
"""Instructions between two evictions. A pixel takes about twenty, so no access is missed."""


def drawing_on_the_bus(host: Platform, victim: DeployedEnclave) -> list[Transfer]:
    """What passes while the victim draws, its paint pushed out of the cache again and again.

    The pages stay mapped, and the victim is not interrupted.
    """
    adversary = host.adversary
    paint = [victim.physical(name) for name in ("sketch_ink", "sketch_paper")]

    def squeeze() -> None:
        for page in paint:
            adversary.evict(page)

    with adversary.meanwhile(victim.guest, OFTEN, squeeze), adversary.bus.listening() as passed:
        victim.draw()
    return passed


@attack(
    row=26,
    title="Addresses on the memory bus",
    reference="MemBuster (Lee et al. 2020)",
    stage=drawn_sketch,
)
def address_bus(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Recover a picture drawn inside from the addresses of memory reads alone.

    Args:
        host: the platform; its host is the adversary, with a probe on the address lines.
        victim: a sketch program that has chosen its picture.
        digest: SHA-256 of the picture, 32 bytes of one bit a pixel.
    """
    passed = drawing_on_the_bus(host, victim)
    names = {victim.physical(f"sketch_{name}") & -PAGE: name for name in ("ink", "paper")}
    reads = [names[t.hpa] for t in passed if t.operation == "read" and t.hpa in names]
    return judge(host, [int(name == "ink") for name in reads[-PIXELS:]], digest, "addresses")
