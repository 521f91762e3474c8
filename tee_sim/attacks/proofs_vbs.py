"""Proofs of the checks of VBS: what VTL0 could do if somebody had left one out."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from hashlib import sha256
from struct import pack
from typing import TYPE_CHECKING, Any

from tee_sim.abi.image import Identity
from tee_sim.attacks import code
from tee_sim.attacks.outcome import Attack, Outcome, Stage, nothing, refused, stopped, vault
from tee_sim.attacks.proofs_keys import reopen
from tee_sim.attacks.proofs_memory import FORGED_TRIES, LOOT, judge, proof
from tee_sim.attacks.registers_at_exit import fresh_vault
from tee_sim.attacks.rollback_sealed_state import new_card
from tee_sim.errors import CallError, EcallFailed, EnclaveLost, Fault
from tee_sim.hypervisor.honest import Launch
from tee_sim.hypervisor.vbs import VBSGuest
from tee_sim.sdk.host import Enclave
from tee_sim.sdk.image import load_program
from tee_sim.units import PAGE

if TYPE_CHECKING:
    from tee_sim.hypervisor.vbs import VBSDriver
    from tee_sim.platform import DeployedEnclave, Platform


def vbs_proof(
    title: str, reference: str, stage: Stage, check: str
) -> Callable[[Callable[..., Outcome]], Attack]:
    """Declare the function below as a proof on VBS, in which a refusal is the end."""

    def declare(script: Callable[..., Outcome]) -> Attack:
        @wraps(script)
        def guarded(host: Platform, *arguments: Any) -> Outcome:
            try:
                return script(host, *arguments)
            except (CallError, EnclaveLost) as error:
                return refused(error)

        return proof(title, reference, stage, check, only=("vbs",))(guarded)

    return declare


def _vbs(host: Platform) -> VBSDriver:
    assert host.adversary.vbs is not None, "a VBS attack"
    return host.adversary.vbs


def _spy(host: Platform, pages: dict[str, int] | None = None) -> tuple[VBSGuest, Enclave, int]:
    """An enclave of the host's own, and where it keeps a page.

    Args:
        host: the platform.
        pages: physical pages to give it, by the symbol that they are to hold.
    """
    program = load_program("careless", host.tee.target)
    places = {program.symbols[name] & -PAGE: page for name, page in (pages or {}).items()}
    given = [places.get(p.offset) or host.host.frames.take() for p in program.image.pages]
    launch = Launch("spy", program.image, host.sign_as_host(program))
    guest = VBSGuest(host.host, _vbs(host), launch, given)
    return guest, Enclave(program.interface, guest), guest.base + program.symbols["careless_page"]


def _peek(enclave: Enclave, gva: int) -> bytes:
    """32 bytes as code of the host's own enclave reads them."""
    return pack("<4Q", *(enclave.peek(gva + at) for at in range(0, 32, 8)))


