"""The impostor: right in everything but its identity."""

from __future__ import annotations

from hashlib import sha256

import pytest

from tee_sim import Platform
from tee_sim.attacks.impostor import launch_impostor


@pytest.mark.parametrize("tee", ["sgx-mee", "sgx-tme"])
def test_only_its_identity_tells_the_impostor_from_the_vault(tee: str) -> None:
    host = Platform(tee)
    real = host.create_enclave("vault")
    false, back_door = launch_impostor(host)
    digest = false.make_secret("2718")
    assert false.tries_left() == 3
    assert sha256(false.release("2718").secret).digest() == digest
    assert back_door.stolen_pin().rstrip(b"\0") == b"2718"
    assert false.mrenclave != real.mrenclave
    assert false.mrsigner != real.mrsigner


def test_a_platform_without_a_tee_has_no_identities() -> None:
    process = Platform("none").create_enclave("vault")
    assert process.mrenclave is None
    assert process.mrsigner is None
