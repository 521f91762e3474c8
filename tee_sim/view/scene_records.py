"""A measurement as a strip of records that grows, with the digest so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tee_sim.errors import UsageError
from tee_sim.view import palette as c
from tee_sim.view.markup import clean
from tee_sim.view.player import Frame, Player
from tee_sim.view.svg import WIDTH, Canvas, num
from tee_sim.view.text import wrap

Record = tuple[str, str]
"""Kind (``"ECREATE"``, ``"EADD"``, ``"EEXTEND"``, ...) and what the record says."""

_CELL, _MOST_CELLS, _ROWS = 15, 16, 12
_KIND, _CELLS, _TEXT, _DIGEST = 30, 150, 420, 720
_STYLES = {"ECREATE": c.Style(c.BLUE, "dots"), "EADD": c.Style(c.ORANGE, "diagonal")}
_OTHER = c.Style(c.GREEN, "horizontal")


@dataclass(frozen=True, slots=True)
class _Group:
    """One record and the EEXTENDs that follow it; or several groups folded into one row."""

    kind: str
    text: str
    extends: int
    digest: str
    folded: int = 0


def record_strip(
    records: Sequence[Record],
    title: str = "The measurement grows",
    digests: Sequence[bytes | str] | None = None,
    *,
    rows: int = _ROWS,
) -> Player:
    """Draw measurement records group by group: an EADD and its EEXTENDs are one group.

    Args:
        records: ``(kind, text)``. A kind that ends in ``EXTEND`` joins the group before it.
        title: shown above the drawing.
        digests: the running digest after each record, or after each group; without it none is
            shown.
        rows: more groups than this are folded in the middle.

    Raises:
        UsageError: no records, or ``digests`` fits neither the records nor the groups.
    """
    if not records:
        raise UsageError("record_strip needs at least one record")
    groups = _fold(_group(records, digests), rows)
    frames = []
    for i, group in enumerate(groups):
        then = f" The digest so far is {group.digest}." if group.digest else ""
        frames.append(Frame(_draw(groups, i), _caption(group) + then, _alt(groups[: i + 1])))
    return Player(frames, title)


def short(digest: bytes | str) -> str:
    """The first eight and the last four hex digits of a digest."""
    text = digest.hex() if isinstance(digest, bytes) else clean(digest)
    return text if len(text) <= 16 else f"{text[:8]}…{text[-4:]}"


def _group(records: Sequence[Record], digests: Sequence[bytes | str] | None) -> list[_Group]:
    starts = [i for i, (kind, _) in enumerate(records) if i == 0 or not kind.endswith("EXTEND")]
    ends = [*starts[1:], len(records)]
    if digests is None:
        after = [""] * len(starts)
    elif len(digests) == len(records):
        after = [short(digests[end - 1]) for end in ends]
    elif len(digests) == len(starts):
        after = [short(digest) for digest in digests]
    else:
        raise UsageError(
            f"{len(digests)} digests fit neither {len(records)} records nor {len(starts)} groups"
        )
    return [
        _Group(clean(records[start][0]), clean(records[start][1]), end - start - 1, digest)
        for start, end, digest in zip(starts, ends, after, strict=True)
    ]


def _fold(groups: list[_Group], rows: int) -> list[_Group]:
    """At most ``rows`` groups: the middle ones become one row that says how many they are."""
    if len(groups) <= rows:
        return groups
    head, tail = rows // 2, rows - rows // 2 - 1
    middle = groups[head : len(groups) - tail]
    extends = sum(group.extends for group in middle)
    text = f"{len(middle)} more of the same kind of group"
    if len({group.kind for group in middle}) > 1:
        text = f"{len(middle)} more groups"
    fold = _Group(middle[-1].kind, text, extends, middle[-1].digest, folded=len(middle))
    return [*groups[:head], fold, *groups[-tail:]]


def _caption(group: _Group) -> str:
    if group.folded:
        return f"{group.text}, with {group.extends} EEXTEND records."
    more = f" Then {group.extends} EEXTEND record{'s' if group.extends != 1 else ''}."
    return f"{group.kind}: {group.text}." + (more if group.extends else "")


def _draw(groups: Sequence[_Group], shown: int) -> str:
    canvas = Canvas()
    for x, words in ((_KIND, "record"), (_CELLS, "EEXTEND records"), (_TEXT, "what is measured")):
        canvas.text(x, 20, words, size=13, fill=c.SOFT_INK)
    canvas.text(_DIGEST, 20, "digest so far", size=13, fill=c.SOFT_INK)
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


def _row(canvas: Canvas, y: float, group: _Group, text: list[str], newest: bool) -> None:
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
    canvas.lines(_TEXT, y + 24, text, size=13, step=17)
    canvas.text(_DIGEST, y + 24, group.digest, size=14, mono=True, bold=newest, room=160)


def _alt(groups: Sequence[_Group]) -> str:
    parts = [_caption(group).rstrip(".") for group in groups]
    return f"A strip of {len(groups)} groups of records: " + "; ".join(parts) + "."
