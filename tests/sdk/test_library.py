"""The C library, C++ and the runtime's services; Python and the system's libc are the oracles."""

import ctypes
import io
import logging
import math
import os
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.bare import HEAP, HEAP_SIZE, Bare
from sdk.conftest import program
from tee_sim.errors import EcallFailed, EnclaveLost
from tee_sim.sdk.host import Enclave
from tee_sim.sdk.results import RESULTS

# fmt: off
UNARY = (
    math.sqrt, math.exp, math.log, math.sin, math.cos, math.tan, math.asin, math.acos, math.atan,
    math.sinh, math.cosh, math.tanh, math.floor, math.ceil, round, math.trunc, abs, math.cbrt,
    math.log2, math.log10, math.exp2, math.expm1, math.log1p, math.gamma, math.lgamma, math.erf,
)
BINARY = (math.pow, math.atan2, math.fmod, math.hypot, min, max, math.copysign)
CLASSES = (
    str.isalnum, str.isalpha, " \t".__contains__, lambda c: c < " " or c == "\x7f", str.isdigit,
    lambda c: c in string.printable[:94], str.islower, lambda c: c in string.printable[:95],
    string.punctuation.__contains__, string.whitespace.__contains__, str.isupper,
    string.hexdigits.__contains__,
)
# fmt: on


@pytest.fixture(scope="module")
def library() -> Any:
    loaded = program("library")
    enclave = Enclave(loaded.interface, Bare(loaded), ocalls={"pause": lambda: None})
    enclave.services.stdout, enclave.services.stderr = io.StringIO(), io.StringIO()
    return enclave


def text(returned: Any) -> str:
    """What a formatting function wrote, if its result says so."""
    written: bytes = returned.text.split(b"\0")[0]
    assert returned.result == len(written)
    return written.decode()


@pytest.mark.parametrize("form", ["%d", "%5d|", "%-5d|", "%05d", "%+d", "% d", "%x", "%#o", "%X"])
@pytest.mark.parametrize("value", [0, 1, -1, 12345, 2**31 - 1, -(2**31)])
def test_integers_are_formatted_as_c_says(library: Any, form: str, value: int) -> None:
    unsigned = value % 2**32 if form[-1] in "xoX" else value
    python = form.replace("#o", "o") % unsigned
    expected = "0" + python if form == "%#o" and value else python
    assert text(library.format_int(form, value)) == expected


@settings(max_examples=60, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["%g", "%.17g", "%e"]))
def test_floating_point_numbers_are_formatted_and_read_exactly(value: float, form: str) -> None:
    enclave = SHARED
    assert text(enclave.format_double(form, value)) == form % value
    read = enclave.to_double(repr(value))
    assert read.result == value
    assert int.from_bytes(read.used, "little") == len(repr(value))


@settings(max_examples=60, deadline=None)
@given(st.text(string.digits + "+-x abz", max_size=12), st.sampled_from([0, 2, 8, 10, 16, 36]))
def test_strtoll_agrees_with_the_systems(shown: str, base: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.strtoll.restype, end = ctypes.c_longlong, ctypes.c_char_p()
    raw = ctypes.create_string_buffer(shown.encode())
    expected = libc.strtoll(raw, ctypes.byref(end), base)
    read = SHARED.to_long(shown, base)
    used = int.from_bytes(read.used, "little")
    assert (read.result, raw.value[used:]) == (expected, end.value)


def test_a_number_that_does_not_fit_sets_errno(library: Any) -> None:
    assert library.to_long("9" * 30, 10).result == 2**63 - 1
    assert int.from_bytes(library.to_long("9" * 30, 10).error, "little") == 34  # ERANGE
    assert library.to_ulong("0xffffffffffffffff", 0) == (2**64 - 1, bytes(4))


def test_scanning_and_strings(library: Any) -> None:
    scanned = library.scan("  -42 word rest")
    assert scanned.result == 2
    assert int.from_bytes(scanned.number, "little", signed=True) == -42
    assert scanned.word.startswith(b"word\0")
    assert (
        text(library.format_string("%-6s|%%", "gr\u00fc")) == "gr\u00fc  |%"
    )  # bytes, not letters
    assert library.format_string("%s", "x" * 100) == (100, b"x" * 63 + b"\0")
    assert (library.strings(), library.wide()) == (0, 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(UNARY) - 1), st.floats(-30, 30))
