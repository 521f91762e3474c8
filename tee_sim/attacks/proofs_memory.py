"""Proofs of the memory checks: for each, what the host could do if the processor left it out.

They use `careless`, a program that does whatever its caller says, so that one check at a time
stands between the host and the secret.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

from tee_sim.abi.image import ImagePage
from tee_sim.abi.sgx import TCS, PageType, SecinfoFlags
from tee_sim.attacks import code
from tee_sim.attacks.outcome import Outcome, attack, careless, refused, stopped, vault
from tee_sim.attacks.registers_at_exit import fresh_vault
from tee_sim.errors import EnclaveLost, SGXError
from tee_sim.hypervisor.guest import ARENA_BASE, Guest
from tee_sim.hypervisor.honest import Launch
from tee_sim.hypervisor.sgx import SGXGuest
from tee_sim.machine.paging import DIRTY
from tee_sim.platform import signature
from tee_sim.sdk.host import Enclave
from tee_sim.sdk.image import load_program
from tee_sim.units import PAGE

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform

SGX = ("sgx-mee", "sgx-tme")
LOOT = ARENA_BASE + 0x100000
"""A host page that the attacker's code copies the secret to."""
FORGED_TRIES = 99


def accomplice(host: Platform, victim: DeployedEnclave) -> tuple[Guest, int]:
    """An enclave of the host's own with a false try counter at the address of the victim's.

    Returns:
        The enclave, and the physical address of the page.
    """
    offset = victim.address("vault_tries") - victim.guest.base & -PAGE
    false = FORGED_TRIES.to_bytes(4, "little").ljust(PAGE, b"\0")
    pages = tuple(
        replace(page, content=false) if page.offset == offset else page
        for page in victim.program.image.pages
    )
    program = replace(victim.program, image=replace(victim.program.image, pages=pages))
    launch = Launch("accomplice", program.image, host.sign_as_host(program))
    guest = host.host.launch(launch)
    return guest, host.adversary.hpa(guest, victim.address("vault_tries"))


def _believes(host: Platform, victim: DeployedEnclave) -> Outcome:
    """Whether the victim now counts from the attacker's page."""
    try:
        tries = victim.tries_left()
    except EnclaveLost as lost:
        return refused(lost)
    if tries == FORGED_TRIES:
        return Outcome("succeeds", f"the vault reads the host's page: {tries} tries")
    return stopped(host, f"the vault still reads its own page: {tries} tries")


