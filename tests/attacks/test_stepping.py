"""Attacks on time: what they recover, on what that rests, and whom they blame when they fail."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from tee_sim import Platform, attacks
from tee_sim.attacks.exception_reentry import forge
from tee_sim.attacks.single_step import WRONG, chosen_lock, minding_lock, steps
from tee_sim.errors import EnclaveLost, UsageError
from tee_sim.sdk import guards
from tee_sim.sdk.image import load_program


def test_the_combination_opens_the_lock() -> None:
    host = Platform("sgx-tme")
    lock, digest = chosen_lock(host)
    outcome = attacks.single_step(host, lock, digest)
    assert outcome.verdict == "succeeds"
    assert sha256(outcome.leaked).digest() == digest
    assert lock.unlock(int.from_bytes(outcome.leaked, "little")) == 1


@pytest.mark.parametrize("attack", ["single_step", "accessed_bits"])
def test_no_check_gets_the_credit_for_what_was_not_recovered(attack: str) -> None:
    host = Platform("sgx-tme")
    declared = attacks.ATTACKS[attack]
    stage = chosen_lock if attack == "single_step" else declared.stage
    victim, _ = stage(host)
    with pytest.raises(UsageError, match="no check stopped it"):
        declared(host, victim, bytes(32))


def test_counting_is_exact_however_much_of_a_call_is_skipped() -> None:
    host = Platform("sgx-tme")
    lock, _ = chosen_lock(host)
    lock.unlock(0)
    counts = {steps(host, lock, bytes([WRONG]), skip) for skip in (0, 1, 2, 50, 200)}
    assert len(counts) == 1


def test_a_lock_that_minds_puts_up_with_a_few_interruptions_of_each_call() -> None:
    host = Platform("sgx-tme")
    lock, _ = minding_lock(host)
    for at_most in (1, 4, 4, 4):
        with host.adversary.interrupting(lock.guest, 20, lambda _: None, at_most=at_most):
            assert lock.unlock(WRONG) == 0
    with host.adversary.interrupting(lock.guest, 20, lambda _: None), pytest.raises(EnclaveLost):
        lock.unlock(WRONG)


def careless(host: Platform, **changes: Any) -> Any:
    program = load_program("strongbox", "sgx", guarded=guards.ALL - {"RUNTIME.REENTRY"})
    return host.create_enclave(replace(program, **changes))


def test_a_forged_write_is_64_bytes_of_the_hosts_choice() -> None:
    host = Platform("sgx-tme")
    box = careless(host)
    box.make_secret("2718")
    written = bytes(range(64))
    forge(host, box, box.address("strongbox_pin"), written)
    page = host.machine.cache.view(box.physical("strongbox_pin"))
    assert bytes(page[:64]) == written
    assert box.handled() == 1


def test_a_careless_runtime_that_is_told_of_no_page_fault_is_not_misled_by_one() -> None:
    host = Platform("sgx-tme")
    box = careless(host, exinfo=False)
    box.make_secret("2718")
    with pytest.raises(EnclaveLost):
        forge(host, box, box.address("strongbox_pin"), bytes(64))
    assert bytes(host.machine.cache.view(box.physical("strongbox_pin"))[:5]) == b"2718\0"


def test_the_careless_build_is_another_enclave() -> None:
    guarded = Platform("sgx-tme").create_enclave("strongbox")
    unguarded = Platform("sgx-tme", without={"RUNTIME.REENTRY"}).create_enclave("strongbox")
    assert guarded.mrenclave != unguarded.mrenclave == careless(Platform("sgx-tme")).mrenclave
