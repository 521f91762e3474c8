"""The SGX driver: what an operating system does to build, enter and remove enclaves.

`SGXDriver` is the set of ENCLS leaves that ring 0 may execute, bound to this processor; a
malicious host has the same ones.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tee_sim.abi.image import Image
from tee_sim.abi.sgx import SECS, AttributeFlags, Attributes, MiscSelect, SecinfoFlags
from tee_sim.abi.sgx_sign import SIGSTRUCT
from tee_sim.checks import Check
from tee_sim.errors import Fault, InvalidOpcode, SGXError, UsageError
from tee_sim.hypervisor.guest import ENCLAVE_BASE, RETURN_ADDRESS, Guest
from tee_sim.hypervisor.memory import FrameAllocator
from tee_sim.machine.cpu import (
    FLAGS_INITIAL,
    RAX,
    RBX,
    RCX,
    RFLAGS,
    RIP,
    LogicalProcessor,
    Stop,
)
from tee_sim.monitors.sgx import building, debugging, entering, exiting, tracking
from tee_sim.monitors.sgx import checks as rules
from tee_sim.monitors.sgx.enclave import Enclave
from tee_sim.monitors.sgx.enclu import Leaf, enclu
from tee_sim.monitors.sgx.epcm import EPCMEntry
from tee_sim.monitors.sgx.processor import SGX
from tee_sim.monitors.sgx.sigstruct import mrsigner
from tee_sim.units import PAGE

if TYPE_CHECKING:
    from tee_sim.hypervisor.honest import Host

ALL_CHUNKS = 0xFFFF


class SGXDriver:
    """Ring 0's view of SGX: its leaves are the functions of `tee_sim.monitors.sgx`.

    Args:
        sgx: the processor.

    Attributes:
        epc: free EPC pages.
    """

    def __init__(self, sgx: SGX) -> None:
        self._sgx = sgx
        self.epc = FrameAllocator(range(sgx.epcm.start, sgx.epcm.stop), "enclave page cache (EPC)")
        self.ecreate = partial(building.ecreate, sgx)
        self.eadd = partial(building.eadd, sgx)
        self.eextend = partial(building.eextend, sgx)
        self.eremove = partial(building.eremove, sgx)
        self.etrack = partial(tracking.etrack, sgx)
        self.edbgrd = partial(debugging.edbgrd, sgx)
        self.edbgwr = partial(debugging.edbgwr, sgx)
        # Executed with the registers of a logical processor as they stand:
        self.eenter = partial(entering.eenter, sgx)
        self.eresume = partial(entering.eenter, sgx, resume=True)
        self.enclu = partial(enclu, sgx)
        self.abandon = partial(exiting.abandon, sgx)

    def einit(self, secs_hpa: int, sigstruct: SIGSTRUCT) -> None:
        """Write the signer's hash to IA32_SGXLEPUBKEYHASH, then `building.einit`."""
        self._sgx.lepubkeyhash = mrsigner(sigstruct)
        building.einit(self._sgx, secs_hpa, sigstruct)

    def aex(self, lp: LogicalProcessor, event: Fault | None) -> Fault | None:
        """Interrupt a processor that is inside. Raises UsageError for one that is not."""
        if lp.context is None:
            raise UsageError(f"logical processor {lp.index} is not inside an enclave")
        return exiting.aex(self._sgx, lp, event)

    def judge(
        self, enclave: Enclave, gva: int, hpa: int, access: int
    ) -> list[tuple[bool, Check, str]]:
        """Every rule for an access inside ELRANGE: broken or not, its check, and how.

        As `epcm`: for teachers, who want to know about the rules behind the first one, too.
        """
        outside = hpa & -PAGE not in self._sgx.epcm
        found = [(outside, rules.ELRANGE_EPC, "an enclave address is backed by ordinary memory")]
        return found + ([] if outside else self._sgx.epcm.judge(enclave, gva, hpa & -PAGE, access))

    def epcm(self, hpa: int) -> EPCMEntry:
        """A copy of the EPCM entry of ``hpa``: software cannot read the real one; teachers can."""
        entry = self._sgx.epcm[hpa & -PAGE]
        return EPCMEntry(*(getattr(entry, name) for name in entry.__slots__))


def production(*, debug: bool = False) -> Attributes:
    """ATTRIBUTES of a 64-bit enclave with x87 and SSE state."""
    return Attributes(flags=AttributeFlags(mode64bit=True, debug=debug), xfrm=3)


