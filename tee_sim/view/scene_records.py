"""A measurement as a strip of records that grows, with the digest so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tee_sim.errors import UsageError
from tee_sim.view import palette as c
from tee_sim.view.markup import clean
from tee_sim.view.player import Frame, Player
from tee_sim.view.svg import WIDTH, Canvas, num
from tee_sim.view.text import wrap

_CELL, _MOST_CELLS, _ROWS = 15, 16, 12
_KIND, _CELLS, _TEXT, _DIGEST = 30, 150, 420, 720
_STYLES = {"ECREATE": c.Style(c.BLUE, "dots"), "EADD": c.Style(c.ORANGE, "diagonal")}
_OTHER = c.Style(c.GREEN, "horizontal")


class Group(NamedTuple):
    """One measured record and the EEXTENDs that follow it.

    Attributes:
        kind: ``"ECREATE"``, ``"EADD"``, ...
        text: what the record says.
        extends: how many EEXTENDs follow.
        digest: the running digest after them; empty to show none.
        folded: of how many groups this row is the sum; 0 for a group by itself.
    """

    kind: str
    text: str
    extends: int = 0
    digest: bytes = b""
    folded: int = 0


def record_strip(
    groups: Sequence[Group], title: str = "The measurement grows", *, rows: int = _ROWS
) -> Player:
    """Draw what is measured, group by group; more than ``rows`` are folded in the middle."""
    if not groups:
        raise UsageError("record_strip needs at least one Group")
    cleaned = [group._replace(kind=clean(group.kind), text=clean(group.text)) for group in groups]
    strip, frames = _fold(cleaned, rows), []
    for i, group in enumerate(strip):
        then = f" The digest so far is {short(group.digest)}." if group.digest else ""
        frames.append(Frame(_draw(strip, i), _caption(group) + then, _alt(strip[: i + 1])))
    return Player(frames, title)


def short(digest: bytes) -> str:
    """The first eight and the last four hex digits of a digest."""
    text = digest.hex()
    return text if len(text) <= 16 else f"{text[:8]}…{text[-4:]}"


def _fold(groups: list[Group], rows: int) -> list[Group]:
    """At most ``rows`` groups: the middle ones become one row that says how many they are."""
    if len(groups) <= rows:
        return groups
    head, tail = rows // 2, rows - rows // 2 - 1
    middle = groups[head : len(groups) - tail]
    extends = sum(group.extends for group in middle)
    text = f"{len(middle)} more of the same kind of group"
    if len({group.kind for group in middle}) > 1:
        text = f"{len(middle)} more groups"
    fold = Group(middle[-1].kind, text, extends, middle[-1].digest, len(middle))
    return [*groups[:head], fold, *groups[-tail:]]


def _caption(group: Group) -> str:
    if group.folded:
        return f"{group.text}, with {group.extends} EEXTEND records."
    more = f" Then {group.extends} EEXTEND record{'s' if group.extends != 1 else ''}."
    return f"{group.kind}: {group.text}." + (more if group.extends else "")


def _draw(groups: Sequence[Group], shown: int) -> str:
    canvas = Canvas()
    heads = {_KIND: "record", _CELLS: "EEXTEND records", _TEXT: "what is measured"}
    for x, words in (heads | {_DIGEST: "digest so far"}).items():
        canvas.text(x, 20, words, size=13, fill=c.SOFT_INK)
    y = 30.0
    for i, group in enumerate(groups):
        text = wrap(group.text, _DIGEST - _TEXT - 16, 13, lines=2)
        height = 40 + 17 * (len(text) - 1)
        if i == shown:
            canvas.rect(4, y, WIDTH - 8, height - 2, fill="#eef5fa", thick=0, radius=6)
        if i <= shown:
            _row(canvas, y, group, text, newest=i == shown)
        else:
            canvas.rect(_KIND, y + 6, 104, 26, stroke="#b0b0b0", dash="3 4")
        ink = c.INK if i <= shown else "#d0d0d0"
        canvas.line(14, y + 6, 14, y + height - 6, thick=4, stroke=ink)
        y += height
    return canvas.svg(y + 8)


def _row(canvas: Canvas, y: float, group: Group, text: list[str], newest: bool) -> None:
    """One group: its first record, a cell for each EEXTEND, the text, the digest."""
    style = _STYLES.get(group.kind, _OTHER)
    if group.folded:
        canvas.rect(_KIND + 4, y + 3, 104, 26)
    canvas.rect(_KIND, y + 6, 104, 26)
    canvas.fill(_KIND, y + 6, 18, 26, style)
    words = f"{group.folded} {group.kind}" if group.folded else group.kind
    canvas.text(_KIND + 24, y + 24, words, size=13, bold=True, room=78)
    many = group.extends > _MOST_CELLS
    if group.extends:
        cells = f"h12v20h-12zm{_CELL} 0" * (1 if many else group.extends)
        canvas.path(f"M{_CELLS} {num(y + 9)}{cells}", fill=c.tint(c.SKY))
    if many:
        canvas.text(_CELLS + _CELL + 4, y + 24, f"{group.extends} records", size=13, bold=True)
    canvas.lines(_TEXT, y + 24, text, 17, size=13)
    canvas.text(_DIGEST, y + 24, short(group.digest), size=14, mono=True, bold=newest, room=160)


def _alt(groups: Sequence[Group]) -> str:
    parts = [_caption(group).rstrip(".") for group in groups]
    return f"A strip of {len(groups)} groups of records: " + "; ".join(parts) + "."
