"""Calls that pause: run one to its end, or several at the same time."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")


def finish(call: Generator[None, None, T]) -> T:
    """Make a call to its end, whatever pauses it has."""
    while True:
        try:
            next(call)
        except StopIteration as finished:
            result: T = finished.value
            return result


def interleave(*calls: Generator[None, None, T]) -> list[T]:
    """Run several calls at the same time, each for one quantum in turn.

    The order is fixed by instruction counts alone, so the same calls interleave the same way.

    Args:
        calls: entries of programs (`Guest.steps`) or ecalls (``enclave.on_thread(1).f.steps()``),
            each on a logical processor of its own.

    Returns:
        What each call returned, in the order given: for an entry RDI, RSI and RDX.
    """
    results: dict[int, T] = {}
    running = dict(enumerate(calls))
    try:
        while running:
            for index, call in list(running.items()):
                try:
                    next(call)
                except StopIteration as finished:
                    results[index] = finished.value
                    del running[index]
    finally:
        for call in running.values():
            call.close()
    return [results[index] for index in range(len(calls))]
