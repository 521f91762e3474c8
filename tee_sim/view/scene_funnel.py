"""One access, followed through the stages that may stop it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tee_sim.errors import UsageError
from tee_sim.view import palette as c
from tee_sim.view.markup import clean
from tee_sim.view.player import Frame, Player
from tee_sim.view.svg import WIDTH, Canvas
from tee_sim.view.text import wrap

Verdict = Literal["pass", "refuse", "off", "info"]

_WORDS = {"pass": "passes", "refuse": "REFUSED", "off": "check is OFF", "info": "no check"}
_PIPE, _TEXT, _BADGE = 70, 150, 750
_TOP = 44


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of an access.

    Attributes:
        name: what the stage is called, e.g. the name of a check.
        detail: one sentence about this very access.
        verdict: ``"pass"`` and ``"refuse"`` for a check that was made, ``"off"`` for one that is
            switched off, ``"info"`` for a stage that decides nothing.
        source: where the vendor defines it.
    """

    name: str
    detail: str
    verdict: Verdict
    source: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in _WORDS:
            known = ", ".join(_WORDS)
            raise UsageError(f"stage {self.name!r}: verdict {self.verdict!r} is none of {known}")


class _Row(NamedTuple):
    """A stage with its place."""

    stage: Stage
    y: float
    height: float
    detail: list[str]
    source: list[str]


def funnel(steps: Sequence[Stage], title: str = "One access") -> Player:
    """Draw an access that meets one stage after the other; each frame reveals one more.

    A gate opens (pass), stays closed (refuse), or has no doors at all (off). Stages behind the
    first refusal are drawn as never reached.
    """
    if not steps:
        raise UsageError("a funnel needs at least one Stage")
    rows = _layout(steps)
    refused = next((i for i, s in enumerate(steps) if s.verdict == "refuse"), len(steps))
    names = ", ".join(stage.name for stage in steps)
    alt = f"A path with {len(steps)} stages that the access will meet: {names}."
    frames = [Frame(_draw(rows, -1, refused), "The access starts.", alt)]
    past: list[str] = []
    for i, stage in enumerate(steps[: refused + 1]):
        past.append(f"{stage.name}: {_WORDS[stage.verdict]}")
        caption = f"{stage.name}: {stage.detail} ({_WORDS[stage.verdict]})"
        alt = f"The path so far. {'; '.join(past)}."
        frames.append(Frame(_draw(rows, i, refused), caption, alt))
    return Player(frames, title)


def _layout(steps: Sequence[Stage]) -> list[_Row]:
    rows, y = [], float(_TOP)
    for stage in steps:
        detail = wrap(clean(stage.detail), _BADGE - _TEXT - 20, 14, lines=3)
        source = wrap(clean(stage.source), WIDTH - _TEXT - 20, 12.5) if stage.source else []
        height = 36 + 18 * len(detail) + 17 * len(source)
        rows.append(_Row(stage, y, max(64, height), detail, source))
        y += rows[-1].height
    return rows


def _draw(rows: Sequence[_Row], shown: int, refused: int) -> str:
    """The drawing after stage ``shown`` (-1: before the first)."""
    canvas = Canvas()
    canvas.rect(_PIPE - 44, 8, 88, 24, fill=c.BLUE, stroke=c.BLUE, radius=12)
    canvas.text(_PIPE, 25, "access", size=14, bold=True, anchor="middle", fill=c.WHITE)
    for i, row in enumerate(rows):
        reached = i <= shown
        if i == shown:
            canvas.rect(4, row.y, WIDTH - 8, row.height - 4, fill="#eef5fa", thick=0, radius=6)
        _pipe(canvas, row, reached)
        _words(canvas, row, reached, never=i > refused and shown >= refused)
    bottom = rows[-1].y + rows[-1].height
    done = shown >= len(rows) - 1 and refused >= len(rows)
    _end(canvas, bottom, done, refused <= shown)
    return canvas.svg(bottom + 42)


