"""Guests that misbehave, on every platform: a typed error, the platform usable, nothing lost."""

from __future__ import annotations

import struct
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bad_input.guests import SMALL, TEES, Bystander, assembled, launch, nothing_lost
from tee_sim import Platform
from tee_sim.errors import (
    BudgetExceeded,
    EcallFailed,
    EnclaveLost,
    Fault,
    GeneralProtection,
    InvalidOpcode,
    OtherFault,
    PageFault,
    TeeSimError,
    UsageError,
)
from tee_sim.hypervisor.guest import ARENA_SIZE
from tee_sim.sdk.image import load_program
from tee_sim.units import PAGE

TYPES = Path(__file__).parent.parent / "programs" / "types"


@pytest.fixture(scope="module", params=TEES)
def host(request: pytest.FixtureRequest) -> Platform:
    """Shared by all tests of a platform: what one of them breaks, the others notice."""
    return Platform(request.param, **SMALL)


@pytest.fixture(scope="module")
def bystander(host: Platform) -> Bystander:
    return Bystander(host)


IMPOSSIBLE = [
    ("0f0b", InvalidOpcode),  # ud2
    ("90900f0b", InvalidOpcode),
    ("c5f877", InvalidOpcode),  # vzeroupper: AVX
    ("c5f058c2", InvalidOpcode),  # vaddps xmm0, xmm1, xmm2
    ("c4e27d18c0", InvalidOpcode),  # vbroadcastss ymm0, xmm0
    ("62f17c48580402", InvalidOpcode),  # vaddps zmm0, zmm0, [rdx + rax]
    ("c4e2fbf6c1", InvalidOpcode),  # mulx
    ("b801000000ffe0", Fault),  # jmp 1
    ("48b80000000000800000ffe0", GeneralProtection),  # to an address that is not canonical
    ("48c7c0ffffffffffe0", Fault),  # to the last byte of memory
    ("ff2425f8ffffff", PageFault),  # jmp [-8]
    ("a100000000ffffffff", PageFault),  # a read where nothing is
    ("31d2f7f2", OtherFault),  # a division by zero
    ("f4", GeneralProtection),  # hlt
    ("fa", GeneralProtection),  # cli
    ("0f22d8", GeneralProtection),  # mov cr3, rax
    ("0f30", GeneralProtection),  # wrmsr
    ("e4ff", Fault),  # in al, 255
    ("cd80", Fault),  # int 80h
    ("cc", Fault),  # int3
    ("0f34", Fault),  # sysenter
    ("b8400000008ee8", Fault),  # mov gs, eax: no such selector
    ("48cb", Fault),  # a far return to nowhere
    ("48cf", Fault),  # iretq to nowhere
    ("4831e4c3", PageFault),  # ret without a stack
    ("f3a4", PageFault),  # rep movsb to 0
]


@pytest.mark.parametrize("timer", [None, 1, 2, 7], ids="timer={}".format)
@pytest.mark.parametrize("at", [0, PAGE - 18], ids=["in a page", "across pages"])
def test_an_instruction_that_cannot_be_is_a_fault(
    host: Platform, bystander: Bystander, timer: int | None, at: int
) -> None:
    with nothing_lost(host, bystander):
        for code, fault in IMPOSSIBLE:
            # RDI and RSI are what the entry gives; RCX counts.
            body = b"\x31\xff\x31\xf6\xb9\1\0\0\0" + bytes.fromhex(code)
            guest = launch(host, assembled(body, host.tee.target, at))
            guest.timer = timer
            guest.handlers.append(lambda _guest, _lp, event: event is None)
            with pytest.raises(EnclaveLost) as lost:
                guest.enter(0, 0, 0)
            assert at or isinstance(lost.value.fault, fault), code
            with pytest.raises(EnclaveLost):
                guest.enter(0, 0, 0)
            guest.close()


@pytest.mark.parametrize("timer", [None, 1, 100])
@pytest.mark.parametrize("loop", ["ebfe", "f390ebfc", "e2feebfc", "f3aaebfc"])
def test_an_endless_loop_ends_with_its_budget(
    host: Platform, bystander: Bystander, loop: str, timer: int | None
) -> None:
    with nothing_lost(host, bystander):
        code = b"\x48\x89\xe7\x48\x83\xef\x40\xb9\1\0\0\0" + bytes.fromhex(loop)
        guest = launch(host, assembled(code, host.tee.target))
        looked = 0

        def handler(_guest: object, _lp: object, event: Fault | None) -> bool:
            nonlocal looked
            looked += 1
            if looked == 100:
                guest.timer = None
            return event is None

        guest.timer = timer
        guest.handlers.append(handler)
        with pytest.raises((BudgetExceeded, EnclaveLost)):
            guest.enter(0, 0, 0)
        assert looked == (0 if timer is None else looked)
        guest.close()


