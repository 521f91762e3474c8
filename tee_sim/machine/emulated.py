"""Instructions that this machine executes itself, because the engine's processor is older.

Source: Intel SDM Vol. 2, "RDRAND", "RDSEED", "RDFSBASE/RDGSBASE", "WRFSBASE/WRGSBASE".
"""

from __future__ import annotations

from typing import NamedTuple

from tee_sim.errors import GeneralProtection
from tee_sim.machine.entropy import Entropy
from tee_sim.machine.paging import is_canonical
from tee_sim.machine.registers import FLAGS_ARITHMETIC, FSBASE, RFLAGS, RIP

REPEAT = b"\xf3"
"""The REP prefix, which tells RDFSBASE from its neighbours."""


def emulate(code: bytes, values: list[int], entropy: Entropy) -> bool:
    """Execute one instruction, if it is one of ours.

    Args:
        code: bytes from the instruction on.
        values: the general registers; RIP is moved on.
        entropy: what RDRAND draws on, so that runs can be reproduced.

    Returns:
        Whether it was.

    Raises:
        GeneralProtection: a base address that is not canonical.
    """
    form = register_form(code)
    if form is None:
        return False
    if form.opcode == 0xC7 and form.digit in (6, 7) and form.prefix != REPEAT:
        _random(form, values, entropy)
    elif form.opcode == 0xAE and form.digit < 4 and form.prefix == REPEAT:
        _segment_base(form, values)
    else:
        return False
    values[RIP] += form.length
    return True


class Form(NamedTuple):
    """``[66 or F3] [REX] 0F opcode /digit`` with a register of ``size`` bytes as its operand."""

    prefix: bytes
    opcode: int
    digit: int
    register: int
    size: int
    length: int


def register_form(code: bytes) -> Form | None:
    """Decode an instruction of the shape that `Form` describes; None for any other."""
    prefix = code[:1] if code[:1] in (b"\x66", REPEAT) else b""
    rest = code[len(prefix) :]
    rex = rest[0] if rest and rest[0] & 0xF0 == 0x40 else 0
    opcode = rest[bool(rex) :][:3]
    if len(opcode) < 3 or opcode[0] != 0x0F or opcode[2] < 0xC0:
        return None
    digit, register = opcode[2] >> 3 & 7, opcode[2] & 7 | (rex & 1) << 3
    size = 8 if rex & 8 else 2 if prefix == b"\x66" else 4
    return Form(prefix, opcode[1], digit, register, size, len(prefix) + bool(rex) + 3)


def _random(form: Form, values: list[int], entropy: Entropy) -> None:
    """RDRAND and RDSEED: CF is set, the other arithmetic flags are cleared."""
    kept = 0 if form.size >= 4 else values[form.register] >> 16 << 16
    values[form.register] = kept | int.from_bytes(entropy.take(form.size, "RDRAND"), "little")
    values[RFLAGS] = values[RFLAGS] & ~FLAGS_ARITHMETIC | 1


def _segment_base(form: Form, values: list[int]) -> None:
    """RDFSBASE, RDGSBASE, WRFSBASE and WRGSBASE, which user code and enclaves may use."""
    base, writes = FSBASE + (form.digit & 1), form.digit & 2
    source, sink = (form.register, base) if writes else (base, form.register)
    value = values[source] & (1 << 8 * form.size) - 1
    if writes and not is_canonical(value):
        raise GeneralProtection("WRFSBASE: no canonical address")
    values[sink] = value
