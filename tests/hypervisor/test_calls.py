"""Calls within calls, from several Python threads, and to what is not there any more."""

from __future__ import annotations

import threading
from itertools import repeat

import pytest

from tee_sim import Platform, attacks
from tee_sim.attacks.matrix import compute
from tee_sim.errors import BudgetExceeded, EnclaveLost, UsageError
from tee_sim.hypervisor.calls import interleave
from tee_sim.units import MIB

TEES = pytest.mark.parametrize("tee", ["none", "vbs", "sgx-tme"])


def small(tee: str, **options: int) -> Platform:
    return Platform(tee, memory=32 * MIB, epc=4 * MIB, **options)


@TEES
def test_python_threads_take_turns(tee: str) -> None:
    host = small(tee)
    vaults = [host.create_enclave("vault") for _ in range(2)]
    answers: list[int] = []

    def work() -> None:
        answers.extend(vaults[turn % 2].tries_left() for turn in range(100))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == list(repeat(answers[0], 300))


@TEES
def test_another_program_runs_while_one_is_interrupted(tee: str) -> None:
    host = small(tee)
    victim, other = host.create_enclave("careless"), host.create_enclave("vault")
    with host.adversary.interrupting(victim.guest, 50, lambda _r: other.tries_left(), at_most=20):
        assert victim.count(1000) == 1000


@TEES
def test_no_program_runs_on_a_processor_that_another_one_occupies(tee: str) -> None:
    host = small(tee)
    victim, other = host.create_enclave("careless"), host.create_enclave("vault")
    with (
        host.adversary.meanwhile(victim.guest, 50, other.tries_left),
        pytest.raises(UsageError, match="not interrupted"),
    ):
        victim.count(1000)


@TEES
def test_interruptions_do_not_renew_the_budget(tee: str) -> None:
    host = small(tee, budget=20_000)
    victim = host.create_enclave("careless")
    with (
        host.adversary.interrupting(victim.guest, 1000, lambda _r: None),
        pytest.raises(BudgetExceeded),
    ):
        victim.count(1 << 40)


@TEES
def test_a_closed_program_says_so_and_its_page_tables_are_gone(tee: str) -> None:
    victim = small(tee).create_enclave("vault")
    victim.close()
    assert victim.lost
    assert "lost" in repr(victim)
    with pytest.raises(UsageError, match="taken down"):
        victim.physical("vault_tries")
    with pytest.raises(EnclaveLost, match="closed"):
        victim.tries_left()


@TEES
def test_no_program_survives_a_power_cut(tee: str) -> None:
    host = small(tee)
    victim = host.create_enclave("vault")
    host.machine.power_cut()
    assert "power" in str(victim.lost)
    with pytest.raises(EnclaveLost, match="power"):
        victim.tries_left()


def test_each_boot_has_a_paging_key_of_its_own() -> None:
    host = small("sgx-tme")
    paging = host.machine.mmu.guard.paging  # type: ignore[attr-defined]  # the SGX monitor has it
    before = paging._key
    host.machine.power_cut()
    assert paging._key != before
    assert paging.next_version() == 1


def test_calls_that_cannot_end_any_more_leave_their_processors() -> None:
    host = small("sgx-tme")
    first, second = host.create_enclave("careless"), host.create_enclave("careless")
    for page in first.program.image.pages:
        host.adversary.unmap(first.guest, first.guest.base + page.offset)
    calls = [
        first.guest.steps(0, 0, 0, processor=0, quantum=20),
        second.guest.steps(0, 0, 0, processor=1, quantum=20),
    ]
    with pytest.raises(Exception, match=r"died|#PF"):
        interleave(*calls)
    assert not host.machine.processor(1).occupied
    assert host.machine.processor(1).context is None


def test_an_attack_on_a_scene_that_does_not_fit_has_no_verdict() -> None:
    host, other = small("none"), small("none")
    vault = host.create_enclave("vault")
    digest = vault.make_secret("1234")
    for wrong in ((other, vault, digest), (host, vault, digest.hex()), (host, vault, b"?" * 32)):
        with pytest.raises(UsageError):
            attacks.read_private_page(*wrong)
    with pytest.raises(UsageError, match="32 bytes"):
        host.adversary.hunt(digest.hex())  # type: ignore[arg-type]  # the mistake under test
    vault.close()
    with pytest.raises(UsageError, match="lost"):
        attacks.cold_boot(host, vault, digest)


def test_a_refusal_of_an_earlier_attack_does_not_count() -> None:
    host = small("sgx-tme")
    vault = host.create_enclave("vault")
    digest = vault.make_secret("1234")
    assert attacks.read_private_page(host, vault, digest).verdict == "blocked"
    while vault.release("0000").result == 0:
        pass
    with pytest.raises(UsageError, match="no check"):
        attacks.bus_replay(host, vault, digest)


@pytest.mark.parametrize(
    "wrong", [{"platforms": ["x"]}, {"attacks": ["x"]}, {"without": ["x"]}, {"platforms": "x"}]
)
def test_the_matrix_refuses_names_that_do_not_exist(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="'x'"):
        compute(**{"attacks": ["cold_boot"], "platforms": ["none"]} | wrong)  # type: ignore[arg-type]  # the mistake
