"""The attacks on voltage and bus fail where they have to, and leak what they say."""

import sys

import pytest

from tee_sim import attacks
from tee_sim.attacks.page_faults import drawn_sketch
from tee_sim.attacks.spy import Spy
from tee_sim.attacks.undervolt import signer
from tee_sim.errors import UsageError
from tee_sim.platform import Platform
from tee_sim.units import PAGE


def test_the_leaked_prime_is_one_of_the_key() -> None:
    host = Platform("sgx-mee", patch_level=0)
    victim, modulus = signer(host)
    outcome = attacks.undervolt(host, victim, modulus)
    prime = int.from_bytes(outcome.leaked, "little")
    assert modulus % prime == 0
    assert 1 < prime < modulus


def test_an_attack_at_normal_voltage_learns_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[signer.__module__], "MILLIVOLTS", 100)
    host = Platform("none")
    with pytest.raises(UsageError, match="no prime"):
        attacks.undervolt(host, *signer(host))


def test_another_picture_is_not_taken_for_the_secret() -> None:
    host = Platform("sgx-tme")
    victim, _ = drawn_sketch(host)
    with pytest.raises(UsageError, match="not the picture"):
        attacks.address_bus(host, victim, bytes(32))


def test_a_pin_that_is_not_in_the_dictionary_is_not_found() -> None:
    host = Platform("sgx-tme")
    victim = host.create_enclave("vault")
    assert attacks.ciphertext_dictionary(host, victim, "271828").verdict == "ciphertext"


def test_ciphertext_decrypts_in_another_enclave_at_the_same_place_only() -> None:
    for shift, same in ((0, True), (PAGE, False)):
        host = Platform("sgx-tme")
        victim = host.create_enclave("careless")
        victim.put(b"k" * PAGE)
        place = victim.physical("careless_page")
        host.adversary.evict(place)
        stolen = host.adversary.bus.read(place, PAGE)
        spy = Spy(host)
        spy.sgx.eremove(place + shift)
        spy.adopt(place + shift)
        host.adversary.evict(spy.page)
        host.adversary.bus.write(spy.page, stolen)
        assert (spy.read() == b"k" * 32) == same
