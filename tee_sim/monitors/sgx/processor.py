"""An SGX processor: where the EPC lies, who may touch it, and which leaf an ENCLU means.

The leaves themselves are functions over this state, one module for each part of an enclave's
life: `building`, `launching`, `entering`, `exiting`; `keys` and `reports`; `paging` and `tracking`;
`dynamic` and `accepting`; `debugging`.

Simplified: ENCLS leaves take their operands as values (the host is Python and runs in ring 0),
not as addresses of PAGEINFO and SECINFO structures; so operand alignment faults of those
structures do not occur. OWNEREPOCH is an attribute, not a register that firmware writes at boot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee_sim.checks import Checks
from tee_sim.errors import GeneralProtection, InvalidOpcode, PageFault
from tee_sim.machine.encryption import Engine
from tee_sim.machine.entropy import Entropy
from tee_sim.machine.paging import FETCH, Walk
from tee_sim.monitors.sgx import checks as rules
from tee_sim.monitors.sgx.enclave import Enclave, Entry
from tee_sim.monitors.sgx.epcm import EPCM, epcm_fault
from tee_sim.monitors.sgx.evicted import Paging
from tee_sim.trace import Leaf
from tee_sim.units import is_aligned

if TYPE_CHECKING:
    from tee_sim.machine.cpu import LogicalProcessor
    from tee_sim.machine.machine import Machine

LOCKED, LAUNCH_CONTROL, SGX_ENABLE = 1 << 0, 1 << 17, 1 << 18
"""Bits of IA32_FEATURE_CONTROL: no more changes; IA32_SGXLEPUBKEYHASH may be written; SGX is on."""

VENDOR_HASH = bytes.fromhex("d617b1ee9f795b830b849333c484bc351ef2e307dd4b015551889f59eedacce2")
"""IA32_SGXLEPUBKEYHASH after a reset: MRSIGNER of the simulated vendor's key."""

LEGAL_OUTSIDE_ONLY = frozenset(
    (
        "CPUID GETSEC RDPMC SGDT SIDT SLDT STR SMSW VMCALL VMFUNC IN INSB INSW INSD OUT"
        " OUTSB OUTSW OUTSD LCALL LJMP RETF RETFQ IRET IRETD IRETQ SYSCALL SYSENTER LSS LFS"
        " LGS"
    ).split()
) | {"MOV Sreg", "INT n", "INT3"}
"""Instructions that fault inside an enclave. RDTSC is legal: this is an SGX2 processor.

INT3 faults as #UD in a thread that did not opt in to debugging.
Source: Intel SDM Vol. 3D, "Illegal Instructions".
"""


def cpusvn(patch_level: int) -> bytes:
    """CPUSVN at a patch level: 16 component versions, each of which an update can raise.

    Simplified: every component counts the patch level, from 1; real components belong to single
    parts of the firmware and rise one by one.
    """
    return bytes([patch_level + 1] * 16)


