"""``#ifdef``, ``#ifndef``, ``#else`` and ``#endif`` in an EDL file."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NoReturn

from tee_sim.errors import BuildError

_PIECE = re.compile(
    r"//[^\n]*|/\*.*?\*/|\"[^\"\n]*\"|#[ \t]*(?P<word>\w*)(?:[ \t]+(?P<name>[A-Za-z_]\w*))?", re.S
)


def keep(text: str, defines: Collection[str], file: str) -> str:
    """The text with blanks for directives and for what they leave out: places stay the same.

    Raises:
        BuildError: a directive that is unknown, or that does not fit the others.
    """
    kept: list[str] = []
    opened: list[tuple[int, bool, bool]] = []  # where, whether it holds, whether #else was seen
    end = 0

    def refuse(at: int, message: str) -> NoReturn:
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        raise BuildError(message, file=file, line=line, column=column)

    def copy(part: str) -> None:
        kept.append(part if all(holds for _, holds, _ in opened) else _blank(part))

    for piece in _PIECE.finditer(text):
        copy(text[end : piece.start()])
        at, end, word, name = piece.start(), piece.end(), piece["word"], piece["name"]
        if word is None:
            copy(piece[0])
            continue
        kept.append(_blank(piece[0]))
        if word in ("ifdef", "ifndef"):
            if name is None:
                refuse(at, f"#{word} without a name: expected #{word} NAME")
            opened.append((at, (name in defines) == (word == "ifdef"), False))
        elif word not in ("else", "endif"):
            known = "#ifdef, #ifndef, #else or #endif"
            refuse(at, f"unknown directive '#{word}': expected {known}")
        elif not opened or (word == "else" and opened[-1][2]):
            refuse(at, f"unexpected #{word}: expected #ifdef or #ifndef before it")
        else:
            start, holds, _ = opened.pop()
            if word == "else":
                opened.append((start, not holds, True))
    if opened:
        refuse(opened[-1][0], "a condition that is not closed: expected #endif")
    return "".join(kept) + text[end:]


def _blank(part: str) -> str:
    return re.sub(r"[^\n]", " ", part)
