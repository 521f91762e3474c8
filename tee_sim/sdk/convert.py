"""Python values to marshalling slots and buffers, and back. Everything is prepared beforehand.

A call's `Plan` is made once, when the enclave is created: which converter each parameter needs, one
`struct.Struct` for all slots, and where sizes come from. A call then only runs converters.
"""

from __future__ import annotations

import keyword
import operator
from collections import namedtuple
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from struct import Struct, error, pack
from typing import Any

from tee_sim.errors import UsageError
from tee_sim.sdk.edl import CType, Function, Param

SLOT = 8
"""Bytes of a marshalling slot."""

_ALIGNMENT = 16
_PYTHON = {"int": int, "uint": int, "bool": bool, "float": float, "result": int}
_ELEMENT = {"int": "_bh_i___q", "uint": "_BH_I___Q", "float": "____f___d", "bool": "_?"}

Reader = Callable[[int, int], bytes]


def python_name(name: str) -> str:
    """A parameter's name in Python: a keyword gets an underscore behind it."""
    return name + "_" if keyword.iskeyword(name) else name


def python_type(param: Param) -> type:
    """What the Python side passes for a parameter."""
    if param.string:
        return str
    return bytes if param.pointer else _PYTHON[param.type.kind]


def _slot_format(ctype: CType) -> str:
    if ctype.kind == "float":
        return "d" if ctype.size == SLOT else "f4x"
    if ctype.kind == "bool":
        return "?7x"
    return {"int": "q", "uint": "Q", "result": "Q", "void": "8x"}[ctype.kind]


def _scalar(ctype: CType, who: str, value: Any) -> Any:
    """What ``struct`` packs for a value."""
    if ctype.kind == "bool":
        if value is True or value is False:
            return value
        raise UsageError(f"{who}: expected True or False, got {value!r}")
    try:
        if ctype.kind == "float":
            pack("<f" if ctype.size == 4 else "<d", value)
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


def _string(who: str, value: Any) -> bytes:
    """A C string."""
    if isinstance(value, str):
        try:
            value = value.encode("utf-8")
        except UnicodeEncodeError:
            raise UsageError(f"{who}: {value!r} has no UTF-8 form") from None
    if not isinstance(value, bytes):
        raise UsageError(f"{who}: expected a str, got {type(value).__name__}")
    if b"\0" in value:
        raise UsageError(f"{who}: a C string ends at its first NUL, and this one holds a NUL")
    return value + b"\0"


def _bytes(param: Param, who: str, value: Any) -> bytes:
    """A buffer: from bytes, or from a list of its elements."""
    try:
        return memoryview(value).tobytes()
    except TypeError:
        pass
    code = _ELEMENT.get(param.type.kind, "")[param.unit : param.unit + 1] if param.unit > 1 else ""
    if code and isinstance(value, Sequence) and not isinstance(value, str):
        try:
            return pack(f"<{len(value)}{code}", *value)
        except error as reason:
            raise UsageError(f"{who}: expected {param.type.name} values: {reason}") from None
    expected = f"bytes or a list of {param.type.name}" if code else "bytes"
    raise UsageError(f"{who}: expected {expected}, got {type(value).__name__}")


