"""EAUG, EMODPR, EMODT, EACCEPT, EACCEPTCOPY, EMODPE: what each refuses, in order, and changes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assembly import TCS_0, launch, leave, load_from
from monitors.sgx.servant import (
    FREE_GVA,
    GET,
    NEW,
    NEW_TCS,
    PAGE_GVA,
    PUT,
    SECINFO_GVA,
    TRIMMED,
    Servant,
    flags,
)
from tee_sim import Platform
from tee_sim.abi.sgx import PageType, SecinfoFlags
from tee_sim.errors import EnclaveLost, GeneralProtection, PageFault, SGXError, TeeSimError
from tee_sim.hypervisor.growing import Growing
from tee_sim.hypervisor.guest import ENCLAVE_BASE
from tee_sim.machine.registers import RDI
from tee_sim.monitors.sgx.enclu import Leaf
from tee_sim.monitors.sgx.epcm import EPCMEntry
from tee_sim.units import MIB, PAGE

GP, PF = GeneralProtection, PageFault
TCS_GVA = ENCLAVE_BASE + TCS_0
OUTSIDE = ENCLAVE_BASE - PAGE
RIGHTS = ["", "r", "x", "rw", "rx", "rwx"]


@pytest.fixture
def servant() -> Servant:
    return Servant()


def state(servant: Servant) -> list[str]:
    """Every EPCM entry."""
    epcm = servant.driver._sgx.epcm
    return [repr(epcm[hpa]) for hpa in range(epcm.start, epcm.start + 24 * PAGE, PAGE)]


def alter(**fields: Any) -> Callable[[Servant, dict[str, Any]], None]:
    """A defect of the page that the leaf is about."""

    def change(servant: Servant, arguments: dict[str, Any]) -> None:
        epcm = servant.driver._sgx.epcm
        for name, value in fields.items():
            setattr(epcm[arguments["page"] & -PAGE], name, value)

    return change


def argument(**changes: Any) -> Callable[[Servant, dict[str, Any]], None]:
    """A defect of an operand."""

    def change(_servant: Servant, arguments: dict[str, Any]) -> None:
        arguments.update(changes)

    return change


def uninitialised(servant: Servant, _arguments: dict[str, Any]) -> None:
    servant.guest.enclave.initialised = False


def in_use(servant: Servant, arguments: dict[str, Any]) -> None:
    arguments["page"] = servant.hpa(PAGE_GVA)


# Ring 0. Each table is in the order in which the SDM checks; a case has a letter for what it
# changes, so that only defects of different things are combined.

EAUG = {
    "page not aligned": ("p", argument(page=8), GP),
    "page not in the EPC": ("p", argument(page=PAGE), PF),
    "address not aligned": ("l", argument(linaddr=FREE_GVA + 8), GP),
    "SECS not aligned": ("s", argument(secs=8), GP),
    "SECS not in the EPC": ("s", argument(secs=PAGE), PF),
    "page in use": ("p", in_use, PF),
    "no SECS there": ("s", lambda s, a: a.update(secs=s.hpa(PAGE_GVA)), PF),
    "before EINIT": ("i", uninitialised, GP),
    "outside ELRANGE": ("l", argument(linaddr=OUTSIDE), GP),
}
EMODPR = {
    "page not aligned": ("p", argument(page=8), GP),
    "page not in the EPC": ("p", argument(page=PAGE), PF),
    "W without R": ("f", argument(flags=flags("w")), GP),
    "page not in use": ("v", alter(valid=False), PF),
    "page PENDING": ("n", alter(pending=True), 20),
    "page MODIFIED": ("m", alter(modified=True), 20),
    "page of another type": ("t", alter(page_type=PageType.TCS), PF),
    "before EINIT": ("i", uninitialised, GP),
}
EMODT = {
    "page not aligned": ("p", argument(page=8), GP),
    "page not in the EPC": ("p", argument(page=PAGE), PF),
    "to REG": ("f", argument(flags=flags()), GP),
    "to SECS": ("f", argument(flags=flags(kind=PageType.SECS)), GP),
    "page not in use": ("v", alter(valid=False), PF),
    "a TCS to TCS": ("t", alter(page_type=PageType.TCS), PF),
    "page of another type": ("t", alter(page_type=PageType.TRIM), PF),
    "page PENDING": ("n", alter(pending=True), 20),
    "page MODIFIED": ("m", alter(modified=True), 20),
    "before EINIT": ("i", uninitialised, GP),
}
RING0 = {"eaug": EAUG, "emodpr": EMODPR, "emodt": EMODT}


def cases(tables: dict[str, dict[str, Any]]) -> list[Any]:
    """Each defect alone, and each two that can be there at the same time."""
    found = []
    for leaf, table in tables.items():
        found += [pytest.param(leaf, (name,), id=f"{leaf}: {name}") for name in table]
        found += [
            pytest.param(leaf, (one, two), id=f"{leaf}: {one}, {two}")
            for one, two in itertools.combinations(table, 2)
            if not set(table[one][0]) & set(table[two][0])
            # An operand that names no page at all: there is nothing to have a defect.
            and not ("p" in table[one][0] and table[two][0] in "vnmt")
        ]
    return found


@pytest.mark.parametrize(("leaf", "names"), cases(RING0))
def test_ring_0_is_refused_for_the_first_defect_in_the_sdms_order(
    servant: Servant, leaf: str, names: tuple[str, ...]
) -> None:
    driver, table = servant.driver, RING0[leaf]
    arguments: dict[str, Any] = {"page": servant.hpa(PAGE_GVA), "flags": NEW_TCS}
    if leaf == "eaug":
        arguments = {"page": driver.epc.take(), "secs": servant.guest.secs_hpa, "linaddr": FREE_GVA}
    for name in names:
        table[name][1](servant, arguments)
    before, expected = state(servant), table[names[0]][2]
    with pytest.raises(TeeSimError) as refused:
        getattr(driver, leaf)(*arguments.values())
    if isinstance(expected, int):
        assert isinstance(refused.value, SGXError)
        assert refused.value.code == expected
    else:
        assert type(refused.value) is expected
    assert state(servant) == before


def test_eaug_adds_a_page_of_zeros_that_is_pending_and_not_measured(servant: Servant) -> None:
    measured, page = servant.guest.mrenclave, servant.driver.epc.take()
    cache = servant.platform.machine.cache
    cache.create(page, b"\xaa" * PAGE)
    servant.driver.eaug(page, servant.guest.secs_hpa, FREE_GVA)
    entry = servant.driver.epcm(page)
    assert (entry.valid, entry.page_type, entry.enclaveaddress) == (True, PageType.REG, FREE_GVA)
    assert (entry.r, entry.w, entry.x) == (True, True, False)
    assert (entry.pending, entry.modified, entry.pr) == (True, False, False)
    assert bytes(cache.view(page)) == bytes(PAGE)
    assert servant.guest.mrenclave == measured


def set_rights(servant: Servant, rights: int) -> EPCMEntry:
    """Give the page these rights by hand; its entry."""
    entry: EPCMEntry = servant.entry(PAGE_GVA)
    entry.r, entry.w, entry.x = (bool(rights & bit) for bit in (1, 2, 4))
    return entry


@given(before=st.integers(0, 7), mask=st.sampled_from([0, 1, 3, 4, 5, 7]))
def test_emodpr_leaves_the_rights_that_are_in_both(before: int, mask: int) -> None:
    servant = SHARED
    entry = servant.entry(PAGE_GVA)
    entry.r, entry.w, entry.x, entry.pr = (
        bool(before & 1),
        bool(before & 2),
        bool(before & 4),
        False,
    )
    servant.driver.emodpr(servant.hpa(PAGE_GVA), SecinfoFlags.of(mask))
    assert entry.r + 2 * entry.w + 4 * entry.x == before & mask
    assert entry.pr


def test_emodt_takes_all_rights_and_the_mark_of_a_restriction(servant: Servant) -> None:
    hpa = servant.hpa(PAGE_GVA)
    servant.driver.emodpr(hpa, flags("r"))
    servant.driver.emodt(hpa, TRIMMED)
    entry = servant.driver.epcm(hpa)
    assert (entry.r, entry.w, entry.x, entry.pr, entry.modified) == (False,) * 4 + (True,)
    assert entry.page_type == PageType.TRIM


def test_a_tcs_can_be_trimmed(servant: Servant) -> None:
    servant.driver.emodt(servant.hpa(TCS_GVA), TRIMMED)
    with pytest.raises(PageFault) as refused:
        servant.get(PAGE_GVA)
    assert refused.value.check is not None
    assert refused.value.check.name == "EENTER.PT_TCS"


# Inside. The page is one that has just been added, unless the case says otherwise.


def secinfo_elsewhere(servant: Servant, arguments: dict[str, Any]) -> None:
    arguments["at"] = FREE_GVA + PAGE
    servant.guest.space.map(FREE_GVA + PAGE, servant.guest.borrow())


def secinfo_entry(**fields: Any) -> Callable[[Servant, dict[str, Any]], None]:
    """A defect of the page that SECINFO is on."""

    def change(servant: Servant, arguments: dict[str, Any]) -> None:
        arguments["late"] = [(servant.entry(SECINFO_GVA), fields)]

    return change


def not_mapped(servant: Servant, arguments: dict[str, Any]) -> None:
    servant.guest.space.set_entry(arguments["gva"], 0)


def restricted(servant: Servant, arguments: dict[str, Any]) -> None:
    """As after EMODPR, without an ETRACK."""
    alter(pending=False, pr=True)(servant, arguments)
    arguments["secinfo"] = flags("rw", pr=True)


SECINFO_DEFECTS = {
    "SECINFO not aligned": ("a", argument(at=SECINFO_GVA + 8), GP),
    "SECINFO outside ELRANGE": ("a", argument(at=OUTSIDE), GP),
    "SECINFO not in the EPC": ("a", secinfo_elsewhere, 0x5),
    "SECINFO on a page without R": ("e", secinfo_entry(r=False, w=False), 0x8005),
    "SECINFO on a page that is not accepted": ("e", secinfo_entry(pending=True), 0x8005),
}
RESERVED = {
    "SECINFO with a reserved bit": ("f", argument(secinfo=int(NEW) | 1 << 6), GP),
    "SECINFO with an unknown type": ("f", argument(secinfo=int(NEW) | 7 << 8), GP),
}
PLACE = {
    "page not aligned": ("p", argument(gva=FREE_GVA + 8), GP),
    "page outside ELRANGE": ("p", argument(gva=OUTSIDE), GP),
    "page not mapped": ("p", not_mapped, 0x4),
}
EACCEPT = {
    **SECINFO_DEFECTS,
    **RESERVED,
    **PLACE,
    "nothing to accept": ("f", argument(secinfo=flags("rw")), GP),
    "page not in use": ("v", alter(valid=False), 0x8005),
    "page blocked": ("b", alter(blocked=True), 0x8005),
    "page of a type that does not change": ("t", alter(page_type=PageType.VA), 0x8005),
    "page of another enclave": ("o", alter(enclavesecs=0), 0x8005),
    "other rights": ("f", argument(secinfo=flags("rwx", pending=True)), 19),
    "other address": ("d", alter(enclaveaddress=PAGE_GVA), 19),
    "not tracked": ("fn", restricted, 11),
}
EACCEPTCOPY = {
    "SECINFO not aligned": ("a", argument(at=SECINFO_GVA + 8), GP),
    "page not aligned": ("p", argument(gva=FREE_GVA + 8), GP),
    "source not aligned": ("s", argument(source=PAGE_GVA + 8), GP),
    "SECINFO outside ELRANGE": ("a", argument(at=OUTSIDE), GP),
    "page outside ELRANGE": ("p", argument(gva=OUTSIDE), GP),
    "source outside ELRANGE": ("s", argument(source=OUTSIDE), GP),
    "SECINFO not in the EPC": ("a", secinfo_elsewhere, 0x5),
    "page not mapped": ("p", not_mapped, 0x6),
    "source not mapped": ("s", argument(source=ENCLAVE_BASE + 0xB000), 0x4),
    "SECINFO on a page without R": ("e", secinfo_entry(r=False, w=False), 0x8005),
    **RESERVED,
    "W without R": ("f", argument(secinfo=flags("w")), GP),
    "another type": ("f", argument(secinfo=TRIMMED), GP),
    "source is a TCS": ("s", argument(source=TCS_GVA), 0x8005),
    "page not in use": ("v", alter(valid=False), 19),
    "page blocked": ("b", alter(blocked=True), 19),
    "page already accepted": ("n", alter(pending=False), 19),
    "page MODIFIED": ("m", alter(modified=True), 19),
    "page of another type": ("t", alter(page_type=PageType.TRIM), 19),
    "page of another enclave": ("o", alter(enclavesecs=0), 19),
    "page with X": ("x", alter(x=True), 19),
    "other address": ("d", alter(enclaveaddress=PAGE_GVA), 19),
}
EMODPE = {
    "SECINFO not aligned": ("a", argument(at=SECINFO_GVA + 8), GP),
    "page not aligned": ("p", argument(gva=FREE_GVA + 8), GP),
    "SECINFO outside ELRANGE": ("a", argument(at=OUTSIDE), GP),
    "page outside ELRANGE": ("p", argument(gva=OUTSIDE), GP),
    "SECINFO not in the EPC": ("a", secinfo_elsewhere, 0x5),
    "page not mapped": ("p", not_mapped, 0x4),
    "SECINFO on a page without R": ("e", secinfo_entry(r=False, w=False), 0x8005),
    **RESERVED,
    "page not in use": ("v", alter(valid=False), 0x8005),
    "page PENDING": ("n", alter(pending=True), 0x8005),
    "page MODIFIED": ("m", alter(modified=True), 0x8005),
    "page blocked": ("b", alter(blocked=True), 0x8005),
    "page of another type": ("t", alter(page_type=PageType.TCS), 0x8005),
    "page of another enclave": ("o", alter(enclavesecs=0), 0x8005),
    "other address": ("d", alter(enclaveaddress=PAGE_GVA), 0x8005),
    "W without R": ("fr", lambda s, a: (alter(r=False, w=False)(s, a), a.update(secinfo=2)), GP),
}
INSIDE = {"EACCEPT": EACCEPT, "EACCEPTCOPY": EACCEPTCOPY, "EMODPE": EMODPE}


def inside(servant: Servant, leaf: Leaf, names: tuple[str, ...] = ()) -> tuple[Any, list[str]]:
    """Execute a leaf with these defects: its code, or the fault; and the entries before it."""
    Growing(servant.guest).augment(FREE_GVA)
    arguments: dict[str, Any] = {"gva": FREE_GVA, "source": PAGE_GVA, "at": SECINFO_GVA}
    arguments |= {"secinfo": NEW, "page": servant.hpa(FREE_GVA), "late": []}
    if leaf != Leaf.EACCEPT:
        arguments["secinfo"] = flags("rw")
    if leaf == Leaf.EMODPE:
        servant.entry(FREE_GVA).pending = False
    servant.guest.pagers.clear()
    for name in names:
        INSIDE[leaf.name][name][1](servant, arguments)
    servant.put(SECINFO_GVA, int(arguments["secinfo"]))
    for entry, fields in arguments["late"]:
        for field, value in fields.items():
            setattr(entry, field, value)
    servant.platform.machine.mmu.shootdown()
    before = state(servant)
    try:
        gva, source, at = (arguments[name] for name in ("gva", "source", "at"))
        return servant.leaf(leaf, gva, source, at), before
    except EnclaveLost as lost:
        fault = lost.fault
    return (type(fault) if isinstance(fault, GP) else getattr(fault, "error_code", 0)), before


@pytest.mark.parametrize(("leaf", "names"), cases(INSIDE))
def test_inside_the_first_defect_in_the_sdms_order_decides(
    servant: Servant, leaf: str, names: tuple[str, ...]
) -> None:
    found, before = inside(servant, Leaf[leaf], names)
    assert found == INSIDE[leaf][names[0]][2]
    assert state(servant) == before


ILLEGAL = [
    *(flags("rw", pending=True, modified=True, pr=pr) for pr in (False, True)),
    flags("rw", modified=True),
    flags("rw"),
    flags(kind=PageType.TCS),
    flags(kind=PageType.TRIM),
    flags(kind=PageType.TCS, pending=True),
    flags(kind=PageType.TRIM, modified=True, pr=True),
    flags(kind=PageType.TCS, modified=True, pending=True),
    flags(kind=PageType.SECS, pending=True),
    flags(kind=PageType.VA, modified=True),
    flags(kind=PageType.SS_FIRST, pending=True),
]


@pytest.mark.parametrize("asked", ILLEGAL, ids=lambda asked: hex(int(asked)))
def test_eaccept_of_what_no_leaf_of_ring_0_does_is_a_general_protection_fault(
    servant: Servant, asked: SecinfoFlags
) -> None:
    Growing(servant.guest)
    with pytest.raises(EnclaveLost):
        servant.accept(FREE_GVA, asked)
    assert servant.faults[-1][:2] == (13, 0)


MISMATCH = [flags(rights, pending=True) for rights in RIGHTS if rights != "rw"]
MISMATCH += [NEW_TCS, TRIMMED, flags("rw", pr=True)]


@pytest.mark.parametrize("asked", MISMATCH, ids=lambda asked: hex(int(asked)))
def test_eaccept_compares_all_but_pr(servant: Servant, asked: SecinfoFlags) -> None:
    Growing(servant.guest)
    assert servant.accept(FREE_GVA, asked) == 19
    assert servant.accept(FREE_GVA, flags("rw", pending=True, pr=True)) == 0


def test_a_status_code_is_in_rax_and_zf_and_success_clears_both(servant: Servant) -> None:
    Growing(servant.guest)
    for asked, code in ((TRIMMED, 19), (NEW, 0)):
        assert servant.accept(FREE_GVA, asked) == code
        registers = servant.platform.adversary.registers(servant.platform.machine.processor(0))
        assert bool(registers["rflags"] & 1 << 6) == bool(code)


@pytest.mark.parametrize(
    ("leaf", "proposed", "asked"),
    [("emodpr", flags("r"), flags("r", pr=True)), ("emodt", TRIMMED, TRIMMED)],
)
def test_a_change_is_accepted_only_once_nobody_inside_can_have_the_old_translation(
    servant: Servant, leaf: str, proposed: SecinfoFlags, asked: SecinfoFlags
) -> None:
    driver, guest, hpa = servant.driver, servant.guest, servant.hpa(PAGE_GVA)
    driver.etrack(guest.secs_hpa)  # an earlier one does not count
    spinning = guest.steps(1, PUT, PAGE_GVA, registers={"rdx": 1}, processor=1, quantum=1)
    next(spinning)
    getattr(driver, leaf)(hpa, proposed)
    assert servant.accept(PAGE_GVA, asked) == 11  # no ETRACK
    driver.etrack(guest.secs_hpa)
    assert servant.accept(PAGE_GVA, asked) == 11  # ETRACK, but a processor is inside since before
    with guest.interrupted():
        pass
    assert servant.accept(PAGE_GVA, asked) == 0
    entry = servant.entry(PAGE_GVA)
    assert (entry.pending, entry.modified, entry.pr) == (False, False, False)
    with pytest.raises(EnclaveLost):
        list(spinning)
    assert servant.faults == [(14, 0x8007, PAGE_GVA)]


def test_a_new_page_needs_no_tracking(servant: Servant) -> None:
    spinning = servant.guest.steps(1, GET, PAGE_GVA, processor=1, quantum=1)
    next(spinning)
    Growing(servant.guest)
    assert servant.accept(FREE_GVA, NEW) == 0
    list(spinning)


@pytest.mark.parametrize(
    ("offset", "value"), [(0, 1), (8, 1), (24, 1 | 1 << 32), (24, 0), (40, 8), (72, 1)],
    ids=["STATE", "DBGOPTIN", "CSSA", "NSSA", "AEP", "reserved"],
)  # fmt: skip
def test_eaccept_refuses_a_tcs_that_is_not_fresh(servant: Servant, offset: int, value: int) -> None:
    memory = Growing(servant.guest)
    assert servant.accept(FREE_GVA, NEW) == 0
    servant.put(FREE_GVA + 24, 1 << 32)
    servant.put(FREE_GVA + offset, value)
    memory.change(FREE_GVA, 1, PageType.TCS)
    with pytest.raises(EnclaveLost):
        servant.accept(FREE_GVA, NEW_TCS)
    assert servant.faults[-1][:2] == (13, 0)
    assert servant.entry(FREE_GVA).modified


@pytest.mark.parametrize("rights", RIGHTS)
def test_eacceptcopy_copies_and_sets_the_rights_asked_for(servant: Servant, rights: str) -> None:
    Growing(servant.guest).augment(FREE_GVA)
    servant.put(PAGE_GVA + 0xFF8, 0x1234)
    assert servant.do(Leaf.EACCEPTCOPY, FREE_GVA, flags(rights), source=PAGE_GVA) == 0
    entry = servant.entry(FREE_GVA)
    assert "".join(right for right in "rwx" if getattr(entry, right)) == rights
    assert not entry.pending
    cache = servant.platform.machine.cache
    assert bytes(cache.view(servant.hpa(FREE_GVA))) == bytes(cache.view(servant.hpa(PAGE_GVA)))
    assert int.from_bytes(cache.view(servant.hpa(FREE_GVA))[0xFF8:], "little") == 0x1234


def write_code(servant: Servant) -> None:
    """Put code on the page that does nothing but leave."""
    code = leave().ljust(24, b"\x90")
    for at in range(0, 24, 8):
        servant.put(PAGE_GVA + at, int.from_bytes(code[at : at + 8], "little"))


def test_code_that_was_copied_by_eacceptcopy_runs(servant: Servant) -> None:
    Growing(servant.guest).augment(FREE_GVA)
    write_code(servant)
    assert servant.do(Leaf.EACCEPTCOPY, FREE_GVA, flags("rx"), source=PAGE_GVA) == 0
    servant.guest.enter(0, FREE_GVA)


@given(before=st.integers(0, 7), added=st.integers(0, 7))
def test_emodpe_adds_rights_and_takes_none(before: int, added: int) -> None:
    servant = SHARED
    entry = set_rights(servant, before)
    entry.pr = True
    if not (before | added) & 1 and added & 2:
        return  # W without R: a fault, which the table above has
    servant.do(Leaf.EMODPE, PAGE_GVA, added)
    assert entry.r + 2 * entry.w + 4 * entry.x == before | added
    assert entry.pr


def test_emodpe_leaves_rax_and_the_flags_alone(servant: Servant) -> None:
    assert servant.do(Leaf.EMODPE, PAGE_GVA, flags("rx")) == Leaf.EMODPE


def test_a_page_made_executable_by_emodpe_runs(servant: Servant) -> None:
    write_code(servant)
    servant.guest.space.map(PAGE_GVA, servant.hpa(PAGE_GVA), executable=True)
    servant.do(Leaf.EMODPE, PAGE_GVA, flags("x"))
    servant.guest.enter(0, PAGE_GVA)


# EREMOVE


def test_an_accepted_trimmed_page_is_removed_while_a_thread_runs(servant: Servant) -> None:
    memory = Growing(servant.guest)
    memory.change(PAGE_GVA, 1, PageType.TRIM)
    hpa = servant.hpa(PAGE_GVA)
    running = servant.guest.steps(1, GET, SECINFO_GVA, processor=1, quantum=1)
    next(running)
    with pytest.raises(SGXError) as refused:
        servant.driver.eremove(hpa)
    assert refused.value.code == 14
    assert servant.accept(PAGE_GVA, TRIMMED) == 0
    memory.remove(PAGE_GVA)
    assert not servant.driver.epcm(hpa).valid
    list(running)


SHARED = Servant()


def test_a_page_that_eaug_adds_is_looked_up_again() -> None:
    """What the processor decided while the page was free does not stand once it is PENDING."""
    anything = {f"EPCM.{name}" for name in ("VALID", "ENCLAVESECS", "ENCLAVEADDRESS", "R")}
    host = Platform("sgx-tme", memory=20 * MIB, epc=MIB, without=anything)
    guest = launch(host, load_from(RDI, FREE_GVA) + leave())
    page = guest.driver.epc.take()
    guest.space.map(FREE_GVA, page)
    guest.enter(0)
    guest.driver.eaug(page, guest.secs_hpa, FREE_GVA)
    with pytest.raises(EnclaveLost, match=r"EPCM\.PENDING"):
        guest.enter(0)
