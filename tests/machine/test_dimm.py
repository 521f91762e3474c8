"""A memory module that claims more than it has: aliases, and the check that looks for them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assembly import Process, store_byte
from tee_sim.errors import BootError, EnclaveLost, TeeSimError, UsageError
from tee_sim.machine.dram import DRAM
from tee_sim.machine.encryption import find_alias
from tee_sim.machine.registers import RBX
from tee_sim.platform import Platform
from tee_sim.units import MIB, PAGE

SMALL: dict[str, Any] = {"memory": 48 * MIB, "epc": 4 * MIB}


def aliased(tee: str) -> tuple[Platform, int]:
    host = Platform(tee, **SMALL, without={"BOOT.ALIAS_CHECK"} if tee == "sgx-tme" else ())
    return host, host.adversary.double_dimm()


@given(st.integers(0, 2 * MIB - 8), st.binary(min_size=1, max_size=8))
def test_every_byte_has_two_addresses_and_no_third(at: int, data: bytes) -> None:
    dram = DRAM(MIB)
    dram.claimed = 2 * MIB
    if at % MIB + len(data) > MIB:
        with pytest.raises(UsageError, match="outside memory"):
            dram.write(at, data)
        return
    dram.write(at, data)
    assert dram.read(at, len(data)) == dram.read((at + MIB) % (2 * MIB), len(data)) == data
    with pytest.raises(UsageError, match="outside memory"):
        dram.read(at % MIB + 2 * MIB, 1)


@pytest.mark.parametrize("pages", [1, 3, 12, 256])
def test_the_firmware_finds_an_alias_and_changes_nothing(pages: int) -> None:
    dram = DRAM(pages * PAGE)
    dram.write(0, bytes(range(1, 17)))
    before = dram.read(0, dram.size)
    assert find_alias(dram) == 0
    dram.claimed = 2 * dram.size
    assert find_alias(dram) == dram.size
    assert dram.read(0, dram.size) == before


def test_equal_contents_are_no_alias() -> None:
    dram = DRAM(4 * PAGE)
    dram.write(0, b"alike" * 3276)
    dram.write(2 * PAGE, dram.read(0, PAGE))
    assert find_alias(dram) == 0


@pytest.mark.parametrize("tee", ["none", "vbs", "sgx-mee", "sgx-tme"])
def test_software_reaches_ordinary_memory_by_both_addresses(tee: str) -> None:
    host, alias = aliased(tee)
    page = host.host.frames.take()
    host.adversary.write(page + alias + PAGE - 3, b"across")
    assert host.adversary.read(page + PAGE - 3, 6) == b"across"
    host.adversary.write(page, b"first")
    assert host.adversary.bus.read(page + alias, 5) == b"first"


def test_an_alias_of_enclave_memory_shows_what_dram_holds_and_not_the_cache() -> None:
    host, alias = aliased("sgx-tme")
    keeper = host.create_enclave("careless")
    keeper.put(b"k" * PAGE)
    place = keeper.physical("careless_page")
    assert host.adversary.read(place, 4) == b"\xff" * 4
    assert host.adversary.read(place + alias, PAGE) == host.adversary.bus.read(place, PAGE)
    before = host.adversary.read(place + alias, PAGE)
    host.adversary.evict(place)
    assert host.adversary.read(place + alias, PAGE) not in (before, b"k" * PAGE)


def test_a_server_with_the_check_does_not_start_and_runs_with_the_old_module() -> None:
    host = Platform("sgx-tme", **SMALL)
    before = host.create_enclave("vault")
    with pytest.raises(BootError) as refused:
        host.adversary.double_dimm()
    assert str(refused.value.check) == "BOOT.ALIAS_CHECK"
    assert host.checks.refusals[-1].check.name == "BOOT.ALIAS_CHECK"
    with pytest.raises(UsageError, match="outside memory"):
        host.adversary.read(48 * MIB, 1)
    with pytest.raises(TeeSimError):
        before.tries_left()
    assert host.create_enclave("vault").make_secret("1")


@pytest.mark.parametrize("claimed", [0, 47 * MIB, 24 * MIB, 49 * MIB, 3 * 48 * MIB])
def test_a_module_claims_whole_address_bits(claimed: int) -> None:
    with pytest.raises(UsageError, match="power of two"):
        Platform("none", **SMALL).machine.change_dimm(claimed)


@pytest.mark.parametrize("bits", [1, 2, 5])
def test_the_check_finds_any_number_of_address_bits_too_many(bits: int) -> None:
    host = Platform("sgx-tme", **SMALL)
    with pytest.raises(BootError):
        host.machine.change_dimm(48 * MIB << bits)


def test_code_changed_through_an_alias_on_the_bus_is_executed_as_it_is_now() -> None:
    host, alias = aliased("none")
    process = Process(host, store_byte(RBX, 1) + b"\x0f\x05")
    data, code = process.map(0x20000), process.space.translate(process.at)
    assert code is not None
    for value in (1, 2):
        host.adversary.bus.write(code + alias + 2, bytes((value,)))
        process.start(rbx=0x20000)
        process.run()
        assert host.machine.read(data, 1) == bytes((value,))


def test_page_tables_do_not_reach_an_alias() -> None:
    host, alias = aliased("none")
    keeper = host.create_enclave("careless")
    host.adversary.remap(keeper.guest, keeper.address("careless_page"), alias)
    with pytest.raises(EnclaveLost, match="outside memory"):
        keeper.put(bytes(PAGE))