def test_functions_of_one_number_agree_with_python(which: int, x: float) -> None:
    try:
        expected = float(UNARY[which](x))
    except (ValueError, OverflowError):  # Python refuses where C answers NaN or infinity
        return
    if UNARY[which] is round:
        expected = math.copysign(math.floor(abs(x) + 0.5), x)
    assert SHARED.math1(which, x) == pytest.approx(expected, rel=1e-14, abs=1e-300)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, len(BINARY) - 1), st.floats(-9, 9), st.floats(-9, 9))
def test_functions_of_two_numbers_agree_with_python(which: int, x: float, y: float) -> None:
    try:
        expected = BINARY[which](x, y)
    except (ValueError, ZeroDivisionError, OverflowError):
        return
    assert SHARED.math2(which, x, y) == pytest.approx(expected, rel=1e-14, abs=1e-300)


def test_no_exception_of_floating_point_stops_a_program(library: Any) -> None:
    assert math.isnan(library.math1(0, -1.0))
    assert library.math1(2, 0.0) == -math.inf
    assert library.math2(0, 10.0, 400.0) == math.inf


def test_classes_of_characters(library: Any) -> None:
    for code in range(128):
        expected = sum(bool(test(chr(code))) << n for n, test in enumerate(CLASSES))
        assert library.classes(code) == expected, code


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=50))
def test_sorting_and_searching(values: list[int]) -> None:
    raw = SHARED.sort(values, len(values))
    after = [int.from_bytes(raw[n : n + 4], "little", signed=True) for n in range(0, len(raw), 4)]
    assert after == sorted(values)
    at = SHARED.find(after, len(after), values[0])
    assert after[at] == values[0]
    absent = next(n for n in range(60) if n not in values)
    assert SHARED.find(after, len(after), absent) == -1


# What leaves for the host


def printed(enclave: Any, name: str = "stdout") -> str:
    """What was printed since the last time."""
    kept = getattr(enclave.services, name)
    shown = kept.getvalue()
    kept.truncate(0)
    kept.seek(0)
    return str(shown)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 10_000])
def test_text_arrives_whole(library: Any, size: int) -> None:
    library.say("x" * size)
    assert printed(library) == "x" * size


def test_text_that_does_not_fit_into_the_arena_is_not_printed(library: Any) -> None:
    assert library.repeat("x" * 1000, 70) == -1
    assert printed(library) == ""
    assert library.repeat("x" * 1000, 7) == 7000
    assert printed(library) == "x" * 7000


def test_a_character_may_leave_byte_by_byte(library: Any) -> None:
    assert library.letters("gr\u00fc\u00df") >= 0
    assert printed(library) == "gr\u00fc\u00df\nend"
    library.complain(2)
    assert printed(library, "stderr") == "sorry: No such file or directory\n"


def test_without_a_place_text_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    loaded = program("library")
    enclave: Any = Enclave(loaded.interface, Bare(loaded))
    enclave.say("hello \xff")
    enclave.complain(0)
    assert capsys.readouterr() == ("hello \xff", "sorry: No error information\n")


def test_a_host_may_answer_a_print_itself(create: Any) -> None:
    seen: list[Any] = []
    note = {"tee_host_print": lambda *given: seen.append(given)}
    create("library", ocalls=note)[0].say("mine")
    assert seen == [(1, b"mine", 4)]


def test_a_log_message_keeps_its_level(library: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="tee_sim.enclave"):
        assert [library.log_at(level, "text %s") for level in range(1, 6)] == [0] * 5
        assert library.log_at(0, "none") == library.log_at(6, "none") == 3
    assert [record.message for record in caplog.records] == ["text %s (1)"] * 5
    expected = ["CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG"]
    assert [record.levelname for record in caplog.records] == expected


def test_a_callback_inside_keeps_messages_from_the_host(
    library: Any, caplog: pytest.LogCaptureFixture
) -> None:
    library.log_inside(1)
    library.log_at(3, "mine")
    library.log_inside(0)
    assert text(library.logged()) == "WARNING|1|mine (1)"
    assert not caplog.records


def test_every_result_has_its_name(library: Any) -> None:
    for number in (0, 1, 10, len(RESULTS) - 1):
        assert library.name_of(number).split(b"\0")[0].decode() == RESULTS[number]
    assert library.name_of(1000).startswith(b"UNKNOWN\0")
    assert RESULTS[58] == "OE_QUOTE_HASH_MISMATCH"


