"""Python values to marshalling slots and buffers, and back. Everything is prepared beforehand.

A call's `Plan` is made once, when the enclave is created: which converter each parameter needs, one
`struct.Struct` for all slots, and where sizes come from. A call then only runs converters.
"""

from __future__ import annotations

import inspect
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from struct import Struct, pack, pack_into, unpack
from typing import Any

from tee_sim.errors import UsageError
from tee_sim.sdk.edl import CType, Function, Param
from tee_sim.sdk.values import (
    Blob,
    Contents,
    Follow,
    buffer,
    by_value,
    code,
    decode_buffer,
    from_value,
    product,
    python_name,
    python_type,
    scalar,
    text,
)

SLOT = 8
"""A marshalling slot begins at a multiple of so many bytes."""

_ALIGNMENT = 16

Arena = tuple[int, int]
"""Address and size of the memory that the host lends for a call."""

Write = tuple[int, bytes]


def _slot_format(ctype: CType) -> str:
    """How `struct` calls a slot: a structure is bytes there."""
    value = f"{ctype.size}s" if ctype.compound else code(ctype) if ctype.size else ""
    return f"{value}{-ctype.size % SLOT if ctype.size else SLOT}x"


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
        either = inspect.Parameter.POSITIONAL_OR_KEYWORD
        self.signature = inspect.Signature(
            [
                inspect.Parameter(python_name(p.name), either, annotation=python_type(p))
                for p in self.given
            ]
        )
        self._checks = [_check(p, f"{function.name}(): {p.name}") for p in self.given]
        self._sized = [p for p in self.given if p.pointer and not p.string]
        formats = [_slot_format(function.returns)]
        for param in function.params:
            kind = _slot_format(param.type)
            formats.append("QQ" if param.string else "Q" if param.pointer else kind)
        self._errno_at = Struct("<" + "".join(formats)).size
        formats += ["i4x"] * function.propagates_errno + ["Q"] * function.makes_buffers
        self._slots = Struct("<" + "".join(formats))
        self._return = Struct("<" + formats[0])
        self._arguments = Struct(f"<{self._return.size}x" + "".join(formats[1:]))
        names = ["result"] * self.returns_value + [p.name for p in self.outs]
        self._tuple = namedtuple(f"{function.name}_result", names, rename=True)  # type: ignore[misc]

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Checked values of the given parameters, by EDL name.

        Raises:
            UsageError: a wrong number, name, type, range or size; names the parameter.
        """
        if kwargs or len(args) != len(self.given):
            try:
                args = self.signature.bind(*args, **kwargs).args
            except TypeError as error:
                name, takes = self.function.name, ", ".join(self.signature.parameters)
                raise UsageError(
                    f"{name}() takes {takes or 'no arguments'}: {error}. Its EDL: {self.function}"
                ) from None
        values = {
            param.name: check(value)
            for param, check, value in zip(self.given, self._checks, args, strict=True)
        }
        for param in self._sized:
            self._check_size(param, values)
        return values

    def _check_size(self, param: Param, values: dict[str, Any]) -> None:
        if values[param.name] is None:
            return
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
        size = product(param, values)
        if size < 0:
            where = f"{self.function.name}(): {param.count}"
            raise UsageError(f"{where} = {values[str(param.count)]}: expected no less than 0")
        return size

    def pack(self, values: dict[str, Any], arena: Arena) -> tuple[bytes, dict[str, int]]:
        """The bytes to write at the arena's start, and the address of each buffer (0 for NULL).

        Inputs come first. Outputs need room and no content, so they are only given an address.

        Raises:
            UsageError: they do not fit.
        """
        blob = bytearray(self._slots.size)
        addresses: dict[str, int] = {}
        for param in self.given:
            if param.pointer:
                content = values[param.name]
                addresses[param.name] = 0 if content is None else _place(blob, content, arena[0])
        end = len(blob)
        for param in self.outs:
            if not param.is_in:
                end += -end % _ALIGNMENT
                addresses[param.name] = arena[0] + end
                end += self.size(param, values)
        self._require_room(end, arena)
        slots: list[Any] = []
        for param in self.function.params:
            slots.append((addresses if param.pointer else values)[param.name])
            if param.string:
                slots.append(len(values[param.name] or b""))
        slots += [0] * self.function.propagates_errno
        slots += [arena[0] + end] * self.function.makes_buffers
        self._arguments.pack_into(blob, 0, *slots)
        return bytes(blob), addresses

    def _require_room(self, size: int, arena: Arena) -> None:
        if size > arena[1]:
            raise UsageError(
                f"{self.function.name}(): the arguments take {size} bytes, and the memory that the "
                f"host lends for a call has {arena[1]}"
            )

    def results(
        self, values: dict[str, Any], arena: Arena, addresses: dict[str, int], read: Follow
    ) -> Any:
        """What the Python caller gets back."""
        found: list[Any] = []
        if self.returns_value:
            found.append(self.retval(arena[0], read))
        follow = self._follow(arena, read)
        for param in self.outs:
            address = addresses[param.name]
            size = self.size(param, values) if address else 0
            content = read(address, size) if size else b""
            found.append(decode_buffer(param, content, follow) if address else None)
        if len(found) > 1:
            return self._tuple(*found)
        return found[0] if found else None

    def retval(self, base: int, read: Follow) -> Any:
        """The return value, from its slot."""
        (value,) = self._return.unpack(read(base, self._return.size)) or (None,)
        return from_value(self.function.returns, value)

    def _follow(self, arena: Arena, read: Follow) -> Follow:
        """Follows pointers that the enclave wrote, as far as they lead to what it was lent."""

        def follow(address: int, size: int) -> bytes:
            if not arena[0] <= address <= address + size <= arena[0] + arena[1]:
                raise UsageError(
                    f"{self.function.name}(): the enclave names {size} bytes at {address:#x}, "
                    "which it was not lent"
                )
            return read(address, size) if size else b""

        return follow

    def incoming(self, base: int, arena: Arena, read: Follow) -> Incoming:
        """An ocall's arguments as the enclave marshalled them."""
        raw = iter(self._arguments.unpack(read(base, self._arguments.size)))
        call = Incoming(base, {}, {}, {})
        for param in self.function.params:
            into = call.addresses if param.pointer else call.values
            into[param.name] = next(raw)
            if param.string:
                call.sizes[param.name] = next(raw)
        call.room = list(raw)[-1] if self.function.makes_buffers else 0
        follow = self._follow(arena, read)
        for param in self.function.params:
            if param.pointer and call.addresses[param.name]:
                if not param.string:
                    call.sizes[param.name] = self.size(param, call.values)
                size = call.sizes[param.name]
                if param.is_in:
                    content = read(call.addresses[param.name], size) if size else b""
                    call.values[param.name] = decode_buffer(param, content, follow)
            elif param.pointer:
                call.values[param.name] = None
        for param in self.given:
            if not param.pointer:
                call.values[param.name] = from_value(param.type, call.values[param.name])
        return call

    def answer(self, returned: Any, call: Incoming, arena: Arena, read: Follow) -> list[Write]:
        """What to write into an ocall's struct and buffers, from what the callback returned.

        Raises:
            UsageError: it returned something else than its EDL says.
        """
        function = self.function
        has_retval = function.returns.kind != "void"
        if function.returns.kind == "result" and not self.outs:
            returned = returned or 0
        parts = (returned,) if has_retval + len(self.outs) == 1 else returned or ()
        if not isinstance(parts, tuple) or len(parts) != has_retval + len(self.outs):
            outs = [f"bytes for '{p.name}'" for p in self.outs]
            expected = " and ".join([function.returns.name] * has_retval + outs) or "None"
            raise UsageError(f"{function.name}() returned {returned!r}: expected {expected}")
        writes = self.answer_error(call.base, parts[0] if has_retval else 0, 0)
        made = bytearray()
        for param, value in zip(self.outs, parts[has_retval:], strict=True):
            content, address = self._answered(param, value, call), call.addresses[param.name]
            if param.is_in and isinstance(content, Blob):
                was = buffer(param, param.name, call.values[param.name])
                writes += self._rewrite(param, address, content, was, read)
            elif isinstance(content, Blob):
                _follow_pointers(content, 0, content, made, call.room)
            if content is not None:
                writes.append((address, bytes(content)))
        if made:
            self._require_room(call.room + len(made) - arena[0], arena)
            writes.append((call.room, bytes(made)))
        return writes

    def answer_error(self, base: int, returned: Any, errno: int) -> list[Write]:
        """What to write for the return value, and errno."""
        ctype, writes = self.function.returns, []
        if ctype.kind != "void":
            value = by_value(ctype, f"{self.function.name}(): the return value", returned)
            writes.append((base, self._return.pack(value)))
        if self.function.propagates_errno:
            writes.append((base + self._errno_at, pack("<i", errno)))
        return writes

    def _answered(self, param: Param, value: Any, call: Incoming) -> Contents:
        """The bytes for one output of an ocall, as many as there is room for."""
        where = f"{self.function.name}(): {param.name}"
        if not call.addresses[param.name]:
            if value is not None:
                raise UsageError(f"{where}: the enclave passed NULL: expected None")
            return None
        content: Contents = _check(param, where)(value)
        size = call.sizes[param.name]
        if content is None or len(content) > size or (len(content) < size and not param.string):
            self._check_size(param, call.values | {param.name: content or b""})
            raise UsageError(f"{where}: expected {size} bytes, got {len(content or b'')}")
        return content

    def _rewrite(
        self, param: Param, address: int, content: Contents, was: Contents, read: Follow
    ) -> list[Write]:
        """Writes for what an [in, out] structure leads to, where it was and as large as it was."""
        if len(content or b"") != len(was or b""):
            where = f"{self.function.name}(): {param.name}"
            raise UsageError(f"{where}: its buffers must keep their sizes")
        writes: list[Write] = []
        if isinstance(content, Blob) and isinstance(was, Blob):
            for (at, found), (_, before) in zip(content.pointers, was.pointers, strict=True):
                (pointer,) = unpack("<Q", read(address + at, 8))
                writes += self._rewrite(param, pointer, found, before, read)
                writes += [(pointer, bytes(found))] if found else []
        return writes


