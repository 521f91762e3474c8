"""x86-64 four-level page tables: entries in memory, and the walk that reads them.

::

    linear address   | 47..39 PML4 | 38..30 PDPT | 29..21 PD | 20..12 PT | 11..0 offset |
    table entry      | NX 63 | ... | physical page 51..12 | ... D 6 | A 5 | U 2 | W 1 | P 0 |

The tables are ordinary memory of the host. Whoever runs the host owns them: on SGX that is the
adversary, and it is why the enclave's own page map (EPCM) exists.

Simplified: 4 KiB pages only (a set PS bit is a reserved-bit fault); protection keys, PCID, global
pages, SMEP and SMAP are not modelled; CR0.WP, EFER.NXE and user mode are always on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tee_sim.errors import GeneralProtection, PageFault

PRESENT, WRITABLE, USER, ACCESSED, DIRTY, LARGE = 1, 2, 4, 1 << 5, 1 << 6, 1 << 7
NO_EXECUTE = 1 << 63
ADDRESS_MASK = 0x000F_FFFF_FFFF_F000

FLAGS = {
    "present": PRESENT,
    "writable": WRITABLE,
    "user": USER,
    "accessed": ACCESSED,
    "dirty": DIRTY,
    "no-execute": NO_EXECUTE,
}
"""The flags of a page-table entry by name."""

READ, WRITE, FETCH = 0, 1, 2
ACCESS_NAMES = ("read", "write", "fetch")

R, W, X = 1, 2, 4
"""Permission bits of a translation."""

PFEC_PRESENT, PFEC_WRITE, PFEC_USER, PFEC_RESERVED, PFEC_FETCH = 1, 2, 4, 8, 16
PFEC_ACCESS = (PFEC_USER, PFEC_USER | PFEC_WRITE, PFEC_USER | PFEC_FETCH)


class Walk(NamedTuple):
    """Result of a page walk: the physical page, the allowed accesses, and the entries read."""

    hpa: int
    permissions: int
    entries: tuple[int, ...]


def is_canonical(gva: int) -> bool:
    """Whether bits 63..47 of ``gva`` are all equal."""
    return gva >> 47 in (0, 0x1FFFF)


def walk(
    qwords: memoryview[int], cr3: int, gva: int, access: int, visible: Callable[[int], bool]
) -> Walk:
    """Translate ``gva`` for a user-mode ``access`` and set the accessed and dirty bits.

    Args:
        qwords: physical memory as 64-bit words (`DRAM.qwords`).
        cr3: physical address of the top table.
        gva: linear address.
        access: `READ`, `WRITE` or `FETCH`.
        visible: whether software outside any TEE reaches a physical address; tables elsewhere read
            as all ones, so as reserved bits, and are not written.

    Returns:
        The page that ``gva`` lies in; ``permissions`` has `W` only if the dirty bit is set
        already, so that the first write comes back here.

    Raises:
        PageFault: not present, not permitted, or a reserved bit (SDM error codes).
        GeneralProtection: the address is not canonical.

    Source: Intel SDM Vol. 3A, "4-Level Paging and 5-Level Paging", "Page-Fault Exceptions".
    """
    if not is_canonical(gva):
        raise GeneralProtection(f"{ACCESS_NAMES[access]} at {gva:#x}: the address is not canonical")
    table, allowed, entries = cr3 & ADDRESS_MASK, R | W | X, []
    entry = index = 0
    for shift in (39, 30, 21, 12):
        index = (table >> 3) + ((gva >> shift) & 0x1FF)
        if index >= len(qwords):
            raise fault(gva, access, PFEC_RESERVED | PFEC_PRESENT, "a table lies outside memory")
        if not visible(index << 3):
            raise fault(gva, access, PFEC_RESERVED | PFEC_PRESENT, "a table reads as all ones")
        entry = qwords[index]
        entries.append(index << 3)
        if not entry & PRESENT:
            raise fault(gva, access, 0, "no page is mapped there")
        if entry & LARGE and shift != 12:
            raise fault(gva, access, PFEC_RESERVED | PFEC_PRESENT, "large pages are not modelled")
        if not entry & WRITABLE:
            allowed &= ~W
        if entry & NO_EXECUTE:
            allowed &= ~X
        if not entry & USER:
            allowed = 0
        if not entry & ACCESSED:
            qwords[index] = entry = entry | ACCESSED
        table = entry & ADDRESS_MASK
    if table >> 3 >= len(qwords):
        raise fault(gva, access, PFEC_RESERVED | PFEC_PRESENT, "the page lies outside memory")
    if not allowed & (R, W, X)[access]:
        raise fault(gva, access, PFEC_PRESENT, "the page table forbids it")
    if access == WRITE and not entry & DIRTY:
        qwords[index] = entry = entry | DIRTY
    if not entry & DIRTY:
        allowed &= ~W
    return Walk(table, allowed, tuple(entries))


def fault(gva: int, access: int, code: int, why: str) -> PageFault:
    """An ordinary #PF for a user-mode access (bit 15, SGX, clear)."""
    return PageFault(
        f"{ACCESS_NAMES[access]} at {gva:#x}: {why}",
        error_code=code | PFEC_ACCESS[access],
        address=gva,
    )
