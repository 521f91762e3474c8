"""Proofs of the memory checks: for each, what the host could do if the processor left it out.

They use `careless`, a program that does whatever its caller says, so that one check at a time
stands between the host and the secret.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from struct import pack
from typing import TYPE_CHECKING

from tee_sim.abi.image import ImagePage
from tee_sim.abi.sgx import TCS, PageType, SecinfoFlags
from tee_sim.attacks import code
from tee_sim.attacks.outcome import (
    Attack,
    Outcome,
    Stage,
    attack,
    careless,
    refused,
    stopped,
    vault,
)
from tee_sim.attacks.registers_at_exit import fresh_vault
from tee_sim.attacks.spy import Spy
from tee_sim.errors import CallError, EnclaveLost, Fault
from tee_sim.hypervisor.guest import ARENA_BASE
from tee_sim.hypervisor.honest import Launch
from tee_sim.hypervisor.sgx import SGXGuest
from tee_sim.machine.paging import DIRTY
from tee_sim.sdk.image import load_program
from tee_sim.units import PAGE

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform

SGX = ("sgx-mee", "sgx-tme")
LOOT = ARENA_BASE + 0x100000
"""A host page that the attacker's code copies the secret to."""
FORGED_TRIES = 99


def proof(
    title: str, reference: str, stage: Stage, *checks: str, only: tuple[str, ...] = SGX
) -> Callable[[Callable[..., Outcome]], Attack]:
    """Declare the function below as a proof of ``checks``, which is no row of the matrix."""
    return attack(title=title, reference=reference, stage=stage, proves=checks, only=only)


def accomplice(host: Platform, victim: DeployedEnclave) -> int:
    """Launch an enclave with a false try counter where the victim has its own; returns its HPA."""
    offset = victim.address("vault_tries") - victim.guest.base & -PAGE
    false = FORGED_TRIES.to_bytes(PAGE, "little")
    pages = tuple(
        replace(page, content=false) if page.offset == offset else page
        for page in victim.program.image.pages
    )
    program = replace(victim.program, image=replace(victim.program.image, pages=pages))
    guest = host.host.launch(Launch("accomplice", program.image, host.sign_as_host(program)))
    return host.adversary.hpa(guest, victim.address("vault_tries"))


def _believes(host: Platform, victim: DeployedEnclave, page: int) -> Outcome:
    """Map the attacker's page for the vault's counter: does the vault now count from there?"""
    host.adversary.remap(victim.guest, victim.address("vault_tries"), page)
    try:
        tries = victim.tries_left()
    except EnclaveLost as lost:
        return refused(lost)
    if tries == FORGED_TRIES:
        return Outcome("succeeds", f"the vault reads the host's page: {tries} tries")
    return stopped(host, f"the vault still reads its own page: {tries} tries")


