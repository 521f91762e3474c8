"""Row 21: the kernel forces an exception before the runtime has a stack of its own."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, Variant, attack, stopped
from tee_sim.attacks.proofs_memory import SGX
from tee_sim.errors import EnclaveLost, PageFault
from tee_sim.sdk.image import load_program

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform

CONTEXT, FORGED = 672, 64
"""Bytes that the second stage writes below the stack pointer, and where in them RSI lies: it and
R8 to R14 follow each other, 64 bytes of the host's choice. See ``oe_context_t``."""

PIN = b"0000"


def strongbox(host: Platform) -> tuple[DeployedEnclave, bytes]:
    """Stage: an owner deploys a strongbox and makes a secret in it, with the PIN 2718."""
    victim = host.create_enclave("strongbox")
    return victim, victim.make_secret("2718")


def careless_strongbox(host: Platform) -> tuple[DeployedEnclave, bytes]:
    """Stage: the same, built with a runtime that handles exceptions at any moment."""
    victim = host.create_enclave(load_program("strongbox", host.tee.target, guarded=()))
    return victim, victim.make_secret("2718")


def forge(host: Platform, victim: DeployedEnclave, gva: int, content: bytes) -> None:
    """Have the runtime's second stage write 64 bytes to an address inside.

    EENTER leaves the host's registers in place, the stack pointer too. The page that the first
    instructions inside touch is missing, so they fault; the host says that it cannot handle that.
    """
    adversary, guest = host.adversary, victim.guest
    entry = adversary.unmap(guest, guest.base + victim.program.threads[0].gs)

    def on_fault(address: int) -> bool:
        adversary.restore(guest, entry)
        return False

    words = [int.from_bytes(content[at : at + 8], "little") for at in range(0, 64, 8)]
    names = ("rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14")
    registers = dict(zip(names, words, strict=True)) | {"rsp": gva - FORGED + CONTEXT}
    with adversary.faulting(guest, on_fault):
        guest.enter(0, len(victim.interface.trusted), words[0], registers)


@attack(
    row=21,
    title="Re-entry by an exception",
    reference="Cui et al. 2021 (SmashEx)",
    stage=strongbox,
    proves=("RUNTIME.REENTRY",),
    only=SGX,
    variants=(Variant("guarded runtime"), Variant("careless runtime", stage=careless_strongbox)),
)
def exception_reentry(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Overwrite the PIN of a strongbox with one that the attacker knows, and open it.

    Simplified: the published attacks overwrite what a pending ocall has saved and so take over
        control; this one overwrites data, by the same write.

    Args:
        host: the platform; its host is the adversary.
        victim: a strongbox with a secret in it.
        digest: SHA-256 of the secret, 32 bytes.
    """
    try:
        forge(host, victim, victim.address("strongbox_pin"), PIN.ljust(64, b"\0"))
    except EnclaveLost as lost:
        if not isinstance(lost.fault, PageFault):
            raise
        return stopped(host, "the runtime does not handle this exception", "RUNTIME.REENTRY")
    answer = victim.release(PIN.decode())
    if sha256(answer.secret).digest() == digest:
        detail = f"an exception wrote the PIN {PIN.decode()}; it opens the strongbox"
        return Outcome("succeeds", detail, leaked=answer.secret)
    return stopped(host, "the PIN is what it was", "")
