"""Proofs of the checks at the enclave's border: entry, exit, interruption."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee_sim.abi.sgx import GPRSGX, TCS
from tee_sim.attacks.outcome import Outcome, careless, nothing, refused, stopped
from tee_sim.attacks.proofs_memory import leave_with_secret, proof
from tee_sim.attacks.registers_at_exit import STEPS, WordCollector, fresh_vault
from tee_sim.attacks.tampered_image import more_tries
from tee_sim.errors import EnclaveLost, Fault, OtherFault
from tee_sim.hypervisor.honest import Launch
from tee_sim.sdk.host import Enclave
from tee_sim.sdk.image import load_program
from tee_sim.units import PAGE

if TYPE_CHECKING:
    from tee_sim.hypervisor.guest import Guest
    from tee_sim.machine.cpu import LogicalProcessor
    from tee_sim.platform import DeployedEnclave, Platform

ROUNDS = 2000


def _ecall(victim: DeployedEnclave, name: str) -> int:
    """The number of an ecall."""
    return next(f.index for f in victim.interface.trusted if f.name == name)


@proof("Enter through a forged TCS", "SDM, EENTER", careless, "EENTER.PT_TCS")
def forged_tcs(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Have the program store a page that looks like a TCS, and enter through it."""
    thread = victim.program.threads[1]
    entry = victim.program.symbols["careless_debug"]
    forged = TCS(
        ossa=thread.ssa, nssa=thread.nssa, oentry=entry, ofsbase=thread.gs, ogsbase=thread.gs
    )
    victim.put(forged.pack())
    victim.guest.tcs_offsets.append(victim.program.symbols["careless_page"])
    try:
        return leave_with_secret(host, victim, digest, thread=len(victim.guest.tcs_offsets) - 1)
    except Fault as fault:
        return refused(fault)


@proof("Enter without EINIT", "SDM, EENTER", nothing, "EENTER.INIT")
def skip_einit(host: Platform) -> Outcome:
    """Build a changed vault and enter it without ever asking for its signature to be checked."""
    program = load_program("vault", host.tee.target)
    launch = Launch("vault", more_tries(program.image), None)
    vault = Enclave(program.interface, host.host.launch(launch), name="vault")
    try:
        vault.make_secret("2718")
    except EnclaveLost as lost:
        return refused(lost)
    return Outcome("succeeds", f"a changed vault runs: {vault.tries_left()} tries")


@proof("Enter one thread twice", "SDM, EENTER", careless, "TCS.STATE")
def enter_twice(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """While the program counts on its stack, enter the same thread on a second processor."""
    arena, faults = victim.guest.arena[0], []

    def second() -> None:
        victim.guest.meanwhile = None
        # The marshalling struct of the first call serves the second one too.
        steps = victim.guest.steps(0, _ecall(victim, "count"), arena, processor=1, quantum=500)
        try:
            next(steps)
        except Fault as fault:
            faults.append(fault)
        except (StopIteration, EnclaveLost):
            pass

    with host.adversary.meanwhile(victim.guest, ROUNDS // 2, second):
        try:
            counted = victim.count(ROUNDS)
        except EnclaveLost as lost:
            return Outcome("succeeds", f"two threads on one stack: {lost}")
    if faults:
        return refused(faults[0])
    if counted != ROUNDS:
        return Outcome("succeeds", f"two threads on one stack: {ROUNDS} rounds gave {counted}")
    return stopped(host, f"the program counted to {counted}")


@proof("Overflow the save area", "SDM, EENTER", careless, "EENTER.CSSA")
def nested_entries(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Interrupt entries inside entries until there are more saved states than frames.

    What stands behind the last frame is the thread's own data, which the next saved state
    overwrites.
    """
    data = victim.guest.base + victim.program.threads[0].gs
    spy = Enclave(victim.interface, victim.guest, name="second thread", thread=1)
    before = spy.peek(data)
    for _ in range(victim.program.threads[0].nssa + 1):
        try:
            _interrupt_at_once(victim.guest)
        except Fault as fault:
            return refused(fault)
    after = spy.peek(data)
    if after != before:
        return Outcome("succeeds", f"the thread's data changed from {before:#x} to {after:#x}")
    return stopped(host, "the thread's data is unchanged")


def _interrupt_at_once(guest: Guest) -> None:
    """Enter thread 0, interrupt it after one instruction, and do not resume it."""

    def give_up(_guest: Guest, _lp: LogicalProcessor, _event: Fault | None) -> bool:
        raise _GivenUp

    guest.handlers.append(give_up)
    guest.timer = 1
    try:
        guest.enter(0, 0, 0)
    except _GivenUp:
        guest.lost = None
    finally:
        guest.handlers.remove(give_up)
        guest.timer = None


class _GivenUp(Exception):
    """The host turns away from an interrupted thread."""


@proof("Save area in host memory", "SDM, EENTER", fresh_vault, "EENTER.SSA")
def redirected_ssa(host: Platform, victim: DeployedEnclave) -> Outcome:
    """Map a host page where interrupted registers are saved, and single-step."""
    thread = victim.program.threads[0]
    page = host.host.frames.take()
    host.adversary.remap(victim.guest, victim.guest.base + thread.ssa, page)
    collector = WordCollector()

    def look(_registers: dict[str, int]) -> None:
        frame = host.adversary.read(page + PAGE - GPRSGX.SIZE, GPRSGX.SIZE)
        saved = GPRSGX.unpack(frame)
        collector.look({name: getattr(saved, name) for name in ("rax", "rcx", "rdx", "rbx")})

    with host.adversary.interrupting(victim.guest, 1, look, at_most=STEPS):
        try:
            digest = victim.make_secret("2718")
        except EnclaveLost as lost:
            return refused(lost)
    found = collector.secret(digest)
    if found:
        return Outcome("succeeds", "the processor saved the secret to a host page", leaked=found)
    return stopped(host, "nothing of the secret in the host's page")


@proof(
    "Single-step with the trap flag", "SDM, Enclave Code Debug and Profiling", careless, "EENTER.TF"
)
def trap_flag(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Enter with RFLAGS.TF set and count the debug exceptions that come from inside."""
    steps = 0

    def count(_victim: Guest, _lp: LogicalProcessor, event: Fault | None) -> bool:
        nonlocal steps
        steps += isinstance(event, OtherFault) and event.vector == 1
        return True

    victim.guest.trap_flag = True
    try:
        with host.adversary.watching(victim.guest, count):
            victim.count(1)
    finally:
        victim.guest.trap_flag = False
    if steps:
        return Outcome("succeeds", f"{steps} instructions, each reported to the host")
    return stopped(host, "no debug exception came from inside", "EENTER.TF")
