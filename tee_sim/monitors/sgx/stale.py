"""What enclaves leave in the buffers of the processor: a model of several flaws of one kind.

Caches and their buffers hold plaintext. On processors as they were sold, the next program on the
core could make the processor hand out what an enclave had left there: by transient execution on
clients (CacheOut and SGAxe, 2020), by reading undefined registers of the interrupt controller on
servers (ÆPIC Leak, 2022). Both were shown on the quoting enclave, whose key was the prize. The
answer was microcode that clears these buffers whenever an enclave is left.

Simplified: a model of the result, not of any mechanism in the processor. Whatever of the enclave
page cache is on the die can be sampled, at any place, always right; real attacks get parts of
lines, after repetition, and first force the victim's page into the cache.

Sources: van Schaik et al., "SGAxe", 2020; Borrello et al., "ÆPIC Leak", 2022; Intel SA-00329
(CVE-2020-0549), SA-00657 (CVE-2022-21233).
"""

from __future__ import annotations

from tee_sim.monitors.sgx import checks as rules
from tee_sim.monitors.sgx.processor import SGX


def sample(sgx: SGX, hpa: int, size: int) -> bytes:
    """What can be learnt, from outside, of enclave memory that is on the die.

    Args:
        sgx: the processor.
        hpa: physical address in the enclave page cache.
        size: bytes, within one page.

    Returns:
        The bytes; zeros if they are not on the die, or were cleared.
    """
    cache = sgx.machine.cache
    if sgx.checks.on(rules.BUFFERS_CLEARED):
        sgx.checks.report(rules.BUFFERS_CLEARED, f"nothing was left of {hpa:#x}")
        return bytes(size)
    return cache.read(hpa, size) if hpa in sgx.epcm and cache.is_cached(hpa) else bytes(size)
