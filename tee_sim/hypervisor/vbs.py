"""VTL0's side of VBS: the Windows functions that build, enter and delete enclaves.

`VBSDriver` is what VTL0 kernel code can ask of the secure kernel and of the hypervisor; a
malicious kernel has the same calls.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tee_sim.abi import boot_log
from tee_sim.abi.sgx import PageType
from tee_sim.abi.tpm import BootEvidence
from tee_sim.abi.vbs import EnclaveIdentity
from tee_sim.abi.vbs_image import CreateFlags, CreateInfo, InitInfo
from tee_sim.errors import Fault, InvalidOpcode, PageFault
from tee_sim.hypervisor.guest import ENCLAVE_BASE, Guest
from tee_sim.machine.cpu import LogicalProcessor, Stop
from tee_sim.machine.memory import AddressSpace
from tee_sim.monitors.vbs import checks as rules
from tee_sim.monitors.vbs import crossing, exceptions, sealing, services
from tee_sim.monitors.vbs.enclave import Enclave, ImageSignature, State
from tee_sim.monitors.vbs.secure_kernel import GRANULE, SecureKernel, error
from tee_sim.units import align_up

if TYPE_CHECKING:
    from tee_sim.hypervisor.honest import Host, Launch


class VBSDriver:
    """What VTL0 may call. `modify_vtl_protection_mask` is the hypercall, as VTL0 makes it.

    Args:
        sk: the secure kernel.

    Attributes:
        tpm: the TPM, which VTL0 may ask for quotes.
    """

    def __init__(self, sk: SecureKernel) -> None:
        self._sk = sk  # VTL0 has no way to it but these calls; the processor does the rest
        self.checks, self.tpm = sk.checks, sk.tpm
        self.modify_vtl_protection_mask = partial(sk.hypervisor.modify_vtl_protection_mask, 0)
        self.create_enclave = sk.create_enclave
        self.load_enclave_image = sk.load_enclave_image
        self.initialize_enclave = sk.initialize_enclave
        self.terminate_enclave = sk.terminate_enclave
        self.delete_enclave = sk.delete_enclave
        self.debug = partial(services.debug, sk)
        # With the registers of a logical processor as they stand:
        self.call_enclave = partial(crossing.call_enclave, sk)
        self.resume = partial(exceptions.resume, sk)

    @property
    def event_log(self) -> bytes:
        """What the boot wrote down about itself; it lies in ordinary memory."""
        return self._sk.event_log

    def boot_evidence(
        self, nonce: bytes, certify: Callable[[bytes, bytes], tuple[bytes, bytes]]
    ) -> BootEvidence:
        """How this machine was started, for a Verifier.

        Args:
            nonce: the Verifier's, at most 64 bytes.
            certify: the vendor's certificates of the TPM's keys, such as `TPMVendor.certify`.
        """
        quoted = self.tpm.quote(nonce, boot_log.SEQUENCES)
        return BootEvidence(*quoted, self.event_log, *certify(self.tpm.ek, self.tpm.ak))

    def identity(self, enclave: Enclave) -> EnclaveIdentity:
        """Who an enclave is: public, and part of every report."""
        return sealing.identity(self._sk, enclave)


class ProcessSpace(AddressSpace):
    """The page tables of a VTL0 process with an enclave in it.

    VTL0 keeps entries for the pages that it gave, and may change them as it likes; but nobody
    walks them: the enclave runs on the secure kernel's tables (SK.PAGE_TABLES).
    """

    guest: VBSGuest | None = None

    def entry(self, gva: int) -> int:
        """The entry for ``gva``, as the kernel reads it."""
        self._note(gva)
        return super().entry(gva)

    def set_entry(self, gva: int, value: int) -> None:
        """Write the entry for ``gva``; what the enclave could use there is void."""
        self._note(gva)
        super().set_entry(gva, value)
        if self.guest is not None:
            self.guest.driver._sk.unmirror(self.guest.enclave, gva)

    def _note(self, gva: int) -> None:
        """Say that an entry for the enclave's range is one that nobody walks."""
        if self.guest is None or gva not in self.guest.enclave:
            return
        checks = self.guest.driver.checks
        if checks.on(rules.PAGE_TABLES):
            checks.report(rules.PAGE_TABLES, f"{gva:#x} is translated by the secure kernel")


