"""Colours and patterns. A colour never stands alone: each comes with a pattern and a word.

Source: Okabe and Ito, "Color Universal Design": eight colours that people with the common kinds
of colour blindness can tell apart.
"""

from __future__ import annotations

from dataclasses import dataclass

BLACK = "#000000"
ORANGE = "#e69f00"
SKY = "#56b4e9"
GREEN = "#009e73"
YELLOW = "#f0e442"
BLUE = "#0072b2"
VERMILION = "#d55e00"
PURPLE = "#cc79a7"

INK = "#1a1a1a"
SOFT_INK = "#4d4d4d"
LINE = "#767676"
PALE = "#f2f2f2"
WHITE = "#ffffff"

DEEP_GREEN = "#00694d"
DEEP_VERMILION = "#a84300"
"""Darker shades of the same hues, for text on white (contrast at least 4.5 to 1)."""


@dataclass(frozen=True, slots=True)
class Style:
    """How one owner, or one kind of record, is filled."""

    colour: str
    pattern: str


FREE = Style(LINE, "plain")
HOST = Style(VERMILION, "diagonal")
OTHERS = (
    Style(BLUE, "dots"),
    Style(GREEN, "cross"),
    Style(PURPLE, "horizontal"),
    Style(ORANGE, "vertical"),
    Style(SKY, "back"),
    Style(BLACK, "sparse"),
    Style(YELLOW, "grid"),
)


def tint(colour: str) -> str:
    """18 percent of ``colour`` mixed into white."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - (255 - part) * 0.18):02x}" for part in parts)


def owner_styles(owners: list[str]) -> dict[str, Style]:
    """A style for each owner, in order of first appearance.

    ``free`` is always plain and ``host`` always vermilion diagonals, so that two pictures can be
    compared. Beyond seven other owners the styles repeat; the labels still tell them apart.
    """
    styles: dict[str, Style] = {}
    used = 0
    for owner in owners:
        if owner in styles:
            continue
        word = owner.strip().casefold()
        if word in ("", "free", "nobody"):
            styles[owner] = FREE
        elif word in ("host", "kernel", "hypervisor", "operator"):
            styles[owner] = HOST
        else:
            styles[owner] = OTHERS[used % len(OTHERS)]
            used += 1
    return styles
