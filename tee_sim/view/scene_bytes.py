"""Bytes as gray pictures, with the blocks that changed outlined; and recovered bitmaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from tee_sim.errors import UsageError
from tee_sim.view import palette as c
from tee_sim.view.markup import clean
from tee_sim.view.player import Frame, Picture
from tee_sim.view.png import gray_png
from tee_sim.view.svg import Canvas, num
from tee_sim.view.text import wrap

Panel = tuple[str, bytes, set[int] | None]
"""Title, the bytes, and the indices of the blocks that changed (None: not compared)."""

_COLUMNS, _SIDE, _STEP = 3, 272, 300
_ROW, _BLOCK = 64, 16
"""Bytes in a row of a picture, and in a block of AES."""


def changed_blocks(before: bytes, after: bytes) -> set[int]:
    """Indices of the AES blocks in which two memory images differ."""
    pairs = zip_longest(_blocks(before), _blocks(after))
    return {i for i, (one, two) in enumerate(pairs) if one != two}


def _blocks(data: bytes) -> list[bytes]:
    return [data[i : i + _BLOCK] for i in range(0, len(data), _BLOCK)]


def memory_picture(panels: Sequence[Panel], *, title: str = "Memory as a picture") -> Picture:
    """Draw memory images side by side, one gray pixel for each byte, 64 bytes in a row.

    Raises:
        UsageError: no panels, or an empty one.
    """
    if not panels or any(not data for _, data, _ in panels):
        raise UsageError("memory_picture needs at least one panel, and bytes in each")
    canvas, bottom, top = Canvas(), 0.0, 0.0
    names = [wrap(clean(name), _SIDE, 14, bold=True, lines=2) for name, _, _ in panels]
    for i, panel in enumerate(panels):
        start = i - i % _COLUMNS
        if i == start:
            top = bottom + 12 + 18 * max(len(name) for name in names[start : start + _COLUMNS])
        x = 14 + _STEP * (i % _COLUMNS)
        canvas.lines(x, top + 10 - 18 * len(names[i]), names[i], bold=True)
        bottom = max(bottom, _panel(canvas, x, top, panel))
    words = f"Each pixel is a byte: black 0x00, white 0xff. A row is {_ROW} bytes."
    canvas.text(14, bottom + 14, words, size=13, fill=c.SOFT_INK)
    alt = "; ".join(f"{name}: {_count(data, changed)}" for name, data, changed in panels)
    return Picture(Frame(canvas.svg(bottom + 28), "", alt), title)


def _count(data: bytes, changed: set[int] | None) -> str:
    blocks = _blocks(data)
    if changed is None:
        return f"{len(set(blocks))} different values in {len(blocks)} blocks"
    return f"{len(changed)} of {len(blocks)} blocks changed"


def _panel(canvas: Canvas, x: float, y: float, panel: Panel) -> float:
    """One memory image with its count; returns where the next row of panels may start."""
    _, data, changed = panel
    scale = _SIDE / _ROW
    height = -(-len(data) // _ROW) * scale
    canvas.image(x, y, _SIDE, height, gray_png(data, _ROW))
    canvas.rect(x, y, _SIDE, height, fill="none", stroke=c.LINE)
    if changed:
        outline = _outline(changed, _ROW // _BLOCK, x, y, _BLOCK * scale, scale)
        canvas.path(outline, stroke=c.WHITE, thick=3)
        canvas.path(outline, stroke=c.VERMILION, thick=1.5)
    text = wrap(_count(data, changed), _SIDE, 13)
    canvas.lines(x, y + height + 18, text, 17, size=13, fill=c.SOFT_INK)
    return y + height + 18 + 17 * len(text)


def _outline(blocks: set[int], columns: int, x: float, y: float, w: float, h: float) -> str:
    """Path around the blocks, without the borders that two of them share."""
    d = ""
    for index in sorted(blocks):
        row, column = divmod(index, columns)
        left, top = x + column * w, y + row * h
        if index - columns not in blocks:
            d += f"M{num(left)} {num(top)}h{num(w)}"
        if index + columns not in blocks:
            d += f"M{num(left)} {num(top + h)}h{num(w)}"
        if column == 0 or index - 1 not in blocks:
            d += f"M{num(left)} {num(top)}v{num(h)}"
        if column == columns - 1 or index + 1 not in blocks:
            d += f"M{num(left + w)} {num(top)}v{num(h)}"
    return d


Bits = Iterable[int | bool | str | None]


def bitmap(
    bits: Bits,
    width: int,
    title: str = "Recovered bitmap",
    *,
    truth: Bits | None = None,
    heading: str = "Recovered",
    words: str = "",
) -> Picture:
    """Draw bits as black (1) and white (0) cells, beside the true bitmap if it is given.

    Args:
        bits: 0 and 1, or the characters ``"0"`` and ``"1"``; None or ``"?"`` is not recovered.
        width: cells in a row.
        title: shown above the drawing.
        truth: the true bits; wrong cells are then crossed out and counted.
        heading: shown right above the cells.
        words: shown below the cells; else the number of bits.

    Raises:
        UsageError: no bits, or the true bitmap has another length.
    """
    cells = [_bit(bit) for bit in bits]
    real = None if truth is None else [_bit(bit) for bit in truth]
    if not cells or width < 1:
        raise UsageError("a bitmap needs at least one bit and a width of at least 1")
    if real is not None and len(real) != len(cells):
        raise UsageError(f"{len(cells)} bits recovered, but the true bitmap has {len(real)}")
    canvas = Canvas()
    pairs = enumerate(zip(cells, real or cells, strict=True))
    wrong = {i for i, (cell, true) in pairs if cell is not None and cell != true}
    bottom = _grid(canvas, 14, heading, cells, width, wrong)
    words = words or f"{len(cells)} bits"
    if real is not None:
        _grid(canvas, 464, "True", real, width, set())
        unknown = sum(cell is None for cell in cells)
        words = f"{len(cells) - len(wrong) - unknown} of {len(cells)} bits right"
        words += f", {len(wrong)} wrong (crossed out), {unknown} not recovered (gray diamond)"
    canvas.text(14, bottom + 24, words, size=14)
    return Picture(Frame(canvas.svg(bottom + 38), "", words + "."), title)


def _bit(value: int | bool | str | None) -> int | None:
    if value is None or value == "?":
        return None
    if value in (0, 1, "0", "1"):
        return int(value)
    raise UsageError(f"{value!r} is not a bit: use 0, 1, or None for one that was not recovered")


def _grid(
    canvas: Canvas, x: float, name: str, cells: list[int | None], width: int, wrong: set[int]
) -> float:
    """One bitmap under its name; returns its bottom edge."""
    side = min(22.0, 420 / width)
    rows = -(-len(cells) // width)
    canvas.text(x, 20, name, size=14, bold=True)
    canvas.rect(x, 30, side * width, side * rows, fill=c.WHITE, stroke=c.LINE)
    black = dots = crosses = ""
    for i, cell in enumerate(cells):
        left, top = x + i % width * side, 30 + i // width * side
        if cell:
            black += f"M{num(left)} {num(top)}h{num(side)}v{num(side)}h{num(-side)}z"
        elif cell is None:
            r = num(side / 2.5)
            dots += f"M{num(left + side / 2)} {num(top + side / 2 - side / 2.5)}"
            dots += f"l{r} {r}l-{r} {r}l-{r} -{r}z"
        if i in wrong:
            crosses += f"M{num(left)} {num(top)}l{num(side)} {num(side)}"
            crosses += f"M{num(left + side)} {num(top)}l{num(-side)} {num(side)}"
    for d, fill in ((black, c.INK), (dots, "#8a8a8a")):
        if d:
            canvas.path(d, fill=fill, thick=0)
    if crosses:
        canvas.path(crosses, stroke=c.WHITE, thick=5)
        canvas.path(crosses, stroke=c.VERMILION, thick=2.5)
    return 30 + side * rows
