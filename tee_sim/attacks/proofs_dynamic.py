"""Proofs of the checks on dynamic memory: what the host could do to pages that it may change."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING

from tee_sim.abi.sgx import TCS, PageType, SecinfoFlags
from tee_sim.attacks.outcome import Outcome, careless, refused, stopped, vault
from tee_sim.attacks.proofs_memory import FORGED_TRIES, leave_with_secret, proof
from tee_sim.errors import EcallFailed, EnclaveLost, Fault
from tee_sim.hypervisor.growing import Growing
from tee_sim.hypervisor.sgx import SGXGuest
from tee_sim.sdk.host import Enclave

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform

QUANTUM = 2000
"""Instructions that the worker inside executes at a time; its whole work takes many of them."""


def _enclave(victim: DeployedEnclave) -> SGXGuest:
    assert isinstance(victim.guest, SGXGuest), "an SGX attack"
    return victim.guest


def grower(host: Platform) -> tuple[DeployedEnclave]:
    """Stage: an owner deploys the program that grows, and it makes its second thread."""
    victim = host.create_enclave("grower")
    for name, serve in Growing(victim.guest).ocalls.items():
        victim.on_ocall(name, serve)
    victim.add_thread()
    return (victim,)


@proof("Put a page of zeros over the PIN", "SDM, EPCM Access Control", vault, "EPCM.PENDING")
def unwanted_page(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """EAUG a second page for the address of the vault's PIN, and try the empty PIN.

    EAUG does not ask whether the address has a page already.
    """
    guest, place = _enclave(victim), victim.address("vault_pin")
    page = guest.driver.epc.take()
    guest.driver.eaug(page, guest.secs_hpa, place)
    host.adversary.remap(guest, place, page)
    try:
        answer = victim.release("")
    except EnclaveLost as lost:
        return refused(lost)
    if sha256(answer.secret).digest() == digest:
        return Outcome("succeeds", "the empty PIN opens the vault", leaked=answer.secret)
    return stopped(host, "the vault does not open")


@proof("Turn a data page into a thread", "SDM, EMODT", careless, "EPCM.MODIFIED")
def unwanted_thread(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Have the program store a page that looks like a TCS, make it one with EMODT, and enter."""
    guest, thread = _enclave(victim), victim.program.threads[1]
    entry = victim.program.symbols["careless_debug"]
    forged = TCS(
        ossa=thread.ssa, nssa=thread.nssa, oentry=entry, ofsbase=thread.gs, ogsbase=thread.gs
    )
    victim.put(forged.pack())
    guest.driver.emodt(
        host.adversary.hpa(guest, victim.address("careless_page")),
        SecinfoFlags(page_type=PageType.TCS),
    )
    guest.tcs_offsets.append(victim.program.symbols["careless_page"])
    try:
        return leave_with_secret(host, victim, digest, thread=len(guest.tcs_offsets) - 1)
    except Fault as fault:
        return refused(fault)


@proof("Make the enclave's constants writable", "SDM, EMODPR", careless, "EMODPR.MASK")
def extend_rights(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Ask EMODPR for more rights than the page has, and use a bug inside to write to it."""
    guest, place = _enclave(victim), victim.address("careless_limit")
    page = host.adversary.hpa(guest, place)
    guest.driver.emodpr(page, SecinfoFlags(r=True, w=True, page_type=PageType.REG))
    host.adversary.remap(guest, place, page)
    try:
        victim.poke(place, FORGED_TRIES)
    except EnclaveLost:
        return stopped(host, "the page is as read-only as before", "EMODPR.MASK")
    return Outcome("succeeds", f"a constant of the program now reads {victim.peek(place)}")


@proof("Claim that a right is gone", "SDM, EACCEPT", grower, "EACCEPT.ATTRIBUTES")
def false_restriction(host: Platform, victim: DeployedEnclave) -> Outcome:
    """Do nothing when the program asks for a page to be made read-only.

    The program then publishes a page that its own worker can still write to.
    """
    victim.on_ocall("restrict_rights", lambda address, pages, rights: None)
    worker = Enclave(victim.interface, victim.guest, name="worker", thread=1)
    return _publish(host, victim, worker.toil)


@proof("Keep a right alive in a TLB", "SDM, EACCEPT; ETRACK", grower, "EACCEPT.TRACKED")
def stale_right(host: Platform, victim: DeployedEnclave) -> Outcome:
    """Make the page read-only, and do not interrupt the worker that is writing to it.

    The worker's processor stays inside, with the right to write in its TLB.
    """
    guest = _enclave(victim)

    def restrict(address: int, pages: int, rights: int) -> None:
        guest.driver.emodpr(host.adversary.hpa(guest, address), SecinfoFlags.of(rights))

    victim.on_ocall("restrict_rights", restrict)
    toil = next(f.index for f in victim.interface.trusted if f.name == "toil")
    worker = guest.steps(1, toil, processor=1, quantum=QUANTUM)
    next(worker)
    try:
        return _publish(host, victim, lambda: next(worker))
    finally:
        worker.close()


def _publish(host: Platform, victim: DeployedEnclave, work: Callable[[], None]) -> Outcome:
    """Have the program publish its page, let the worker go on, and see what is on the page."""
    try:
        victim.publish()
    except EcallFailed:
        return stopped(host, "the program does not publish what it cannot be sure of")
    try:
        work()
    except EnclaveLost as lost:
        return refused(lost)
    if victim.intact():
        return stopped(host, "the page is as it was published")
    return Outcome("succeeds", f"the published page now says {victim.number()}")
