"""Events that the machine and the monitors report, and the protocol of whoever listens.

Nothing here renders anything: `tee_sim.view` draws events, tests count them, attacks read which
check refused them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from tee_sim.html import table

if TYPE_CHECKING:
    from tee_sim.checks import Check


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""

    def _repr_html_(self) -> str:
        rows = ((field.name, getattr(self, field.name)) for field in fields(self))
        return table(type(self).__name__, rows)


@dataclass(frozen=True, slots=True)
class Refusal(Event):
    """A named check stopped something. ``detail`` is one sentence about this very case."""

    check: Check
    detail: str


@dataclass(frozen=True, slots=True)
class TLBFill(Event):
    """One TLB miss that was answered: ``gva`` now maps to ``hpa``.

    ``access`` is ``"read"``, ``"write"`` or ``"fetch"``; ``protected`` says whether the page goes
    through a memory-encryption engine; ``inside`` whether the processor was in a TEE.
    """

    lp: int
    gva: int
    hpa: int
    access: str
    protected: bool
    inside: bool


@dataclass(frozen=True, slots=True)
class Leaf(Event):
    """A monitor call was made, e.g. ``name="EENTER"``."""

    name: str
    detail: str


@dataclass(frozen=True, slots=True)
class Exit(Event):
    """A processor left the TEE. ``reason`` is ``"EEXIT"`` or the event that interrupted it."""

    lp: int
    reason: str


@dataclass(frozen=True, slots=True)
class Bus(Event):
    """A transaction that somebody with a probe on the memory bus made."""

    operation: str
    hpa: int
    size: int


@dataclass(frozen=True, slots=True)
class Transfer(Event):
    """One page passed between the processor and the memory modules: ``"read"`` or ``"write"``."""

    operation: str
    hpa: int


Tracer = Callable[[Event], None]
"""Receives every event, in order. Must not raise and must not touch the machine."""


class Recorder:
    """A Tracer that keeps what it heard, oldest first."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Keep the event."""
        self.events.append(event)

    def of(self, kind: type[Event]) -> list[Event]:
        """The events of one kind, oldest first."""
        return [event for event in self.events if isinstance(event, kind)]
