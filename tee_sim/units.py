"""Sizes and address kinds that every part of the machine shares.

Addresses are plain integers at run time; the three ``NewType`` names only let the type checker
tell a guest-virtual address from a physical one. On a platform without nested paging (`none`,
SGX) guest-physical and host-physical addresses coincide and only ``GVA`` and ``HPA`` appear.
"""

from typing import NewType

PAGE = 4096
"""Bytes in a page: the granule of translation, of the EPC and of our memory encryption."""

CACHE_LINE = 64
"""Bytes in a cache line: the granule in which real memory controllers move data."""

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

GVA = NewType("GVA", int)
"""Guest virtual address (the SDM's linear address)."""

GPA = NewType("GPA", int)
"""Guest physical address."""

HPA = NewType("HPA", int)
"""Host physical address: what the memory bus carries."""


def align_down(value: int, granule: int = PAGE) -> int:
    """Largest multiple of ``granule`` (a power of two, bytes) that is not above ``value``."""
    return value & -granule


def align_up(value: int, granule: int = PAGE) -> int:
    """Smallest multiple of ``granule`` (a power of two, bytes) that is not below ``value``."""
    return (value + granule - 1) & -granule


def is_aligned(value: int, granule: int = PAGE) -> bool:
    """Whether ``value`` is a multiple of ``granule`` (a power of two, bytes)."""
    return value & (granule - 1) == 0
