"""The generated marshalling, against hosts that do not keep to it."""

import struct
from typing import Any

import pytest

from sdk.bare import ARENA
from sdk.conftest import program
from sdk.test_host import scripted
from tee_sim.errors import EcallFailed, UsageError
from tee_sim.hypervisor.guest import ARENA_BASE
from tee_sim.platform import Platform
from tee_sim.sdk.host import EXIT_ECALL_DONE, EXIT_OCALL, OCALL_RETURN, Enclave
from tee_sim.sdk.results import RESULTS
from tee_sim.tees import TEES

INVALID = RESULTS.index("OE_INVALID_PARAMETER")
OVERFLOW = RESULTS.index("OE_INTEGER_OVERFLOW")
ALL_TEES = pytest.mark.parametrize("tee", TEES)


def tree(enclave: Enclave, *lists: list[int]) -> Any:
    types = enclave.types
    made = [
        types.list(len(numbers), struct.pack(f"<{len(numbers)}Q", *numbers)) for numbers in lists
    ]
    return types.tree(len(made), made, 0)


def index(enclave: Enclave, name: str) -> int:
    return next(f.index for f in enclave.interface.trusted if f.name == name)


def test_null_stays_null_on_every_way(create):
    border, _ = create("border")
    assert border.nulls([1, 2, 3, 4], "b", border.types.list(0, b""), "d") == 0
    assert border.nulls(None, None, None, None) == 15
    assert border.nulls(None, "", (5, None), "") == 1 + 16
    seen = []
    border.on_ocall("take_nulls", lambda *given: seen.append(given) or given[2])
    border.pass_nulls()
    assert seen == [(None, None, border.types.list(3, None)), (None, None, None)]


def test_an_in_out_structure_keeps_its_sizes_and_pointers(create):
    border, _ = create("border")
    result, back = border.sum(tree(border, [1, 2, 3], [], [40]))
    assert result == 46
    assert back == tree(border, [2, 4, 6], [], [80])


def test_an_ecall_can_make_a_tree(create):
    border, bare = create("border")
    for n in (0, 3):
        assert border.grow(n) == tree(border, *([10 * i + j for j in range(i)] for i in range(n)))
    heap = bare.read(bare.base + bare.program.heap[0], bare.program.heap[1] - bare.program.heap[0])
    assert struct.pack("<2Q", 20, 21) not in heap


def test_an_ocall_can_make_a_tree(create):
    border, _ = create("border")
    border.on_ocall("give_tree", lambda: tree(border, [1], [2, 3]))
    (count, _) = struct.unpack("<2Q", border.fetch_tree())
    assert count == 2


@pytest.mark.parametrize("where", ["lists", "numbers"])
def test_a_pointer_inside_is_refused_at_every_depth(create, where):
    border, bare = create("border")
    at = {"lists": ARENA + 64, "numbers": ARENA + 128}
    for bad in (bare.base, bare.base + 4096, bare.base - 4, 2**64 - 8):
        address = {**at, where: bad}
        bare.write(ARENA, struct.pack("<2Q", 0, ARENA + 32))
        bare.write(ARENA + 32, struct.pack("<3Q", 1, address["lists"], 0))
        bare.write(ARENA + 64, struct.pack("<2Q", 1, address["numbers"]))
        assert bare.enter(0, index(border, "sum"), ARENA)[1] == INVALID


@pytest.mark.parametrize(("count", "result"), [(2**61 + 1, OVERFLOW), (2**63, INVALID)])
def test_a_size_that_overflows_is_refused_at_every_depth(create, count, result):
    border, bare = create("border")
    bare.write(ARENA, struct.pack("<2Q", 0, ARENA + 32))
    bare.write(ARENA + 32, struct.pack("<3Q", 1, ARENA + 64, 0))
    bare.write(ARENA + 64, struct.pack("<2Q", count, ARENA + 128))
    assert bare.enter(0, index(border, "sum"), ARENA)[1] == result


def test_nothing_between_members_and_slots_leaves(create):
    border, bare = create("border")
    seen = []

    def look(*_given: Any) -> Any:
        slots = bare.read(ARENA + 16, 16 + 8 + 16 + 8 + 8)
        (c,) = struct.unpack_from("<Q", slots, 16 + 8 + 16)
        seen.append((slots, bare.read(c, 16)))
        return border.types.gap(5, 6)

    border.on_ocall("take_gaps", look)
    border.send_gaps()
    ((slots, gap),) = seen
    clean = struct.pack("<B7xQ", 1, 2)
    assert gap == clean
    assert slots[:16] == bytes(16)
    assert slots[16:40] == struct.pack("<Q", 3) + clean
    assert slots[48:] == struct.pack("<Q", 1)


OUT = ARENA + 0x4000
"""Where the output of `hostile_answer` goes, behind all that the enclave lends."""


def hostile_answer(border: Enclave, bare: Any, name: str, answer: Any, *slots: int) -> int:
    """An ecall with a hand-made marshalling struct; ``answer`` gets the struct of its ocall."""
    bare.write(ARENA, struct.pack(f"<{len(slots) + 1}Q", 0, *slots))
    reason, _, where = bare.enter(0, index(border, name), ARENA)
    assert reason == EXIT_OCALL
    answer(where)
    reason, result, _ = bare.enter(0, OCALL_RETURN, 0)
    assert reason == EXIT_ECALL_DONE
    return int(result)


