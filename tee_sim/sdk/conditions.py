"""``#ifdef``, ``#ifndef``, ``#else`` and ``#endif`` in an EDL file."""

from __future__ import annotations

import re
from collections.abc import Collection

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
    for piece in _PIECE.finditer(text):
        word, name, at = piece["word"], piece["name"], piece.start()
        following = piece.end() if word is None else at
        holds = all(each for _, each, _ in opened)
        kept.append(text[end:following] if holds else _blank(text[end:following]))
        kept.append(_blank(text[following : piece.end()]))
        end, problem = piece.end(), ""
        if word in ("ifdef", "ifndef"):
            opened.append((at, (name in defines) == (word == "ifdef"), False))
            problem = "" if name else f"#{word} without a name: expected #{word} NAME"
        elif word is not None and word not in ("else", "endif"):
            problem = f"unknown directive '#{word}': expected #ifdef, #ifndef, #else or #endif"
        elif word and (not opened or (word == "else" and opened[-1][2])):
            problem = f"unexpected #{word}: expected #ifdef or #ifndef before it"
        elif word:
            start, holds, _ = opened.pop()
            opened += [(start, not holds, True)] if word == "else" else []
        if problem:
            raise _error(text, at, problem, file)
    if opened:
        raise _error(text, opened[-1][0], "a condition that is not closed: expected #endif", file)
    return "".join(kept) + text[end:]


def _error(text: str, at: int, message: str, file: str) -> BuildError:
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return BuildError(message, file=file, line=line, column=column)


def _blank(part: str) -> str:
    return re.sub(r"[^\n]", " ", part)
