"""A house at night: a picture of one page, in which the lit windows form a digit.

It is there to be put into an enclave and to be looked at on the memory bus, where what *changes*
between two pictures tells as much as the pictures.
"""

from __future__ import annotations

from hashlib import sha256

from tee_sim.errors import UsageError

SIDE, COLUMN, FLOOR, ROOF = 64, 16, 8, 7
"""Pixels: of the picture, of the column and the floor that a window lies in, and of the roof."""

SKY, TILES, WALL, FRAME, DARK, LIGHT, GROUND = 0x18, 0x48, 0x70, 0x50, 0x28, 0xF8, 0x30
"""Shades of gray."""

# Seven floors of four windows.
_DIGITS = (
    ".##. #..# #..# #..# #..# #..# .##.",
    "..#. .##. ..#. ..#. ..#. ..#. .###",
    ".##. #..# ...# ..#. .#.. #... ####",
    "###. ...# ...# .##. ...# ...# ###.",
    "#..# #..# #..# #### ...# ...# ...#",
    "#### #... ###. ...# ...# #..# .##.",
    ".##. #... #... ###. #..# #..# .##.",
    "#### ...# ...# ..#. .#.. .#.. .#..",
    ".##. #..# #..# .##. #..# #..# .##.",
    ".##. #..# #..# .### ...# ...# .##.",
)
_ALL_DARK = ".... " * 7


def house(digit: int | None = None) -> bytes:
    """The picture: 64 rows of 64 pixels, a byte each, so 4096 bytes, one page.

    A window lies inside one 16-byte column: its light changes blocks of that column only. The lit
    windows form ``digit``, 0 to 9; without one all are dark.
    """
    if digit is not None and digit not in range(10):
        raise UsageError(f"the windows form a digit, 0 to 9, not {digit}")
    floors = (_ALL_DARK if digit is None else _DIGITS[digit]).split()
    rows = [_roof(y) for y in range(ROOF)]
    for windows in floors:
        for y in range(FLOOR):
            rows.append(b"".join(_window(y, window == "#") for window in windows))
    rows.append(bytes([GROUND]) * SIDE)
    return b"".join(rows)


def secret_house(word: str) -> bytes:
    """A house whose digit depends on ``word``: for exercises that must not show it."""
    return house(sha256(word.encode()).digest()[0] % 10)


def _roof(y: int) -> bytes:
    tiles = SIDE * (y + 1) // (2 * ROOF) * 2
    return (bytes([TILES]) * tiles).center(SIDE, bytes([SKY]))


def _window(y: int, lit: bool) -> bytes:
    """One of the rows of pixels in which a window lies."""
    if y in (0, FLOOR - 1):
        return bytes([WALL]) * COLUMN
    pane = bytes([FRAME, *[LIGHT if lit else DARK] * 6, FRAME])
    return pane.center(COLUMN, bytes([WALL]))
