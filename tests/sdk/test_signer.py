"""The signer against an independent implementation of RSA."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from tee_sim.attacks.undervolt import EXPONENT, factor, padded
from tee_sim.platform import DeployedEnclave, Platform


def signer(seed: int) -> tuple[DeployedEnclave, int]:
    enclave = Platform("sgx-tme", seed=seed).create_enclave("signer")
    return enclave, int.from_bytes(enclave.make_key(), "little")


ENCLAVE, MODULUS = signer(0)


@settings(max_examples=30)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200))
def test_every_signature_verifies(message: str) -> None:
    signature = ENCLAVE.sign(message)
    key = RSAPublicNumbers(EXPONENT, MODULUS).public_key()
    key.verify(signature[::-1], message.encode(), PKCS1v15(), SHA256())
    with pytest.raises(InvalidSignature):
        key.verify(signature[::-1], message.encode() + b"!", PKCS1v15(), SHA256())
    assert pow(int.from_bytes(signature, "little"), EXPONENT, MODULUS) == padded(message, 64)


@pytest.mark.parametrize("seed", range(1, 9))
def test_every_key_has_all_its_bits_and_signs(seed: int) -> None:
    enclave, modulus = signer(seed)
    assert modulus.bit_length() == 512
    signature = int.from_bytes(enclave.sign("x"), "little")
    assert pow(signature, EXPONENT, modulus) == padded("x", 64)
    assert factor(signature, "x", modulus) == 0


def test_a_signature_wrong_modulo_one_prime_gives_both_away() -> None:
    host = Platform("none")
    enclave = host.create_enclave("signer")
    modulus = int.from_bytes(enclave.make_key(), "little")
    primes = set()
    for _ in range(40):
        with host.adversary.undervolting(150):
            signature = int.from_bytes(enclave.sign("m"), "little")
        primes.add(factor(signature, "m", modulus))
    p, q = primes - {0}
    assert p * q == modulus
    assert pow(2, p - 1, p) == pow(2, q - 1, q) == 1
