"""Row 25: somebody who only listens to the bus looks a secret up by its ciphertext."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, attack, ciphertext

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform

PINS = [f"{number:02}" for number in range(100)]


def empty_vault(host: Platform) -> tuple[DeployedEnclave, str]:
    """Stage: a vault, and an owner who is about to choose a PIN of two digits."""
    chosen = host.machine.entropy.take(1, "owner's PIN")[0]
    return host.create_enclave("vault"), PINS[chosen % len(PINS)]


def pin_on_the_bus(host: Platform, victim: DeployedEnclave) -> bytes:
    """The block of the PIN as it passes a probe on its way to memory."""
    place = victim.physical("vault_pin")
    host.adversary.evict(place)
    return host.adversary.bus.read(place, 16)


@attack(
    row=25,
    title="Dictionary of ciphertexts",
    reference="WireTap, TEE.fail (2025)",
    stage=empty_vault,
)
def ciphertext_dictionary(host: Platform, victim: DeployedEnclave, pin: str) -> Outcome:
    """Note how each PIN looks on the bus; then let the owner choose hers, and look it up.

    The host writes nothing: it calls the vault as anybody may, and reads the bus.

    Args:
        host: the platform; its host is the adversary, with a probe on the bus.
        victim: a vault that nobody uses yet.
        pin: what the owner will choose: not looked at by the attacker.
    """
    dictionary = {}
    for word in PINS:
        victim.make_secret(word)
        dictionary[pin_on_the_bus(host, victim)] = word
    victim.make_secret(pin)  # the owner's turn
    seen = pin_on_the_bus(host, victim)
    answer = victim.release(dictionary.get(seen, ""))
    if answer.result == 1:
        detail = f"the block {seen[:4].hex(' ')} ... was in the dictionary, and the PIN was right"
        return Outcome("succeeds", detail, leaked=answer.secret)
    return ciphertext(host, f"the block {seen[:4].hex(' ')} ... was never seen before")
