"""What happened while an enclave ran: its diary, its registers, what its page faults gave away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from tee_sim.abi.sgx import GPRSGX
from tee_sim.errors import UsageError
from tee_sim.machine.registers import REGISTER_NAMES
from tee_sim.platform import DeployedEnclave, Platform
from tee_sim.trace import Event, Exit, Leaf, Refusal
from tee_sim.units import PAGE
from tee_sim.view.grid import grid
from tee_sim.view.markup import Html
from tee_sim.view.player import Frame, Player
from tee_sim.view.scene_bytes import bitmap

WORD = 8
"""Bytes in a register."""


def diary(events: Iterable[Event], title: str = "What the processor did") -> Html:
    """Instructions, exits and what checks did, in order; TLB misses are left out.

    Lines that follow each other and differ only in their detail are folded into one.
    """
    lines = [line for event in events if (line := _line(event)) is not None]
    rows: list[tuple[str, str, str]] = []
    for what, run in groupby(_pairs(lines), key=lambda line: line[0]):
        first, *more = (detail for _, detail in run)
        name, detail = what, first
        if more:
            name, detail = f"{len(more) + 1} x {what}", f"{first} ... {more[-1]}"
        rows.append((str(len(rows) + 1), name, detail))
    return grid(title, ("", "event", "detail"), rows)


def _line(event: Event) -> tuple[str, str] | None:
    if isinstance(event, Leaf):
        return event.name, event.detail
    if isinstance(event, Exit):
        if event.reason == "EEXIT":
            return "EEXIT", "the enclave leaves on its own"
        return "AEX", f"the enclave is left because of: {event.reason}"
    if isinstance(event, Refusal):
        return event.check.name, event.detail
    return None


def _pairs(lines: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Join each EADD with the EEXTEND behind it: loaders call them in turn."""
    out: list[tuple[str, str]] = []
    for what, detail in lines:
        if what == "EEXTEND" and out and out[-1][0] == "EADD":
            out[-1] = "EADD + EEXTEND", out[-1][1]
        else:
            out.append((what, detail))
    return out


def register_table(
    columns: Mapping[str, Mapping[str, int]], secret: bytes = b"",
    title: str = "What is in the registers",
) -> Html:  # fmt: skip
    """Registers by name, side by side; those that hold eight bytes of ``secret`` are marked."""
    names = [n for n in REGISTER_NAMES if all(n in registers for registers in columns.values())]
    words = {secret[at : at + WORD] for at in range(0, len(secret) - WORD + 1, WORD)}
    rows, marked = [], []
    for i, name in enumerate(names):
        values = [registers[name] for registers in columns.values()]
        rows.append((name, *(f"{value:x}" for value in values)))
        marked += [
            (i, j) for j, value in enumerate(values, 1) if value.to_bytes(WORD, "little") in words
        ]
    note = "In hexadecimal. An arrow marks eight bytes of the secret." if secret else ""
    return grid(title, ("register", *columns), rows, marked=marked, note=note)


def saved_registers(host: Platform, victim: DeployedEnclave, thread: int = 0) -> dict[str, int]:
    """Registers that the last asynchronous exit saved, read with EDBGRD: debug enclaves only.

    Raises:
        GeneralProtection: a production enclave; carries the check that refused.
        UsageError: not an SGX platform.
    """
    leaves = host.adversary.sgx
    if leaves is None:
        raise UsageError("saved_registers reads an enclave's save area: an SGX platform is needed")
    frame = host.adversary.hpa(victim.guest, victim.guest.base + victim.program.threads[thread].ssa)
    start = frame + PAGE - GPRSGX.SIZE
    words = [leaves.edbgrd(start + at) for at in range(0, GPRSGX.SIZE, WORD)]
    saved = GPRSGX.unpack(b"".join(word.to_bytes(WORD, "little") for word in words))
    return {name: getattr(saved, name) for name in REGISTER_NAMES}


def plaintext(host: Platform, victim: DeployedEnclave, symbol: str, size: int) -> bytes:
    """Memory of the program as the processor sees it, past every check. No operator can do this."""
    return host.machine.cache.read(victim.physical(symbol), size)


def growing_bitmap(bits: Sequence[int], width: int, title: str = "The picture grows") -> Player:
    """A bitmap that fills up, a row in each step, as its bits were recovered."""
    if not bits:
        raise UsageError("a bitmap needs at least one bit")
    frames = []
    for known in range(0, len(bits) + width, width):
        known = min(known, len(bits))
        cells = [*bits[:known], *([None] * (len(bits) - known))]
        frame = bitmap(cells, width).frame
        words = f"{known} of {len(bits)} bits recovered"
        words += "; the rest are gray diamonds." if known < len(bits) else "."
        frames.append(Frame(frame.svg, words, _rows(cells, width)))
    return Player(frames, title)


def _rows(cells: Sequence[int | None], width: int) -> str:
    """The bitmap in characters, for a reader who does not see it."""
    text = "".join("?" if cell is None else ".#"[cell] for cell in cells)
    return "Row by row: " + " ".join(text[at : at + width] for at in range(0, len(text), width))
