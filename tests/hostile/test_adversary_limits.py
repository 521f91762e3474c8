"""What the adversary does not get, however it asks."""

import pytest

from tee_sim import Platform, attacks
from tee_sim.attacks.matrix import run
from tee_sim.errors import EnclaveLost, UsageError

SGX = ("sgx-mee", "sgx-tme")


@pytest.fixture(params=SGX)
def host(request: pytest.FixtureRequest) -> Platform:
    return Platform(request.param)


def test_registers_of_a_processor_inside_are_not_to_be_had(host: Platform) -> None:
    vault, asked = host.create_enclave("vault"), []

    def look() -> None:
        with pytest.raises(UsageError, match="inside an enclave"):
            host.adversary.registers(host.machine.processor(0))
        asked.append(True)

    with host.adversary.meanwhile(vault.guest, 50, look):
        vault.make_secret("1")
    assert asked


def test_a_power_cut_ends_every_enclave(host: Platform) -> None:
    vault = host.create_enclave("vault")
    vault.make_secret("1")
    host.adversary.wbinvd()
    for _ in range(3):
        vault.release("0")
    host.machine.power_cut()
    with pytest.raises(EnclaveLost):
        vault.tries_left()
    assert host.create_enclave("vault").make_secret("1")


def test_an_author_measures_out_of_the_adversarys_reach() -> None:
    everything_but = {"MEASURE.EADD"}
    assert run(attacks.tampered_image, "sgx-tme", everything_but).check == "EINIT.ENCLAVEHASH"
    assert run(attacks.tampered_image, "sgx-tme", {"MEASURE.EEXTEND"}).verdict == "succeeds"
    assert run(attacks.impostor, "sgx-tme", everything_but).verdict == "succeeds"


def test_a_search_for_what_is_everywhere_is_refused(host: Platform) -> None:
    with pytest.raises(UsageError, match="rarer"):
        host.adversary.bus.search(bytes(4))


def test_evicting_beyond_memory_is_refused(host: Platform) -> None:
    with pytest.raises(UsageError, match="outside memory"):
        host.adversary.evict(0, 1 << 45)