PREFIXES = [bytes.fromhex(text) for text in """
    66 f2 f3 f0 48 0f 0f01 0fae 0fc7 c5 c4 62 8f 8e 9a ea ff cd cf ca f4 e4 6c d9 dd df 9b 0f00 0f20
    0f22 0f05 0f07 0fa1 0fb2 9d c8 f6 f7 c7f8 0f01d7 0f01cf 0f01c1 0f01f9 d6 f1 cc fb 0fa2
    """.split()] + [b""]  # fmt: skip


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_any_code_leaves_or_faults(host: Platform, bystander: Bystander, seed: int) -> None:
    rng = Random(seed)
    pieces = range(rng.randrange(1, 8))
    code = b"".join(rng.choice(PREFIXES) + rng.randbytes(rng.randrange(4)) for _ in pieces)
    with nothing_lost(host, bystander, quick=True):
        guest = launch(host, assembled(code, host.tee.target, rng.choice([0, PAGE - 30])))
        guest.timer, left = rng.choice([None, None, 1, 3, 50]), 200

        def handler(_guest: object, _lp: object, event: Fault | None) -> bool:
            nonlocal left
            left -= 1
            if left == 0:
                raise UsageError("long enough")
            return event is None

        guest.handlers.append(handler)
        try:
            guest.enter(0, 1, 2)
        except TeeSimError:
            assert guest.lost
        finally:
            guest.close()


@pytest.mark.parametrize(
    ("call", "error", "alive"),
    [
        (lambda e: e.wild_jump(), EnclaveLost, False),
        (lambda e: e.illegal(), EnclaveLost, False),
        (lambda e: e.write_code(), EnclaveLost, False),
        (lambda e: e.overflow_stack(10**6), EnclaveLost, False),
        (lambda e: e.double_free(), EnclaveLost, False),
        (lambda e: e.stop(), EnclaveLost, False),
        (lambda e: e.spin(), BudgetExceeded, False),
        (lambda e: e.fill(3_000_000, 1), EcallFailed, True),
        (lambda e: e.fill(ARENA_SIZE, 1), UsageError, True),
        (lambda e: e.fill(2**31 - 1, 1), UsageError, True),
        (lambda e: e.sum_bytes(bytes(ARENA_SIZE), ARENA_SIZE), UsageError, True),
        (lambda e: e.sum_bytes(bytes(3 << 20), 3 << 20), EcallFailed, True),
        (lambda e: e.length("x" * ARENA_SIZE), UsageError, True),
        (lambda e: e.squares(2**62), UsageError, True),
        (lambda e: e.squares(2**64 - 1), UsageError, True),
        (lambda e: e.random_bytes(10**6), EcallFailed, True),
        (lambda e: e.call_unknown(), UsageError, True),
        (lambda e: e.call_tick(), UsageError, True),
        (lambda e: e.call_big(2**40), EcallFailed, True),
        (lambda e: e.divide(1, 0), EnclaveLost, False),
    ],
)
def test_a_program_that_misbehaves_is_a_typed_error(
    host: Platform, bystander: Bystander, call, error: type[TeeSimError], alive: bool
) -> None:
    types = load_program(TYPES, host.tee.target)
    with nothing_lost(host, bystander):
        enclave = host.create_enclave(types)
        kept = enclave.exhaust()
        with pytest.raises(error):
            call(enclave)
        assert (enclave.lost is None) == alive
        if alive:
            assert enclave.exhaust() == kept
            assert enclave.add_int(1, 2) == 3
        else:
            with pytest.raises(EnclaveLost, match="cannot be called any more"):
                enclave.add_int(1, 2)
        enclave.close()
        with pytest.raises(EnclaveLost):
            enclave.add_int(1, 2)


@pytest.mark.parametrize("number", [4, 1000, 2**31, 2**63, 2**64 - 2, 2**64 - 1])
def test_a_call_that_does_not_exist_is_answered(
    host: Platform, bystander: Bystander, number: int
) -> None:
    with nothing_lost(host, bystander):
        vault = host.create_enclave("vault")
        for where in (0, 1, 2**64 - 1, vault.guest.base, vault.guest.arena[0]):
            reason, value, _ = vault.guest.enter(0, number, where)
            assert (reason, value == 0) == (0, False)
        vault.make_secret("1")
        vault.close()


def test_a_thread_that_does_not_exist_is_a_usage_error(host: Platform) -> None:
    vault = host.create_enclave("vault")
    for thread in (-1, 1, 10**9):
        with pytest.raises(UsageError, match="1 threads"):
            vault.guest.enter(thread, 3, 0)
    assert vault.ping() is None
    vault.close()


@pytest.mark.parametrize("slots", [(0,) * 8, (2**64 - 1,) * 8, tuple(range(8))])
def test_any_argument_struct_is_refused_or_served(
    host: Platform, bystander: Bystander, slots: tuple[int, ...]
) -> None:
    with nothing_lost(host, bystander):
        vault = host.create_enclave("vault")
        arena, died = vault.guest.arena[0], None
        for number in range(3):
            vault.guest.write(arena, struct.pack("<8Q", *slots))
            try:
                reason, value, _ = vault.guest.enter(0, number, arena)
            except EnclaveLost as lost:
                died = lost.fault
                break
            # NULL stays NULL: it is the program that refuses it, not the runtime.
            assert (reason, value == 0) == (0, number == 2 or slots[1] == 0)
        # A pointer to memory that nobody mapped is read, and that is a page fault; a secure kernel
        # looks before it reads.
        assert isinstance(died, PageFault) == (slots[1] == 1 and host.tee.name != "vbs")
        vault.close()
