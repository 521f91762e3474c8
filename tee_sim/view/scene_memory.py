"""Physical memory as a stack of regions: who owns each page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from operator import itemgetter

from tee_sim.errors import UsageError
from tee_sim.units import KIB, MIB, PAGE
from tee_sim.view.markup import clean
from tee_sim.view.palette import INK, LINE, SOFT_INK, WHITE, Style, owner_styles
from tee_sim.view.player import Frame, Picture
from tee_sim.view.svg import WIDTH, Canvas, num
from tee_sim.view.text import shorten, text_width, wrap

Region = tuple[str, int, int, str, str]
"""Label, first address, size in bytes, owner, note."""

_LEFT, _BLOCK, _NOTE = 150, 330, 500
_ROW, _GAP = 46, 34


def memory_map(regions: Sequence[Region], title: str = "Who owns each page") -> Picture:
    """Draw ``regions`` from the lowest address down, each in its owner's colour and pattern.

    Args:
        regions: ``(label, start, size, owner, note)``; ``start`` and ``size`` in bytes. The owner
            ``"free"`` is drawn plain, ``"host"`` always alike. Gaps are shown as gaps.
        title: shown above the drawing.

    Raises:
        UsageError: a region is empty, or two of them overlap.
    """
    rows = sorted(
        ((clean(label), start, size, clean(owner), clean(note))
         for label, start, size, owner, note in regions),
        key=itemgetter(1),
    )  # fmt: skip
    _require_apart(rows)
    styles = owner_styles([owner for _, _, _, owner, _ in rows])
    canvas = Canvas()
    canvas.text(_LEFT - 12, 20, "address", size=13, anchor="end", fill=SOFT_INK)
    canvas.text(_LEFT, 20, "not to scale; small squares are pages", size=13, fill=SOFT_INK)
    y, end = 30.0, rows[0][1] if rows else 0
    for row in rows:
        if row[1] > end:
            y = _gap(canvas, y, row[1] - end)
        y = _region(canvas, y, row, styles[row[3]])
        end = row[1] + row[2]
    canvas.text(_LEFT - 12, y + 5, f"{end:#x}", size=13, mono=True, anchor="end")
    height = _legend(canvas, y + 28, rows, styles)
    return Picture(Frame(canvas.svg(height), "", _alt(rows)), title)


def _require_apart(rows: Sequence[Region]) -> None:
    for label, _, size, _, _ in rows:
        if size <= 0:
            raise UsageError(f"region {label!r} must be at least one byte long")
    for one, two in pairwise(rows):
        if one[1] + one[2] > two[1]:
            raise UsageError(f"regions {one[0]!r} and {two[0]!r} overlap at {two[1]:#x}")


def amount(size: int) -> str:
    """``size`` bytes in pages if it is whole pages, with the usual unit behind; else rounded."""
    unit = f"{size} bytes"
    if size % MIB == 0:
        unit = f"{size // MIB} MiB"
    elif size > MIB:
        unit = f"about {size / MIB:.0f} MiB"
    elif size % KIB == 0:
        unit = f"{size // KIB} KiB"
    elif size > 16 * KIB:
        unit = f"about {size / KIB:.0f} KiB"
    if size % PAGE:
        return unit
    pages = size // PAGE
    return f"{pages} page{'s' if pages != 1 else ''}, {unit}"


def _region(canvas: Canvas, y: float, row: Region, style: Style) -> float:
    """One block with its label, its owner and its note; returns where the next one starts."""
    label, start, size, owner, note = row
    notes = wrap(note, WIDTH - _NOTE - 12, 13, lines=2) if note else []
    height = _ROW + 17 * max(0, len(notes) - 1)
    canvas.text(_LEFT - 12, y + 5, f"{start:#x}", size=13, mono=True, anchor="end")
    canvas.fill(_LEFT, y, _BLOCK, height, style)
    name = shorten(label, _BLOCK - 36, 14, bold=True)
    plate = text_width(name, 14, bold=True) + 16
    canvas.rect(_LEFT + 10, y + 6, plate, 22, stroke=LINE, radius=3)
    canvas.text(_LEFT + 18, y + 21.5, name, size=14, bold=True)
    _squares(canvas, _LEFT + 10, y + height - 13, size)
    words = f"{owner or 'nobody'} ({amount(size)})"
    canvas.text(_NOTE, y + 18, words, size=14, bold=True, room=WIDTH - _NOTE - 12)
    canvas.lines(_NOTE, y + 36, notes, 17, size=13, fill=SOFT_INK)
    return y + height


def _squares(canvas: Canvas, x: float, y: float, size: int) -> None:
    """One small square for each whole page, as far as there is room."""
    pages, room = size // PAGE, 30
    d = "".join(f"M{num(x + i * 10)} {num(y)}h8v8h-8z" for i in range(min(pages, room)))
    canvas.path(d, fill=WHITE, stroke=INK)
    if pages > room:
        canvas.path(f"M{x + 302} {y + 4}h0m4 0h0m4 0h0", thick=2.4)


def _gap(canvas: Canvas, y: float, size: int) -> float:
    """A stretch of memory that nobody described."""
    for x in (_LEFT, _LEFT + _BLOCK):
        canvas.line(x, y, x, y + _GAP, stroke=LINE, dash="3 4")
    words = f"({amount(size)} not shown)"
    canvas.text(_LEFT + _BLOCK / 2, y + 21, words, size=13, anchor="middle", fill=SOFT_INK)
    return y + _GAP


def _legend(canvas: Canvas, y: float, rows: Sequence[Region], styles: dict[str, Style]) -> float:
    """A swatch, the owner and what it owns; returns the height of the drawing."""
    totals: Counter[str] = Counter()
    for _, _, size, owner, _ in rows:
        totals[owner] += size
    x = 20.0
    for owner, size in totals.items():
        words = shorten(f"{owner or 'nobody'}: {amount(size)}", WIDTH - 100, 13)
        wide = 38 + text_width(words, 13) + 24
        if x + wide > WIDTH and x > 20:
            x, y = 20.0, y + 28
        canvas.fill(x, y, 28, 18, styles[owner])
        canvas.text(x + 36, y + 14, words, size=13)
        x += wide
    return y + 32


def _alt(rows: Sequence[Region]) -> str:
    return "; ".join(
        f"{start:#x} to {start + size:#x}: {label}, owned by {owner or 'nobody'}"
        + (f" ({note})" if note else "")
        for label, start, size, owner, note in rows
    )
