"""A small canvas that writes SVG as text.

It uses no ``id``: two drawings on one page cannot disturb each other, and the output is the same
in every run. So patterns are drawn as lines and dots inside their rectangle, not referenced.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Any

from tee_sim.errors import UsageError
from tee_sim.view.markup import esc
from tee_sim.view.palette import INK, WHITE, Style, tint
from tee_sim.view.text import MONO, SANS, shorten, text_width

WIDTH = 900
"""Width of every drawing in pixels; the height follows from what is on it."""

_NAMESPACE = "http://www.w3.org/2000/svg"


def num(value: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{round(value, 1):g}"


def _border(stroke: str, thick: float, dash: str) -> str:
    """Attributes of an outline; ``thick`` 0 leaves it out."""
    if not thick:
        return ""
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f' stroke="{stroke}" stroke-width="{num(thick)}"{dashes}'


class Canvas:
    """Collects shapes; `svg` closes the drawing."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def rect(
        self, x: float, y: float, w: float, h: float, *, fill: str = WHITE, stroke: str = INK,
        thick: float = 1, dash: str = "", radius: float = 0,
    ) -> None:  # fmt: skip
        """A rectangle; ``thick`` 0 leaves out its border."""
        corner = f' rx="{num(radius)}"' if radius else ""
        self._parts.append(
            f'<rect x="{num(x)}" y="{num(y)}" width="{num(w)}" height="{num(h)}"'
            f'{corner} fill="{fill}"{_border(stroke, thick, dash)}/>'
        )

    def path(
        self, d: str, *, stroke: str = INK, thick: float = 1, fill: str = "none", dash: str = ""
    ) -> None:
        """A path from SVG path data."""
        self._parts.append(f'<path d="{d}" fill="{fill}"{_border(stroke, thick, dash)}/>')

    def line(
        self, x1: float, y1: float, x2: float, y2: float, *, stroke: str = INK, thick: float = 1,
        dash: str = "",
    ) -> None:  # fmt: skip
        """A straight line."""
        d = f"M{num(x1)} {num(y1)}L{num(x2)} {num(y2)}"
        self.path(d, stroke=stroke, thick=thick, dash=dash)

    def text(
        self, x: float, y: float, text: object, *, size: float = 14, bold: bool = False,
        mono: bool = False, anchor: str = "start", fill: str = INK, room: float = 0,
    ) -> None:  # fmt: skip
        """One line of text with its baseline at ``y``.

        ``anchor`` is ``"start"``, ``"middle"`` or ``"end"``. ``room`` is the width in pixels that
        it must fit, by an ellipsis if need be; 0 trusts the caller.
        """
        words = " ".join(str(text).split())
        if room:
            words = shorten(words, room, size, mono=mono, bold=bold)
        if not words:
            return
        place = f' text-anchor="{anchor}"' if anchor != "start" else ""
        weight = ' font-weight="700"' if bold else ""
        family = f' font-family="{MONO}"' if mono else ""
        self._parts.append(
            f'<text x="{num(x)}" y="{num(y)}" font-size="{num(size)}" fill="{fill}"'
            f"{place}{weight}{family}>{esc(words)}</text>"
        )

    def lines(self, x: float, y: float, lines: list[str], step: float = 18, **font: Any) -> None:
        """Several lines as `text`, the first baseline at ``y``, ``step`` pixels apart."""
        for i, line in enumerate(lines):
            self.text(x, y + i * step, line, **font)

    def badge(
        self, x: float, y: float, word: str, *, fill: str, ink: str = WHITE, border: str = ""
    ) -> float:
        """A word on a coloured plate, top left at ``(x, y)``; returns its width in pixels."""
        w = text_width(word, 13, bold=True) + 16
        self.rect(x, y, w, 22, fill=fill, stroke=border or fill, radius=4)
        self.text(x + w / 2, y + 15.5, word, size=13, bold=True, anchor="middle", fill=ink)
        return w

    def fill(self, x: float, y: float, w: float, h: float, style: Style) -> None:
        """A rectangle in an owner's tint and pattern."""
        self.rect(x, y, w, h, fill=tint(style.colour), thick=0)
        d = pattern(x, y, w, h, style.pattern)
        if d:
            round_dots = style.pattern in ("dots", "sparse")
            self._parts.append(
                f'<path d="{d}" fill="none" stroke="{style.colour}" stroke-width='
                + ('"3" stroke-linecap="round"/>' if round_dots else '"1.2"/>')
            )
        self.rect(x, y, w, h, fill="none")

    def image(self, x: float, y: float, w: float, h: float, png: bytes) -> None:
        """A PNG, enlarged without smoothing."""
        data = b64encode(png).decode()
        self._parts.append(
            f'<image x="{num(x)}" y="{num(y)}" width="{num(w)}" height="{num(h)}" '
            'preserveAspectRatio="none" style="image-rendering:pixelated" '
            f'href="data:image/png;base64,{data}"/>'
        )

    def tick(self, x: float, y: float, colour: str) -> None:
        """A check mark inside a square of 12 pixels with its centre at ``(x, y)``."""
        d = f"M{num(x - 6)} {num(y)}L{num(x - 2)} {num(y + 4.2)}L{num(x + 6)} {num(y - 6)}"
        self.path(d, stroke=colour, thick=3)

    def cross(self, x: float, y: float, colour: str, size: float = 12) -> None:
        """A cross inside a square of ``size`` pixels with its centre at ``(x, y)``."""
        a, b, c, e = (num(v) for v in (x - size / 2, y - size / 2, x + size / 2, y + size / 2))
        self.path(f"M{a} {b}L{c} {e}M{c} {b}L{a} {e}", stroke=colour, thick=3)

    def svg(self, height: float) -> str:
        """The finished drawing, ``height`` pixels high, on a white background."""
        return (
            f'<svg xmlns="{_NAMESPACE}" viewBox="0 0 {WIDTH} {num(height)}" '
            f'width="{WIDTH}" height="{num(height)}" font-family="{SANS}">'
            f'<rect width="{WIDTH}" height="{num(height)}" fill="{WHITE}"/>'
            + "".join(self._parts)
            + "</svg>"
        )


