"""The TEEs that a server can have: the columns of the attack matrix."""

from __future__ import annotations

from dataclasses import dataclass

from tee_sim.checks import Check
from tee_sim.html import table
from tee_sim.machine.encryption import TREE_CHECKS, XTS_CHECKS
from tee_sim.machine.voltage import VOLTAGE_LOCK
from tee_sim.monitors.sgx.checks import CHECKS as SGX_CHECKS
from tee_sim.sdk import guards


@dataclass(frozen=True)
class TEE:
    """One column of the attack matrix.

    Attributes:
        name: what `Platform` is given.
        title: what is shown.
        checks: the named checks that it has.
        target: which form of a program runs on it.
        memory: in one sentence, how its memory is protected.
    """

    name: str
    title: str
    checks: tuple[Check, ...]
    target: str
    memory: str

    def __repr__(self) -> str:
        return f"<TEE {self.name}: {self.title}, {len(self.checks)} named checks>"

    def _repr_html_(self) -> str:
        rows = [("title", self.title), ("memory", self.memory)]
        return table(
            f"TEE {self.name}", rows + [(check.name, check.title) for check in self.checks]
        )


TEES = {
    tee.name: tee
    for tee in (
        TEE("none", "no TEE", (), "none", "none: memory is plaintext and the kernel's"),
        TEE(
            "sgx-mee",
            "SGX (client, integrity tree)",
            (*SGX_CHECKS, *TREE_CHECKS, VOLTAGE_LOCK, *guards.GUARDS),
            "sgx",
            "counter mode, a MAC for each line, a tree of counters rooted on the die",
        ),
        TEE(
            "sgx-tme",
            "SGX (server, no tree)",
            SGX_CHECKS + XTS_CHECKS + guards.GUARDS,
            "sgx",
            "AES-XTS with one key for all memory; no integrity, no freshness",
        ),
    )
}
"""The platforms, in the order of the matrix."""
