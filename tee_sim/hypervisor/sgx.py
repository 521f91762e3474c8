"""The SGX driver: what an operating system does to build, enter and remove enclaves.

`SGXDriver` is the set of ENCLS leaves that ring 0 may execute, bound to this processor; a
malicious host has the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from tee_sim.abi.image import PLAIN, Identity, Image
from tee_sim.abi.sgx import SECS, Attributes, SecinfoFlags
from tee_sim.abi.sgx_sign import EINITTOKEN, SIGSTRUCT
from tee_sim.checks import Check
from tee_sim.errors import EnclaveLost, Fault, InvalidOpcode, PageFault, SGXError, UsageError
from tee_sim.hypervisor.guest import ENCLAVE_BASE, RETURN_ADDRESS, Guest
from tee_sim.hypervisor.swap import ROOT, Swapper
from tee_sim.machine.cpu import LogicalProcessor, Stop
from tee_sim.machine.memory import FrameAllocator
from tee_sim.machine.registers import FLAGS_INITIAL, RAX, RBX, RCX, RFLAGS, RIP
from tee_sim.monitors.sgx import (
    building,
    debugging,
    dynamic,
    entering,
    exiting,
    launching,
    paging,
    stale,
    tracking,
)
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
    """

    def __init__(self, sgx: SGX) -> None:
        self._sgx = sgx
        self._boot, self._epc, self._swap = 0, _empty(sgx), Swapper(self)
        self.ecreate = partial(building.ecreate, sgx)
        self.eadd = partial(building.eadd, sgx)
        self.eextend = partial(building.eextend, sgx)
        self.eremove = partial(building.eremove, sgx)
        self.etrack = partial(tracking.etrack, sgx)
        self.wrmsr = partial(launching.wrmsr, sgx)
        self.etrackc = partial(tracking.etrackc, sgx)
        self.epa = partial(paging.epa, sgx)
        self.eblock = partial(paging.eblock, sgx)
        self.ewb = partial(paging.ewb, sgx)
        self.eldu = self.elduc = partial(paging.eldu, sgx)
        self.eldb = self.eldbc = partial(paging.eldu, sgx, block=True)
        self.erdinfo = partial(paging.erdinfo, sgx)
        self.eaug = partial(dynamic.eaug, sgx)
        self.emodpr = partial(dynamic.emodpr, sgx)
        self.emodt = partial(dynamic.emodt, sgx)
        self.edbgrd = partial(debugging.edbgrd, sgx)
        self.edbgwr = partial(debugging.edbgwr, sgx)
        self.sample = partial(stale.sample, sgx)  # no leaf: a flaw, until it is patched
        # Executed with the registers of a logical processor as they stand:
        self.eenter = partial(entering.eenter, sgx)
        self.eresume = partial(entering.eenter, sgx, resume=True)
        self.enclu = partial(enclu, sgx)
        self.abandon = partial(exiting.abandon, sgx)

    @property
    def epc(self) -> FrameAllocator:
        """Free EPC pages."""
        self.start_over()
        return self._epc

    @property
    def swap(self) -> Swapper:
        """Gives them out, and makes room when there are none."""
        self.start_over()
        return self._swap

    def start_over(self) -> None:
        """After a power cut the EPC is empty, and what is on the disk fits no version."""
        if self._boot != self._sgx.machine.boots:
            self._boot, self._epc = self._sgx.machine.boots, _empty(self._sgx)
            self._swap.clear()

    @property
    def aex_notify(self) -> bool:
        """Whether CPUID reports AEX-Notify."""
        return self._sgx.aex_notify

    def einit(self, secs_hpa: int, sigstruct: SIGSTRUCT, token: EINITTOKEN | None = None) -> None:
        """`launching.einit`; where it can, the kernel makes the signer the launch authority."""
        if token is None and launching.is_flexible(self._sgx):
            signer = mrsigner(sigstruct)
            for index in range(4):
                word = int.from_bytes(signer[8 * index : 8 * index + 8], "little")
                self.wrmsr(launching.IA32_SGXLEPUBKEYHASH0 + index, word)
        launching.einit(self._sgx, secs_hpa, sigstruct, token)

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


def _empty(sgx: SGX) -> FrameAllocator:
    return FrameAllocator(range(sgx.epcm.start, sgx.epcm.stop), "enclave page cache (EPC)")


def production(*, debug: bool = False, aex_notify: bool = False) -> Attributes:
    """ATTRIBUTES of a 64-bit enclave with x87 and SSE state."""
    return Identity(aex_notify=aex_notify).attributes(debug=debug)


