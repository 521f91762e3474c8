"""Instructions that need a decision before they run, found when a block is first executed.

The CPU engine executes a few instructions that this machine must refuse: AVX code (it would run
the older SSE cousin, with wrong results), and instructions that an enclave may not contain.
Looking at each block of code once, before its first execution, finds them at exact instruction
boundaries.
"""

from __future__ import annotations

from functools import lru_cache

from capstone import CS_ARCH_X86, CS_MODE_64, Cs

_DISASSEMBLER = Cs(CS_ARCH_X86, CS_MODE_64)
_LEGACY_PREFIXES = frozenset(b"\x66\xf2\xf3\xf0\x2e\x36\x3e\x26\x64\x65")

SENSITIVE = frozenset(
    (
        "cpuid getsec rdpmc sgdt sidt sldt str smsw vmcall vmfunc in insb insw insd out"
        " outsb outsw outsd lcall ljmp retf retfq iretd iretq syscall sysenter lss lfs"
        " lgs rdtsc"
    ).split()
)
"""Mnemonics that the Guard or the CPU decides about. Segment loads (``mov ds, ax``) join them."""

_SEGMENTS = ("ds", "es", "ss", "fs", "gs", "cs")


@lru_cache(maxsize=4096)
def sensitive_in(code: bytes) -> tuple[tuple[int, str], ...]:
    """Offsets and mnemonics of the sensitive instructions in a block of straight-line code.

    AVX instructions (VEX, EVEX, XOP encodings) have the mnemonic ``"AVX"``; segment loads
    ``"MOV Sreg"``.
    """
    found = []
    for address, size, mnemonic, operands in _DISASSEMBLER.disasm_lite(code, 0):
        if _is_vector_extension(code[address : address + size]):
            found.append((address, "AVX"))
        elif mnemonic in SENSITIVE:
            found.append((address, mnemonic.upper()))
        elif mnemonic == "mov" and operands.split(",")[0] in _SEGMENTS:
            found.append((address, "MOV Sreg"))
    return tuple(found)


def _is_vector_extension(instruction: bytes) -> bool:
    for byte in instruction:
        if byte not in _LEGACY_PREFIXES:
            return byte in (0xC4, 0xC5, 0x62)
    return False


def rdrand_target(code: bytes) -> tuple[int, int, int] | None:
    """Decode RDRAND or RDSEED (0F C7 /6, /7, register form).

    Returns:
        (register number in hardware order, operand bytes, instruction bytes), or None for any
        other instruction.
    """
    at = int(code[:1] == b"\x66")
    rex = code[at] if len(code) > at and code[at] & 0xF0 == 0x40 else 0
    opcode = at + bool(rex)
    if code[opcode : opcode + 2] != b"\x0f\xc7" or code[opcode + 2 : opcode + 3] < b"\xf0":
        return None
    modrm = code[opcode + 2]
    return (modrm & 7) | (rex & 1) << 3, 8 if rex & 8 else 2 if at else 4, opcode + 3
