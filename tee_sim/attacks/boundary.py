"""Row 22: what the host passes is not what the program takes it for.

The victim is a customs office with two counters. At one the generated code checks what crosses the
border; at the other the program has to (user_check), and makes one mistake at each window. Every
script gets the platform, whose host is the adversary; the office; the SHA-256 of its secret, which
judges; and what the names of the ecalls end with at the counter that is attacked.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from struct import pack
from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Attack, Outcome, Variant, attack, stopped
from tee_sim.sdk.host import EXIT_OCALL, OCALL_RETURN
from tee_sim.sdk.results import OE_OK

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform

Scene = tuple["DeployedEnclave", bytes, str]

SECRET, SIZE, WORD = "customs_secret", 32, 8
LOOT = 0x8000
"""Where in the arena the host wants the loot, behind the arguments of its calls."""
BLOCK_HEADER = 16
"""Bytes before the first block of the program's heap."""


def counter(suffix: str, host: Platform) -> Scene:
    """Stage: a customs office with a secret, and the counter that is attacked."""
    victim = host.create_enclave("customs")
    return victim, victim.make_secret(), suffix


def boundary(title: str, reference: str, check: str) -> Callable[[Callable[..., Outcome]], Attack]:
    """An attack at both counters, which the named guard stops at the first."""
    return attack(
        row=22,
        title=title,
        reference=reference,
        stage=partial(counter, ""),
        proves=(check,),
        variants=(
            Variant("checked by the EDL"),
            Variant("user_check", stage=partial(counter, "_unchecked")),
        ),
    )


@boundary("Address inside as a buffer", "Van Bulck et al. 2019", "RUNTIME.OUTSIDE")
def inside_pointer(host: Platform, victim: DeployedEnclave, digest: bytes, suffix: str) -> Outcome:
    """Have the office carry goods from the address of its own secret to the host."""
    loot = victim.guest.arena[0] + LOOT
    _call(victim, f"carry{suffix}", victim.address(SECRET), loot, SIZE)
    return _judge(host, victim, digest, victim.guest.read(loot, SIZE), "RUNTIME.OUTSIDE")


@boundary("Argument changed after the check", "Van Bulck et al. 2019: TOCTOU", "RUNTIME.COPY")
def double_fetch(host: Platform, victim: DeployedEnclave, digest: bytes, suffix: str) -> Outcome:
    """Ask for shelf 0, and write another number there while the office is on its way."""
    shelf = victim.guest.arena[0] + LOOT
    distance = victim.address(SECRET) - victim.address("customs_shelves")
    found = b""
    for at in range(0, SIZE, WORD):
        wanted = pack("<Q", (distance + at) // WORD % 2**61)
        victim.guest.write(shelf, bytes(2 * WORD))
        change = partial(victim.guest.write, shelf, wanted)
        _call(victim, f"fetch{suffix}", shelf, shelf + WORD, meanwhile=change)
        found += victim.guest.read(shelf + WORD, WORD)
    return _judge(host, victim, digest, found, "RUNTIME.COPY")


@boundary("Size that wraps around", "CWE-190; Van Bulck et al. 2019", "RUNTIME.OVERFLOW")
def size_overflow(host: Platform, victim: DeployedEnclave, digest: bytes, suffix: str) -> Outcome:
    """Pass a list of so many numbers that its size in bytes wraps around to that of one.

    The program looks whether an entry is in the list. Every entry is, and so every address.
    """
    outside = victim.guest.arena[0] + LOOT
    copied = victim.guest.base + victim.program.heap[0] + BLOCK_HEADER
    distance = victim.address(SECRET) - (outside if suffix else copied)
    found = b""
    for at in range(0, SIZE, WORD):
        entry = (distance + at) // WORD % 2**61
        _call(victim, f"entry{suffix}", outside, 2**61 + 1, entry)
        found += victim.guest.read(victim.guest.arena[0], WORD)
    return _judge(host, victim, digest, found, "RUNTIME.OVERFLOW")


@boundary("Stack in a structure's gaps", "Lee, Kim 2017 (structure padding)", "RUNTIME.CLEAR")
def stack_leak(host: Platform, victim: DeployedEnclave, digest: bytes, suffix: str) -> Outcome:
    """Have forms filled in, and read what lies between their members."""
    form, found = victim.guest.arena[0] + LOOT, b""
    for number in range(SIZE // 4):
        _call(victim, f"fill_in{suffix}", number, form)
        found += victim.guest.read(form + 4, 4)
    return _judge(host, victim, digest, found, "RUNTIME.CLEAR")


def _call(
    victim: DeployedEnclave, ecall: str, *slots: int, meanwhile: Callable[[], None] | None = None
) -> None:
    """Make an ecall with a marshalling struct of the host's own making, and serve its ocall."""
    index = next(f.index for f in victim.interface.trusted if f.name == ecall)
    arena = victim.guest.arena[0]
    victim.guest.write(arena, pack(f"<{len(slots) + 1}Q", 0, *slots))
    reason, _, _ = victim.guest.enter(0, index, arena)
    if reason == EXIT_OCALL and meanwhile is not None:
        meanwhile()
        victim.guest.enter(0, OCALL_RETURN, OE_OK)


def _judge(
    host: Platform, victim: DeployedEnclave, digest: bytes, found: bytes, check: str
) -> Outcome:
    """Whether it is the secret; if not, a host without a TEE in its way reads it in memory."""
    how, guard = "the office itself handed its secret out", host.checks.known.get(check)
    if guard is None and sha256(found).digest() != digest:
        found, how = host.adversary.read(victim.physical(SECRET), SIZE), "read in memory"
    if sha256(found).digest() == digest:
        return Outcome("succeeds", how, leaked=found)
    on = guard is not None and host.checks.on(guard)
    return stopped(host, "the office kept its secret", check if on else None)
