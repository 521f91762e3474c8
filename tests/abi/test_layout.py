"""The rules of declared structures."""

import copy
import pickle
from contextlib import suppress
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tee_sim.abi.layout import Bits, Struct, at, bit, bits, show
from tee_sim.errors import LayoutError, Reserved, Truncated, UnknownVersion


class Colour(IntEnum):
    RED = 0
    BLUE = 2


# fmt: off
class Flags(Bits, size=2, source="made up"):
    """Bits with a gap at 1 and from 6 on."""

    on:     bool   = bit(0,     "switched on")
    colour: Colour = bits(2, 2, "which colour")
    level:  int    = bits(4, 2, "how much")


class Inner(Struct, size=4, source="made up"):
    """A part of another structure."""

    low:  int = at(0, 2, "the low half")
    high: int = at(2, 2, "the high half")


class Outer(Struct, size=64, source="made up"):
    """A structure with one of everything.

    More about it.
    """

    count: int   = at(0,  4,  "a number")
    flags: Flags = at(4,  2,  "some flags")
    inner: Inner = at(8,  4,  "a part")
    data:  bytes = at(16, 40, "<data> & more")


class Loose(Struct, size=8, source="made up", reserved="ignore"):
    """A structure whose specification says that reserved bytes are ignored."""

    value: int = at(2, 1, "the only field")


class LooseBits(Bits, size=1, source="made up", reserved="ignore"):
    """Bits whose specification says that reserved bits are ignored."""

    on: bool = bit(3, "switched on")
# fmt: on

outers = st.builds(
    Outer,
    count=st.integers(0, 2**32 - 1),
    flags=st.builds(
        Flags, on=st.booleans(), colour=st.sampled_from(Colour), level=st.integers(0, 3)
    ),
    inner=st.builds(Inner, low=st.integers(0, 0xFFFF), high=st.integers(0, 0xFFFF)),
    data=st.binary(min_size=40, max_size=40),
)


@given(outers)
def test_what_is_packed_is_unpacked(value: Outer) -> None:
    packed = value.pack()
    assert len(packed) == Outer.SIZE
    assert Outer.unpack(packed) == value
    assert hash(Outer.unpack(packed)) == hash(value)


@given(st.binary(max_size=2 * Outer.SIZE) | st.binary(min_size=64, max_size=64))
def test_any_bytes_are_parsed_or_refused_with_a_layout_error(data: bytes) -> None:
    try:
        value = Outer.unpack(data)
    except LayoutError:
        return
    assert value.pack() == data


@given(outers, st.integers(0, Outer.SIZE - 1), st.integers(1, 255))
def test_a_changed_byte_is_seen_or_refused(value: Outer, position: int, change: int) -> None:
    data = bytearray(value.pack())
    data[position] ^= change
    with suppress(LayoutError):
        assert Outer.unpack(data) != value


def test_integers_are_little_endian_at_their_offsets() -> None:
    data = Outer(count=0x01020304, inner=Inner(high=0xAABB)).pack()
    assert data[0:4] == b"\x04\x03\x02\x01"
    assert data[10:12] == b"\xbb\xaa"


def test_fields_start_as_zero() -> None:
    assert Outer().pack() == bytes(Outer.SIZE)
    assert Outer.unpack(bytes(Outer.SIZE)) == Outer()


@pytest.mark.parametrize("size", [0, 63, 65])
def test_another_size_is_refused(size: int) -> None:
    with pytest.raises(Truncated, match=f"Outer is 64 bytes, not {size}"):
        Outer.unpack(bytes(size))


def test_take_returns_the_rest() -> None:
    assert Inner.take(b"\x01\0\x02\0rest") == (Inner(low=1, high=2), b"rest")
    with pytest.raises(Truncated):
        Inner.take(b"\x01\0\x02")


@pytest.mark.parametrize(
    ("position", "said"), [(6, "0x6-0x7"), (15, "0xc-0xf"), (56, "0x38-0x3f"), (63, "0x38-0x3f")]
)
def test_reserved_bytes_are_refused_with_their_range(position: int, said: str) -> None:
    data = bytearray(Outer.SIZE)
    data[position] = 1
    with pytest.raises(Reserved, match=f"Outer: reserved bytes {said} "):
        Outer.unpack(data)


def test_ignored_bytes_are_dropped() -> None:
    value = Loose.unpack(b"\xff\xff\x05\xff\xff\xff\xff\xff")
    assert value == Loose(value=5)
    assert value.pack() == b"\0\0\x05\0\0\0\0\0"
    assert LooseBits.of(0xFF) == 0x08


def test_values_are_immutable() -> None:
    value = Outer(flags=Flags(on=True))
    with pytest.raises(AttributeError):
        value.count = 1  # type: ignore[misc]  # the point of the test
    with pytest.raises(AttributeError):
        value.flags.on = False  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": -1},
        {"count": 1 << 32},
        {"count": "1"},
        {"count": True},
        {"data": b"short"},
        {"data": bytearray(40)},
        {"inner": b"\0\0\0\0"},
        {"flags": 1},
    ],
)
def test_a_value_that_does_not_fit_its_field_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(LayoutError, match=next(iter(wrong))):
        Outer(**wrong)
    with pytest.raises(LayoutError):
        Outer().with_(**wrong)


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError):
        Outer(nothing=1)  # type: ignore[call-arg]  # the point of the test
    with pytest.raises(TypeError, match="no bit field 'nothing'"):
        Flags(nothing=1)  # type: ignore[call-arg]  # the point of the test


