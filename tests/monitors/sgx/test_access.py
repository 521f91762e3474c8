"""What the processor decides at a TLB fill, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest

from assembly import (
    CODE_GVA,
    DATA,
    DATA_GVA,
    ELRANGE,
    ONES,
    SSA_GVA,
    TCS_GVA,
    image,
    jump_to,
    launch,
    leave,
    load,
    load_from,
    mov,
    store,
)
from tee_sim import Platform
from tee_sim.abi.sgx import PageType
from tee_sim.errors import EnclaveLost, Fault, GeneralProtection, PageFault
from tee_sim.hypervisor.guest import ARENA_BASE, ENCLAVE_BASE
from tee_sim.hypervisor.sgx import SGXGuest
from tee_sim.machine.paging import PRESENT, USER
from tee_sim.machine.registers import RAX, RBX, RDI
from tee_sim.units import MIB, PAGE

READ, WRITE, FETCH = "read", "write", "fetch"
SGX_CODE = {READ: 0x8005, WRITE: 0x8007, FETCH: 0x8015}
UNUSED = ENCLAVE_BASE + ELRANGE - PAGE


def platform() -> Platform:
    return Platform("sgx-tme", memory=20 * MIB, epc=MIB)


def touching(access: str, gva: int) -> bytes:
    """Read into RDI and leave; store and leave; or jump."""
    if access == READ:
        return load_from(RDI, gva) + leave()
    if access == WRITE:
        return mov(RBX, gva) + mov(RAX, 0x1122) + store(RBX, RAX) + leave()
    return jump_to(gva)


def guest_that(access: str, gva: int = DATA_GVA, **layout: Any) -> SGXGuest:
    layout = {"data": leave(), "data_rights": "rwx"} | layout
    guest = launch(platform(), touching(access, gva), **layout)
    if layout["data_rights"] == "rwx":
        return guest
    # The page table allows everything: the EPCM is to decide.
    guest.space.map(DATA_GVA, guest.pages[DATA], writable=True, executable=True)
    return guest


def alter(guest: SGXGuest, offset: int = DATA, **fields: object) -> None:
    entry = guest.driver._sgx.epcm[guest.pages[offset]]
    for name, value in fields.items():
        setattr(entry, name, value)
    guest.host.machine.mmu.forget()


def fault_of(guest: SGXGuest) -> Fault:
    with pytest.raises(EnclaveLost) as lost:
        guest.enter(0)
    assert lost.value.fault is not None
    return lost.value.fault


@pytest.mark.parametrize("access", [READ, WRITE, FETCH])
def test_an_access_that_every_rule_allows_is_made(access: str) -> None:
    guest = guest_that(access)
    guest.enter(0)
    held = bytes(guest.host.machine.cache.view(guest.pages[DATA])[:2])
    assert held == (b"\x22\x11" if access == WRITE else leave()[:2])


BROKEN = {
    "EPCM.VALID": {"valid": False},
    "EPCM.ENCLAVESECS": {"enclavesecs": 0},
    "EPCM.ENCLAVEADDRESS": {"enclaveaddress": DATA_GVA + PAGE},
    "EPCM.BLOCKED": {"blocked": True},
    "EPCM.PENDING": {"pending": True},
    "EPCM.MODIFIED": {"modified": True},
}
TYPES = [kind for kind in PageType if kind != PageType.REG]


@pytest.mark.parametrize("access", [READ, WRITE, FETCH])
@pytest.mark.parametrize("check", BROKEN)
def test_each_epcm_field_gives_a_page_fault_with_the_sgx_bit(check: str, access: str) -> None:
    guest = guest_that(access)
    alter(guest, **BROKEN[check])
    fault = fault_of(guest)
    assert (fault.vector, fault.error_code, fault.address) == (14, SGX_CODE[access], DATA_GVA)
    assert fault.check is not None
    assert fault.check.name == check


@pytest.mark.parametrize("access", [READ, WRITE, FETCH])
@pytest.mark.parametrize("kind", TYPES)
def test_only_regular_pages_are_data_or_code(kind: PageType, access: str) -> None:
    guest = guest_that(access)
    alter(guest, page_type=kind)
    fault = fault_of(guest)
    assert (fault.vector, fault.error_code) == (14, SGX_CODE[access])
    assert fault.check is not None
    assert fault.check.name == "EPCM.PT"


@pytest.mark.parametrize(
    ("access", "rights", "allowed"),
    [
        (READ, "rwx", True),
        (READ, "r", True),
        (READ, "x", False),
        (READ, "", False),
        (WRITE, "rw", True),
        (WRITE, "rx", False),
        (WRITE, "x", False),
        (FETCH, "rx", True),
        (FETCH, "x", True),
        (FETCH, "rw", False),
        (FETCH, "", False),
    ],
)
def test_the_rights_of_the_epcm_decide_whatever_the_page_table_says(
    access: str, rights: str, allowed: bool
) -> None:
    guest = guest_that(access, data_rights=rights)
    if allowed:
        guest.enter(0)
        return
    fault = fault_of(guest)
    assert (fault.vector, fault.error_code) == (14, SGX_CODE[access])
    assert fault.check is not None
    assert fault.check.name == "EPCM." + {READ: "R", WRITE: "W", FETCH: "X"}[access]


@pytest.mark.parametrize("access", [READ, WRITE])
@pytest.mark.parametrize("what", ["TCS", "SECS"])
def test_control_pages_of_its_own_are_closed_to_the_enclave(what: str, access: str) -> None:
    guest = guest_that(access, TCS_GVA if what == "TCS" else DATA_GVA)
    if what == "SECS":
        guest.space.map(DATA_GVA, guest.secs_hpa)
    assert fault_of(guest).error_code == SGX_CODE[access]


def test_the_save_area_is_data_like_any_other() -> None:
    guest = guest_that(READ, SSA_GVA)
    assert guest.enter(0)[0] == 0


@pytest.mark.parametrize(
    ("access", "entry", "code"),
    [
        (READ, "none", 0x4),
        (WRITE, "none", 0x6),
        (FETCH, "none", 0x14),
        (READ, "supervisor", 0x5),
        (WRITE, "read-only", 0x7),
        (FETCH, "no-execute", 0x15),
    ],
)
def test_the_page_table_refuses_first_and_without_the_sgx_bit(
    access: str, entry: str, code: int
) -> None:
    guest = guest_that(access)
    alter(guest, valid=False)
    hpa = guest.pages[DATA]
    if entry == "none":
        guest.space.set_entry(DATA_GVA, guest.space.entry(DATA_GVA) & ~PRESENT)
    elif entry == "supervisor":
        guest.space.set_entry(DATA_GVA, guest.space.entry(DATA_GVA) & ~USER)
    else:
        guest.space.map(DATA_GVA, hpa, writable=False)
    fault = fault_of(guest)
    assert (fault.vector, fault.error_code, fault.address) == (14, code, DATA_GVA)
    assert fault.check is None


@pytest.mark.parametrize("where", [ARENA_BASE, ENCLAVE_BASE + ELRANGE, ENCLAVE_BASE - PAGE])
def test_a_fetch_outside_elrange_is_a_general_protection_fault(where: int) -> None:
    guest = guest_that(FETCH, where)
    guest.space.map(where, guest.borrow(), executable=True)
    fault = fault_of(guest)
    assert type(fault) is GeneralProtection
    assert (fault.vector, fault.error_code) == (13, 0)


def test_running_over_the_end_of_elrange_is_a_fetch_outside() -> None:
    guest = launch(platform(), b"\x90" * PAGE)
    guest.enclave.limit = CODE_GVA + PAGE
    guest.space.map(CODE_GVA + PAGE, guest.borrow(), executable=True)
    assert type(fault_of(guest)) is GeneralProtection


def test_data_outside_elrange_is_read_and_written_as_by_anyone() -> None:
    guest = guest_that(READ, ARENA_BASE)
    guest.write(ARENA_BASE, b"outside!")
    assert guest.enter(0)[0].to_bytes(8, "little") == b"outside!"
    guest = guest_that(WRITE, ARENA_BASE)
    guest.enter(0)
    assert guest.read(ARENA_BASE, 8) == b"\x22\x11" + bytes(6)


@pytest.mark.parametrize("own", [True, False])
def test_enclave_memory_outside_elrange_is_the_abort_page(own: bool) -> None:
    """Its own pages at another address, as well as another enclave's."""
    for access in (READ, WRITE):
        guest = guest_that(access, ARENA_BASE, data=b"secret__")
        other = guest if own else launch_beside(guest)
        hpa = other.pages[DATA]
        guest.space.map(ARENA_BASE, hpa)
        result = guest.enter(0)
        assert access == WRITE or result[0] == ONES
        assert bytes(guest.host.machine.cache.view(hpa)[:8]) == b"secret__"


