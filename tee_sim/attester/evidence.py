"""Evidence of a program: the call by which a Relying Party's challenge reaches an enclave.

On VBS, evidence says nothing without the boot behind it (``host.host.vbs.boot_evidence``), and that
nothing without somebody who says what should have been started (`published`).
"""

from __future__ import annotations

from hashlib import sha256

from tee_sim.attest.vbs import ReferenceValues
from tee_sim.checks import PATCH_LEVEL
from tee_sim.errors import known
from tee_sim.monitors.vbs.secure_kernel import HYPERVISOR, SECURE_KERNEL, boot_components
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


def published() -> ReferenceValues:
    """What the vendors say of their firmware, hypervisor and kernels: the Reference Value Provider.

    Every version is genuine, and the newest is the least that is good enough.

    Simplified: Microsoft publishes no such list.
    """
    versions = [boot_components(1 + level) for level in range(PATCH_LEVEL + 1)]
    digests = {
        same[0].name: [sha256(each.image).digest() for each in same]
        for same in zip(*versions, strict=True)
    }
    return ReferenceValues(digests, dict.fromkeys((HYPERVISOR, SECURE_KERNEL), 1 + PATCH_LEVEL))
