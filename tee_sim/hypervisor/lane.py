"""One thread of a program on a logical processor of its own, beside others.

one, two = (enclave.on_thread(number) for number in range(2))
interleave(one.count.steps(1000), two.count.steps(1000))
"""

from __future__ import annotations

from tee_sim.errors import UsageError
from tee_sim.hypervisor.guest import Guest, Result, Steps, finish
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
        if not 0 <= thread < threads:
            raise UsageError(f"this program has {threads} threads, from 0")
        self._guest, self._thread, self._quantum = guest, thread, quantum
        start, size = guest.arena
        share = align_down(size // threads)
        self.arena = start + thread * share, share
        self.read, self.write = guest.read, guest.write

    def steps(self, thread: int, rdi: int, rsi: int) -> Steps:
        """Enter, and pause after each quantum."""
        return self._guest.steps(
            thread,
            rdi,
            rsi,
            registers={"r8": self.arena[0], "r9": self.arena[1]},
            processor=self._thread,
            quantum=self._quantum,
        )

    def enter(self, thread: int, rdi: int, rsi: int) -> Result:
        """Enter and run until the program leaves."""
        return finish(self.steps(thread, rdi, rsi))
