"""Row 6: the kernel interrupts the program and reads its registers."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack, stopped

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform

STEPS = 4000
"""Interruptions after which the attacker has seen enough."""


def fresh_vault(host: Platform) -> tuple[DeployedEnclave]:
    """Stage: a vault that has not made its secret yet."""
    return (host.create_enclave("vault"),)


class WordCollector:
    """Gathers the values that appear in registers, and looks for four that make the secret.

    The secret is made of four 64-bit words that RDRAND leaves in a register one after the other.
    """

    def __init__(self) -> None:
        self.seen: dict[int, None] = {}

    def look(self, registers: dict[str, int]) -> None:
        """Note every value that could be random: a full 64-bit number, no address, no flags."""
        for name, value in registers.items():
            if value >> 48 not in (0, 0xFFFF) and name not in ("rip", "rsp", "rflags"):
                self.seen.setdefault(value)

    def secret(self, digest: bytes) -> bytes:
        """Four consecutive values whose SHA-256 is ``digest``; empty if there are none."""
        words = [value.to_bytes(8, "little") for value in self.seen]
        for start in range(len(words) - 3):
            candidate = b"".join(words[start : start + 4])
            if sha256(candidate).digest() == digest:
                return candidate
        return b""


@attack(
    row=6,
    title="Read registers at an exit",
    reference="Hetzelt and Buhren 2017; Werner et al. 2019",
    stage=fresh_vault,
    proves=("AEX.SYNTHETIC_STATE", "VTL.INTERRUPTS", "SK.REGISTERS"),
)
def registers_at_exit(host: Platform, victim: DeployedEnclave) -> Outcome:
    """Single-step the vault while it makes its secret; read all registers after each step.

    Args:
        host: the platform; its host is the adversary.
        victim: a vault that has not made its secret yet.
    """
    collector = WordCollector()
    with host.adversary.interrupting(victim.guest, 1, collector.look, at_most=STEPS):
        digest = victim.make_secret("2718")
    found = collector.secret(digest)
    if found:
        return Outcome("succeeds", "the secret stood in registers, word by word", leaked=found)
    return stopped(host, f"{len(collector.seen)} values seen in registers, none of the secret")
