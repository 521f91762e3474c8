"""What random hostile sequences have found: one rule each."""

import struct

import pytest

from tee_sim import Platform
from tee_sim.errors import (
    EnclaveLost,
    Fault,
    GeneralProtection,
    PageFault,
    SGXError,
    TeeSimError,
    UsageError,
)
from tee_sim.hypervisor.guest import ARENA_BASE
from tee_sim.machine.cpu import LogicalProcessor
from tee_sim.machine.registers import RBX, RCX, RIP
from tee_sim.sdk.image import load_program
from tee_sim.units import MIB, PAGE

SMALL = {"memory": 22 * MIB, "epc": 4 * MIB}
TOP = 2**64 - PAGE
SYSCALL = b"\x0f\x05"


def store(gva: int, value: int) -> bytes:
    return b"\x48\xb8" + struct.pack("<Q", value) + b"\x48\xa3" + struct.pack("<Q", gva)


def test_an_enclave_cannot_be_sent_to_what_was_written_to_the_abort_page() -> None:
    host = Platform("sgx-tme", **SMALL)
    victim = host.create_enclave("careless")
    victim.make_secret()
    steal = b"\x48\xa1" + struct.pack("<Q", victim.address("careless_secret")) + b"\xc3"
    steal = steal.ljust(16, b"\x90")
    sink = victim.address("careless_page")
    words = struct.unpack("<2Q", steal)
    code = store(sink, words[0]) + store(sink + 8, words[1]) + SYSCALL
    host.adversary.execute(victim.guest, code)
    with pytest.raises(EnclaveLost):
        victim.jump(TOP)


@pytest.mark.parametrize("at", [0, 8, 2040, 2048, PAGE - 8])
def test_the_last_page_of_the_address_space_is_a_page_like_any_other(at: int) -> None:
    host = Platform("sgx-tme", **SMALL)
    for call, argument in (("peek", ()), ("poke", (1,)), ("jump", ())):
        victim = host.create_enclave("careless")
        with pytest.raises(EnclaveLost) as lost:
            getattr(victim, call)(TOP + at, *argument)
        assert isinstance(lost.value.fault, PageFault) or call == "jump"
    other = host.create_enclave("careless")
    for code in (b"\x48\xa1" + struct.pack("<Q", TOP + at), store(TOP + at, 1)):
        with pytest.raises(PageFault):
            host.adversary.execute(other.guest, code + SYSCALL)


def test_a_counted_run_leaves_no_fault_for_the_next_uncounted_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The engine asks for translations of its own when it stops counting: nobody's accesses."""
    host = Platform("sgx-tme", **SMALL)
    first = host.create_enclave("vault")
    first.make_secret("1")
    with host.adversary.interrupting(first.guest, 1, lambda registers: None):
        first.tries_left()
    second = host.create_enclave("careless")
    asked = []
    decide = LogicalProcessor.on_fill

    def on_fill(self: LogicalProcessor, gva: int, access: int) -> tuple[int, int] | None:
        answer = decide(self, gva, access)
        asked.append((hex(gva), answer))
        return answer

    monkeypatch.setattr(LogicalProcessor, "on_fill", on_fill)
    before = len(host.checks.refusals)
    second.look_up()
    assert asked
    assert all(answer is not None for _, answer in asked)
    assert len(host.checks.refusals) == before


@pytest.mark.parametrize("gva", [1 << 47, 1 << 63, (0x1234 << 48) + ARENA_BASE, 2**63 + 0x40000000])
def test_a_non_canonical_address_is_no_address(gva: int) -> None:
    host = Platform("sgx-tme", **SMALL)
    for call in ("peek", "jump"):
        victim = host.create_enclave("careless")
        with pytest.raises(EnclaveLost) as lost:
            getattr(victim, call)(gva)
        assert isinstance(lost.value.fault, GeneralProtection)


