"""A debugger in VTL0, and what the secure kernel lets it see.

Source: Microsoft Learn, "ENCLAVE_CREATE_INFO_VBS", "Debugging VBS enclaves".
"""

from __future__ import annotations

from tee_sim.monitors.vbs import checks as rules
from tee_sim.monitors.vbs import services
from tee_sim.monitors.vbs.enclave import Enclave
from tee_sim.monitors.vbs.secure_kernel import SecureKernel, error


def debug_read(sk: SecureKernel, enclave: Enclave, gva: int, size: int) -> bytes:
    """Read the enclave's memory for a debugger.

    # Checks
    Author and creator allow it (SK.DEBUG_POLICY).

    Raises:
        VBSError: not allowed, or not the enclave's memory.
    """
    _require_debug(sk, enclave)
    return services.inside(sk, enclave, gva, size)


def debug_write(sk: SecureKernel, enclave: Enclave, gva: int, data: bytes) -> None:
    """Write it. Checks as `debug_read`."""
    _require_debug(sk, enclave)
    services.store(sk, enclave, gva, data)


def _require_debug(sk: SecureKernel, enclave: Enclave) -> None:
    if not enclave.debug and sk.checks.on(rules.DEBUG_POLICY):
        why = "the enclave was not made to be debugged"
        refusal = error("ReadProcessMemory", "ERROR_ACCESS_DENIED", why)
        raise sk.checks.refuse(rules.DEBUG_POLICY, refusal)
