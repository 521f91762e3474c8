"""Row 23: a memory module claims to be larger than it is, so that memory has two addresses."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack, ciphertext, nothing, refused, vault
from tee_sim.attacks.tries import lock, rewound
from tee_sim.errors import BootError

if TYPE_CHECKING:
    from tee_sim.platform import Platform


@attack(
    row=23,
    title="A lying memory module makes aliases",
    reference="BadRAM (De Meulemeester et al. 2025)",
    stage=nothing,
    proves=("BOOT.ALIAS_CHECK",),
    unverified=("vbs",),
)
def dimm_alias(host: Platform) -> Outcome:
    """Read the vault's secret by its second address; if it is encrypted, rewind the counter there.

    The second address is ordinary memory to the processor, so the kernel may use it.

    Args:
        host: the platform; its host is the adversary, and has touched the memory module.
    """
    adversary = host.adversary
    try:
        alias = adversary.double_dimm()
    except BootError as error:
        return refused(error)
    victim, digest = vault(host)
    adversary.wbinvd()
    found = adversary.read(victim.physical("vault_secret") + alias, 32)
    if sha256(found).digest() == digest:
        return Outcome("succeeds", "the kernel read the secret at its alias", leaked=found)
    page = victim.physical("vault_tries")
    ranges = host.machine.footprint(page)
    before = [(start + alias, adversary.read(start + alias, size)) for start, size in ranges]
    lock(victim)
    adversary.evict(page)
    for start, content in before:
        adversary.write(start, content)
    outcome = rewound(host, victim)
    if outcome.verdict == "succeeds":
        return outcome
    return ciphertext(host, f"at the alias stands {found[:8].hex(' ')} ...; a replay is noticed")
