"""Guards: checks that the runtime inside makes in software, and that a build can leave out.

The processor knows nothing of them. A platform without a guard loads programs that were compiled
without it; their measurement is another one, as for any change of a program.
"""

from __future__ import annotations

from tee_sim.checks import Check, Checks

RUNTIME_OUTSIDE = Check(
    "RUNTIME.OUTSIDE",
    "What the host lends must lie outside",
    "The host names an address inside as its own memory, and the program overwrites itself.",
    'Van Bulck et al., "A Tale of Two Worlds", 2019; Open Enclave, `oe_is_outside_enclave`',
)

GUARDS = (RUNTIME_OUTSIDE,)
"""All of them. A guard FOO.BAR is left out of a build by -DTEE_WITHOUT_FOO_BAR."""


def left_out(checks: Checks) -> tuple[str, ...]:
    """Names of the guards that a platform's programs are built without."""
    known = (guard for guard in GUARDS if guard.name in checks.known)
    return tuple(guard.name for guard in known if not checks.on(guard))
