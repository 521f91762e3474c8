"""Row 10: the kernel learns a secret from the order in which pages are used."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack, stopped
from tee_sim.units import PAGE

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform

PIXELS = 256
HIDDEN_BY = ("SK.PAGE_TABLES", "VTL.INTERRUPTS")
"""What keeps the kernel from looking at page tables, or at the right moment; not so on SGX."""


def drawn_sketch(host: Platform) -> tuple[DeployedEnclave, bytes]:
    """Stage: an owner has the sketch program choose its secret picture."""
    victim = host.create_enclave("sketch")
    return victim, victim.choose()


def trace_pages(host: Platform, victim: DeployedEnclave) -> list[str]:
    """Let the victim draw with two of its three drawing pages always unmapped.

    Whenever it touches one, note which, give it back, and take the others away: the sequence of
    faults is the sequence of pages.
    """
    adversary, guest = host.adversary, victim.guest
    names = {victim.address(f"sketch_{name}") & -PAGE: name for name in ("canvas", "ink", "paper")}
    entries = {page: adversary.unmap(guest, page) for page in names}
    sequence: list[str] = []

    def on_fault(address: int) -> bool:
        page = address & -PAGE
        if page not in names:
            return False
        sequence.append(names[page])
        for other, entry in entries.items():
            if other == page:
                adversary.restore(guest, entry)
            else:
                adversary.unmap(guest, other)
        return True

    with adversary.faulting(guest, on_fault):
        victim.draw()
    for entry in entries.values():
        adversary.restore(guest, entry)
    return sequence


def pixels(sequence: list[str]) -> list[int]:
    """The picture in a sequence of pages: ink or paper after each canvas, the newest 256."""
    drawn = [
        int(page == "ink")
        for before, page in pairwise(sequence)
        if before == "canvas" and page != "canvas"
    ]
    return drawn[-PIXELS:]


def judge(host: Platform, bits: list[int], digest: bytes, source: str) -> Outcome:
    """Whether these pixels are the picture with the given SHA-256."""
    picture = bytes(
        int("".join(map(str, bits[at : at + 8])), 2) for at in range(0, len(bits) - 7, 8)
    )
    if sha256(picture).digest() == digest:
        return Outcome("succeeds", f"all {PIXELS} pixels recovered from {source}", leaked=picture)
    # If no check stopped it, the program gave nothing away.
    return stopped(host, f"{len(bits)} pixels seen, and not the picture", among=HIDDEN_BY)


@attack(
    row=10,
    title="Page-fault controlled channel",
    reference="Xu, Cui, Peinado 2015",
    stage=drawn_sketch,
    proves=("SK.PAGE_TABLES",),
    unverified=("vbs",),
)
def page_faults(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Recover a picture drawn inside from page faults alone.

    Args:
        host: the platform; its host is the adversary.
        victim: a sketch program that has chosen its picture.
        digest: SHA-256 of the picture, 32 bytes of one bit a pixel.
    """
    return judge(host, pixels(trace_pages(host, victim)), digest, "page faults")
