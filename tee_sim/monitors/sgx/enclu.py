"""ENCLU: which leaf an enclave, or the program around it, asks for in EAX.

Source: Intel SDM Vol. 3D, "ENCLU - Execute an Enclave User Function of Specified Leaf Number".
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from tee_sim.errors import GeneralProtection, SGXError
from tee_sim.machine.cpu import LogicalProcessor
from tee_sim.machine.registers import FLAGS_ARITHMETIC, RAX, RFLAGS, RIP
from tee_sim.monitors.sgx.accepting import eaccept, eacceptcopy, emodpe
from tee_sim.monitors.sgx.entering import ENCLU_BYTES, edeccssa, eenter
from tee_sim.monitors.sgx.exiting import eexit
from tee_sim.monitors.sgx.keys import egetkey
from tee_sim.monitors.sgx.processor import SGX
from tee_sim.monitors.sgx.reports import ereport, everifyreport2

FLAG_ZF = 1 << 6


class Leaf(IntEnum):
    """ENCLU's leaf numbers.

    Source: Intel SDM Vol. 3D, "Register Usage of Unprivileged Enclave Instruction Leaf Functions".
    """

    EREPORT = 0
    EGETKEY = 1
    EENTER = 2
    ERESUME = 3
    EEXIT = 4
    EACCEPT = 5
    EMODPE = 6
    EACCEPTCOPY = 7
    EVERIFYREPORT2 = 8
    EDECCSSA = 9


INSIDE: dict[int, Callable[[SGX, LogicalProcessor], None]] = {
    Leaf.EREPORT: ereport,
    Leaf.EGETKEY: egetkey,
    Leaf.EACCEPT: eaccept,
    Leaf.EMODPE: emodpe,
    Leaf.EACCEPTCOPY: eacceptcopy,
    Leaf.EVERIFYREPORT2: everifyreport2,
    Leaf.EDECCSSA: edeccssa,
}
"""The leaves that an enclave executes and goes on behind. They read their operands' addresses from
RBX, RCX and RDX, and change no register; a refusal with a status code is an `SGXError`."""

_WITH_STATUS = (Leaf.EGETKEY, Leaf.EACCEPT, Leaf.EACCEPTCOPY, Leaf.EVERIFYREPORT2)
"""Those that return a status in RAX and ZF; the others leave RAX and RFLAGS alone."""


def enclu(sgx: SGX, lp: LogicalProcessor) -> bool:
    """Execute the ENCLU on which the processor stopped. Returns True if it left the enclave.

    Raises:
        GeneralProtection: the leaf does not exist, or not in this mode.
        PageFault: the leaf's own checks.
    """
    leaf, inside = lp.register(RAX) & 0xFFFF_FFFF, lp.context is not None
    if leaf == Leaf.EEXIT and inside:
        eexit(sgx, lp)
        return True
    if leaf in (Leaf.EENTER, Leaf.ERESUME) and not inside:
        eenter(sgx, lp, resume=leaf == Leaf.ERESUME)
        return False
    if leaf in INSIDE and inside:
        _go_on(sgx, lp, leaf)
        return False
    where = "inside" if inside else "outside"
    raise GeneralProtection(f"ENCLU leaf {leaf} does not exist, or not {where} an enclave")


def _go_on(sgx: SGX, lp: LogicalProcessor, leaf: int) -> None:
    """Execute a leaf that stays inside, and go on behind it."""
    code = 0
    try:
        INSIDE[leaf](sgx, lp)
    except SGXError as error:
        code = error.code
    registers = lp.registers()
    if leaf in _WITH_STATUS:
        registers[RAX] = code
        registers[RFLAGS] = registers[RFLAGS] & ~FLAGS_ARITHMETIC | (FLAG_ZF if code else 0)
    registers[RIP] += ENCLU_BYTES
    lp.set_registers(registers)
