"""Sizes that every part of the machine shares.

Addresses are plain integers, and their names say which kind: ``gva`` is guest virtual (the SDM's
linear address), ``hpa`` host physical (what the memory bus carries).
"""

PAGE = 4096
"""Bytes in a page: the granule of translation, of the EPC and of our memory encryption."""

CACHE_LINE = 64
"""Bytes in a cache line: the granule in which real memory controllers move data."""

KIB, MIB = 1 << 10, 1 << 20


def align_down(value: int, granule: int = PAGE) -> int:
    """Largest multiple of ``granule`` (a power of two, bytes) that is not above ``value``."""
    return value & -granule


def align_up(value: int, granule: int = PAGE) -> int:
    """Smallest multiple of ``granule`` (a power of two, bytes) that is not below ``value``."""
    return (value + granule - 1) & -granule


def is_aligned(value: int, granule: int = PAGE) -> bool:
    """Whether ``value`` is a multiple of ``granule`` (a power of two, bytes)."""
    return value & (granule - 1) == 0