@pytest.mark.parametrize("place", ["vault_secret", "metadata"])
def test_a_page_walk_through_enclave_memory_reads_and_writes_nothing(place: str) -> None:
    host = Platform("sgx-mee", **SMALL)
    victim, other = host.create_enclave("vault"), host.create_enclave("careless")
    victim.make_secret("1")
    host.adversary.wbinvd()
    hpa = victim.physical("vault_secret")
    hpa = hpa if place == "vault_secret" else host.machine.footprint(hpa)[1][0] & -PAGE
    window = 0x2000_0000
    host.adversary.remap(other.guest, window, PAGE)
    directory = host.machine.dram.qwords[other.guest.space.cr3 >> 3] & -PAGE
    directory = host.machine.dram.qwords[directory >> 3] & (1 << 40) - PAGE
    host.adversary.write(directory + 8 * (window >> 21), struct.pack("<Q", hpa | 7))
    before = host.adversary.bus.read(hpa, PAGE)
    for page in range(512):
        code = b"\x48\xa1" + struct.pack("<Q", window + page * PAGE) + SYSCALL
        with pytest.raises(PageFault) as fault:
            host.adversary.execute(other.guest, code)
        assert fault.value.error_code == 0xD  # a reserved bit: the entry reads as all ones
    for edit in (host.adversary.hpa, lambda *where: host.adversary.edit(*where, 7)):
        with pytest.raises(UsageError, match="not in the host's memory"):
            edit(other.guest, window)
    assert host.adversary.bus.read(hpa, PAGE) == before
    assert victim.tries_left() == 3


@pytest.mark.parametrize("table", [1 << 50, (1 << 52) - PAGE, 22 * MIB])
def test_page_tables_outside_memory_are_faults_and_usage_errors(table: int) -> None:
    host = Platform("sgx-tme", **SMALL)
    victim = host.create_enclave("vault")
    host.adversary.write(victim.guest.space.cr3, struct.pack("<Q", table | 7))
    with pytest.raises(UsageError, match="not in the host's memory"):
        host.adversary.walk(victim.guest, victim.guest.base)
    with pytest.raises(TeeSimError):
        victim.ping()
    victim.close()
    with pytest.raises(UsageError, match="64 bits"):
        host.adversary.remap(host.create_enclave("vault").guest, 0x2000_0000, -PAGE)


@pytest.mark.parametrize("offset", [32, 48, 56])
def test_a_garbled_thread_control_structure_is_a_general_protection_fault(offset: int) -> None:
    for seed in range(4):
        host = Platform("sgx-tme", seed=seed, **SMALL)
        victim = host.create_enclave("vault")
        tcs = victim.guest.pages[victim.guest.tcs_offsets[0]]
        host.adversary.evict(tcs)
        host.adversary.bus.write(tcs + offset, b"garbled!")
        with pytest.raises(EnclaveLost) as lost:
            victim.ping()
        assert isinstance(lost.value.fault, GeneralProtection)


def test_a_processor_enters_one_enclave_at_a_time() -> None:
    host = Platform("sgx-tme", **SMALL)
    victim, other = host.create_enclave("vault"), host.create_enclave("vault")
    lp, seen = host.machine.processor(0), []

    def meanwhile() -> None:
        for attempt in (other.ping, lambda: host.adversary.execute(other.guest, SYSCALL)):
            with pytest.raises(UsageError, match=r"inside an enclave|was not interrupted"):
                attempt()
        with pytest.raises(GeneralProtection, match="inside an enclave already"):
            host.adversary.sgx.eenter(lp)
        seen.append(lp.context)

    with host.adversary.meanwhile(victim.guest, 100, meanwhile):
        victim.make_secret("1")
    assert seen
    assert other.ping() is None
    assert victim.tries_left() == 3


def test_an_enclave_runs_while_another_is_interrupted() -> None:
    host = Platform("sgx-tme", **SMALL)
    victim, other = host.create_enclave("vault"), host.create_enclave("vault")
    other.make_secret("2")
    with host.adversary.interrupting(victim.guest, 500, lambda registers: other.release("x")):
        victim.make_secret("1")
    assert victim.release("1").result == 1
    assert other.tries_left() == 0


