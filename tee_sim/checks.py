"""Named security checks, and which of them are in force on one Platform.

A `Check` describes one mechanism that stops an attack: an access rule, an encryption step, a
register scrub. The tables of checks live beside the code that enforces them
(`tee_sim.machine.encryption`, `tee_sim.monitors.sgx.checks`); the code asks a `Checks` object
whether a mechanism is in force and reports a refusal through it.

Alignment, reserved bits and argument errors are typed errors, not Checks: no attack rests on
them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TypeVar

from tee_sim.errors import TeeSimError, UsageError
from tee_sim.html import table
from tee_sim.trace import Event, Refusal, Tracer

E = TypeVar("E", bound=TeeSimError)

PATCH_LEVEL = 1
"""The newest patch level: 0 is a platform as it was sold, 1 has all later updates installed."""


@dataclass(frozen=True, slots=True)
class Check:
    """One named mechanism.

    Attributes:
        name: the vendor's name, ``PART.RULE``.
        title: what it says in at most eight plain words.
        stops: one sentence on the attack it stops.
        source: document and title of the section that defines it.
        since: the patch level that brought it; 0 for what the processor was sold with.
    """

    name: str
    title: str
    stops: str
    source: str
    since: int = 0

    def __post_init__(self) -> None:
        if len(self.title.split()) > 8:
            raise UsageError(f"{self.name}: a title has at most eight words: {self.title!r}")

    def __str__(self) -> str:
        return self.name

    def _repr_html_(self) -> str:
        rows = [("says", self.title), ("stops", self.stops), ("source", self.source)]
        return table(self.name, rows)


class Checks:
    """The checks of one Platform: which exist, which are off, and who is told of a refusal.

    Args:
        known: every check that this Platform's technology has.
        without: names of checks to build the Platform without.
        tracer: receives a `Refusal` each time a check stops something.
        patch_level: microcode and firmware updates that are installed; a later check is off.

    Attributes:
        refusals: the most recent refusals, oldest first.

    Raises:
        UsageError: ``without`` names a check that this technology does not have.
    """

    def __init__(
        self,
        known: Collection[Check],
        without: Iterable[str] = (),
        tracer: Tracer | None = None,
        patch_level: int = PATCH_LEVEL,
    ) -> None:
        self.known = {check.name: check for check in known}
        self.without = frozenset(without)
        self._off = self.without.union(c.name for c in known if c.since > patch_level)
        self.tracer = tracer
        self.refusals: deque[Refusal] = deque(maxlen=256)
        unknown = sorted(self.without - self.known.keys())
        if unknown:
            raise UsageError(
                f"no check named {', '.join(unknown)} here; "
                f"this platform has {', '.join(sorted(self.known)) or 'none'}"
            )

    def __repr__(self) -> str:
        off = f", off: {', '.join(sorted(self._off))}" if self._off else ""
        return f"<{len(self.known)} named checks{off}>"

    def _repr_html_(self) -> str:
        rows = (
            (name, check.title + (" (off)" if name in self._off else ""))
            for name, check in self.known.items()
        )
        return table("Named checks", rows)

    def on(self, check: Check) -> bool:
        """Whether the mechanism is in force."""
        return check.name not in self._off

    def refuse(self, check: Check, error: E, detail: str = "") -> E:
        """Record that ``check`` stopped something and return ``error``, carrying it, to raise."""
        self.report(check, detail or str(error.args[0] if error.args else error))
        error.check = check  # type: ignore[attr-defined]  # Fault and CallError have it
        return error

    def report(self, check: Check, detail: str) -> None:
        """Record that ``check`` stopped something without an error (e.g. the abort page)."""
        refusal = Refusal(check, detail)
        self.refusals.append(refusal)
        self.emit(refusal)

    def emit(self, event: Event) -> None:
        """Pass any event on to the tracer."""
        if self.tracer is not None:
            self.tracer(event)
