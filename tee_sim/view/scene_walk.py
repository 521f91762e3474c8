"""A page-table walk: one address, four tables, one page."""

from __future__ import annotations

from collections.abc import Sequence

from tee_sim.errors import UsageError
from tee_sim.units import PAGE
from tee_sim.view import palette as c
from tee_sim.view.player import Frame, Player
from tee_sim.view.svg import Canvas

Entry = tuple[int, int]
"""Physical address of a page-table entry, and its value."""

TABLES = ("page map level 4", "page directory pointers", "page directory", "page table")
_SHORT = ("PML4", "PDPT", "PD", "PT")
_LEFT, _STEP, _BOX = 14, 177, 162
_FIELDS, _TOP, _HEIGHT = 34, 132, 150
_ADDRESS_BITS = 0x000F_FFFF_FFFF_F000


def page_walk(gva: int, entries: Sequence[Entry], title: str = "A page-table walk") -> Player:
    """Draw how a processor finds the physical page of ``gva``; each frame reads one more table.

    Args:
        gva: the linear address; its upper bits are cut into four indexes of 9 bits.
        entries: the entry of each level, top first: where it stands, and what it says. The walk
            ends at an entry that is not present.
        title: shown above the drawing.

    Raises:
        UsageError: there are no entries, or more than four.
    """
    if not 0 < len(entries) <= len(TABLES):
        raise UsageError(f"a walk reads one to {len(TABLES)} tables, not {len(entries)}")
    frames = [Frame(_draw(gva, entries, 0), *_start(gva))]
    for count in range(1, len(entries) + 1):
        frames.append(Frame(_draw(gva, entries, count), *_words(gva, entries, count)))
    return Player(frames, title)


def _index(gva: int, level: int) -> int:
    return gva >> (39 - 9 * level) & 0x1FF


def _start(gva: int) -> tuple[str, str]:
    parts = ", ".join(str(_index(gva, level)) for level in range(4))
    words = f"The address {gva:#x} is cut into four indexes and an offset in the page."
    return words, f"{words} The indexes are {parts}; the offset is {gva % PAGE:#x}."


def _words(gva: int, entries: Sequence[Entry], count: int) -> tuple[str, str]:
    """Caption and description after ``count`` tables."""
    place, value = entries[count - 1]
    level = count - 1
    words = f"Entry {_index(gva, level)} of the {TABLES[level]} stands at {place:#x}"
    if not value & 1:
        words += ": not present, so the processor raises a page fault."
        return words, words
    target = value & _ADDRESS_BITS
    if count == len(TABLES):
        words += f" and names the page at {target:#x}. The byte is at {target + gva % PAGE:#x}."
        return words, f"{words} The walk is over."
    words += f" and points to the next table, at {target:#x}."
    return words, f"{words} {len(TABLES) - count} tables remain."


def _draw(gva: int, entries: Sequence[Entry], count: int) -> str:
    canvas = Canvas()
    canvas.text(_LEFT, 20, f"linear address {gva:#x}", size=14, bold=True, mono=True)
    for level in range(5):
        x = _LEFT + level * _STEP
        now = level == count - 1 or (level == 4 and count == 4)
        _field(canvas, x, gva, level, now)
        if level == 4:
            _page(canvas, x, gva, entries, count)
        else:
            _table(canvas, x, gva, level, entries[level] if level < count else None, now)
    words = "Each entry: the physical address of what comes next, and flags in the other bits."
    canvas.text(_LEFT, _TOP + _HEIGHT + 30, words, size=13, fill=c.SOFT_INK)
    return canvas.svg(_TOP + _HEIGHT + 44)


def _field(canvas: Canvas, x: float, gva: int, level: int, now: bool) -> None:
    """One part of the address, and the line to the table it is an index into."""
    style = c.BLUE if level < 4 else c.DEEP_GREEN
    canvas.rect(x, _FIELDS, _BOX, 44, fill=c.tint(style), stroke=style, thick=3 if now else 1)
    bits = ("bits 47-39", "bits 38-30", "bits 29-21", "bits 20-12", "bits 11-0")[level]
    value = f"index {_index(gva, level)}" if level < 4 else f"offset {gva % PAGE:#x}"
    canvas.text(x + 10, _FIELDS + 18, bits, size=12.5, fill=c.SOFT_INK)
    canvas.text(x + 10, _FIELDS + 36, value, size=14, bold=True, mono=True)
    canvas.line(x + 24, _FIELDS + 44, x + 24, _TOP, stroke=style, thick=1.5, dash="3 4")


def _table(
    canvas: Canvas, x: float, gva: int, level: int, entry: Entry | None, now: bool
) -> None:  # fmt: skip
    """One table: unknown until the walk has read its entry."""
    if entry is None:
        canvas.rect(x, _TOP, _BOX, _HEIGHT, stroke="#8a8a8a", dash="4 4")
        canvas.text(x + 10, _TOP + 22, _SHORT[level], size=14, bold=True, fill="#6b6b6b")
        return
    place, value = entry
    canvas.rect(x, _TOP, _BOX, _HEIGHT, stroke=c.BLUE, thick=3 if now else 1)
    canvas.text(x + 10, _TOP + 22, _SHORT[level], size=14, bold=True)
    canvas.text(x + 10, _TOP + 40, f"at {place & -PAGE:#x}", size=13, mono=True, room=_BOX - 20)
    canvas.rect(x + 6, _TOP + 62, _BOX - 12, 50, fill=c.tint(c.SKY), stroke=c.LINE)
    canvas.text(x + 12, _TOP + 81, f"entry {_index(gva, level)}:", size=13)
    canvas.text(x + 12, _TOP + 102, f"{value:#x}", size=12, bold=True, mono=True, room=_BOX - 24)
    if not value & 1:
        canvas.text(x + 10, _TOP + 136, "not present", size=13, bold=True, fill=c.DEEP_VERMILION)
        return
    words = f"-> {value & _ADDRESS_BITS:#x}"
    canvas.text(x + 10, _TOP + 136, words, size=13, mono=True, room=_BOX - 20)


def _page(canvas: Canvas, x: float, gva: int, entries: Sequence[Entry], count: int) -> None:
    """What the walk ends in."""
    if count < len(TABLES) or not entries[-1][1] & 1:
        canvas.rect(x, _TOP, _BOX, _HEIGHT, stroke="#8a8a8a", dash="4 4")
        canvas.text(x + 10, _TOP + 22, "page", size=14, bold=True, fill="#6b6b6b")
        return
    target = entries[-1][1] & _ADDRESS_BITS
    canvas.rect(x, _TOP, _BOX, _HEIGHT, fill=c.tint(c.GREEN), stroke=c.DEEP_GREEN, thick=3)
    canvas.text(x + 10, _TOP + 22, "page", size=14, bold=True)
    canvas.text(x + 10, _TOP + 40, f"at {target:#x}", size=13, mono=True, room=_BOX - 20)
    canvas.text(x + 10, _TOP + 81, "physical address", size=13)
    place = f"{target + gva % PAGE:#x}"
    canvas.text(x + 10, _TOP + 102, place, size=14, bold=True, mono=True, room=_BOX - 20)