_OPENING = re.compile(r"""\A<svg((?:[^>"'/]|"[^"]*"|'[^']*')*)(?:/>|>)""")


def describe(svg: str, title: str, alt: str) -> str:
    """``svg`` as one image for a screen reader: a role, a title and a description."""
    words = f"<title>{esc(title)}</title><desc>{esc(alt)}</desc>"
    found = _OPENING.match(svg)
    if not found:
        raise UsageError("a drawing must begin with its <svg> tag, with quoted attributes")
    end = "</svg>" if found[0].endswith("/>") else ""
    return f'<svg{found[1].rstrip()} role="img">{words}{end}{svg[found.end() :]}'


def still(svg: str, title: str, alt: str) -> str:
    """``svg`` as an ``<img>``, which survives where a page strips drawings and scripts.

    JupyterLab does so with the stored outputs of a notebook that this reader has not run yet.
    """
    if "xmlns=" not in svg[: svg.find(">")]:
        svg = svg.replace("<svg", f'<svg xmlns="{_NAMESPACE}"', 1)
    data = b64encode(svg.encode()).decode()
    words = f"{title}: {alt}" if title and alt else title or alt
    return f'<img alt="{esc(words)}" src="data:image/svg+xml;base64,{data}">'


def pattern(x: float, y: float, w: float, h: float, kind: str) -> str:
    """Path data of a pattern, clipped to a rectangle; empty for ``"plain"``."""
    if kind in ("dots", "sparse"):
        return _dots(x, y, w, h, 8 if kind == "dots" else 14)
    d = ""
    if kind in ("horizontal", "grid"):
        d += "".join(f"M{num(x)} {num(y + i)}h{num(w)}" for i in range(5, int(h), 7))
    if kind in ("vertical", "grid"):
        d += "".join(f"M{num(x + i)} {num(y)}v{num(h)}" for i in range(5, int(w), 7))
    if kind in ("diagonal", "cross"):
        d += _slants(x, y, w, h, falling=False)
    if kind in ("back", "cross"):
        d += _slants(x, y, w, h, falling=True)
    return d


def _dots(x: float, y: float, w: float, h: float, step: int) -> str:
    """Dots of no length, which a round line cap makes visible."""
    return "".join(
        f"M{num(x + i)} {num(y + j)}h0"
        for j in range(step // 2, int(h) - 1, step)
        for i in range(step // 2, int(w) - 1, step)
    )


def _slants(x: float, y: float, w: float, h: float, falling: bool) -> str:
    """Lines at 45 degrees, 9 pixels apart, clipped to the rectangle."""
    out = []
    for c in range(9, int(w + h), 9):
        (x1, y1), (x2, y2) = (min(c, w), max(0, c - w)), (max(0, c - h), min(c, h))
        if falling:
            y1, y2 = h - y1, h - y2
        out.append(f"M{num(x + x1)} {num(y + y1)}l{num(x2 - x1)} {num(y2 - y1)}")
    return "".join(out)
