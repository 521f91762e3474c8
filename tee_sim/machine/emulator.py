"""The Unicorn engine as this machine uses it. The only file that imports unicorn.

Everything here is about the engine, nothing about TEEs: how to reach user mode, how to move
registers in one call, how to hook without the library's per-call cost. Measured reasons are in
`docs/decisions`.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import unicorn
from unicorn import unicorn_const as uc_const
from unicorn import x86_const as x86
from unicorn.unicorn_py3.unicorn import uclib

from tee_sim.machine import fxsave
from tee_sim.units import MIB

_NAMES = ("RAX RCX RDX RBX RSP RBP RSI RDI R8 R9 R10 R11 R12 R13 R14 R15").split()
_GPR_IDS = [getattr(x86, f"UC_X86_REG_{name.upper()}") for name in _NAMES] + [
    x86.UC_X86_REG_EFLAGS,
    x86.UC_X86_REG_RIP,
    x86.UC_X86_REG_FS_BASE,
    x86.UC_X86_REG_GS_BASE,
]
_FPU_IDS = [
    x86.UC_X86_REG_FPCW,
    x86.UC_X86_REG_FPSW,
    x86.UC_X86_REG_FPTAG,
    x86.UC_X86_REG_MXCSR,
    *(x86.UC_X86_REG_FP0 + index for index in range(8)),
    *(x86.UC_X86_REG_XMM0 + index for index in range(16)),
]


class _TLBEntry(ctypes.Structure):
    _fields_ = (("paddr", ctypes.c_uint64), ("perms", ctypes.c_uint32))


class _Block(ctypes.Structure):
    _fields_ = (
        ("pc", ctypes.c_uint64),
        ("instructions", ctypes.c_uint16),
        ("size", ctypes.c_uint16),
    )


_FILL = ctypes.CFUNCTYPE(
    ctypes.c_bool,
    ctypes.c_void_p,
    ctypes.c_uint64,
    ctypes.c_int,
    ctypes.POINTER(_TLBEntry),
    ctypes.c_void_p,
)
_EDGE = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.POINTER(_Block), ctypes.POINTER(_Block), ctypes.c_void_p
)
_INVALID = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p)


class Hooks(Protocol):
    """What the engine calls. None of them may raise: an exception would be lost inside it."""

    def on_fill(self, gva: int, access: int) -> tuple[int, int] | None:
        """TLB miss (``access`` 0 read, 1 write, 2 fetch): (physical page, permissions), or None."""
        ...

    def on_block(self, gva: int, size: int) -> None:
        """A block of ``size`` bytes of code was translated and is about to run."""
        ...

    def on_interrupt(self, vector: int) -> None:
        """An exception or software interrupt."""
        ...

    def on_invalid(self) -> None:
        """An instruction that the engine does not know; RIP is on it."""
        ...

    def on_cpuid(self) -> bool:
        """CPUID is about to execute; True if it was answered."""
        ...

    def on_syscall(self) -> None:
        """SYSCALL; RIP is on it."""
        ...


class _Batch:
    """One set of registers, read or written in a single call to the engine."""

    def __init__(self, ids: Sequence[int], sizes: Sequence[int]) -> None:
        self.count = len(ids)
        self.ids = (ctypes.c_int * self.count)(*ids)
        self.values = ctypes.create_string_buffer(sum(sizes))
        base, places = ctypes.addressof(self.values), []
        for size in sizes:
            places.append(base)
            base += size
        self.pointers = (ctypes.c_void_p * self.count)(*places)

    def read(self, handle: Any) -> bytes:
        uclib.uc_reg_read_batch(handle, self.ids, self.pointers, self.count)
        return self.values.raw

    def write(self, handle: Any, raw: bytes) -> None:
        ctypes.memmove(self.values, raw, len(raw))
        uclib.uc_reg_write_batch(handle, self.ids, self.pointers, self.count)


class Emulator:
    """One Unicorn instance in 64-bit user mode.

    Args:
        regions: (physical address, bytes, address in this process) of each memory to map. Each
            is mapped once: regions are expensive in the engine.
        scratch: physical address of a page that belongs to the engine, and that no address
            translates to.
        hooks: what to call.
    """

    def __init__(self, regions: Sequence[tuple[int, int, int]], scratch: int, hooks: Hooks) -> None:
        self._uc = uc = unicorn.Uc(uc_const.UC_ARCH_X86, uc_const.UC_MODE_64)
        uc.ctl_set_cpu_model(x86.UC_CPU_X86_NEHALEM)
        # The default translation buffer reserves 1 GiB of address space.
        uc.ctl_set_tcg_buffer_size(32 * MIB)
        uc.ctl_set_tlb_mode(uc_const.UC_TLB_VIRTUAL)
        for address, size, pointer in regions:
            uc.mem_map_ptr(address, size, uc_const.UC_PROT_ALL, pointer)
        self._handle = uc._uch
        self._quiet = self._counted = False
        self.lost: BaseException | None = None
        self._gpr = _Batch(_GPR_IDS, [8] * 20)
        self._fpu = _Batch(_FPU_IDS, fxsave.RAW_SIZES)
        self._flush = uc._Uc__ctl_encode(uc_const.UC_CTL_TLB_FLUSH, uc_const.UC_CTL_IO_WRITE, 0)
        self._clean = _enter_user_mode(uc, scratch)
        # No address ends a run: the engine would look at the code there after each one.
        uc.ctl_exits_enabled(True)
        self._install(hooks, scratch)

    @property
    def closed(self) -> bool:
        """Whether the library has freed the engine, as it does when Python ends."""
        return not self._uc._Uc__finalizer.alive

    def registers(self) -> bytes:
        """The 20 general registers as packed 64-bit words."""
        return self._gpr.read(self._handle)

    def set_registers(self, raw: bytes) -> None:
        """Write the 20 general registers."""
        self._gpr.write(self._handle, raw)

    def fpu(self) -> bytes:
        """The x87 and SSE registers, packed as `fxsave.RAW_SIZES`."""
        return self._fpu.read(self._handle)

    def set_fpu(self, raw: bytes) -> None:
        """Write the x87 and SSE registers."""
        self._fpu.write(self._handle, raw)

    def set_register(self, number: int, value: int) -> None:
        """Write one general register by its position (does not end the block, RIP excepted)."""
        self._uc.reg_write(_GPR_IDS[number], value)

    def start(self, rip: int, count: int) -> int:
        """Run from ``rip``, at most ``count`` instructions if not 0; the engine's status.

        A signal handler may raise before the first line of a hook, where nobody can catch it;
        that is in ``lost`` afterwards.
        """
        if self._counted and not count:
            self._stop_counting()
        self.lost, self._counted = None, bool(count)
        others, sys.unraisablehook = sys.unraisablehook, self._keep
        try:
            return int(uclib.uc_emu_start(self._handle, rip, 0, 0, count))
        finally:
            sys.unraisablehook = others

    def _keep(self, unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            self.lost = unraisable.exc_value
        else:
            sys.__unraisablehook__(unraisable)

    def _stop_counting(self) -> None:
        """What an uncounted run after a counted one does first, out of the program's sight.

        The engine removes its own counting hook, and for each block that had it asks for the
        translation of its address, as if it were fetched. Nobody is asked, and what was answered
        is forgotten; what runs is the first illegal instruction of the scratch page.
        """
        gpr, self._quiet = self.registers(), True
        uclib.uc_emu_start(self._handle, 0, 0, 0, 0)
        self._quiet = False
        self.set_registers(gpr)
        self.flush_tlb()

    def stop(self) -> None:
        """Stop at once.

        That is exact from a hook on a block or an instruction. From a fill or another thread it
        may be in the middle of an instruction, and then the run cannot be resumed.
        """
        uclib.uc_emu_stop(self._handle)

    def flush_tlb(self) -> None:
        """Drop all translations; the engine resizes its TLB only here."""
        uclib.uc_ctl(self._handle, self._flush)

    def flush_code(self) -> None:
        """Drop all translated code."""
        self._uc.ctl_flush_tb()

    def clear_exception(self) -> None:
        """Clear the exception state, which would turn the next fault into a double fault."""
        gpr, fpu = self.registers(), self.fpu()
        self._uc.context_restore(self._clean)
        self.set_registers(gpr)
        self.set_fpu(fpu)
        self.flush_tlb()

    def _install(self, hooks: Hooks, scratch: int) -> None:
        def fill(_uc: int, gva: int, kind: int, entry: Any, _key: int) -> bool:
            slot = entry[0]
            if self._quiet:
                slot.paddr, slot.perms = scratch, uc_const.UC_PROT_EXEC
                return True
            answer = hooks.on_fill(gva, kind - uc_const.UC_MEM_READ)
            if answer is None:
                return False
            slot.paddr, slot.perms = answer
            return True

        def edge(_uc: int, block: Any, _previous: Any, _key: int) -> None:
            if not self._quiet:
                hooks.on_block(block[0].pc, block[0].size)

        def invalid(_uc: int, _key: int) -> bool:
            if self._quiet:
                self.stop()
            else:
                hooks.on_invalid()
            return True

        # Raw callbacks: the library's own wrapper costs more than the work that is done here.
        self._callbacks = (_FILL(fill), _EDGE(edge), _INVALID(invalid))
        kinds = (
            uc_const.UC_HOOK_TLB_FILL,
            uc_const.UC_HOOK_EDGE_GENERATED,
            uc_const.UC_HOOK_INSN_INVALID,
        )
        for kind, callback in zip(kinds, self._callbacks, strict=True):
            uclib.uc_hook_add(
                self._handle,
                ctypes.byref(ctypes.c_size_t()),
                kind,
                ctypes.cast(callback, ctypes.c_void_p),
                None,
                ctypes.c_uint64(1),
                ctypes.c_uint64(0),
            )
        add: Callable[..., Any] = self._uc.hook_add
        add(uc_const.UC_HOOK_INTR, lambda _uc, vector, _data: hooks.on_interrupt(vector))
        cpuid, syscall = x86.UC_X86_INS_CPUID, x86.UC_X86_INS_SYSCALL
        add(uc_const.UC_HOOK_INSN, lambda _uc, _data: hooks.on_cpuid(), None, 1, 0, cpuid)
        add(uc_const.UC_HOOK_INSN, lambda _uc, _data: hooks.on_syscall(), None, 1, 0, syscall)


def _enter_user_mode(uc: Any, page: int) -> Any:
    """Bring a fresh engine to CPL 3 with SSE on; return its saved state.

    Writing CS does not change the privilege level, so it takes a real IRETQ through a real GDT.
    They stand on the scratch ``page``, and only for this moment: it is filled with UD2 then.
    """
    code, data, user_code, user_data = (
        0x00AF9B000000FFFF,
        0x00CF93000000FFFF,
        0x00AFFB000000FFFF,
        0x00CFF3000000FFFF,
    )
    gdt = struct.pack("<5Q", 0, code, data, user_code, user_data)
    frame = struct.pack("<5Q", 0x300, 0x1B, 0x202, 0x800, 0x23)
    uc.mem_write(page, bytes(0x400))
    uc.mem_write(page + 0x100, gdt)
    uc.mem_write(page + 0x200, frame)
    uc.mem_write(page + 0x2F0, b"\x48\xcf")
    uc.mem_write(page + 0x300, b"\x90" * 16)

    def fill(_uc: Any, _gva: int, _kind: int, entry: Any, _data: Any) -> bool:
        entry.paddr, entry.perms = page, uc_const.UC_PROT_ALL
        return True

    hook = uc.hook_add(uc_const.UC_HOOK_TLB_FILL, fill)
    uc.reg_write(x86.UC_X86_REG_CR4, uc.reg_read(x86.UC_X86_REG_CR4) | 0x600)
    uc.reg_write(x86.UC_X86_REG_GDTR, (0, 0x100, len(gdt) - 1, 0))
    uc.reg_write(x86.UC_X86_REG_RSP, 0x200)
    uc.emu_start(0x2F0, 0x308)
    assert uc.reg_read(x86.UC_X86_REG_CS) & 3 == 3, "the engine did not reach user mode"
    uc.hook_del(hook)
    uc.ctl(uc_const.UC_CTL_TLB_FLUSH, uc_const.UC_CTL_IO_WRITE)
    uc.mem_write(page, b"\x0f\x0b" * 2048)
    return uc.context_save()
