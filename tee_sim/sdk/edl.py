"""EDL, the interface language of an enclave: which functions cross the border, and with what.

The *trusted* section lists ecalls (the host calls in), the *untrusted* one ocalls (the enclave
calls out). What a pointer means on the way is written beside it: ``[in, size=n]`` is copied in,
``[out, size=32]`` is copied back, ``[in, string]`` ends with a NUL, ``[user_check]`` is an address
that nobody looks at. These are the declarations once they are read (`tee_sim.sdk.reader`). Both
sides are made from them: C's by `tee_sim.sdk.codegen`, Python's by `tee_sim.sdk.host`.

Source: Open Enclave SDK, "Edger8r Getting Started"; oeedger8r-cpp, docs/Grammar.md; Intel SGX
Developer Reference for Linux, "Enclave Definition Language Syntax".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from math import prod

from tee_sim.html import table

Extent = int | str
"""A number, or the name of the parameter or member that holds it."""


@dataclass(frozen=True)
class CType:
    """A C type.

    Attributes:
        name: as C spells it.
        kind: ``int``, ``uint``, ``bool``, ``float``, ``result`` (oe_result_t), ``enum``,
            ``pointer`` (an address as a value), ``struct``, ``union``, ``void``, or ``foreign``: a
            header declares it, so that only C knows its size.
        size: bytes; 0 for void and foreign.
        alignment: bytes.
        members: of a struct or union.
        values: of an enum: name and number.
    """

    name: str
    kind: str
    size: int
    alignment: int = 1
    members: tuple[Param, ...] = ()
    values: tuple[tuple[str, int], ...] = ()

    @property
    def compound(self) -> bool:
        """Whether it is a struct or a union."""
        return self.kind in ("struct", "union")

    @cached_property
    def placed(self) -> tuple[tuple[int, Param], ...]:
        """Each member with its offset in bytes, as the x86-64 ABI for C places it."""
        found, end = [], 0
        for member in self.members:
            at = 0 if self.kind == "union" else _up(end, member.alignment)
            found.append((at, member))
            end = at + member.space
        return tuple(found)

    @cached_property
    def deep(self) -> tuple[tuple[int, Param], ...]:
        """The members whose pointers a copy has to follow, with their offsets."""
        return tuple((at, member) for at, member in self.placed if member.pointer)

    @cached_property
    def gaps(self) -> tuple[tuple[int, int], ...]:
        """Offset and size of each run of bytes that belongs to no member."""
        used = bytearray(self.size)
        _use(used, 0, self)
        runs = [(key, list(group)) for key, group in groupby(range(self.size), used.__getitem__)]
        return tuple((run[0], len(run)) for key, run in runs if not key)

    @classmethod
    def of_members(cls, kind: str, name: str, members: tuple[Param, ...]) -> CType:
        """A struct or union, with size and alignment from its members."""
        alignment = max(member.alignment for member in members)
        draft = cls(f"{kind} {name}", kind, 0, alignment, members)
        end = max(at + member.space for at, member in draft.placed)
        return cls(draft.name, kind, _up(end, alignment), alignment, members)


def _up(number: int, alignment: int) -> int:
    return (number + alignment - 1) & -alignment


def _use(used: bytearray, start: int, ctype: CType) -> None:
    """Mark the bytes that a value of this type fills."""
    if not ctype.compound:
        used[start : start + ctype.size] = b"\1" * ctype.size
        return
    for at, member in ctype.placed:
        if member.pointer:
            used[start + at : start + at + 8] = b"\1" * 8
            continue
        for index in range(prod(member.dims)):
            _use(used, start + at + index * member.type.size, member.type)


@dataclass(frozen=True)
class Param:
    """One parameter of a function, or one member of a struct or union.

    Attributes:
        name: as written.
        type: of the value, or of what the pointer points to.
        pointer: whether it is a buffer that is copied.
        attributes: what stands in brackets before it, each as ``word`` or ``word=value``.
        const: the callee promises not to write the buffer.
        count: for a buffer, how many units of ``unit`` bytes.
        unit: bytes.
        dims: of an array, outermost first.
    """

    name: str
    type: CType
    pointer: bool = False
    attributes: tuple[str, ...] = ()
    const: bool = False
    count: Extent = 1
    unit: Extent = 0
    dims: tuple[int, ...] = ()

    @property
    def is_in(self) -> bool:
        """The buffer is copied to the callee before the call."""
        return "in" in self.attributes

    @property
    def is_out(self) -> bool:
        """The buffer is copied back after it."""
        return "out" in self.attributes

    @property
    def string(self) -> bool:
        """The buffer ends with a NUL, which says how long it is."""
        return "string" in self.attributes or "wstring" in self.attributes

    @property
    def makes_buffers(self) -> bool:
        """Whether the callee makes buffers that come back with it: [out] alone, and deep."""
        return self.pointer and self.is_out and not self.is_in and bool(self.type.deep)

    @property
    def space(self) -> int:
        """Bytes that it takes as a member."""
        return 8 if self.pointer else self.type.size * prod(self.dims)

    @property
    def alignment(self) -> int:
        """Bytes, as a member."""
        return 8 if self.pointer else self.type.alignment

    @property
    def c(self) -> str:
        """Its declaration in C."""
        named = {"isptr", "isary"} & set(self.attributes) or self.dims or not self.pointer
        dims = "".join(f"[{n}]" for n in self.dims)
        return f"{'const ' * self.const}{self.type.name}{'' if named else '*'} {self.name}{dims}"

    def __str__(self) -> str:
        """The declaration, in EDL."""
        return f"[{', '.join(self.attributes)}] {self.c}" if self.attributes else self.c


@dataclass(frozen=True)
class Function:
    """An ecall or an ocall. Its number is its place in its section."""

    name: str
    returns: CType
    params: tuple[Param, ...]
    index: int
    suffixes: tuple[str, ...] = ()

    @property
    def propagates_errno(self) -> bool:
        """Whether the host's errno comes back with the result."""
        return "propagate_errno" in self.suffixes

    @property
    def makes_buffers(self) -> bool:
        """Whether a deep [out] parameter needs room in the arena when the function returns."""
        return any(param.makes_buffers for param in self.params)

    def __str__(self) -> str:
        """The declaration, in EDL."""
        params = ", ".join(map(str, self.params)) or "void"
        return " ".join([f"{self.returns.name} {self.name}({params})", *self.suffixes])


