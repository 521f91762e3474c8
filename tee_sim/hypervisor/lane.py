"""One thread of a program on a logical processor of its own, beside others.

``interleave(one.count.steps(1000), two.count.steps(1000))`` makes two calls at the same time, if
``one`` and ``two`` are ``enclave.on_thread(0)`` and ``enclave.on_thread(1)``.
"""

from __future__ import annotations

from tee_sim.errors import UsageError
from tee_sim.hypervisor.calls import finish
from tee_sim.hypervisor.guest import Guest, Result, Steps
from tee_sim.hypervisor.honest import Quoting
from tee_sim.units import align_down


class Lane:
    """How a host process calls a program on one of its threads: a `tee_sim.sdk.host.Transport`.

    Thread n runs on logical processor n. The lane has a part of the arena to itself, so that calls
    that run at the same time do not overwrite each other's arguments.

    Args:
        guest: the program.
        thread: number of its thread.
        quantum: instructions until the next processor's turn, when calls are interleaved.
    """

    def __init__(self, guest: Guest, thread: int, quantum: int) -> None:
        threads = len(guest.tcs_offsets)
        if thread not in range(threads):
            raise UsageError(f"this program has {threads} threads, from 0")
        self._guest, self._thread, self._quantum = guest, thread, quantum
        start, size = guest.arena
        share = align_down(size // threads)
        self.arena = start + thread * share, share
        self.heap = guest.heap
        self.read, self.write, self.lock = guest.read, guest.write, guest.lock

    @property
    def quoting(self) -> Quoting | None:
        """The host's quoting service, if it has one."""
        return self._guest.quoting

    def steps(self, thread: int, rdi: int, rsi: int) -> Steps:
        """Enter, and pause after each quantum."""
        return self._steps(thread, rdi, rsi, self._quantum)

    def enter(self, thread: int, rdi: int, rsi: int) -> Result:
        """Enter and run until the program leaves."""
        return finish(self._steps(thread, rdi, rsi, None))

    def _steps(self, thread: int, rdi: int, rsi: int, quantum: int | None) -> Steps:
        arena = {"r8": self.arena[0], "r9": self.arena[1]}
        return self._guest.steps(
            thread, rdi, rsi, registers=arena, processor=self._thread, quantum=quantum
        )
