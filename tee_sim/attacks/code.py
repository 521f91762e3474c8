"""A few instructions of machine code that attackers place somewhere and try to have executed."""

from __future__ import annotations


def load(register: str, value: int) -> bytes:
    """``MOV register, value`` for rax, rcx, rdx, rbx, rsi or rdi (64-bit immediate)."""
    number = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi").index(register)
    return bytes((0x48, 0xB8 + number)) + (value & (1 << 64) - 1).to_bytes(8, "little")


SYSCALL, RET, REP_MOVSB, ENCLU = b"\x0f\x05", b"\xc3", b"\xf3\xa4", b"\x0f\x01\xd7"


def copy(source: int, target: int, size: int, end: bytes) -> bytes:
    """Code that copies ``size`` bytes from ``source`` to ``target`` and then executes ``end``."""
    return load("rsi", source) + load("rdi", target) + load("rcx", size) + REP_MOVSB + end


def eexit(target: int) -> bytes:
    """Code that leaves an enclave for ``target``."""
    return load("rbx", target) + load("rax", 4) + ENCLU
