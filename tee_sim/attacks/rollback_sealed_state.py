"""Row 27: the host gives a restarted program an old sealed state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack, stopped
from tee_sim.errors import EcallFailed

if TYPE_CHECKING:
    from tee_sim.abi.image import Identity
    from tee_sim.platform import DeployedEnclave, Platform

USES = 3
UNIQUE, PRODUCT = 1, 2
"""OE_SEAL_POLICY_UNIQUE and OE_SEAL_POLICY_PRODUCT."""


def new_card(
    host: Platform, policy: int = UNIQUE, identity: Identity | None = None
) -> tuple[DeployedEnclave, list[bytes]]:
    """Stage: a customer gets a prepaid card with three uses; the host keeps each state of it."""
    disk: list[bytes] = []
    card = host.create_enclave(
        "sealed_counter",
        identity=identity,
        ocalls={"store": lambda state, _size: disk.append(state)},
    )
    card.issue(USES, policy)
    return card, disk


def restore(card: DeployedEnclave, state: bytes) -> str:
    """Give a card a state; ``OE_OK``, or the name of what it says against it."""
    try:
        card.restore(state, len(state))
    except EcallFailed as error:
        return error.result
    return "OE_OK"


@attack(
    row=27,
    title="Rollback of sealed state",
    reference="Parno et al. 2011 (Memoir); Matetic et al. 2017 (ROTE)",
    stage=new_card,
)
def rollback_sealed_state(host: Platform, card: DeployedEnclave, disk: list[bytes]) -> Outcome:
    """Use the card up, restart the program, and hand it the state from before.

    The old state is genuine, and nothing inside survives the restart that could tell its age.

    Args:
        host: the platform; its host is the adversary.
        card: a prepaid card.
        disk: where the host keeps its state.
    """
    while card.spend() == 1:
        pass
    card.close()
    again, _ = new_card(host)
    result = restore(again, disk[0])
    if result == "OE_OK" and again.uses_left() == USES:
        return Outcome("succeeds", f"the card was used up, and has {USES} uses again")
    return stopped(host, f"the old state was refused: {result}")