class SGX:
    """The SGX state of one machine: Guard and KeySource for it.

    Args:
        epc: physical address range of the enclave page cache.
        prm: the reserved range around it (with the integrity tree, if there is one).
        engine: what encrypts it.
        checks: which rules are in force.
        entropy: where fuses and fresh keys come from.
        cpusvn: CPUSVN, the security version of the processor, 16 bytes.
        feature_control: IA32_FEATURE_CONTROL as the firmware leaves it.

    Attributes:
        enclaves: by physical address of the SECS page.
        entries: the logical processors inside, by index.
        lepubkeyhash: IA32_SGXLEPUBKEYHASH0-3, the signer that EINIT accepts without a token.
        provisioning_fuses, seal_fuses: the two root keys, 16 bytes each, made with the processor.
        ownerepoch: CR_SGXOWNEREPOCH, 16 bytes; whoever sets another one retires all sealed data.
        report_keyid: CR_REPORT_KEYID, 32 bytes, new at each boot.
        report_mac_key: what authenticates a REPORTMACSTRUCT, 32 bytes, new at each boot.
        paging: the paging key, and what belongs to it.
    """

    def __init__(
        self,
        epc: range,
        prm: range,
        engine: Engine,
        checks: Checks,
        entropy: Entropy,
        cpusvn: bytes,
        feature_control: int = LOCKED | SGX_ENABLE | LAUNCH_CONTROL,
    ) -> None:
        self.epcm = EPCM(epc.start, epc.stop, checks)
        self.prm, self._engine, self.checks = prm, engine, checks
        self.entropy, self.cpusvn = entropy, cpusvn
        self.enclaves: dict[int, Enclave] = {}
        self.entries: dict[int, Entry] = {}
        self._firmware = feature_control
        self.provisioning_fuses = entropy.take(16, "root provisioning key")
        self.seal_fuses = entropy.take(16, "root seal key")
        self.ownerepoch = bytes(16)
        self.paging = Paging(checks, entropy)
        self._boot()
        self._eid = 0
        self.machine: Machine

    def _boot(self) -> None:
        self.feature_control, self.lepubkeyhash = self._firmware, VENDOR_HASH
        self.report_keyid = self.entropy.take(32, "CR_REPORT_KEYID")
        self.report_mac_key = self.entropy.take(32, "REPORTMACSTRUCT key")

    # KeySource

    def engine(self, hpa: int) -> Engine | None:
        """The EPC has one engine and one key; other memory has none."""
        return self._engine if self.epcm.start <= hpa < self.epcm.stop else None

    # Guard

    def authorize(self, lp: LogicalProcessor, gva: int, page: Walk, access: int) -> int:
        """Decide one TLB fill. See `tee_sim.machine.mmu.Guard`.

        Source: Intel SDM Vol. 3D, "Access-control Requirements". The error code for an enclave
        address that is backed by ordinary memory is unverified.
        """
        enclave: Enclave | None = lp.context
        if enclave is None or not enclave.base <= gva < enclave.limit:
            if enclave is not None and access == FETCH and self.checks.on(rules.ELRANGE_FETCH):
                raise self.checks.refuse(
                    rules.ELRANGE_FETCH,
                    GeneralProtection(f"fetch at {gva:#x}, outside the enclave"),
                )
            return page.permissions if self.visible(page.hpa) else 0
        if page.hpa not in self.epcm:
            if self.checks.on(rules.ELRANGE_EPC):
                fault = epcm_fault(gva, access, "an enclave address is backed by ordinary memory")
                raise self.checks.refuse(rules.ELRANGE_EPC, fault)
            return page.permissions
        return page.permissions & self.epcm.authorize(enclave, gva, page.hpa, access)

    def visible(self, hpa: int, context: object = None) -> bool:
        """Whether software outside an enclave reaches ``hpa``; if not, it gets the abort page."""
        if hpa not in self.prm or not self.checks.on(rules.ABORT_PAGE):
            return True
        self.checks.report(rules.ABORT_PAGE, f"{hpa:#x} is enclave memory: reads give all ones")
        return False

    def instruction(self, lp: LogicalProcessor, mnemonic: str) -> None:
        """#UD for what an enclave may not execute. See `tee_sim.machine.mmu.Guard`."""
        if lp.context is None or mnemonic not in LEGAL_OUTSIDE_ONLY:
            return
        if mnemonic == "INT3" and self.entries[lp.index].opted_in:
            return
        if self.checks.on(rules.ILLEGAL_INSTRUCTION):
            fault = InvalidOpcode(f"{mnemonic} is illegal inside an enclave")
            raise self.checks.refuse(rules.ILLEGAL_INSTRUCTION, fault)

    def power_cut(self) -> None:
        """New keys at the next boot; no enclave survives, and every EPC page is free."""
        self.paging.reset()
        self.epcm.clear()
        self.enclaves.clear()
        self.entries.clear()
        self._boot()
        self._engine.reset()

    def invd(self) -> None:
        """#GP: INVD would throw away what enclaves wrote, and bring back what DRAM held before.

        Source: Intel SDM Vol. 3D, "INVD Handling when Enclaves Are Enabled".
        """
        if self.checks.on(rules.INVD_PRM):
            fault = GeneralProtection("INVD while memory is reserved for enclaves")
            raise self.checks.refuse(rules.INVD_PRM, fault)

    @property
    def aex_notify(self) -> bool:
        """CPUID.12H.0:EAX[11]: AEX-Notify and EDECCSSA, which an update brings."""
        return self.checks.on(rules.AEX_NOTIFY)

    # Helpers of the leaves

    def trace(self, leaf: str, detail: str) -> None:
        """Tell the tracer, if there is one, that a leaf was executed."""
        if self.checks.tracer is not None:
            self.checks.emit(Leaf(leaf, detail))

    def next_eid(self) -> int:
        """A number for a new enclave; never used twice before the next boot."""
        self._eid += 1
        return self._eid

    def translate(self, lp: LogicalProcessor, gva: int, access: int) -> int:
        """Physical page of a leaf's memory operand, by the host's page tables.

        Raises:
            PageFault: not mapped, or not backed by the EPC.
        """
        hpa = self.machine.mmu.translate(lp, gva, access)
        if hpa not in self.epcm:
            raise PageFault(f"operand {gva:#x} is not an EPC page", address=gva, error_code=0x5)
        return hpa

    def require_free_page(self, hpa: int) -> None:
        """Raise unless the EPC page at ``hpa`` is in nobody's use."""
        if self.epcm[hpa].valid and self.checks.on(rules.EPCM_IN_USE):
            fault = PageFault(f"EPC page {hpa:#x} is in use", address=hpa)
            raise self.checks.refuse(rules.EPCM_IN_USE, fault)

    def require_epc_page(self, hpa: int, what: str) -> None:
        """Raise unless ``hpa`` is the address of an EPC page."""
        if not is_aligned(hpa):
            raise GeneralProtection(f"{what} {hpa:#x} is not page-aligned")
        if hpa not in self.epcm:
            raise PageFault(f"{what} {hpa:#x} is not in the EPC", address=hpa)
