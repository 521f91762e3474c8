"""The state-save area: where an asynchronous exit puts a thread, and what the host sees instead.

A frame begins with the x87 and SSE state (XSAVE) and ends with the general registers (GPRSGX);
EXINFO, if the enclave asked for it, lies just below those.

Source: Intel SDM Vol. 3D, "State Save Area (SSA) Frame", "Synthetic State on Asynchronous Enclave
Exit".
"""

from __future__ import annotations

import struct

from tee_sim.abi.sgx import EXINFO, ExitInfo
from tee_sim.errors import Fault
from tee_sim.machine import fxsave
from tee_sim.machine.cache import Cache
from tee_sim.machine.registers import FLAGS_ARITHMETIC, RFLAGS, RIP
from tee_sim.monitors.sgx.building import GPRSGX_SIZE, XFRM_LEGACY
from tee_sim.monitors.sgx.enclave import Entry
from tee_sim.units import PAGE

FLAG_TF, FLAG_RF = 1 << 8, 1 << 16
FLAGS_RESTORED = FLAGS_ARITHMETIC | 1 << 10 | 1 << 14 | FLAG_RF | 1 << 18 | 1 << 21
"""What ERESUME takes from the SSA: CF PF AF ZF SF OF, DF, NT, RF, AC, ID; never IF or IOPL."""

GPR = PAGE - GPRSGX_SIZE
"""Where GPRSGX begins in the last page of a frame."""

URSP = GPR + 144
_EXITINFO, _AEXNOTIFY, _FSBASE = GPR + 160, GPR + 167, GPR + 168
_GPR_AREA = struct.Struct("<18Q")

_REPORTED = {0: 3, 1: 3, 3: 6, 5: 3, 6: 3, 16: 3, 17: 3, 19: 3}
"""Vectors that EXITINFO reports without EXINFO, and their type (3 hardware, 6 software)."""

_DETAILED = {13: 3, 14: 3}
"""#GP and #PF, which it reports if MISCSELECT.EXINFO is set, with details in EXINFO."""


def save(
    cache: Cache, entry: Entry, registers: list[int], fpu: bytes, event: Fault | None
) -> tuple[int, int]:
    """Fill the frame that EENTER checked; RFLAGS without TF.

    Args:
        cache: the machine's.
        entry: the thread that is inside.
        registers: its 20 general registers.
        fpu: its x87 and SSE state, a FXSAVE image.
        event: what took it out; None for an interrupt.

    Returns:
        The host's RSP and RBP, which EENTER left in the frame.
    """
    xsave = cache.view(entry.ssa_hpas[0], write=True)
    xsave[: fxsave.SIZE] = fpu
    struct.pack_into("<Q", xsave, fxsave.SIZE, XFRM_LEGACY)  # XSTATE_BV: x87 and SSE are there
    frame = cache.view(entry.ssa_hpas[-1], write=True)
    saved_flags = registers[RFLAGS] & ~FLAG_TF
    _GPR_AREA.pack_into(frame, GPR, *registers[:RFLAGS], saved_flags, registers[RIP])
    ursp, urbp = struct.unpack_from("<QQ", frame, URSP)
    struct.pack_into("<QQ", frame, _FSBASE, *registers[RIP + 1 :])
    detailed = bool(entry.enclave.secs.miscselect.exinfo)
    struct.pack_into("<I", frame, _EXITINFO, _exit_info(event, detailed))
    if detailed and event is not None and event.vector in _DETAILED:
        # The enclave is told the whole address; it is the host that gets a masked one.
        details = EXINFO(maddr=event.address, errcd=event.error_code & 0xFFFFFFFF)
        frame[GPR - EXINFO.SIZE : GPR] = details.pack()
    return ursp, urbp


def load(registers: list[int], frame: memoryview) -> None:
    """ERESUME: put the general registers of a saved frame into ``registers``."""
    host_flags = registers[RFLAGS]
    registers[:18] = _GPR_AREA.unpack_from(frame, GPR)
    registers[RFLAGS] = registers[RFLAGS] & FLAGS_RESTORED | host_flags & ~FLAGS_RESTORED
    registers[18:] = struct.unpack_from("<QQ", frame, _FSBASE)


def asks_for_notice(frame: memoryview) -> bool:
    """Whether the thread set AEXNOTIFY[0] in its frame: it wants to be told when it is resumed."""
    return bool(frame[_AEXNOTIFY] & 1)


def targets(frame: memoryview) -> tuple[int, ...]:
    """RIP, FS and GS of an interrupted thread."""
    rip = struct.unpack_from("<Q", frame, GPR + 8 * RIP)
    return rip + struct.unpack_from("<QQ", frame, _FSBASE)


def synthetic_fpu(event: Fault | None) -> bytes:
    """x87 and SSE state that the host finds: initial, but #MF and #XM show their own."""
    return _SYNTHETIC_FPU.get(event.vector if event else -1, _SYNTHETIC_FPU[-1])


def _exit_info(event: Fault | None, detailed: bool) -> ExitInfo:
    """EXITINFO for the enclave's own handler: vectors that it is told about."""
    reported = _REPORTED | _DETAILED if detailed else _REPORTED
    if event is None or event.vector not in reported:
        return ExitInfo()
    return ExitInfo(vector=event.vector, exit_type=reported[event.vector], valid=True)


def _synthetic_fpu(fcw: int = 0x37F, fsw: int = 0, mxcsr: int = 0x1FB0) -> bytes:
    image = bytearray(fxsave.INITIAL)
    struct.pack_into("<HH", image, 0, fcw, fsw)
    struct.pack_into("<I", image, 24, mxcsr)
    return bytes(image)


_SYNTHETIC_FPU = {
    -1: _synthetic_fpu(),
    16: _synthetic_fpu(0x37E, 0x8081),
    19: _synthetic_fpu(mxcsr=0x1F01),
}