def test_the_host_cannot_redirect_or_resize_what_it_was_lent(create):
    """It overwrites all that it was lent: contents change, pointers and sizes do not."""
    border, bare = create("border")
    words = struct.pack("<Q", 0xABAB) * 100
    result = hostile_answer(border, bare, "change_tree", lambda _: bare.write(ARENA, words), OUT)
    assert (result, bare.read(OUT, 8)) == (0, struct.pack("<Q", 31))


def test_a_string_that_comes_back_keeps_its_end(create):
    border, bare = create("border")
    border.on_ocall("rename_it", lambda name: name.upper())
    assert border.ask_name("hello") == "HELLO"
    border.on_ocall("rename_it", lambda name: "no")
    assert border.ask_name("hello") == "no"
    border.on_ocall("rename_it", lambda name: "much longer")
    with pytest.raises(UsageError, match="expected 6 bytes, got 12"):
        border.ask_name("hello")
    bare.write(OUT, b"hello\0")
    hostile_answer(border, bare, "ask_name", lambda _: bare.write(ARENA, b"x" * 0x100), OUT, 6)
    assert bare.read(OUT, 6) == b"xxxxx\0"


@pytest.mark.parametrize("lists", ["inside", "high", "many"])
def test_a_tree_that_the_host_makes_up_is_refused_and_cleared(create, lists):
    border, bare = create("border")
    address = {"inside": bare.base, "high": 2**64 - 32, "many": ARENA + 64}[lists]
    count = 2**31 - 1 if lists == "many" else 2

    def make_up(where: int) -> None:
        (pointer,) = struct.unpack("<Q", bare.read(where + 8, 8))
        bare.write(pointer, struct.pack("<3Q", count, address, 0))

    assert hostile_answer(border, bare, "fetch_tree", make_up, OUT) == 0
    assert bare.read(OUT, 16) == bytes(16)
    refusals = (INVALID, RESULTS.index("OE_OUT_OF_MEMORY"))
    assert int.from_bytes(bare.read(ARENA, 4), "little") in refusals


def test_an_oserror_is_minus_one_and_errno(create):
    border, _ = create("border")

    def missing(path: str, flags: int, mode: int) -> int:
        raise FileNotFoundError(2, path)

    border.on_ocall("oe_syscall_open_ocall", missing)
    assert border.open_file() == (-1, struct.pack("<i", 2))
    border.on_ocall("oe_syscall_open_ocall", lambda path, flags, mode: 7)
    assert border.open_file() == (7, bytes(4))


def test_what_is_declared_and_not_served_says_so(create, capsys, caplog):
    border, _ = create("border")
    with pytest.raises(UsageError, match="'oe_syscall_open_ocall', which has no callback"):
        border.open_file()
    with caplog.at_level("INFO", "tee_sim.enclave"):
        border.say()
    assert capsys.readouterr().out == "hello, host\n"
    assert caplog.messages == ["logged\n"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda b: b.sum(3), r"sum\(\): tree: expected struct tree, with all of count, lists"),
        (lambda b: b.sum((1, [(1, b"")], 0)), r"tree.lists\[0\].numbers: expected 8 bytes, got 0"),
        (lambda b: b.sum((2, [(0, b"")], 0)), r"tree.lists: expected 32 bytes, got 16"),
        (lambda b: b.sum((-1, [], 0)), r"tree.lists: expected -16 bytes, got 0"),
        (lambda b: b.sum((0, [])), "expected struct tree, with all of count, lists, above"),
        (lambda b: b.sum({"count": 0}), "expected struct tree, with all of count, lists, above"),
        (lambda b: b.sum({"count": "0", "lists": [], "above": 0}), "tree.count: expected an int"),
    ],
)
def test_a_wrong_structure_is_refused_before_anything_runs(call, said):
    _, script = scripted("enclave { };")
    enclave = Enclave(program("border", "none").interface, script, name="border")
    with pytest.raises(UsageError, match=said):
        call(enclave)
    assert script.entries == []


def test_the_host_follows_no_pointer_that_it_did_not_lend():
    edl = """enclave { struct l { size_t n; [count=n] int* p; };
        trusted { public void f([out] struct l* l); }; };"""
    enclave, script = scripted(edl, (0, 0, 0))

    def enter(thread: int, rdi: int, rsi: int) -> Any:
        (pointer,) = struct.unpack("<Q", script.read(rsi + 8, 8))
        script.write(pointer, struct.pack("<2Q", 4, 0x100))
        return 0, 0, 0

    script.enter = enter
    with pytest.raises(UsageError, match="the enclave names 16 bytes at 0x100, which it was not"):
        enclave.f()


@ALL_TEES
def test_what_the_host_lends_is_refused_or_copied_on_every_platform(tee):
    victim = Platform(tee).create_enclave("customs")
    victim.make_secret()
    assert victim.carry(b"goods", 5) == b"goods"
    victim.on_ocall("going", lambda: None)
    assert victim.fetch([2]) == (3).to_bytes(8, "little")
    with pytest.raises(EcallFailed, match="OE_OUT_OF_BOUNDS"):
        victim.fetch([4])
    assert victim.entry([5, 6, 7], 3, 2) == 7
    assert victim.fill_in(9).number == 9
    inside = victim.address("customs_secret")
    with pytest.raises(EcallFailed, match="OE_INVALID_PARAMETER"):
        victim.fetch_unchecked(inside, ARENA_BASE)
