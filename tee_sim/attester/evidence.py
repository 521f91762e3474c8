"""Evidence of a program: the call by which a Relying Party's challenge reaches an enclave.

On VBS, evidence says nothing without the boot behind it (``host.host.vbs.boot_evidence``), and that
nothing without somebody who says what should have been started (`published_values`).
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from tee_sim.abi.tpm import BootEvidence
from tee_sim.attest.tpm_endorser import TPMVendor
from tee_sim.attest.vbs import ReferenceValues
from tee_sim.checks import PATCH_LEVEL
from tee_sim.errors import UsageError, known
from tee_sim.hypervisor.vbs import VBSGuest
from tee_sim.monitors.vbs.secure_kernel import HYPERVISOR, SECURE_KERNEL, boot_components
from tee_sim.platform import DeployedEnclave

ENVELOPE = 16
"""Bytes that Open Enclave's form has before a report (``oe_report_header_t``)."""

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


def vbs_evidence_of(
    enclave: DeployedEnclave, nonce: bytes, data: bytes, vendor: TPMVendor
) -> tuple[bytes, BootEvidence]:
    """The report of a VBS enclave, and how its machine was started: what `verify_vbs` appraises.

    Args:
        enclave: a program that declares ``present`` as the example ``notary`` does.
        nonce: what the Relying Party wants to see in the TPM's quote, at most 64 bytes.
        data: what the enclave is to put into its report, 64 bytes.
        vendor: of the TPM, who certifies its keys.

    Raises:
        UsageError: the enclave does not run on VBS, or has no ecall ``present``, or another one.
    """
    if not isinstance(enclave.guest, VBSGuest):
        raise UsageError(f"{enclave.name} does not run on VBS")
    known("ecall", "present", [f.name for f in enclave.interface.trusted], f" in {enclave.name}")
    made = enclave.present(data)
    report = made.report[ENVELOPE : int.from_bytes(made.report_size, "little")]
    return bytes(report), enclave.guest.driver.boot_evidence(nonce, vendor.certify)


def published_values(patch_level: int = PATCH_LEVEL, **more: Any) -> ReferenceValues:
    """What Microsoft and the maker of the machine publish about good boots, as reference values.

    Args:
        patch_level: of the machines that are meant.
        more: what else the Relying Party wants to see, as `ReferenceValues` takes it.

    Raises:
        UsageError: there is no such patch level.
    """
    if patch_level not in range(PATCH_LEVEL + 1):
        raise UsageError(f"patch level {patch_level!r}: the newest is {PATCH_LEVEL}")
    good = boot_components(1 + patch_level)
    measurements = {each.name: [sha256(each.image).digest()] for each in good}
    updated = (each for each in good if each.name in (HYPERVISOR, SECURE_KERNEL))
    return ReferenceValues(measurements, {each.name: each.svn for each in updated}, **more)
