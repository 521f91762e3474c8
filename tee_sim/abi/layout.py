"""Vendor structures, declared as the table in which their vendor prints them.

A manual prints a structure as rows of offset, size, name and meaning. The declaration is that
table, and everything else follows from it::

    class TARGETINFO(Struct, size=512, source='Intel SDM Vol. 3D, "Report Target Info"'):
        measurement: bytes      = at(0x00, 32, "MRENCLAVE of the target")
        attributes:  Attributes = at(0x20, 16, "ATTRIBUTES of the target")

`Bits` does the same for an integer whose bits have names. A field is an ``int`` (unsigned,
little-endian, 1, 2, 4 or 8 bytes), ``bytes``, another `Struct` or a `Bits`; parts of variable
length are written by hand with `Struct.take`.

Bytes that no row covers are *reserved*. They are written as zero, and `unpack` refuses them when
they are not, unless the class says ``reserved="ignore"``: then what they held is dropped.

A declaration whose rows overlap or overflow is a bug of ours and raises ``TypeError`` when its
module is imported. Data that does not fit raises a `LayoutError`, and nothing else.
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from html import escape
from typing import (
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    Self,
    TypeAlias,
    dataclass_transform,
    get_type_hints,
)

from tee_sim.errors import LayoutError, Reserved, Truncated, UnknownVersion

Buffer: TypeAlias = bytes | bytearray | memoryview
ReservedRule: TypeAlias = Literal["refuse", "ignore"]

_INT_CODE = {1: "B", 2: "H", 4: "I", 8: "Q"}


class _Spec(NamedTuple):
    """What a declaration says about one field, before the field knows its name and type."""

    offset: int
    size: int
    meaning: str


def at(offset: int, size: int, meaning: str) -> Any:
    """Declare a field of a `Struct`: its offset and size in bytes, and what it means."""
    return _Spec(offset, size, meaning)


def bits(low: int, width: int, meaning: str) -> Any:
    """Declare a field of a `Bits`: its lowest bit, its width in bits, and what it means."""
    return _Spec(low, width, meaning)


def bit(position: int, meaning: str) -> Any:
    """Declare a field of a `Bits` that is one bit wide."""
    return _Spec(position, 1, meaning)


@dataclass(frozen=True, slots=True)
class Field:
    """One row of a declared table; offset and size are in bytes, or in bits for a `Bits`."""

    name: str
    offset: int
    size: int
    meaning: str
    type: type[Any]

    def check(self, owner: str, value: object) -> None:
        """Raise `LayoutError` unless ``value`` is one that this field of a `Struct` can hold."""
        where = f"{owner}.{self.name}"
        if not isinstance(value, self.type) or (self.type is int and isinstance(value, bool)):
            raise LayoutError(f"{where} takes {self.type.__name__}, not {type(value).__name__}")
        if self.type is int and not 0 <= value < 1 << 8 * self.size:
            raise LayoutError(f"{where} has {self.size} bytes, which cannot hold {value:#x}")
        if self.type is bytes and len(value) != self.size:
            raise LayoutError(f"{where} takes {self.size} bytes, not {len(value)}")


class Row(NamedTuple):
    """One line of a table of values: where, how many bytes, what it is called, holds and means."""

    offset: int
    size: int
    name: str
    value: object
    meaning: str


def show(value: object, limit: int | None = None) -> str:
    """Text for a field's value: hex for integers and bytes.

    Args:
        value: what the field holds.
        limit: longest run of bytes to print whole; longer ones keep both ends. None: no limit.
    """
    if isinstance(value, bytes):
        if limit is None or len(value) <= limit:
            return value.hex()
        return f"{value[:8].hex()}...{value[-8:].hex()} ({len(value)} bytes)"
    if isinstance(value, int) and not isinstance(value, bool | IntEnum | Bits):
        return f"{value:#x}"
    return value.name if isinstance(value, IntEnum) else str(value)


def _declare(cls: type, total: int, base: type) -> tuple[dict[str, Field], list[tuple[int, int]]]:
    """Read the rows that ``cls`` declares; return them by offset, and the gaps between them."""
    if cls.__bases__ != (base,):
        raise TypeError(f"{cls.__name__}: derive a structure from {base.__name__} only")
    hints = get_type_hints(cls)
    fields: dict[str, Field] = {}
    gaps: list[tuple[int, int]] = []
    end = 0
    specs = [(name, spec) for name, spec in vars(cls).items() if isinstance(spec, _Spec)]
    for name, spec in sorted(specs, key=lambda item: item[1].offset):
        if hasattr(base, name):
            raise TypeError(f"{cls.__name__}.{name} would hide {base.__name__}.{name}")
        if spec.offset < end or spec.size < 1:
            raise TypeError(f"{cls.__name__}.{name} at {spec.offset:#x} overlaps what is before it")
        if spec.offset > end:
            gaps.append((end, spec.offset))
        fields[name] = Field(name, *spec, type=hints[name])
        end = spec.offset + spec.size
    if end > total:
        raise TypeError(f"{cls.__name__} ends at {end:#x}, beyond its size {total:#x}")
    if end < total:
        gaps.append((end, total))
    return fields, gaps


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Bits(int):
    """An unsigned integer whose bits have names; see the module's text.

    ``Flags(r=True)`` builds one from names, `of` from a number. It *is* an ``int``, so
    ``flags == 0x1`` and ``flags & mask`` work as usual.
    """

    SIZE: ClassVar[int]
    SOURCE: ClassVar[str]
    FIELDS: ClassVar[Mapping[str, Field]]
    _gaps: ClassVar[list[tuple[int, int]]]
    _reserved: ClassVar[int]
    _enums: ClassVar[list[Field]]
    _ignore: ClassVar[bool]

    def __init_subclass__(
        cls, *, size: int, source: str, reserved: ReservedRule = "refuse"
    ) -> None:
        fields, gaps = _declare(cls, 8 * size, Bits)
        cls.SIZE, cls.SOURCE, cls.FIELDS = size, source, fields
        cls._gaps, cls._ignore = gaps, reserved == "ignore"
        cls._reserved = sum((1 << high) - (1 << low) for low, high in gaps)
        cls._enums = [field for field in fields.values() if issubclass(field.type, IntEnum)]
        for name, field in fields.items():
            if not issubclass(field.type, int) or (field.type is bool and field.size > 1):
                raise TypeError(f"{cls.__name__}.{name} is no bool, int or IntEnum of that width")
            setattr(cls, name, property(_getter(field), doc=field.meaning))

    def __new__(cls, **values: int) -> Self:
        """Build the integer from its fields; those that are not named are zero."""
        number = 0
        for name, value in values.items():
            field = cls.FIELDS.get(name)
            if field is None:
                raise TypeError(f"{cls.__name__} has no bit field {name!r}")
            if not isinstance(value, int) or not 0 <= value < 1 << field.size:
                raise LayoutError(f"{cls.__name__}.{name} has {field.size} bits: not {value!r}")
            number |= value << field.offset
        return cls.of(number)

    @classmethod
    def of(cls, number: int) -> Self:
        """The bit fields of a number.

        Raises:
            Reserved: a reserved bit is set.
            UnknownVersion: an enumerated field holds a value that it does not list.
            LayoutError: the number is negative or too wide.
        """
        if not isinstance(number, int) or not 0 <= number < 1 << 8 * cls.SIZE:
            raise LayoutError(f"{cls.__name__} has {8 * cls.SIZE} bits: not {number!r}")
        if number & cls._reserved:
            if not cls._ignore:
                low, high = next(gap for gap in cls._gaps if number % (1 << gap[1]) >> gap[0])
                raise Reserved(
                    f"{cls.__name__}: reserved bits {high - 1}:{low} are not zero in {number:#x}"
                )
            number &= ~cls._reserved
        self = int.__new__(cls, number)
        for field in cls._enums:
            try:
                getattr(self, field.name)
            except ValueError as error:
                raise UnknownVersion(f"{cls.__name__}.{field.name}: {error}") from None
        return self

    def with_(self, **changes: int) -> Self:
        """A copy in which the named fields are changed."""
        return type(self)(**{name: getattr(self, name) for name in self.FIELDS} | changes)

    def __repr__(self) -> str:
        parts = [f"{int(self):#x}"]
        for name, field in self.FIELDS.items():
            value = getattr(self, name)
            if value or issubclass(field.type, IntEnum):
                parts.append(name if field.type is bool else f"{name}={show(value)}")
        return f"{type(self).__name__}({', '.join(parts)})"

    __str__ = __repr__

    def __reduce__(self) -> tuple[Callable[[int], Self], tuple[int]]:
        return type(self).of, (int(self),)


def _getter(field: Field) -> Callable[[Bits], Any]:
    low, mask, kind = field.offset, (1 << field.size) - 1, field.type
    return lambda self: kind(int(self) >> low & mask)


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Struct:
    """An immutable structure of fixed size; see the module's text.

    Values are built by keyword and start as zero. Two are equal when all their fields are.
    """

    SIZE: ClassVar[int]
    SOURCE: ClassVar[str]
    FIELDS: ClassVar[Mapping[str, Field]]
    _codec: ClassVar[struct.Struct]
    _wraps: ClassVar[list[tuple[int, Callable[[Any], Any]]]]
    _nested: ClassVar[list[int]]
    _zeros: ClassVar[list[tuple[int, int, bytes]]]

    def __init_subclass__(
        cls, *, size: int, source: str, reserved: ReservedRule = "refuse"
    ) -> None:
        fields, gaps = _declare(cls, size, Struct)
        cls.SIZE, cls.SOURCE, cls.FIELDS = size, source, fields
        cls._wraps, cls._nested, cls._zeros = [], [], []
        if reserved == "refuse":
            cls._zeros = [(low, high, bytes(high - low)) for low, high in gaps]
        codes = {low: f"{high - low}x" for low, high in gaps}
        for index, field in enumerate(fields.values()):
            codes[field.offset], zero = _code_and_zero(cls, field)
            if isinstance(zero, Struct):
                cls._nested.append(index)
                cls._wraps.append((index, type(zero).unpack))
            elif isinstance(zero, Bits):
                cls._wraps.append((index, type(zero).of))
            setattr(cls, field.name, zero)
        cls._codec = struct.Struct("<" + "".join(codes[low] for low in sorted(codes)))
        dataclass(frozen=True, kw_only=True, repr=False)(cls)

    def __post_init__(self) -> None:
        for name, field in self.FIELDS.items():
            field.check(type(self).__name__, getattr(self, name))

    @classmethod
    def unpack(cls, data: Buffer) -> Self:
        """The structure that exactly these bytes hold.

        Raises:
            Truncated: too few or too many bytes.
            Reserved: a reserved byte is not zero.
            LayoutError: a field holds something that it cannot.
        """
        if len(data) != cls.SIZE:
            raise Truncated(f"{cls.__name__} is {cls.SIZE} bytes, not {len(data)}")
        for low, high, zeros in cls._zeros:
            if data[low:high] != zeros:
                raise Reserved(
                    f"{cls.__name__}: reserved bytes {low:#x}-{high - 1:#x} are not all zero"
                )
        values = list(cls._codec.unpack(data))
        for index, wrap in cls._wraps:
            values[index] = wrap(values[index])
        self = object.__new__(cls)  # the codec has checked what __post_init__ would check
        self.__dict__.update(zip(cls.FIELDS, values, strict=True))
        return self

    @classmethod
    def take(cls, data: bytes) -> tuple[Self, bytes]:
        """The structure at the start of ``data``, as `unpack` reads it, and the bytes after it."""
        return cls.unpack(data[: cls.SIZE]), data[cls.SIZE :]

    def pack(self) -> bytes:
        """The bytes of this structure, `SIZE` of them."""
        values = [self.__dict__[name] for name in self.FIELDS]
        for index in self._nested:
            values[index] = values[index].pack()
        return self._codec.pack(*values)

    def with_(self, **changes: Any) -> Self:
        """A copy in which the named fields are changed, if they can hold their new values."""
        return type(self)(**self.__dict__ | changes)

    def rows(self, base: int = 0, prefix: str = "") -> list[Row]:
        """The table of this structure's values, nested structures flattened into it.

        ``base`` is added to every offset, ``prefix`` put before every name.
        """
        table: list[Row] = []
        for name, field in self.FIELDS.items():
            value, offset = getattr(self, name), base + field.offset
            if isinstance(value, Struct):
                table += value.rows(offset, f"{prefix}{name}.")
            else:
                table.append(Row(offset, field.size, prefix + name, value, field.meaning))
        return table

    def __repr__(self) -> str:
        parts = (f"{name}={show(getattr(self, name), 32)}" for name in self.FIELDS)
        return f"{type(self).__name__}({', '.join(parts)})"

    def _repr_html_(self) -> str:
        about = (type(self).__doc__ or "").partition("\n")[0]
        return table(f"{type(self).__name__}, {self.SIZE} bytes: {about}", self.rows())


def table(title: str, rows: Iterable[Row]) -> str:
    """Rows as HTML, under a title."""
    names = ("Offset", "Size", "Field", "Value", "Meaning")
    left = "text-align:left"
    head = "".join(f'<th scope="col" style="{left}">{name}</th>' for name in names)
    body = ""
    for row in rows:
        text = escape(show(row.value, 64))
        wraps = ";overflow-wrap:anywhere" if len(text) > 64 else ""
        body += (
            f'<tr><td style="{left}">{row.offset:#x}</td><td style="{left}">{row.size}</td>'
            f'<th scope="row" style="{left}">{row.name}</th>'
            f'<td style="{left}{wraps}"><code>{text}</code></td>'
            f'<td style="{left}">{escape(row.meaning)}</td></tr>'
        )
    return (
        f"<table><caption>{escape(title)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _code_and_zero(cls: type[Struct], field: Field) -> tuple[str, object]:
    """How the ``struct`` module writes the field, and the field's value when it is all zero."""
    kind, size = field.type, field.size
    if kind is bytes:
        return f"{size}s", bytes(size)
    if kind is int and size in _INT_CODE:
        return _INT_CODE[size], 0
    if issubclass(kind, Struct) and size == kind.SIZE:
        return f"{size}s", kind()
    if issubclass(kind, Bits) and size == kind.SIZE and size in _INT_CODE:
        return _INT_CODE[size], kind.of(0)
    raise TypeError(f"{cls.__name__}.{field.name}: no {kind.__name__} has {size} bytes")