def test_errors_have_their_names(library: Any) -> None:
    for number in (1, 2, 12, 22, 34):
        assert library.error_name(number).split(b"\0")[0].decode()
    assert library.error_name(2).split(b"\0")[0].decode() == os.strerror(2)


# Memory of the host


def test_memory_of_the_host_lies_outside_and_blocks_do_not_overlap(create: Any) -> None:
    library, bare = create("library")
    first, second = library.borrow(100), library.borrow(50)
    assert first >= HEAP
    assert first + 100 <= second < HEAP + HEAP_SIZE
    length, where = library.borrow_and_copy("a name", 4)
    assert (length, bare.read(int.from_bytes(where, "little"), 5)) == (4, b"a na\0")
    bare.write(first, b"content")
    moved = library.extend(first, 200)
    assert moved not in (0, first)
    assert bare.read(moved, 7) == b"content"
    assert library.borrow(80) == first  # free again
    library.give_back(moved)
    library.give_back(moved)  # nothing happens
    assert moved not in library.services.blocks
    assert bare.read(library.borrow_zeros(8, 8), 64) == bytes(64)


def test_more_memory_than_there_is_is_none(create: Any) -> None:
    library, bare = create("library")
    kept = library.borrow(8)
    bare.write(kept, b"content!")
    assert library.borrow(HEAP_SIZE) == library.borrow(2**64 - 1) == 0
    assert library.borrow_zeros(2**33, 2**33) == 0
    assert library.extend(kept, HEAP_SIZE * 2) == 0
    assert library.extend(12345, 8) == 0
    assert bare.read(kept, 8) == b"content!"
    assert library.services.blocks == {kept: 8}


@pytest.mark.parametrize("offset", [0, 4096, -4, "end"])
def test_memory_that_a_hostile_host_lends_inside_ends_the_enclave(create: Any, offset: Any) -> None:
    library, bare = create("library")
    at = bare.base + (bare.program.image.size - 4 if offset == "end" else offset)
    library.on_ocall("tee_host_memory", lambda _address, _size: at)
    with pytest.raises(EnclaveLost, match="ABORT"):
        library.borrow(8)


# Ends


@pytest.mark.parametrize(("holds", "said"), [(1, "holds != 1"), (2, "holds != 2")])
def test_a_failed_assertion_says_where_and_ends_the_enclave(
    create: Any, holds: int, said: str
) -> None:
    library, _ = create("library")
    library.services.stderr = io.StringIO()
    library.claim(3)
    with pytest.raises(EnclaveLost, match="ABORT"):
        library.claim(holds)
    complaint = library.services.stderr.getvalue()
    assert said in complaint
    assert "program/library.c:" in complaint


def test_exit_ends_the_enclave(create: Any) -> None:
    library, _ = create("library")
    assert library.status() == 0
    with pytest.raises(EnclaveLost, match="ABORT"):
        library.leave(0)


def test_every_thread_has_its_own_errno(create: Any) -> None:
    library, bare = create("library")
    other: Any = Enclave(library.interface, bare, thread=1)
    other.on_ocall("pause", lambda: None)
    library.on_ocall("pause", lambda: other.set_error(5))
    assert library.set_error(7) == 7
    assert (library.last_error(), other.last_error()) == (7, 5)


# C++


def test_standard_containers_and_algorithms(create: Any) -> None:
    standard, _ = create("standard")
    total, shown = standard.sorted([3, -1, 2], 3)
    assert (total, shown.split(b"\0")[0]) == (4, b"-1 2 3 ")
    assert standard.count_words("a bb a ccc a", "a") == 3
    assert standard.owners() == 60
    standard.out_of_range(2)
    with pytest.raises(EnclaveLost, match="ABORT"):
        standard.out_of_range(3)


def test_a_full_heap_is_a_null_pointer_or_the_end(create: Any) -> None:
    standard, _ = create("standard")
    with pytest.raises((EcallFailed, EnclaveLost)):
        standard.sorted([0] * 7000, 7000)


_loaded = program("library")
SHARED: Any = Enclave(_loaded.interface, Bare(_loaded))
"""For hypothesis, which wants no fixture between its examples."""
