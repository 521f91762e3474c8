import inspect
import struct
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.bare import Bare
from sdk.conftest import program
from tee_sim.errors import BudgetExceeded, EcallFailed, EnclaveLost, PageFault, UsageError
from tee_sim.sdk.host import Enclave
from tee_sim.sdk.reader import parse
from tee_sim.sdk.results import RESULTS


@pytest.fixture(scope="module")
def types():
    """The test program: safe to share where a test leaves it usable."""
    loaded = program("types")
    return Enclave(loaded.interface, Bare(loaded), name="types")


class Script:
    """A transport whose exits are written beforehand; an exception in the list is raised."""

    arena = (0x1000, 0x1000)
    heap = (0x900000, 4096)
    lock = nullcontext()

    def __init__(self, *exits):
        self.exits, self.entries, self.memory = list(exits), [], bytearray(0x3000)

    def read(self, gva, size):
        assert 0 <= gva <= gva + size <= len(self.memory)
        return bytes(self.memory[gva : gva + size])

    def write(self, gva, data):
        self.memory[gva : gva + len(data)] = data

    def enter(self, thread, rdi, rsi):
        self.entries.append((thread, rdi, rsi))
        found = self.exits.pop(0)
        if isinstance(found, BaseException):
            raise found
        return found


def scripted(edl, *exits, **arguments):
    script = Script(*exits)
    return Enclave(parse(edl), script, name="demo", **arguments), script


PING = "enclave { trusted { public void ping(); }; untrusted { int ask(int a); }; };"

INTEGERS = {
    "char": (1, True), "uchar": (1, False), "short": (2, True), "ushort": (2, False),
    "int": (4, True), "uint": (4, False), "long": (8, True), "ulong": (8, False),
    "llong": (8, True), "ullong": (8, False), "i8": (1, True), "u8": (1, False),
    "i16": (2, True), "u16": (2, False), "i32": (4, True), "u32": (4, False),
    "i64": (8, True), "u64": (8, False), "size": (8, False),
}  # fmt: skip


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_keep_their_value_and_are_checked_against_their_type(types, name):
    size, signed = INTEGERS[name]
    add = getattr(types, f"add_{name}")
    low, high = (
        (-(1 << 8 * size - 1), (1 << 8 * size - 1) - 1) if signed else (0, 2 ** (8 * size) - 1)
    )
    assert (add(low, 0), add(high, 0), add(0, high)) == (low, high, high)
    for wrong in (low - 1, high + 1):
        with pytest.raises(UsageError, match=rf"add_{name}\(\): a: {wrong} is no"):
            add(wrong, 0)
    with pytest.raises(UsageError, match=r"b: expected an integer"):
        add(0, 1.0)


@given(a=st.floats(allow_nan=False), b=st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_floating_point_numbers_cross_as_their_bits(types, a, b):
    assert types.add_double(a, 0.0) == a
    assert types.add_float(b, 0.0) == b


@pytest.mark.parametrize("wrong", ["1", None, b"1", 1e39])
def test_a_float_must_fit_its_type(types, wrong):
    with pytest.raises(UsageError, match="a: expected a float"):
        types.add_float(wrong, 0)


def test_bool_is_bool(types):
    assert types.exclusive(True, False) is True
    with pytest.raises(UsageError, match="b: expected True or False"):
        types.exclusive(True, 1)


@given(data=st.binary(max_size=500))
def test_buffers_go_in_and_come_back(types, data):
    assert types.sum_bytes(data, len(data)) == sum(data)
    assert types.reverse(bytearray(data), len(data)) == data[::-1]
    assert types.fill(len(data), 7) == bytes([7]) * len(data)


@given(values=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=50))
def test_a_list_of_numbers_is_a_buffer(types, values):
    assert types.sum_i32(values, len(values)) == sum(values)
    assert types.sum_i32(struct.pack(f"<{len(values)}i", *values), len(values)) == sum(values)


def test_what_a_method_returns_follows_one_rule(types):
    assert types.nothing() is None
    assert types.add_int(1, 2) == 3
    assert types.squares(3) == struct.pack("<3H", 0, 1, 4)
    divided = types.divide(17, 5)
    assert (divided.result, divided.remainder) == (3, struct.pack("<i", 2))
    both = types.split(0x12345678)
    assert (both.low, both.high) == (b"\x78\x56\x34\x12", struct.pack("<i", 0x1234))
    assert types.result(0) is None


