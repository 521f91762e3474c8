"""The runtime, executed: on each target and at two load addresses."""

import hashlib
import struct

import pytest

from sdk.bare import (
    ARENA,
    EFLAGS,
    GENERAL,
    HOST_CODE,
    HOST_STACK,
    MXCSR,
    RAX,
    RBP,
    RBX,
    RDI,
    RDX,
    RSI,
    RSP,
    XMM,
)
from tee_sim.errors import BudgetExceeded, EcallFailed, EnclaveLost
from tee_sim.sdk.results import RESULTS

OCALL_RETURN = 2**64 - 1


def code(name: str) -> int:
    return RESULTS.index(name)


def test_strings_and_memory_functions_agree_with_c(create):
    types, _ = create("types")
    assert types.strings() == 0


def test_the_heap_keeps_blocks_apart_and_gives_all_memory_back(create):
    types, _ = create("types")
    assert types.heap() == 0
    first = types.exhaust()
    assert 25 <= first <= 32
    assert types.exhaust() == first
    assert types.heap() == 0


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000])
def test_sha256_agrees_with_hashlib(create, size):
    types, _ = create("types")
    data = bytes(range(256)) * 4
    assert types.sha256(data[:size], size) == hashlib.sha256(data[:size]).digest()


def test_random_bytes_come_from_the_processor(create):
    types, _ = create("types", seed=1)
    other, _ = create("types", seed=2)
    drawn = types.random_bytes(37)
    assert len(drawn) == 37
    assert drawn != other.random_bytes(37)
    assert drawn == create("types", seed=1)[0].random_bytes(37)


def test_an_entry_repairs_what_the_host_left_in_flags_and_control_words(create):
    types, bare = create("types")
    assert bare.entry_flags == 0x40402  # DF and AC set by the host
    assert types.float_state() == 0x1F80 | 0x37F << 16


def test_an_exit_leaves_nothing_behind(create):
    types, bare = create("types")
    types.sum_doubles([1.5, 2.5], 2)
    left = dict(bare.at_exit)
    assert (left.pop(RSP), left.pop(RBP)) == (HOST_STACK, HOST_STACK + 8)
    if bare.program.target == "sgx":
        assert (left.pop(RAX), left.pop(RBX)) == (4, HOST_CODE)
    assert left.pop(MXCSR) == 0x1F80
    assert left.pop(EFLAGS) & 0xCD5 == 0x44  # ZF and PF, as the last XOR leaves them
    assert not any(left.values())


def test_an_ocall_exit_leaves_nothing_behind_but_its_arguments(create):
    types, bare = create("types")
    types.on_ocall("tick", lambda: None)
    seen = {}
    types.on_ocall("tick", lambda: seen.update(bare.at_exit))
    types.call_tick()
    assert (seen[RDI], seen[RSI], seen[RDX]) == (1, 2, 0)
    others = set(GENERAL) - {RAX, RBX, RDI, RSI, RDX, RSP, RBP} | set(XMM)
    assert not any(seen[register] for register in others)


def test_an_unknown_function_is_not_found(create):
    _, bare = create("vault")
    for number in (4, 1000, 2**63, OCALL_RETURN - 1):
        assert bare.enter(0, number, 0)[:2] == (0, code("OE_NOT_FOUND"))


def test_an_ocall_return_without_an_ocall_is_refused(create):
    _, bare = create("vault")
    assert bare.enter(0, OCALL_RETURN, 0)[:2] == (0, code("OE_UNEXPECTED"))
    assert bare.enter(0, 3, 0)[:2] == (0, 0)


def test_a_new_ecall_during_an_ocall_is_refused_and_the_ocall_goes_on(create):
    types, bare = create("types")
    nested = []
    types.on_ocall("tick", lambda: nested.append(bare.enter(0, 23, 0)))
    types.call_tick()
    assert nested == [(0, code("OE_REENTRANT_ECALL"), 0)]


def test_another_thread_may_call_during_an_ocall(create):
    types, bare = create("types")
    nested = []
    types.on_ocall("tick", lambda: nested.append(bare.enter(1, 23, 0)))
    types.call_tick()
    assert nested == [(0, 0, 0)]


