"""Two screens over time: what the operator sees, and what the owner sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tee_sim.errors import UsageError
from tee_sim.view import palette as c
from tee_sim.view.markup import clean
from tee_sim.view.player import Frame, Player
from tee_sim.view.svg import WIDTH, Canvas
from tee_sim.view.text import wrap

ScreenRow = tuple[str, str, str]
"""What the operator did, what the operator then sees, what the owner then sees."""

_LEFT, _PANEL, _RIGHT = 44, 414, 474
_TOP, _SIZE, _STEP = 46, 13, 18


class _Row(NamedTuple):
    """One moment: what was done, and what each screen shows, broken into lines."""

    did: list[str]
    left: list[str]
    right: list[str]

    @property
    def panel(self) -> float:
        """Height of its two screens."""
        return 18 + _STEP * max(len(self.left), len(self.right), 1)

    @property
    def height(self) -> float:
        return 14 + 19 * len(self.did) + self.panel + 12


def two_screens(rows: Sequence[ScreenRow], title: str = "Two screens") -> Player:
    """Draw the operator's screen beside the owner's; each frame adds one moment.

    Args:
        rows: ``(what_operator_did, operator_sees, owner_sees)``; line breaks in what is seen are
            kept, and an empty text stands for a screen on which nothing happens.
        title: shown above the drawing.
    """
    if not rows:
        raise UsageError("two_screens needs at least one row")
    moments = [_set(*row) for row in rows]
    frames = []
    for i, (did, operator, owner) in enumerate(rows):
        alt = f"Operator's screen: {operator or 'nothing'}. Owner's screen: {owner or 'nothing'}."
        frames.append(Frame(_draw(moments, i), f"The operator: {did}", alt))
    return Player(frames, title)


def _set(did: str, *seen: str) -> _Row:
    """One moment's words as lines that fit."""
    left, right = (
        wrap(clean(text), _PANEL - 24, _SIZE, mono=True, lines=8) if text else [] for text in seen
    )
    return _Row(wrap(clean(did), WIDTH - _LEFT - 20, 14, bold=True, lines=2), left, right)


def _draw(rows: Sequence[_Row], shown: int) -> str:
    canvas = Canvas()
    _heading(canvas, _LEFT, "Operator: rules everything outside", c.DEEP_VERMILION)
    _heading(canvas, _RIGHT, "Owner: whose program runs inside", c.BLUE)
    y, bottom = float(_TOP), _TOP + sum(row.height for row in rows)
    canvas.line(20, y, 20, bottom - 8, stroke=c.LINE, thick=2)
    for i, row in enumerate(rows):
        _moment(canvas, y, row, i + 1, reached=i <= shown, now=i == shown)
        y += row.height
    return canvas.svg(bottom)


def _heading(canvas: Canvas, x: float, words: str, colour: str) -> None:
    canvas.rect(x, 8, _PANEL, 28, fill=colour, stroke=colour, radius=5)
    for i in range(3):
        canvas.rect(x + 12 + 14 * i, 18, 8, 8, fill=c.WHITE, thick=0, radius=4)
    canvas.text(x + 62, 27, words, size=14, bold=True, fill=c.WHITE)


def _moment(canvas: Canvas, y: float, row: _Row, number: int, reached: bool, now: bool) -> None:
    """One row: the number on the time line, the action, and both screens."""
    mark = c.BLUE if now else (c.INK if reached else "#8a8a8a")
    canvas.rect(8, y + 3, 24, 22, fill=mark if reached else c.WHITE, stroke=mark, radius=11)
    ink = c.WHITE if reached else "#6b6b6b"
    canvas.text(20, y + 19, number, size=13, bold=True, anchor="middle", fill=ink)
    top = y + 8 + 19 * len(row.did)
    if reached:
        canvas.lines(_LEFT, y + 19, row.did, step=19, bold=True)
    for x, lines, colour in ((_LEFT, row.left, c.DEEP_VERMILION), (_RIGHT, row.right, c.BLUE)):
        if not reached:
            canvas.rect(x, top, _PANEL, row.panel, stroke="#b0b0b0", dash="4 4")
            continue
        fill, thick = (c.WHITE, 2) if now else ("#f7f7f7", 1)
        canvas.rect(x, top, _PANEL, row.panel, fill=fill, stroke=colour, thick=thick, radius=4)
        canvas.lines(x + 12, top + 22, lines, _STEP, size=_SIZE, mono=True)
        if not lines:
            words = "(nothing happens here)"
            canvas.text(x + 12, top + 22, words, size=_SIZE, fill=c.SOFT_INK)
