"""Reads EDL files, and says where and why it cannot.

Simplified: `allow` lists and ``transition_using_threads`` are read and have no effect: ecalls made
during an ocall of the same thread are refused by the runtime, and every call takes the ordinary
path. A pointer parameter needs a direction or user_check (Open Enclave's tool only warns). A type
that only a header declares can be passed behind a pointer with ``size=`` or user_check: the host
has no compiler to ask for its size.

Source: oeedger8r-cpp, `parser.cpp`: what is accepted, and what is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import NoReturn

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from tee_sim.errors import BuildError
from tee_sim.sdk.conditions import keep
from tee_sim.sdk.declarations import (
    MAX_NUMBER,
    MAX_VALUE,
    POINTER,
    Declarations,
    first,
    tokens,
    trees,
)
from tee_sim.sdk.edl import CType, Function, Interface
from tee_sim.sdk.words import EXPECTED, UNSUPPORTED

MAX_IMPORTS = 32
"""How deep imports may nest."""

STANDARD = Path(__file__).resolve().parent / "guest" / "include"
"""Where ``openenclave/edl/*.edl`` are found, and Open Enclave's names may be declared."""


@cache
def _grammar() -> Lark:
    text = Path(__file__).with_name("edl.lark").read_text(encoding="utf-8")
    return Lark(text, parser="lalr", maybe_placeholders=False)


@dataclass
class _Search:
    """What the files of one interface share."""

    defines: Collection[str]
    path: tuple[Path, ...]
    done: dict[Path, Interface] = field(default_factory=dict)
    open: list[Path] = field(default_factory=list)


def parse(
    text: str,
    file: str = "<edl>",
    *,
    defines: Collection[str] = (),
    search: Sequence[Path] = (),
) -> Interface:
    """Read the text of an EDL file, and the files that it imports.

    Args:
        text: the file's contents.
        file: its path, for messages, and to find what it imports beside it.
        defines: names that ``#ifdef`` finds defined.
        search: further directories where imported files are looked for.

    Raises:
        BuildError: with file, line, column and what was expected.
    """
    path = (*search, STANDARD, STANDARD / "openenclave" / "edl")  # "platform.edl" stands alone, too
    return _Reader(text, file, _Search(defines, path)).read()


class _Reader(Declarations):
    """Turns one file's syntax tree into an Interface; knows where to point when it cannot."""

    def __init__(self, text: str, file: str, search: _Search) -> None:
        super().__init__(file)
        self.search, self.text = search, keep(text, search.defines, file)
        if STANDARD in Path(file).parents:
            self.reserved = ("tee_",)
        self.functions: dict[str, tuple[str, Function]] = {}
        self.imported: dict[str, tuple[str, Function]] = {}
        self.includes: dict[str, None] = {}

    def read(self) -> Interface:
        for item in trees(self._syntax()):
            getattr(self, f"_{item.data}")(item)
        sections: dict[str, list[Function]] = {"trusted": [], "untrusted": []}
        for section, function in [*self.functions.values(), *self.imported.values()]:
            into = sections[section]
            into.append(replace(function, index=len(into)))
        return Interface(
            tuple(sections["trusted"]),
            tuple(sections["untrusted"]),
            tuple(self.types.values()),
            tuple(self.includes),
        )

    def _syntax(self) -> Tree[Token]:
        try:
            tree = _grammar().parse(self.text)
        except UnexpectedCharacters as error:
            rest = self.text[error.pos_in_stream or 0 :]
            what = f"unexpected character {rest[:1]!r}: expected {_any_of(error.allowed or set())}"
            if rest.startswith(("/*", '"')):
                kind, end = ("comment", "*/") if rest[0] == "/" else ("string", '"')
                what = f"a {kind} that is not closed: expected {end}"
            raise BuildError(what, file=self.file, line=error.line, column=error.column) from None
        except UnexpectedToken as error:
            self._unexpected(error)
        for token in tree.scan_values(bool):
            self.refuse_unsupported(token)
        return tree

    def _unexpected(self, error: UnexpectedToken) -> NoReturn:
        token, expected = error.token, _any_of(error.accepts or error.expected)
        if token.type == "$END":
            lines = self.text.split("\n")
            token = Token("$END", "", line=len(lines), column=len(lines[-1]) + 1)
            self.refuse(token, f"the file ends too early: expected {expected}")
        self.refuse_unsupported(token)
        self.refuse(token, f"unexpected '{token}': expected {expected}")

    # --- Other files --------------------------------------------------------------------------

    def _include(self, node: Tree[Token]) -> None:
        self.includes[tokens(node)[0].strip('"')] = None

    def _everything(self, node: Tree[Token]) -> None:
        self._import(tokens(node)[0], None)

    def _some(self, node: Tree[Token]) -> None:
        file, *names = tokens(node)
        self._import(file, None if names[0].type == "STAR" else names)

    def _import(self, file: Token, names: list[Token] | None) -> None:
        found = self._other(file)
        self.includes |= dict.fromkeys(found.includes)
        for ctype in found.types:
            if self.types.get(_key(ctype)) != ctype:
                self._require_free(file, _key(ctype))
                self.types[_key(ctype)] = ctype
                self.numbers |= ctype.values
        offered = {f.name: ("trusted", replace(f, index=0)) for f in found.trusted}
        offered |= {f.name: ("untrusted", replace(f, index=0)) for f in found.untrusted}
        for name in names or []:
            if str(name) not in offered:
                self.refuse(name, f"'{name}' is not in {file}: expected a function of that file")
        for wanted in offered if names is None else map(str, names):
            if self.imported.get(wanted) != offered[wanted]:
                self._require_free(file, wanted)
            self.imported[wanted] = offered[wanted]

    def _require_free(self, where: Token, name: str | None = None) -> None:
        name = str(where) if name is None else name
        taken = (self.types, self.numbers, self.functions, self.imported)
        if any(name in names for names in taken):
            self.refuse(where, f"'{name.strip()}' is declared twice")

    def _other(self, token: Token) -> Interface:
        """The interface in another file, read once."""
        search, name = self.search, token.strip('"')
        places = [Path(self.file).parent, *search.path]
        path = next((p.resolve() for p in (d / name for d in places) if name and p.is_file()), None)
        if path is None:
            where = ", ".join(dict.fromkeys(map(str, places)))
            self.refuse(token, f"there is no {name!r}: expected it in one of {where}")
        if path in search.open or path == Path(self.file).resolve():
            self.refuse(token, f"{name!r} imports itself: expected no circle of imports")
        if len(search.open) >= MAX_IMPORTS:
            self.refuse(token, f"imports nest too deep: expected at most {MAX_IMPORTS}")
        if path not in search.done:
            search.open.append(path)
            text = path.read_bytes().decode("utf-8", errors="replace").replace("\r\n", "\n")
            search.done[path] = _Reader(text, str(path), search).read()
            search.open.pop()
        return search.done[path]

    # --- Types --------------------------------------------------------------------------------

    def _declare(self, name: Token, ctype: CType) -> None:
        self.check_name(name)
        self._require_free(name)
        self.types[str(name)] = ctype

    def _enum(self, node: Tree[Token]) -> None:
        values: dict[str, int] = {}
        following = 0
        for item in trees(node):
            name, *given = tokens(item)
            self.check_name(name)
            self._require_free(name)
            if str(name) in values:
                self.refuse(name, f"'{name}' is declared twice")
            following = self.constant(given[0], values) if given else following
            if following > MAX_NUMBER:
                self.refuse(name, f"'{name}' = {following}: expected 0 to {MAX_NUMBER}")
            values[str(name)] = following
            following += 1
        named = tokens(node)
        ctype = CType(f"enum {''.join(named)}", "enum", 4, 4, values=tuple(values.items()))
        if named:
            self._declare(named[0], ctype)
        else:
            self.types[_key(ctype)] = ctype
        self.numbers |= values

    def _compound(self, node: Tree[Token]) -> None:
        kind, name = tokens(node)
        members = self.declarations(trees(node), str(kind))
        if not members:
            self.refuse(name, f"'{name}' has no members: expected at least one")
        ctype = CType.of_members(str(kind), str(name), tuple(members.values()))
        if ctype.size > MAX_VALUE:
            self.refuse(name, f"'{name}' has {ctype.size} bytes: expected at most {MAX_VALUE}")
        self._declare(name, ctype)

    # --- Functions ----------------------------------------------------------------------------

    def _trusted(self, section: Tree[Token]) -> None:
        for node in trees(section):
            name, function = self._function(node, str(section.data))
            self._require_free(name)
            self.functions[function.name] = (str(section.data), function)

    _untrusted = _trusted

    def _function(self, node: Tree[Token], section: str) -> tuple[Token, Function]:
        public, stars, names = (tokens(node, kind) for kind in ("PUBLIC", "STAR", "NAME"))
        words = tokens(trees(node, "words")[0])
        name = names[0] if names else words.pop()
        self.check_name(name)
        if section == "trusted" and not public:
            self.refuse(first(node), f"'private' is not supported: {UNSUPPORTED['private']}")
        if public and section != "trusted":
            self.refuse(public[0], "'public' is for ecalls: expected a type, as ocalls have none")
        returns, _ = self.type_of(words, name, bool(stars))
        if stars:
            returns = replace(POINTER, name=returns.name + "*" * len(stars))
        self.check_value(returns, words[0], may_be_void=True)
        given = trees(node, "declaration")
        if len(given) == 1 and list(given[0].scan_values(bool)) == ["void"]:
            given = []
        params = tuple(self.declarations(given, "parameter").values())
        suffixes = self._suffixes([tokens(suffix)[0] for suffix in trees(node, "suffix")], section)
        return name, Function(str(name), returns, params, 0, suffixes)

    def _suffixes(self, words: list[Token], section: str) -> tuple[str, ...]:
        for word in words:
            if words.count(word) > 1:
                self.refuse(word, f"'{word}' is given twice")
            if section == "trusted" and word.type != "THREADS":
                self.refuse(word, f"'{word}' is for ocalls: expected ';'")
        return tuple(str(word) for word in words if word.type != "ALLOW")


def _key(ctype: CType) -> str:
    """A type's name without its kind; of an enum without a name, one that nobody can write."""
    return ctype.name.rpartition(" ")[2] or f" {ctype.values[0][0]}"


def _any_of(terminals: set[str]) -> str:
    patterns = {terminal.name: terminal.pattern for terminal in _grammar().terminals}
    quoted = {name: f"'{patterns[name].value}'" for name in terminals & patterns.keys()}
    return " or ".join(sorted({(quoted | EXPECTED)[name] for name in terminals}))
