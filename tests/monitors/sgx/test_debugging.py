"""EDBGRD and EDBGWR."""

from __future__ import annotations

import pytest

from assembly import DATA, SSA_0, TCS_0, launch, leave
from tee_sim import Platform
from tee_sim.abi.sgx import TCS, PageType
from tee_sim.errors import Fault, GeneralProtection, PageFault, SGXError
from tee_sim.hypervisor.sgx import SGXGuest
from tee_sim.units import MIB, PAGE

GP, PF = GeneralProtection, PageFault
FLAGS = TCS.FIELDS["flags"].offset


def enclave(debug: bool = True, init: bool = True) -> SGXGuest:
    platform = Platform("sgx-tme", memory=20 * MIB, epc=MIB)
    return launch(platform, leave(), data=b"01234567abcdefgh", debug=debug, init=init)


def refused(guest: SGXGuest, hpa: int, expected: type[Fault], value: int = 1) -> None:
    """Both leaves refuse the address, and the page is as before."""
    cache, page = guest.host.machine.cache, hpa & -PAGE
    inside = page in guest.driver._sgx.epcm
    before = bytes(cache.view(page)) if inside else b""
    with pytest.raises(expected):
        guest.driver.edbgrd(hpa)
    with pytest.raises(expected):
        guest.driver.edbgwr(hpa, value)
    assert before == (bytes(cache.view(page)) if inside else b"")


@pytest.mark.parametrize("init", [True, False])
def test_a_debug_enclave_can_be_read_and_written(init: bool) -> None:
    guest = enclave(init=init)
    measured, page = guest.mrenclave, guest.pages[DATA]
    assert guest.driver.edbgrd(page).to_bytes(8, "little") == b"01234567"
    guest.driver.edbgwr(page + 8, 2**64 - 1)
    assert guest.driver.edbgrd(page + 8) == 2**64 - 1
    assert guest.driver.edbgrd(page).to_bytes(8, "little") == b"01234567"
    assert guest.mrenclave == measured


@pytest.mark.parametrize("offset", [0, DATA, TCS_0, SSA_0])
@pytest.mark.parametrize("init", [True, False])
def test_a_production_enclave_is_closed_to_debuggers(offset: int, init: bool) -> None:
    guest = enclave(debug=False, init=init)
    refused(guest, guest.pages[offset] + (FLAGS if offset == TCS_0 else 0), GP)


@pytest.mark.parametrize("misaligned", range(1, 8))
def test_the_address_is_aligned_to_eight_bytes(misaligned: int) -> None:
    guest = enclave()
    refused(guest, guest.pages[DATA] + misaligned, GP)


def test_only_pages_in_use_of_regular_or_tcs_type_are_debugged() -> None:
    guest = enclave()
    sgx = guest.driver._sgx
    refused(guest, sgx.epcm.start - PAGE, PF)
    refused(guest, sgx.epcm.stop, PF)
    refused(guest, guest.driver.epc.take(), PF)
    refused(guest, guest.secs_hpa, PF)
    for kind in (PageType.TRIM, PageType.SS_FIRST):
        sgx.epcm[guest.pages[DATA]].page_type = kind
        refused(guest, guest.pages[DATA], PF)


@pytest.mark.parametrize("state", ["pending", "modified"])
def test_a_page_that_the_enclave_has_not_accepted_is_not_debugged(state: str) -> None:
    guest = enclave()
    setattr(guest.driver._sgx.epcm[guest.pages[DATA]], state, True)
    for call in (
        lambda: guest.driver.edbgrd(guest.pages[DATA]),
        lambda: guest.driver.edbgwr(guest.pages[DATA], 1),
    ):
        with pytest.raises(SGXError) as error:
            call()
        assert error.value.code == 21


@pytest.mark.parametrize("offset", [at for at in range(0, 72, 8) if at != FLAGS] + [PAGE - 8])
def test_of_a_tcs_only_flags_can_be_written(offset: int) -> None:
    guest = enclave()
    page = guest.pages[TCS_0]
    before = bytes(guest.host.machine.cache.view(page))
    with pytest.raises(GP):
        guest.driver.edbgwr(page + offset, 0)
    assert bytes(guest.host.machine.cache.view(page)) == before
    assert guest.driver.edbgrd(page + offset) == int.from_bytes(
        before[offset : offset + 8], "little"
    )


def test_a_debugger_sets_dbgoptin() -> None:
    guest = enclave()
    guest.driver.edbgwr(guest.pages[TCS_0] + FLAGS, 1)
    page = bytes(guest.host.machine.cache.view(guest.pages[TCS_0]))
    assert TCS.unpack(page).flags.dbgoptin


@pytest.mark.parametrize("value", [-1, 1 << 64])
def test_a_value_has_64_bits(value: int) -> None:
    guest = enclave()
    with pytest.raises(GP):
        guest.driver.edbgwr(guest.pages[DATA], value)
