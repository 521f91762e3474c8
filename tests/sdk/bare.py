"""A machine without any protection, just enough to run a built program: flat memory and one CPU.

It implements the `Transport` protocol of `tee_sim.sdk.host`. ENCLU and SYSCALL end a run; RDRAND is
emulated. Registers that the entry contract does not fix are filled with junk before each entry, as
a hostile host would, and everything that an exit leaves behind can be looked at afterwards.
"""

import hashlib
from contextlib import nullcontext

from unicorn import UC_ARCH_X86, UC_HOOK_INSN, UC_HOOK_INSN_INVALID, UC_MODE_64, Uc, UcError
from unicorn import unicorn_const as uc_const
from unicorn import x86_const as x86

from tee_sim.errors import BudgetExceeded, EnclaveLost
from tee_sim.sdk.image import Program

ENCLU = b"\x0f\x01\xd7"
ARENA, ARENA_SIZE = 0x10_0000, 0x1_0000
HEAP, HEAP_SIZE = 0x11_0000, 0x1_0000
HOST_CODE = 0x20_0000
HOST_STACK = 0x21_0000
JUNK = 0x6A756E6B_6A756E6B
BUDGET = 50_000_000

GENERAL = [getattr(x86, f"UC_X86_REG_R{n}") for n in "AX BX CX DX SI DI BP SP".split()]
GENERAL += [getattr(x86, f"UC_X86_REG_R{n}") for n in range(8, 16)]
RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP, R8, R9 = GENERAL[:10]
XMM = [getattr(x86, f"UC_X86_REG_XMM{n}") for n in range(16)]
ST = [getattr(x86, f"UC_X86_REG_ST{n}") for n in range(8)]
EFLAGS, RIP, MXCSR = x86.UC_X86_REG_EFLAGS, x86.UC_X86_REG_RIP, x86.UC_X86_REG_MXCSR
DF, AC = 0x400, 0x40000
OSFXSR, OSXMMEXCPT = 1 << 9, 1 << 10  # in CR4; without the first, LDMXCSR is #UD