class SGXGuest(Guest):
    """An enclave that was built, measured and (with a SIGSTRUCT) initialised.

    Args:
        host: who runs it.
        driver: its SGX driver.
        image: what is loaded.
        sigstruct: its author's signature; None leaves the enclave uninitialised.
        attributes: ATTRIBUTES to create it with.
        base: linear address of ELRANGE.
        miscselect: MISCSELECT to create it with; None for none.

    Attributes:
        enclave: the processor's view of it.
        pages: physical address of each EPC page, by offset in ELRANGE.

    Raises:
        SGXError, Fault: a leaf refused; every page is given back.
    """

    def __init__(
        self,
        host: Host,
        driver: SGXDriver,
        image: Image,
        sigstruct: SIGSTRUCT | None,
        attributes: Attributes | None = None,
        base: int = ENCLAVE_BASE,
        miscselect: MiscSelect | None = None,
    ) -> None:
        super().__init__(host, image, base)
        self.driver = driver
        self.pages: dict[int, int] = {}
        self._entered: dict[int, int] = {}
        self._held: list[int] = []
        try:
            self.secs_hpa = self._take()
            self.enclave = driver.ecreate(
                self.secs_hpa,
                SECS(
                    size=image.size,
                    baseaddr=base,
                    ssaframesize=image.ssaframesize,
                    miscselect=miscselect or MiscSelect(),
                    attributes=attributes or production(),
                ),
            )
            self._add_pages(image)
            if sigstruct is not None:
                driver.einit(self.secs_hpa, sigstruct)
        except BaseException:
            self.close()
            raise

    @property
    def mrenclave(self) -> bytes:
        """The measurement, 32 bytes."""
        return self.enclave.mrenclave

    def _take(self) -> int:
        self._held.append(self.driver.epc.take())
        return self._held[-1]

    def _add_pages(self, image: Image) -> None:
        for page in image.pages:
            hpa = self._take()
            self.pages[page.offset] = hpa
            flags = SecinfoFlags(r=page.r, w=page.w, x=page.x, page_type=page.page_type)
            gva = self.base + page.offset
            self.driver.eadd(hpa, self.secs_hpa, gva, flags, page.content)
            if page.measured == ALL_CHUNKS:
                self.driver.eextend(hpa, 16)
            else:
                for chunk in range(16):
                    if page.is_measured(chunk):
                        self.driver.eextend(hpa + 256 * chunk)
            # The processor's EPCM decides about rights; a cautious host mirrors them.
            self.space.map(gva, hpa, writable=page.w or not page.r, executable=page.x)

    def close(self) -> None:
        """Remove every page, the SECS last. A page in other use by now is not given back."""
        for lp in self.host.machine.mmu.processors:
            if lp.context is getattr(self, "enclave", None):
                self.driver.abandon(lp)
        held, self._held = self._held, []
        for hpa in held[1:] + held[:1]:
            try:
                self.driver.eremove(hpa)
            except SGXError:
                continue
            self.driver.epc.give(hpa)
        self.pages.clear()
        super().close()

    def _start(self, lp: LogicalProcessor, tcs_offset: int, registers: list[int]) -> None:
        registers[RFLAGS] = FLAGS_INITIAL | (0x100 if self.trap_flag else 0)
        registers[RAX], registers[RBX] = Leaf.EENTER, self.base + tcs_offset
        # ENCLU would stand just before the address to return to.
        registers[RIP] = RETURN_ADDRESS - entering.ENCLU_BYTES
        registers[RCX] = RETURN_ADDRESS
        self._entered[lp.index] = registers[RBX]
        lp.switch(self.space.cr3)
        lp.set_registers(registers)
        self.driver.eenter(lp)

    def _left(self, lp: LogicalProcessor, stop: Stop) -> bool:
        if stop.kind == "syscall":
            raise InvalidOpcode("SYSCALL leads nowhere from inside an enclave")
        return self.driver.enclu(lp)

    def _exit(self, lp: LogicalProcessor, event: Fault | None) -> Fault | None:
        return self.driver.aex(lp, event)

    def _resume(self, lp: LogicalProcessor) -> None:
        # The synthetic registers of the exit are ERESUME's operands already; a host that sees
        # others, because AEX.SYNTHETIC_STATE is off, has to set them.
        # Whoever handled the interruption may have run something else on this processor.
        lp.switch(self.space.cr3)
        registers = lp.registers()
        registers[RAX], registers[RBX] = Leaf.ERESUME, self._entered[lp.index]
        registers[RCX] = RETURN_ADDRESS
        lp.set_registers(registers)
        self.driver.eresume(lp)

    def _forget(self, lp: LogicalProcessor) -> None:
        self.driver.abandon(lp)
