"""A PNG in thirty lines: 8-bit gray, the same bytes in every run.

Source: W3C, "Portable Network Graphics (PNG) Specification", "Chunk layout" and "IHDR".
"""

from __future__ import annotations

import struct
import zlib


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def gray_png(data: bytes, width: int) -> bytes:
    """``data`` as a picture ``width`` pixels wide: one byte is one pixel, 0 black and 255 white.

    The last row is filled up with white. The compression is "stored", because two versions of zlib
    may compress differently, and stored outputs of notebooks are compared.
    """
    rows = [data[i : i + width].ljust(width, b"\xff") for i in range(0, len(data), width)]
    header = struct.pack(">IIBBBBB", width, len(rows), 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\x00" + row for row in rows), 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", pixels), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