class Plan:
    """How the arguments of one ecall or ocall travel.

    ``given`` are the parameters that the caller passes, ``outs`` the buffers that come back. What
    comes back is the return value alone if there are no outs, the one out if the function returns
    nothing, else a named tuple of `result` (unless it returns nothing) and the outs.
    """

    def __init__(self, function: Function) -> None:
        self.function = function
        self.given = tuple(p for p in function.params if p.is_in or not p.pointer)
        self.outs = tuple(p for p in function.params if p.is_out)
        self.returns_value = function.returns.kind not in ("void", "result")
        self._names = [python_name(p.name) for p in self.given]
        self._checks = [self._check(p, f"{function.name}(): {p.name}") for p in self.given]
        formats = [_slot_format(function.returns)]
        for param in function.params:
            kind = _slot_format(param.type)
            formats.append("QQ" if param.string else "Q" if param.pointer else kind)
        self._slots = Struct("<" + "".join(formats))
        self._arguments = Struct("<8x" + "".join(formats[1:]))
        self._return = Struct("<" + formats[0])
        names = ["result"] * self.returns_value + [p.name for p in self.outs]
        self._tuple = namedtuple(f"{function.name}_result", names, rename=True)  # type: ignore[misc]

    @staticmethod
    def _check(param: Param, who: str) -> Callable[[Any], Any]:
        if param.string:
            return partial(_string, who)
        return partial(_bytes, param, who) if param.pointer else partial(_scalar, param.type, who)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Checked values of the given parameters, by EDL name.

        Raises:
            UsageError: a wrong number, name, type, range or size; names the parameter.
        """
        if kwargs or len(args) != len(self._names):
            args = self._with_keywords(args, kwargs)
        values = {
            param.name: check(value)
            for param, check, value in zip(self.given, self._checks, args, strict=True)
        }
        for param in self.given:
            if param.pointer and not param.string:
                self._check_size(param, values)
        return values

    def _with_keywords(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        name, names = self.function.name, self._names
        bound = dict(zip(names, args, strict=False))
        wrong = [key for key in kwargs if key not in names or key in bound]
        bound |= kwargs
        missing = [key for key in names if key not in bound]
        if len(args) > len(names) or wrong or missing:
            takes, problem = ", ".join(names) or "no arguments", f"{len(args)} arguments were given"
            if wrong:
                problem = f"'{wrong[0]}' is unknown or given twice"
            elif missing:
                problem = f"'{missing[0]}' is missing"
            raise UsageError(f"{name}() takes {takes}: {problem}. Its EDL: {self.function}")
        return tuple(bound[key] for key in names)

    def _check_size(self, param: Param, values: dict[str, Any]) -> None:
        expected, got = self.size(param, values), len(values[param.name])
        if got != expected:
            count = param.count
            why = f" ({count} = {values[count]})" if isinstance(count, str) else ""
            where = f"{self.function.name}(): {param.name}"
            raise UsageError(f"{where}: expected {expected} bytes{why}, got {got}")

    def size(self, param: Param, values: dict[str, Any]) -> int:
        """Bytes of a buffer, given the scalars."""
        if param.string:
            return len(values[param.name])
        count = values[param.count] if isinstance(param.count, str) else param.count
        if count < 0:
            where = f"{self.function.name}(): {param.count}"
            raise UsageError(f"{where} = {count}: expected no less than 0")
        return int(count) * param.unit

    def pack(self, values: dict[str, Any], arena: tuple[int, int]) -> tuple[bytes, dict[str, int]]:
        """The bytes to write at the arena's start, and the address of each buffer.

        Raises:
            UsageError: they do not fit.
        """
        base, room = arena
        at = self._slots.size
        slots: list[Any] = []
        addresses: dict[str, int] = {}
        pieces: list[tuple[int, bytes]] = []
        for param in self.function.params:
            if not param.pointer:
                slots.append(values[param.name])
                continue
            at = (at + _ALIGNMENT - 1) & -_ALIGNMENT
            size = self.size(param, values)
            addresses[param.name] = base + at
            slots += [base + at, size] if param.string else [base + at]
            if param.is_in:
                pieces.append((at, values[param.name]))
            at += size
        if at > room:
            raise UsageError(
                f"{self.function.name}(): the arguments take {at} bytes, and the memory that the "
                f"host lends for a call has {room}"
            )
        blob = bytearray(self._arguments.pack(*slots))
        for start, content in pieces:
            blob += bytes(start - len(blob)) + content
        return bytes(blob), addresses

    def results(
        self, values: dict[str, Any], base: int, addresses: dict[str, int], read: Reader
    ) -> Any:
        """What the Python caller gets back."""
        found: list[Any] = []
        if self.returns_value:
            found.append(self.retval(base, read))
        for param in self.outs:
            size = self.size(param, values)
            found.append(read(addresses[param.name], size) if size else b"")
        if len(found) > 1:
            return self._tuple(*found)
        return found[0] if found else None

    def retval(self, base: int, read: Reader) -> Any:
        """The return value, from its slot."""
        return self._return.unpack(read(base, SLOT))[0]

    def incoming(self, base: int, read: Reader) -> tuple[dict[str, Any], dict[str, int]]:
        """An ocall's arguments as the enclave marshalled them: values and buffer addresses."""
        raw = iter(self._arguments.unpack(read(base, self._arguments.size)))
        values: dict[str, Any] = {}
        addresses: dict[str, int] = {}
        lengths: dict[str, int] = {}
        for param in self.function.params:
            into = addresses if param.pointer else values
            into[param.name] = next(raw)
            if param.string:
                lengths[param.name] = next(raw)
        for param in self.given:
            if param.string:
                text = read(addresses[param.name], lengths[param.name])
                values[param.name] = text.rstrip(b"\0").decode("utf-8", errors="surrogateescape")
            elif param.pointer:
                size = self.size(param, values)
                values[param.name] = read(addresses[param.name], size) if size else b""
        return values, addresses

    def answer(
        self, returned: Any, values: dict[str, Any], base: int, addresses: dict[str, int]
    ) -> Iterable[tuple[int, bytes]]:
        """What to write into an ocall's struct and buffers, from what the callback returned.

        Raises:
            UsageError: it returned something else than its EDL says.
        """
        has_retval = self.function.returns.kind != "void"
        if self.function.returns.kind == "result" and not self.outs:
            returned = returned or 0
        parts = (returned,) if has_retval + len(self.outs) == 1 else returned or ()
        if not isinstance(parts, tuple) or len(parts) != has_retval + len(self.outs):
            outs = [f"bytes for '{p.name}'" for p in self.outs]
            expected = " and ".join([self.function.returns.name] * has_retval + outs) or "None"
            raise UsageError(f"{self.function.name}() returned {returned!r}: expected {expected}")
        writes = []
        if has_retval:
            who = f"{self.function.name}(): the return value"
            writes.append((base, self._return.pack(_scalar(self.function.returns, who, parts[0]))))
        for param, value in zip(self.outs, parts[has_retval:], strict=True):
            content = _bytes(param, f"{self.function.name}(): {param.name}", value)
            self._check_size(param, values | {param.name: content})
            writes.append((addresses[param.name], content))
        return writes
