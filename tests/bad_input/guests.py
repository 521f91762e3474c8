"""Guests of a few hand-placed pages, and a bystander who must not notice them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from tee_sim import Platform
from tee_sim.abi.image import PLAIN, Image, ImagePage
from tee_sim.abi.sgx import TCS, PageType, TCSFlags
from tee_sim.hypervisor.guest import Guest
from tee_sim.hypervisor.honest import Launch
from tee_sim.sdk.image import Program, load_program
from tee_sim.units import MIB, PAGE

CODE, STACK, TCS_AT, SSA = 0, PAGE, 2 * PAGE, 3 * PAGE
SIZE = 8 * PAGE
SMALL = {"memory": 20 * MIB, "epc": 2 * MIB, "budget": 50_000_000}
TEES = ("none", "vbs", "sgx-mee", "sgx-tme")

LEAVE = {
    "sgx": b"\xb8\4\0\0\0\x48\x89\xcb\x0f\x01\xd7",
    "none": b"\x0f\x05",
    "vbs": b"\x31\xc0\x0f\x05",
}
"""Leave to where the entry came from, with RDI, RSI and RDX as results."""


def assembled(code: bytes, target: str = "sgx", at: int = 0) -> Image:
    """An image that starts in ``code``, which stands ``at`` bytes into its page."""
    # lea rsp, [rip + (STACK + PAGE)]: the host's stack is not the guest's.
    start = b"\x48\x8d\x25" + (STACK + PAGE - 7 - at).to_bytes(4, "little", signed=True)
    content = (b"\xcc" * at + start + code + LEAVE[target]).ljust(PAGE, b"\xcc")[:PAGE]
    tcs = TCS(flags=TCSFlags(), ossa=SSA, nssa=2, oentry=at, ofsbase=STACK, ogsbase=STACK)
    pages = (
        ImagePage(CODE, PageType.REG, True, False, True, content),
        ImagePage(STACK, PageType.REG, True, True, False, bytes(PAGE)),
        ImagePage(TCS_AT, PageType.TCS, False, False, False, tcs.pack()),
        ImagePage(SSA, PageType.REG, True, True, False, bytes(PAGE)),
        ImagePage(SSA + PAGE, PageType.REG, True, True, False, bytes(PAGE)),
    )
    return Image(SIZE, 1, pages)


def launch(host: Platform, image: Image) -> Guest:
    """Load and sign an image without an interface."""
    return host.host.launch(Launch("guest", image, host.sign(image, PLAIN)))


@cache
def vault(target: str) -> Program:
    return load_program("vault", target)


def free(host: Platform) -> list[int]:
    """Free pages of ordinary memory and of the EPC."""
    sgx = host.host.sgx
    allocators = [host.host.frames] + ([sgx.epc] if sgx else [])
    for it in allocators:
        assert len(set(it._freed)) == len(it._freed), "a page was given back twice"
    return [(it._stop - it._next) // PAGE + len(it._freed) for it in allocators]


class Bystander:
    """A vault on the same platform, which keeps its state whatever happens beside it."""

    def __init__(self, host: Platform) -> None:
        self.host = host
        self.enclave = host.create_enclave(vault(host.tee.target))
        self.digest = self.enclave.make_secret("1234")
        self.secret = self.enclave.release("1234").secret
        assert self.enclave.release("no").result == 0

    def check(self) -> None:
        """It is as it was, and another one can still be made."""
        assert self.enclave.tries_left() == 2
        assert self.enclave.release("1234") == (1, self.secret)
        assert self.enclave.release("no").result == 0
        fresh = self.host.create_enclave(vault(self.host.tee.target))
        fresh.make_secret("5")
        assert fresh.tries_left() == 3
        fresh.close()


@contextmanager
def nothing_lost(host: Platform, bystander: Bystander, quick: bool = False) -> Iterator[None]:
    """Whatever is done in the block, the bystander is as before and all memory is given back."""
    before = free(host)
    yield
    if quick:
        assert bystander.enclave.tries_left() == 2
    else:
        bystander.check()
    assert free(host) == before, "memory was lost"
