"""Builds without a guard: another program, for platforms that are built without the guard."""

import pytest

from tee_sim.errors import EcallFailed, EnclaveLost
from tee_sim.hypervisor.guest import ARENA_BASE
from tee_sim.platform import DeployedEnclave, Platform
from tee_sim.sdk.guards import OUTSIDE
from tee_sim.sdk.results import OE_OK

OE_INVALID_PARAMETER = 3
WITHOUT = {OUTSIDE.name}


def clerk(without: set[str]) -> DeployedEnclave:
    victim = Platform("sgx-tme", without=without).create_enclave("clerk")
    victim.make_secret()
    return victim


def test_the_build_without_a_guard_is_another_program() -> None:
    assert clerk(set()).mrenclave != clerk(WITHOUT).mrenclave


@pytest.mark.parametrize("without", [set(), WITHOUT])
def test_both_ecalls_write_outside(without: set[str]) -> None:
    victim = clerk(without)
    victim.on_ocall("find_room", lambda size: ARENA_BASE + 0x1000)
    for entry, log in enumerate((victim.log_carelessly, victim.log_carefully), 1):
        log(entry)
        assert victim.guest.read(ARENA_BASE + 0x1000, 8) == entry.to_bytes(8, "little")


@pytest.mark.parametrize("into", [0, 8, 4096, -1, -7])
def test_the_careful_ecall_refuses_every_address_that_touches_the_inside(into: int) -> None:
    victim = clerk(set())
    victim.on_ocall("find_room", lambda size: victim.guest.base + into)
    with pytest.raises(EcallFailed, match="OE_INVALID_PARAMETER"):
        victim.log_carefully(1)
    assert victim.show().result == 0


@pytest.mark.parametrize(
    ("without", "result", "shown"), [(set(), OE_INVALID_PARAMETER, 0), (WITHOUT, OE_OK, 1)]
)
def test_the_guard_also_protects_every_pointer_of_an_ecall(
    without: set[str], result: int, shown: int
) -> None:
    """make_secret gives its digest to whatever address stands in the marshalling struct."""
    victim = clerk(without)
    clearance = victim.address("clerk_clearance")
    victim.guest.write(ARENA_BASE, bytes(8) + clearance.to_bytes(8, "little"))
    assert victim.guest.enter(0, 0, ARENA_BASE)[1] == result
    assert victim.show().result == shown


def test_a_log_at_no_address_ends_the_careless_clerk() -> None:
    victim = clerk(set())
    victim.on_ocall("find_room", lambda size: 0)
    with pytest.raises(EnclaveLost):
        victim.log_carelessly(1)
