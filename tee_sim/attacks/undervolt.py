"""Row 17: the kernel lowers the voltage until a signature goes wrong, and computes the key."""

from __future__ import annotations

from hashlib import sha256
from math import gcd
from typing import TYPE_CHECKING

from tee_sim.attacks.outcome import Outcome, Variant, attack, stopped
from tee_sim.errors import EcallFailed

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform

MESSAGE, EXPONENT = "pay nothing to nobody", 65537
ATTEMPTS = 20
MILLIVOLTS = 150
SHA256_NAME = bytes.fromhex("3031300d060960864801650304020105000420")


def signer(host: Platform) -> tuple[DeployedEnclave, int]:
    """Stage: an owner has an enclave make a key; she publishes its modulus."""
    victim = host.create_enclave("signer")
    return victim, int.from_bytes(victim.make_key(), "little")


def padded(message: str, size: int) -> int:
    """The number of ``size`` bytes that a signature of the message raises (RFC 8017, 9.2)."""
    end = b"\0" + SHA256_NAME + sha256(message.encode()).digest()
    return int.from_bytes(b"\0\1".ljust(size - len(end), b"\xff") + end, "big")


def factor(signature: int, message: str, modulus: int) -> int:
    """A prime of the modulus, if the signature is right modulo the other one only; else 0.

    Source: Boneh, DeMillo, Lipton, 1997, in the form of Lenstra: one wrong signature of a known
    message is enough.
    """
    number = padded(message, -(-modulus.bit_length() // 8))
    prime = gcd(pow(signature, EXPONENT, modulus) - number, modulus)
    return prime if 1 < prime < modulus else 0


@attack(
    row=17,
    title="Faults by undervolting",
    reference="Plundervolt (Murdock et al. 2020)",
    stage=signer,
    proves=("VOLTAGE.LOCK",),
    only=("none", "sgx-mee"),
    variants=(Variant("voltage locked"), Variant("as sold", patch_level=0)),
)
def undervolt(host: Platform, victim: DeployedEnclave, modulus: int) -> Outcome:
    """Have a message signed at too low a voltage, again and again, and try each signature.

    Args:
        host: the platform; its host is the adversary.
        victim: a signer that has made its key.
        modulus: its public key.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with host.adversary.undervolting(MILLIVOLTS):
                signature = int.from_bytes(victim.sign(MESSAGE), "little")
        except EcallFailed:
            continue  # it was the size of a buffer that went wrong
        if prime := factor(signature, MESSAGE, modulus):
            detail = f"signature {attempt} was wrong modulo one prime, and gave both away"
            return Outcome("succeeds", detail, leaked=prime.to_bytes(32, "little"))
    return stopped(host, f"{ATTEMPTS} signatures, and no prime in common with the modulus")