def launch_beside(guest: SGXGuest) -> SGXGuest:
    return SGXGuest(guest.host, guest.driver, image(leave(), data=b"secret__"), None)


@pytest.mark.parametrize("access", [READ, WRITE, FETCH])
def test_an_ordinary_page_in_elrange_is_refused(access: str) -> None:
    guest = guest_that(access)
    hpa = guest.borrow()
    guest.host.machine.write(hpa, leave().ljust(PAGE, b"\0"))
    guest.space.map(DATA_GVA, hpa, executable=access == FETCH)
    fault = fault_of(guest)
    assert fault.vector == 14
    assert fault.check is not None
    assert fault.check.name == "ELRANGE.EPC"
    assert guest.host.machine.read(hpa, 2) == leave()[:2]


def test_a_page_in_elrange_that_was_never_added_is_refused() -> None:
    guest = guest_that(READ, UNUSED)
    guest.space.map(UNUSED, guest.driver.epc.take())
    assert fault_of(guest).error_code == 0x8005


SPLIT = DATA_GVA + PAGE - 4


@pytest.mark.parametrize("broken", [DATA, DATA + PAGE])
@pytest.mark.parametrize("access", [READ, WRITE])
def test_both_halves_of_an_access_over_two_pages_are_checked(access: str, broken: int) -> None:
    guest = guest_that(access, SPLIT, data_pages=2)
    alter(guest, broken, r=False, w=False)
    fault = fault_of(guest)
    assert (fault.error_code, fault.address) == (SGX_CODE[access], ENCLAVE_BASE + broken)
    for offset in (DATA, DATA + PAGE):
        view = guest.host.machine.cache.view(guest.pages[offset])
        assert b"\x22\x11" not in bytes(view)


