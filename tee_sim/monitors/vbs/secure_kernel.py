"""The secure kernel: VTL1 kernel mode, and the life of an enclave in VTL1 user mode.

::

    CreateEnclave -> LoadEnclaveImage -> InitializeEnclave -> CallEnclave ... -> TerminateEnclave
                                                                              -> DeleteEnclave

VTL0 gives the pages; from then on they are the secure kernel's. It owns page tables, contexts and
keys of every enclave, and nobody but the hypervisor below could take them.

Source: Microsoft Learn, "Virtualization-based security (VBS) enclaves" and the pages of the
functions; ``winnt.h``, ``ntenclv.h``.

Simplified: the secure kernel is Python, not code of the machine; its tables and contexts do lie in
the machine's memory. One module for each enclave, loaded whole. The numbers of errors are those of
``winerror.h``; which of them Windows returns in which case is unverified.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from typing import NoReturn

from tee_sim.abi.image import Image, measure
from tee_sim.abi.sgx import TCS, PageType
from tee_sim.abi.vbs_image import CreateInfo, InitInfo
from tee_sim.checks import Check
from tee_sim.errors import VBSError
from tee_sim.machine.entropy import Entropy
from tee_sim.machine.measured_boot import Component, idks, measured_boot
from tee_sim.machine.memory import AddressSpace, FrameAllocator
from tee_sim.machine.paging import ADDRESS_MASK
from tee_sim.machine.tpm import TPM
from tee_sim.monitors.vbs import checks as rules
from tee_sim.monitors.vbs.enclave import Enclave, ImageSignature, State, Thread
from tee_sim.monitors.vbs.hypervisor import ALL, HyperV
from tee_sim.units import MIB, PAGE, align_down, is_aligned

GRANULE = 2 * MIB
"""Enclaves start at multiples of this, and their sizes are."""

ERRORS = {
    "ERROR_ACCESS_DENIED": 5,
    "ERROR_INVALID_PARAMETER": 87,
    "ERROR_INVALID_ADDRESS": 487,
    "ERROR_INVALID_IMAGE_HASH": 577,
    "ERROR_ENCLAVE_FAILURE": 349,
    "ERROR_ENCLAVE_NOT_TERMINATED": 814,
    "ERROR_REVISION_MISMATCH": 1306,
    "ERROR_DECRYPTION_FAILED": 6001,
}

RETIRED_IMAGE_ID = hashlib.sha256(b"tee_sim: an image with a known hole").digest()[:16]
FIRST_GOOD_SVN = 2
"""Updates bring a list of vulnerable images. Ours has one: this image id, below this version."""


LEAST_MEMORY, SHARE = 4 * MIB, 64
"""Bytes that the secure kernel has at least, and which part of a large memory."""

HYPERVISOR, SECURE_KERNEL = "hvix64.exe", "securekernel.exe"


def boot_components(svn: int, without: Collection[str] = ()) -> tuple[Component, ...]:
    """What is started, in order. A hypervisor or secure kernel without a check is another program.

    Args:
        svn: security version of what Microsoft updates.
        without: names of checks that are switched off: ``VTL.`` by a changed hypervisor, ``SK.``
            by a changed secure kernel.
    """
    parts = (("firmware", ""), ("boot manager", ""), ("winload.efi", ""))
    changed = ((HYPERVISOR, "VTL."), (SECURE_KERNEL, "SK."))
    found = []
    for name, prefix in (*parts, *changed):
        off = sorted(check for check in without if prefix and check.startswith(prefix))
        image = " ".join((name, f"version {svn}", *(f"without {check}" for check in off)))
        found.append(Component(name, svn, image.encode()))
    return tuple(found)


def own_memory(size: int) -> range:
    """What the secure kernel takes of ``size`` bytes of memory: the highest."""
    return range(size - max(LEAST_MEMORY, align_down(size // SHARE)), size)


class SecureKernel:
    """The secure kernel of one machine.

    Args:
        hypervisor: what it runs on.
        memory: physical memory that is its own from the start, for tables and contexts.
        entropy: where its keys come from.
        components: what is started, as the TPM measures it (`boot_components`).

    Attributes:
        enclaves: those that were not deleted.
        sealing_secret: what every sealing key is derived from, 32 bytes.
        svn, platform_svn: security versions of the secure kernel and of the hypervisor below it.
        signing_key: the key that signs reports (IDKS); the TPM's log vouches for it.
        tpm, event_log: how the machine was started, and its written form.

    Simplified: the sealing secret does not depend on what was started; on Windows the TPM gives the
    VSM master key to the system that it knows only.
    """

    def __init__(
        self,
        hypervisor: HyperV,
        memory: range,
        entropy: Entropy,
        components: Sequence[Component],
    ) -> None:
        self._components, self.tpm = components, TPM(entropy)
        svns = {component.name: component.svn for component in components}
        self.svn, self.platform_svn = svns[SECURE_KERNEL], svns[HYPERVISOR]
        self.signing_key = idks(entropy.seed)
        self.hypervisor, self.checks = hypervisor, hypervisor.checks
        self._memory, self.entropy = memory, entropy
        self.sealing_secret = entropy.take(32, "VSM master key")
        self.enclaves: list[Enclave] = []
        hypervisor.on_reset.append(self.boot)

    def boot(self) -> None:
        """Measured boot; then the secure kernel takes its memory, and there are no enclaves.

        Handles from before lead nowhere: their page tables are ordinary pages again.
        """
        key = self.signing_key.public_key()
        self.event_log = measured_boot(self.tpm, self._components, key)
        for enclave in self.enclaves:
            enclave.state = State.DELETED
            enclave.mirrored.clear()
            enclave.space.free()
        self.enclaves.clear()
        self.frames = FrameAllocator(self._memory, "the secure kernel's memory")
        self._protect(self._memory[::PAGE], 0)

    def create_enclave(
        self,
        base: int,
        size: int,
        info: CreateInfo,
        process: AddressSpace,
        provide: Callable[[int], bool],
    ) -> Enclave:
        """CreateEnclave: an empty enclave in a process of VTL0.

        # Checks
        Base and size are multiples of 2 MiB.

        # Transition
        Page tables in the secure kernel's memory; the owner and the flags are fixed.

        Args:
            base: linear address.
            size: bytes.
            info: ENCLAVE_CREATE_INFO_VBS.
            process: the page tables of the process.
            provide: how VTL0 is asked for a page of the process.

        Raises:
            VBSError: an argument does not fit.
        """
        if size <= 0 or base % GRANULE or size % GRANULE or not 0 <= base < base + size < 1 << 47:
            raise error("CreateEnclave", "ERROR_INVALID_PARAMETER", "multiples of 2 MiB, please")
        space = AddressSpace(self.hypervisor.machine, self.frames, context=self)
        enclave = Enclave(base, size, info, space, process, provide)
        self.enclaves.append(enclave)
        return enclave

    def load_enclave_image(
        self,
        enclave: Enclave,
        image: Image,
        signature: ImageSignature,
        pages: Sequence[int],
        name: str = "image",
    ) -> None:
        """LoadEnclaveImage: fill the enclave from a signed image.

        # Checks
        It is empty, and large enough; VTL0 gives a page of its own for each page of the image
        (SK.PAGE_IN_USE); the image is the one that its author signed (SK.IMAGE_SIGNATURE), and on
        no list of vulnerable ones (SK.REVOKED_IMAGE).

        # Transition
        The pages are closed to VTL0 before anything is copied into them, taken from every enclave
        that was lent them (SK.VTL0_PAGE), and mapped with exactly the rights of the image.

        # Measurement
        UniqueId is `tee_sim.abi.image.measure`: place and rights of every page, and all content
        that the author measured (not that of the heap).

        Args:
            enclave: from `create_enclave`.
            image: what to load.
            signature: its author's.
            pages: physical address of a page for each page of the image.
            name: of the module.

        Raises:
            VBSError: refused; the pages are VTL0's again, and nothing is loaded.
            LayoutError: a control page holds what it cannot; likewise.
        """
        call = "LoadEnclaveImage"
        self.require(enclave, State.CREATED, call)
        if image.size > enclave.size or len(pages) != len(image.pages):
            raise error(call, "ERROR_INVALID_PARAMETER", "one page for each of the image's")
        self._check_pages(pages)
        self._check_signature(image, signature)
        control = [TCS.unpack(p.content) for p in image.pages if p.page_type == PageType.TCS]
        self._protect(pages, 0)
        self._take_back(set(pages))
        for page, hpa in zip(image.pages, pages, strict=True):
            self.hypervisor.machine.cache.write(hpa, page.content)
            enclave.pages[page.offset] = hpa
            data = page.page_type == PageType.REG
            writable, executable = page.w and data, page.x and data
            gva = enclave.base + page.offset
            enclave.space.map(gva, hpa, writable=writable, executable=executable)
        enclave.signature, enclave.name, enclave.state = signature, name, State.LOADED
        enclave.control = tuple(control)
        enclave.strict = signature.config.policy_flags.strict_memory

    def _take_back(self, pages: Collection[int]) -> None:
        """No enclave goes on using as ordinary memory what is VTL1's from now on."""
        if not self.checks.on(rules.VTL0_PAGE):
            return
        for enclave in self.enclaves:
            for gva, entry in list(enclave.mirrored.items()):
                if entry & ADDRESS_MASK in pages:
                    self.unmirror(enclave, gva)

    def unmirror(self, enclave: Enclave, gva: int) -> None:
        """A page of the process changes: what the enclave could use there is void."""
        if enclave.mirrored.pop(gva & -PAGE, None) is not None:
            enclave.space.set_entry(gva & -PAGE, 0)
            self.hypervisor.machine.mmu.shootdown()

    def _check_pages(self, pages: Sequence[int]) -> None:
        call, end = "LoadEnclaveImage", self.hypervisor.machine.dram.size
        if not all(is_aligned(page) and 0 <= page < end for page in pages):
            raise error(call, "ERROR_INVALID_ADDRESS", "pages of this memory, please")
        taken = not all(self.hypervisor.is_open(page) for page in pages)
        taken = taken or len(set(pages)) < len(pages)
        if taken and self.checks.on(rules.PAGE_IN_USE):
            self.refuse(rules.PAGE_IN_USE, call, "ERROR_INVALID_ADDRESS", "it is in use in VTL1")

    def _check_signature(self, image: Image, signature: ImageSignature) -> None:
        call, code = "LoadEnclaveImage", "ERROR_INVALID_IMAGE_HASH"
        config, why = signature.config, ""
        if not signature.holds():
            why = "no valid signature"
        elif signature.unique_id != measure(image):
            why = "the image is not the one that was signed"
        if why and self.checks.on(rules.IMAGE_SIGNATURE):
            self.refuse(rules.IMAGE_SIGNATURE, call, code, why)
        retired = config.image_id == RETIRED_IMAGE_ID and config.security_version < FIRST_GOOD_SVN
        if retired and self.checks.on(rules.REVOKED_IMAGE):
            why = f"version {config.security_version} of this image has a known hole"
            self.refuse(rules.REVOKED_IMAGE, call, code, why)

    def initialize_enclave(self, enclave: Enclave, info: InitInfo) -> None:
        """InitializeEnclave: make the threads; nothing can be loaded any more.

        # Checks
        An image is loaded, and has as many threads, which start inside.

        # Transition
        Each thread starts where its control page in the loaded image says, and gets a page of the
        secure kernel for its context.
        """
        call = "InitializeEnclave"
        self.require(enclave, State.LOADED, call)
        starts = enclave.control
        if info.length != InitInfo.SIZE or not 1 <= info.thread_count <= len(starts):
            raise error(call, "ERROR_INVALID_PARAMETER", f"at most {len(starts)} threads")
        for tcs in starts[: info.thread_count]:
            entry, fs, gs = (enclave.base + at for at in (tcs.oentry, tcs.ofsbase, tcs.ogsbase))
            if not all(place in enclave for place in (entry, fs, gs)):
                raise error(call, "ERROR_INVALID_PARAMETER", "a thread starts outside")
            enclave.threads.append(Thread(entry, fs, gs, self.frames.take()))
        enclave.state = State.INITIALIZED

    def terminate_enclave(self, enclave: Enclave) -> None:
        """TerminateEnclave: no thread goes on; those inside end at their next interruption."""
        if enclave.state == State.DELETED:
            raise error("TerminateEnclave", "ERROR_INVALID_ADDRESS", "it was deleted")
        enclave.state = State.TERMINATED

    def delete_enclave(self, enclave: Enclave) -> list[int]:
        """DeleteEnclave: the pages that VTL0 gave, which it may use again.

        # Checks
        Nobody is inside (SK.TERMINATED).

        # Transition
        Pages are cleared (SK.SCRUB), then opened to VTL0.

        Raises:
            VBSError: a thread is inside, or it was deleted before.
        """
        if enclave.state == State.DELETED:
            raise error("DeleteEnclave", "ERROR_INVALID_ADDRESS", "it was deleted")
        if enclave.inside and self.checks.on(rules.TERMINATED):
            why = f"{len(enclave.inside)} threads are inside"
            call = "DeleteEnclave"
            self.refuse(rules.TERMINATED, call, "ERROR_ENCLAVE_NOT_TERMINATED", why)
        pages = list(enclave.pages.values())
        if self.checks.on(rules.SCRUB):
            for hpa in pages:
                self.hypervisor.machine.cache.write(hpa, bytes(PAGE))
            self.checks.report(rules.SCRUB, f"{len(pages)} pages were cleared")
        if not enclave.inside:  # else a processor still runs on these tables
            enclave.space.free()
            for thread in enclave.threads:
                self.frames.give(thread.context_hpa)
        enclave.pages.clear()
        enclave.mirrored.clear()
        enclave.state = State.DELETED
        self.enclaves.remove(enclave)
        self._protect(pages, ALL)
        return pages

    def require(self, enclave: Enclave, state: State, call: str) -> None:
        """Raise unless the enclave has come exactly so far."""
        if enclave.state != state:
            why = f"the enclave is {enclave.state.value}, not {state.value}"
            raise error(call, "ERROR_ENCLAVE_FAILURE", why)

    def _protect(self, pages: Sequence[int], rights: int) -> None:
        self.hypervisor.modify_vtl_protection_mask(1, pages, rights)

    def refuse(self, check: Check, call: str, status: str, why: str) -> NoReturn:
        """Fail a call because of a check."""
        raise self.checks.refuse(check, error(call, status, why)) from None


def error(call: str, status: str, why: str) -> VBSError:
    """The error of one of Windows' functions."""
    return VBSError(call, status, ERRORS[status], why)
