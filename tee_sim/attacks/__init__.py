"""Attacks: scripts against the adversary's API, one file for each row of the matrix.

    outcome = attacks.read_private_page(host, vault, digest)

Each is called with a platform and what its stage prepares (see its ``stage``), or with
`Attack.run` on a fresh platform. The ``proofs_*`` modules hold attacks that are not rows: each
proves one check.
"""

from tee_sim.attacks.bus_corruption import bus_corruption
from tee_sim.attacks.bus_replay import bus_replay
from tee_sim.attacks.cold_boot import cold_boot
from tee_sim.attacks.impostor import impostor
from tee_sim.attacks.outcome import STOPPED, VERDICTS, Attack, Outcome
from tee_sim.attacks.page_faults import page_faults
from tee_sim.attacks.proofs_entry import (
    enter_twice,
    forged_tcs,
    nested_entries,
    redirected_ssa,
    skip_einit,
    trap_flag,
)
from tee_sim.attacks.proofs_launch import (
    debug_launch,
    debug_read,
    forged_sigstruct,
    inherit_pages,
    late_page,
    resigned_image,
    wrong_rights,
)
from tee_sim.attacks.proofs_memory import (
    execute_data,
    fault_offset,
    foreign_page,
    jump_outside,
    lie_about_cpuid,
    ordinary_page,
    read_code,
    removed_page,
    reuse_active_page,
    rewrite_tcs,
    stale_translation,
    write_code,
)
from tee_sim.attacks.read_private_page import read_private_page
from tee_sim.attacks.registers_at_exit import registers_at_exit
from tee_sim.attacks.remap_page import remap_page
from tee_sim.attacks.replay_by_software import replay_by_software
from tee_sim.attacks.tampered_image import tampered_image
from tee_sim.attacks.write_private_page import write_private_page

_ROWS = (
    read_private_page,
    write_private_page,
    replay_by_software,
    remap_page,
    registers_at_exit,
    page_faults,
    bus_replay,
    tampered_image,
    cold_boot,
    bus_corruption,
    impostor,
)
_PROOFS = (
    execute_data,
    fault_offset,
    foreign_page,
    jump_outside,
    lie_about_cpuid,
    ordinary_page,
    read_code,
    removed_page,
    reuse_active_page,
    rewrite_tcs,
    stale_translation,
    write_code,
    enter_twice,
    forged_tcs,
    nested_entries,
    redirected_ssa,
    skip_einit,
    trap_flag,
    debug_launch,
    debug_read,
    forged_sigstruct,
    inherit_pages,
    late_page,
    resigned_image,
    wrong_rights,
)

ATTACKS: dict[str, Attack] = {attack.name: attack for attack in (*_ROWS, *_PROOFS)}
"""Every attack by name: the rows of the matrix, then the proofs of single checks."""

__all__ = [
    "ATTACKS",
    "STOPPED",
    "VERDICTS",
    "Attack",
    "Outcome",
    "bus_corruption",
    "bus_replay",
    "cold_boot",
    "debug_launch",
    "debug_read",
    "enter_twice",
    "execute_data",
    "fault_offset",
    "foreign_page",
    "forged_sigstruct",
    "forged_tcs",
    "impostor",
    "inherit_pages",
    "jump_outside",
    "late_page",
    "lie_about_cpuid",
    "nested_entries",
    "ordinary_page",
    "page_faults",
    "read_code",
    "read_private_page",
    "redirected_ssa",
    "registers_at_exit",
    "remap_page",
    "removed_page",
    "replay_by_software",
    "resigned_image",
    "reuse_active_page",
    "rewrite_tcs",
    "skip_einit",
    "stale_translation",
    "tampered_image",
    "trap_flag",
    "write_code",
    "write_private_page",
    "wrong_rights",
]
