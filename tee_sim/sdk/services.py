"""What every host does for the runtime inside: print, log, and lend memory.

The ocalls are declared in ``guest/runtime.edl``. Their numbers lie above those of a program's own.
"""

from __future__ import annotations

import logging
import sys
from codecs import getincrementaldecoder
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from tee_sim.sdk.edl import Function, parse
from tee_sim.units import align_up

FIRST = 1 << 16
"""Number of the first of these ocalls."""

ALIGNMENT = 16
LOG = logging.getLogger("tee_sim.enclave")
LEVELS = dict(enumerate((logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO), start=1))
"""Open Enclave's levels -> those of `logging`; VERBOSE, and whatever else comes, is DEBUG."""


@cache
def ocalls() -> tuple[Function, ...]:
    """The runtime's own ocalls."""
    file = Path(__file__).with_name("guest") / "runtime.edl"
    declared = parse(file.read_text(encoding="utf-8"), str(file)).untrusted
    return tuple(replace(f, name=f"tee_host_{f.name}", index=FIRST + f.index) for f in declared)


class Services:
    """One host process's answers to them.

    Args:
        heap: address and size in bytes of untrusted memory for `oe_host_malloc`.
        copy: copies ``size`` bytes of that memory from one address to another.

    Attributes:
        stdout, stderr: where text from inside goes; None for `sys.stdout` and `sys.stderr`.
        blocks: address -> size in bytes of what is lent at the moment.
    """

    def __init__(self, heap: tuple[int, int], copy: Callable[[int, int, int], None]) -> None:
        self.heap, self._copy = heap, copy
        self.stdout: TextIO | None = None
        self.stderr: TextIO | None = None
        self.blocks: dict[int, int] = {}
        self._decoders = {n: getincrementaldecoder("utf-8")("replace") for n in (1, 2)}

    def callbacks(self) -> dict[str, Callable[..., Any]]:
        """Name of an ocall -> what answers it."""
        return {f.name: getattr(self, f.name.removeprefix("tee_host_")) for f in ocalls()}

    def print(self, stream: int, text: bytes, size: int) -> None:
        """Show text; the end of a character may come with the next call."""
        file = (self.stderr or sys.stderr) if stream == 2 else (self.stdout or sys.stdout)
        file.write(self._decoders[2 if stream == 2 else 1].decode(text))

    def log(self, level: int, message: str) -> None:
        """Hand a message to `logging`."""
        LOG.log(LEVELS.get(level, logging.DEBUG), "%s", message)

    def memory(self, address: int, size: int) -> int:
        """Give, move or take back a block; 0 if there is no room, or it was never given."""
        old = self.blocks.pop(address, None)
        if not size or (address and old is None):
            return 0
        at, end = self.heap[0], sum(self.heap)
        for start, length in sorted(self.blocks.items()):
            if start - at >= size:
                break
            at = align_up(start + length, ALIGNMENT)
        if end - at < size:
            if old is not None:
                self.blocks[address] = old
            return 0
        self.blocks[at] = size
        if old is not None:
            self._copy(address, at, min(old, size))
        return at