class SGXGuest(Guest):
    """An enclave that was built, measured and (with a SIGSTRUCT) initialised.

    Args:
        host: who runs it.
        driver: its SGX driver.
        image: what is loaded.
        sigstruct: its author's signature; None leaves the enclave uninitialised.
        attributes: ATTRIBUTES to create it with.
        base: linear address of ELRANGE.
        identity: its CONFIGID, CONFIGSVN and MISCSELECT are for ECREATE.
        token: a launch enclave's permission, for EINIT.

    Attributes:
        enclave: the processor's view of it.
        secs_hpa: physical address of its SECS page.
        pages: physical address of each page that is in the EPC, by offset in ELRANGE.

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
        identity: Identity = PLAIN,
        token: EINITTOKEN | None = None,
    ) -> None:
        super().__init__(host, image, base)
        self.driver = driver
        self.pages: dict[int, int] = {}
        self._entered: dict[int, int] = {}
        self.pagers.append(self._reload)
        try:
            self.secs_hpa = driver.swap.take(self, ROOT)
            self.enclave = driver.ecreate(
                self.secs_hpa,
                SECS(
                    size=image.size,
                    baseaddr=base,
                    ssaframesize=image.ssaframesize,
                    attributes=attributes or production(),
                    miscselect=identity.miscselect,
                    configid=identity.configid,
                    configsvn=identity.configsvn,
                ),
            )
            self._add_pages(image)
            if sigstruct is not None:
                driver.einit(self.secs_hpa, sigstruct, token)
        except BaseException:
            self.close()
            raise

    @property
    def mrenclave(self) -> bytes:
        """The measurement, 32 bytes."""
        return self.enclave.mrenclave

    @contextmanager
    def interrupted(self) -> Iterator[None]:
        """Every processor inside is out during the block, its TLB empty; then it goes on.

        That is what an interrupt to each of them does. A thread that cannot be resumed is the end
        of the enclave.
        """
        inside = [lp for lp in self.host.machine.mmu.processors if lp.context is self.enclave]
        for lp in inside:
            self._exit(lp, None)
        try:
            yield
        finally:
            for lp in inside:
                try:
                    self._resume(lp)
                except (Fault, SGXError, UsageError) as error:
                    cause = error if isinstance(error, Fault) else None
                    self.lost = EnclaveLost(f"a thread cannot go on: {error}", fault=cause)

    def _reload(self, fault: PageFault) -> bool:
        return self.driver.swap.load(self, (fault.address & -PAGE) - self.base)

    def _add_pages(self, image: Image) -> None:
        for page in image.pages:
            hpa = self.pages[page.offset] = self.driver.swap.take(self, page.offset)
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
        """Remove every page, the SECS last. A page in other use by now is not given back.

        After a power cut there is none to remove.
        """
        swap = self.driver.swap
        for lp in self.host.machine.mmu.processors:
            if lp.context is getattr(self, "enclave", None):
                self.driver.abandon(lp)
        held = list(self.pages.values())
        if swap.is_resident(self, ROOT):
            held.append(self.secs_hpa)
        for hpa in held:
            try:
                self.driver.eremove(hpa)
            except SGXError:
                continue
            self.driver.epc.give(hpa)
        self.pages.clear()
        swap.forget(self)
        super().close()

    def _start(self, lp: LogicalProcessor, tcs_offset: int, registers: list[int]) -> None:
        self._eenter(lp, self.base + tcs_offset, registers)

    def _offer(self, lp: LogicalProcessor) -> bool:
        if self.exception_call is None:
            return False
        registers = self._arguments(self.exception_call[0], 0, {})
        try:
            self._eenter(lp, self._entered[lp.index], registers)
        except (Fault, SGXError):
            return False  # every save frame is in use, or the thread's pages are not to be had
        return True

    def _eenter(self, lp: LogicalProcessor, tcs_gva: int, registers: list[int]) -> None:
        registers[RFLAGS] |= FLAGS_INITIAL | (0x100 if self.trap_flag else 0)
        registers[RAX], registers[RBX] = Leaf.EENTER, tcs_gva
        # ENCLU would stand just before the address to return to.
        registers[RIP] = RETURN_ADDRESS - entering.ENCLU_BYTES
        registers[RCX] = RETURN_ADDRESS
        self._entered[lp.index] = tcs_gva
        lp.switch(self.space.cr3)
        lp.set_registers(registers)
        self._enter(lp, self.driver.eenter)

    def _enter(self, lp: LogicalProcessor, leaf: Callable[[LogicalProcessor], None]) -> None:
        """EENTER or ERESUME. The thread and its save area may be out: bring them back first."""
        while True:
            try:
                return leaf(lp)
            except PageFault as fault:
                if not self._provide_page(fault):
                    raise

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
        self._enter(lp, self.driver.eresume)

    def _forget(self, lp: LogicalProcessor) -> None:
        self.driver.abandon(lp)
