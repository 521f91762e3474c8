"""What must hold on the border of the die, judged page by page as the engine is used.

The engine is wrapped: each page that it writes is remembered, plaintext and DRAM, and each page
that it reads is compared. Nothing here asks the engine how it works.
"""

from __future__ import annotations

from tee_sim.errors import MachineCheck
from tee_sim.machine.dram import DRAM
from tee_sim.machine.encryption import Engine
from tee_sim.units import PAGE

BLOCK = 16


class WatchedEngine:
    """Passes everything on to ``engine``, and asserts what the platform promises.

    Args:
        engine: of the platform.
        dram: what the bus carries.
        tree: the engine has integrity and freshness; otherwise it accepts what it is given.

    Attributes:
        plain: the last plaintext written, by page.
        wrong: pages that were read with other contents than the last written (never with a tree).
        touched: pages of DRAM that somebody wrote by the bus.
        locked: a machine check was raised.
    """

    def __init__(self, engine: Engine, dram: DRAM, tree: bool) -> None:
        self.engine, self.dram, self.tree = engine, dram, tree
        self.plain: dict[int, bytes] = {}
        self.wrong: set[int] = set()
        self.touched: set[int] = set()
        self.locked = False
        self.reads = self.refused = self.garbled = self.replayed = 0
        self._stored: dict[int, bytes] = {}
        self._history: dict[int, dict[bytes, bytes]] = {}

    def metadata_ranges(self, hpa: int) -> list[tuple[str, int, int]]:
        return self.engine.metadata_ranges(hpa)

    def ranges(self, hpa: int) -> list[tuple[int, int]]:
        """Data, MACs, versions, L0, L1, L2; the data alone without a tree."""
        return [(hpa, PAGE), *((at, size) for _, at, size in self.metadata_ranges(hpa))]

    def changed(self, hpa: int, first: int = 0) -> bool:
        """Whether DRAM holds something else than the engine left there."""
        found = False
        for at, size in self.ranges(hpa)[first:]:
            if at in self._stored and self.dram.read(at, size) != self._stored[at]:
                pages = range(at & -PAGE, at + size, PAGE)
                assert self.touched & set(pages), f"{at:#x} changed, and not by the bus"
                found = True
        return found

    def write_page(self, hpa: int, plaintext: bytes | memoryview) -> None:
        # Data and MACs are not looked at: they are replaced.
        bad = self.tree and self.changed(hpa, first=2)
        self._expect(bad, lambda: self.engine.write_page(hpa, plaintext))
        self.plain[hpa] = bytes(plaintext)
        for at, size in self.ranges(hpa):
            self._stored[at] = self.dram.read(at, size)
        if not self.tree:
            self._history.setdefault(hpa, {})[self._stored[hpa]] = self.plain[hpa]

    def read_page(self, hpa: int) -> bytes:
        self.reads += 1
        bad = hpa in self.plain and self.changed(hpa)
        if self.tree:
            plain = self._expect(bad, lambda: self.engine.read_page(hpa))
            assert plain == self.plain.get(hpa, bytes(PAGE)), "a stale or foreign page was accepted"
            return plain
        plain = self.engine.read_page(hpa)
        if not bad:
            assert plain == self.plain.get(hpa, plain)
        else:
            self._judge(hpa, plain)
        return plain

    def _expect(self, bad, call):
        try:
            result = call()
        except MachineCheck:
            assert bad or self.locked, "a machine check, and nothing was changed"
            self.locked = True
            self.refused += 1
            raise
        assert not bad, "DRAM was changed, and the engine did not notice"
        assert not self.locked, "a locked engine answered"
        return result

    def _judge(self, hpa: int, plain: bytes) -> None:
        """Each block is what was once stored in its place, or garbage: never anything else."""
        now, last, stored = self.dram.read(hpa, PAGE), self.plain[hpa], self._stored[hpa]
        for at in range(0, PAGE, BLOCK):
            part = slice(at, at + BLOCK)
            if now[part] == stored[part]:
                assert plain[part] == last[part], "a block that nobody touched has changed"
                continue
            self.wrong.add(hpa)
            old = [p[part] for c, p in self._history[hpa].items() if c[part] == now[part]]
            if old:
                assert plain[part] == old[0], "an old block is not what it was"
                self.replayed += 1
            else:
                assert plain[part] != last[part], "a changed block reads as the right one"
                self.garbled += 1
