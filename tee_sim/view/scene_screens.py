"""Two screens over time: what the operator sees, and what the owner sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tee_sim.errors import UsageError
from tee_sim.view import palette as c
from tee_sim.view.markup import clean
from tee_sim.view.player import Frame, Player
from tee_sim.view.svg import WIDTH, Canvas
from tee_sim.view.text import wrap

ScreenRow = tuple[str, str, str]
"""What the operator did, what the operator then sees, what the owner then sees."""

_LEFT, _PANEL, _RIGHT = 44, 414, 474
_SIZE, _STEP = 13, 18


@dataclass(frozen=True, slots=True)
class _Row:
    """One moment with its place and its text, set."""

    y: float
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
    placed = _layout(rows)
    frames = []
    for i, (did, operator, owner) in enumerate(rows):
        alt = f"Operator's screen: {operator or 'nothing'}. Owner's screen: {owner or 'nothing'}."
        frames.append(Frame(_draw(placed, i), f"The operator: {did}", alt))
    return Player(frames, title)


def _layout(rows: Sequence[ScreenRow]) -> list[_Row]:
    placed, y = [], 46.0
    for row in rows:
        did, left, right = (clean(text) for text in row)
        placed.append(
            _Row(
                y,
                wrap(did, WIDTH - _LEFT - 20, 14, bold=True, lines=2),
                wrap(left, _PANEL - 24, _SIZE, mono=True, lines=8) if left else [],
                wrap(right, _PANEL - 24, _SIZE, mono=True, lines=8) if right else [],
            )
        )
        y += placed[-1].height
    return placed


def _draw(rows: Sequence[_Row], shown: int) -> str:
    canvas = Canvas()
    _heading(canvas, _LEFT, "Operator: rules everything outside", c.DEEP_VERMILION)
    _heading(canvas, _RIGHT, "Owner: whose program runs inside", c.BLUE)
    bottom = rows[-1].y + rows[-1].height
    canvas.line(20, 46, 20, bottom - 8, stroke=c.LINE, thick=2)
    for i, row in enumerate(rows):
        _moment(canvas, row, i + 1, reached=i <= shown, now=i == shown)
    return canvas.svg(bottom)


def _heading(canvas: Canvas, x: float, words: str, colour: str) -> None:
    canvas.rect(x, 8, _PANEL, 28, fill=colour, stroke=colour, radius=5)
    for i in range(3):
        canvas.rect(x + 12 + 14 * i, 18, 8, 8, fill=c.WHITE, thick=0, radius=4)
    canvas.text(x + 62, 27, words, size=14, bold=True, fill=c.WHITE)


def _moment(canvas: Canvas, row: _Row, number: int, reached: bool, now: bool) -> None:
    """One row: the number on the time line, the action, and both screens."""
    mark = c.BLUE if now else (c.INK if reached else "#8a8a8a")
    canvas.rect(8, row.y + 3, 24, 22, fill=mark if reached else c.WHITE, stroke=mark, radius=11)
    ink = c.WHITE if reached else "#6b6b6b"
    canvas.text(20, row.y + 19, number, size=13, bold=True, anchor="middle", fill=ink)
    top = row.y + 8 + 19 * len(row.did)
    if not reached:
        for x in (_LEFT, _RIGHT):
            canvas.rect(x, top, _PANEL, row.panel, fill=c.WHITE, stroke="#b0b0b0", dash="4 4")
        return
    canvas.lines(_LEFT, row.y + 19, row.did, size=14, step=19, bold=True)
    _screen(canvas, _LEFT, top, row.panel, row.left, c.DEEP_VERMILION, now)
    _screen(canvas, _RIGHT, top, row.panel, row.right, c.BLUE, now)


def _screen(
    canvas: Canvas, x: float, y: float, height: float, lines: list[str], colour: str, now: bool
) -> None:
    fill = "#ffffff" if now else "#f7f7f7"
    canvas.rect(x, y, _PANEL, height, fill=fill, stroke=colour, thick=2 if now else 1, radius=4)
    if lines:
        canvas.lines(x + 12, y + 22, lines, size=_SIZE, step=_STEP, mono=True)
    else:
        canvas.text(x + 12, y + 22, "(nothing happens here)", size=_SIZE, fill=c.SOFT_INK)
