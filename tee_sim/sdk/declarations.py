"""What one declaration in an EDL file says: a parameter, or a member of a struct or union.

Source: oeedger8r-cpp, `parser.cpp`: what is accepted, and what is refused.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import NoReturn

from lark import Token, Tree

from tee_sim.errors import BuildError
from tee_sim.sdk.edl import TYPES, VOID, CType, Extent, Param
from tee_sim.sdk.words import ATTRIBUTES, RESERVED, RESERVED_PREFIXES, UNSUPPORTED

MAX_NUMBER = 2**31 - 1
"""Largest ``size`` or ``count`` that an EDL file may state."""

MAX_VALUE = 1 << 16
"""Largest struct, union or array member, in bytes."""

POINTER = CType("void*", "pointer", 8, 8)
_SIZES = ("int", "uint", "enum")


class Declarations:
    """Reads declarations against the types that were declared before.

    Attributes:
        file: for messages.
        types: structs, unions and enums, by name.
        numbers: the values of enums, by name.
        reserved: beginnings of names that belong to others.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.types: dict[str, CType] = {}
        self.numbers: dict[str, int] = {}
        self.reserved: tuple[str, ...] = RESERVED_PREFIXES

    def refuse(self, token: Token, message: str) -> NoReturn:
        """Raise BuildError that points at ``token``."""
        raise BuildError(message, file=self.file, line=token.line or 0, column=token.column or 0)

    def refuse_unsupported(self, token: Token) -> None:
        """Raise BuildError for a word that has no place in EDL, with the reason."""
        if str(token) in UNSUPPORTED:
            self.refuse(token, f"'{token}' is not supported: {UNSUPPORTED[str(token)]}")

    def check_name(self, name: Token, *, member: bool = False) -> None:
        """A name must be free in C, C++ and the runtime."""
        prefixes = ("tee_",) if member else self.reserved
        if str(name) in RESERVED or str(name).startswith(prefixes):
            self.refuse(name, f"'{name}' is reserved in C or by the runtime: expected another name")
        if str(name) in TYPES:
            self.refuse(name, f"'{name}' is a type: expected a name after it")

    def constant(self, token: Token, more: dict[str, int]) -> int:
        """A number, or the value of an enumerator."""
        if token.type == "NUMBER":
            return self._number(token, 0)
        known = self.numbers | more
        if str(token) not in known:
            self.refuse(token, f"'{token}' is no number: expected one, or a name from an enum")
        return known[str(token)]

    def _number(self, token: Token, low: int = 1) -> int:
        value = int(token, 0 if token[:2] in ("0x", "0X") else 10) if len(token) < 20 else -1
        if not low <= value <= MAX_NUMBER:
            what = "size" if low else "number"
            self.refuse(token, f"'{token[:20]}' is no {what}: expected {low} to {MAX_NUMBER}")
        return value

    def declarations(self, nodes: list[Tree[Token]], place: str) -> dict[str, Param]:
        """The parameters of a function, or the members of a ``struct`` or ``union``, by name."""
        found: dict[str, Param] = {}
        where: list[Token] = []
        for node in nodes:
            param, name = self._declaration(node, place)
            if param.name in found:
                kind = "parameters" if place == "parameter" else "members"
                self.refuse(name, f"two {kind} are called '{name}'")
            found[param.name] = param
            where.append(name)
        for param, name in zip(found.values(), where, strict=True):
            self._check_extents(param, found, name)
        return found

    def _declaration(self, node: Tree[Token], place: str) -> tuple[Param, Token]:
        """A parameter, or a member of a struct or union."""
        given = self._attributes(trees(node, "attribute"), place)
        stars, words = tokens(node, "STAR"), tokens(trees(node, "words")[0])
        name = tokens(node, "NAME")[0] if stars else words.pop()
        by_name = given.keys() & {"isptr", "isary"}
        ctype, const = self.type_of(words, name, bool(stars or by_name))
        self.check_name(name, member=place != "parameter")
        if by_name and (stars or ctype.kind != "foreign" or len(by_name) > 1):
            word = given[next(iter(sorted(by_name)))]
            self.refuse(word, f"'{name}': expected one of isptr and isary, and a header's type")
        dims = tuple(self._dim(tokens(dim)[0]) for dim in trees(node, "dim"))
        points = bool(stars or by_name or (dims and place == "parameter"))
        attributes = tuple(
            f"{word}={self._extent(value)}" if word in ("size", "count") else word
            for word, value in given.items()
        )
        param = Param(str(name), ctype, points, attributes, const, dims=dims)
        if len(stars) > 1:
            param = replace(param, type=replace(POINTER, name=ctype.name + "*" * (len(stars) - 1)))
        if points and (place == "parameter" or attributes):
            return self._pointer(param, name, given, place), name
        if attributes:
            self.refuse(first(node), f"'{name}' is no pointer: expected no attributes")
        if points:  # an address in a struct or union: nobody follows it
            param = replace(param, pointer=False, type=replace(POINTER, name=param.type.name + "*"))
        self.check_value(param.type, words[0])
        return param, name

    def _pointer(self, param: Param, name: Token, given: dict[str, Token], place: str) -> Param:
        """Check the attributes of a pointer against each other; what is copied, and how much."""
        ctype, sizes = param.type, given.keys() & {"size", "count"}
        directions = given.keys() & {"in", "out"}
        wrong: list[tuple[object, str, str]] = []
        if "user_check" in given:
            alone = directions or sizes or param.string
            wrong = [(alone, "user_check", f"'{name}': expected user_check alone")]
        else:
            wrong = [
                (place == "parameter" and not directions, "",
                 f"the pointer '{name}' has no direction: expected [in] or [out]"),
                (param.const and "out" in given, "out", f"'{name}' is const: expected [in] alone"),
                (param.dims and (sizes or place != "parameter"), "",
                 f"the array '{name}' has its size: expected no size and no count"),
                *((kind in given and (ctype.name != element or "in" not in given or sizes), kind,
                   f"'{name}': expected [in, {kind}] const {element}*")
                  for kind, element in (("string", "char"), ("wstring", "wchar_t"))),
                (len(sizes) == 2 and place == "parameter", "count",
                 "size and count together are not supported: use one"),
                (ctype.size == 0 and "size" not in given, "",
                 f"'{name}' points to {ctype.name}: expected [size=...] in bytes"),
                ("size" in given and ctype.deep, "size",
                 f"'{ctype.name}' has pointers to follow: expected count"),
            ]  # fmt: skip
        for failed, word, why in wrong:
            if failed:
                self.refuse(given.get(word, name), why)
        if "user_check" in given:
            star = "" if param.dims or given.keys() & {"isptr", "isary"} else "*"
            return replace(param, pointer=False, type=replace(POINTER, name=ctype.name + star))
        count, size = (self._extent(given[w]) if w in given else None for w in ("count", "size"))
        unit: Extent = ctype.size if size is None else size if count is not None else 1
        count = size if count is None and size is not None else count
        return replace(param, count=prod(param.dims) if count is None else count, unit=unit)

    def _attributes(self, nodes: list[Tree[Token]], place: str) -> dict[str, Token]:
        """Attribute name -> its value, or the name itself where it takes none."""
        found: dict[str, Token] = {}
        for node in nodes:
            word, *value = tokens(node)
            takes_value = word in ("size", "count")
            if word not in ATTRIBUTES or (place != "parameter" and not takes_value):
                known = ATTRIBUTES if place == "parameter" else ("size", "count")
                self.refuse(word, f"unknown attribute '{word}': expected {', '.join(known)}")
            if place == "union":
                self.refuse(word, "attributes have no place in a union: expected a type")
            if word in found:
                self.refuse(word, f"the attribute '{word}' is given twice")
            if takes_value != bool(value):
                form = f"{word}=..." if takes_value else f"'{word}' alone"
                self.refuse(word, f"unexpected form of '{word}': expected {form}")
            found[str(word)] = value[0] if value else word
        return found

    def _extent(self, token: Token) -> Extent:
        return str(token) if token.type == "NAME" else self._number(token)

    def _dim(self, token: Token) -> int:
        number = self.constant(token, {})
        if not 1 <= number <= MAX_VALUE:
            self.refuse(token, f"an array of {number}: expected 1 to {MAX_VALUE}")
        return number

    def type_of(self, words: list[Token], name: Token, pointer: bool) -> tuple[CType, bool]:
        """The type that these words spell, and whether they say const."""
        if not words:
            self.refuse(name, f"'{name}' has no type: expected a type and a name")
        kept = [str(word) for word in words if word != "const"]
        if not kept:
            self.refuse(words[0], "'const' alone is no type: expected a type")
        found = self.types.get(kept[-1])
        if found and " ".join(kept) not in (kept[-1], found.name):
            found = None
        found = found or TYPES.get(_spelling(kept))
        tagged = kept[0] in ("struct", "union", "enum")
        if found is None and pointer and len(kept) == 1 + tagged:
            found = CType(" ".join(kept), "foreign", 0)
        if found is None or len(words) - len(kept) > 1:
            expected = "a C type, or a struct, union or enum declared before"
            self.refuse(words[0], f"unknown type '{' '.join(words)}': expected {expected}")
        return found, len(words) > len(kept)

    def check_value(self, ctype: CType, where: Token, *, may_be_void: bool = False) -> None:
        """What is passed by value has a size, and needs no pointer followed."""
        if ctype is VOID and not may_be_void:
            self.refuse(where, "'void' has no value: expected a type with a value")
        if ctype.deep:
            self.refuse(where, f"'{ctype.name}' has pointers to follow: expected a pointer to it")

    def _check_extents(self, param: Param, others: dict[str, Param], token: Token) -> None:
        """A size in another parameter or member must be an integer there."""
        for extent in (param.count, param.unit):
            if not param.pointer or not isinstance(extent, str):
                continue
            other = others.get(extent)
            if other is None or other.pointer or other.dims or other.type.kind not in _SIZES:
                self.refuse(
                    token,
                    f"the size of '{param.name}' is '{extent}': expected a number or the name of "
                    "an integer beside it",
                )


def _spelling(words: list[str]) -> str:
    """How `TYPES` calls a type of C."""
    texts = sorted(words)
    if texts == ["int"] or set(texts) & {"short", "long", "signed", "unsigned"}:
        texts = [text for text in texts if text != "int"] + ["int"] * (texts.count("int") - 1)
    return " ".join(texts)


def tokens(node: Tree[Token], kind: str = "") -> list[Token]:
    """The words that stand directly in a node, all or of one kind."""
    found = [child for child in node.children if isinstance(child, Token)]
    return [token for token in found if kind in ("", token.type)]


def trees(node: Tree[Token], kind: str = "") -> list[Tree[Token]]:
    """The nodes that stand directly in a node, all or of one kind."""
    found = [child for child in node.children if isinstance(child, Tree)]
    return [tree for tree in found if kind in ("", tree.data)]


def first(node: Tree[Token]) -> Token:
    """The first word anywhere in a node."""
    return next(iter(node.scan_values(bool)))
