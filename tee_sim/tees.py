"""The TEEs that a server can have: the columns of the attack matrix."""

from __future__ import annotations

from dataclasses import dataclass

from tee_sim.checks import Check
from tee_sim.html import table
from tee_sim.machine.encryption import TREE_CHECKS, XTS_CHECKS
from tee_sim.machine.voltage import VOLTAGE_LOCK
from tee_sim.monitors.sgx.checks import CHECKS as SGX_CHECKS
from tee_sim.monitors.vbs.checks import CHECKS as VBS_CHECKS
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
        trusted: what a program's secrets depend on, from the bottom up. All else may be hostile.
    """

    name: str
    title: str
    checks: tuple[Check, ...]
    target: str
    memory: str
    trusted: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<TEE {self.name}: {self.title}, {len(self.checks)} named checks>"

    def _repr_html_(self) -> str:
        rows = [("title", self.title), ("memory", self.memory)]
        return table(
            f"TEE {self.name}", rows + [(check.name, check.title) for check in self.checks]
        )


_BOARD = ("processor", "memory and its bus")

TEES = {
    tee.name: tee
    for tee in (
        TEE(
            "none",
            "no TEE",
            (),
            "none",
            "none: memory is plaintext and the kernel's",
            (*_BOARD, "firmware", "hypervisor", "kernel and drivers", "administrator", "program"),
        ),
        TEE(
            "vbs",
            "VBS (Hyper-V, trusted)",
            VBS_CHECKS + guards.GUARDS,
            "vbs",
            "none: memory is plaintext, and the hypervisor keeps the kernel out of it",
            (*_BOARD, "firmware", "TPM", "hypervisor", "secure kernel", "program"),
        ),
        TEE(
            "sgx-mee",
            "SGX (client, integrity tree)",
            (*SGX_CHECKS, *TREE_CHECKS, VOLTAGE_LOCK, *guards.GUARDS),
            "sgx",
            "counter mode, a MAC for each line, a tree of counters rooted on the die",
            ("processor", "program"),
        ),
        TEE(
            "sgx-tme",
            "SGX (server, no tree)",
            SGX_CHECKS + XTS_CHECKS + guards.GUARDS,
            "sgx",
            "AES-XTS with one key for all memory; no integrity, no freshness",
            ("processor", "memory and its bus", "program"),
        ),
    )
}
"""The platforms, in the order of the matrix."""