def test_strings_are_utf8_and_end_with_one_nul(types):
    assert types.length("") == 0
    assert types.length("né") == 3
    assert types.length(b"bytes") == 5
    for wrong, said in (("a\0b", "NUL"), (5, "expected a str"), ("\ud800", "UTF-8")):
        with pytest.raises(UsageError, match=said):
            types.length(wrong)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda t: t.add_int(1), r"add_int\(\) takes a, b: missing a req.* 'b'.*int add_int"),
        (lambda t: t.add_int(1, 2, 3), "too many positional arguments"),
        (lambda t: t.add_int(1, b=1, c=2), "unexpected keyword argument 'c'"),
        (lambda t: t.add_int(1, a=2, b=3), "multiple values for argument 'a'"),
        (lambda t: t.nothing(1), "takes no arguments"),
        (lambda t: t.nothing(x=1), "takes no arguments"),
        (lambda t: t.sum_bytes(b"abc", 4), r"data: expected 4 bytes \(n = 4\), got 3"),
        (lambda t: t.sum_bytes("abc", 3), "data: expected bytes, got str"),
        (lambda t: t.sum_bytes([1, 2], 2), "data: expected bytes, got list"),
        (lambda t: t.sum_bytes(3, 0), "data: expected bytes, got int"),
        (lambda t: t.sum_i32([1, 2**31], 2), "data: expected int32_t values"),
        (lambda t: t.sum_i32(7, 1), "data: expected bytes or a list of int32_t, got int"),
        (lambda t: t.sum_i32([], -1), "n = -1: expected no less than 0"),
        (lambda t: t.fill(-1, 0), "n = -1: expected no less than 0"),
        (lambda t: t.fill(70_000, 0), "70032 bytes, and the memory .* has 65536"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_runs(call, said):
    loaded = program("types")
    script = Script()
    script.arena = (0x1000, 0x10000)
    enclave = Enclave(loaded.interface, script, name="types")
    with pytest.raises(UsageError, match=said):
        call(enclave)
    assert script.entries == []
    assert not any(script.memory)
    assert enclave.lost is None


def test_keywords_work(types):
    assert types.add_int(b=2, a=1) == 3
    assert types.add_int(1, b=2) == 3


def test_the_method_shows_its_declaration(types):
    assert "release" not in dir(types)
    assert {"add_int", "sum_bytes"} <= set(dir(types))
    assert str(inspect.signature(types.sum_bytes)) == "(data: bytes, n: int)"
    assert types.sha256.__doc__.startswith(
        "void sha256([in, size=n] const uint8_t* data, size_t n, [out, size=32] uint8_t* digest)"
    )
    assert types.sha256.__name__ == "sha256"
    with pytest.raises(
        AttributeError, match="types has no ecall 'nope': its EDL declares add_char"
    ):
        types.nope()


def test_an_error_code_of_the_function_is_raised_with_its_name(types):
    for code in (1, 3, 5, 23):
        with pytest.raises(EcallFailed) as caught:
            types.result(code)
        assert (caught.value.result, caught.value.code) == (RESULTS[code], code)
        assert caught.value.ecall == "result"
    with pytest.raises(EcallFailed, match="result 0x3039"):
        types.result(12345)
    assert types.add_int(1, 1) == 2


def test_result_codes_are_those_of_open_enclave():
    assert RESULTS.index("OE_REENTRANT_ECALL") == 4
    assert RESULTS.index("OE_NOT_FOUND") == 9
    assert RESULTS.index("OE_ENCLAVE_ABORTED") == 20
    assert RESULTS.index("OE_PLATFORM_ERROR") == 21
    assert RESULTS.index("OE_BUSY") == 28
    assert RESULTS[-1] == "OE_QUOTE_HASH_MISMATCH"
    assert len(RESULTS) == 59


def test_ocalls_pass_values_both_ways(types):
    types.on_ocall("scale", lambda a, b: a * b)
    assert types.call_scale(-3, 1.5) == struct.pack("<d", -4.5)
    assert types.call_twice(2) == 4 + 18 + 2 * 26

    seen = []
    types.on_ocall("greet", lambda who, n: seen.append((who, n)) or (2, b"hi".ljust(n, b"\0")))
    assert types.call_greet("né") == b"hi".ljust(32, b"\0")
    assert seen == [("né", 32)]

    types.on_ocall("mix", lambda data, other, flag: seen.append((other, flag)) or data[::-1])
    assert types.call_mix([1, 2, 3, 4]) == struct.pack("<4i", 1, 2, 3, 4)[::-1]
    assert seen[1] == (struct.pack("<4i", 1, -2, 3, -4), True)

    types.on_ocall("take", lambda data, n: None)  # oe_result_t: nothing means OE_OK
    types.call_big(1000)
    types.on_ocall("take", lambda data, n: 3)
    with pytest.raises(EcallFailed, match="OE_INVALID_PARAMETER"):
        types.call_big(1000)


def test_an_ocall_without_a_callback_is_explained_and_the_enclave_lives_on():
    loaded = program("types")
    enclave = Enclave(loaded.interface, Bare(loaded), name="types")
    with pytest.raises(
        UsageError, match=r"on_ocall\('tick', function\). Its EDL: void tick\(void\)"
    ):
        enclave.call_tick()
    with pytest.raises(UsageError, match="types made ocall 1000"):
        enclave.call_unknown()
    assert enclave.add_int(1, 2) == 3


@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), KeyboardInterrupt()])
def test_a_callback_that_raises_ends_the_ecall_and_not_the_enclave(types, error):
    def fail():
        raise error

    types.on_ocall("tick", fail)
    with pytest.raises(type(error)) as caught:
        types.call_tick()
    assert caught.value is error
    assert "raised while types waited for its ocall void tick(void)" in error.__notes__
    assert types.add_int(1, 2) == 3


