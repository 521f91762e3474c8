"""The address lines: what passes, and what the cache keeps to itself."""

from typing import Any

import pytest

from tee_sim.errors import EnclaveLost
from tee_sim.platform import DeployedEnclave, Platform
from tee_sim.trace import Transfer
from tee_sim.units import MIB, PAGE

SMALL: dict[str, Any] = {"memory": 64 * MIB, "epc": 4 * MIB}
TEES = pytest.mark.parametrize("tee", ["none", "vbs", "sgx-mee", "sgx-tme"])


def keeper(host: Platform) -> tuple[DeployedEnclave, int]:
    """A program with a page of its owner's, which is not cached."""
    careless = host.create_enclave("careless")
    careless.put(b"1" * PAGE)
    place = careless.physical("careless_page")
    host.adversary.evict(place)
    return careless, place


@TEES
def test_an_access_passes_once_until_the_page_is_evicted(tee: str) -> None:
    host = Platform(tee, **SMALL)
    careless, place = keeper(host)
    with host.adversary.bus.listening() as passed:
        careless.peek(careless.address("careless_page"))
        assert passed.count(Transfer("read", place)) == 1
        host.adversary.evict(place)
        careless.peek(careless.address("careless_page"))
        assert passed.count(Transfer("read", place)) == 2
    assert Transfer("write", place) not in passed


@pytest.mark.parametrize("tee", ["sgx-mee", "sgx-tme"])
def test_the_cache_answers_unseen_and_a_dirty_page_is_written_back(tee: str) -> None:
    host = Platform(tee, **SMALL)
    careless, place = keeper(host)
    careless.peek(careless.address("careless_page"))
    with host.adversary.bus.listening() as passed:
        careless.peek(careless.address("careless_page"))
        careless.put(b"2" * PAGE)
        assert place not in [transfer.hpa for transfer in passed]
        host.adversary.evict(place)
    assert passed[-1] == Transfer("write", place)


def test_listening_ends_with_the_block_and_each_listener_hears_for_itself() -> None:
    host = Platform("sgx-tme", **SMALL)
    careless, place = keeper(host)
    with host.adversary.bus.listening() as first:
        with host.adversary.bus.listening() as second:
            careless.peek(careless.address("careless_page"))
        host.adversary.evict(place)
        careless.peek(careless.address("careless_page"))
    careless.put(b"3" * PAGE)
    host.adversary.wbinvd()
    assert [t for t in first if t.hpa == place] == 2 * [Transfer("read", place)]
    assert [t for t in second if t.hpa == place] == [Transfer("read", place)]


def test_a_machine_check_ends_the_access_that_passed() -> None:
    host = Platform("sgx-mee", **SMALL)
    careless, place = keeper(host)
    host.adversary.bus.write(place, bytes(16))
    with host.adversary.bus.listening() as passed, pytest.raises(EnclaveLost, match="#MC"):
        careless.peek(careless.address("careless_page"))
    assert passed[-1] == Transfer("read", place)
