"""What the runtime inside guards itself against: bugs that real runtimes had, as named checks.

No processor enforces these. To switch one off is to deploy the careless build of every program: the
loader clears the guard's bit in the thread data, which is measured, so that it is another program.
"""

from __future__ import annotations

from collections.abc import Collection

from tee_sim.checks import Check, Checks

REENTRY = Check(
    "RUNTIME.REENTRY",
    "No exception is handled on the host's stack",
    "The host forces an exception while the stack pointer is still its own, and so has the second "
    "stage write registers of its choice to an address of its choice.",
    "Cui, Yu, Shinde, Saxena, Cai: SmashEx: Smashing SGX Enclaves Using Exceptions (2021)",
)
OUTSIDE = Check(
    "RUNTIME.OUTSIDE",
    "What the host lends must lie outside",
    "The host names an address inside as its own memory, and the program overwrites itself.",
    'Van Bulck et al., "A Tale of Two Worlds", 2019; Open Enclave, `oe_is_outside_enclave`',
)
GUARDS = (REENTRY, OUTSIDE)
"""In the order of the GUARD_ bits of ``guest/include/tee/layout.h``."""

ALL = frozenset(guard.name for guard in GUARDS)


def built_in(checks: Checks) -> frozenset[str]:
    """The names of the guards that programs on this platform are built with."""
    return frozenset(guard.name for guard in GUARDS if checks.on(guard))


def bits(names: Collection[str]) -> int:
    """The word of the thread data that tells the runtime which guards it has."""
    return sum(1 << index for index, guard in enumerate(GUARDS) if guard.name in names)
