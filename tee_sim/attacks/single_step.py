"""Row 12: the kernel interrupts after each instruction, and counts."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, Variant, attack, stopped
from tee_sim.attacks.page_faults import HIDDEN_BY
from tee_sim.errors import EnclaveLost

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform

DIGITS, WRONG = 8, 0xFF


def chosen_lock(host: Platform) -> tuple[DeployedEnclave, bytes]:
    """Stage: an owner has the lock choose its combination, and lets it be interrupted."""
    victim = host.create_enclave("lock")
    return victim, victim.choose()


def minding_lock(host: Platform) -> tuple[DeployedEnclave, bytes]:
    """Stage: the same, but the lock is to mind interruptions, where it can learn of them."""
    victim, digest = chosen_lock(host)
    victim.mind()
    return victim, digest


def steps(host: Platform, victim: DeployedEnclave, digits: bytes, skip: int = 0) -> int:
    """Instructions that the lock executes for ``digits``, counted by interrupting after each.

    The first ``skip`` of them are known, and run at one go; unless the program calls its monitor
    within them, which starts the timer again: then each is counted.
    """
    counted = 0

    def look(_registers: dict[str, int]) -> None:
        nonlocal counted
        counted += victim.guest.timer or 0
        victim.guest.timer = 1

    with host.adversary.interrupting(victim.guest, skip or 1, look):
        victim.unlock(int.from_bytes(digits, "little"))
    return counted if counted or not skip else steps(host, victim, digits)


def digits_by_counting(host: Platform, victim: DeployedEnclave) -> bytes:
    """The combination, first digit first: with one more right digit a call takes longer."""
    victim.unlock(WRONG)  # the first call also starts the runtime
    known, usual = b"", steps(host, victim, bytes([WRONG]))
    if usual == 0:
        return known  # no interruption ever came
    for _ in range(DIGITS - 1):
        for digit in range(10):
            count = steps(host, victim, known + bytes([digit, WRONG]), usual - 1)
            if count != usual:
                known, usual = known + bytes([digit]), count
                break
    last = [known + bytes([digit]) for digit in range(10)]  # these the lock answers itself
    return next((it for it in last if victim.unlock(int.from_bytes(it, "little"))), known)


@attack(
    row=12,
    title="Single-stepping",
    reference="Van Bulck, Piessens, Strackx 2017 (SGX-Step); Constable et al. 2023 (AEX-Notify)",
    stage=minding_lock,
    proves=("AEX.NOTIFY", "VTL.INTERRUPTS"),
    variants=(
        Variant("patched, with a handler"),
        Variant("patched, no handler", stage=chosen_lock),
        Variant("as sold", patch_level=0),
    ),
    unverified=("vbs",),
)
def single_step(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Find the combination of a lock from instruction counts alone.

    The handler of the lock counts interruptions and ends the enclave when one call has too many.

    Simplified: the timer is exact and costs nothing; a real one hits the wrong instruction now and
        then. Intel's own handler makes the next instruction too fast for it, which an exact timer
        does not notice; so here the handler has to refuse. A host that sets one timer for each
        call stays below any such limit, and learns no more than from the total time of a call.

    Args:
        host: the platform; its host is the adversary.
        victim: a lock that has chosen its combination.
        digest: SHA-256 of the combination, 8 bytes of one digit each.
    """
    try:
        found = digits_by_counting(host, victim)
    except EnclaveLost as lost:
        return stopped(host, f"the program noticed the interruptions: {lost}", "AEX.NOTIFY")
    if sha256(found).digest() == digest:
        return Outcome("succeeds", "all digits, each from the number of instructions", leaked=found)
    return stopped(host, "the counts say nothing about the digits", among=HIDDEN_BY)
