"""Row 35: the host takes a page back while a processor still holds a translation to it.

On SGX the host is free to evict any page. EBLOCK stops new translations; old ones are in the TLBs
of whoever runs inside. ETRACK, and an interrupt for each of those, make sure that none is left, and
EWB makes sure that the host did both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack, stopped
from tee_sim.attacks.proofs_memory import proof, steal_page
from tee_sim.attacks.registers_at_exit import fresh_vault
from tee_sim.hypervisor.vbs import VBSGuest

if TYPE_CHECKING:
    from tee_sim.hypervisor.sgx import SGXDriver
    from tee_sim.hypervisor.vbs import VBSDriver
    from tee_sim.platform import DeployedEnclave, Platform


@attack(
    row=35,
    title="Use a page after it was taken back",
    reference="SDM, OS Management of EPC Pages",
    stage=fresh_vault,
    proves=("EWB.TRACKED", "SK.TERMINATED"),
    unverified=("vbs",),
)
def stale_page(host: Platform, victim: DeployedEnclave) -> Outcome:
    """While the vault writes its secret, take the page away and give it to another program.

    The vault's processor still holds the translation and goes on writing.

    Args:
        host: the platform; its host is the adversary.
        victim: a vault that has no secret yet.
    """
    sgx, vbs = host.adversary.sgx, host.adversary.vbs
    if vbs is not None:
        return _delete(host, victim, vbs)
    if sgx is None:
        place = victim.address("vault_secret")
        return steal_page(host, victim, lambda page: victim.guest.space.set_entry(place, 0))
    versions = _versions(sgx)

    def evict(page: int) -> None:
        sgx.eblock(page)
        sgx.ewb(page, versions)  # and no ETRACK

    return steal_page(host, victim, evict)


@proof("Evict a page that is not blocked", "SDM, EWB", fresh_vault, "EWB.BLOCKED")
def unblocked_page(host: Platform, victim: DeployedEnclave) -> Outcome:
    """ETRACK before the vault is entered; then evict the page of the secret under its feet."""
    sgx = host.adversary.sgx
    assert sgx is not None, "an SGX attack"
    versions = _versions(sgx)
    sgx.etrackc(victim.physical("vault_secret"))
    return steal_page(host, victim, lambda page: sgx.ewb(page, versions))


@proof("Go on using a blocked page", "SDM, EPCM Access Control", fresh_vault, "EPCM.BLOCKED")
def blocked_page(host: Platform, victim: DeployedEnclave) -> Outcome:
    """EBLOCK and ETRACK before the vault is entered; evict when it has made a new translation."""
    sgx, page = host.adversary.sgx, victim.physical("vault_secret")
    assert sgx is not None, "an SGX attack"
    versions = _versions(sgx)
    sgx.eblock(page)
    sgx.etrackc(page)
    return steal_page(host, victim, lambda page: sgx.ewb(page, versions))


def _delete(host: Platform, victim: DeployedEnclave, vbs: VBSDriver) -> Outcome:
    """DeleteEnclave gives every page back, while the vault's processor holds its translation.

    A probe tells when the vault has begun to write; trying one moment after the other would, too.
    """
    guest, page = victim.guest, victim.physical("vault_secret")
    assert isinstance(guest, VBSGuest)

    def begun() -> bool:
        return any(host.adversary.bus.read(page, 1))

    outcome = steal_page(host, victim, lambda page: vbs.delete_enclave(guest.enclave), begun)
    if outcome.verdict == "succeeds" or outcome.check:
        return outcome
    return stopped(host, "the vault was cleared under its own feet", among=("SK.SCRUB",))


def _versions(sgx: SGXDriver) -> int:
    """A version-array page; its address is that of its first slot."""
    page = sgx.epc.take()
    sgx.epa(page)
    return page
