"""The simulator itself under attack: a secret made inside never reaches what the adversary holds.

The enclave draws 64 random bits, so that nobody outside has ever seen them. It keeps them in a
general register, in a vector register, in its data page and on its stack, and computes with them.
Everything that the adversary's interface gives is collected in a `Loot`, as bytes and as text.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from assembly import (
    DATA_GVA,
    NOP,
    ONES,
    RDRAND_RAX,
    SPIN,
    SYSCALL,
    UD2,
    launch,
    leave,
    load,
    load_from,
    mov,
    store,
)
from tee_sim import Platform
from tee_sim.errors import BudgetExceeded, Fault, TeeSimError, UsageError
from tee_sim.hypervisor.guest import ARENA_BASE, Guest
from tee_sim.hypervisor.sgx import SGXGuest
from tee_sim.machine.cpu import LogicalProcessor
from tee_sim.machine.registers import R12, RAX, RBX, RCX, RDI, RSP
from tee_sim.units import MIB, PAGE

ALL_TEES = ("sgx-tme", "sgx-mee")

MAKE = (
    RDRAND_RAX
    + mov(RSP, DATA_GVA + 0x800)
    + b"\x49\x89\xc4"  # mov r12, rax
    + b"\x66\x48\x0f\x6e\xc0"  # movq xmm0, rax
    + b"\x50\x58"  # push rax; pop rax
    + mov(RBX, DATA_GVA)
    + store(RBX, RAX)
)
"""The secret is made."""

USE = mov(RCX, 30) + load(RAX, RBX) + b"\x4c\x01\xe0\x48\xff\xc9\x75\xf1"  # add rax, r12; dec; jnz
FORGET = b"\x31\xc0\x45\x31\xe4\x66\x0f\xef\xc0\x31\xc9" + mov(RDI, 0)
"""What a careful enclave clears before it leaves: EEXIT clears nothing."""

PROGRAM = MAKE + USE + FORGET + leave()


class Scene:
    """A platform, a victim, and everything that its host has seen."""

    def __init__(self, tee: str = "sgx-tme", code: bytes = PROGRAM, **how: object) -> None:
        sizes = {"memory": 18 * MIB, "epc": MIB, "budget": 20_000_000}
        self.platform = Platform(tee, trace=bool(how.pop("trace", False)), **sizes)
        self.bad, self.machine = self.platform.adversary, self.platform.machine
        self.victim = launch(self.platform, code)
        self.lp = self.machine.processor(0)
        self.seen = bytearray()
        self.victim.write(ARENA_BASE, bytes(16))

    def see(self, *loot: object) -> None:
        for item in loot:
            if isinstance(item, bytes | bytearray):
                self.seen += item
            elif isinstance(item, int):
                self.seen += struct.pack("<Q", item & ONES)
            elif isinstance(item, list | tuple):
                self.see(*item)
            elif isinstance(item, dict):
                self.see(*item.values())
            else:
                self.seen += f"{item} {item!r}".encode()

    def see_registers(self, lp: LogicalProcessor | None = None) -> None:
        """All of a processor that the host stands on, with its vector registers."""
        lp = lp or self.lp
        if lp.context is not None:
            with pytest.raises(UsageError):
                self.bad.registers(lp)
            return
        self.see(self.bad.registers(lp), lp.fpu())

    def see_memory(self) -> None:
        """What software and the bus see of all memory, pages of zeros and of ones excepted."""
        size, dull = self.machine.dram.size, (bytes(PAGE), b"\xff" * PAGE)
        for memory in (self.bad.read(0, size), self.bad.bus.read(0, size)):
            for at in range(0, size, PAGE):
                page = memory[at : at + PAGE]
                if page not in dull:
                    self.see(page)

    @property
    def secret(self) -> bytes:
        """For the judge alone: it looks on the die."""
        return self.machine.cache.read(self.victim.pages[DATA_GVA - self.victim.base], 8)

    def judge(self, secret: bytes | None = None) -> None:
        secret = secret or self.secret
        assert secret.strip(b"\0"), "there was no secret"
        number = int.from_bytes(secret, "little")
        assert self.seen, "nothing was looked at"
        for form in (secret, secret[::-1], f"{number:x}".encode(), str(number).encode()):
            assert form not in self.seen
        for half in (secret[:4], secret[4:]):
            assert half not in self.seen


@pytest.mark.parametrize("tee", ALL_TEES)
@pytest.mark.parametrize("every", [1, 3])
def test_registers_after_an_interruption(tee: str, every: int) -> None:
    scene = Scene(tee)
    with scene.bad.interrupting(scene.victim, every, lambda regs: scene.see(regs)):
        scene.victim.handlers.append(lambda *_: bool(scene.see_registers()))
        scene.victim.enter(0)
    scene.see_registers()
    scene.judge()


@pytest.mark.parametrize("tee", ALL_TEES)
def test_all_memory_at_any_moment(tee: str) -> None:
    scene = Scene(tee)
    looks = []

    def look(_victim: Guest, _lp: LogicalProcessor, _event: Fault | None) -> bool:
        looks.append(1)
        if len(looks) == 20:
            scene.see_memory()
        if len(looks) == 40:
            scene.bad.wbinvd()
            scene.see_memory()
        return True

    scene.victim.timer = 1
    scene.victim.handlers.append(look)
    scene.victim.enter(0)
    scene.bad.evict(scene.victim.pages[DATA_GVA - scene.victim.base])
    scene.see_memory()
    secret = scene.secret
    scene.victim.close()
    scene.see_memory()
    scene.machine.power_cut()
    scene.see_memory()
    scene.judge(secret)
    assert len(looks) > 60


def test_page_faults_and_their_messages() -> None:
    """The secret is used as an address: the host may learn its page, and no more."""
    code = MAKE + b"\x48\x25\xf8\x0f\x00\x00" + b"\x48\x8b\x04\x03" + FORGET + leave()
    scene = Scene(code=code)
    faults: list[Fault] = []

    def handler(victim: Guest, lp: LogicalProcessor, event: Fault | None) -> bool:
        scene.see(event, vars(event) if event else None, event.args if event else None)
        scene.see_registers(lp)
        if event is not None:
            faults.append(event)
            scene.bad.restore(victim, hidden)
        return event is not None

    steps = scene.victim.steps(0, quantum=9)
    for _ in range(1):
        next(steps)
    hidden = scene.bad.unmap(scene.victim, DATA_GVA)
    scene.victim.handlers.append(handler)
    with suppress(StopIteration):
        while True:
            next(steps)
    offset = int.from_bytes(scene.secret, "little") & 0xFF8
    assert faults
    assert all(getattr(fault, "address", 0) % PAGE == 0 for fault in faults)
    assert not offset or f"{DATA_GVA + offset:x}".encode() not in scene.seen


@pytest.mark.parametrize("death", [UD2, b"\xf4", b"\x49\xf7\xf1", mov(RAX, 77) + b"\x0f\x01\xd7"])
def test_how_a_program_died(death: bytes) -> None:
    scene = Scene(code=MAKE + death + b"\x00" * 16)
    with pytest.raises(TeeSimError) as caught:
        scene.victim.enter(0)
    error: BaseException | None = caught.value
    while error is not None:
        scene.see(str(error), repr(error), repr(vars(error)))
        error = error.__cause__ or error.__context__
    scene.see(scene.victim, repr(scene.victim.lost), scene.victim._repr_html_())
    scene.see_registers()
    scene.judge()


def test_a_call_that_was_cut_short() -> None:
    """By its budget, by a handler that fails, by its generator, by close()."""
    for end in ("budget", "handler", "generator", "close", "close while paused"):
        scene = Scene(code=MAKE + SPIN)
        secret = b""
        if end == "budget":
            with pytest.raises(BudgetExceeded):
                scene.victim.enter(0)
        elif end == "handler":
            scene.victim.timer = 50
            scene.victim.handlers.append(lambda *_: 1 // 0)  # type: ignore[arg-type,return-value]
            with pytest.raises(ZeroDivisionError):
                scene.victim.enter(0)
        else:
            steps = scene.victim.steps(0, quantum=50)
            next(steps)
            scene.see_registers()  # refused: it is inside
            secret = scene.secret
            if end == "generator":
                steps.close()
            else:
                scene.victim.close()
                with pytest.raises(TeeSimError):
                    next(steps)
        scene.see_registers()
        scene.see_memory()
        scene.judge(secret)


def everywhere(scene: Scene) -> Iterator[int]:
    yield from scene.victim.pages.values()
    yield scene.victim.secs_hpa


def test_the_arena_and_other_windows_into_the_epc() -> None:
    """The host maps enclave pages where it may look, while the enclave is inside and after."""
    scene = Scene()
    steps = scene.victim.steps(0, quantum=40)
    next(steps)
    for turn in range(2):
        for number, hpa in enumerate(everywhere(scene)):
            window = ARENA_BASE + PAGE * number
            scene.bad.remap(scene.victim, window, hpa)
            scene.see(scene.victim.read(window, PAGE), scene.bad.read(hpa, PAGE))
            scene.victim.write(window, b"overwritten by the host")
        scene.see(scene.victim.read(DATA_GVA, PAGE))
        if turn == 0:
            with suppress(StopIteration):
                while True:
                    next(steps)
    scene.judge()
    assert b"overwritten" not in scene.machine.cache.read(next(everywhere(scene)), PAGE)


def test_code_outside_right_after_the_enclave_has_left() -> None:
    """The same address space, the same processor, no flush by the host, remembered decisions."""
    scene = Scene()
    scene.victim.enter(0)
    for gva in range(DATA_GVA, DATA_GVA + PAGE, 256):
        code = load_from(RAX, gva) + mov(RBX, ARENA_BASE) + store(RBX, RAX) + SYSCALL
        scene.victim.write(ARENA_BASE, bytes(8))
        scene.bad.execute(scene.victim, code)
        scene.see(scene.victim.read(ARENA_BASE, 8))
        scene.see_registers()
    scene.judge()
    assert set(scene.victim.read(ARENA_BASE, 8)) == {0xFF}


def test_code_outside_while_the_enclave_is_interrupted() -> None:
    scene = Scene()

    def handler(victim: Guest, lp: LogicalProcessor, _event: Fault | None) -> bool:
        victim.timer = None
        code = load_from(RAX, DATA_GVA) + mov(RBX, ARENA_BASE) + store(RBX, RAX) + SYSCALL
        scene.bad.execute(victim, code)
        scene.see(victim.read(ARENA_BASE, 8))
        scene.see_registers(lp)
        return True

    scene.victim.timer = 40
    scene.victim.handlers.append(handler)
    scene.victim.enter(0)
    scene.judge()


def test_code_on_another_processor_meanwhile() -> None:
    scene = Scene()

    def action() -> None:
        with pytest.raises(UsageError):
            scene.bad.execute(scene.victim, NOP + SYSCALL, processor=0)
        code = load_from(RAX, DATA_GVA) + mov(RBX, ARENA_BASE) + store(RBX, RAX) + SYSCALL
        scene.bad.execute(scene.victim, code, processor=1)
        scene.see(scene.victim.read(ARENA_BASE, 8))
        scene.see_registers(scene.machine.processor(1))

    with scene.bad.meanwhile(scene.victim, 30, action):
        scene.victim.enter(0)
    scene.judge()


@pytest.mark.parametrize("tee", ALL_TEES)
def test_an_enclave_of_the_hosts_own(tee: str) -> None:
    """It maps the victim's pages into its own ELRANGE, and reads everything outside of that."""
    scene = Scene(tee)
    scene.victim.enter(0)
    secret_page = scene.victim.pages[DATA_GVA - scene.victim.base]
    for where in (DATA_GVA, ARENA_BASE):
        spy = launch(scene.platform, load_from(RDI, where) + leave(), debug=True)
        scene.bad.remap(spy, where, secret_page)
        with suppress(TeeSimError):
            scene.see(spy.enter(0))
        scene.see(spy.lost)
        spy.close()
    scene.see(b"looked")
    scene.judge()


