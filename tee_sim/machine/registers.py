"""The general registers of x86-64, in the order in which every list of them stands here."""

from typing import Final

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)
R8, R9, R10, R11, R12, R13, R14, R15, RFLAGS, RIP, FSBASE, GSBASE = range(8, 20)
REGISTER_NAMES: Final = (
    "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15 rflags rip fsbase gsbase"
).split()
"""Order of a register list everywhere: that of the SGX save area (GPRSGX)."""

FLAGS_INITIAL = 0x202
FLAGS_ARITHMETIC = 0x8D5
"""CF, PF, AF, ZF, SF, OF."""
