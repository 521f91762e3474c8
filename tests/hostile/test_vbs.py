"""A VTL0 kernel that tries everything at random against VBS enclaves, and what always holds.

The judge looks into memory, where a secret lies in plaintext, and asserts that VTL0 was never shown
a word of it, that a vault's answers are those of the model, and that with one check off that is
soon no longer so.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from tee_sim import Platform
from tee_sim.attacks import code
from tee_sim.errors import TeeSimError
from tee_sim.hypervisor.guest import ARENA_BASE
from tee_sim.hypervisor.honest import Launch
from tee_sim.hypervisor.vbs import VBSGuest
from tee_sim.sdk.image import load_program
from tee_sim.units import MIB, PAGE

SEQUENCES, LENGTH = 30, 40
LOOT = ARENA_BASE + 0x100000
VAULT, SPY = load_program("vault", "vbs"), load_program("careless", "vbs")
SECRET = VAULT.symbols["vault_secret"]


class World:
    """One server with a vault on it, an enclave of the host's own, and the words to keep."""

    def __init__(self, rng: Random, without: frozenset[str] = frozenset()) -> None:
        self.rng, self.host = rng, Platform("vbs", memory=20 * MIB, without=without)
        self.bad, self.vbs = self.host.adversary, self.host.adversary.vbs
        self.hidden: set[bytes] = set()
        self.launch()
        self.spy: Any = self.host.create_enclave(SPY)

    def launch(self) -> None:
        self.vault: Any = self.host.create_enclave("vault")  # with those guards that are on
        self.vault.make_secret("2718")
        self.tries, self.home = 3, self.vault.physical("vault_secret")
        self.counter = self.vault.physical("vault_tries")
        self.hidden |= set(struct.unpack("8s" * 4, self.peek(self.home, 32)))

    def peek(self, hpa: int, size: int) -> bytes:
        """Memory, for the judge alone."""
        return bytes(self.host.machine.dram.read(hpa, size))

    def see(self, data: bytes) -> None:
        """Something that VTL0 was shown."""
        assert not [word for word in self.hidden if word in data], "VTL0 has seen a secret"

    def page(self) -> int:
        own = list(self.vault.guest.enclave.pages.values()) or [self.home & -PAGE]
        return self.rng.choice([self.home & -PAGE, *own, self.rng.randrange(0, 20 * MIB, PAGE)])

    def step(self) -> None:
        name = self.rng.choice([n for n in dir(self) if n.startswith("do_")])
        with suppress(TeeSimError):
            getattr(self, name)()
        self.ask()

    def ask(self) -> None:
        """What the vault says must be right, or it must be lost."""
        with suppress(TeeSimError):
            assert self.vault.tries_left() == self.tries, "the vault says something else"
        if self.vault.lost:
            self.vault.close()
            self.launch()

    def do_read(self) -> None:
        self.see(self.bad.read(self.page(), PAGE))

    def do_write(self) -> None:
        page = self.page()
        if page in self.vault.guest.enclave.pages.values():
            self.bad.write(page, self.rng.randbytes(PAGE))

    def do_hypercall(self) -> None:
        page = self.page()
        self.vbs.modify_vtl_protection_mask([page], 7)
        assert page not in self.vault.guest.enclave.pages.values(), "VTL0 changed VTL1's rights"

    def do_remap(self) -> None:
        offset = self.rng.choice(VAULT.image.pages).offset
        self.bad.remap(self.vault.guest, self.vault.guest.base + offset, self.page())

    def do_debug(self) -> None:
        self.see(self.vbs.debug(self.vault.guest.enclave, self.vault.address("vault_secret"), 32))

    def do_lend(self) -> None:
        """An enclave of the host's own reads what the host maps for it."""
        self.spy.guest.space.map(LOOT, self.page())
        at = LOOT + self.rng.choice([SECRET % PAGE, 0])
        self.see(struct.pack("<4Q", *(self.spy.peek(at + 8 * n) for n in range(4))))

    def do_share(self) -> None:
        """The vault's pages are given to another enclave, too."""
        pages = [self.host.host.frames.take() for _ in SPY.image.pages]
        pages[self.rng.randrange(len(pages))] = self.home & -PAGE
        signed = self.host.sign_as_host(SPY)
        guest = VBSGuest(self.host.host, self.vbs, Launch("spy", SPY.image, signed), pages)
        raise AssertionError(f"{guest} was given a page of the vault")

    def do_delete(self) -> None:
        guest = self.vault.guest
        self.vbs.terminate_enclave(guest.enclave)
        for page in self.vbs.delete_enclave(guest.enclave):
            self.see(self.bad.read(page, PAGE))
            guest._borrowed.append(page)
        self.vault.close()
        self.launch()

    def do_execute(self) -> None:
        """Host code copies from the vault's addresses."""
        guest = self.vault.guest
        at = self.vault.address("vault_secret")
        try:
            self.bad.execute(guest, code.copy(at, LOOT, 32, code.SYSCALL), processor=1)
        finally:
            self.see(guest.read(LOOT, 32))

    def do_interrupt(self) -> None:
        """Somebody looks at the processor at each interruption, and meddles."""
        depth: list[int] = []
        base, size = self.vault.guest.base, VAULT.image.size

        def handler(_victim: Any, lp: Any, _event: Any) -> bool:
            self.see(struct.pack("<20Q", *lp.registers()) + lp.fpu())
            assert lp.context is None, "VTL0 runs with the rights of VTL1"
            assert not [r for r in lp.registers() if 0 <= r - base < size], "VTL0 sees where it was"
            if not depth:
                depth.append(1)
                with suppress(TeeSimError):
                    self.rng.choice(
                        [self.do_read, self.do_debug, self.do_hypercall, self.do_lend]
                    )()
            return len(depth) < 2

        self.vault.guest.timer = self.rng.choice([1, 20, 300])
        try:
            with self.bad.watching(self.vault.guest, handler):
                if self.rng.random() < 0.5 and self.tries > 0:
                    assert self.vault.release("wrong").result == 0
                    self.tries -= 1
                else:
                    self.ask()
        finally:
            self.vault.guest.timer = None

    def do_wild_call(self) -> None:
        """An ecall with a struct of the host's making; nothing it names may open the vault."""
        if self.tries <= 0:
            self.vault.close()
            self.launch()
        inside = self.vault.address(self.rng.choice(["vault_pin", "vault_secret", "vault_tries"]))
        arena = self.vault.guest.arena[0]
        places, wild = [inside, arena + 64], self.rng.getrandbits(64)
        pin, secret = (self.rng.choice([*places, *places, wild]) for _ in range(2))
        length = self.rng.choice([5, 5, 0, 2**64 - 8])
        self.vault.guest.write(arena, struct.pack("<4Q", 0, pin, length, secret))
        self.vault.guest.enter(0, 1, self.rng.choice([arena, arena, inside]))
        self.see(self.vault.guest.read(arena, PAGE))
        (self.tries,) = struct.unpack("<i", self.peek(self.counter, 4))


def walk(seed: int, without: frozenset[str] = frozenset()) -> None:
    world = World(Random(seed), without)
    for _ in range(LENGTH):
        world.step()
    world.vault.close()
    world.spy.close()


@pytest.mark.parametrize("seed", range(12))
def test_no_sequence_of_vtl0_breaks_a_promise(seed: int) -> None:
    walk(seed)


@pytest.mark.parametrize(
    "checks",
    [
        "VTL.MEMORY",
        "VTL.PROTECTION_MASK",
        "SK.DEBUG_POLICY",
        "SK.PAGE_IN_USE",
        "SK.VTL0_PAGE",
        "SK.SCRUB",
        "SK.PAGE_TABLES",
        "VTL.INTERRUPTS SK.REGISTERS",
        "SK.UNSECURE_RANGE RUNTIME.OUTSIDE",
    ],
)
def test_missing_checks_are_noticed(checks: str) -> None:
    for seed in range(SEQUENCES):
        try:
            walk(seed, frozenset(checks.split()))
        except Exception:  # a broken promise, or the judge's own confusion about what he sees
            return
    pytest.fail("nobody noticed")