@attack(
    title="Map a page of another enclave",
    reference="SDM, EPCM Access Control",
    stage=vault,
    proves=("EPCM.ENCLAVESECS",),
    only=SGX,
)
def foreign_page(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Point the address of the vault's counter at a page of the host's own enclave."""
    _guest, page = accomplice(host, victim)
    host.adversary.remap(victim.guest, victim.address("vault_tries"), page)
    return _believes(host, victim)


@attack(
    title="Map a page that was taken back",
    reference="SDM, EPCM Access Control",
    stage=vault,
    proves=("EPCM.VALID",),
    only=SGX,
)
def removed_page(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """As `foreign_page`, but EREMOVE the page from its enclave first: its bytes stay."""
    _guest, page = accomplice(host, victim)
    assert host.adversary.sgx is not None, "an SGX attack"
    host.adversary.sgx.eremove(page & -PAGE)
    host.adversary.remap(victim.guest, victim.address("vault_tries"), page)
    return _believes(host, victim)


@attack(
    title="Map ordinary memory into the enclave's range",
    reference="SDM, Memory Access Requests by Enclave Software",
    stage=vault,
    proves=("ELRANGE.EPC",),
    only=SGX,
)
def ordinary_page(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Point the address of the vault's counter at a page of host memory."""
    page = host.host.frames.take()
    host.adversary.write(page, FORGED_TRIES.to_bytes(4, "little").ljust(PAGE, b"\0"))
    host.adversary.remap(victim.guest, victim.address("vault_tries"), page)
    return _believes(host, victim)


@attack(
    title="Rewrite the enclave's own code",
    reference="SDM, EPCM Access Control",
    stage=careless,
    proves=("EPCM.W",),
    only=SGX,
)
def write_code(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Make a read-only page writable in the page tables and use a bug inside to write to it."""
    place = victim.address("careless_limit")
    host.adversary.remap(victim.guest, place, host.adversary.hpa(victim.guest, place))
    try:
        victim.poke(place, FORGED_TRIES)
    except EnclaveLost as lost:
        return refused(lost)
    limit = victim.peek(place)
    return Outcome("succeeds", f"a constant of the program now reads {limit}")


@attack(
    title="Execute data inside the enclave",
    reference="SDM, EPCM Access Control",
    stage=careless,
    proves=("EPCM.X",),
    only=SGX,
)
def execute_data(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Hand the program code as data, make that page executable in the page tables, and jump."""
    shellcode = code.copy(victim.address("careless_secret"), LOOT, 32, code.RET)
    victim.put(shellcode.ljust(PAGE, b"\xcc"))
    place = victim.address("careless_page")
    host.adversary.remap(victim.guest, place, host.adversary.hpa(victim.guest, place))
    return _jump(victim, place, digest)


@attack(
    title="Run host code with the enclave's rights",
    reference="SDM, Memory Access Requests by Enclave Software",
    stage=careless,
    proves=("ELRANGE.FETCH",),
    only=SGX,
)
def jump_outside(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Have a bug inside jump to code in host memory."""
    shellcode = code.copy(victim.address("careless_secret"), LOOT, 32, code.RET)
    return _jump(victim, host.adversary.place_code(victim.guest, shellcode), digest)


def _jump(victim: DeployedEnclave, place: int, digest: bytes) -> Outcome:
    victim.guest.write(LOOT, bytes(32))
    try:
        victim.jump(place)
    except EnclaveLost as lost:
        return refused(lost)
    return judge(victim.guest.read(LOOT, 32), digest)


def judge(found: bytes, digest: bytes) -> Outcome:
    """Whether the host has found the secret."""
    if sha256(found).digest() == digest:
        return Outcome("succeeds", "the host holds the secret", leaked=found)
    return Outcome("blocked", f"the host holds {found[:4].hex(' ')} ..., not the secret")


def _execute_only(host: Platform) -> tuple[DeployedEnclave, int, bytes]:
    """Stage: a program with one more page, which its author made execute-only."""
    program = load_program("careless", host.tee.target)
    image, hidden = program.image, sha256(b"a trade secret").digest()
    offset = max(page.offset for page in image.pages) + PAGE
    page = ImagePage(offset, PageType.REG, False, False, True, hidden.ljust(PAGE, b"\xcc"))
    image = replace(image, pages=(*image.pages, page))
    victim = host.create_enclave(replace(program, image=image))
    return victim, victim.guest.base + offset, sha256(hidden).digest()


@attack(
    title="Read an execute-only page",
    reference="SDM, EPCM Access Control",
    stage=_execute_only,
    proves=("EPCM.R",),
    only=SGX,
)
def read_code(host: Platform, victim: DeployedEnclave, place: int, digest: bytes) -> Outcome:
    """Use a bug inside to read a page of code that not even the program may read."""
    try:
        words = [victim.peek(place + at) for at in range(0, 32, 8)]
    except EnclaveLost as lost:
        return refused(lost)
    return judge(b"".join(word.to_bytes(8, "little") for word in words), digest)


@attack(
    title="Move the entry point from inside",
    reference="SDM, EPCM Access Control",
    stage=careless,
    proves=("EPCM.PT",),
    only=SGX,
)
def rewrite_tcs(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Use a bug inside to make the second thread start in a function that nobody may call."""
    tcs = victim.guest.base + victim.program.threads[1].tcs
    host.adversary.remap(victim.guest, tcs, host.adversary.hpa(victim.guest, tcs))
    try:
        victim.poke(tcs + TCS.FIELDS["oentry"].offset, victim.program.symbols["careless_debug"])
    except EnclaveLost as lost:
        return refused(lost)
    return leave_with_secret(host, victim, digest, thread=1)


def leave_with_secret(
    host: Platform, victim: DeployedEnclave, digest: bytes, thread: int
) -> Outcome:
    """Enter a thread that starts in `careless_debug`: it leaves with the secret in registers."""
    rdi, rsi, rdx = victim.guest.enter(thread, 0, 0)
    registers = host.adversary.registers(host.machine.processor(0))
    words = (rdi, rsi, rdx, registers["r8"])
    return judge(b"".join(word.to_bytes(8, "little") for word in words), digest)


@attack(
    title="Use a translation made inside",
    reference="SDM, Enclave Entry and Exit",
    stage=careless,
    proves=("ENCLAVE.TLB_FLUSH",),
    only=SGX,
)
def stale_translation(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Right after the program has left, run host code that reads the address of its secret."""
    place = victim.address("careless_secret")
    victim.guest.write(LOOT, bytes(32))
    victim.peek(place)
    host.adversary.execute(victim.guest, code.copy(place, LOOT, 32, code.SYSCALL))
    found = victim.guest.read(LOOT, 32)
    if sha256(found).digest() == digest:
        return Outcome("succeeds", "the host used the enclave's translation", leaked=found)
    # The new translation led to the abort page; that there had to be a new one is the flush.
    return stopped(host, f"the host read {found[:4].hex(' ')} ...", "ENCLAVE.TLB_FLUSH")


@attack(
    title="Learn which byte of a page is used",
    reference="Xu, Cui, Peinado 2015",
    stage=careless,
    proves=("AEX.CR2",),
)
def fault_offset(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Unmap a table that is indexed by a secret and read the index from the faulting address."""
    table, addresses = victim.address("careless_table"), []
    entry = host.adversary.unmap(victim.guest, table)

    def on_fault(address: int) -> bool:
        addresses.append(address)
        host.adversary.restore(victim.guest, entry)
        return True

    with host.adversary.faulting(victim.guest, on_fault):
        victim.look_up()
    if addresses and addresses[0] - table == victim.which() != 0:
        return Outcome("succeeds", f"the secret index is {addresses[0] - table}")
    return stopped(host, "the fault names the page and no more", "AEX.CR2")


@attack(
    title="Answer CPUID with a lie",
    reference="SDM, Illegal Instructions",
    stage=careless,
    proves=("ENCLAVE.ILLEGAL_INSTRUCTION",),
)
def lie_about_cpuid(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Intercept CPUID and tell the program inside whatever suits the host."""
    lie = 0x1BAD
    host.machine.processor(0).cpuid_intercept = lambda leaf, subleaf: (lie, 0, 0, 0)
    try:
        answer = victim.cpuid(7)
    except EnclaveLost as lost:
        return refused(lost)
    if answer == lie:
        return Outcome("succeeds", f"the program believes that CPUID said {lie:#x}")
    return stopped(host, f"the program got {answer:#x}")


@attack(
    title="Reuse a page while a thread runs",
    reference="SDM, EREMOVE",
    stage=fresh_vault,
    proves=("EREMOVE.ACTIVE",),
    only=SGX,
)
def reuse_active_page(host: Platform, victim: DeployedEnclave) -> Outcome:
    """While the vault writes its secret, give the page to an enclave of the host's own.

    The vault's processor still holds the translation and goes on writing, into a page that the
    other enclave can read.
    """
    assert host.adversary.sgx is not None, "an SGX attack"
    return steal_page(host, victim, host.adversary.sgx.eremove)


def steal_page(host: Platform, victim: DeployedEnclave, take: Callable[[int], object]) -> Outcome:
    """Have ``take`` free the page of the secret when the vault has begun to write to it.

    A program of the host's own gets the page, and in the end what was written to it since.
    """
    adversary, guest = host.adversary, victim.guest
    gva, page = victim.address("vault_secret"), victim.physical("vault_secret")
    spy = Spy(host) if adversary.sgx else None
    refusal: list[SGXError] = []
    taken = False
    guest.space.set_entry(gva, guest.space.entry(gva) & ~DIRTY)

    def steal() -> None:
        nonlocal taken
        if taken or refusal or not guest.space.entry(gva) & DIRTY:
            return
        try:
            take(page)
        except SGXError as error:
            refusal.append(error)
        else:
            taken = True
            if spy is not None:
                spy.adopt(page)

    try:
        with adversary.meanwhile(guest, 1, steal):
            digest = victim.make_secret("2718")
    except EnclaveLost as lost:
        return refused(lost)
    if refusal:
        return refused(refusal[0])
    return judge(spy.read() if spy is not None else adversary.read(page, 32), digest)


class Spy:
    """An enclave of the host's own that takes over a page and then reads it."""

    def __init__(self, host: Platform) -> None:
        self.host = host
        self.program = load_program("careless", host.tee.target)
        self.guest = host.host.launch(Launch("spy", self.program.image, None))
        self.place = self.guest.base + max(p.offset for p in self.program.image.pages) + PAGE

    def adopt(self, page: int) -> None:
        """EADD the page, empty, before the spy is finished."""
        assert self.host.adversary.sgx is not None, "an SGX attack"
        flags = SecinfoFlags(r=True, w=True, page_type=PageType.REG)
        secs = self.guest.secs_hpa  # type: ignore[attr-defined]
        self.host.adversary.sgx.eadd(page, secs, self.place, flags, bytes(PAGE))
        self.guest.space.map(self.place, page)

    def read(self) -> bytes:
        """Finish the spy, signed by the host, and have it read the page."""
        assert self.host.adversary.sgx is not None, "an SGX attack"
        guest: SGXGuest = self.guest  # type: ignore[assignment]
        sigstruct = signature(guest.mrenclave, attacker=True)
        self.host.adversary.sgx.einit(guest.secs_hpa, sigstruct)
        spy = Enclave(self.program.interface, guest, name="spy")
        words = [spy.peek(self.place + at) for at in range(0, 32, 8)]
        return b"".join(word.to_bytes(8, "little") for word in words)
