"""Exceptions inside an enclave that the enclave handles itself.

The secure kernel notes what happened where the enclave's runtime looks for it, in the save area of
the thread, and enters the thread once more. Once that has left, the thread goes on where the save
area says now. VTL0 learns that something happened, and nothing else.

Simplified: Windows dispatches exceptions without leaving VTL1, by the tables of the image; here the
save area is laid out as SGX's, so that one runtime serves both.
"""

from __future__ import annotations

import struct

from tee_sim.abi.sgx import ExitInfo
from tee_sim.errors import VBSError
from tee_sim.machine.cpu import LogicalProcessor
from tee_sim.machine.registers import FLAGS_INITIAL, FSBASE, GSBASE, RAX, RFLAGS, RIP, RSP
from tee_sim.monitors.vbs import crossing, services
from tee_sim.monitors.vbs.enclave import Enclave, State
from tee_sim.monitors.vbs.secure_kernel import SecureKernel

SAVE_AREA = -4280
"""Where the registers of the save area begin, from the thread's GS (``SSA_GPR`` in layout.h)."""

_AT_RSP, _AT_RIP, _AT_EXITINFO, _AT_MADDR = 32, 136, 160, -16
HARDWARE, SOFTWARE = 3, 6
SOFTWARE_VECTORS = (3, 4)


def deliver(sk: SecureKernel, enclave: Enclave, lp: LogicalProcessor, registers: list[int]) -> bool:
    """Enter a thread that an exception interrupted, for its handler; False if none did.

    # Checks
    The thread waits because of an exception, and not for a timer: VTL0 can neither invent one nor
    have one handled twice. The enclave was not terminated.
    """
    thread, slot = enclave.waiting.get(lp.index, (0, 1))
    event = enclave.events.get(lp.index)
    if slot or event is None or enclave.state != State.INITIALIZED:
        return False
    start = enclave.threads[thread]
    area, context = start.gs + SAVE_AREA, crossing.context_of(sk, enclave, thread)[0]
    kind = SOFTWARE if event.vector in SOFTWARE_VECTORS else HARDWARE
    info = ExitInfo(vector=event.vector, exit_type=kind, valid=True)
    details = struct.pack("<QQ", event.address, event.error_code & 0xFFFFFFFF)
    try:
        services.store(sk, enclave, area + _AT_MADDR, details)
        services.store(sk, enclave, area + _AT_RSP, context[RSP].to_bytes(8, "little"))
        services.store(sk, enclave, area + _AT_RIP, context[RIP].to_bytes(8, "little"))
        services.store(sk, enclave, area + _AT_EXITINFO, struct.pack("<I", info))
    except VBSError:
        return False
    del enclave.waiting[lp.index]
    registers[RIP], registers[RFLAGS], registers[RAX] = start.entry, FLAGS_INITIAL, 1
    registers[FSBASE], registers[GSBASE] = start.fs, start.gs
    enclave.inside[lp.index] = enclave.handling[lp.index] = thread
    crossing.enter(sk, enclave, lp, registers)
    return True


def resume(sk: SecureKernel, enclave: Enclave, lp: LogicalProcessor) -> None:
    """Go on with an interrupted thread, after its handler where the handler said.

    Raises:
        VBSError: as `crossing.resume`.
    """
    handled = enclave.waiting.get(lp.index, (0, 1))[1] == 0
    thread = enclave.handling.pop(lp.index, None) if handled else None
    target: tuple[int, ...] = ()
    if thread is not None:
        area = enclave.threads[thread].gs + SAVE_AREA
        places = (area + at for at in (_AT_RSP, _AT_RIP))
        words = (services.inside(sk, enclave, place, 8) for place in places)
        target = tuple(int.from_bytes(word, "little") for word in words)
    crossing.resume(sk, enclave, lp, target)
