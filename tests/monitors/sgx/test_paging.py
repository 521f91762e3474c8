"""EPA, EBLOCK, EWB, ELDU and those beside them: what each refuses, in order, and changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assembly import DATA, DATA_GVA, SSA_0, TCS_0, image, launch, leave, load_from, mov, store
from tee_sim import Platform
from tee_sim.abi.image import measure
from tee_sim.abi.sgx import PCMD, SECINFO, EvictedPage, PageType, SecinfoFlags
from tee_sim.errors import (
    EnclaveLost,
    Fault,
    GeneralProtection,
    PageFault,
    SGXError,
    TeeSimError,
    UsageError,
)
from tee_sim.hypervisor.sgx import SGXGuest
from tee_sim.machine.registers import RBX, RDI
from tee_sim.trace import Leaf, Recorder
from tee_sim.units import MIB, PAGE

GP, PF = GeneralProtection, PageFault
# Spins on a word of its data until the host writes there; then leaves with RDI = the word.
SPIN = mov(RBX, DATA_GVA) + b"\x48\x8b\x3b\x48\x85\xff\x74\xf8" + leave()
KINDS = (PageType.REG, PageType.TCS, PageType.TRIM)


class Bench:
    """An enclave, a version array, a free page, and another enclave; all addresses by name."""

    def __init__(self, tee: str = "sgx-tme", **options: Any) -> None:
        self.platform = Platform(tee, memory=20 * MIB, epc=MIB, **options)
        assert self.platform.host.sgx is not None
        self.driver = self.platform.host.sgx
        self.sgx = self.driver._sgx
        self.guest = launch(self.platform, SPIN, data=bytes(8) + b"sixteen bytes...")
        self.other = launch(self.platform, SPIN)
        self.va, self.free, self.free2 = (self.driver.epc.take() for _ in range(3))
        self.driver.epa(self.va)

    @property
    def secs(self) -> int:
        return self.guest.secs_hpa

    def place(self, where: str) -> int:
        """An address by its name, and an offset: ``"va + 8"``."""
        name, _, offset = where.partition(" + ")
        start = {
            "page": self.guest.pages.get(DATA),
            "tcs": self.guest.pages.get(TCS_0),
            "ssa": self.guest.pages.get(SSA_0),
            "other secs": self.other.secs_hpa,
            "outside": self.sgx.epcm.start - PAGE,
            "zero": 0,
        }.get(name)
        return (getattr(self, name) if start is None else start) + int(offset or 0)

    def evict(self, where: str = "page", slot: str = "va") -> EvictedPage:
        """By the book."""
        self.driver.eblock(self.place(where))
        self.driver.etrack(self.secs)
        return self.driver.ewb(self.place(where), self.place(slot))

    def evict_all(self) -> dict[int, tuple[int, EvictedPage]]:
        """Every page of the enclave: offset -> (slot, page). The SECS has the offset -1."""
        found = {}
        for number, (offset, hpa) in enumerate(list(self.guest.pages.items()), 1):
            self.driver.eblock(hpa)
            self.driver.etrack(self.secs)
            found[offset] = self.va + 8 * number, self.driver.ewb(hpa, self.va + 8 * number)
        found[-1] = self.va, self.driver.ewb(self.secs, self.va)
        return found

    def reload_all(self, pages: dict[int, tuple[int, EvictedPage]]) -> None:
        """Into other places than before."""
        slot, page = pages.pop(-1)
        self.guest.secs_hpa = self.driver.epc.take()
        self.guest.enclave = self.driver.eldu(self.secs, 0, slot, page)
        for offset, (slot, page) in pages.items():
            hpa = self.guest.pages[offset] = self.driver.epc.take()
            self.driver.eldu(hpa, self.secs, slot, page)
            entry = self.guest.space.entry(self.guest.base + offset)
            self.guest.space.set_entry(self.guest.base + offset, entry & ~(2**52 - PAGE) | hpa)

    def state(self) -> tuple[object, ...]:
        pages = range(self.sgx.epcm.start, self.sgx.epcm.start + 24 * PAGE, PAGE)
        return (
            [repr(self.sgx.epcm[hpa]) for hpa in pages],
            [bytes(self.sgx.machine.cache.view(hpa)) for hpa in pages],
            [(hpa, it.epoch, it.eid, dict(it.inside)) for hpa, it in self.sgx.enclaves.items()],
        )

    @contextmanager
    def refused(
        self, expected: type[TeeSimError] | int, match: str | None = None
    ) -> Iterator[None]:
        """The block is refused, and nothing has changed."""
        before = self.state()
        kind = SGXError if isinstance(expected, int) else expected
        with pytest.raises(kind, match=match) as error:
            yield
        if isinstance(error.value, SGXError):
            assert error.value.code == expected
        assert self.state() == before

    @contextmanager
    def inside(self, processor: int = 1) -> Iterator[Any]:
        """A thread spins inside, with a translation to the data page in its TLB."""
        steps = self.guest.steps(0, processor=processor, quantum=20)
        next(steps)
        yield steps
        lp = self.platform.machine.processor(processor)
        if lp.context is not None:
            self.driver.abandon(lp)


@pytest.fixture
def bench() -> Bench:
    return Bench()


# EPA


@pytest.mark.parametrize(
    ("where", "expected"), [("free + 8", GP), ("outside", PF), ("page", PF), ("secs", PF)]
)
def test_epa_needs_a_free_page(bench: Bench, where: str, expected: type[Fault]) -> None:
    with bench.refused(expected):
        bench.driver.epa(bench.place(where))


def test_epa_makes_an_empty_array_that_no_software_reads_or_writes(bench: Bench) -> None:
    assert bytes(bench.sgx.machine.cache.view(bench.va)) == bytes(PAGE)
    bench.evict()
    assert bench.platform.adversary.read(bench.va, 8) == b"\xff" * 8
    bench.platform.adversary.write(bench.va, bytes(8))
    assert bench.driver.edbgrd(bench.va) == 2**64 - 1
    assert bench.driver.edbgrd(bench.va + 8) == 0
    with bench.refused(PF):
        bench.driver.edbgwr(bench.va, 1)
    with bench.refused(GP):
        bench.driver.edbgrd(bench.va + 4)
    bench.guest.space.map(DATA_GVA, bench.va)
    with pytest.raises(TeeSimError) as lost:
        bench.guest.enter(0)
    assert lost.value.fault.check.name in ("EPCM.ENCLAVESECS", "EPCM.PT")


# EBLOCK, ETRACKC, ERDINFO

EBLOCK_REFUSED: list[tuple[str, type[TeeSimError] | int]] = [
    ("page + 8", GP),
    ("outside", PF),
    ("free", 6),
    ("secs", 18),
    ("va", 5),
]


@pytest.mark.parametrize(("where", "expected"), EBLOCK_REFUSED)
def test_eblock_refuses_in_order(bench: Bench, where: str, expected: Any) -> None:
    with bench.refused(expected):
        bench.driver.eblock(bench.place(where))


def test_a_page_is_blocked_once(bench: Bench) -> None:
    bench.driver.eblock(bench.place("page"))
    with bench.refused(3):
        bench.driver.eblock(bench.place("page"))


@pytest.mark.parametrize(
    ("where", "expected"), [("page + 8", GP), ("outside", PF), ("free", 6), ("va", 27)]
)
def test_etrackc_refuses_in_order(bench: Bench, where: str, expected: Any) -> None:
    with bench.refused(expected):
        bench.driver.etrackc(bench.place(where))


@pytest.mark.parametrize("where", ["page", "tcs", "secs"])
def test_etrackc_begins_a_cycle_of_the_pages_enclave(bench: Bench, where: str) -> None:
    with bench.inside():
        bench.driver.etrackc(bench.place(where))
        assert bench.guest.enclave.epoch == 1
        with bench.refused(17, "ETRACKC"):
            bench.driver.etrackc(bench.place(where))


@pytest.mark.parametrize(("where", "expected"), [("outside + 8", GP), ("outside", 26), ("free", 6)])
def test_erdinfo_refuses_in_order(bench: Bench, where: str, expected: Any) -> None:
    with bench.refused(expected):
        bench.driver.erdinfo(bench.place(where))


def test_erdinfo_tells_type_state_and_owner(bench: Bench) -> None:
    rw = SecinfoFlags(r=True, w=True, page_type=PageType.REG)
    assert bench.driver.erdinfo(bench.place("page")) == (False, rw, False, bench.secs)
    bench.driver.eblock(bench.place("page"))
    assert bench.driver.erdinfo(bench.place("page")).blocked
    secs = bench.driver.erdinfo(bench.secs)
    assert (secs.child_present, secs.flags.page_type) == (True, PageType.SECS)
    assert bench.driver.erdinfo(bench.va).enclavecontext == 0
    for hpa in bench.guest.pages.values():
        bench.driver.eremove(hpa)
    assert not bench.driver.erdinfo(bench.secs).child_present


# EWB

EWB_REFUSED: list[tuple[str, str, Any, str]] = [
    ("page + 8", "outside + 1", GP, "page-aligned"),
    ("outside", "outside + 1", PF, "page .* not in the EPC"),
    ("page", "outside + 1", GP, "not aligned to 8"),
    ("page", "outside", PF, "slot .* not in the EPC"),
    ("free", "free + 8", GP, "in the page that leaves"),
    ("free", "tcs", PF, "^#PF.* not in use"),
    ("page", "free", PF, "page of slot .* not in use"),
    ("page", "tcs", PF, "VA.PT"),
    ("page", "secs + 8", PF, "VA.PT"),
    ("page", "va", 10, "SGX_PAGE_NOT_BLOCKED"),
    ("tcs", "va + 4088", 10, "SGX_PAGE_NOT_BLOCKED"),
    ("secs", "va", 13, "SGX_CHILD_PRESENT"),
]


@pytest.mark.parametrize(("where", "slot", "expected", "match"), EWB_REFUSED)
def test_ewb_refuses_in_order(
    bench: Bench, where: str, slot: str, expected: Any, match: str
) -> None:
    with bench.refused(expected, match):
        bench.driver.ewb(bench.place(where), bench.place(slot))


def test_ewb_of_a_page_that_was_not_tracked_is_refused(bench: Bench) -> None:
    page = bench.place("page")
    bench.driver.etrack(bench.secs)  # too early
    bench.driver.eblock(page)
    with bench.refused(11):
        bench.driver.ewb(page, bench.va)
    bench.driver.etrack(bench.secs)
    bench.driver.ewb(page, bench.va)


def test_a_page_that_ewb_took_unblocked_is_looked_up_again() -> None:
    """No TLB holds it any more, and the processor does not rely on what it decided before."""
    host = Platform("sgx-tme", memory=20 * MIB, epc=MIB, without={"EWB.BLOCKED"})
    guest = launch(host, load_from(RDI, DATA_GVA) + leave(), data=b"x" * 8)
    array = guest.driver.epc.take()
    guest.driver.epa(array)
    assert guest.enter(0)[0] == int.from_bytes(b"x" * 8, "little")
    guest.driver.etrack(guest.secs_hpa)
    guest.driver.ewb(guest.pages[DATA], array)
    with pytest.raises(EnclaveLost, match=r"EPCM\.VALID"):
        guest.enter(0)


def test_etrack_is_in_the_trace_between_eblock_and_ewb(bench: Bench) -> None:
    bench.sgx.checks.tracer = trace = Recorder()
    bench.evict()
    bench.driver.etrackc(bench.place("tcs"))
    names = [event.name for event in trace.events if isinstance(event, Leaf)]
    assert names == ["EBLOCK", "ETRACK", "EWB", "ETRACKC"]


def test_ewb_waits_for_every_processor_that_was_inside_at_etrack(bench: Bench) -> None:
    page = bench.place("page")
    with bench.inside() as steps:
        bench.driver.eblock(page)
        bench.driver.etrack(bench.secs)
        for _ in range(3):
            next(steps)  # its TLB still leads to the page: blocking is not noticed
            with bench.refused(11):
                bench.driver.ewb(page, bench.va)
        lp = bench.platform.machine.processor(1)
        bench.driver.aex(lp, None)
        bench.driver.ewb(page, bench.va)


def test_a_processor_that_enters_after_etrack_is_no_obstacle(bench: Bench) -> None:
    page = bench.place("ssa")
    bench.driver.eblock(bench.place("page"))
    bench.driver.etrack(bench.secs)
    bench.guest.space.set_entry(DATA_GVA, 0)
    lp = bench.platform.machine.processor(1)
    registers = [0] * 20
    registers[RBX] = bench.guest.base + TCS_0
    lp.switch(bench.guest.space.cr3)
    lp.set_registers(registers)
    bench.driver.eenter(lp)
    assert bench.guest.enclave.inside
    bench.driver.ewb(bench.place("page"), bench.va)
    bench.driver.eblock(page)
    with bench.refused(11):
        bench.driver.ewb(page, bench.va + 8)
    bench.driver.abandon(lp)


def test_a_blocked_page_gets_no_new_translation(bench: Bench) -> None:
    with bench.inside() as steps:
        bench.driver.eblock(bench.place("page"))
        next(steps)
        lp = bench.platform.machine.processor(1)
        lp.flush_tlb()
        with pytest.raises(TeeSimError) as lost:
            next(steps)
    fault = lost.value.fault
    assert (fault.check.name, fault.error_code) == ("EPCM.BLOCKED", 0x8005)


@pytest.mark.parametrize("where", ["tcs", "ssa"])
def test_no_entry_through_blocked_pages(bench: Bench, where: str) -> None:
    bench.driver.eblock(bench.place(where))
    with pytest.raises(PageFault) as fault:
        bench.guest.enter(0)
    assert fault.value.error_code & 0x8000


def test_ewb_frees_the_page_and_fills_the_slot(bench: Bench) -> None:
    page = bench.place("page")
    content = bytes(bench.sgx.machine.cache.view(page))
    evicted = bench.evict()
    assert not bench.sgx.epcm[page].valid
    assert bench.driver.edbgrd(bench.va) == 2**64 - 1
    assert (evicted.linaddr, evicted.slot_was_occupied) == (DATA_GVA, False)
    flags = SecinfoFlags(r=True, w=True, page_type=PageType.REG)
    assert evicted.pcmd.secinfo == SECINFO(flags=flags)
    assert evicted.pcmd.enclaveid == bench.guest.enclave.eid != 0
    assert PCMD.unpack(evicted.pcmd.pack()) == evicted.pcmd
    assert b"sixteen bytes" in content
    assert b"sixteen bytes" not in evicted.srcpge


def test_an_occupied_slot_is_reported_and_overwritten(bench: Bench) -> None:
    first = bench.evict("page")
    second = bench.evict("ssa")
    assert (first.slot_was_occupied, second.slot_was_occupied) == (False, True)
    with bench.refused(9):
        bench.driver.eldu(bench.free, bench.secs, bench.va, first)
    bench.driver.eldu(bench.free, bench.secs, bench.va, second)


def test_the_same_page_never_looks_the_same_twice(bench: Bench) -> None:
    page, seen = bench.place("page"), set()
    for _ in range(5):
        evicted = bench.evict()
        seen.add(evicted.srcpge[:16])
        bench.driver.eldu(page, bench.secs, bench.va, evicted)
    assert len(seen) == 5


# ELDB and ELDU

ELD_REFUSED: list[tuple[str, str, str, Any, str]] = [
    ("free + 8", "outside", "outside + 1", GP, "page-aligned"),
    ("outside", "outside", "outside + 1", PF, "page .* not in the EPC"),
    ("free", "outside", "outside + 1", GP, "not aligned to 8"),
    ("free", "outside", "outside", PF, "slot .* not in the EPC"),
    ("tcs", "outside", "tcs", PF, "is in use"),
    ("free", "outside", "free2", PF, "page of slot .* not in use"),
    ("free", "outside", "tcs", PF, "VA.PT"),
    ("free", "secs + 8", "va", GP, "SECS page .* page-aligned"),
    ("free", "outside", "va", PF, "SECS page .* not in the EPC"),
    ("free", "zero", "va", PF, "SECS page .* not in the EPC"),
    ("free", "tcs", "va", PF, "not a valid SECS"),
    ("free", "other secs", "va", 9, "SGX_MAC_COMPARE_FAIL"),
    ("free", "secs", "va + 8", 9, "SGX_MAC_COMPARE_FAIL"),
]


@pytest.mark.parametrize("block", [False, True])
@pytest.mark.parametrize(("where", "secs", "slot", "expected", "match"), ELD_REFUSED)
def test_eldu_refuses_in_order(
    bench: Bench, where: str, secs: str, slot: str, expected: Any, match: str, block: bool
) -> None:
    evicted = bench.evict()
    leaf = bench.driver.eldb if block else bench.driver.eldu
    with bench.refused(expected, match):
        leaf(*map(bench.place, (where, secs, slot)), evicted)
    leaf(bench.free, bench.secs, bench.va, evicted)  # the slot was kept


def test_a_secs_or_a_version_array_has_no_other_secs(bench: Bench) -> None:
    array = bench.driver.ewb(bench.va, second_array(bench))
    with bench.refused(GP, "no other SECS"):
        bench.driver.eldu(bench.va, bench.secs, bench.free2, array)
    bench.driver.eldu(bench.va, 0, bench.free2, array)


def second_array(bench: Bench) -> int:
    bench.driver.epa(bench.free2)
    return bench.free2


def flipped(raw: bytes, bit: int) -> bytes:
    return (int.from_bytes(raw, "little") ^ 1 << bit).to_bytes(len(raw), "little")


def with_flags(page: EvictedPage, **changes: Any) -> EvictedPage:
    flags = page.pcmd.secinfo.flags.with_(**changes)
    return replace(page, pcmd=page.pcmd.with_(secinfo=SECINFO(flags=flags)))


CHANGES: dict[str, Callable[[EvictedPage], EvictedPage]] = {
    "first bit": lambda page: replace(page, srcpge=flipped(page.srcpge, 0)),
    "last bit": lambda page: replace(page, srcpge=flipped(page.srcpge, 8 * PAGE - 1)),
    "MAC": lambda page: replace(page, pcmd=page.pcmd.with_(mac=flipped(page.pcmd.mac, 7))),
    "address": lambda page: replace(page, linaddr=page.linaddr + PAGE),
    "executable": lambda page: with_flags(page, x=True),
    "not writable": lambda page: with_flags(page, w=False),
    "not readable": lambda page: with_flags(page, r=False),
    "pending": lambda page: with_flags(page, pending=True),
    "modified": lambda page: with_flags(page, modified=True),
    "PR": lambda page: with_flags(page, pr=True),
    "a TCS": lambda page: with_flags(page, page_type=PageType.TCS),
    "trimmed": lambda page: with_flags(page, page_type=PageType.TRIM),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_a_page_returns_as_it_left_or_not_at_all(
    bench: Bench, change: Callable[[EvictedPage], EvictedPage]
) -> None:
    evicted = bench.evict()
    with bench.refused(9):
        bench.driver.eldu(bench.free, bench.secs, bench.va, change(evicted))
    assert not bench.sgx.epcm[bench.free].valid
    bench.driver.eldu(bench.free, bench.secs, bench.va, evicted)


@settings(max_examples=100)
@given(bit=st.integers(0, 8 * PAGE - 1))
def test_no_bit_of_the_ciphertext_can_be_flipped(bit: int) -> None:
    if not SHARED.guest.enclave.epoch:
        EVICTED.append(SHARED.evict())
    changed = replace(EVICTED[0], srcpge=flipped(EVICTED[0].srcpge, bit))
    with pytest.raises(SGXError, match="SGX_MAC_COMPARE_FAIL"):
        SHARED.driver.eldu(SHARED.free, SHARED.secs, SHARED.va, changed)


SHARED = Bench()
EVICTED: list[EvictedPage] = []


def test_the_enclaveid_in_the_pcmd_is_only_a_hint(bench: Bench) -> None:
    evicted = bench.evict()
    hint = replace(evicted, pcmd=evicted.pcmd.with_(enclaveid=77))
    bench.driver.eldu(bench.free, bench.secs, bench.va, hint)


def test_a_page_comes_back_once(bench: Bench) -> None:
    evicted = bench.evict()
    bench.driver.eldu(bench.free, bench.secs, bench.va, evicted)
    assert bench.driver.edbgrd(bench.va) == 0
    with bench.refused(9):
        bench.driver.eldu(bench.free2, bench.secs, bench.va, evicted)


def test_an_older_eviction_does_not_come_back(bench: Bench) -> None:
    page, old = bench.place("page"), bench.evict()
    bench.driver.eldu(page, bench.secs, bench.va, old)
    new = bench.evict()
    with bench.refused(9):
        bench.driver.eldu(page, bench.secs, bench.va, old)
    bench.driver.eldu(page, bench.secs, bench.va, new)


@pytest.mark.parametrize("other", ["boot", "processor"])
def test_a_page_comes_back_only_on_its_processor_and_before_the_next_boot(
    bench: Bench, other: str
) -> None:
    """The same versions come again, in the same slots, but the key is another one."""
    evicted = bench.evict_all()
    if other == "boot":
        bench.platform.machine.power_cut()
        bench.driver.epa(bench.va)
        bench.guest, bench.other = (launch(bench.platform, SPIN) for _ in range(2))
    else:
        bench = Bench(seed=1)
    assert bench.evict_all().keys() == evicted.keys()
    with bench.refused(9):
        bench.driver.eldu(bench.free, 0, bench.va, evicted[-1][1])


@pytest.mark.parametrize(
    ("leaf", "blocked"), [("eldu", False), ("elduc", False), ("eldb", True), ("eldbc", True)]
)
def test_eldb_blocks_and_eldu_does_not(bench: Bench, leaf: str, blocked: bool) -> None:
    getattr(bench.driver, leaf)(bench.free, bench.secs, bench.va, bench.evict())
    assert bench.sgx.epcm[bench.free].blocked is blocked
    if blocked:  # it can go again, when it was tracked again
        with bench.refused(11):
            bench.driver.ewb(bench.free, bench.va)
        bench.driver.etrack(bench.secs)
        bench.driver.ewb(bench.free, bench.va)


@settings(max_examples=60)
@given(
    content=st.binary(min_size=1, max_size=64),
    rights=st.tuples(*[st.booleans()] * 3),
    states=st.tuples(*[st.booleans()] * 3),
    kind=st.sampled_from(KINDS),
    slot=st.integers(1, 511),
)
def test_a_page_comes_back_with_everything_that_the_epcm_knew(
    content: bytes, rights: Any, states: Any, kind: PageType, slot: int
) -> None:
    bench = SHARED2
    page = bench.place("ssa")
    entry = bench.sgx.epcm[page]
    entry.r, entry.w, entry.x = rights
    entry.pending, entry.modified, entry.pr = states
    entry.page_type = kind
    bench.sgx.machine.cache.create(page, (content * PAGE)[:PAGE])
    before = repr(replace(entry, blocked=False, epoch=0))
    evicted = bench.evict("ssa", f"va + {8 * slot}")
    bench.driver.eldu(bench.free, bench.secs, bench.va + 8 * slot, evicted)
    entry = bench.sgx.epcm[bench.free]
    assert repr(replace(entry, epoch=0)) == before
    assert bytes(bench.sgx.machine.cache.view(bench.free)) == (content * PAGE)[:PAGE]
    bench.guest.pages[SSA_0], bench.free = bench.free, page


SHARED2 = Bench()


# SECS and version arrays


@pytest.mark.parametrize("tee", ["sgx-tme", "sgx-mee"])
def test_a_whole_enclave_moves_and_runs_as_before(tee: str) -> None:
    bench = Bench(tee)
    enclave = bench.guest.enclave
    enclave.isvfamilyid, enclave.isvextprodid = b"f" * 16, b"p" * 16
    pages = bench.evict_all()
    assert [*bench.sgx.enclaves] == [bench.other.secs_hpa]
    assert pages[-1][1].pcmd.enclaveid == enclave.eid
    assert pages[-1][1].linaddr == 0
    bench.reload_all(pages)
    back = bench.guest.enclave
    assert back is not enclave
    for name in ("secs", "initialised", "eid", "epoch", "isvfamilyid", "isvextprodid", "limit"):
        assert getattr(back, name) == getattr(enclave, name)
    assert back.mrenclave == enclave.mrenclave
    bench.sgx.machine.cache.view(bench.guest.pages[DATA], write=True)[0] = 42
    assert bench.guest.enter(0)[0] == 42


def test_no_hidden_field_of_a_secs_leaves_the_processor(bench: Bench) -> None:
    """The page that comes back holds what software may see of a SECS, as after EINIT."""
    before = bytes(bench.sgx.machine.cache.view(bench.secs))
    bench.reload_all(bench.evict_all())
    assert bytes(bench.sgx.machine.cache.view(bench.secs)) == before


def test_the_measurement_goes_on_where_it_was_after_a_secs_was_out(bench: Bench) -> None:
    loaded = image(SPIN)
    driver, half = bench.driver, len(loaded.pages) // 2
    guest = SGXGuest(bench.platform.host, driver, replace(loaded, pages=()), None)
    root, slot = guest.secs_hpa, bench.va
    for number, page in enumerate(loaded.pages):
        hpa = driver.epc.take()
        flags = SecinfoFlags(r=page.r, w=page.w, x=page.x, page_type=page.page_type)
        driver.eadd(hpa, root, guest.base + page.offset, flags, page.content)
        driver.eextend(hpa, 16)
        driver.eremove(hpa)
        if number == half:
            measured = guest.enclave.mrenclave
            out = driver.ewb(root, slot)
            root = driver.epc.take()
            guest.enclave = driver.eldu(root, 0, slot, out)
            assert guest.enclave.mrenclave == measured
    assert guest.enclave.mrenclave == measure(loaded)


def test_each_enclave_has_an_eid_of_its_own_that_binds_its_pages(bench: Bench) -> None:
    mine = bench.evict()
    bench.driver.eremove(bench.other.pages[DATA])
    with bench.refused(9):
        bench.driver.eldu(bench.free, bench.other.secs_hpa, bench.va, mine)


def test_a_version_array_goes_out_and_comes_back_with_its_versions(bench: Bench) -> None:
    page = bench.evict()
    array = bench.driver.ewb(bench.va, second_array(bench) + 16)
    assert (array.linaddr, array.pcmd.enclaveid) == (0, 0)
    with bench.refused(PF):
        bench.driver.eldu(bench.free, bench.secs, bench.va, page)
    third = bench.driver.epc.take()
    bench.driver.eldu(third, 0, bench.free2 + 16, array)
    with pytest.raises(SGXError):
        bench.driver.eldu(bench.va, 0, bench.free2 + 16, array)  # or the page could be replayed
    bench.driver.eldu(bench.free, bench.secs, third, page)


# EREMOVE


def test_a_version_array_is_removed_while_threads_run(bench: Bench) -> None:
    with bench.inside():
        bench.driver.eremove(bench.va)
    assert not bench.sgx.epcm[bench.va].valid


@pytest.mark.parametrize("modified", [False, True])
def test_a_trimmed_page_is_removed_while_threads_run_when_it_was_accepted(
    bench: Bench, modified: bool
) -> None:
    page = bench.guest.pages[SSA_0 + PAGE]  # of a frame that is not in use
    with bench.inside():
        entry = bench.sgx.epcm[page]
        entry.page_type, entry.modified = PageType.TRIM, modified
        if modified:
            with bench.refused(14):
                bench.driver.eremove(page)
        else:
            bench.driver.eremove(page)
        assert entry.valid is modified


# Without a check


def test_without_tracking_a_running_thread_writes_to_a_page_that_is_another_ones() -> None:
    bench = Bench(without={"EWB.TRACKED"})
    code = mov(RBX, DATA_GVA) + mov(RDI, 7) + store(RBX, RDI) + b"\xeb\xfb"
    guest = launch(bench.platform, code.replace(b"\xeb\xfb", b"\xeb\xf7"))
    steps = guest.steps(0, processor=1, quantum=10)
    next(steps)
    page = guest.pages[DATA]
    bench.driver.eblock(page)
    bench.driver.ewb(page, bench.va)
    flags = SecinfoFlags(r=True, w=True, page_type=PageType.REG)
    fresh = launch(bench.platform, load_from(RDI, DATA_GVA) + leave(), init=False)
    bench.driver.eadd(page, fresh.secs_hpa, DATA_GVA + PAGE, flags, bytes(PAGE))
    next(steps)
    assert bytes(bench.sgx.machine.cache.view(page))[:8] == (7).to_bytes(8, "little")
    bench.driver.abandon(bench.platform.machine.processor(1))


def test_without_the_mac_a_flipped_bit_is_a_flipped_bit() -> None:
    bench = Bench(without={"ELD.MAC"})
    evicted = bench.evict()
    changed = replace(evicted, srcpge=flipped(evicted.srcpge, 3))
    bench.driver.eldu(bench.free, bench.secs, bench.va, changed)
    assert bytes(bench.sgx.machine.cache.view(bench.free))[:9] == b"\x08" + bytes(7) + b"s"


def test_without_the_mac_a_damaged_secs_is_a_fault_and_no_crash() -> None:
    bench = Bench(without={"ELD.MAC"})
    slot, page = bench.evict_all()[-1]
    with bench.refused(GP, "damaged"):
        bench.driver.eldu(bench.secs, 0, slot, replace(page, srcpge=bytes(PAGE)))


def test_a_page_of_another_size_is_no_page(bench: Bench) -> None:
    evicted = bench.evict()
    for size in (0, PAGE - 1, PAGE + 1):
        with bench.refused(GP):
            bench.driver.eldu(
                bench.free, bench.secs, bench.va, replace(evicted, srcpge=bytes(size))
            )


def test_the_swapper_knows_which_pages_are_in(bench: Bench) -> None:
    with pytest.raises(UsageError):
        bench.driver.swap.evict(bench.guest, 0x123000)
