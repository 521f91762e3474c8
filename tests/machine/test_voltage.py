"""Undervolting: products go wrong and nothing else does, where the register is not locked."""

import pytest

from assembly import ENCLU, Process, launch, leave, mov
from tee_sim.checks import Checks
from tee_sim.errors import UsageError
from tee_sim.machine.cpu import Stop
from tee_sim.machine.decode import product_of
from tee_sim.machine.entropy import Entropy
from tee_sim.machine.registers import RCX, RDI
from tee_sim.machine.voltage import RARITY, STABLE, Voltage
from tee_sim.platform import Platform
from tee_sim.units import MIB

ROUNDS = 2 * RARITY
MULTIPLY = "4889c8480fafc1"  # mov rax, rcx; imul rax, rcx
ADD = "4889c84801c8"  # mov rax, rcx; add rax, rcx
SUM_UP = "4801c7"  # add rdi, rax
LOOP = "48ffc975"  # dec rcx; jnz


def loop(body: str) -> bytes:
    """Add up what the body leaves in RAX, for RCX from `ROUNDS` down to 1, and leave."""
    code = bytes.fromhex(body + SUM_UP + LOOP)
    return mov(RCX, ROUNDS) + code + (-(len(code) + 1) & 0xFF).to_bytes(1, "little") + leave()


def enclave_sum(body: str, millivolts: int, *, seed: int = 0, patch_level: int = 0) -> int:
    host = Platform("sgx-mee", memory=64 * MIB, epc=4 * MIB, seed=seed, patch_level=patch_level)
    guest = launch(host, loop(body))
    with host.adversary.undervolting(millivolts):
        return guest.enter(0)[0]


SQUARES = sum(n * n for n in range(ROUNDS + 1)) % 2**64


def test_at_too_low_a_voltage_products_have_wrong_bits() -> None:
    off = enclave_sum(MULTIPLY, 150) - SQUARES
    assert off != 0
    assert abs(off) < 1 << 24, "a few bits, each of them below 16"


def test_the_same_seed_gives_the_same_faults_and_another_seed_others() -> None:
    found = [enclave_sum(MULTIPLY, 150, seed=seed) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]


def test_additions_stay_right() -> None:
    assert enclave_sum(ADD, 150) == ROUNDS * (ROUNDS + 1)


@pytest.mark.parametrize("millivolts", [0, -STABLE, -150])
def test_at_a_voltage_that_is_high_enough_nothing_happens(millivolts: int) -> None:
    assert enclave_sum(MULTIPLY, millivolts) == SQUARES


def test_a_locked_register_keeps_the_voltage() -> None:
    assert enclave_sum(MULTIPLY, 150, patch_level=1) == SQUARES


def test_the_voltage_is_normal_again_after_the_block() -> None:
    voltage = (host := Platform("none", patch_level=0)).machine.voltage
    assert voltage is not None
    offsets = []

    def fail() -> None:
        with host.adversary.undervolting(150):
            offsets.append(voltage.offset)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [*offsets, voltage.offset] == [-150, 0]


def test_a_server_without_the_register_says_so() -> None:
    host = Platform("sgx-tme")
    with pytest.raises(UsageError, match="voltage register"), host.adversary.undervolting(150):
        pass


@pytest.mark.parametrize("limit", [1, 2, 1000])
def test_a_run_has_the_length_asked_for(limit: int) -> None:
    process = Process(Platform("none"), bytes.fromhex(MULTIPLY + "ebf7"))  # and again, for ever
    voltage = Voltage(Checks(()), Entropy(0))
    voltage.offset = -150
    for _ in range(20):
        assert voltage.run(process.lp, limit) == Stop("limit")
    process.start()
    assert voltage.run(process.lp, 4) == Stop("limit")
    assert process.registers["rip"] == process.at + 3


def test_a_run_ends_at_what_would_end_it_anyway() -> None:
    process = Process(Platform("none"), mov(RDI, 1) + ENCLU)
    voltage = Voltage(Checks(()), Entropy(0))
    voltage.offset = -150
    assert voltage.run(process.lp, None) == Stop("enclu")


@pytest.mark.parametrize(
    ("code", "register"),
    [
        ("48f7e1", "rax"),  # mul rcx
        ("f7e9", "rax"),  # imul ecx
        ("66f7e1", "rax"),  # mul cx
        ("f6e1", "rax"),  # mul cl
        ("480fafc1", "rax"),  # imul rax, rcx
        ("0fafd9", "rbx"),  # imul ebx, ecx
        ("660fafd9", "rbx"),  # imul bx, cx
        ("0faff9", "rdi"),  # imul edi, ecx
        ("4c0fafc1", "r8"),  # imul r8, rcx
        ("440fafd1", "r10"),  # imul r10d, ecx
        ("66440fafe9", "r13"),  # imul r13w, cx
        ("486bf107", "rsi"),  # imul rsi, rcx, 7
        ("0fafe9", "rbp"),  # imul ebp, ecx
        ("4801c8", ""),  # add rax, rcx
        ("48f7f1", ""),  # div rcx
        ("0f59c1", ""),  # mulps xmm0, xmm1
        ("", ""),
        ("ff", ""),
    ],
)
def test_where_a_product_goes(code: str, register: str) -> None:
    assert product_of(bytes.fromhex(code)) == register
