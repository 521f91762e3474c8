"""Ends runs that must not go on: their budget is used up, or somebody pressed Ctrl-C.

The engine can be stopped from another thread at any moment, but the run cannot be resumed after
that: it looks for a stop after every memory access, also between the store of ``inc [mem]`` and
the end of the instruction, which would then be executed again. So only a run that is given up is
stopped from here. Everything that is resumed stops from within the engine, at exact places.

While native code runs, Python does not see signals. But its signal handler writes the signal's
number to a file descriptor of our choice at once, and the watchdog listens there.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
import time
import weakref
from typing import Protocol

INSTRUCTIONS_PER_SECOND = 700_000_000
"""Nominal speed by which an uncounted run is charged against its budget."""

_TICK = 0.05


class Runner(Protocol):
    """Something that runs native code for a long time."""

    def overdue(self, interrupted: bool) -> None:
        """Called 20 times a second, and at once with ``interrupted`` after Ctrl-C."""
        ...


class Watchdog:
    """One thread that looks at every runner from time to time."""

    def __init__(self) -> None:
        self._runners: weakref.WeakSet[Runner] = weakref.WeakSet()
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._hears = False
        self._previous = -1
        self._ours, self._pythons = socket.socketpair()
        self._pythons.setblocking(False)

    def watch(self, runner: Runner) -> None:
        """Look after ``runner`` until it is garbage."""
        with self._changing:
            self._runners.add(runner)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._loop, name="tee-sim-watchdog", daemon=True)
            self._thread.start()

    def listen(self) -> None:
        """Hear of signals from now on. Python tells the main thread alone, so only it can ask."""
        if not self._hears and threading.current_thread() is threading.main_thread():
            pythons = self._pythons.fileno()
            self._previous = signal.set_wakeup_fd(pythons, warn_on_full_buffer=False)
            self._hears = True

    def _loop(self) -> None:
        while True:
            ready, _, _ = select.select([self._ours], [], [], _TICK)
            signals = self._ours.recv(256) if ready else b""
            if signals and self._previous >= 0:
                with contextlib.suppress(OSError):  # whoever listened before us
                    os.write(self._previous, signals)
            self._look(signal.SIGINT in signals)

    def _look(self, interrupted: bool) -> None:
        """Ask every runner. A method of its own: what it holds would not become garbage."""
        with self._changing:
            runners = list(self._runners)
        for runner in runners:
            runner.overdue(interrupted)


def cpu_time_of(thread: int) -> float:
    """Seconds of processor time that the thread with this identifier has used.

    Simplified: where the system does not tell (Windows), seconds of the clock.
    """
    if not hasattr(time, "pthread_getcpuclockid"):
        return time.perf_counter()
    return time.clock_gettime(time.pthread_getcpuclockid(thread))