@dataclass
class Incoming:
    """An ocall as the enclave made it.

    Attributes:
        base: address of its marshalling struct.
        values: of what the callback is given, by name.
        addresses: of its buffers, 0 for NULL.
        sizes: bytes of its buffers.
        room: address behind everything, where outputs may lie.
    """

    base: int
    values: dict[str, Any]
    addresses: dict[str, int]
    sizes: dict[str, int]
    room: int = 0


def _check(param: Param, who: str) -> Callable[[Any], Any]:
    if param.string:
        return partial(text, param, who)
    if param.pointer:
        return partial(buffer, param, who)
    return partial(by_value if param.type.compound else scalar, param.type, who)


def _place(blob: bytearray, content: bytes | Blob, base: int) -> int:
    """Append a buffer and what it leads to; its address."""
    blob.extend(bytes(-len(blob) % _ALIGNMENT))
    at = len(blob)
    blob += content
    if isinstance(content, Blob):
        _follow_pointers(content, at, blob, blob, base)
    return base + at


def _follow_pointers(content: Blob, at: int, holds: bytearray, into: bytearray, base: int) -> None:
    """Append what the pointers of ``content``, which stands in ``holds``, lead to; set them."""
    for offset, found in content.pointers:
        if found is not None:
            pack_into("<Q", holds, at + offset, _place(into, found, base))