@pytest.mark.parametrize("tee", ["none", "vbs", "sgx-mee", "sgx-tme"])
@pytest.mark.parametrize("how", ["meanwhile", "handler"])
def test_an_enclave_may_be_closed_while_it_runs(tee: str, how: str) -> None:
    without = {"VTL.INTERRUPTS"} if tee == "vbs" else ()
    host = Platform(tee, without=without, **SMALL)
    victim = host.create_enclave("vault")
    bad, guest = host.adversary, victim.guest
    attack = {
        "meanwhile": lambda: bad.meanwhile(guest, 100, victim.close),
        "handler": lambda: bad.interrupting(guest, 100, lambda registers: victim.close()),
    }[how]
    with pytest.raises(EnclaveLost, match="closed"), attack():
        victim.make_secret("1")
    fresh = host.create_enclave("vault")
    fresh.make_secret("1")
    assert fresh.tries_left() == 3


def free(host: Platform) -> list[int]:
    both = [host.host.frames] + ([host.host.sgx.epc] if host.host.sgx else [])
    for allocator in both:
        assert len(set(allocator._freed)) == len(allocator._freed), "a page was given back twice"
    return [(it._stop - it._next) // PAGE + len(it._freed) for it in both]


@pytest.mark.parametrize("tee", ["none", "vbs", "sgx-mee", "sgx-tme"])
def test_closing_gives_everything_back_and_only_once(tee: str) -> None:
    host = Platform(tee, **SMALL)
    before = free(host)
    victim = host.create_enclave("vault")
    victim.make_secret("1")
    host.adversary.execute(victim.guest, SYSCALL)
    victim.close()
    victim.close()
    assert free(host) == before


def test_a_page_that_was_taken_away_is_not_given_back_while_in_use() -> None:
    host = Platform("sgx-tme", **SMALL)
    sgx = host.host.sgx
    victim, page = host.create_enclave("vault"), None
    page = victim.guest.pages[0]
    sgx.eremove(page)
    thief = load_program("careless").image
    spy = sgx.epc.take()
    secs = victim.guest.enclave.secs.with_(mrenclave=bytes(32), mrsigner=bytes(32))
    attributes = secs.attributes.with_(flags=secs.attributes.flags.with_(init=False))
    sgx.ecreate(page, secs.with_(attributes=attributes))
    flags = thief.pages[0].secinfo_flags
    sgx.eadd(spy, page, 0x4000_0000, flags, bytes(PAGE))
    victim.close()
    assert page not in sgx.epc._freed
    with pytest.raises(SGXError, match="SGX_CHILD_PRESENT"):
        sgx.eremove(page)
    free(host)


@pytest.mark.parametrize("tee", ["none", "vbs", "sgx-mee", "sgx-tme"])
def test_an_enclave_that_does_not_fit_leaves_nothing_behind(tee: str) -> None:
    host = Platform(tee, memory=17 * MIB + 64 * PAGE, epc=48 * PAGE)
    if tee == "none":
        host = Platform(tee, memory=48 * PAGE)
    while host.host.frames.left > 48:
        host.host.frames.take()
    kept = [host.create_enclave("vault")]
    kept[0].make_secret("0")
    with pytest.raises(UsageError, match="out of"):
        kept += [host.create_enclave("vault") for _ in range(20)]
    left = free(host)
    with pytest.raises(UsageError, match="out of"):
        host.create_enclave("vault")
    assert free(host) == left
    kept[0].make_secret("1")
    assert kept[0].tries_left() == 3


def test_an_entry_with_any_registers_ends_in_a_fault_or_inside() -> None:
    host = Platform("sgx-tme", **SMALL)
    victim = host.create_enclave("vault")
    lp = host.machine.processor(1)
    registers = [2**64 - 1] * 20
    registers[RBX] = victim.guest.base + victim.guest.tcs_offsets[0]
    for rip, aep in ((2**64 - 2, 0), (2**64 - 1, 2**64 - 1), (0, 1 << 47)):
        registers[RIP], registers[RCX] = rip, aep
        lp.switch(victim.guest.space.cr3)
        lp.set_registers(registers)
        try:
            host.adversary.sgx.eenter(lp)
        except Fault:
            assert aep == 1 << 47
        else:
            assert lp.register(RCX) == (rip + 3) % 2**64
            host.adversary.sgx.abandon(lp)
            break
