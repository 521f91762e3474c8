"""What the processor holds about an enclave and about a thread inside it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tee_sim.abi.sgx import SECS

if TYPE_CHECKING:
    from hashlib import _Hash


@dataclass(eq=False, slots=True)
class Enclave:
    """One enclave: its SECS, decoded, and what SDM pseudocode keeps beside it.

    Attributes:
        secs_hpa: physical address of its SECS page; EPCM entries name it as owner.
        secs: the structure as ECREATE and EINIT left it.
        digest: the running measurement; final once ``initialised``.
        initialised: EINIT has succeeded (ATTRIBUTES.INIT).
        inside: the epoch at entry of each logical processor that runs in it, by index.
        epoch: how often ETRACK began a tracking cycle.
        eid: EID, a number that no other enclave of this boot gets.
        isvfamilyid, isvextprodid: from SIGSTRUCT, 16 bytes each (KSS).

    Simplified: hardware reads the SECS from the EPC at each use; here the decoded copy is what
    counts, and the EPC page holds its bytes for the bus and the debugger to see. So a bus attack
    that corrupts a SECS page under XTS has no effect.
    """

    secs_hpa: int
    secs: SECS
    digest: _Hash = field(default_factory=hashlib.sha256)
    initialised: bool = False
    inside: dict[int, int] = field(default_factory=dict)
    epoch: int = 0
    eid: int = 0
    isvfamilyid: bytes = bytes(16)
    isvextprodid: bytes = bytes(16)
    base: int = 0
    limit: int = 0

    def __post_init__(self) -> None:
        self.base = self.secs.baseaddr
        self.limit = self.secs.baseaddr + self.secs.size

    @property
    def mrenclave(self) -> bytes:
        """The measurement so far, 32 bytes; the enclave's identity once it is initialised."""
        return self.secs.mrenclave if self.initialised else self.digest.copy().digest()

    @property
    def debug(self) -> bool:
        """ATTRIBUTES.DEBUG."""
        return bool(self.secs.attributes.flags.debug)

    def is_tracked(self, epoch: int) -> bool:
        """Whether no TLB can hold a translation from ``epoch`` or before.

        So it is once a tracking cycle has begun since, and every processor that was inside then
        has left: entering and leaving flush the TLB.
        """
        return self.epoch > epoch and all(entered > epoch for entered in self.inside.values())

    def contains(self, gva: int) -> bool:
        """Whether ``gva`` lies in ELRANGE."""
        return self.base <= gva < self.limit


@dataclass(slots=True)
class Entry:
    """A logical processor inside an enclave: what EENTER remembers until the exit.

    Attributes:
        enclave: where it is.
        tcs_gva, tcs_hpa: its thread control structure.
        aep: asynchronous exit pointer, where an interruption sends the host.
        ssa_hpas: physical pages of the save frame that an exit will fill, set by entry or EDECCSSA.
        host_fs, host_gs: segment bases to restore.
        trap_flag: RFLAGS.TF of the host, restored at the exit of a thread that did not opt in.
        opted_in: TCS.FLAGS.DBGOPTIN: debug exceptions reach this thread.
    """

    enclave: Enclave
    tcs_gva: int
    tcs_hpa: int
    aep: int
    ssa_hpas: tuple[int, ...]
    host_fs: int
    host_gs: int
    trap_flag: int
    opted_in: bool
