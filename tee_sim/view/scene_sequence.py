"""Who says what to whom, in order: messages between parties, one more in each frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tee_sim.errors import UsageError, known
from tee_sim.view import palette as c
from tee_sim.view.markup import clean
from tee_sim.view.player import Frame, Player
from tee_sim.view.svg import WIDTH, Canvas
from tee_sim.view.text import wrap

_HEAD, _TOP, _STEP, _SIZE, _LINES = 30, 54, 18, 13, 3


class Message(NamedTuple):
    """One message, or, to oneself, an act; ``false`` if it makes its receiver believe a lie."""

    sender: str
    receiver: str
    words: str
    false: bool = False


def sequence(
    parties: Sequence[str], messages: Sequence[tuple[Any, ...]], title: str = "Messages"
) -> Player:
    """Draw messages from top to bottom between the lines of life of their parties.

    Args:
        parties: at least two names, from left to right.
        messages: the fields of a `Message` each; those that are false are drawn dashed.
        title: shown above the drawing.

    Raises:
        UsageError: fewer than two parties, no message, or one of somebody else's.
    """
    made, column = [Message(*each) for each in messages], WIDTH / max(len(parties), 1)
    places = {name: column * (i + 0.5) for i, name in enumerate(parties)}
    if len(places) < 2 or not made:
        raise UsageError("sequence needs two parties and a message")
    known("party", [name for each in made for name in each[:2]], places)
    rows = [_Row(each, places, column) for each in made]
    return Player([_frame(places, rows[: i + 1], rows) for i in range(len(rows))], title)


class _Row:
    """A message with its place: its words stand above its arrow, or in a box."""

    def __init__(self, message: Message, places: dict[str, float], column: float) -> None:
        self.message = message
        self.start, self.end = places[message.sender], places[message.receiver]
        self.left, self.right = sorted((self.start, self.end))
        if self.start == self.end:
            self.left, self.right = self.left - column * 0.45, self.right + column * 0.45
        words = f"false: {clean(message.words)}" if message.false else clean(message.words)
        room = self.right - self.left - 24
        self.lines = wrap(words, room, _SIZE, bold=True, lines=_LINES)
        self.height = 32 + _STEP * len(self.lines)
        to = f" to {message.receiver}" if self.start != self.end else ""
        self.caption = clean(f"{message.sender}{to}: {words}.")

    def draw(self, canvas: Canvas, y: float, thick: float) -> None:
        false, below = self.message.false, y + _STEP * len(self.lines) + 8
        colour, dash = (c.DEEP_VERMILION, "6 4") if false else (c.BLUE, "")
        act = self.start == self.end
        canvas.rect(
            self.left + 4, y - 2 - 3 * act, self.right - self.left - 8, below - y - 2 + 7 * act,
            fill=c.tint(colour) if act else c.WHITE, stroke=colour, thick=thick if act else 0,
        )  # fmt: skip
        middle, ink = (self.left + self.right) / 2, c.DEEP_VERMILION if false else c.INK
        font = {"size": _SIZE, "bold": thick > 2, "anchor": "middle", "fill": ink}
        canvas.lines(middle, y + 13, self.lines, _STEP, **font)
        if not act:
            back = 9 if self.end < self.start else -9
            tip = f"M{self.end + back:g} {below - 6:g}l{-back} 6l{back} 6"
            canvas.line(self.start, below, self.end, below, stroke=colour, thick=thick, dash=dash)
            canvas.path(tip, stroke=colour, thick=thick)


def _frame(places: dict[str, float], shown: Sequence[_Row], rows: Sequence[_Row]) -> Frame:
    canvas, room = Canvas(), WIDTH / len(places) * 0.8
    bottom = _TOP + sum(row.height for row in rows)
    for name, x in places.items():
        canvas.line(x, 8 + _HEAD, x, bottom, stroke=c.LINE, dash="2 4")
        canvas.rect(x - room / 2, 8, room, _HEAD, fill=c.tint(c.BLUE), stroke=c.BLUE)
        canvas.text(x, 28, clean(name), size=14, bold=True, anchor="middle", room=room - 8)
    y = float(_TOP)
    for row in shown:
        row.draw(canvas, y, 3 if row is shown[-1] else 1.5)
        y += row.height
    alt = f"Messages between {', '.join(map(clean, places))}; {len(shown)} of {len(rows)} drawn."
    return Frame(canvas.svg(bottom + 8), shown[-1].caption, alt)
