"""The FXSAVE image of the x87 and SSE registers: the legacy region of an XSAVE area.

Source: Intel SDM Vol. 1, "Layout of the 64-bit mode FXSAVE Map".
"""

from __future__ import annotations

import struct

SIZE = 512
RAW_SIZES = (2, 2, 2, 4, *(10,) * 8, *(16,) * 16)
"""Bytes of the registers that the CPU reads: FCW, FSW, FTW, MXCSR, ST0-7, XMM0-15."""

_CONTROL = struct.Struct("<HHHI")
MXCSR_MASK = 0xFFFF


def to_image(raw: bytes) -> bytes:
    """Arrange the packed registers (`RAW_SIZES`) as a 512-byte FXSAVE image."""
    fcw, fsw, ftw, mxcsr = _CONTROL.unpack_from(raw)
    image = bytearray(SIZE)
    struct.pack_into("<HHB", image, 0, fcw, fsw, _abridge(ftw))
    struct.pack_into("<II", image, 24, mxcsr, MXCSR_MASK)
    for place, number in _stack(fsw):
        image[32 + 16 * place : 42 + 16 * place] = raw[10 + 10 * number : 20 + 10 * number]
    image[160:416] = raw[90:346]
    return bytes(image)


def from_image(image: bytes) -> bytes:
    """The packed registers (`RAW_SIZES`) that an FXSAVE image holds."""
    fcw, fsw, abridged = struct.unpack_from("<HHB", image, 0)
    (mxcsr,) = struct.unpack_from("<I", image, 24)
    places = {number: place for place, number in _stack(fsw)}
    registers = b"".join(
        image[32 + 16 * places[number] : 42 + 16 * places[number]] for number in range(8)
    )
    full = sum((0 if abridged >> index & 1 else 3) << 2 * index for index in range(8))
    return _CONTROL.pack(fcw, fsw, full, mxcsr) + registers + image[160:416]


def _stack(fsw: int) -> list[tuple[int, int]]:
    """(i, n) for each ST(i), which is register R(n): the stack's top is in FSW.TOP."""
    top = fsw >> 11 & 7
    return [(place, (top + place) & 7) for place in range(8)]


def _abridge(ftw: int) -> int:
    """One bit a register, set when it is not empty (the tag word has two)."""
    return sum((ftw >> 2 * index & 3 != 3) << index for index in range(8))


INITIAL = to_image(_CONTROL.pack(0x37F, 0, 0xFFFF, 0x1F80) + bytes(336))
"""The state after FNINIT with all vector registers zero and MXCSR = 1F80H."""