def test_with_changes_a_copy() -> None:
    old = Outer(count=1, data=b"x" * 40)
    assert old.with_(count=2) == Outer(count=2, data=b"x" * 40)
    assert old.count == 1
    assert Flags(on=True, level=3).with_(on=False) == Flags(level=3)


def test_values_can_be_copied_and_pickled() -> None:
    value = Outer(count=1, flags=Flags(colour=Colour.BLUE))
    assert copy.deepcopy(value) == value == pickle.loads(pickle.dumps(value))


def test_bits_are_an_integer_with_names() -> None:
    flags = Flags(on=True, colour=Colour.BLUE, level=1)
    assert flags == 0b01_1001
    assert flags & 0b1000
    assert flags.on is True
    assert flags.colour is Colour.BLUE
    assert flags.level == 1


@given(st.integers(-1, 1 << 17))
def test_any_number_becomes_bits_or_a_layout_error(number: int) -> None:
    try:
        flags = Flags.of(number)
    except LayoutError:
        return
    assert flags == number
    assert Flags(on=flags.on, colour=flags.colour, level=flags.level) == number


@pytest.mark.parametrize(("number", "said"), [(0b10, "1:1"), (0x8000, "15:6")])
def test_reserved_bits_are_refused_with_their_range(number: int, said: str) -> None:
    with pytest.raises(Reserved, match=f"Flags: reserved bits {said} "):
        Flags.of(number)


def test_an_unlisted_value_of_an_enumeration_is_refused() -> None:
    with pytest.raises(UnknownVersion, match=r"Flags\.colour"):
        Outer.unpack(b"\0\0\0\0\x04" + bytes(59))


@pytest.mark.parametrize("wrong", [{"level": 4}, {"level": -1}, {"on": 2}, {"colour": 1}])
def test_a_value_that_does_not_fit_its_bits_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(LayoutError):
        Flags(**wrong)


def test_rows_are_flat_and_carry_absolute_offsets() -> None:
    rows = Outer(inner=Inner(high=7)).rows()
    assert [(row.offset, row.size, row.name) for row in rows] == [
        (0, 4, "count"),
        (4, 2, "flags"),
        (8, 2, "inner.low"),
        (10, 2, "inner.high"),
        (16, 40, "data"),
    ]
    assert (rows[3].value, rows[3].meaning) == (7, "the high half")


def test_repr_is_hex_and_shortens_long_bytes() -> None:
    text = repr(Outer(count=255, flags=Flags(on=True, level=2), data=bytes(range(40))))
    assert "count=0xff" in text
    assert "flags=Flags(0x21, on, colour=RED, level=0x2)" in text
    assert "data=0001020304050607...2021222324252627 (40 bytes)" in text
    assert show(bytes(40)) == "00" * 40


def test_html_is_a_table_with_headings_and_escaped_text() -> None:
    html = Outer()._repr_html_()
    assert "<caption>Outer, 64 bytes: A structure with one of everything.</caption>" in html
    assert html.count('<th scope="col"') == 5
    assert html.count('<th scope="row"') == 5
    assert "&lt;data&gt; &amp; more" in html


def test_fields_tell_where_they_are() -> None:
    assert Outer.FIELDS["data"].offset == 16
    assert Outer.FIELDS["data"].meaning == "<data> & more"
    assert Outer.SOURCE == "made up"


def _declare(kind: type, **rows: tuple[Any, Any]) -> None:
    body: dict[str, Any] = {name: row for name, (_, row) in rows.items()}
    body["__annotations__"] = {name: hint for name, (hint, _) in rows.items()}
    type("Broken", (kind,), body, size=4, source="made up")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"a": (int, at(0, 4, "")), "b": (int, at(3, 1, ""))}, "overlaps"),
        ({"a": (bytes, at(2, 4, ""))}, "beyond its size"),
        ({"a": (bytes, at(0, 0, ""))}, "overlaps"),
        ({"a": (int, at(0, 3, ""))}, "no int has 3 bytes"),
        ({"a": (Inner, at(0, 2, ""))}, "no Inner has 2 bytes"),
        ({"a": (str, at(0, 4, ""))}, "no str has 4 bytes"),
        ({"pack": (int, at(0, 4, ""))}, "would hide"),
    ],
)
def test_a_wrong_declaration_is_an_error_at_once(rows: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        _declare(Struct, **rows)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"a": (bool, bit(0, "")), "b": (bool, bit(0, ""))}, "overlaps"),
        ({"a": (int, bits(31, 2, ""))}, "beyond its size"),
        ({"a": (bool, bits(0, 2, ""))}, "of that width"),
        ({"a": (bytes, bits(0, 2, ""))}, "of that width"),
        ({"bit_length": (bool, bit(0, ""))}, "would hide"),
    ],
)
def test_a_wrong_declaration_of_bits_is_an_error_at_once(rows: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        _declare(Bits, **rows)


def test_structures_are_not_inherited() -> None:
    with pytest.raises(TypeError, match="derive a structure from Struct only"):
        type("Child", (Inner,), {}, size=4, source="made up")