class VBSGuest(Guest):
    """An enclave that was created, loaded and initialised.

    Args:
        host: who runs it.
        driver: what the kernel may call.
        launch: what the customer handed over.
        pages: physical pages to give, one for each of the image's; None takes free ones.
        base: linear address of its range.

    Attributes:
        enclave: the handle that CreateEnclave gave.

    Raises:
        VBSError: the secure kernel refused; every page is given back.
    """

    def __init__(
        self,
        host: Host,
        driver: VBSDriver,
        launch: Launch,
        pages: list[int] | None = None,
        base: int = ENCLAVE_BASE,
    ) -> None:
        image, signature = launch.image, launch.sigstruct
        if not isinstance(signature, ImageSignature):
            raise error("LoadEnclaveImage", "ERROR_INVALID_IMAGE_HASH", "it has no signature")
        debug = launch.attributes is not None and bool(launch.attributes.flags.debug)
        info = CreateInfo(flags=CreateFlags(debug=debug), owner_id=launch.owner_id)
        info.pack()  # refused before anything is taken
        super().__init__(host, image, base)
        self.driver = driver
        self.pagers.append(self._mirror)
        given = list(pages or ())
        try:
            while len(given) < len(image.pages):
                given.append(host.frames.take())
            self.enclave = driver.create_enclave(
                base, align_up(image.size, GRANULE), info, self.space, self._provide
            )
            driver.load_enclave_image(self.enclave, image, signature, given, launch.name)
            for page, hpa in zip(image.pages, given, strict=True):
                data = page.page_type == PageType.REG
                gva, writable, executable = base + page.offset, page.w and data, page.x and data
                self.space.map(gva, hpa, writable=writable, executable=executable)
            threads = InitInfo(length=InitInfo.SIZE, thread_count=len(self.tcs_offsets))
            driver.initialize_enclave(self.enclave, threads)
        except BaseException:
            taken = self.enclave.pages.values() if hasattr(self, "enclave") else ()
            self._borrowed += [page for page in given if page not in taken and not pages]
            self.close()
            raise
        assert isinstance(self.space, ProcessSpace), "made below"
        self.space.guest = self

    @property
    def identity(self) -> EnclaveIdentity:
        """Who the enclave is."""
        return self.driver.identity(self.enclave)

    def _new_space(self) -> AddressSpace:
        return ProcessSpace(self.host.machine, self.host.frames)

    def _preempts(self) -> int | None:
        return crossing.preempts(self.driver._sk, self.timer)

    def _provide(self, gva: int) -> bool:
        """The secure kernel asks for a page of the process."""
        fault = PageFault("the secure kernel wants the page", address=gva)
        return any(pager(fault) for pager in self.pagers if pager != self._mirror)

    def _mirror(self, fault: PageFault) -> bool:
        return crossing.mirror(self.driver._sk, self.enclave, fault)

    def _start(self, lp: LogicalProcessor, tcs_offset: int, registers: list[int]) -> None:
        self.driver.call_enclave(self.enclave, lp, self.tcs_offsets.index(tcs_offset), registers)

    def _left(self, lp: LogicalProcessor, stop: Stop) -> bool:
        if stop.kind == "enclu":
            raise InvalidOpcode("ENCLU does not exist on this processor")
        return services.syscall(self.driver._sk, lp)

    def _exit(self, lp: LogicalProcessor, event: Fault | None) -> Fault | None:
        return crossing.interrupt(self.driver._sk, lp, event)

    def _resume(self, lp: LogicalProcessor) -> None:
        self.driver.resume(self.enclave, lp)

    def _offer(self, lp: LogicalProcessor) -> bool:
        if self.exception_call is None:
            return False
        registers = self._arguments(self.exception_call[0], 0, {})
        return exceptions.deliver(self.driver._sk, self.enclave, lp, registers)

    def _forget(self, lp: LogicalProcessor) -> None:
        crossing.abandon(self.driver._sk, self.enclave, lp)

    def close(self) -> None:
        """Terminate and delete the enclave; its pages are ordinary memory again."""
        enclave = getattr(self, "enclave", None)
        if enclave is not None and self._boot != self.host.machine.boots:
            self._borrowed += enclave.pages.values()  # nobody protects them any more
            enclave.pages.clear()
        elif enclave is not None and enclave.state != State.DELETED:
            for lp in self.host.machine.mmu.processors:
                crossing.abandon(self.driver._sk, enclave, lp)
            self.driver.terminate_enclave(enclave)
            self._borrowed += self.driver.delete_enclave(enclave)
        super().close()