class Bare:
    """One program loaded at ``base``.

    Attributes:
        arena, heap: untrusted memory (address, size in bytes).
        at_exit: register values after the last exit, by Unicorn's number.
        budget: instructions that one entry may take.
    """

    def __init__(self, program: Program, base: int = 0x7000_0000, seed: int = 0) -> None:
        self.program, self.base, self.seed = program, base, seed
        self.arena = (ARENA, ARENA_SIZE)
        self.heap = (HEAP, HEAP_SIZE)
        self.lock = nullcontext()
        self.quoting = None
        self.at_exit: dict[int, int] = {}
        self.entry_flags = 0x2 | DF | AC
        self.cssa = 0
        self.budget = BUDGET
        self._draws = 0
        self._left = False
        self.uc = uc = Uc(UC_ARCH_X86, UC_MODE_64)
        uc.ctl_set_cpu_model(x86.UC_CPU_X86_NEHALEM)
        uc.reg_write(x86.UC_X86_REG_CR4, uc.reg_read(x86.UC_X86_REG_CR4) | OSFXSR | OSXMMEXCPT)
        uc.mem_map(ARENA, ARENA_SIZE)
        uc.mem_map(HEAP, HEAP_SIZE)
        uc.mem_map(HOST_CODE, 0x2_0000)
        for page in program.image.pages:
            rights = page.r * uc_const.UC_PROT_READ | page.w * uc_const.UC_PROT_WRITE
            uc.mem_map(base + page.offset, 4096, rights | page.x * uc_const.UC_PROT_EXEC)
            content = page.content
            if not page.measured:  # a host that fills unmeasured memory with anything it likes
                content = b"\xa5" * 4096
            uc.mem_write(base + page.offset, content)
        uc.hook_add(UC_HOOK_INSN_INVALID, self._invalid)
        uc.hook_add(UC_HOOK_INSN, self._syscall, aux1=x86.UC_X86_INS_SYSCALL)

    def read(self, gva: int, size: int) -> bytes:
        """Host memory, or any other: nothing is protected here."""
        return bytes(self.uc.mem_read(gva, size))

    def write(self, gva: int, data: bytes) -> None:
        """Host memory, or any other."""
        self.uc.mem_write(gva, bytes(data))

    def peek(self, symbol: str, size: int) -> bytes:
        """Bytes at a symbol of the program."""
        return self.read(self.base + self.program.symbols[symbol], size)

    def trace_pages(self, pages: dict[int, str]) -> list[str]:
        """From now on, record accesses to these pages: their letter, a capital for a write."""
        trace: list[str] = []

        def note(_uc: Uc, access: int, gva: int, *_rest: object) -> None:
            letter = pages.get(gva & -4096)
            if letter:
                trace.append(letter.upper() if access == uc_const.UC_MEM_WRITE else letter)

        kinds = uc_const.UC_HOOK_MEM_READ | uc_const.UC_HOOK_MEM_WRITE
        self.uc.hook_add(kinds, note)
        self.uc.ctl_flush_tb()  # hooks act only on blocks translated afterwards
        return trace

    def enter(self, thread: int, rdi: int, rsi: int) -> tuple[int, int, int]:
        """One entry, up to the next exit: (RDI, RSI, RDX) there."""
        layout = self.program.threads[thread]
        registers = dict.fromkeys(GENERAL, JUNK)
        registers |= {RAX: self.cssa, RBX: self.base + layout.tcs, RCX: HOST_CODE}
        registers |= {RSP: HOST_STACK, RBP: HOST_STACK + 8, RDI: rdi, RSI: rsi}
        registers |= {R8: self.arena[0], R9: self.arena[1], EFLAGS: self.entry_flags}
        registers |= {MXCSR: 0x5F80}  # another rounding mode
        registers |= dict.fromkeys(XMM, JUNK << 64 | JUNK)
        for name, value in registers.items():
            self.uc.reg_write(name, value)
        self.uc.reg_write(x86.UC_X86_REG_FPCW, 0x0F7F)
        for base_register in (x86.UC_X86_REG_GS_BASE, x86.UC_X86_REG_FS_BASE):
            self.uc.reg_write(base_register, self.base + layout.gs)
        self._left = False
        try:
            self.uc.emu_start(self.base + layout.entry, HOST_CODE + 8, count=self.budget)
        except UcError as error:
            rip = self.uc.reg_read(RIP) - self.base
            raise EnclaveLost(f"{error} at {rip:#x}") from None
        if not self._left:
            raise BudgetExceeded(f"no exit within {self.budget} instructions")
        self.at_exit = {name: self.uc.reg_read(name) for name in (*GENERAL, *XMM, EFLAGS, MXCSR)}
        return self.at_exit[RDI], self.at_exit[RSI], self.at_exit[RDX]

    def _leave(self) -> None:
        self._left = True
        self.uc.emu_stop()

    def _invalid(self, uc: Uc, _data: object) -> bool:
        rip = uc.reg_read(RIP)
        code = bytes(uc.mem_read(rip, 3)) + bytes(uc.mem_read(rip + 3, 1))
        if code[:3] == ENCLU and self.program.target == "sgx":
            self._leave()
            return True
        return self._rdrand(uc, rip, code)

    def _syscall(self, _uc: Uc, _data: object) -> None:
        if self.program.target != "none":
            raise AssertionError("an enclave executed SYSCALL")
        self._leave()

    def _rdrand(self, uc: Uc, rip: int, code: bytes) -> bool:
        """``REX.W 0F C7 /6`` with a register operand."""
        if not (code[0] & 0xF8 == 0x48 and code[1:3] == b"\x0f\xc7" and code[3] & 0xF8 == 0xF0):
            return False
        number = code[3] & 7 | (code[0] & 1) << 3
        order = [RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, *GENERAL[8:]]
        self._draws += 1
        value = hashlib.sha256(f"{self.seed}|{self._draws}".encode()).digest()[:8]
        uc.reg_write(order[number], int.from_bytes(value, "little"))
        uc.reg_write(EFLAGS, uc.reg_read(EFLAGS) | 1)
        uc.reg_write(RIP, rip + 4)
        return True
