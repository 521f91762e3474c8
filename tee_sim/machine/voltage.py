"""The supply voltage of the processor, and its multiplier when the voltage is too low.

This is a fault model, not physics: below `STABLE`, now and then the product of a multiplication
has one wrong bit. Everything else goes on working, which is what makes the fault useful.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

from tee_sim.checks import Check, Checks
from tee_sim.machine.cpu import LogicalProcessor, Stop
from tee_sim.machine.decode import MAX_INSTRUCTION, product_of
from tee_sim.machine.registers import REGISTER_NAMES, RIP

if TYPE_CHECKING:
    from tee_sim.machine.entropy import Entropy

VOLTAGE_LOCK = Check(
    "VOLTAGE.LOCK",
    "Software cannot change the supply voltage",
    "The host lowers the voltage until calculations inside go wrong.",
    "Intel SA-00289 (CVE-2019-11157); Murdock et al., Plundervolt, 2020",
    since=1,
)

STABLE = -100
"""Millivolts below the normal voltage at which the multiplier still works."""

RARITY = 250_000
"""Instructions from one dip to the next, on average."""

DIP = 100
"""Instructions that a dip lasts; it spoils the first product in it, if there is one."""


class Voltage:
    """The register through which software sets the voltage of all processors.

    Args:
        checks: whether the register is locked.
        entropy: decides which products are wrong.

    Attributes:
        offset: millivolts from the normal voltage.

    Source: Murdock et al., "Plundervolt", 2020: an undocumented register (MSR 150H),
    multiplications as the instructions that fail first, and the lock that answered it, whose state
    is part of what remote attestation shows.

    Simplified: one threshold for all processors, at a voltage of ours; only MUL and IMUL fail, in
    one of the lowest 16 bits, during dips that are as rare however low the voltage is; nothing
    crashes. On hardware each of these depends on the individual chip, on frequency and temperature.
    How a locked register answers a write is unverified: here the write has no effect.
    """

    def __init__(self, checks: Checks, entropy: Entropy) -> None:
        self._checks, self._entropy = checks, entropy
        self.reset()

    def reset(self) -> None:
        """Normal voltage, as at each boot."""
        self.offset, self._wait = 0, self._until_dip()

    def write(self, millivolts: int) -> None:
        """Set the offset; without effect where the register is locked."""
        if VOLTAGE_LOCK.name in self._checks.known and self._checks.on(VOLTAGE_LOCK):
            self._checks.report(VOLTAGE_LOCK, f"{millivolts} mV: the register is locked")
        else:
            self.offset = millivolts

    def run(self, lp: LogicalProcessor, limit: int | None) -> Stop:
        """As `LogicalProcessor.run`, at the voltage that is set."""
        if self.offset >= STABLE:
            return lp.run(limit)
        if self._wait > 0:
            # How far the last run came is not known. It does not matter to what is memoryless.
            self._wait = self._until_dip()
        left = lp.budget if limit is None else limit
        while left > 0:
            steps = min(left, self._wait) if self._wait > 0 else 1
            product = "" if self._wait > 0 else self._product(lp)
            stop = lp.run(steps)
            if stop.kind != "limit":
                return stop
            left, self._wait = left - steps, self._wait - steps
            if product:
                self._spoil(lp, product)
            if product or self._wait < -DIP:
                self._wait = self._until_dip()
        return Stop("budget" if limit is None else "limit")

    def _until_dip(self) -> int:
        """Instructions to the next dip: exponentially distributed, whatever came before."""
        return round(-RARITY * log((self._draw(1 << 32) + 1) / (1 << 32)))

    def _product(self, lp: LogicalProcessor) -> str:
        """The register that the instruction at RIP leaves a product in, if it does."""
        return product_of(lp.mmu.peek(lp, lp.register(RIP), MAX_INSTRUCTION))

    def _spoil(self, lp: LogicalProcessor, product: str) -> None:
        registers = lp.registers()
        registers[REGISTER_NAMES.index(product)] ^= 1 << self._draw(16)
        lp.set_registers(registers)

    def _draw(self, below: int) -> int:
        return int.from_bytes(self._entropy.take(8, "voltage"), "little") % below
