"""What every host does for the runtime inside: print, log, lend memory, and have reports quoted.

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
from typing import TYPE_CHECKING, Any, TextIO

from tee_sim.abi.sgx import TARGETINFO
from tee_sim.sdk.edl import Function
from tee_sim.sdk.reader import parse
from tee_sim.sdk.results import OE_OK, OE_SERVICE_UNAVAILABLE
from tee_sim.units import align_up

if TYPE_CHECKING:
    from tee_sim.sdk.host import Transport

FIRST, PREFIX = 1 << 16, "tee_host_"
"""Number of the first of these ocalls, and how their C names begin."""

ALIGNMENT = 16  # bytes
LOG = logging.getLogger("tee_sim.enclave")
LEVELS = dict(enumerate((logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO), start=1))
"""Open Enclave's levels -> those of `logging`; VERBOSE, and whatever else comes, is DEBUG."""


@cache
def ocalls() -> tuple[Function, ...]:
    """The runtime's own ocalls."""
    file = Path(__file__).with_name("guest") / "runtime.edl"
    declared = parse(file.read_text(encoding="utf-8"), str(file)).untrusted
    return tuple(replace(f, name=PREFIX + f.name, index=FIRST + f.index) for f in declared)


class Services:
    """One host process's answers to them, a method for each.

    Attributes:
        stdout, stderr: where text from inside goes; None for `sys.stdout` and `sys.stderr`.
        blocks: address -> size in bytes of what is lent at the moment.
    """

    def __init__(self, process: Transport) -> None:
        self._process = process
        self.stdout: TextIO | None = None
        self.stderr: TextIO | None = None
        self.blocks: dict[int, int] = {}
        self._decoders = [getincrementaldecoder("utf-8")("replace") for _ in range(2)]

    def callbacks(self) -> dict[str, Callable[..., Any]]:
        """Name of an ocall -> what answers it: the runtime's own, and ``logging.edl``'s."""
        own = {f.name: getattr(self, f.name.removeprefix(PREFIX)) for f in ocalls()}
        return own | {"oe_log_ocall": self.log, "oe_write_ocall": self.write}

    def print(self, stream: int, text: bytes, _size: int) -> None:
        """Show text; the end of a character may come with the next call."""
        to_stderr = stream == 2
        file = (self.stderr or sys.stderr) if to_stderr else (self.stdout or sys.stdout)
        file.write(self._decoders[to_stderr].decode(text))

    def write(self, device: int, text: str, _most: int) -> None:
        """Show text on standard output (0) or standard error (1)."""
        self.print(device + 1, text.encode(), len(text))

    def log(self, level: int, message: str) -> None:
        """Hand a message to `logging`."""
        LOG.log(LEVELS.get(level, logging.DEBUG), "%s", message)

    def memory(self, address: int, size: int) -> int:
        """Give, move or take back a block; 0 if there is no room, or it was never given."""
        old = self.blocks.get(address)
        if address and old is None:
            return 0
        others = sorted(block for block in self.blocks.items() if block[0] != address)
        at, room = self._process.heap
        end = at + room
        for start, length in others:
            if start - at >= size:
                break
            at = align_up(start + length, ALIGNMENT)
        if size and end - at < size:
            return 0
        self.blocks = dict(others) | ({at: size} if size else {})
        if old and size:
            self._process.write(at, self._process.read(address, min(old, size)))
        return at if size else 0

    def target_info(self) -> tuple[int, bytes, bytes]:
        """Whom a report has to be for, and the size of a quote."""
        service = self._process.quoting
        if service is None:
            return OE_SERVICE_UNAVAILABLE, bytes(TARGETINFO.SIZE), bytes(8)
        size = service.quote_size.to_bytes(8, "little")
        return OE_OK, _exactly(TARGETINFO.SIZE, service.get_target_info()), size

    def quote(self, report: bytes, size: int) -> tuple[int, bytes]:
        """The quote for a report."""
        service = self._process.quoting
        if service is None:
            return OE_SERVICE_UNAVAILABLE, bytes(size)
        return OE_OK, _exactly(size, service.get_quote(report))


def _exactly(size: int, data: bytes) -> bytes:
    """As many bytes as there is room for: who asked looks at them anyway."""
    return data[:size].ljust(size, b"\0")