def test_an_access_over_two_pages_that_are_allowed_is_made() -> None:
    guest = guest_that(READ, SPLIT, data=b"-" * (PAGE - 4) + b"12345678", data_pages=2)
    assert guest.enter(0)[0].to_bytes(8, "little") == b"12345678"


def test_half_an_access_may_lie_outside_elrange() -> None:
    guest = guest_that(READ, ENCLAVE_BASE - 4, code_rights="rx")
    hpa = guest.borrow()
    guest.host.machine.write(hpa, b"-" * (PAGE - 4) + b"host")
    guest.space.map(ENCLAVE_BASE - PAGE, hpa)
    seen = guest.enter(0)[0].to_bytes(8, "little")
    assert seen[:4] == b"host"
    assert seen[4:] == touching(READ, ENCLAVE_BASE - 4)[:4]


def test_the_host_sees_the_page_of_a_fault_and_not_the_byte() -> None:
    guest = guest_that(READ, DATA_GVA + 0x123)
    alter(guest, r=False)
    assert fault_of(guest).address == DATA_GVA


@pytest.mark.parametrize("access", [READ, WRITE])
def test_a_translation_made_inside_is_gone_after_the_exit(access: str) -> None:
    """The same enclave enters twice; in between its page is taken."""
    guest = guest_that(access)
    guest.enter(0)
    alter(guest, blocked=True)
    assert isinstance(fault_of(guest), PageFault)


def test_base_plus_displacement_is_the_address_that_counts() -> None:
    code = mov(RBX, DATA_GVA - 0x100) + load(RDI, RBX, 0x100) + leave()
    guest = launch(platform(), code, data=b"displace")
    assert guest.enter(0)[0].to_bytes(8, "little") == b"displace"
