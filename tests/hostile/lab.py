"""A server under attack: enclaves and their owners, and a host that tries everything at random.

`Lab` performs one step after another, each decided by a seed, and asserts after each that the TEE
kept its promises. What the adversary sees is passed to `see`; what an owner is answered is compared
with a model (`owners`); what the engine does is judged by an oracle (`oracle`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection
from contextlib import contextmanager, suppress
from dataclasses import replace
from random import Random
from zlib import crc32

import numpy as np

from hostile.oracle import WatchedEngine
from hostile.owners import LOST, RETURNS, CarelessOwner, Owner, VaultOwner, digest
from tee_sim import Platform
from tee_sim.abi.sgx import (
    SECS,
    AttributeFlags,
    Attributes,
    EvictedPage,
    PageType,
    SecinfoFlags,
)
from tee_sim.errors import Fault, SGXError, TeeSimError, UsageError
from tee_sim.hypervisor.guest import ARENA_BASE
from tee_sim.hypervisor.honest import Launch
from tee_sim.hypervisor.malicious import CODE_ADDRESS
from tee_sim.machine.paging import NO_EXECUTE, PRESENT
from tee_sim.machine.registers import R8, RBX, RCX, RDI, RFLAGS, RIP, RSI
from tee_sim.platform import production
from tee_sim.sdk.image import load_program
from tee_sim.sdk.signing import signature
from tee_sim.units import MIB, PAGE

MEMORY, EPC = 19 * MIB, 2 * MIB
WINDOW = 0x2000_0000
"""Addresses outside every enclave at which the host maps whatever it likes."""

MAX_ENCLAVES, MAX_OWN_PAGES = 3, 12
SYSCALL = b"\x0f\x05"
RETURN_AT = 0x800
PROGRAMS = {name: load_program(name) for name in ("vault", "careless")}


class Lab:
    """One platform, its enclaves, and everything that was done to it.

    Args:
        tee: name of the platform.
        cache_pages: pages that fit on the die.
        log: is told of each step in one line.
        without: names of checks to build the platform without.
    """

    def __init__(
        self, tee: str, cache_pages: int, log: Callable[[str], None], without: Collection[str] = ()
    ) -> None:
        self.log, self.tree = log, tee == "sgx-mee"
        sizes = {"memory": MEMORY, "epc": EPC, "cache_pages": cache_pages, "budget": 400_000_000}
        self.platform = Platform(tee, without=without, **sizes)
        self.bad, self.machine = self.platform.adversary, self.platform.machine
        assert self.bad.sgx is not None
        self.sgx = self.bad.sgx
        monitor = self.sgx._sgx
        monitor._engine = self.engine = WatchedEngine(monitor._engine, self.machine.dram, self.tree)
        self.epcm = monitor.epcm
        self.epc = range(monitor.epcm.start, monitor.epcm.stop)
        self.owners: list[Owner] = []
        self.hidden: set[bytes] = set()
        self.own_pages: list[int] = []
        self.undo: list[tuple[int, bytes, bool]] = []
        self.snapshots: list = []
        self.meddled = False
        self.depth = 0
        self.calls = self.lost = self.exact = self.taken = 0

    # What the adversary sees

    def see(self, data: bytes) -> bytes:
        """Something that the host or the bus was shown."""
        for word in self.hidden:
            assert word not in data, f"the host has seen {word.hex()} of a secret"
        return data

    def see_registers(self, lp) -> None:
        self.see(struct.pack("<20Q", *lp.registers()) + lp.fpu())

    def must(self, holds: bool, what: str) -> None:
        assert holds, what

    # Who owns what

    def peek(self, hpa: int) -> bytes:
        """The plaintext of an EPC page, for the judge alone: nothing is fetched."""
        cache = self.machine.cache
        if cache.is_cached(hpa):
            frame = cache._frames[hpa]
            return bytes(cache._bytes[frame * PAGE : (frame + 1) * PAGE])
        return self.engine.plain.get(hpa, bytes(PAGE))

    def mine(self, owner: Owner, hpa: int) -> bool:
        """Whether the page is still in that enclave."""
        entry = self.epcm[hpa]
        return entry.valid and entry.enclavesecs == owner.guest.secs_hpa

    def whole(self, owner: Owner) -> bool:
        """Whether every page is there, with the rights and the type that it was loaded with."""
        for page in owner.enclave.program.image.pages:
            entry = self.epcm[owner.guest.pages[page.offset]]
            loaded = page.r, page.w, page.x, page.page_type
            if (entry.r, entry.w, entry.x, entry.page_type) != loaded:
                return False
        return all(self.mine(owner, hpa) for hpa in owner.guest.pages.values())

    def affected(self, owner: Owner) -> bool:
        """Whether DRAM was changed and the platform accepted it (never with a tree)."""
        return bool(self.engine.wrong & {*owner.guest.pages.values(), owner.guest.secs_hpa})

    def damaged(self, owner: Owner) -> bool:
        """Whether a changed page waits in DRAM to be read."""
        return any(
            not self.machine.cache.is_cached(hpa) and self.engine.changed(hpa)
            for hpa in owner.guest.pages.values()
        )

    def frames_in_use(self, owner: Owner) -> int:
        """CSSA of its only thread."""
        tcs = self.peek(owner.guest.pages[owner.guest.tcs_offsets[0]])
        return int.from_bytes(tcs[24:28], "little")

    def stuck(self, owner: Owner) -> bool:
        """Whether its only thread was interrupted for good."""
        return self.frames_in_use(owner) > 0

    def symbol(self, owner: Owner) -> str:
        return "vault_secret" if isinstance(owner, VaultOwner) else "careless_secret"

    def secret_page(self, owner: Owner) -> int:
        return owner.guest.pages[owner.enclave.program.symbols[self.symbol(owner)]]

    def learn_secret(self, owner: Owner) -> None:
        """Note a new secret: from now on it must not be seen."""
        hpa = self.secret_page(owner)
        if hpa in self.engine.wrong or not self.mine(owner, hpa):
            return
        secret = self.peek(hpa)[:32]
        if secret != (owner.secret or bytes(32)):
            known = set(owner.words()) if owner.exposed else set()
            owner.secret, owner.exposed = secret, False
            # Half of an old secret may be left, if the call was cut short.
            self.hidden.update(word for word in owner.words() if any(word) and word not in known)

    def expose(self, owner: Owner) -> None:
        """The secret may be known from here on."""
        owner.exposed = True
        self.hidden.difference_update(owner.words())

    def remember(self, owner: Owner) -> None:
        """Note the contents of an enclave's pages, after it has run."""
        old = owner.pages
        owner.pages = {hpa: crc32(self.peek(hpa)) for hpa in owner.guest.pages.values()}
        for page in owner.enclave.program.image.pages:
            hpa = owner.guest.pages.get(page.offset, 0)
            fixed = page.r and not page.w and hpa not in self.engine.wrong
            if fixed and hpa in old and self.mine(owner, hpa):
                assert owner.pages[hpa] == old[hpa], f"{page.offset:#x} is read-only"

    # Checks after each step

    def check(self) -> None:
        """Nothing inside any enclave has changed unless it ran."""
        for owner in self.owners:
            for hpa, crc in owner.pages.items():
                if self.mine(owner, hpa) and hpa not in self.engine.wrong:
                    assert crc32(self.peek(hpa)) == crc, f"{hpa:#x} changed, nobody was inside"

    def search(self) -> None:
        """No secret stands in the part of DRAM that is in use."""
        dram, used = self.machine.dram, self.platform.host.frames._next
        for part in (dram.bytes[:used], dram.bytes[self.epc.start :]):
            words = np.frombuffer(part, np.uint64)
            hidden = np.array([int.from_bytes(word, "little") for word in self.hidden], np.uint64)
            found = np.flatnonzero(np.isin(words & 0xFFFF, hidden & 0xFFFF))
            bad = set(map(int, words[found])) & set(map(int, hidden))
            assert not bad, f"{[hex(word) for word in bad]} of secrets stand in DRAM"

    @property
    def dead(self) -> bool:
        return self.engine.locked

    # Steps

    def step(self, what: str, rng: Random) -> None:
        """One step of somebody, and the checks after it."""
        self.meddled = False
        if what != "locked" and not self.owners:
            what = "launch"
        {
            "launch": self.launch_or_close,
            "owner": self.owner_calls,
            "attack": self.attempt,
            "scenario": rng.choice(self.scenarios()),
            "locked": self.check_dead,
        }[what](rng)
        if not self.dead:
            self.check()
        self.taken += 1
        if self.taken % 25 == 0:
            self.search()

    def scenarios(self) -> list[Callable[[Random], None]]:
        return [self.rewind, self.spoil, self.misplace, self.misplace, self.misuse, self.page_out]

    def launch_or_close(self, rng: Random) -> None:
        """An honest launch, one that was tampered with, or the end of an enclave."""
        dice = rng.random() if self.owners else 0
        if dice < 0.5:
            self.create(rng)
        elif dice < 0.8:
            self.create(rng, tampered=True)
        else:
            self.close(rng.choice(self.owners))

    def counts(self) -> dict[str, int]:
        """What was done: calls, those that ended in an error, those compared with the model."""
        engine = self.engine
        return {
            "calls": self.calls,
            "lost": self.lost,
            "exact": self.exact,
            "reads": engine.reads,
            "refused": engine.refused,
            "garbled": engine.garbled,
            "replayed": engine.replayed,
        }

    def create(self, rng: Random, tampered: bool = False, name: str = "") -> None:
        """Somebody launches an enclave, honestly or not."""
        name = name or rng.choice(["vault", "vault", "careless"])
        self.log(f"create {name}{', tampered' if tampered else ''}")
        free = self.resources()
        try:
            if tampered:
                with self.bad.tampering(lambda launch: self.tamper(rng, launch)):
                    enclave = self.platform.create_enclave(PROGRAMS[name])
            else:
                enclave = self.platform.create_enclave(PROGRAMS[name])
        except TeeSimError as error:
            self.must(tampered or self.dead, f"an honest launch failed: {error}")
            self.must(self.resources() == free, "a failed launch kept memory")
            return
        assert not tampered, "a changed launch went through"
        kind = VaultOwner if name == "vault" else CarelessOwner
        owner = kind(enclave)
        self.engine.wrong -= {*owner.guest.pages.values(), owner.guest.secs_hpa}
        self.owners.append(owner)
        self.remember(owner)
        if len(self.owners) > MAX_ENCLAVES:
            self.close(self.owners[0])

    def tamper(self, rng: Random, launch):
        """A launch that differs from what was signed."""
        image, kind = launch.image, rng.randrange(6)
        pages = list(image.pages)
        heap = [number for number, page in enumerate(pages) if not page.measured]
        number = rng.choice([i for i, page in enumerate(pages) if page.measured == 0xFFFF])
        if kind == 0:
            at = rng.randrange(PAGE)
            if pages[number].page_type == PageType.TCS:
                at = 32  # OENTRY: what the processor clears is not measured
            content = bytearray(pages[number].content)
            content[at] ^= 1 << rng.randrange(8)
            pages[number] = replace(pages[number], content=bytes(content))
        elif kind == 1:
            del pages[number]
        elif kind == 2:
            pages.append(pages.pop(0))
        elif kind == 3:
            number = rng.choice(heap)
            pages[number] = replace(pages[number], w=False)
        elif kind == 4:
            return replace(launch, attributes=production(debug=True))
        else:
            raw = bytearray(launch.sigstruct.pack())
            raw[rng.choice([*range(16), *range(128, 1028), *range(1040, 1808)])] ^= 0x10
            return replace(launch, sigstruct=type(launch.sigstruct).unpack(bytes(raw)))
        return replace(launch, image=replace(image, pages=tuple(pages)))

    def resources(self) -> tuple[int, int]:
        """Free pages of the EPC and of ordinary memory."""
        both = self.sgx.epc, self.platform.host.frames
        return tuple((a._stop - a._next) // PAGE + len(a._freed) for a in both)

    def close(self, owner: Owner) -> None:
        """An enclave is taken down."""
        self.log(f"close {owner.enclave.name}")
        self.repair()
        owner.enclave.close()
        self.owners.remove(owner)
        for allocator in (self.sgx.epc, self.platform.host.frames):
            assert len(set(allocator._freed)) == len(allocator._freed), "a page was given twice"

    def owner_calls(self, rng: Random) -> None:
        """An owner makes a call; perhaps the host repairs what it broke, perhaps it meddles."""
        owner = rng.choice(self.owners)
        if owner.lost and rng.random() < 0.8:
            self.close(owner)
            return
        if rng.random() < 0.6:
            self.repair()
        self.meddled = any(taints for _, _, taints in self.undo)
        mode = rng.choice(["alone"] * 4 + ["meanwhile", "interrupt", "faults", "steps"])
        with self.attacks(rng, owner, mode):
            self.call(rng, owner, mode)

    def call(self, rng: Random, owner: Owner, mode: str) -> None:
        """One call, and its answer against the model."""
        if isinstance(owner, CarelessOwner):
            name, args, right = owner.act(rng, self.outside(rng, owner), self.forbidden(owner))
            if name == "poke":
                self.before_store(owner, args[0])
        else:
            name, args, right = owner.act(rng)
        self.log(f"{owner.enclave.name}.{name}{args if name != 'put' else ''} ({mode})")
        abandon = mode == "steps"
        answer = self.abandoned(rng, owner, name) if abandon else owner.call(name, *args)
        if owner.enclave not in [o.enclave for o in self.owners]:
            return  # closed under its feet
        self.calls += 1
        self.lost += answer is LOST
        accepted = name == "release" and (args[0] == owner.pin or self.meddled or mode == "steps")
        if accepted or self.affected(owner) or (name == "release" and self.damaged(owner)):
            self.expose(owner)
        if abandon:
            self.after_entry(owner)
            return
        self.learn_secret(owner)
        if self.affected(owner):
            self.expose(owner)
        if answer is not LOST:
            self.see_answer(owner, name, args, answer)
            if not self.meddled and not self.affected(owner):
                self.exact += 1
                self.compare(owner, name, answer, right)
                if not self.stuck(owner):
                    owner.completed(name, args, answer)
            elif isinstance(owner, VaultOwner):
                self.resynchronise(owner, name, args)
            else:
                owner.index = None
        self.remember(owner)

    def compare(self, owner: Owner, name: str, answer, right) -> None:
        if self.stuck(owner):
            assert answer == "OE_REENTRANT_ECALL", "an interrupted thread was entered"
        elif name == "make_secret" and self.mine(owner, self.secret_page(owner)):
            assert answer == digest(owner.secret), "the digest is not that of the secret inside"
        elif right is LOST:
            raise AssertionError(f"{name} gave {answer!r} where it must fail")
        elif right is not ...:
            assert answer == right, f"{name} gave {answer!r}, not {right!r}"

    def see_answer(self, owner: Owner, name: str, args, answer) -> None:
        """The answer travels through the host's memory."""
        if isinstance(answer, tuple):
            self.see(answer[1])
        elif isinstance(answer, int):
            self.see(struct.pack("<Q", answer % 2**64))

    def resynchronise(self, owner: VaultOwner, name: str, args) -> None:
        """The host meddled with the arguments: the vault may have been asked something else."""
        symbols, pages = owner.enclave.program.symbols, owner.guest.pages
        tries_page, pin_page = (pages[symbols[s]] for s in ("vault_tries", "vault_pin"))
        if {tries_page, pin_page} & self.engine.wrong or not self.mine(owner, tries_page):
            return
        tries = struct.unpack("<i", self.peek(tries_page)[:4])[0]
        assert tries in (owner.tries, owner.tries - 1, 3), f"{owner.tries} tries became {tries}"
        owner.tries = tries
        owner.pin = self.peek(pin_page).split(b"\0")[0].decode("utf-8", "replace")

    def abandoned(self, rng: Random, owner: Owner, name: str):
        """The host starts a call and never finishes it."""
        number = next(f.index for f in owner.enclave.interface.trusted if f.name == name)
        steps = owner.guest.steps(0, number, ARENA_BASE, quantum=rng.choice([1, 7, 100]))
        self.meddled = True
        try:
            for _ in range(rng.randrange(1, 60)):
                next(steps)
        except (StopIteration, TeeSimError):
            return LOST
        steps.close()
        return LOST

    # What the host does while an enclave runs

    @contextmanager
    def attacks(self, rng: Random, owner: Owner, mode: str):
        every = rng.choice([1, 13, 100, 700])
        left = rng.randrange(1, 8)

        def act() -> None:
            nonlocal left
            if left > 0 and rng.random() < 0.3:
                left -= 1
                self.attempt(rng, inside=owner)

        def handler(_victim, lp, event) -> bool:
            self.see_registers(lp)
            assert lp.context is None
            assert not any(lp.registers()[R8:RFLAGS]), "registers of the enclave, in sight"
            if isinstance(event, Fault):
                assert event.address % PAGE == 0 or not self.in_elrange(owner, event.address)
                self.see(struct.pack("<Q", event.address % 2**64))
            act()
            return event is None or rng.random() < 0.3

        victim = owner.guest
        count = 0

        def counted(victim, lp, event) -> bool:
            nonlocal count
            count += 1
            if count > 50:
                victim.timer = None
            return handler(victim, lp, event) and count < 300

        if mode == "meanwhile":
            with self.bad.meanwhile(victim, every * 20, act):
                yield
        elif mode == "interrupt":
            victim.timer = every
            try:
                with self.bad.watching(victim, counted):
                    yield
            finally:
                victim.timer = None
        elif mode == "faults":
            with suppress(UsageError):
                self.change_entry(rng, owner, PRESENT)
            with self.bad.watching(victim, counted):
                yield
        else:
            yield

    def in_elrange(self, owner: Owner, gva: int) -> bool:
        return owner.guest.base <= gva < owner.guest.base + owner.enclave.program.image.size

    # The hostile actions

    ACTIONS = (
        "read write bus_read bus_flip bus_write snapshot replay evict wbinvd entry entry window"
        " window restore relax execute execute eremove raw raw edbg enter enter other nested"
        " unfinished dynamic"
    ).split()

    def attempt(self, rng: Random, inside: Owner | None = None) -> None:
        """One hostile action. It succeeds or is refused in a typed way."""
        kind = rng.choice(self.ACTIONS)
        self.depth += 1
        try:
            if self.depth < 3:
                self.log(f"{'  ' * self.depth}{kind}{' meanwhile' if inside else ''}")
                getattr(self, f"do_{kind}")(rng, inside)
        except TeeSimError as error:
            self.log(f"{'  ' * self.depth}  {type(error).__name__}: {error}")
        finally:
            self.depth -= 1

    def somewhere(self, rng: Random) -> int:
        """Any page of interest."""
        owner, dice = rng.choice(self.owners), rng.randrange(12)
        guest, memory = owner.guest, self.machine.dram.size
        if dice < 5:
            return rng.choice([*guest.pages.values(), guest.secs_hpa])
        if dice == 5 and not guest.lost:
            return rng.choice(guest.space._tables)
        if dice == 6 and guest._borrowed:
            return rng.choice(guest._borrowed)
        if dice == 7:
            return rng.randrange(self.epc.stop, memory, PAGE) if self.tree else self.epc.start
        if dice == 8:
            return self.secret_page(owner)
        if dice == 9:
            return rng.choice([0, memory - PAGE, memory, memory + PAGE, 1 << 40, 2 << 40, -PAGE])
        if dice == 10:
            return rng.choice(self.own_pages or [self.epc.stop - PAGE])
        return rng.randrange(0, memory, PAGE)

    def addresses(self, rng: Random, owner: Owner) -> int:
        """Any linear address of interest in a victim's address space."""
        guest, image = owner.guest, owner.enclave.program.image
        symbols = [guest.base + at for at in owner.enclave.program.symbols.values()]
        return rng.choice(
            [
                rng.choice(symbols),
                guest.base + rng.choice(image.pages).offset + rng.randrange(0, PAGE, 8),
                owner.enclave.address(self.symbol(owner)),
                guest.base + guest.tcs_offsets[0],
                *self.outside(rng, owner),
            ]
        )

    def outside(self, rng: Random, owner: Owner) -> list[int]:
        """Linear addresses outside the enclave, and its code page, which it cannot write."""
        size = owner.enclave.program.image.size
        return [
            ARENA_BASE + rng.randrange(0, 2 * PAGE, 8),
            WINDOW + rng.randrange(0, 4 * PAGE, 8),
            WINDOW + rng.randrange(4) * PAGE + rng.randrange(0, 32, 8),
            CODE_ADDRESS,
            CODE_ADDRESS + RETURN_AT,
            owner.guest.base - 8,
            owner.guest.base + size,
            1 << 47,
            (1 << 63) + ARENA_BASE,
            2**64 - PAGE,
            2**64 - 8,
            2**64 - 2056,
            rng.getrandbits(64) & -8,
        ]

    def forbidden(self, owner: Owner) -> list[int]:
        """Linear addresses inside that nobody may write and jump to, and of the TCS."""
        if not isinstance(owner, CarelessOwner):
            return []
        tcs = owner.guest.base + owner.guest.tcs_offsets[0]
        return [tcs, tcs + 32]

    def record(self, hpa: int, size: int, taints: bool = True) -> None:
        """Note what is about to be overwritten in the host's memory, so that it can be repaired.

        Args:
            hpa: where.
            size: how many bytes.
            taints: calls may be answered differently from now on, because their arguments and
                results go through what is changed. The pages of an enclave are not among that.
        """
        if hpa >= 0 and hpa + size <= self.epc.start:
            self.undo.append((hpa, self.machine.dram.read(hpa, size), taints))
        self.meddled |= taints

    def repair(self) -> None:
        """Undo everything that was done to the host's own memory."""
        while self.undo:
            hpa, old, _ = self.undo.pop()
            self.bad.bus.write(hpa, old)
        self.machine.mmu.shootdown()

    def before_store(self, owner: Owner, gva: int) -> None:
        """The host's memory is about to be written through a victim's page tables."""
        with suppress(TeeSimError):
            hpa = owner.guest.space.translate(gva)
            if hpa is not None:
                self.record(hpa, 8)

    def bus_write(self, hpa: int, data: bytes) -> None:
        if hpa < self.epc.start:
            self.record(hpa, len(data))
        self.engine.touched.update(range(hpa & -PAGE, hpa + len(data), PAGE))
        self.bad.bus.write(hpa, data)

    def do_read(self, rng, inside) -> None:
        hpa, size = self.somewhere(rng) + rng.randrange(64), rng.choice([8, 32, PAGE, 3 * PAGE])
        data = self.see(self.bad.read(hpa, size))
        if hpa in self.epc and hpa + size <= self.epc.stop:
            assert data == b"\xff" * size, "enclave memory is not the abort page"

    def do_write(self, rng, inside) -> None:
        hpa, data = self.somewhere(rng) + 8 * rng.randrange(64), rng.randbytes(8)
        if hpa < self.epc.start:
            self.record(hpa, 8)
        self.bad.write(hpa, data)

    def do_bus_read(self, rng, inside) -> None:
        self.see(self.bad.bus.read(self.somewhere(rng), rng.choice([32, PAGE])))

    def place_of(self, rng) -> tuple[int, int]:
        """A page and a place in its data or metadata."""
        hpa = self.somewhere(rng)
        if hpa not in self.epc:
            return hpa, hpa + rng.randrange(PAGE)
        at, size = rng.choice(self.engine.ranges(hpa))
        return hpa, at + rng.randrange(size)

    def do_bus_flip(self, rng, inside) -> None:
        hpa, at = self.place_of(rng)
        if rng.random() < 0.5:
            self.bad.evict(hpa)
        old = self.bad.bus.read(at, 1)
        self.bus_write(at, bytes([old[0] ^ 1 << rng.randrange(8)]))
        if rng.random() < 0.4:  # put it back: nobody will know
            self.bus_write(at, old)

    def do_bus_write(self, rng, inside) -> None:
        _, at = self.place_of(rng)
        self.bus_write(at, rng.randbytes(rng.choice([1, 8, 64])))

    def do_snapshot(self, rng, inside) -> None:
        hpa = self.somewhere(rng)
        if hpa in self.epc:
            if rng.random() < 0.7:
                self.bad.evict(hpa)
            self.snapshots = [*self.snapshots[-9:], self.bad.snapshot(hpa)]
            for _, data in self.snapshots[-1].ranges:
                self.see(data)

    def do_replay(self, rng, inside) -> None:
        if self.snapshots:
            snapshot = rng.choice(self.snapshots)
            if rng.random() < 0.7:
                self.bad.evict(snapshot.ranges[0][0])
            for start, data in snapshot.ranges[: rng.choice([1, 9])]:
                self.bus_write(start, data)

    def do_evict(self, rng, inside) -> None:
        self.bad.evict(self.somewhere(rng), rng.choice([1, PAGE, 5 * PAGE]))

    def do_wbinvd(self, rng, inside) -> None:
        self.bad.wbinvd()

    def change_entry(self, rng, owner: Owner, bits: int) -> None:
        """Flip bits in the page-table entry of some page of the enclave or of the arena."""
        guest = owner.guest
        gva = rng.choice([*(guest.base + at for at in guest.pages), ARENA_BASE, CODE_ADDRESS])
        entry = self.bad.walk(guest, gva)
        self.record(entry.entry_hpa, 8, taints=gva == ARENA_BASE)
        self.bad.edit(guest, gva, entry.value ^ bits)

    def do_entry(self, rng, inside) -> None:
        owner = inside or rng.choice(self.owners)
        if owner.guest.lost and not owner.guest.space._tables:
            return
        guest = owner.guest
        bits = rng.choice([1, 2, 4, 8, 1 << 5, 1 << 6, 1 << 7, 1 << 51, NO_EXECUTE, 0])
        if bits:
            self.change_entry(rng, owner, bits)
            return
        thread = owner.enclave.program.threads[0]
        own = [*guest.pages, *guest.pages, *(thread.ssa, thread.tcs, thread.gs) * 4]
        gva = rng.choice([*(guest.base + at for at in own), ARENA_BASE])
        self.record(self.bad.walk(guest, gva).entry_hpa, 8, taints=gva == ARENA_BASE)
        self.bad.remap(guest, gva, self.somewhere(rng))

    def do_relax(self, rng, inside) -> None:
        """Give all rights to all pages, as far as the page tables can."""
        owner = inside or rng.choice(self.owners)
        for offset, hpa in owner.guest.pages.items():
            gva = owner.guest.base + offset
            self.record(self.bad.walk(owner.guest, gva).entry_hpa, 8, taints=False)
            self.bad.remap(owner.guest, gva, hpa)

    def do_unfinished(self, rng, inside) -> None:
        """Enter an enclave that nobody has signed."""
        image = PROGRAMS["vault"].image
        guest = self.platform.host.launch(Launch("unfinished", image, None))
        try:
            guest.enter(0, 3, 0)
        except TeeSimError:
            return
        finally:
            guest.close()
        raise AssertionError("an enclave was entered that nobody has signed")

    def do_window(self, rng, inside) -> None:
        """Map anything at an address outside the enclave."""
        owner = inside or rng.choice(self.owners)
        gva = WINDOW + rng.randrange(4) * PAGE
        place = owner.guest.space.entry_address(gva)
        if place:
            self.record(place, 8, taints=False)
        self.bad.remap(owner.guest, gva, self.somewhere(rng))

    def do_restore(self, rng, inside) -> None:
        self.repair()

    def do_execute(self, rng, inside) -> None:
        """Host code in a victim's address space, outside the enclave."""
        owner = rng.choice(self.owners)
        gva, kind = self.addresses(rng, owner), rng.randrange(5)
        move = lambda register, value: bytes([0x48, 0xB8 + register]) + struct.pack("<Q", value)  # noqa: E731
        copy = move(6, gva) + move(7, ARENA_BASE + 2 * PAGE) + b"\xb9\4\0\0\0\xf3\x48\xa5"
        store = move(0, rng.getrandbits(64)) + b"\x48\xa3" + struct.pack("<Q", gva)
        enclu = move(0, rng.randrange(6)) + move(3, gva & -PAGE) + b"\x0f\x01\xd7"
        load = b"\x0f\x10\x04\x25" + struct.pack("<I", gva & 0x7FFFFFFF)  # movups xmm0, [gva]
        code = [copy, copy, store, load, move(0, gva) + b"\xff\xe0", enclu][kind] + SYSCALL
        code = code.ljust(RETURN_AT, b"\xcc") + b"\xc3"
        if kind == 2:
            self.before_store(owner, gva)
        self.meddled |= kind == 4
        number = rng.randrange(2)
        lp = self.machine.processor(number)
        try:
            self.bad.execute(owner.guest, code, processor=number)
        finally:
            if lp.context is None:
                self.see_registers(lp)
        with suppress(UsageError):
            self.see(owner.guest.read(ARENA_BASE + 2 * PAGE, 32))

    def do_eremove(self, rng, inside) -> None:
        owner = inside or rng.choice(self.owners)
        secs = owner.guest.secs_hpa
        hpa = rng.choice([rng.choice(list(owner.guest.pages.values()))] * 2 + [secs])
        children = any(self.mine(owner, page) for page in owner.guest.pages.values())
        busy = bool(owner.guest.enclave.inside)
        was = self.mine(owner, hpa)
        try:
            self.sgx.eremove(hpa)
        except SGXError as error:
            self.must(error.code in (13, 14), str(error))
        else:
            assert not busy or not was, "a page was removed from under a thread"
            assert hpa != secs or not children, "a root was removed before its pages"

    def do_dynamic(self, rng, inside) -> None:
        """A page comes, or loses rights, or gets another type, and nobody inside has asked."""
        owner, kind = inside or rng.choice(self.owners), rng.randrange(4)
        hpa = rng.choice(list(owner.guest.pages.values()))
        old = self.sgx.epcm(hpa)
        flags = SecinfoFlags(
            r=rng.random() < 0.8,
            w=rng.random() < 0.5,
            x=rng.random() < 0.5,
            page_type=rng.choice([PageType.REG, PageType.TCS, PageType.TRIM]),
        )
        if kind == 0:
            self.unwanted(owner, self.addresses(rng, owner) & -PAGE)
        elif kind == 1:
            self.sgx.emodpr(hpa, flags)
            new = self.sgx.epcm(hpa)
            assert all(getattr(old, right) >= getattr(new, right) for right in "rwx")
        elif kind == 2:
            self.sgx.emodt(hpa, flags)
            assert self.sgx.epcm(hpa).modified
        else:
            self.sgx.etrack(owner.guest.secs_hpa)

    def unwanted(self, owner: Owner, gva: int) -> int:
        """A page of zeros that the host adds where it likes."""
        page = self.sgx.epc.take()
        try:
            self.sgx.eaug(page, owner.guest.secs_hpa, gva)
        except TeeSimError:
            self.sgx.epc.give(page)
            raise
        self.engine.wrong.discard(page)
        return page

    def do_raw(self, rng, inside) -> None:
        """ENCLS with operands that make sense to nobody."""
        if len(self.own_pages) < MAX_OWN_PAGES:
            self.own_pages.append(self.sgx.epc.take())
        pages = [*self.own_pages, *self.own_pages, self.somewhere(rng)]
        roots = [owner.guest.secs_hpa for owner in self.owners]
        page, secs = rng.choice(pages), rng.choice([*pages, *roots])
        kind = rng.randrange(5)
        gva = rng.choice([0, 0x4000_0000, 0x4000_3000, 0x4001_0000, (1 << 47) - PAGE, 1 << 63, 100])
        if kind == 0:
            flags = AttributeFlags(mode64bit=rng.random() < 0.9, debug=rng.random() < 0.5)
            size = rng.choice([PAGE, 2 * PAGE, 1 << 20, 1 << 30, 1 << 47, 1 << 63, 3, 0])
            base = rng.choice([0, 0x4000_0000, 1 << 47, 1 << 63, 3])
            ssa = rng.choice([0, 1, 1, 1, 2, 0xFFFFFFFF])
            fields = {"size": size, "baseaddr": base, "ssaframesize": ssa}
            self.sgx.ecreate(page, SECS(**fields, attributes=Attributes(flags=flags, xfrm=3)))
        elif kind == 1:
            flags = SecinfoFlags(
                r=rng.random() < 0.8,
                w=rng.random() < 0.5,
                x=rng.random() < 0.5,
                page_type=rng.choice([*PageType, PageType.REG, PageType.TCS]),
            )
            content = rng.choice([bytes(PAGE), rng.randbytes(PAGE), bytes(100)])
            finished = [o for o in self.owners if self.sgx.epcm(o.guest.secs_hpa).valid]
            self.sgx.eadd(page, secs, gva, flags, content)
            assert secs not in [o.guest.secs_hpa for o in finished], "added to after EINIT"
        elif kind == 2:
            self.sgx.eextend(page + rng.choice([0, 256, 3840, 8]), rng.choice([1, 16, 0, 17]))
        elif kind == 3:
            mrenclave = rng.choice([bytes(32), rng.choice(self.owners).guest.mrenclave])
            owner = self.sgx._sgx.enclaves.get(page)
            if owner is not None and rng.random() < 0.7:
                mrenclave = owner.mrenclave
            self.sgx.einit(page, signature(mrenclave, rng.random() < 0.5, attacker=True))
        elif page in self.own_pages:
            self.sgx.eremove(page)

    def do_edbg(self, rng, inside) -> None:
        hpa = self.somewhere(rng) + rng.choice([0, 8, 8, 16, 4, 4088])
        owners = [o for o in self.owners if hpa & -PAGE in o.guest.pages.values()]
        if rng.random() < 0.5:
            self.see(struct.pack("<Q", self.sgx.edbgrd(hpa)))
        else:
            self.sgx.edbgwr(hpa, rng.getrandbits(64))
        assert not [o for o in owners if self.mine(o, hpa & -PAGE)], "a debugger got in"

    def do_enter(self, rng, inside) -> None:
        """Enter with registers of the host's choice, run for a moment, be taken out again."""
        owner = rng.choice(self.owners)
        lp = self.machine.processor(rng.randrange(1, 4))
        if lp.context is not None or not owner.guest.space._tables:
            return
        tcs = owner.guest.base + owner.guest.tcs_offsets[0]
        registers = [rng.getrandbits(64) for _ in range(20)]
        other = [self.addresses(rng, owner), tcs + 8]
        if isinstance(owner, CarelessOwner):
            other.append(owner.enclave.address("careless_page"))
        registers[RBX] = rng.choice([tcs] * 4 + other)
        registers[RCX] = rng.choice([0x0800_0000, rng.getrandbits(64), ARENA_BASE, 1 << 47])
        registers[RDI] = rng.choice([0, 0, 2, 3, 8, 2**64 - 1, rng.getrandbits(64)])
        if isinstance(owner, VaultOwner) and registers[RDI] == 1:
            self.expose(owner)
        registers[RSI] = rng.choice([ARENA_BASE, 0, tcs, rng.getrandbits(64)])
        registers[RIP] = rng.choice([0x07FF_FFFD, 2**64 - 2, 0])
        registers[RFLAGS] = 0x202 | rng.choice([0, 0x400, 0x40000, 0x100])
        if rng.random() < 0.8:
            registers[8:10] = owner.guest.arena
        self.meddled = True
        lp.switch(owner.guest.space.cr3 if rng.random() < 0.95 else rng.getrandbits(52))
        lp.set_registers(registers)
        enclave, frames = owner.guest.enclave, self.frames_in_use(owner)
        busy, resume = bool(enclave.inside), rng.random() < 0.3
        self.sgx.eresume(lp) if resume else self.sgx.eenter(lp)
        try:
            if lp.context is enclave and not self.affected(owner):
                assert registers[RBX] == tcs, "entered by something that is no TCS"
                assert not busy, "entered a thread that is running"
                assert frames > 0 if resume else frames < 2, "no save area for this entry"
            self.run_inside(rng, lp)
        finally:
            if lp.context is not None:
                self.sgx.abandon(lp)
            self.see_registers(lp)
            self.after_entry(owner)

    def run_inside(self, rng, lp) -> None:
        for _ in range(rng.randrange(1, 5)):
            stop = lp.run(rng.choice([1, 20, 500, 3000]))
            assert lp.context is None or getattr(stop.fault, "vector", 0) != 1, "a debug exception"
            if stop.kind == "enclu" and lp.context is not None:
                if self.sgx.enclu(lp):
                    return
            elif stop.kind != "limit":
                if lp.context is not None:
                    event = self.sgx.aex(lp, stop.fault)
                    self.see(struct.pack("<Q", getattr(event, "address", 0) % 2**64))
                return

    def after_entry(self, owner: Owner) -> None:
        """An enclave ran for the host: take its state as it is, and guard its secret."""
        if self.affected(owner):
            self.expose(owner)
        self.learn_secret(owner)
        self.remember(owner)
        if isinstance(owner, VaultOwner):
            symbols, pages = owner.enclave.program.symbols, owner.guest.pages
            owner.tries = struct.unpack("<i", self.peek(pages[symbols["vault_tries"]])[:4])[0]
            pin = self.peek(pages[symbols["vault_pin"]]).split(b"\0")[0]
            owner.pin = pin.decode("utf-8", "replace")
        else:
            owner.index = None

    def do_other(self, rng, inside) -> None:
        """Another enclave is called, in the middle of this one's call."""
        others = [o for o in self.owners if o is not inside and not o.lost]
        if others:
            self.nested_call(rng.choice(others))

    def do_nested(self, rng, inside) -> None:
        if inside is not None:
            self.nested_call(inside, same=True)

    def nested_call(self, owner: Owner, same: bool = False) -> None:
        """A call whose answer says nothing about the state, from wherever the host is."""
        self.meddled |= same
        try:
            owner.enclave.ping() if isinstance(owner, VaultOwner) else owner.enclave.look_up()
        finally:
            self.learn_secret(owner)
            self.remember(owner)

    # Scenarios that random steps would seldom hit

    def quiet_vault(self, rng: Random) -> VaultOwner | None:
        """A vault with a secret that nothing was done to: a new one, if there is none."""
        self.repair()
        for owner in self.owners:
            if isinstance(owner, VaultOwner) and owner.secret and not owner.lost:
                usable = self.whole(owner) and not self.stuck(owner)
                if usable and not self.affected(owner) and not self.damaged(owner):
                    return owner
        owner = self.fresh(rng, "vault")
        if owner is not None:
            self.call(rng, owner, "alone")  # it makes its secret
        return owner if owner and owner.secret else None

    def fresh(self, rng: Random, name: str):
        """A new enclave of that program; None on a machine that has stopped."""
        self.create(rng, name=name)
        return None if self.dead else self.owners[-1]

    def rewind(self, rng: Random) -> None:
        """The bus puts the page of the tries back: refused, or accepted as it was."""
        owner = self.quiet_vault(rng)
        if owner is None or owner.tries <= 0:
            return
        self.log("rewind the tries of a vault")
        tries, hpa = owner.tries, owner.enclave.physical("vault_tries")
        try:
            self.bad.evict(hpa)
            old = self.bad.snapshot(hpa)
            answer = owner.enclave.release("no")
            self.bad.evict(hpa)
            for start, data in old.ranges:
                self.bus_write(start, data)
            assert answer.result == 0
            answer = owner.enclave.tries_left()
        except TeeSimError as error:
            self.must(self.dead, f"not by a machine check: {error}")
            return
        finally:
            self.remember(owner)
        assert not self.tree, "an old page was accepted"
        assert answer == tries
        owner.tries = tries

    def spoil(self, rng: Random) -> None:
        """The bus changes one bit of a secret: refused, or one block of garbage."""
        owner = self.quiet_vault(rng)
        if owner is None or owner.tries <= 0:
            return
        self.log("spoil the secret of a vault")
        secret, hpa, at = owner.secret, self.secret_page(owner), rng.randrange(32)
        try:
            self.bad.evict(hpa)
            self.bus_write(hpa + at, bytes([self.bad.bus.read(hpa + at, 1)[0] ^ 1]))
            self.expose(owner)
            answer = owner.enclave.release(owner.pin)
        except TeeSimError as error:
            self.must(self.dead, f"not by a machine check: {error}")
            return
        finally:
            self.remember(owner)
        assert not self.tree, "a changed page was accepted"
        assert answer.result == 1
        owner.tries = 3
        block = slice(at & 16, (at & 16) + 16)
        other = slice(16 - block.start, 32 - block.start)
        assert answer.secret[other] == secret[other]
        assert answer.secret[block] != secret[block]

    def misplace(self, rng: Random) -> None:
        """The host maps another page where a vault needs its own: the call must fail."""
        owner = self.quiet_vault(rng)
        if owner is None:
            return
        guest, thread = owner.guest, owner.enclave.program.threads[0]
        tries = owner.enclave.program.symbols["vault_tries"]
        offset = rng.choice([tries, tries, thread.ssa, thread.tcs, thread.entry & -PAGE])
        hpa, ordinary = self.somewhere(rng), self.platform.host.frames._next - PAGE
        other = rng.choice([o.guest.pages.get(offset, hpa) for o in self.owners])
        own = rng.choice(list(guest.pages.values()))
        hpa = rng.choice([hpa, ordinary, ordinary, other, own])
        if rng.random() < 0.3:
            offset = tries
            hpa = self.unwanted(owner, guest.base + offset)
        if hpa == guest.pages[offset]:
            return
        self.log(f"misplace {offset:#x} of a vault: {hpa:#x}")
        self.record(self.bad.walk(guest, guest.base + offset).entry_hpa, 8, taints=False)
        with suppress(UsageError):
            self.bad.remap(guest, guest.base + offset, hpa)
            answer = owner.call("tries_left")
            assert answer is LOST, f"a vault used {hpa:#x} as its own and said {answer}"
        self.remember(owner)

    def misuse(self, rng: Random) -> None:
        """A careless program is led to what it may not do: each time, it must die."""
        self.repair()
        able = [o for o in self.owners if isinstance(o, CarelessOwner) and not o.lost]
        owner = next((o for o in able if self.whole(o) and not self.stuck(o)), None)
        owner = owner or self.fresh(rng, "careless")
        if owner is None:
            return
        kind = rng.choice("data outside read write code cpuid forged changed".split())
        self.log(f"misuse a careless program: {kind}")
        content = owner.forged_tcs() if kind in ("forged", "changed") else RETURNS
        answer = owner.call("put", content)
        self.remember(owner)
        if answer is not None:
            return
        with suppress(TeeSimError):
            self.do_relax(rng, owner)
            self.bad.place_code(owner.guest, RETURNS)
        address, (tcs, _) = owner.enclave.address, self.forbidden(owner)
        name, args = {
            "data": ("jump", (address("careless_page"),)),
            "outside": ("jump", (CODE_ADDRESS,)),
            "read": ("peek", (tcs + 32,)),
            "write": ("poke", (tcs + 32, 0)),
            "code": ("poke", (address("look_up") & -8, 2**64 - 1)),
            "cpuid": ("cpuid", (0,)),
            "forged": ("forged", ()),
            "changed": ("changed", ()),
        }[kind]
        if kind in ("forged", "changed"):
            with suppress(TeeSimError):
                if kind == "changed":
                    page = owner.enclave.physical("careless_page")
                    self.sgx.emodt(page, SecinfoFlags(page_type=PageType.TCS))
            self.enter_by(owner, address("careless_page"))
            if kind == "changed":
                self.close(owner)
            return
        answer = owner.call(name, *args)
        self.remember(owner)
        assert answer is LOST, f"{name}{args} gave {answer!r}"

    def enter_by(self, owner: Owner, gva: int) -> None:
        """Enter through a page that is no thread control structure."""
        lp, registers = self.machine.processor(1), [0] * 20
        registers[RBX], registers[RCX], registers[RFLAGS] = gva, CODE_ADDRESS, 0x202
        lp.switch(owner.guest.space.cr3)
        lp.set_registers(registers)
        with suppress(TeeSimError):
            self.sgx.eenter(lp)
            raise AssertionError("entered by something that is no TCS")

    def page_out(self, rng: Random) -> None:
        """A vault's page leaves the EPC, and comes back as it left last, or not at all."""
        owner = self.quiet_vault(rng)
        if owner is None:
            return
        guest, sgx = owner.guest, self.sgx
        hpa = rng.choice([self.secret_page(owner), *guest.pages.values()])
        self.log(f"page out {hpa:#x} of a vault")
        try:
            versions = sgx.epc.take()
            sgx.epa(versions)
            slot = versions + 8 * rng.randrange(512)
            old = self.evict_by_the_book(guest, hpa, slot)
            sgx.eldu(hpa, guest.secs_hpa, slot, old)
            page = self.evict_by_the_book(guest, hpa, slot)
            secs, wrong = self.wrong_page(rng, guest, old, page)
            with suppress(SGXError):
                sgx.eldu(hpa, secs, slot, wrong)
                raise AssertionError(f"{wrong!r} came back")
            sgx.eldu(hpa, guest.secs_hpa, slot, page)
            sgx.eremove(versions)
            sgx.epc.give(versions)
        except (Fault, UsageError) as error:
            self.must(self.dead, f"not by a machine check: {error}")

    def evict_by_the_book(self, guest, hpa: int, slot: int) -> EvictedPage:
        self.sgx.eblock(hpa)
        self.sgx.etrack(guest.secs_hpa)
        page = self.sgx.ewb(hpa, slot)
        self.see(page.srcpge)
        return page

    def wrong_page(self, rng: Random, guest, old, page) -> tuple[int, EvictedPage]:
        """An older page, one for another enclave, or one that was changed; and a SECS for it."""
        others = [o.guest.secs_hpa for o in self.owners if o.guest is not guest]
        kind, raw = rng.choice(["old", "owner", "bit", "address"]), bytearray(page.srcpge)
        raw[rng.randrange(PAGE)] ^= 1 << rng.randrange(8)
        if kind == "owner" and others:
            return rng.choice(others), page
        changes = {"bit": {"srcpge": bytes(raw)}, "address": {"linaddr": page.linaddr ^ PAGE}}
        return guest.secs_hpa, replace(page, **changes[kind]) if kind in changes else old

    # After a machine check, and at the end

    def check_dead(self, rng: Random) -> None:
        """Memory is locked: nothing is answered from it any more, and nothing breaks."""
        if self.owners:
            self.attempt(rng)
        with suppress(TeeSimError):
            self.bad.wbinvd()
        for owner in self.owners:
            cached = self.machine.cache.is_cached(self.secret_page(owner))
            if not cached and not owner.lost and not self.stuck(owner):
                assert owner.call("make_secret", *["1"] * isinstance(owner, VaultOwner)) is LOST

    def finish(self) -> None:
        """The platform is still usable, and everything can be given back."""
        self.search()
        self.repair()
        for owner in list(self.owners):
            self.close(owner)
        if self.dead:
            return
        free = self.resources()
        try:
            fresh = self.platform.create_enclave(PROGRAMS["vault"])
            answer = fresh.make_secret("0000")
            assert fresh.release("1").result == 0
            released = fresh.release("0000")
            assert (released.result, digest(released.secret)) == (1, answer)
            assert fresh.tries_left() == 3
            fresh.close()
        except TeeSimError as error:
            self.must(self.dead, f"a fresh enclave does not work: {error}")
        else:
            assert self.resources() == free, "an enclave kept memory"
