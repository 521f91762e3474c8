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
COPY = Check(
    "RUNTIME.COPY",
    "Arguments are copied before they are looked at",
    "The host changes an argument between the program's look at it and its use.",
    'Van Bulck et al., "A Tale of Two Worlds", 2019; Intel SGX Developer Guide, TOCTOU',
)
OVERFLOW = Check(
    "RUNTIME.OVERFLOW",
    "A size must fit the machine's word",
    "The host names so many elements that their size in bytes wraps around to a small one, and the "
    "program's own bounds check allows every address.",
    "Open Enclave, `OE_ADD_ARG_SIZE`; CWE-190",
)
CLEAR = Check(
    "RUNTIME.CLEAR",
    "Outputs hold zeros where nothing was written",
    "What was on the stack or the heap before leaves with an output, between its members.",
    "Lee, Kim: Leaking Uninitialized Secure Enclave Memory via Structure Padding (2017)",
)
GUARDS = (REENTRY, OUTSIDE, COPY, OVERFLOW, CLEAR)
"""In the order of the GUARD_ bits of ``guest/include/tee/layout.h``."""

ALL = frozenset(guard.name for guard in GUARDS)


def built_in(checks: Checks) -> frozenset[str]:
    """The names of the guards that programs on this platform are built with."""
    return frozenset(guard.name for guard in GUARDS if checks.on(guard))


def bits(names: Collection[str]) -> int:
    """The word of the thread data that tells the runtime which guards it has."""
    return sum(1 << index for index, guard in enumerate(GUARDS) if guard.name in names)