def test_pages_of_a_closed_enclave_in_the_hosts_next_one() -> None:
    scene = Scene()
    scene.victim.enter(0)
    secret, old = scene.secret, set(scene.victim.pages.values())
    scene.victim.close()
    spy = launch(scene.platform, NOP + leave(), debug=True, data_pages=3)
    assert old & set(spy.pages.values()), "no page was used again"
    for hpa in (*spy.pages.values(), spy.secs_hpa, *old):
        for at in range(0, PAGE, 8):
            with suppress(TeeSimError):
                scene.see(spy.driver.edbgrd(hpa + at))
    scene.judge(secret)


def test_the_debuggers_leaves() -> None:
    scene = Scene()
    scene.victim.enter(0)
    for hpa in everywhere(scene):
        for at in range(0, PAGE, 8):
            with pytest.raises(Fault) as caught:
                scene.see(scene.victim.driver.edbgrd(hpa + at))
            scene.see(caught.value)
    scene.judge()


def test_what_an_enclave_writes_to_the_abort_page() -> None:
    """A victim that is tricked into writing its secret to EPC outside its range: it is gone."""
    code = MAKE + mov(RBX, ARENA_BASE) + store(RBX, RAX) + load(RDI, RBX) + leave()
    scene = Scene(code=code)
    scene.bad.remap(scene.victim, ARENA_BASE, scene.victim.driver.epc.take())
    assert scene.victim.enter(0)[0] == ONES
    for gva in (ARENA_BASE, (1 << 64) - PAGE):
        probe = load_from(RAX, gva) + mov(RBX, ARENA_BASE + PAGE) + store(RBX, RAX) + SYSCALL
        with suppress(Fault):
            scene.bad.execute(scene.victim, probe)
        scene.see(scene.victim.read(ARENA_BASE + PAGE, 8))
    scene.see_memory()
    scene.judge()


