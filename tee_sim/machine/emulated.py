"""Instructions that this machine executes itself, because the engine's processor is older.

Source: Intel SDM Vol. 2, "RDRAND", "RDSEED", "RDFSBASE/RDGSBASE", "WRFSBASE/WRGSBASE".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tee_sim.errors import GeneralProtection
from tee_sim.machine.decode import fsgsbase_target, rdrand_target
from tee_sim.machine.entropy import Entropy
from tee_sim.machine.paging import is_canonical


class Effect(NamedTuple):
    """What an instruction does.

    Attributes:
        register: position of the register that it writes.
        value: what it writes there.
        length: bytes of the instruction.
        carry_only: it sets CF and clears the other arithmetic flags.
    """

    register: int
    value: int
    length: int
    carry_only: bool


def emulate(code: bytes, values: Sequence[int], bases: int, entropy: Entropy) -> Effect | None:
    """Find out what one instruction does.

    Args:
        code: bytes from the instruction on.
        values: the registers; the first 16 in the order in which hardware numbers them.
        bases: position of FS base among them; GS base is behind it.
        entropy: what RDRAND draws on, so that runs can be reproduced.

    Returns:
        Its effect, or None if it is not one of ours.

    Raises:
        GeneralProtection: a base address that is not canonical.
    """
    return _random(code, values, entropy) or _segment_base(code, values, bases)


def _random(code: bytes, values: Sequence[int], entropy: Entropy) -> Effect | None:
    """RDRAND and RDSEED."""
    target = rdrand_target(code)
    if target is None:
        return None
    register, size, length = target
    kept = 0 if size >= 4 else values[register] >> 16 << 16
    drawn = int.from_bytes(entropy.take(size, "RDRAND"), "little")
    return Effect(register, kept | drawn, length, True)


def _segment_base(code: bytes, values: Sequence[int], bases: int) -> Effect | None:
    """RDFSBASE and its relatives, which user code and enclaves may use."""
    target = fsgsbase_target(code)
    if target is None:
        return None
    operation, register, size, length = target
    base = bases + (operation & 1)
    source, sink = (register, base) if operation & 2 else (base, register)
    value = values[source] & (1 << 8 * size) - 1
    if operation & 2 and not is_canonical(value):
        raise GeneralProtection("WRFSBASE: no canonical address")
    return Effect(sink, value, length, False)
