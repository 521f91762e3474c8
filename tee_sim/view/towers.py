"""Towers of who must be trusted: one for each platform, from the silicon up to the program."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tee_sim.errors import UsageError
from tee_sim.view import palette as c
from tee_sim.view.player import Frame, Picture
from tee_sim.view.svg import WIDTH, Canvas

FLOOR, TOP, GAP = 34, 58, 14
"""Height of one layer, where the towers begin, and the space between two."""


def layers(towers: Collection[Sequence[str]]) -> list[str]:
    """Every layer of any of them, from the bottom, in an order that suits all.

    Raises:
        UsageError: one says that A lies below B, and another the reverse.
    """
    found: list[str] = []
    waiting = [list(tower) for tower in towers]
    while any(waiting):
        heads = [tower[0] for tower in waiting if tower]
        free = [h for h in heads if not any(h in tower[1:] for tower in waiting)]
        if not free:
            raise UsageError(f"no order suits these towers: {', '.join(heads)}")
        found.append(free[0])
        waiting = [tower[1:] if tower[:1] == free[:1] else tower for tower in waiting]
    return found


def towers(trusted: Mapping[str, Sequence[str]]) -> Picture:
    """Draw who must be trusted on each platform; the others may all be hostile.

    Args:
        trusted: a platform's title, and who must be trusted on it, from the bottom. The first is an
            ordinary server: whom it trusts, every server has.

    Raises:
        UsageError: there is no platform, or no order suits them.
    """
    if not trusted:
        raise UsageError("name at least one platform, and who must be trusted on it")
    floors, canvas = layers(trusted.values()), Canvas()
    ordinary, width = next(iter(trusted.values())), (WIDTH - GAP) / len(trusted) - GAP
    for number, (title, tower) in enumerate(trusted.items()):
        x = GAP + number * (width + GAP)
        name, _, kind = title.partition(" (")
        canvas.text(x, 24, name, size=15, bold=True, room=width)
        canvas.text(x, 44, kind.rstrip(")"), size=13, room=width)
        for height, floor in enumerate(reversed(floors)):
            if floor in tower or floor in ordinary:
                _layer(canvas, x, TOP + height * FLOOR, width, floor, floor in tower)
    words = "; ".join(f"{title} trusts {', '.join(tower)}" for title, tower in trusted.items())
    bottom = TOP + len(floors) * FLOOR + 26
    note = "Solid, with a check mark: must be trusted.  Striped, with a cross: may be hostile."
    canvas.text(GAP, bottom, note, size=13)
    return Picture(Frame(canvas.svg(bottom + 16), "", words + "."), "Who is trusted")


def _layer(canvas: Canvas, x: float, y: float, width: float, name: str, trusted: bool) -> None:
    """One layer: who it is, and whether it must be trusted, by mark, pattern and colour."""
    if trusted:
        canvas.rect(x, y, width, FLOOR - 4, fill=c.tint(c.GREEN), stroke=c.DEEP_GREEN, thick=2)
        canvas.tick(x + 16, y + FLOOR / 2 - 2, c.DEEP_GREEN)
    else:
        canvas.fill(x, y, width, FLOOR - 4, c.HOST)
        canvas.rect(x + 4, y + 4, width - 8, FLOOR - 12, thick=0)
        canvas.cross(x + 16, y + FLOOR / 2 - 2, c.DEEP_VERMILION, 10)
    canvas.text(x + 32, y + FLOOR / 2 + 3, name, size=13, bold=trusted, room=width - 40)
