"""The column without a TEE: the same program as an ordinary process.

The kernel enters it with SYSRET and it leaves with SYSCALL. Its memory, its registers at every
interruption and its page tables are all the kernel's to read and write.

Simplified: an exception ends the program; the kernel does not deliver it as a signal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee_sim.abi.image import Image, ImagePage
from tee_sim.abi.sgx import PageType
from tee_sim.errors import Fault, InvalidOpcode
from tee_sim.hypervisor.guest import Guest
from tee_sim.machine.cpu import LogicalProcessor, Stop
from tee_sim.machine.encryption import Engine
from tee_sim.machine.paging import Walk
from tee_sim.machine.registers import FLAGS_INITIAL, FSBASE, GSBASE, RFLAGS, RIP

if TYPE_CHECKING:
    from tee_sim.hypervisor.honest import Host


class Unprotected:
    """The monitor of a machine without a TEE: every access that the page tables allow."""

    def engine(self, hpa: int) -> Engine | None:
        """No page is encrypted."""
        return None

    def authorize(self, lp: LogicalProcessor, gva: int, page: Walk, access: int) -> int:
        """The page tables decide alone."""
        return page.permissions

    def visible(self, hpa: int, context: object = None) -> bool:
        """Everything is visible."""
        return True

    def power_cut(self) -> None:
        """There is nothing on the die to forget."""

    def invd(self) -> None:
        """The kernel may throw away whatever the cache holds."""

    def instruction(self, lp: LogicalProcessor, mnemonic: str) -> None:
        """Everything that user mode allows is legal."""


class PlainGuest(Guest):
    """A process. The image's TCS pages only say where its threads start.

    Args:
        host: who runs it.
        image: what is loaded; SECINFO rights become page-table rights.
    """

    def __init__(self, host: Host, image: Image) -> None:
        super().__init__(host, image)
        try:
            for page in image.pages:
                self._load(page)
        except BaseException:
            self.close()
            raise

    def _load(self, page: ImagePage) -> None:
        hpa = self.borrow()
        self.host.machine.write(hpa, page.content)
        rights = page.page_type == PageType.REG
        gva = self.base + page.offset
        self.space.map(gva, hpa, writable=page.w and rights, executable=page.x and rights)

    def _start(self, lp: LogicalProcessor, tcs_offset: int, registers: list[int]) -> None:
        tcs = self.tcs(tcs_offset)
        for number, offset in ((RIP, tcs.oentry), (FSBASE, tcs.ofsbase), (GSBASE, tcs.ogsbase)):
            registers[number] = (self.base + offset) % (1 << 64)
        registers[RFLAGS] |= FLAGS_INITIAL | (0x100 if self.trap_flag else 0)
        lp.switch(self.space.cr3)
        lp.flush_tlb()
        lp.set_registers(registers)

    def _left(self, lp: LogicalProcessor, stop: Stop) -> bool:
        if stop.kind == "enclu":
            raise InvalidOpcode("ENCLU does not exist on this processor")
        return True

    def _exit(self, lp: LogicalProcessor, event: Fault | None) -> Fault | None:
        lp.flush_tlb()
        return event

    def _resume(self, lp: LogicalProcessor) -> None:
        lp.flush_tlb()

    def _forget(self, lp: LogicalProcessor) -> None:
        lp.flush_tlb()
