"""INVD: what was not written back is gone, unless the processor protects enclaves from it."""

from typing import Any

import pytest

from assembly import Process, store_byte
from tee_sim.errors import GeneralProtection
from tee_sim.machine.registers import RBX
from tee_sim.platform import DeployedEnclave, Platform
from tee_sim.units import MIB, PAGE

SMALL: dict[str, Any] = {"memory": 64 * MIB, "epc": 4 * MIB}


def locked_vault(host: Platform) -> DeployedEnclave:
    """A vault whose wrong PINs came after everything had been written back."""
    vault = host.create_enclave("vault")
    vault.make_secret("2718")
    host.adversary.wbinvd()
    host.adversary.evict(vault.physical("vault_tries"))
    while vault.release("0").result == 0:
        pass
    return vault


@pytest.mark.parametrize("tee", ["sgx-mee", "sgx-tme"])
def test_invd_faults_on_a_machine_with_enclave_memory(tee: str) -> None:
    host = Platform(tee, **SMALL)
    vault = locked_vault(host)
    with pytest.raises(GeneralProtection) as refused:
        host.adversary.invd()
    assert str(refused.value.check) == "INVD.PRM"
    assert vault.tries_left() == 0


def test_a_hypervisor_writes_back_before_it_invalidates() -> None:
    host = Platform("vbs", **SMALL)
    vault = locked_vault(host)
    host.adversary.invd()
    assert vault.tries_left() == 0


@pytest.mark.parametrize("tee", ["none", "sgx-mee", "sgx-tme"])
def test_without_the_check_invd_takes_back_what_was_not_written_back(tee: str) -> None:
    host = Platform(tee, **SMALL, without={"INVD.PRM"} if tee.startswith("sgx") else ())
    vault = locked_vault(host)
    host.adversary.invd()
    assert vault.tries_left() == 3
    assert vault.release("2718").result == 1


@pytest.mark.parametrize("tee", ["none", "sgx-mee", "sgx-tme"])
def test_invd_takes_back_nothing_that_was_written_back(tee: str) -> None:
    host = Platform(tee, **SMALL, without={"INVD.PRM"} if tee.startswith("sgx") else ())
    vault = locked_vault(host)
    host.adversary.wbinvd()
    host.adversary.invd()
    assert vault.tries_left() == 0


def ordinary(platform: Platform) -> int:
    page = platform.host.frames.take()
    platform.machine.write(page, b"old")
    return page


def test_an_ordinary_page_loses_its_writes_since_it_was_evicted() -> None:
    host = Platform("none", **SMALL)
    evicted, other = ordinary(host), ordinary(host)
    host.adversary.evict(evicted)
    for page in (evicted, other):
        host.adversary.write(page, b"new")
    host.adversary.invd()
    assert host.adversary.read(evicted, 3) == b"old"
    assert host.adversary.read(other, 3) == b"new"


def test_what_the_bus_wrote_stays() -> None:
    host = Platform("none", **SMALL)
    page = ordinary(host)
    host.adversary.evict(page)
    host.adversary.bus.write(page, b"bus")
    host.adversary.invd()
    assert host.adversary.read(page, 3) == b"bus"


def test_a_power_cut_loses_the_same() -> None:
    host = Platform("none", **SMALL)
    page = ordinary(host)
    host.adversary.evict(page)
    host.adversary.write(page, b"new")
    host.machine.power_cut()
    assert host.adversary.read(page, 3) == b"old"


def test_code_that_invd_takes_back_is_executed_as_it_was() -> None:
    host = Platform("none", **SMALL)
    process = Process(host, store_byte(RBX, 1) + b"\x0f\x05")
    data = process.map(0x20000)
    code = process.space.translate(process.at)
    assert code is not None
    host.adversary.evict(code)
    host.machine.write(code + 2, b"\x02")
    process.start(rbx=0x20000)
    process.run()
    assert host.machine.read(data, 1) == b"\x02"
    host.adversary.invd()
    process.start(rbx=0x20000)
    process.run()
    assert host.machine.read(data, PAGE) == b"\x01".ljust(PAGE, b"\0")
