"""C values as bytes, and as what Python has for them.

integer, enum       int; an enum comes back as an `enum.IntEnum`, if it has the number
pointer             its address, an int
struct              a named tuple of its members; a dict or a tuple goes in as well
union               its bytes, with the members as attributes; {"member": value} goes in as well
array               bytes for arrays of bytes, else a tuple
buffer              bytes; of structs and unions a list, or one alone if its count is 1
[string], [wstring] str
NULL                None
"""

from __future__ import annotations

import keyword
import operator
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from functools import cache
from math import prod
from struct import error, pack, pack_into, unpack_from
from typing import Any

from tee_sim.errors import UsageError
from tee_sim.sdk.edl import CType, Extent, Param

Follow = Callable[[int, int], bytes]
"""The bytes that a pointer leads to: address, size."""

_PYTHON = {"bool": bool, "float": float, "struct": tuple, "union": bytes}


class Blob(bytearray):
    """The bytes of structures, and what their pointers lead to: (offset, contents or None)."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.pointers: list[tuple[int, Contents]] = []


Contents = bytes | Blob | None
"""What a buffer holds; None if the pointer is NULL."""


def python_name(name: str) -> str:
    """A C name in Python: a keyword gets an underscore behind it."""
    return name + "_" if keyword.iskeyword(name) or name == "mro" else name


def python_type(param: Param) -> type:
    """What the Python side passes for a parameter."""
    if param.pointer:
        return str if param.string else list if param.type.compound else bytes
    return _PYTHON.get(param.type.kind, int)


@cache
def record(ctype: CType) -> Any:
    """The Python class of a struct, union or enum."""
    name = python_name(ctype.name.partition(" ")[2])
    if ctype.kind == "enum":
        return IntEnum(name, [(python_name(value), number) for value, number in ctype.values])
    if ctype.kind == "struct":
        return namedtuple(name, [python_name(m.name) for m in ctype.members], rename=True)

    def view(member: Param) -> property:
        return property(lambda self: _decode(member.type, bytes(self), 0, _nowhere, member.dims))

    views = {python_name(member.name): view(member) for member in ctype.members}
    return type(name, (bytes,), {"__slots__": ()} | views)


def code(ctype: CType) -> str:
    """How `struct` calls a scalar."""
    if ctype.kind in ("float", "bool"):
        return "?" if ctype.kind == "bool" else "f" if ctype.size == 4 else "d"
    letter = "_bh_i___q"[ctype.size]
    return letter if ctype.kind == "int" else letter.upper()


def scalar(ctype: CType, who: str, value: Any) -> Any:
    """What `struct` packs for a scalar.

    Raises:
        UsageError: the value is none of this type; the message begins with ``who``.
    """
    if ctype.kind == "bool":
        if value is True or value is False:
            return value
        raise UsageError(f"{who}: expected True or False, got {value!r}")
    if value is None and ctype.kind == "pointer":
        return 0
    try:
        if ctype.kind == "float":
            pack("<" + code(ctype), value)
            return float(value)
        number = operator.index(value)
    except (error, OverflowError, TypeError, ValueError):
        expected = f"a {ctype.name}" if ctype.kind == "float" else f"an integer ({ctype.name})"
        raise UsageError(f"{who}: expected {expected}, got {value!r}") from None
    bits = 8 * ctype.size
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if ctype.kind == "int" else (0, 2**bits - 1)
    if not low <= number <= high:
        raise UsageError(f"{who}: {number} is no {ctype.name}: expected {low} to {high}")
    return number


def by_value(ctype: CType, who: str, value: Any) -> Any:
    """What `struct` packs for a parameter or a result: a scalar, or the bytes of a structure."""
    if not ctype.compound:
        return scalar(ctype, who, value)
    blob = Blob(ctype.size)
    _encode(blob, 0, ctype, who, value)
    return bytes(blob)


def from_value(ctype: CType, value: Any) -> Any:
    """What Python gets for a parameter or a result that `struct` unpacked."""
    if ctype.compound:
        return _decode(ctype, value, 0, _nowhere)
    known = ctype.kind == "enum" and value in (number for _, number in ctype.values)
    return record(ctype)(value) if known else value


def text(param: Param, who: str, value: Any) -> bytes | None:
    """A C string, in UTF-8 or, of wchar_t, in UTF-32."""
    if isinstance(value, str):
        try:
            value = value.encode("utf-8" if param.type.size == 1 else "utf-32-le")
        except UnicodeEncodeError:
            raise UsageError(f"{who}: {value!r} has no UTF-8 form") from None
    if value is None:
        return None
    if not isinstance(value, bytes) or len(value) % param.type.size:
        raise UsageError(f"{who}: expected a str, got {type(value).__name__}")
    value += bytes(param.type.size)
    if len(_until_nul(param, value)) < len(value) - param.type.size:
        raise UsageError(f"{who}: a C string ends at its first NUL, and this one holds a NUL")
    return bytes(value)


def _until_nul(param: Param, content: bytes) -> bytes:
    size = param.type.size
    ends = (at for at in range(0, len(content), size) if not any(content[at : at + size]))
    return content[: next(ends, len(content))] if size > 1 else content.partition(b"\0")[0]


def buffer(param: Param, who: str, value: Any) -> Contents:
    """The contents of a buffer: from bytes, or from a list of its elements."""
    if value is None:
        return None
    ctype = param.type
    if not ctype.deep:
        try:
            return memoryview(value).tobytes()
        except TypeError:
            pass
    if ctype.compound:
        return _structures(param, who, value)
    element = code(ctype) if ctype.size > 1 else ""
    if element and isinstance(value, Sequence) and not isinstance(value, str):
        try:
            return pack(f"<{len(value)}{element}", *value)
        except error as reason:
            raise UsageError(f"{who}: expected {ctype.name} values: {reason}") from None
    expected = f"bytes or a list of {ctype.name}" if element else "bytes"
    raise UsageError(f"{who}: expected {expected}, got {type(value).__name__}")


def _structures(param: Param, who: str, value: Any) -> Blob:
    one = param.count == 1 and not isinstance(value, list)
    if not one and not isinstance(value, list | tuple):
        raise UsageError(f"{who}: expected a list of {param.type.name}, got {type(value).__name__}")
    values = [value] if one else value
    blob = Blob(len(values) * param.type.size)
    for index, item in enumerate(values):
        where = who if one else f"{who}[{index}]"
        _encode(blob, index * param.type.size, param.type, where, item)
    return blob


def product(param: Param, beside: Mapping[str, Any]) -> int:
    """Bytes of a buffer, given the scalars beside it."""

    def number(extent: Extent) -> int:
        return int(beside[extent]) if isinstance(extent, str) else extent

    return number(param.count) * number(param.unit)


def _encode(
    blob: Blob, at: int, ctype: CType, who: str, value: Any, dims: tuple[int, ...] = ()
) -> None:
    """Write one value, or an array of them, into the blob."""
    if dims:
        if isinstance(value, bytes) and ctype.size == len(dims) == 1:
            value = list(value.ljust(dims[0], b"\0"))
        if not isinstance(value, list | tuple) or len(value) != dims[0]:
            raise UsageError(f"{who}: expected {dims[0]} of {ctype.name}, got {value!r}")
        step = ctype.size * prod(dims[1:])
        for index, item in enumerate(value):
            _encode(blob, at + index * step, ctype, f"{who}[{index}]", item, dims[1:])
    elif not ctype.compound:
        pack_into("<" + code(ctype), blob, at, scalar(ctype, who, value))
    elif ctype.kind == "union" and isinstance(value, bytes) and len(value) == ctype.size:
        blob[at : at + ctype.size] = value
    else:
        given = _members(ctype, who, value)
        for offset, member in ctype.placed:
            if member.name in given and not member.pointer:
                place, where = at + offset, f"{who}.{member.name}"
                _encode(blob, place, member.type, where, given[member.name], member.dims)
        for offset, member in ctype.deep:
            where = f"{who}.{member.name}"
            content = buffer(member, where, given[member.name])
            expected = product(member, given)
            if content is not None and len(content) != expected:
                raise UsageError(f"{where}: expected {expected} bytes, got {len(content)}")
            blob.pointers.append((at + offset, content))


def _members(ctype: CType, who: str, value: Any) -> dict[str, Any]:
    """The members of a struct or union by name: all of a struct, one of a union."""
    names = [member.name for member in ctype.members]
    if isinstance(value, tuple) and ctype.kind == "struct":
        value = dict(zip(names, value, strict=False)) if len(value) == len(names) else None
    expected = len(names) if ctype.kind == "struct" else 1
    if isinstance(value, Mapping) and value.keys() <= set(names) and len(value) == expected:
        return dict(value)
    wanted = "all of" if ctype.kind == "struct" else "one of"
    raise UsageError(f"{who}: expected {ctype.name}, with {wanted} {', '.join(names)}")


def decode_buffer(param: Param, content: bytes, follow: Follow) -> Any:
    """What Python gets for a buffer that came back."""
    ctype = param.type
    if param.string:
        content = _until_nul(param, content)
        encoding = "utf-8" if ctype.size == 1 else "utf-32-le"
        how = "surrogateescape" if ctype.size == 1 else "replace"
        return content.decode(encoding, errors=how)
    if not ctype.compound or len(content) % ctype.size:
        return content
    starts = range(0, len(content), ctype.size)
    values = [_decode(ctype, content, at, follow) for at in starts]
    return values[0] if param.count == 1 and len(values) == 1 else values


def _decode(
    ctype: CType, content: bytes, at: int, follow: Follow, dims: tuple[int, ...] = ()
) -> Any:
    """What Python gets for the value, or the array of values, at ``at``."""
    if ctype.size == len(dims) == 1 and ctype.kind in ("int", "uint"):
        return content[at : at + dims[0]]
    if dims:
        starts = range(at, at + ctype.size * prod(dims), ctype.size * prod(dims[1:]))
        return tuple(_decode(ctype, content, start, follow, dims[1:]) for start in starts)
    if not ctype.compound:
        return from_value(ctype, unpack_from("<" + code(ctype), content, at)[0])
    if ctype.kind == "union":
        return record(ctype)(content[at : at + ctype.size])
    values: dict[str, Any] = {}
    for offset, member in ctype.placed:
        if not member.pointer:
            where = at + offset
            values[member.name] = _decode(member.type, content, where, follow, member.dims)
    for offset, member in ctype.deep:
        (address,) = unpack_from("<Q", content, at + offset)
        size = product(member, values)
        found = decode_buffer(member, follow(address, size), follow) if address else None
        values[member.name] = found
    return record(ctype)(*(values[member.name] for member in ctype.members))


def _nowhere(address: int, size: int) -> bytes:
    raise UsageError(f"nobody follows this pointer to {size} bytes at {address:#x}")
