"""Signing and verifying SIGSTRUCT."""

import datetime
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from hypothesis import given
from hypothesis import strategies as st

from tee_sim.abi.sgx import AttributeFlags, Attributes, AttributesMask, MiscSelect
from tee_sim.abi.sgx_sign import HEADER, HEADER2, SIGSTRUCT
from tee_sim.errors import LayoutError, UsageError
from tee_sim.monitors.sgx.sigstruct import (
    BadSigstruct,
    load_attacker_key,
    load_signing_key,
    mrsigner,
    quotients,
    sign,
    verify,
)
from vectors import vector

MEASUREMENT = bytes(range(32))
ATTRIBUTES = Attributes(flags=AttributeFlags(mode64bit=True), xfrm=3)
MASK = AttributesMask(flags=0xFFFFFFFFFFFFFFFD, xfrm=3)


def signed(**changes: Any) -> SIGSTRUCT:
    values = {"attributes": ATTRIBUTES, "attributemask": MASK} | changes
    return sign(MEASUREMENT, load_signing_key(), **values)


SIGNED = signed(isvprodid=7, isvsvn=3)


def test_what_is_signed_verifies() -> None:
    verify(SIGNED)
    verify(SIGSTRUCT.unpack(SIGNED.pack()))


def test_signing_again_gives_the_same_bytes() -> None:
    assert signed(isvprodid=7, isvsvn=3) == SIGNED


def test_the_arguments_are_in_the_certificate() -> None:
    sigstruct = signed(
        isvprodid=1,
        isvsvn=2,
        miscselect=MiscSelect(exinfo=True),
        miscmask=1,
        isvfamilyid=b"f" * 16,
        isvextprodid=b"e" * 16,
        date=datetime.date(2016, 12, 14),
        vendor=0x8086,
        swdefined=9,
    )
    verify(sigstruct)
    assert (sigstruct.header, sigstruct.header2) == (HEADER, HEADER2)
    assert sigstruct.date == 0x20161214
    assert (sigstruct.isvprodid, sigstruct.isvsvn) == (1, 2)
    assert (sigstruct.miscselect, sigstruct.miscmask) == (1, 1)
    assert (sigstruct.isvfamilyid, sigstruct.isvextprodid) == (b"f" * 16, b"e" * 16)
    assert (sigstruct.vendor, sigstruct.swdefined) == (0x8086, 9)
    assert sigstruct.enclavehash == MEASUREMENT
    assert (sigstruct.attributes, sigstruct.attributemask) == (ATTRIBUTES, MASK)


def test_another_implementation_accepts_the_signature() -> None:
    load_signing_key().public_key().verify(
        SIGNED.signature[::-1], SIGNED.signed_bytes(), PKCS1v15(), hashes.SHA256()
    )


@given(st.sampled_from([*range(44), *range(900, 910), *range(912, 992), *range(1008, 1028)]))
def test_every_signed_byte_counts(position: int) -> None:
    data = bytearray(SIGNED.pack())
    data[position] ^= 1
    try:
        changed = SIGSTRUCT.unpack(data)
    except LayoutError:
        return
    with pytest.raises(BadSigstruct) as caught:
        verify(changed)
    assert caught.value.reason == "signature"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exponent": 65537}, "exponent"),
        ({"exponent": 0}, "exponent"),
        ({"modulus": bytes(384)}, "modulus"),
        ({"modulus": b"\x01" + bytes(383)}, "modulus"),
        ({"signature": bytes(384)}, "signature"),
        ({"signature": b"\xff" * 384}, "signature"),
        ({"enclavehash": bytes(32)}, "signature"),
        ({"q1": bytes(384)}, "q1"),
        ({"q2": bytes(384)}, "q2"),
        ({"q1": SIGNED.q2, "q2": SIGNED.q1}, "q1"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadSigstruct, match=reason.upper()) as caught:
        verify(SIGNED.with_(**changes))
    assert caught.value.reason == reason


def test_a_signature_plus_the_modulus_is_refused() -> None:
    """It satisfies the equation, but is not the one signature that the key makes."""
    for svn in range(64):
        sigstruct = signed(isvsvn=svn)
        modulus = int.from_bytes(sigstruct.modulus, "little")
        again = int.from_bytes(sigstruct.signature, "little") + modulus
        if again < 1 << 3072:
            break
    with pytest.raises(BadSigstruct, match="SIGNATURE"):
        verify(sigstruct.with_(signature=again.to_bytes(384, "little")))


def test_resigning_changes_the_signer_and_nothing_that_it_says() -> None:
    resigned = sign(
        MEASUREMENT,
        load_attacker_key(),
        attributes=ATTRIBUTES,
        attributemask=MASK,
        isvprodid=7,
        isvsvn=3,
    )
    verify(resigned)
    assert resigned.signed_bytes() == SIGNED.signed_bytes()
    assert mrsigner(resigned) != mrsigner(SIGNED)


def test_mrsigner_is_the_digest_of_the_little_endian_modulus() -> None:
    numbers = load_signing_key().public_key().public_numbers()
    assert mrsigner(SIGNED) == hashlib.sha256(numbers.n.to_bytes(384, "little")).digest()


def test_only_rsa_3072_with_exponent_3_signs() -> None:
    for key in (rsa.generate_private_key(3, 2048), rsa.generate_private_key(65537, 3072)):
        with pytest.raises(UsageError, match="RSA-3072 and exponent 3"):
            sign(MEASUREMENT, key, attributes=ATTRIBUTES, attributemask=MASK)


@pytest.mark.parametrize("name", ["sgx/sig1.sigstruct.bin", "sgx/test_enclave.sig"])
def test_real_sigstructs_verify(name: str) -> None:
    verify(SIGSTRUCT.unpack(vector(name)))


def test_the_published_enclavehash_is_found() -> None:
    found = SIGSTRUCT.unpack(vector("sgx/test_enclave.sig")).enclavehash.hex()
    assert found.startswith("784acfd7d5096a8f0fbd3265760bff")
    assert found.endswith("98fc")


def test_the_published_signature_is_one_of_the_published_digest() -> None:
    """With the key of the SIGSTRUCT beside it; that one signs itself, and not this digest."""
    modulus, sigstruct = vector("sgx/sig1.key_n.bin"), vector("sgx/sig1.sigstruct.bin")
    assert SIGSTRUCT.unpack(sigstruct).modulus == modulus
    key = rsa.RSAPublicNumbers(3, int.from_bytes(modulus, "little")).public_key()
    signature, digest = vector("sgx/sig1.sig.bin")[::-1], vector("sgx/sig1.data.bin")
    key.verify(signature, digest, PKCS1v15(), Prehashed(hashes.SHA256()))


def test_the_published_signer_is_found() -> None:
    signer = mrsigner(SIGSTRUCT.unpack(vector("sgx/sig1.sigstruct.bin"))).hex()
    assert signer.startswith("83d719e7")
    assert signer.endswith("ce9e")
    assert hashlib.sha256(vector("sgx/sig1.key_n.bin")).hexdigest() == signer


def test_published_quotients_are_computed() -> None:
    modulus = int.from_bytes(vector("sgx/sig1.key_n.bin"), "little")
    signature = int.from_bytes(vector("sgx/sig1.sig.bin"), "little")
    expected = [int.from_bytes(vector(f"sgx/sig1.{name}.bin"), "little") for name in ("q1", "q2")]
    assert list(quotients(signature, modulus)) == expected
