"""The programs against independent tools: Python and the cryptography library."""

import hashlib
import math
import struct
from collections import Counter
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from unicorn import UC_HOOK_CODE

from sdk.bare import Bare
from sdk.conftest import program
from tee_sim.errors import EcallFailed
from tee_sim.platform import Platform
from tee_sim.programs.file_encryptor.host import decrypt, encrypt
from tee_sim.sdk.host import Enclave


def started(name: str) -> tuple[Any, Bare]:
    loaded = program(name)
    bare = Bare(loaded)
    return Enclave(loaded.interface, bare, name=name), bare


CALCULATOR, _ = started("calculator")
ENCRYPTOR: Any = Platform("none").create_enclave("file_encryptor")  # 20 times faster than bare
SORT, SORTING = started("sort")

# calculator


def value(expression: str) -> float:
    """What the calculator says; an error is one here."""
    result, raw, message = CALCULATOR.evaluate(expression)
    assert result == 0, (expression, message)
    return float(struct.unpack("<d", raw)[0])


NUMBERS = st.integers(0, 999) | st.decimals(0, 999, places=3)
EXPRESSIONS = st.recursive(
    NUMBERS.map(str),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" + ", "-", "*"]), inner).map(
            "({0[0]}{0[1]}{0[2]})".format
        ),
        inner.map("(-{})".format),
    ),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None)
@given(EXPRESSIONS)
def test_sums_agree_with_python(expression: str) -> None:
    assert value(expression) == eval(expression)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("2^10", 1024),
        ("-2^2", -4),
        ("2^-1", 0.5),
        ("2^3^2", 512),
        ("8/4/2", 1),
        ("1 - 2 - 3", -4),
        (" exp( 1 ) ", math.e),
        ("log(exp(2))+abs(-3)", 5),
        ("1e3 + .5", 1000.5),
        ("2*pi", math.tau),
        ("(" * 38 + "7" + ")" * 38, 7),
    ],
)
def test_precedence_and_functions(expression: str, expected: float) -> None:
    assert value(expression) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("expression", "place", "message"),
    [
        ("", 1, "expected a number"),
        ("1 +", 4, "expected a number"),
        ("1 2", 3, "expected an operator"),
        ("(1", 3, "expected )"),
        ("sin 1", 5, "expected ("),
        ("sin(1", 6, "expected )"),
        ("0/0", 4, "division by zero"),
        ("sqrt(-1)", 9, "no such value"),
        ("log(0)", 7, "no such value"),
        ("1/x", 3, "unknown name"),
        (".", 1, "expected a number"),
        ("-" * 60 + "1", 41, "nested too deeply"),
        ("2^" * 60 + "1", 81, "nested too deeply"),
    ],
)
def test_a_mistake_is_described_where_it_is(expression: str, place: int, message: str) -> None:
    result, raw, said = CALCULATOR.evaluate(expression)
    assert (result, raw, said.rstrip(b"\0").decode()) == (place, bytes(8), message)


@settings(max_examples=100, deadline=None)
@given(st.text("0123456789+-*/^(). pisqrtlogx", max_size=200) | st.text(max_size=50))
def test_no_text_ends_it(expression: str) -> None:
    if "\0" not in expression:
        CALCULATOR.evaluate(expression)
    assert CALCULATOR.lost is None
    assert value("1+1") == 2


# file_encryptor


@settings(max_examples=6, deadline=None)
@given(st.text(min_size=1, max_size=20).filter(lambda t: "\0" not in t), st.binary(max_size=150))
def test_a_file_opens_with_the_cryptography_library(password: str, content: bytes) -> None:
    salt, chunks = encrypt(ENCRYPTOR, password, content)
    key = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1000, 16)
    opened = b""
    for number, chunk in enumerate(chunks):
        last = number == len(chunks) - 1
        nonce = number.to_bytes(4, "little") + bytes(7) + bytes([last])
        opened += AESGCM(key).decrypt(nonce, chunk, None)
    assert opened == content
    assert decrypt(ENCRYPTOR, password, salt, chunks) == content


def test_chunks_out_of_turn_are_refused() -> None:
    salt, chunks = encrypt(ENCRYPTOR, "p", b"x" * 100)
    with pytest.raises(EcallFailed, match="OE_UNEXPECTED"):
        ENCRYPTOR.encrypt_chunk(b"y", 1, True, 17)  # the key is forgotten
    with pytest.raises(EcallFailed, match="OE_CRYPTO_ERROR"):
        decrypt(ENCRYPTOR, "p", salt, [chunks[0], chunks[0], chunks[1]])
    with pytest.raises(EcallFailed, match="OE_UNEXPECTED"):
        ENCRYPTOR.decrypt_chunk(chunks[0], len(chunks[0]), False, len(chunks[0]) - 16)
    ENCRYPTOR.begin_encryption("p")
    with pytest.raises(EcallFailed, match="OE_INVALID_PARAMETER"):
        ENCRYPTOR.encrypt_chunk(b"y", 1, True, 16)
    with pytest.raises(EcallFailed, match="OE_INVALID_PARAMETER"):
        ENCRYPTOR.begin_encryption("")


# sort

LISTS = st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=16)
WAYS = ("sort_by_insertion", "sort_by_network")


@settings(max_examples=40, deadline=None)
@given(LISTS, st.sampled_from(WAYS))
def test_both_ways_sort(numbers: list[int], way: str) -> None:
    SORT.load(numbers, len(numbers))
    getattr(SORT, way)()
    raw = SORT.read(len(numbers))
    after = [
        int.from_bytes(raw[at : at + 4], "little", signed=True) for at in range(0, len(raw), 4)
    ]
    assert after == sorted(numbers)


def test_more_numbers_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(EcallFailed, match="OE_INVALID_PARAMETER"):
        SORT.load([0] * 17, 17)


def test_only_the_network_hides_the_order_in_pages_and_branches() -> None:
    """What a host sees that takes pages away, and one that sees every branch."""
    enclave, bare = started("sort")
    first = bare.base + bare.program.symbols["sort_numbers"]
    pages = bare.trace_pages({first + 4096 * n: "abcdefghijklmnop"[n] for n in range(16)})
    path: list[int] = []
    bare.uc.hook_add(UC_HOOK_CODE, lambda _uc, rip, _size, _data: path.append(rip))
    seen: dict[str, list[tuple[str, tuple[int, ...]]]] = {way: [] for way in WAYS}
    for numbers in ([1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1], [-7, 2**31 - 1, -(2**31), 0, 0, 1]):
        for way in WAYS:
            enclave.load(numbers, len(numbers))
            del pages[:], path[:]
            getattr(enclave, way)()
            seen[way].append(("".join(pages), tuple(path)))
    assert len({view[0] for view in seen["sort_by_network"]}) == 1
    assert len({view[1] for view in seen["sort_by_network"]}) == 1
    assert len({view[0] for view in seen["sort_by_insertion"]}) == 3
    assert len({view[1] for view in seen["sort_by_insertion"]}) == 3
    touched = Counter(seen["sort_by_network"][0][0].lower())
    assert set(touched) == set("abcdefghijklmnop")