def _pipe(canvas: Canvas, row: _Row, reached: bool) -> None:
    """The path of the access through one stage, with its gate."""
    top, mid, end = row.y - 12, row.y + 26, row.y + row.height - 12
    stops = row.stage.verdict == "refuse"
    if not reached:
        canvas.line(_PIPE, top, _PIPE, end, stroke="#b0b0b0", thick=2, dash="2 5")
    else:
        canvas.line(_PIPE, top, _PIPE, mid - 4 if stops else end, stroke=c.BLUE, thick=5)
    if row.stage.verdict == "info":
        ink = c.BLUE if reached else "#b0b0b0"
        diamond = f"M{_PIPE} {mid - 10}l10 10l-10 10l-10 -10z"
        canvas.path(diamond, fill=c.WHITE, stroke=ink, thick=2.5)
    else:
        _gate(canvas, mid, row.stage.verdict if reached else "")


def _gate(canvas: Canvas, y: float, verdict: str) -> None:
    """Two posts, and doors that are open, closed, or missing."""
    colours = {"pass": c.DEEP_GREEN, "refuse": c.DEEP_VERMILION, "off": c.INK}
    colour = colours.get(verdict, "#8a8a8a")
    left, right = _PIPE - 36, _PIPE + 36
    for x in (left, right):
        canvas.rect(x - 4, y - 12, 8, 24, fill=colour if verdict != "off" else c.WHITE,
                    stroke=colour, thick=1.5, dash="3 2" if verdict == "off" else "")  # fmt: skip
    if verdict == "pass":
        canvas.path(f"M{left} {y}l10 22M{right} {y}l-10 22", stroke=colour, thick=5)
    elif verdict == "refuse":
        canvas.line(left, y, right, y, stroke=colour, thick=8)
        canvas.cross(_PIPE, y + 20, colour, 14)
    elif verdict == "off":
        canvas.line(left + 6, y, right - 6, y, stroke=colour, thick=1.5, dash="3 4")


def _words(canvas: Canvas, row: _Row, reached: bool, never: bool) -> None:
    """Name, detail, source and verdict of one stage; only the name before it is reached."""
    stage, y = row.stage, row.y
    ink = c.INK if reached else "#6b6b6b"
    name = clean(stage.name)
    canvas.text(_TEXT, y + 24, name, size=15, bold=True, fill=ink, room=_BADGE - _TEXT - 20)
    if not reached:
        canvas.text(_BADGE, y + 24, "never reached" if never else "", size=13, fill=ink)
        return
    canvas.lines(_TEXT, y + 44, row.detail)
    canvas.lines(_TEXT, y + 44 + 18 * len(row.detail), row.source, 17, size=12.5, fill=c.SOFT_INK)
    fill, ink, border = {
        "pass": (c.DEEP_GREEN, c.WHITE, ""),
        "refuse": (c.DEEP_VERMILION, c.WHITE, ""),
        "off": (c.WHITE, c.INK, c.INK),
        "info": (c.PALE, c.INK, c.LINE),
    }[stage.verdict]
    wide = canvas.badge(_BADGE, y + 9, _WORDS[stage.verdict], fill=fill, ink=ink, border=border)
    if stage.verdict == "pass":
        canvas.tick(_BADGE + wide + 16, y + 20, c.DEEP_GREEN)
    elif stage.verdict == "refuse":
        canvas.cross(_BADGE + wide + 16, y + 20, c.DEEP_VERMILION)


def _end(canvas: Canvas, y: float, done: bool, stopped: bool) -> None:
    """What became of the access."""
    if done:
        canvas.path(f"M{_PIPE - 12} {y - 8}h24l-12 14z", fill=c.BLUE, thick=0)
        canvas.text(_TEXT, y + 18, "The access completes.", size=15, bold=True)
    elif stopped:
        canvas.text(_TEXT, y + 18, "The access does not happen.", size=15, bold=True)
    else:
        canvas.text(_TEXT, y + 18, "?", size=15, bold=True, fill="#6b6b6b")
