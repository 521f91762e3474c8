"""What a launch measures: the records behind MRENCLAVE, and what a change does to them."""

from __future__ import annotations

import hashlib
from itertools import zip_longest

from tee_sim.abi.image import Image, ImagePage, measured_log
from tee_sim.abi.sgx import PageType, SecinfoFlags
from tee_sim.abi.sgxs import EAddRecord, ECreateRecord, EExtendRecord, Record, read_records
from tee_sim.monitors.sgx.epcm import EPCMEntry
from tee_sim.view.grid import grid
from tee_sim.view.markup import Html
from tee_sim.view.player import Player
from tee_sim.view.scene_records import Group, record_strip

MOST_GROUPS = 20
"""Pages of a strip that are shown one by one."""

MOST_ROWS = 8
"""Differing records that are shown before the rest is only counted."""


def records(image: Image) -> list[Record]:
    """Every record that loading ``image`` measures, in order."""
    return [record for piece in measured_log(image) for _, record in read_records(piece)]


def measurement_strip(image: Image, title: str = "The measurement grows") -> Player:
    """The records of an image as a strip, with the SHA-256 of everything so far.

    The last digest is MRENCLAVE.
    """
    digest, groups = hashlib.sha256(), []
    for piece in measured_log(image):
        digest.update(piece)
        (_, first), *extends = read_records(piece)
        alone = isinstance(first, EAddRecord) and not extends
        words = describe(first) + ("; content not measured" if alone else "")
        groups.append(Group(kind(first), words, len(extends), digest.digest()))
    return record_strip(groups, title, rows=MOST_GROUPS)


def changed_records(signed: Image, launched: Image, title: str = "What differs") -> Html:
    """The records in which two images differ, side by side."""
    pairs = list(zip_longest(records(signed), records(launched)))
    different = [(i, one, two) for i, (one, two) in enumerate(pairs) if one != two]
    rows = [(str(i), *_sides(one, two)) for i, one, two in different[:MOST_ROWS]]
    if len(different) > MOST_ROWS:
        rows.append(("...", f"{len(different) - MOST_ROWS} more", ""))
    note = f"{len(different)} of {len(pairs)} records differ."
    if different:
        note += f" Every digest from record {different[0][0]} on is another one."
    return grid(title, ("record", "as signed", "as launched"), rows, note=note)


def kind(record: Record) -> str:
    """The leaf that measured the record."""
    return record.tag.rstrip(b"\0").decode()


def describe(record: Record) -> str:
    """What one record says, in words."""
    if isinstance(record, ECreateRecord):
        return f"{record.size:#x} bytes of addresses; save frames of {record.ssaframesize} page"
    if isinstance(record, EAddRecord):
        return f"page at offset {record.offset:#x}: {rights(record.flags)}"
    if isinstance(record, EExtendRecord):
        return f"256 bytes at offset {record.offset:#x}"
    return f"{kind(record)} is not measured"


def rights(flags: SecinfoFlags) -> str:
    """``REG r-x`` and the like; a TCS has no rights."""
    if flags.page_type == PageType.TCS:
        return "TCS"
    return f"{flags.page_type.name} {letters(flags)}"


def letters(page: SecinfoFlags | ImagePage | EPCMEntry) -> str:
    """The rights of a page, as ``r-x``."""
    return "".join(letter if getattr(page, letter) else "-" for letter in "rwx")


def _sides(one: Record | None, two: Record | None) -> tuple[str, str]:
    """Two records that differ; of two chunks at one place, where they do."""
    first, second = (f"{kind(r)} {describe(r)}" if r is not None else "(none)" for r in (one, two))
    if isinstance(one, EExtendRecord) and isinstance(two, EExtendRecord):
        at = next((i for i in range(256) if one.data[i] != two.data[i]), None)
        if at is not None:
            first += f", [{at:#x}] = {one.data[at]:02x}"
            second += f", [{at:#x}] = {two.data[at]:02x}"
    return first, second
