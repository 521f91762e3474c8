"""How wide a text is, so that a drawing can be laid out without a browser.

The widths are those of DejaVu Sans, the widest of the usual screen fonts, rounded up: in any
other font of the stack a text is narrower than estimated, so what fits here fits everywhere.
"""

from __future__ import annotations

import unicodedata

SANS = "system-ui,-apple-system,'Segoe UI','Helvetica Neue',Arial,'DejaVu Sans',sans-serif"
MONO = "ui-monospace,Menlo,Consolas,monospace"

_GROUPS = (
    (0.3, "'Iijl"),
    (0.35, " ,./:;\\|·"),
    (0.4, "()-[]ft"),
    (0.45, "!r"),
    (0.5, '"*_`'),
    (0.55, "?csz"),
    (0.6, "FLkvxy"),
    (0.65, "$0123456789EPSTYabdeghnopqu{}"),
    (0.7, "ABCKRVXZ"),
    (0.75, "NU"),
    (0.8, "&DGHOQ"),
    (0.85, "#+<=>^w~→←≤≥"),
    (0.9, "M"),
    (1.0, "%@Wm…—"),
)
_WIDTH = {char: width for width, group in _GROUPS for char in group}
_MONO_WIDTH = 0.61
_BOLD = 1.15


def char_width(char: str, mono: bool = False) -> float:
    """Width of one character in em."""
    if unicodedata.combining(char):
        return 0.0
    if unicodedata.east_asian_width(char) in "WF" or ord(char) > 0xFFFF:
        return 1.4
    if mono:
        return _MONO_WIDTH if char in _WIDTH else 1.0
    return _WIDTH.get(char, 1.1)


def text_width(text: str, size: float, *, mono: bool = False, bold: bool = False) -> float:
    """Estimated width of ``text`` in pixels at ``size`` pixels, on the safe side."""
    em = sum(char_width(char, mono) for char in text)
    return em * size * (_BOLD if bold and not mono else 1.0)


def shorten(text: str, width: float, size: float, **font: bool) -> str:
    """``text``, with its end replaced by an ellipsis if it is wider than ``width`` pixels."""
    if text_width(text, size, **font) <= width:
        return text
    while text and text_width(text + "…", size, **font) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def wrap(text: str, width: float, size: float, *, lines: int = 0, **font: bool) -> list[str]:
    """``text`` as lines of at most ``width`` pixels; line breaks in it are kept.

    Args:
        text: what to set; runs of spaces become one, and a word that is too long is broken.
        width: pixels available.
        size: font size in pixels.
        lines: at most so many lines, the last shortened; 0 for as many as it takes.
        font: ``mono`` or ``bold``, as for `text_width`.
    """
    out: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            joined = f"{line} {word}" if line else word
            if text_width(joined, size, **font) <= width:
                line = joined
                continue
            if line:
                out.append(line)
            line = ""
            for char in word:
                if line and text_width(line + char, size, **font) > width:
                    out.append(line)
                    line = ""
                line += char
        out.append(line)
    if lines and len(out) > lines:
        last = shorten(out[lines - 1] + " …", width, size, **font)
        out = [*out[: lines - 1], last if last.endswith("…") else last + "…"]
    return out