def test_events_of_a_traced_run() -> None:
    scene = Scene(trace=True)
    scene.victim.timer = 5
    scene.victim.handlers.append(lambda *_: True)
    scene.victim.enter(0)
    scene.see(*(str(event) for event in scene.platform.events))
    scene.see(*(str(refusal) for refusal in scene.platform.checks.refusals))
    scene.judge()


def test_demand_paging_of_enclave_pages() -> None:
    """Every page is taken away, again and again; the host gives it back at the fault."""
    scene = Scene()
    hidden: dict[int, int] = {}

    def hide() -> None:
        for offset in scene.victim.pages:
            gva = scene.victim.base + offset
            entry = scene.victim.space.entry(gva)
            if entry & 1:
                hidden[gva] = entry
                scene.victim.space.set_entry(gva, 0)
        scene.machine.mmu.shootdown()

    def handler(victim: Guest, lp: LogicalProcessor, event: Fault | None) -> bool:
        scene.see(event)
        scene.see_registers(lp)
        restore()
        return True

    def restore() -> None:
        for gva, entry in hidden.items():
            scene.victim.space.set_entry(gva, entry)
        hidden.clear()
        scene.machine.mmu.shootdown()

    scene.victim.handlers.append(handler)
    with scene.bad.meanwhile(scene.victim, 5, hide):
        scene.victim.enter(0)
    scene.see_memory()
    scene.judge()