def test_an_entry_into_an_interrupted_thread_is_refused_and_touches_nothing(create):
    types, bare = create("types")
    types.nothing()
    thread = bare.program.threads[0]
    before = [bare.read(bare.base + at, 4096) for at in (thread.gs, thread.stack[1] - 4096)]
    bare.cssa = 1
    assert bare.enter(0, 23, 0) == (2, 0, 0)
    assert not any(v for k, v in bare.at_exit.items() if k in XMM)
    assert before == [bare.read(bare.base + at, 4096) for at in (thread.gs, thread.stack[1] - 4096)]
    bare.cssa = 0
    types.nothing()


def test_a_marshalling_struct_or_arena_inside_is_refused(create):
    _, bare = create("vault")
    refused = (0, code("OE_INVALID_PARAMETER"), 0)
    inside = bare.base + bare.program.symbols["vault_secret"]
    edge, size = bare.base - 4, bare.program.image.size
    for where in (0, inside, edge, bare.base, bare.base + size - 8, 2**64 - 8):
        assert bare.enter(0, 2, where) == refused
    for arena in ((inside, 16), (bare.base - 16, 17), (0, 2**64 - 1), (ARENA, 2**64 - 1)):
        bare.arena = arena
        assert bare.enter(0, 3, 0) == refused
    bare.arena = (bare.base - 16, 16)
    assert bare.enter(0, 3, 0) == (0, 0, 0)


def marshal(bare, *slots: int) -> int:
    bare.write(ARENA, struct.pack(f"<{len(slots)}Q", *(slot % 2**64 for slot in slots)))
    return ARENA


def test_a_buffer_inside_is_refused_for_input_and_output(create):
    _, bare = create("vault")
    bare.write(ARENA + 64, b"1234\0")
    inside = bare.base + bare.program.symbols["vault_tries"]
    before = bare.peek("vault_tries", 4096)
    for pin, size, digest in (
        (inside, 5, ARENA + 128),
        (ARENA + 64, 5, inside),
        (ARENA + 64, 5, bare.base - 31),
        (ARENA + 64, 0, ARENA + 128),
        (ARENA + 64, 4, ARENA + 128),  # no NUL at its end
        (ARENA + 64, 2**64 - 1, ARENA + 128),
        (2**64 - 4, 5, ARENA + 128),
    ):
        result = bare.enter(0, 0, marshal(bare, 0, pin, size, digest))
        assert result == (0, code("OE_INVALID_PARAMETER"), 0)
    assert bare.peek("vault_tries", 4096) == before
    assert bare.enter(0, 0, marshal(bare, 0, ARENA + 64, 5, ARENA + 128))[:2] == (0, 0)


def test_sizes_that_overflow_are_refused(create):
    types, bare = create("types")
    number = {f.name: f.index for f in types.interface.trusted}
    buffer = ARENA + 256
    sum_i32 = bare.enter(0, number["sum_i32"], marshal(bare, 0, buffer, -1))
    assert sum_i32[1] == code("OE_INVALID_PARAMETER")
    squares = number["squares"]
    overflow = bare.enter(0, squares, marshal(bare, 0, buffer, 2**63 - 1))
    assert overflow[1] in (code("OE_INTEGER_OVERFLOW"), code("OE_INVALID_PARAMETER"))
    # The slot has high bits that the C type does not: only what the function sees counts.
    bare.write(buffer, bytes(16))
    assert bare.enter(0, number["sum_i32"], marshal(bare, 0, buffer, 2**32 + 4))[:2] == (0, 0)


def test_a_full_heap_is_reported_and_nothing_is_lost(create):
    types, _ = create("types")
    free = types.exhaust()
    with pytest.raises(EcallFailed, match="OE_OUT_OF_MEMORY"):
        types.fill(40_000, 1)
    assert types.exhaust() == free
    assert len(types.fill(20_000, 1)) == 20_000


def test_an_output_that_the_function_forgets_is_zeros(create):
    types, _ = create("types")
    types.sum_bytes(b"\xee" * 64, 64)
    assert types.forget() == bytes(64)


def test_buffers_are_cleared_before_their_memory_is_reused(create):
    types, bare = create("types")
    mark = b"a very secret thing in a buffer!"
    types.sum_bytes(mark, 32)
    heap = bare.read(bare.base + bare.program.heap[0], bare.program.heap[1] - bare.program.heap[0])
    assert mark not in heap


def test_addresses_inside_follow_the_load_address(create):
    types, bare = create("types")
    for what in range(4):
        assert 0 <= types.address_of(what) - bare.base < bare.program.image.size