@proof("Map a page of another enclave", "SDM, EPCM Access Control", vault, "EPCM.ENCLAVESECS")
def foreign_page(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Point the address of the vault's counter at a page of the host's own enclave."""
    return _believes(host, victim, accomplice(host, victim))


@proof("Map a page that was taken back", "SDM, EPCM Access Control", vault, "EPCM.VALID")
def removed_page(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """As `foreign_page`, but EREMOVE the page from its enclave first: its bytes stay."""
    page = accomplice(host, victim)
    assert host.adversary.sgx is not None, "an SGX attack"
    host.adversary.sgx.eremove(page & -PAGE)
    return _believes(host, victim, page)


@proof(
    "Map ordinary memory into the enclave's range",
    "SDM, Memory Access Requests by Enclave Software",
    vault,
    "ELRANGE.EPC",
)
def ordinary_page(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Point the address of the vault's counter at a page of host memory."""
    page = host.host.frames.take()
    host.adversary.write(page, FORGED_TRIES.to_bytes(PAGE, "little"))
    return _believes(host, victim, page)


@proof("Add a page over the victim's", "SDM, EADD", vault, "EPCM.IN_USE")
def overwrite_page(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Give the page of the vault's counter, in use as it is, to an enclave of the host's own."""
    sgx, place = host.adversary.sgx, victim.address("vault_tries")
    assert sgx is not None, "an SGX attack"
    page = host.adversary.hpa(victim.guest, place) & -PAGE
    own = host.host.launch(Launch("own", victim.program.image, None))
    assert isinstance(own, SGXGuest), "an SGX attack"
    flags = SecinfoFlags(r=True, w=True, page_type=PageType.REG)
    try:
        sgx.eadd(page, own.secs_hpa, place & -PAGE, flags, FORGED_TRIES.to_bytes(PAGE, "little"))
    except Fault as fault:
        return refused(fault)
    return _believes(host, victim, page)


@proof("Rewrite the enclave's own code", "SDM, EPCM Access Control", careless, "EPCM.W")
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


@proof("Execute data inside the enclave", "SDM, EPCM Access Control", careless, "EPCM.X")
def execute_data(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Hand the program code as data, make that page executable in the page tables, and jump."""
    shellcode = code.copy(victim.address("careless_secret"), LOOT, 32, code.RET)
    victim.put(shellcode.ljust(PAGE, b"\xcc"))
    place = victim.address("careless_page")
    host.adversary.remap(victim.guest, place, host.adversary.hpa(victim.guest, place))
    return _jump(victim, place, digest)


@proof(
    "Run host code with the enclave's rights",
    "SDM, Memory Access Requests by Enclave Software",
    careless,
    "ELRANGE.FETCH",
    "SK.NO_EXECUTE",
    only=(*SGX, "vbs"),
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
    """Whether what was found is the secret."""
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


@proof("Read an execute-only page", "SDM, EPCM Access Control", _execute_only, "EPCM.R")
def read_code(host: Platform, victim: DeployedEnclave, place: int, digest: bytes) -> Outcome:
    """Use a bug inside to read a page of code that not even the program may read."""
    try:
        words = [victim.peek(place + at) for at in range(0, 32, 8)]
    except EnclaveLost as lost:
        return refused(lost)
    return judge(pack("<4Q", *words), digest)


@proof("Move the entry point from inside", "SDM, EPCM Access Control", careless, "EPCM.PT")
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
    words = victim.guest.enter(thread, 0, 0)
    registers = host.adversary.registers(host.machine.processor(0))
    return judge(pack("<4Q", *words, registers["r8"]), digest)


@proof(
    "Use a translation made inside", "SDM, Enclave Entry and Exit", careless, "ENCLAVE.TLB_FLUSH"
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


@proof("Learn which byte of a page is used", "Xu, Cui, Peinado 2015", careless, "AEX.CR2", only=())
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


@proof(
    "Answer CPUID with a lie",
    "SDM, Illegal Instructions",
    careless,
    "ENCLAVE.ILLEGAL_INSTRUCTION",
    only=(),
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


@proof("Reuse a page while a thread runs", "SDM, EREMOVE", fresh_vault, "EREMOVE.ACTIVE")
def reuse_active_page(host: Platform, victim: DeployedEnclave) -> Outcome:
    """While the vault writes its secret, give the page to an enclave of the host's own.

    The vault's processor still holds the translation and goes on writing, into a page that the
    other enclave can read.
    """
    assert host.adversary.sgx is not None, "an SGX attack"
    return steal_page(host, victim, host.adversary.sgx.eremove)


def steal_page(
    host: Platform,
    victim: DeployedEnclave,
    take: Callable[[int], object],
    begun: Callable[[], bool] | None = None,
) -> Outcome:
    """Have ``take`` free the page of the secret when the vault has begun to write to it.

    A program of the host's own gets the page, and in the end what was written to it since. The
    dirty bit tells when, or ``begun`` where the host's page tables have none.
    """
    adversary, guest = host.adversary, victim.guest
    gva, page = victim.address("vault_secret"), victim.physical("vault_secret")
    spy = Spy(host) if adversary.sgx else None
    refusal: list[CallError] = []
    taken = False
    if begun is None:
        guest.space.set_entry(gva, guest.space.entry(gva) & ~DIRTY)

    def steal() -> None:
        nonlocal taken
        if taken or refusal:
            return
        if not (guest.space.entry(gva) & DIRTY if begun is None else begun()):
            return
        try:
            take(page)
        except CallError as error:
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
