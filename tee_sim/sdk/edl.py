"""EDL, the interface language of an enclave: which functions cross the border, and with what.

The *trusted* section lists ecalls (the host calls in), the *untrusted* one ocalls (the enclave
calls out). What a pointer means on the way is written beside it: ``[in, size=n]`` is copied in,
``[out, size=32]`` is copied back, ``[in, string]`` ends with a NUL. Both sides are made from this
one description: the C side by `tee_sim.sdk.codegen`, the Python side by `tee_sim.sdk.host`.

Source: Open Enclave SDK, "Edger8r Getting Started"; Intel SGX Developer Reference for Linux,
"Enclave Definition Language Syntax".

Simplified: functions with scalars, buffers and strings. Structures, imports, user_check and the
other words in `UNSUPPORTED` are refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from tee_sim.errors import BuildError
from tee_sim.sdk.words import EXPECTED, RESERVED, RESERVED_PREFIXES, UNSUPPORTED

MAX_NUMBER = 2**31 - 1
"""Largest ``size`` or ``count`` that an EDL file may state."""


@dataclass(frozen=True)
class CType:
    """A C type that is passed by value.

    Attributes:
        name: as C spells it.
        kind: ``int``, ``uint``, ``bool``, ``float``, ``result`` (oe_result_t) or ``void``.
        size: bytes; 0 for void.
    """

    name: str
    kind: str
    size: int


@dataclass(frozen=True)
class Param:
    """One parameter.

    Attributes:
        name: as written.
        type: of the value, or of what the pointer points to.
        pointer: whether it is a pointer, that is, a buffer.
        is_in: the buffer is copied to the callee before the call.
        is_out: the buffer is copied back after it.
        string: the buffer is a NUL-terminated string.
        const: the callee promises not to write the buffer.
        count: for a buffer, how many units of ``unit`` bytes: a number, or a parameter's name.
        unit: bytes.
    """

    name: str
    type: CType
    pointer: bool = False
    is_in: bool = False
    is_out: bool = False
    string: bool = False
    const: bool = False
    count: int | str = 1
    unit: int = 0

    def __str__(self) -> str:
        if not self.pointer:
            return f"{self.type.name} {self.name}"
        words = ["in"] * self.is_in + ["out"] * self.is_out
        if self.string:
            words.append("string")
        elif self.unit == 1:
            words.append(f"size={self.count}")
        else:
            words.append(f"count={self.count}")
        const = "const " if self.const else ""
        return f"[{', '.join(words)}] {const}{self.type.name}* {self.name}"


@dataclass(frozen=True)
class Function:
    """An ecall or an ocall. Its number is its place in its section."""

    name: str
    returns: CType
    params: tuple[Param, ...]
    index: int

    def __str__(self) -> str:
        """The declaration, in EDL."""
        params = ", ".join(map(str, self.params)) or "void"
        return f"{self.returns.name} {self.name}({params})"


@dataclass(frozen=True)
class Interface:
    """What an EDL file declares."""

    trusted: tuple[Function, ...] = ()
    untrusted: tuple[Function, ...] = ()


def _integers() -> dict[str, CType]:
    """Every integer type, under each of its usual spellings (sorted words, without `int`)."""
    types = {"char": CType("char", "int", 1), "char signed": CType("signed char", "int", 1)}
    types["char unsigned"] = CType("unsigned char", "uint", 1)
    for words, size in (("short", 2), ("", 4), ("long", 8), ("long long", 8)):
        signed = CType(words or "int", "int", size)
        unsigned = CType(f"unsigned {words or 'int'}", "uint", size)
        types[words] = types[f"{words} signed".strip()] = signed
        types[f"{words} unsigned".strip()] = unsigned
    for bits in (8, 16, 32, 64):
        for prefix, kind in (("", "int"), ("u", "uint")):
            name = f"{prefix}int{bits}_t"
            types[name] = CType(name, kind, bits // 8)
    types["size_t"] = CType("size_t", "uint", 8)
    return types


VOID = CType("void", "void", 0)
TYPES: dict[str, CType] = _integers() | {
    "bool": CType("bool", "bool", 1),
    "float": CType("float", "float", 4),
    "double": CType("double", "float", 8),
    "oe_result_t": CType("oe_result_t", "result", 4),
    "void": VOID,
}
"""Every type that may be passed, by its sorted words without ``int``."""


@cache
def _grammar() -> Lark:
    text = Path(__file__).with_name("edl.lark").read_text(encoding="utf-8")
    return Lark(text, parser="lalr", lexer="basic", maybe_placeholders=False)


def parse(text: str, file: str = "<edl>") -> Interface:
    """Read the text of an EDL file.

    Raises:
        BuildError: with file, line, column and what was expected.
    """
    return _Reader(text, file).read()


class _Reader:
    """Turns one file's syntax tree into an Interface; knows where to point when it cannot."""

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file

    def refuse(self, token: Token, message: str) -> NoReturn:
        """Raise BuildError that points at ``token``."""
        raise BuildError(message, file=self.file, line=token.line or 0, column=token.column or 0)

    def read(self) -> Interface:
        tree = self._syntax()
        sections: dict[str, list[Function]] = {"trusted": [], "untrusted": []}
        names: set[str] = set()
        for section in _trees(tree):
            into = sections[str(section.data)]
            for node in _trees(section):
                function = self._function(node, len(into), trusted=section.data == "trusted")
                if function.name in names:
                    self.refuse(_first(node), f"'{function.name}' is declared twice")
                names.add(function.name)
                into.append(function)
        return Interface(**{name: tuple(functions) for name, functions in sections.items()})

    def _syntax(self) -> Tree[Token]:
        try:
            return _grammar().parse(self.text)
        except UnexpectedCharacters as error:
            rest = self.text[error.pos_in_stream or 0 :]
            what = f"unexpected character {rest[:1]!r}: expected {_any_of(error.allowed or set())}"
            if rest.startswith("/*"):
                what = "a comment that is not closed: expected */"
            raise BuildError(what, file=self.file, line=error.line, column=error.column) from None
        except UnexpectedToken as error:
            self._unexpected(error)

    def _unexpected(self, error: UnexpectedToken) -> NoReturn:
        token, expected = error.token, _any_of(error.accepts or error.expected)
        if token.type == "$END":
            lines = self.text.split("\n")
            token = Token("$END", "", line=len(lines), column=len(lines[-1]) + 1)
            self.refuse(token, f"the file ends too early: expected {expected}")
        self._refuse_unsupported(token)
        self.refuse(token, f"unexpected '{token}': expected {expected}")

    def _refuse_unsupported(self, token: Token) -> None:
        if str(token) in UNSUPPORTED:
            self.refuse(token, f"'{token}' is not supported: {UNSUPPORTED[str(token)]}")

    def _words(self, node: Tree[Token]) -> list[Token]:
        """The words of a type, and of a name behind it if there is no star between."""
        words = _tokens(node)
        for word in words:
            self._refuse_unsupported(word)
        return words

    def _function(self, node: Tree[Token], index: int, *, trusted: bool) -> Function:
        public, stars, names = (_tokens(node, kind) for kind in ("PUBLIC", "STAR", "NAME"))
        words = self._words(_trees(node)[0])
        if stars:
            self.refuse(stars[0], "a function cannot return a pointer: expected a type by value")
        name = names[0] if names else words.pop()
        self._check_name(name)
        if trusted and not public:
            self.refuse(_first(node), f"'private' is not supported: {UNSUPPORTED['private']}")
        if public and not trusted:
            self.refuse(public[0], "'public' is for ecalls: expected a type, as ocalls have none")
        returns, _ = self._type(words, name)
        return Function(str(name), returns, self._params(node), index)

    def _params(self, node: Tree[Token]) -> tuple[Param, ...]:
        nodes = [child for child in _trees(node) if child.data == "parameter"]
        if len(nodes) == 1 and list(nodes[0].scan_values(bool)) == ["void"]:
            return ()
        params: dict[str, Param] = {}
        where: list[Token] = []
        for child in nodes:
            param, name = self._param(child)
            if param.name in params:
                self.refuse(name, f"two parameters are called '{name}'")
            params[param.name] = param
            where.append(name)
        for param, name in zip(params.values(), where, strict=True):
            self._check_count(param, params, name)
        return tuple(params.values())

    def _check_count(self, param: Param, params: dict[str, Param], token: Token) -> None:
        """A size in another parameter must be an integer; a string's length needs a slot."""
        if isinstance(param.count, str):
            other = params.get(param.count)
            if other is None or other.pointer or other.type.kind not in ("int", "uint"):
                self.refuse(
                    token,
                    f"the size of '{param.name}' is '{param.count}': expected a number or the "
                    "name of an integer parameter",
                )
        if param.string and slot_of_length(param) in params:
            self.refuse(token, f"'{slot_of_length(param)}' is the length of '{param.name}'")

    def _param(self, node: Tree[Token]) -> tuple[Param, Token]:
        *before, last = _trees(node)
        stars, attributes = _tokens(node, "STAR"), self._attributes(before)
        words = self._words(last)
        name = _tokens(node)[-1] if stars else words.pop()
        ctype, const = self._type(words, name)
        self._check_name(name)
        if len(stars) > 1:
            self.refuse(stars[1], "pointers to pointers are not supported: expected one '*'")
        if not stars:
            if attributes:
                self.refuse(_first(node), f"'{name}' is no pointer: expected no attributes")
            if ctype is VOID:
                self.refuse(words[0], f"'{name}' has type void: expected a type with a value")
            return Param(str(name), ctype), name
        return self._buffer(name, ctype, const, attributes), name

    def _buffer(
        self, name: Token, ctype: CType, const: bool, attributes: dict[str, Token]
    ) -> Param:
        """Check the attributes of a pointer against each other."""
        is_in, is_out, string = (word in attributes for word in ("in", "out", "string"))
        if not is_in and not is_out:
            self.refuse(name, f"the pointer '{name}' has no direction: expected [in] or [out]")
        if const and is_out:
            self.refuse(attributes["out"], f"'{name}' is const: expected [in] alone")
        if string and (is_out or ctype.name != "char" or len(attributes) != 2):
            self.refuse(attributes["string"], f"'{name}': expected [in, string] const char*")
        if "size" in attributes and "count" in attributes:
            self.refuse(attributes["count"], "size and count together are not supported: use one")
        by_size = "size" in attributes
        if ctype is VOID and not by_size:
            self.refuse(name, f"'{name}' points to void: expected a size in bytes, [size=...]")
        given = attributes.get("size") or attributes.get("count")
        count = self._number(given) if given else 1
        unit = 1 if by_size or string else ctype.size
        return Param(str(name), ctype, True, is_in, is_out, string, const, count, unit)

    def _number(self, token: Token) -> int | str:
        if token.type == "NAME":
            return str(token)
        value = int(token, 0 if token[:2] in ("0x", "0X") else 10) if len(token) < 20 else 0
        if not 1 <= value <= MAX_NUMBER:
            self.refuse(token, f"'{token[:20]}' is no size: expected 1 to {MAX_NUMBER}")
        return value

    def _attributes(self, nodes: list[Tree[Token]]) -> dict[str, Token]:
        """Attribute name -> its value, or the name itself where it takes none."""
        found: dict[str, Token] = {}
        for node in nodes:
            word, *value = _tokens(node)
            self._refuse_unsupported(word)
            takes_value = word in ("size", "count")
            if not takes_value and word not in ("in", "out", "string"):
                known = "in, out, string, size or count"
                self.refuse(word, f"unknown attribute '{word}': expected {known}")
            if word in found:
                self.refuse(word, f"the attribute '{word}' is given twice")
            if takes_value != bool(value):
                form = f"{word}=..." if takes_value else f"'{word}' alone"
                self.refuse(word, f"unexpected form of '{word}': expected {form}")
            found[str(word)] = value[0] if value else word
        return found

    def _type(self, words: list[Token], name: Token) -> tuple[CType, bool]:
        """The type that these words spell, and whether they say const."""
        if not words:
            self.refuse(name, f"'{name}' has no type: expected a type and a name")
        texts = sorted(str(word) for word in words)
        const = texts.count("const")
        kept = [text for text in texts if text != "const"]
        if not kept:
            self.refuse(words[0], "'const' alone is no type: expected a type")
        if kept == ["int"] or set(kept) & {"short", "long", "signed", "unsigned"}:
            kept = [text for text in kept if text != "int"] + ["int"] * (kept.count("int") - 1)
        found = TYPES.get(" ".join(kept))
        if found is None or const > 1:
            self.refuse(words[0], f"unknown type '{' '.join(words)}': expected a C scalar type")
        return found, bool(const)

    def _check_name(self, name: Token) -> None:
        if str(name) in RESERVED or str(name).startswith(RESERVED_PREFIXES):
            self.refuse(name, f"'{name}' is reserved in C or by the runtime: expected another name")
        if str(name) in TYPES:
            self.refuse(name, f"'{name}' is a type: expected a name after it")


def slot_of_length(param: Param) -> str:
    """Name of the marshalling slot that holds the length of a string, NUL included."""
    return f"{param.name}_strlen"


def _tokens(node: Tree[Token], kind: str = "") -> list[Token]:
    tokens = [child for child in node.children if isinstance(child, Token)]
    return [token for token in tokens if kind in ("", token.type)]


def _trees(node: Tree[Token]) -> list[Tree[Token]]:
    return [child for child in node.children if isinstance(child, Tree)]


def _first(node: Tree[Token]) -> Token:
    return next(iter(node.scan_values(bool)))


def _any_of(terminals: set[str]) -> str:
    return " or ".join(sorted({EXPECTED.get(name, name.lower()) for name in terminals}))
