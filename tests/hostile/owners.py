"""Owners of enclaves, and what they may expect: the programs again, in a few lines of Python."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from tee_sim.abi.sgx import TCS
from tee_sim.errors import EcallFailed, TeeSimError
from tee_sim.hypervisor.sgx import SGXGuest
from tee_sim.platform import DeployedEnclave
from tee_sim.units import PAGE

RETURNS = b"\xc3" * PAGE

LOST = object()
"""The call ended in an error that was raised on purpose."""


@dataclass(eq=False)
class Owner:
    """One production enclave and whoever owns it.

    Attributes:
        enclave: its handle.
        exposed: the secret was given out, or may have been: by its owner's leave, or because the
            platform does not promise otherwise.
        secret: what must not be seen, or None before there is one.
    """

    enclave: DeployedEnclave
    exposed: bool = False
    secret: bytes | None = None
    pages: dict[int, int] = field(default_factory=dict)

    @property
    def guest(self) -> SGXGuest:
        assert isinstance(self.enclave.guest, SGXGuest)
        return self.enclave.guest

    @property
    def lost(self) -> bool:
        return bool(self.guest.lost or self.enclave.lost)

    def call(self, name, *args):
        """An ecall's result, or `LOST` if it ended in a typed error."""
        try:
            return getattr(self.enclave, name)(*args)
        except EcallFailed as error:
            return error.result
        except TeeSimError:
            return LOST

    def words(self) -> list[bytes]:
        """The secret in aligned pieces of 8 bytes."""
        secret = self.secret or b""
        return [secret[at : at + 8] for at in range(0, len(secret), 8)]


@dataclass(eq=False)
class VaultOwner(Owner):
    """Someone with a vault, and the vault's state as it must be."""

    pin: str = ""
    tries: int = 0

    def act(self, rng: Random) -> tuple[str, tuple, object]:
        """The next call: its name, its arguments, and the answer that is right."""
        kind = rng.choice(["right", "wrong", "tries", "tries", "ping", "make"])
        if self.secret is None or kind == "make":
            pin = f"{rng.getrandbits(40):012d}"
            return "make_secret", (pin,), None
        if kind == "tries":
            return "tries_left", (), self.tries
        if kind == "ping":
            return "ping", (), None
        pin = self.pin if kind == "right" else f"x{rng.getrandbits(40)}"
        if self.tries <= 0:
            return "release", (pin,), (-1, bytes(32))
        return "release", (pin,), (1, self.secret) if kind == "right" else (0, bytes(32))

    def completed(self, name: str, args: tuple, answer: object) -> None:
        """The call came to its end: what it has changed."""
        if name == "make_secret":
            self.pin, self.tries = args[0], 3
        elif name == "release" and self.tries > 0:
            self.tries = 3 if answer[0] == 1 else self.tries - 1


@dataclass(eq=False)
class CarelessOwner(Owner):
    """Someone with a program that has every bug, who never lets it touch its own secret."""

    index: int | None = None

    def act(
        self, rng: Random, outside: Sequence[int] = (), forbidden: Sequence[int] = ()
    ) -> tuple[str, tuple, object]:
        """As for a vault. ``outside`` are addresses of the host, ``forbidden`` inside."""
        kind = rng.choice("make make peek peek poke jump put cpuid look which count".split())
        if self.secret is None or kind == "make":
            return "make_secret", (), None
        address = rng.choice([*outside, *forbidden])
        right = LOST if kind == "jump" or address in forbidden else ...
        if kind in ("peek", "jump"):
            return kind, (address,), right
        if kind == "poke":
            return kind, (address, rng.getrandbits(64)), right
        if kind == "put":
            return kind, (rng.choice([rng.randbytes(PAGE), RETURNS, self.forged_tcs()]),), None
        if kind == "cpuid":
            return kind, (rng.choice([0, 1, 7, 0x12]),), LOST
        if kind == "which":
            return kind, (), ... if self.index is None else self.index
        if kind == "count":
            rounds = rng.randrange(2000)
            return kind, (rounds,), rounds
        return "look_up", (), None

    def forged_tcs(self) -> bytes:
        """A page that would make a fine thread control structure, if it were one."""
        thread, symbols = self.enclave.program.threads[0], self.enclave.program.symbols
        fields = {"ossa": thread.ssa, "nssa": 2, "ofsbase": thread.gs, "ogsbase": thread.gs}
        return TCS(oentry=symbols["careless_debug"], **fields).pack()

    def completed(self, name: str, args: tuple, answer: object) -> None:
        if name == "which":
            self.index = answer
        elif name == "make_secret":
            self.index = None


def digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