@dataclass(frozen=True)
class Interface:
    """What an EDL file declares.

    Attributes:
        trusted: ecalls.
        untrusted: ocalls.
        types: structs, unions and enums, each after those that it is made of.
        includes: header files that the C side needs, as written.
    """

    trusted: tuple[Function, ...] = ()
    untrusted: tuple[Function, ...] = ()
    types: tuple[CType, ...] = ()
    includes: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        return table("Interface", self._rows())

    def _rows(self) -> Iterator[tuple[str, str]]:
        for ctype in self.types:
            values = [f"{name} = {number}" for name, number in ctype.values]
            yield ctype.name, "; ".join(values or map(str, ctype.members))
        yield from ((f"ecall {f.index}", str(f)) for f in self.trusted)
        yield from ((f"ocall {f.index}", str(f)) for f in self.untrusted)


def _integers() -> dict[str, CType]:
    """Every integer type, under each of its usual spellings (sorted words, without `int`)."""
    types = {"size_t": CType("size_t", "uint", 8, 8), "wchar_t": CType("wchar_t", "int", 4, 4)}
    for words, size in (("char", 1), ("short", 2), ("", 4), ("long", 8), ("long long", 8)):
        signed = CType(words or "int", "int", size, size)
        unsigned = CType(f"unsigned {words or 'int'}", "uint", size, size)
        types[words] = types[f"{words} signed".strip()] = signed
        types[f"{words} unsigned".strip()] = unsigned
    types["char signed"] = CType("signed char", "int", 1)
    for size in (1, 2, 4, 8):
        for kind in ("int", "uint"):
            name = f"{kind}{8 * size}_t"
            types[name] = CType(name, kind, size, size)
    return types


VOID = CType("void", "void", 0)
TYPES: dict[str, CType] = _integers() | {
    "bool": CType("bool", "bool", 1),
    "float": CType("float", "float", 4, 4),
    "double": CType("double", "float", 8, 8),
    "oe_result_t": CType("oe_result_t", "result", 4, 4),
    "void": VOID,
}
"""Every type of C that may be passed, by its sorted words without ``int``."""