def test_after_one_failure_further_ocalls_of_the_ecall_are_not_tried():
    calls = []

    def fail(a):
        calls.append(a)
        raise ValueError

    ocall = (1, 0, 0x1800)
    enclave, script = scripted(PING, ocall, ocall, ocall, (0, 0, 0), ocalls={"ask": fail})
    with pytest.raises(ValueError):  # noqa: PT011 - the callback's own exception
        enclave.ping()
    assert len(calls) == 1
    assert [entry[1:] for entry in script.entries[1:]] == [(2**64 - 1, 1)] * 3


@pytest.mark.parametrize("returned", [None, "x", 2**40, (1, 2), b""])
def test_a_callback_that_returns_something_else_is_a_usage_error(types, returned):
    types.on_ocall("greet", lambda who, n: returned)
    with pytest.raises(UsageError, match=r"greet\(\) returned|greet\(\): "):
        types.call_greet("x")
    types.on_ocall("greet", lambda who, n: (1, b"too short"))
    with pytest.raises(UsageError, match=r"text: expected 32 bytes \(n = 32\), got 9"):
        types.call_greet("x")


def test_an_unknown_ocall_name_is_refused(types):
    with pytest.raises(UsageError, match="makes no ocall 'tock': its EDL declares scale, greet"):
        types.on_ocall("tock", print)


def test_a_nested_ecall_on_the_same_thread_is_refused_by_the_enclave(types):
    caught = []

    def nest():
        try:
            types.add_int(1, 2)
        except EcallFailed as error:
            caught.append(error.result)

    types.on_ocall("tick", nest)
    types.call_tick()
    assert caught == ["OE_REENTRANT_ECALL"]


def test_a_nested_ecall_on_another_thread_works():
    loaded = program("types")
    bare = Bare(loaded)
    one, two = (Enclave(loaded.interface, bare, name="types", thread=n) for n in (0, 1))
    one.on_ocall("scale", lambda a, b: float(two.add_int(a, 1)) * b)
    assert one.call_scale(3, 1.5) == struct.pack("<d", 6.0)


def test_a_hostile_enclave_cannot_confuse_the_host():
    ocall_far_away = (1, 0, 2**63)
    enclave, _ = scripted(PING, ocall_far_away, (0, 0, 0), ocalls={"ask": lambda a: a})
    with pytest.raises(AssertionError):  # the transport's own refusal
        enclave.ping()
    enclave, _ = scripted(PING, (77, 0, 0))
    with pytest.raises(EnclaveLost, match="unknown reason 0x4d"):
        enclave.ping()
    enclave, _ = scripted(PING, (2, 0, 0))
    with pytest.raises(EcallFailed, match="was interrupted inside"):
        enclave.ping()


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (PageFault("no page", address=0x5000), EnclaveLost),
        (EnclaveLost("gone"), EnclaveLost),
        (BudgetExceeded("too long"), BudgetExceeded),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_whatever_ends_a_call_in_the_middle_loses_the_enclave(error, raised):
    enclave, script = scripted(PING, error)
    with pytest.raises(raised) as caught:
        enclave.ping()
    if isinstance(error, PageFault):
        assert caught.value.fault is error
    for _ in range(2):
        with pytest.raises(EnclaveLost, match=r"demo cannot be called any more: ping\(\) ended in"):
            enclave.ping()
    assert len(script.entries) == 1
    assert "(lost)" in repr(enclave)


def test_a_misuse_of_the_transport_does_not_lose_the_enclave():
    enclave, _ = scripted(PING, UsageError("no such thread"), (0, 0, 0))
    with pytest.raises(UsageError):
        enclave.ping()
    assert enclave.ping() is None


def test_awkward_names_are_handled():
    edl = "enclave { trusted { public int lambda(int in, [out] int* result, [out] int* is); }; };"
    enclave, _ = scripted(edl, (0, 0, 0))
    method = getattr(enclave, "lambda")
    assert str(inspect.signature(method)) == "(in_: int)"
    assert method(in_=3) == (0, bytes(4), bytes(4))
    with pytest.raises(
        UsageError, match="the ecall 'on_ocall' has the name of an Enclave attribute"
    ):
        scripted("enclave { trusted { public void on_ocall(); }; };")


def test_arguments_travel_in_plain_host_memory():
    loaded = program("vault")
    bare = Bare(loaded)
    Enclave(loaded.interface, bare, name="vault").make_secret("2468-plain")
    assert b"2468-plain\0" in bare.read(*bare.arena)