@vbs_proof("Open a page by a hypercall", "TLFS", vault, "VTL.PROTECTION_MASK")
def hypercall(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Ask the hypervisor for all rights to the page of the secret, as VTL1 would."""
    place = victim.physical("vault_secret")
    _vbs(host).modify_vtl_protection_mask([place & -PAGE], 7)
    return judge(host.adversary.read(place, 32), digest)


@vbs_proof("Read by an old translation", "TLFS", nothing, "VTL.TLB_FLUSH")
def old_translation(host: Platform) -> Outcome:
    """Use an ordinary page, so that a processor knows it; give it to a vault, and use it again."""
    page = host.host.frames.take()
    guest, _enclave, _place = _spy(host)
    shellcode = code.copy(LOOT, LOOT + PAGE, 32, code.SYSCALL)
    guest.write(LOOT + PAGE, bytes(32))
    guest.space.map(LOOT, page)
    host.adversary.execute(guest, shellcode, processor=1)
    program = load_program("vault", host.tee.target)
    secret = program.symbols["vault_secret"]
    pages = [page if p.offset == secret else host.host.frames.take() for p in program.image.pages]
    launch = Launch("vault", program.image, host.sign(program.image, program.identity))
    victim = Enclave(program.interface, VBSGuest(host.host, _vbs(host), launch, pages))
    digest = victim.make_secret("2718")
    try:
        host.adversary.execute(guest, shellcode, processor=1)
    except Fault as fault:  # the processor looked again
        return stopped(host, str(fault), among=("VTL.TLB_FLUSH",))
    return judge(guest.read(LOOT + PAGE, 32), digest)


@vbs_proof("Give one page to two enclaves", "LoadEnclaveImage", fresh_vault, "SK.PAGE_IN_USE")
def shared_page(host: Platform, victim: DeployedEnclave) -> Outcome:
    """Give the page where the vault will make its secret to an enclave of the host's own, too."""
    page = victim.physical("vault_secret") & -PAGE
    _guest, spy, place = _spy(host, {"careless_page": page})
    digest = victim.make_secret("2718")
    return judge(_peek(spy, place), digest)


@vbs_proof("Lend a page of VTL1", "confused deputy", vault, "SK.VTL0_PAGE")
def lent_secret(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Map the vault's page as ordinary memory of another process, and have an enclave read that."""
    guest, spy, _place = _spy(host)
    guest.space.map(LOOT, victim.physical("vault_secret") & -PAGE)
    return judge(_peek(spy, LOOT), digest)


def _strict(host: Platform) -> tuple[DeployedEnclave]:
    """Stage: the careless program, whose author wants it kept away from its process."""
    return (host.create_enclave("careless", identity=Identity(strict_memory=True)),)


@vbs_proof(
    "Have an enclave follow the host's pointer",
    "EnclaveRestrictContainingProcessAccess",
    _strict,
    "SK.STRICT_MEMORY",
)
def followed_pointer(host: Platform, victim: DeployedEnclave) -> Outcome:
    """Name an address outside where the program expects one of its own."""
    victim.guest.write(LOOT, FORGED_TRIES.to_bytes(8, "little"))
    if victim.peek(LOOT) != FORGED_TRIES:
        return stopped(host, "the program works with another number")
    return Outcome("succeeds", f"the program works with the host's number, {FORGED_TRIES}")


@vbs_proof("Copy from inside", "Van Bulck et al. 2019", vault, "SK.UNSECURE_RANGE")
def copied_from_inside(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Pass the address of the vault's own PIN as the argument that is compared with it.

    The runtime refuses that first, if it looks (RUNTIME.OUTSIDE).
    """
    guest, arena = victim.guest, victim.guest.arena[0]
    release = next(f for f in victim.interface.trusted if f.name == "release")
    guest.write(arena, pack("<4Q", 0, victim.address("vault_pin"), 5, arena + 64))
    guest.enter(0, release.index, arena)
    found = guest.read(arena + 64, 32)
    if sha256(found).digest() == digest:
        return Outcome("succeeds", "the vault compared its PIN with itself", leaked=found)
    runtime = host.checks.on(host.checks.known["RUNTIME.OUTSIDE"])
    return stopped(host, "the vault did not open", "RUNTIME.OUTSIDE" if runtime else None)


@vbs_proof("Attach a debugger", "ENCLAVE_CREATE_INFO_VBS", vault, "SK.DEBUG_POLICY")
def attach_debugger(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Read the secret of an enclave that was not made to be debugged."""
    assert isinstance(victim.guest, VBSGuest), "a VBS attack"
    place = victim.address("vault_secret")
    return judge(_vbs(host).debug(victim.guest.enclave, place, 32), digest)


@vbs_proof("Read what an enclave leaves", "DeleteEnclave", vault, "SK.SCRUB")
def left_behind(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Delete the vault, and read its page."""
    place = victim.physical("vault_secret")
    victim.close()
    found = host.adversary.read(place, 32)
    if any(found):
        return judge(found, digest)
    return stopped(host, "the page is empty", among=("SK.SCRUB",))


@vbs_proof("Open another owner's data", "OwnerID", new_card, "SK.SEAL_OWNER")
def another_owner(host: Platform, _card: DeployedEnclave, disk: list[bytes]) -> Outcome:
    """Create the same program for another customer, and have it open the first one's state."""
    return reopen(host, disk[0], owner_id=b"another customer".ljust(32))


@vbs_proof("Open sealed data in a debugger", "EnclaveSealData", new_card, "SK.SEAL_DEBUG")
def debugged_opener(host: Platform, _card: DeployedEnclave, disk: list[bytes]) -> Outcome:
    """Create the same program for a debugger; its author lets anybody debug it."""
    return reopen(host, disk[0], debug=True)


@vbs_proof(
    "Change a report",
    "EnclaveVerifyAttestationReport",
    lambda host: (host.create_enclave("notary"),),
    "SK.REPORT_SIGNATURE",
)
def changed_report(host: Platform, notary: DeployedEnclave) -> Outcome:
    """Write other data into a report of the notary, and show it to the notary."""
    made = notary.present(bytes(64))
    report = made.report[: int.from_bytes(made.report_size, "little")]
    changed = bytearray(report)
    at = 16 + 24 + 8  # envelope, package header, start of the statement
    data = b"signed by nobody".ljust(64)
    changed[at : at + 64] = data
    try:
        found = notary.check(bytes(changed), len(changed))
    except EcallFailed as error:
        return stopped(host, f"not believed: {error.result}")
    if found.data != data:
        return stopped(host, "the notary read something else")
    return Outcome("succeeds", f"the notary believes {data.rstrip()!r}")
