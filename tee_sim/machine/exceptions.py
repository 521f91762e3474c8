"""Exceptions: why an instruction may not run, and what an exception vector means.

Source: Intel SDM Vol. 2, "Exceptions" of each instruction; Vol. 3D, "Illegal Instructions".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee_sim.errors import Fault, GeneralProtection, InvalidOpcode, OtherFault

if TYPE_CHECKING:
    from tee_sim.machine.cpu import LogicalProcessor

NAMES = {0: "#DE", 1: "#DB", 3: "#BP", 4: "#OF", 12: "#SS", 16: "#MF", 17: "#AC", 19: "#XM"}
"""Exceptions without a class of their own, by vector."""

NEVER_IN_USER_MODE = frozenset(
    "IN INSB INSW INSD OUT OUTSB OUTSW OUTSD SYSENTER SYSRET SYSRETQ RDPMC".split()
) | {"INT n"}
"""What raises #GP in user mode, of the instructions that `tee_sim.machine.decode` finds.

INT n: no gate of the interrupt table is open to user mode. The engine finds the others itself.
"""


def refusal(lp: LogicalProcessor, mnemonic: str, rip: int) -> Fault | None:
    """The fault that the instruction at ``rip`` raises instead of running, or None."""
    if mnemonic == "AVX":
        return InvalidOpcode(f"AVX code at {rip:#x}: this processor has SSE only")
    try:
        lp.mmu.guard.instruction(lp, mnemonic)
    except Fault as fault:
        return fault
    if mnemonic in NEVER_IN_USER_MODE:
        return GeneralProtection(f"{mnemonic} at {rip:#x} in user mode")
    return None


def exception(lp: LogicalProcessor, vector: int, rip: int) -> Fault:
    """The fault that the engine raised at ``rip``, on an instruction that it does know."""
    if vector == 3:
        return refusal(lp, "INT3", rip) or OtherFault("INT3", vector=3)
    if vector == 13:
        return GeneralProtection(f"privileged or illegal operation at {rip:#x}")
    return OtherFault(f"{NAMES.get(vector, f'vector {vector}')} at {rip:#x}", vector=vector)
