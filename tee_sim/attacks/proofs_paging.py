"""Proofs of what protects a page outside the EPC: replay, swap, adopt, edit, read.

The host evicts pages by the book here; what it does with them on its disk is not in the book.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

from tee_sim.abi.sgx import SECS, VA_SLOT, EvictedPage
from tee_sim.attacks.outcome import Outcome, refused, stopped, vault
from tee_sim.attacks.proofs_memory import judge, proof
from tee_sim.attacks.spy import Spy
from tee_sim.errors import EnclaveLost, TeeSimError
from tee_sim.hypervisor.sgx import SGXGuest

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform

TRIES = 3


class Pager:
    """The victim's pages, one by one out of the EPC and back.

    Args:
        host: whose host is the adversary.
        victim: not running.
    """

    def __init__(self, host: Platform, victim: DeployedEnclave) -> None:
        assert host.adversary.sgx is not None, "an SGX attack"
        assert isinstance(victim.guest, SGXGuest), "an SGX attack"
        self.host, self.victim = host, victim
        self.sgx, self.guest = host.adversary.sgx, victim.guest
        self.versions = self.sgx.epc.take()
        self.sgx.epa(self.versions)

    def out(self, page: int, slot: int) -> EvictedPage:
        """Evict the page at ``page``; its version goes to ``slot``."""
        self.sgx.eblock(page)
        self.sgx.etrack(self.guest.secs_hpa)
        return self.sgx.ewb(page, slot)

    def back(self, page: int, slot: int, evicted: EvictedPage) -> None:
        """Load ``evicted`` into the free page ``page``."""
        self.sgx.eldu(page, self.guest.secs_hpa, slot, evicted)

    def lock(self) -> None:
        """Use up the vault's tries."""
        while self.victim.release("0000").result == 0:
            pass

    def rewound(self) -> Outcome:
        """Whether the vault has its tries back."""
        try:
            tries = self.victim.tries_left()
        except EnclaveLost as lost:
            return refused(lost)
        if tries == TRIES:
            return Outcome("succeeds", "the vault forgot the wrong PINs: its page was rewound")
        return stopped(self.host, "the old page reads as garbage: another version", "EWB.VERSION")


@proof("Replay an evicted page", "SDM, Version Array", vault, "EWB.VERSION")
def replay_evicted(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Keep an evicted page, use up all tries, evict the page again, and load the old one."""
    pager, page = Pager(host, victim), victim.physical("vault_tries")
    old = pager.out(page, pager.versions)
    pager.back(page, pager.versions, old)
    pager.lock()
    pager.out(page, pager.versions)
    try:
        pager.back(page, pager.versions, old)
    except TeeSimError as error:
        return refused(error)
    return pager.rewound()


@proof("Keep versions in a page of one's own", "SDM, Version Array", vault, "VA.PT")
def own_versions(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Replay as above, with a slot in the data of an enclave that does as the host says."""
    own = host.create_enclave("careless")
    slot, place = own.physical("careless_page"), own.address("careless_page")
    pager, page = Pager(host, victim), victim.physical("vault_tries")
    try:
        old = pager.out(page, slot)
        version = own.peek(place)
        pager.back(page, slot, old)
        pager.lock()
        pager.out(page, slot)
        own.poke(place, version)
        pager.back(page, slot, old)
    except TeeSimError as error:
        return refused(error)
    return pager.rewound()


@proof("Swap two evicted pages", "SDM, EWB: MAC header", vault, "ELD.MAC")
def swap_evicted(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Lock the vault, then load its secret at the address of its try counter."""
    pager = Pager(host, victim)
    tries, secret = victim.physical("vault_tries"), victim.physical("vault_secret")
    pager.lock()
    first = pager.out(tries, pager.versions)
    second = pager.out(secret, pager.versions + VA_SLOT)
    try:
        pager.back(tries, pager.versions + VA_SLOT, replace(second, linaddr=first.linaddr))
    except TeeSimError as error:
        return refused(error)
    if read := victim.tries_left():
        return Outcome("succeeds", f"the counter reads {read & 0xFFFFFFFF:#x}: part of the secret")
    return stopped(host, "the vault is still locked")


@proof("Load a victim's page into another enclave", "SDM, EWB: MAC header", vault, "ELD.MAC")
def adopt_evicted(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Evict the page of the secret, and load it into an enclave of the host's own."""
    pager, spy, page = Pager(host, victim), Spy(host), victim.physical("vault_secret")
    evicted = replace(pager.out(page, pager.versions), linaddr=spy.place)
    try:
        pager.sgx.eldu(page, spy.guest.secs_hpa, pager.versions, evicted)
    except TeeSimError as error:
        return refused(error)
    spy.guest.space.map(spy.place, page)
    spy.finish()
    return judge(spy.read(), digest)


@proof("Turn on DEBUG in an evicted root page", "SDM, EWB", vault, "ELD.MAC")
def edit_evicted(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Flip one bit of ciphertext, so that the vault comes back as a debug enclave.

    AES-GCM encrypts in counter mode: a flipped bit is a flipped bit of the plaintext.
    """
    pager, secret = Pager(host, victim), victim.physical("vault_secret")
    sgx, secs, slot = pager.sgx, pager.guest.secs_hpa, pager.versions
    others = [page for page in pager.guest.pages.values() if page != secret]
    for number, page in enumerate(others, 2):
        pager.out(page, slot + VA_SLOT * number)
    evicted = pager.out(secret, slot + VA_SLOT)
    root = sgx.ewb(secs, slot)
    edited = bytearray(root.srcpge)
    edited[SECS.FIELDS["attributes"].offset] ^= 1 << 1
    try:
        sgx.eldu(secs, 0, slot, replace(root, srcpge=bytes(edited)))
        pager.back(secret, slot + VA_SLOT, evicted)
        words = [sgx.edbgrd(secret + at) for at in range(0, 32, 8)]
    except TeeSimError as error:
        return refused(error)
    return judge(b"".join(word.to_bytes(8, "little") for word in words), digest)


@proof("Read an evicted page", "SDM, EWB", vault, "EWB.ENCRYPTION")
def read_evicted(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Evict the page of the secret and look at what EWB wrote."""
    pager, page = Pager(host, victim), victim.physical("vault_secret")
    found = pager.out(page, pager.versions).srcpge[:32]
    if sha256(found).digest() == digest:
        return Outcome("succeeds", "the host holds the secret", leaked=found)
    return Outcome("ciphertext", f"the host holds {found[:4].hex(' ')} ...", "EWB.ENCRYPTION")