def test_a_page_table_that_changes_under_a_running_enclave_without_a_flush() -> None:
    """The host points the victim's code and data elsewhere while old translations live."""
    changes: list[Callable[[SGXGuest], None]] = [
        lambda victim: victim.space.map(DATA_GVA, victim.borrow()),
        lambda victim: victim.space.map(victim.base, victim.borrow(), executable=True),
        lambda victim: victim.space.map(DATA_GVA, victim.pages[0]),
        lambda victim: victim.space.set_entry(victim.base, 0),
    ]
    for change in changes:
        scene = Scene(code=MAKE + USE * 4 + FORGET + leave())
        steps = scene.victim.steps(0, quantum=11)
        next(steps)
        next(steps)
        secret = scene.secret
        change(scene.victim)
        try:
            while True:
                next(steps)
        except StopIteration as finished:
            scene.see(finished.value)
        except TeeSimError as error:
            scene.see(error)
        scene.see_registers()
        scene.see_memory()
        scene.judge(secret)


def test_r12_is_used() -> None:
    """The program's comment says that the secret is in R12; the code's bytes must agree."""
    scene = Scene(code=MAKE + SPIN)
    steps = scene.victim.steps(0, quantum=50)
    next(steps)
    assert scene.lp.registers()[R12].to_bytes(8, "little") == scene.secret
    assert scene.lp.fpu()[160:168] == scene.secret
