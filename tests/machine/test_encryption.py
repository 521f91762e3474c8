"""Memory encryption: what the bus can see, change, move and put back, and which check says no."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import combinations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from tee_sim.checks import Checks
from tee_sim.errors import MachineCheck, UsageError
from tee_sim.machine.dram import DRAM
from tee_sim.machine.encryption import (
    MEE_MAC,
    MEE_TREE,
    TREE_CHECKS,
    XTS,
    XTS_CHECKS,
    Engine,
)
from tee_sim.machine.entropy import Entropy
from tee_sim.machine.tree import MASK, CounterTree
from tee_sim.trace import Recorder, Refusal
from tee_sim.units import MIB, PAGE

START, STOP, METADATA = 1 * MIB, 2 * MIB, 3 * MIB
PROTECTED = range(START, STOP)
PAGES = len(PROTECTED) // PAGE
HERE = START + 9 * PAGE
ELSEWHERE = START + 200 * PAGE
REGIONS = ("data", "MAC", "versions", "L0", "L1", "L2")
SECRET = b"attack at dawn! " * (PAGE // 16)

pages = st.integers(0, PAGES - 1).map(lambda number: START + number * PAGE)
contents = st.integers(0, 2**64).map(lambda seed: Entropy(seed).take(PAGE, "content"))


class Machine:
    """An engine, its DRAM, and what a probe on the bus can do to it."""

    def __init__(self, *without: str, seed: int = 0) -> None:
        self.dram = DRAM(4 * MIB)
        self.trace = Recorder()
        checks = Checks(TREE_CHECKS, without, self.trace)
        entropy = Entropy(seed)
        self.engine = CounterTree(
            self.dram, checks, entropy, protected=PROTECTED, metadata_hpa=METADATA
        )

    def ranges(self, hpa: int) -> dict[str, tuple[int, int]]:
        """All that DRAM holds of a page: name to (hpa, bytes)."""
        metadata = self.engine.metadata_ranges(hpa)
        return {"data": (hpa, PAGE)} | {name: (at, size) for name, at, size in metadata}

    def record(self, hpa: int) -> dict[str, bytes]:
        return {name: self.dram.read(*where) for name, where in self.ranges(hpa).items()}

    def replay(self, hpa: int, old: dict[str, bytes]) -> None:
        for name, data in old.items():
            self.dram.write(self.ranges(hpa)[name][0], data)

    def flip(self, hpa: int, bit: int) -> None:
        self.dram.bytes[hpa + bit // 8] ^= 1 << bit % 8

    def refusals(self) -> list[str]:
        return [event.check.name for event in self.trace.of(Refusal) if isinstance(event, Refusal)]


def xts(*without: str) -> tuple[XTS, DRAM]:
    dram = DRAM(4 * MIB)
    return XTS(dram, Checks(XTS_CHECKS, without), Entropy(0)), dram


# ------------------------------------------------------------------------------- every engine


def engines() -> list[Engine]:
    return [xts()[0], Machine().engine, xts("MEM.ENCRYPTION")[0]]


@pytest.mark.parametrize("engine", engines(), ids=lambda engine: type(engine).__name__)
@settings(max_examples=50, deadline=None)
@given(writes=st.lists(st.tuples(pages, contents), min_size=1, max_size=6))
def test_what_was_written_last_is_read_back(
    engine: Engine, writes: list[tuple[int, bytes]]
) -> None:
    for hpa, content in writes:
        engine.write_page(hpa, memoryview(content))
    for hpa, content in dict(writes).items():
        assert engine.read_page(hpa) == content


@pytest.mark.parametrize("engine", engines(), ids=lambda engine: type(engine).__name__)
def test_an_engine_moves_whole_pages_in_memory(engine: Engine) -> None:
    for hpa, content in ((HERE + 64, SECRET), (HERE, SECRET[1:]), (1 << 40, SECRET)):
        with pytest.raises(UsageError):
            engine.write_page(hpa, content)
    with pytest.raises(UsageError):
        engine.read_page(HERE + 64)
    with pytest.raises(UsageError):
        engine.read_page(1 << 40)


def test_without_memory_encryption_the_bus_reads_plaintext() -> None:
    engine, dram = xts("MEM.ENCRYPTION")
    engine.write_page(HERE, SECRET)
    assert dram.read(HERE, PAGE) == SECRET
    machine = Machine("MEM.ENCRYPTION")
    machine.engine.write_page(HERE, SECRET)
    assert machine.dram.read(HERE, PAGE) == SECRET


def test_with_memory_encryption_the_bus_reads_no_plaintext() -> None:
    engine, dram = xts()
    engine.write_page(HERE, SECRET)
    machine = Machine()
    machine.engine.write_page(HERE, SECRET)
    assert SECRET[:16] not in dram.read(HERE, PAGE)
    assert SECRET[:16] not in machine.dram.read(HERE, PAGE)


def test_importing_the_engines_does_not_import_numpy() -> None:
    code = "import sys, tee_sim.machine.encryption; sys.exit('numpy' in sys.modules)"
    path = os.pathsep.join(filter(None, sys.path))
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, check=True)


# ------------------------------------------------------------------------------- XTS


@given(hpa=pages, content=contents)
def test_xts_is_the_standard_mode_with_the_address_as_tweak(hpa: int, content: bytes) -> None:
    engine, dram = xts()
    key = Entropy(0).take(32, "TME key")
    engine.write_page(hpa, content)
    tweak = modes.XTS(hpa.to_bytes(16, "little"))
    assert dram.read(hpa, PAGE) == Cipher(algorithms.AES(key), tweak).encryptor().update(content)


def test_xts_shows_when_a_page_returns_to_an_old_content() -> None:
    engine, dram = xts()
    seen = []
    for content in (SECRET, bytes(PAGE), SECRET):
        engine.write_page(HERE, content)
        seen.append(dram.read(HERE, PAGE))
    assert seen[0] == seen[2] != seen[1]


def test_xts_accepts_an_old_ciphertext_put_back() -> None:
    engine, dram = xts()
    engine.write_page(HERE, SECRET)
    old = dram.read(HERE, PAGE)
    engine.write_page(HERE, bytes(PAGE))
    dram.write(HERE, old)
    assert engine.read_page(HERE) == SECRET


def test_xts_turns_moved_ciphertext_into_garbage() -> None:
    engine, dram = xts()
    engine.write_page(HERE, SECRET)
    dram.write(ELSEWHERE, dram.read(HERE, PAGE))
    moved = engine.read_page(ELSEWHERE)
    assert not any(moved[at : at + 16] == SECRET[:16] for at in range(0, PAGE, 16))


@given(bit=st.integers(0, PAGE * 8 - 1))
def test_xts_turns_one_flipped_bit_into_sixteen_bytes_of_garbage(bit: int) -> None:
    engine, dram = xts()
    engine.write_page(HERE, SECRET)
    dram.bytes[HERE + bit // 8] ^= 1 << bit % 8
    block = bit // 128 * 16
    read = engine.read_page(HERE)
    assert read[block : block + 16] != SECRET[:16]
    assert read[:block] + SECRET[:16] + read[block + 16 :] == SECRET


def test_xts_forgets_its_key_at_a_reset() -> None:
    engine, _ = xts()
    engine.write_page(HERE, SECRET)
    engine.reset()
    assert engine.read_page(HERE) != SECRET


# ------------------------------------------------------------------------------- the tree, by hand


class Oracle:
    """The counter tree again, one line at a time and in Python integers.

    It takes ciphertext and counters from DRAM and computes from the keys what every byte must be.
    """

    def __init__(self, seed: int) -> None:
        entropy = Entropy(seed)
        self.encryption = entropy.take(16, "MEE confidentiality key")
        self.integrity = entropy.take(16, "MEE integrity key")
        self.hash = words(entropy.take(64, "MEE universal hash key"))

    def keystream(self, line_hpa: int, version: int) -> bytes:
        blocks = (aes(self.encryption, line_hpa + at, version) for at in (0, 16, 32, 48))
        return b"".join(blocks)

    def mac(self, line_hpa: int, content: list[int], nonce: int) -> int:
        tag = int.from_bytes(aes(self.integrity, line_hpa // 64, nonce)[:8], "little")
        for key, word in zip(self.hash, content, strict=True):
            tag ^= multiply(key, word)
        return tag & MASK

    def line(self, line_hpa: int, counters: list[int], nonce: int) -> bytes:
        mac = self.mac(line_hpa, counters, nonce).to_bytes(8, "little")
        packed = (c.to_bytes(7, "little") + mac[i : i + 1] for i, c in enumerate(counters))
        return b"".join(packed)


def aes(key: bytes, low: int, high: int) -> bytes:
    block = low.to_bytes(8, "little") + high.to_bytes(8, "little")
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)


def words(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]


def multiply(a: int, b: int) -> int:
    """In GF(2)[x] / (x^64 + x^4 + x^3 + x + 1): shift and add, then reduce."""
    product = 0
    for bit in range(64):
        product ^= (a << bit) * (b >> bit & 1)
    for bit in range(127, 63, -1):
        product ^= (0x1_0000_0000_0000_001B << bit - 64) * (product >> bit & 1)
    return product


def test_multiplication_in_the_oracle_agrees_with_known_products() -> None:
    assert multiply(1 << 63, 2) == 0b11011
    assert multiply(0b11, 0b11) == 0b101
    assert multiply(0x8000000000000001, 1) == 0x8000000000000001


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 99),
    writes=st.lists(st.sampled_from(range(START, STOP, 7 * PAGE)), min_size=1, max_size=8),
    content=contents,
)
def test_every_byte_in_dram_is_as_computed_by_hand(
    seed: int, writes: list[int], content: bytes
) -> None:
    machine, oracle = Machine(seed=seed), Oracle(seed)
    for hpa in writes:
        machine.engine.write_page(hpa, content)
    hpa = writes[-1]
    mine, number = writes.count(hpa), (hpa - START) // PAGE
    near = {reach: _siblings(writes, number, reach) for reach in (8, 64)}
    group = sum((other - START) // PAGE // 64 == number // 64 for other in writes)
    seen, at = machine.record(hpa), {name: where[0] for name, where in machine.ranges(hpa).items()}

    assert seen["L2"] == oracle.line(at["L2"], near[64], group)
    assert seen["L1"] == oracle.line(at["L1"], near[8], near[64][number // 8 % 8])
    assert seen["L0"] == oracle.line(at["L0"], [mine] * 8, mine)
    for child in range(8):
        line = oracle.line(at["versions"] + 64 * child, [mine] * 8, mine)
        assert seen["versions"][64 * child : 64 * child + 64] == line
    for child in range(64):
        cipher = seen["data"][64 * child : 64 * child + 64]
        keystream = oracle.keystream(hpa + 64 * child, mine)
        plain = bytes(a ^ b for a, b in zip(cipher, keystream, strict=True))
        assert plain == content[64 * child : 64 * child + 64]
        assert words(seen["MAC"])[child] == oracle.mac(hpa + 64 * child, words(cipher), mine)


def _siblings(writes: list[int], number: int, reach: int) -> list[int]:
    """How often each of the eight subtrees under this page's L1 (8) or L2 (64) line was written."""
    counts = [0] * 8
    for hpa in writes:
        other = (hpa - START) // PAGE
        if other // reach == number // reach:
            counts[other % reach // (reach // 8)] += 1
    return counts


# ------------------------------------------------------------------------------- what the bus sees


def test_the_tree_never_encrypts_twice_alike() -> None:
    machine = Machine()
    seen = set()
    for hpa in (HERE, HERE, ELSEWHERE):
        machine.engine.write_page(hpa, SECRET)
        cipher = machine.dram.read(hpa, PAGE)
        seen |= {cipher[at : at + 16] for at in range(0, PAGE, 16)}
    assert len(seen) == 3 * PAGE // 16


def test_metadata_lies_in_the_region_given_and_overlaps_only_where_shared() -> None:
    machine = Machine()
    size = CounterTree.metadata_size(len(PROTECTED))
    owners: dict[int, set[tuple[str, int]]] = {}
    for number in range(PAGES):
        for name, hpa, length in machine.engine.metadata_ranges(START + number * PAGE):
            assert hpa >= METADATA
            assert hpa + length <= METADATA + size
            share = {"L1": 8, "L2": 64}.get(name, 1)
            for line in range(hpa, hpa + length, 64):
                owners.setdefault(line, set()).add((name, number // share))
    assert all(len(who) == 1 for who in owners.values())


def test_a_write_changes_nothing_in_dram_but_the_page_and_its_metadata() -> None:
    machine = Machine()
    before = bytearray(machine.dram.bytes)
    machine.engine.write_page(HERE, SECRET)
    for hpa, size in machine.ranges(HERE).values():
        assert machine.dram.bytes[hpa : hpa + size] != before[hpa : hpa + size]
        before[hpa : hpa + size] = machine.dram.bytes[hpa : hpa + size]
    assert machine.dram.bytes == before


# ------------------------------------------------------------------------------- changing


def responsible(region: str) -> str:
    return "MEE.MAC" if region in ("data", "MAC") else "MEE.TREE"


@settings(max_examples=150, deadline=None)
@given(region=st.sampled_from(REGIONS), where=st.integers(0))
def test_every_flipped_bit_that_is_read_is_refused(region: str, where: int) -> None:
    machine = Machine()
    machine.engine.write_page(HERE, SECRET)
    hpa, size = machine.ranges(HERE)[region]
    machine.flip(hpa, where % (size * 8))
    with pytest.raises(MachineCheck, match=f"the {region if region != 'MAC' else 'data'} line"):
        machine.engine.read_page(HERE)
    assert machine.refusals() == [responsible(region)]


@settings(max_examples=60, deadline=None)
@given(region=st.sampled_from(REGIONS[2:]), where=st.integers(0))
def test_every_flipped_counter_bit_is_refused_before_a_write_builds_on_it(
    region: str, where: int
) -> None:
    machine = Machine()
    machine.engine.write_page(HERE, SECRET)
    hpa, size = machine.ranges(HERE)[region]
    machine.flip(hpa, where % (size * 8))
    with pytest.raises(MachineCheck) as refused:
        machine.engine.write_page(HERE, SECRET)
    assert refused.value.check is MEE_TREE


@settings(max_examples=60, deadline=None)
@given(data=st.data(), region=st.sampled_from(REGIONS))
def test_any_change_of_any_region_is_refused(data: st.DataObject, region: str) -> None:
    machine = Machine()
    machine.engine.write_page(HERE, SECRET)
    hpa, size = machine.ranges(HERE)[region]
    old = machine.dram.read(hpa, size)
    zeros_or_noise = st.sampled_from([bytes(size), b"\xff" * size]) | st.binary(
        min_size=size, max_size=size
    )
    machine.dram.write(hpa, data.draw(zeros_or_noise.filter(lambda new: new != old)))
    with pytest.raises(MachineCheck) as refused:
        machine.engine.read_page(HERE)
    assert refused.value.check is not None
    assert refused.value.check.name == responsible(region)


def test_a_page_moved_with_all_its_metadata_is_refused() -> None:
    machine = Machine()
    machine.engine.write_page(HERE, SECRET)
    machine.engine.write_page(ELSEWHERE, bytes(PAGE))
    page = machine.record(HERE)
    machine.replay(ELSEWHERE, {name: page[name] for name in ("data", "MAC")})
    with pytest.raises(MachineCheck) as refused:
        machine.engine.read_page(ELSEWHERE)
    assert refused.value.check is MEE_MAC

    machine = Machine()
    machine.engine.write_page(HERE, SECRET)
    machine.engine.write_page(ELSEWHERE, bytes(PAGE))
    machine.replay(ELSEWHERE, machine.record(HERE))
    with pytest.raises(MachineCheck) as refused:
        machine.engine.read_page(ELSEWHERE)
    assert refused.value.check is MEE_TREE


@given(bit=st.integers(0, PAGE * 8 - 1))
def test_without_the_mac_a_flipped_bit_flips_the_same_bit_of_plaintext(bit: int) -> None:
    machine = Machine("MEE.MAC")
    machine.engine.write_page(HERE, SECRET)
    machine.flip(HERE, bit)
    expected = bytearray(SECRET)
    expected[bit // 8] ^= 1 << bit % 8
    assert machine.engine.read_page(HERE) == expected
    assert not machine.refusals()


def test_without_encryption_mac_and_tree_stay_in_force() -> None:
    for region in REGIONS:
        machine = Machine("MEM.ENCRYPTION")
        machine.engine.write_page(HERE, SECRET)
        machine.flip(machine.ranges(HERE)[region][0], 0)
        with pytest.raises(MachineCheck):
            machine.engine.read_page(HERE)
        assert machine.refusals() == [responsible(region)]


# ------------------------------------------------------------------------------- putting back

SUBSETS = [names for size in range(1, 7) for names in combinations(REGIONS, size)]


def rolled_back(regions: tuple[str, ...], *without: str) -> Machine:
    """A machine whose page was written twice, and some regions then put back to the first time."""
    machine = Machine(*without)
    machine.engine.write_page(HERE, SECRET)
    old = machine.record(HERE)
    machine.engine.write_page(HERE, bytes(PAGE))
    machine.replay(HERE, {name: old[name] for name in regions})
    return machine


@pytest.mark.parametrize("regions", SUBSETS, ids="+".join)
def test_putting_back_any_part_of_an_old_state_is_refused(regions: tuple[str, ...]) -> None:
    machine = rolled_back(regions)
    with pytest.raises(MachineCheck):
        machine.engine.read_page(HERE)
    only_data = set(regions) <= {"data", "MAC"}
    assert machine.refusals() == ["MEE.MAC" if only_data else "MEE.TREE"]


def test_putting_back_everything_but_the_root_is_refused_by_the_tree_at_the_root() -> None:
    machine = rolled_back(REGIONS)
    with pytest.raises(MachineCheck, match=r"the L2 line .* under counter 2 of the on-die root"):
        machine.engine.read_page(HERE)
    assert machine.refusals() == ["MEE.TREE"]


def test_putting_back_all_of_dram_is_refused_by_the_tree() -> None:
    machine = Machine()
    for before in (0, 1):  # from before the first write, and from after it
        for hpa in (HERE, ELSEWHERE)[:before]:
            machine.engine.write_page(hpa, SECRET)
        old = bytes(machine.dram.bytes)
        machine.engine.write_page(HERE, bytes(PAGE))
        machine.dram.write(0, old)
        with pytest.raises(MachineCheck) as refused:
            machine.engine.read_page(HERE)
        assert refused.value.check is MEE_TREE
        machine.engine.reset()


def test_an_old_state_of_a_neighbour_does_not_help() -> None:
    """The neighbour shares L1 and L2: putting its old path back breaks ours, and its own."""
    machine = Machine()
    neighbour = HERE + PAGE
    machine.engine.write_page(neighbour, SECRET)
    old = machine.record(neighbour)
    machine.engine.write_page(HERE, SECRET)
    machine.replay(neighbour, old)
    with pytest.raises(MachineCheck) as refused:
        machine.engine.read_page(neighbour)
    assert refused.value.check is MEE_TREE


@pytest.mark.parametrize("regions", [("data", "MAC", "versions"), REGIONS], ids="+".join)
def test_without_the_tree_an_old_page_with_its_metadata_is_accepted(
    regions: tuple[str, ...],
) -> None:
    machine = rolled_back(regions, "MEE.TREE")
    assert machine.engine.read_page(HERE) == SECRET
    assert not machine.refusals()


def test_without_the_tree_the_mac_still_refuses_old_data_under_a_new_version() -> None:
    for regions in (("data",), ("MAC",), ("versions",), ("data", "MAC"), ("data", "versions")):
        machine = rolled_back(regions, "MEE.TREE")
        with pytest.raises(MachineCheck):
            machine.engine.read_page(HERE)
        assert machine.refusals() == ["MEE.MAC"]


def test_without_the_tree_a_rollback_makes_the_engine_repeat_its_keystream() -> None:
    """Two pages under one keystream: the xor of the ciphertexts is the xor of the plaintexts."""
    machine = rolled_back(("versions",), "MEE.TREE")
    second = machine.dram.read(HERE, PAGE)
    machine.engine.write_page(HERE, SECRET)
    third = machine.dram.read(HERE, PAGE)
    assert bytes(a ^ b for a, b in zip(second, third, strict=True)) == SECRET


def test_without_mac_and_tree_old_data_under_a_new_version_is_garbage_and_accepted() -> None:
    machine = rolled_back(("data",), "MEE.TREE", "MEE.MAC")
    assert machine.engine.read_page(HERE) not in (SECRET, bytes(PAGE))


# ------------------------------------------------------------------------------- never written


@given(hpa=pages, noise=contents)
@settings(max_examples=30, deadline=None)
def test_a_page_never_written_reads_as_zeros_whatever_the_bus_does(hpa: int, noise: bytes) -> None:
    """Also when its neighbours were written, so that part of its path exists."""
    for written in ((), (HERE,)):
        machine = Machine()
        for page in written:
            machine.engine.write_page(page, SECRET)
        if hpa in written:
            continue
        mine = {w for name, w in machine.ranges(hpa).items() if name not in ("L1", "L2")}
        for at, size in mine:
            machine.dram.write(at, noise[:size])
        assert machine.engine.read_page(hpa) == bytes(PAGE)
        machine.engine.write_page(hpa, SECRET)
        assert machine.engine.read_page(hpa) == SECRET
        assert all(machine.engine.read_page(page) == SECRET for page in written)


@settings(max_examples=30, deadline=None)
@given(first=pages, second=pages, noise=contents)
def test_what_dram_holds_at_boot_does_not_matter(first: int, second: int, noise: bytes) -> None:
    machine = Machine()
    for hpa in range(METADATA, 4 * MIB, PAGE):
        machine.dram.write(hpa, noise)
    machine.engine.write_page(first, SECRET)
    assert machine.engine.read_page(second) == (SECRET if second == first else bytes(PAGE))
    assert not any(machine.record(first)["L2"][at + 6] for at in range(0, 64, 8))


def test_a_written_page_cannot_be_turned_back_into_one_never_written() -> None:
    machine = Machine()
    machine.engine.write_page(HERE, SECRET)
    for hpa, size in machine.ranges(HERE).values():
        machine.dram.write(hpa, bytes(size))
    with pytest.raises(MachineCheck) as refused:
        machine.engine.read_page(HERE)
    assert refused.value.check is MEE_TREE


def test_the_path_of_a_page_never_written_is_verified_as_far_as_it_exists() -> None:
    """Else the bus could set the neighbour's counter in L1 and present a page of its own."""
    machine = Machine()
    machine.engine.write_page(HERE, SECRET)
    neighbour = HERE + PAGE
    hpa, _ = machine.ranges(neighbour)["L1"]
    slot = neighbour // PAGE % 8
    machine.dram.bytes[hpa + slot * 8] ^= 1
    with pytest.raises(MachineCheck) as refused:
        machine.engine.read_page(neighbour)
    assert refused.value.check is MEE_TREE


# ------------------------------------------------------------------------------- drop and lock


def test_after_a_refusal_every_transaction_is_refused_until_reset() -> None:
    machine = Machine()
    engine = machine.engine
    engine.write_page(HERE, SECRET)
    engine.write_page(ELSEWHERE, SECRET)
    good = machine.dram.read(HERE, 1)
    machine.flip(HERE, 0)
    with pytest.raises(MachineCheck, match=r"reset\(\)"):
        engine.read_page(HERE)
    machine.dram.write(HERE, good)
    assert engine.locked
    for hpa in (HERE, ELSEWHERE):
        with pytest.raises(MachineCheck, match="locked") as refused:
            engine.read_page(hpa)
        assert refused.value.check is MEE_MAC
        with pytest.raises(MachineCheck, match="locked"):
            engine.write_page(hpa, SECRET)
    assert machine.refusals() == ["MEE.MAC"]
    assert engine.metadata_ranges(HERE)


def test_reset_unlocks_with_new_keys_and_the_old_content_is_lost() -> None:
    machine = Machine()
    engine = machine.engine
    engine.write_page(HERE, SECRET)
    old = machine.record(HERE)
    machine.flip(HERE, 0)
    with pytest.raises(MachineCheck):
        engine.read_page(HERE)
    engine.reset()
    assert not engine.locked
    assert engine.read_page(HERE) == bytes(PAGE)
    engine.write_page(HERE, SECRET)
    assert machine.record(HERE)["data"] != old["data"]
    machine.replay(HERE, old)  # version 1 under the old keys does not pass for version 1
    with pytest.raises(MachineCheck):
        engine.read_page(HERE)


def test_a_misuse_does_not_lock_the_engine() -> None:
    machine = Machine()
    with pytest.raises(UsageError):
        machine.engine.read_page(0)
    assert not machine.engine.locked


def test_a_counter_that_would_overflow_is_an_error_that_says_so() -> None:
    machine = Machine("MEE.TREE")
    machine.engine._root[0] = MASK - 1
    machine.engine.write_page(HERE, SECRET)
    before = bytes(machine.dram.bytes)
    with pytest.raises(MachineCheck, match=r"2\^56 - 1") as refused:
        machine.engine.write_page(HERE, SECRET)
    assert refused.value.check is None
    assert machine.engine.locked
    assert machine.dram.bytes == before


# ------------------------------------------------------------------------------- building one


@pytest.mark.parametrize(
    ("protected", "metadata_hpa"),
    [
        (range(START + 1, STOP), METADATA),
        (range(START, STOP - 64), METADATA),
        (range(START, STOP, PAGE), METADATA),
        (range(START, START), METADATA),
        (range(START, STOP), METADATA + 64),
        (range(START, STOP), STOP - PAGE),
        (range(START, STOP), START - PAGE),
        (range(START, STOP), 4 * MIB - PAGE),
        (range(START, 8 * MIB), 0),
    ],
)
def test_a_layout_that_cannot_work_is_refused(protected: range, metadata_hpa: int) -> None:
    with pytest.raises(UsageError):
        CounterTree(
            DRAM(4 * MIB),
            Checks(TREE_CHECKS),
            Entropy(0),
            protected=protected,
            metadata_hpa=metadata_hpa,
        )


def test_the_last_page_of_a_region_that_fills_no_whole_group_works() -> None:
    dram, size = DRAM(1 * MIB), 3 * PAGE
    room = CounterTree.metadata_size(size)
    tree = CounterTree(
        dram, Checks(TREE_CHECKS), Entropy(0), protected=range(0, size), metadata_hpa=size
    )
    tree.write_page(2 * PAGE, SECRET)
    assert tree.read_page(2 * PAGE) == SECRET
    assert max(hpa + length for _, hpa, length in tree.metadata_ranges(2 * PAGE)) <= size + room
    assert bytes(dram.bytes[size + room :]) == bytes(1 * MIB - size - room)