def test_abort_ends_the_enclave_for_good(create):
    types, bare = create("types")
    with pytest.raises(EnclaveLost, match="OE_ENCLAVE_ABORTING"):
        types.stop()
    assert bare.enter(0, 23, 0) == (0, code("OE_ENCLAVE_ABORTED"), 0)
    assert bare.enter(1, 23, 0) == (0, code("OE_ENCLAVE_ABORTED"), 0)
    with pytest.raises(EnclaveLost, match="cannot be called any more"):
        types.nothing()


def test_a_double_free_aborts(create):
    types, _ = create("types")
    with pytest.raises(EnclaveLost, match="OE_ENCLAVE_ABORTING"):
        types.double_free()


@pytest.mark.parametrize("name", ["wild_jump", "illegal", "write_code"])
def test_a_fault_loses_the_enclave(create, name):
    types, _ = create("types")
    with pytest.raises(EnclaveLost):
        getattr(types, name)()
    with pytest.raises(EnclaveLost, match=f"cannot be called any more: {name}"):
        types.nothing()


def test_a_stack_overflow_hits_the_guard_page(create):
    types, _ = create("types")
    types.overflow_stack(5)
    with pytest.raises(EnclaveLost, match="UNMAPPED"):
        types.overflow_stack(1000)


def test_an_endless_loop_meets_its_budget(create):
    types, bare = create("types")
    bare.budget = 10_000
    with pytest.raises(BudgetExceeded):
        types.spin()
    with pytest.raises(EnclaveLost, match="BudgetExceeded"):
        types.nothing()


def test_cxx_runs_with_virtual_functions_and_constructors(create):
    names = []
    shapes, _ = create("shapes", ocalls={"note": names.append})
    assert [shapes.area(0, 6), shapes.area(1, 6)] == [36, 18]
    assert names == ["square", "triangle"]
    assert shapes.made_before_first_call() == 42


def test_the_vault_keeps_its_secret_until_the_pin_is_right(create):
    vault, bare = create("vault")
    digest = vault.make_secret("2468")
    secret = bare.peek("vault_secret", 32)
    assert hashlib.sha256(secret).digest() == digest
    assert vault.release("1111") == (0, bytes(32))
    assert vault.tries_left() == 2
    assert vault.release("2468") == (1, secret)
    assert vault.tries_left() == 3
    assert [vault.release(pin).result for pin in ("", "24680", "2468" * 40)] == [0, 0, 0]
    assert vault.release("2468") == (-1, bytes(32))
    assert vault.ping() is None


def test_the_vault_refuses_a_pin_that_it_cannot_keep(create):
    vault, _ = create("vault")
    assert vault.release("").result == -1
    for pin in ("", "9" * 64):
        with pytest.raises(EcallFailed, match="OE_INVALID_PARAMETER"):
            vault.make_secret(pin)


def test_rewinding_the_page_of_tries_gives_them_back(create):
    vault, bare = create("vault")
    vault.make_secret("2468")
    at = bare.base + bare.program.symbols["vault_tries"]
    old = bare.read(at, 4096)
    for _ in range(3):
        vault.release("0")
    assert vault.release("0").result == -1
    bare.write(at, old)
    assert vault.release("2468").result == 1


def test_the_sketch_is_one_of_many_and_only_its_digest_comes_out(create):
    pictures = set()
    for seed in range(12):
        sketch, bare = create("sketch", seed=seed)
        digest = sketch.choose()
        bitmap = bare.peek("sketch_bitmap", 32)
        assert hashlib.sha256(bitmap).digest() == digest
        assert 10 <= sum(byte.bit_count() for byte in bitmap) <= 100
        pictures.add(bitmap)
    assert len(pictures) >= 10


def test_drawing_makes_exactly_the_documented_accesses(create):
    sketch, bare = create("sketch", seed=3)
    sketch.choose()
    names = ["sketch_bitmap", "sketch_canvas", "sketch_ink", "sketch_paper"]
    at = {bare.base + bare.program.symbols[name]: name[7] for name in names}
    trace = bare.trace_pages(at)
    sketch.draw()
    bits = int.from_bytes(bare.peek("sketch_bitmap", 32), "big")
    expected = ["I", "P"] + [
        access
        for pixel in range(256)
        for access in ("b", "c", "i" if bits >> (255 - pixel) & 1 else "p", "C")
    ]
    assert trace == expected
    assert sketch.show() == 256
    canvas = bare.peek("sketch_canvas", 256)
    assert [value > 0 for value in canvas] == [bits >> (255 - n) & 1 == 1 for n in range(256)]
