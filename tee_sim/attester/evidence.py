"""Evidence of a program: the call by which a Relying Party's challenge reaches an enclave."""

from __future__ import annotations

from tee_sim.errors import known
from tee_sim.platform import DeployedEnclave

CAPACITY = 1 << 14
"""Bytes that evidence may have."""


def evidence_of(enclave: DeployedEnclave, nonce: bytes) -> bytes:
    """What a program proves about itself, in Open Enclave's form (``oe_get_evidence``).

    Args:
        enclave: a program that declares ``attest`` as the example ``attested`` does.
        nonce: what the Relying Party wants to see in it, at most 64 bytes.

    Raises:
        EcallFailed: the platform has no such evidence, or no service for it.
        UsageError: the program has no ecall ``attest``, or another one.
    """
    known("ecall", "attest", [f.name for f in enclave.interface.trusted], f" in {enclave.name}")
    made = enclave.attest(nonce, len(nonce), CAPACITY)
    return bytes(made.evidence[: int.from_bytes(made.size, "little")])
