"""Instructions that need a decision before they run, found when a block is first executed.

The CPU engine executes a few instructions that this machine must refuse: AVX code (it would run
the older SSE cousin, with wrong results), and instructions that an enclave may not contain.
Looking at each block of code once, before its first execution, finds them at exact instruction
boundaries.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from capstone import CS_ARCH_X86, CS_MODE_64, CS_OP_MEM, Cs

from tee_sim.units import PAGE

_DISASSEMBLER = Cs(CS_ARCH_X86, CS_MODE_64)
_DETAILED = Cs(CS_ARCH_X86, CS_MODE_64)
_DETAILED.detail = True
MAX_INSTRUCTION = 15
"""Bytes of the longest x86 instruction."""

_PUSHED = 8
"""Bytes that PUSH, CALL and their counterparts move."""

_LEGACY_PREFIXES = b"\x66\x67\xf2\xf3\xf0\x2e\x36\x3e\x26\x64\x65"

SENSITIVE = frozenset(
    (
        "cpuid getsec rdpmc sgdt sidt sldt str smsw vmcall vmfunc in insb insw insd out"
        " outsb outsw outsd lcall ljmp retf retfq iret iretd iretq syscall sysret sysretq sysenter"
        " lss lfs lgs rdtsc"
    ).split()
)
"""Mnemonics that the Guard or the CPU decides about; `sensitive_in` adds a few by other signs."""

_SEGMENTS = ("ds", "es", "ss", "fs", "gs", "cs")


@lru_cache(maxsize=4096)
def sensitive_in(code: bytes) -> tuple[tuple[int, str], ...]:
    """Offsets and mnemonics of the sensitive instructions in a block of straight-line code.

    AVX instructions (VEX, EVEX, XOP encodings) have the mnemonic ``"AVX"``, segment loads
    ``"MOV Sreg"``, software interrupts ``"INT n"``.
    """
    found, end = [], 0
    for address, size, mnemonic, operands in _DISASSEMBLER.disasm_lite(code, 0):
        end = address + size
        name = _sensitive(code[address:end], mnemonic.split()[-1], operands)
        if name:
            found.append((address, name))
    if _is_vector_extension(_opcode(code[end:])):
        found.append((end, "AVX"))
    return tuple(found)


def _sensitive(instruction: bytes, mnemonic: str, operands: str) -> str:
    """The name under which an instruction is decided about; empty for all others."""
    opcode = _opcode(instruction)
    if _is_vector_extension(opcode):
        return "AVX"
    if mnemonic in SENSITIVE:
        return mnemonic.upper()
    if mnemonic == "int":
        return "INT n"
    if mnemonic in ("mov", "pop") and operands.split(",")[0] in _SEGMENTS:
        return "MOV Sreg"
    if opcode[:1] == b"\xff" and opcode[1] >> 3 & 7 in (3, 5):  # disassembled as if they were near
        return "LCALL" if opcode[1] >> 3 & 7 == 3 else "LJMP"
    return ""


def _opcode(instruction: bytes) -> bytes:
    """The instruction from its opcode on, without prefixes."""
    opcode = instruction.lstrip(_LEGACY_PREFIXES)
    return opcode[1:] if opcode[:1] and opcode[0] & 0xF0 == 0x40 else opcode


def _is_vector_extension(opcode: bytes) -> bool:
    """VEX, EVEX, and AMD's XOP, which is told from POP by its map number of at least 8."""
    is_xop = opcode[:1] == b"\x8f" and bool(opcode[1] & 0x18)
    return is_xop or opcode[:1] in (b"\xc4", b"\xc5", b"\x62")


def ends_in(code: bytes) -> bool:
    """Whether the instruction that starts these bytes also ends in them."""
    return next(_DISASSEMBLER.disasm_lite(code, 0, 1), None) is not None


def first_byte_touched(code: bytes, page: int, register: Callable[[str], int]) -> int:
    """The first byte of the page at ``page`` that an instruction accesses: what CR2 reports.

    The engine names only the page of a refused access; the instruction and the registers say
    the rest.

    Args:
        code: bytes from the faulting instruction on.
        page: address of the faulting page.
        register: value of a register by its name (``rax``, ``fsbase``, ...).

    Returns:
        An address in the page; its first byte if the instruction does not tell.
    """
    instruction = next(_DETAILED.disasm(code, 0, 1), None)
    if instruction is None:
        return page
    for start, size in _operands(instruction, register):
        if start < page + PAGE and start + max(size, 1) > page:
            return max(start, page)
    return page


def _operands(instruction: Any, register: Callable[[str], int]) -> list[tuple[int, int]]:
    """(address, bytes) of each memory operand, those of the stack included."""
    found = []
    for operand in instruction.operands:
        if operand.type == CS_OP_MEM:
            memory = operand.mem
            address: int = memory.disp
            for name, scale in ((memory.base, 1), (memory.index, memory.scale)):
                if name:
                    address += _value(instruction.reg_name(name), instruction, register) * scale
            if memory.segment and instruction.reg_name(memory.segment) in ("fs", "gs"):
                address += register(instruction.reg_name(memory.segment) + "base")
            found.append((address & (1 << 64) - 1, operand.size))
    mnemonic = instruction.mnemonic
    if mnemonic.startswith(("push", "call")):
        found.append((register("rsp") - _PUSHED, _PUSHED))
    elif mnemonic.startswith(("pop", "ret")):
        found.append((register("rsp"), _PUSHED))
    elif mnemonic == "leave":
        found.append((register("rbp"), _PUSHED))
    return found


def _value(name: str, instruction: Any, register: Callable[[str], int]) -> int:
    """A base or index register; RIP is that of the next instruction."""
    if name == "rip":
        return register("rip") + int(instruction.size)
    if name in ("riz", "eiz"):
        return 0
    if name.startswith("e"):
        return register("r" + name[1:]) & 0xFFFFFFFF
    if name.startswith("r") and name.endswith("d"):
        return register(name[:-1]) & 0xFFFFFFFF
    return register(name)


def product_of(code: bytes) -> str:
    """The register in which a MUL or IMUL leaves its product, or the low half of it.

    Returns:
        The name of the whole register (``rax`` for EAX), or nothing for any other instruction.
    """
    instruction = next(_DETAILED.disasm(code, 0, 1), None)
    if instruction is None or instruction.mnemonic not in ("mul", "imul"):
        return ""
    if len(instruction.operands) == 1:
        return "rax"
    name = str(instruction.reg_name(instruction.operands[0].reg))
    return "r" + name[-2:] if name[-1] in "xip" else name.rstrip("dw")
