"""Dynamic memory on the host's side: what an honest kernel does when an enclave grows or shrinks.

::

    memory = Growing(enclave.guest)          pages appear where the enclave touches or accepts them
    memory.restrict(gva, 1, READ_ONLY)       EMODPR, ETRACK, interrupt;  EACCEPT is the enclave's
    memory.change(gva, 1, PageType.TRIM)     EMODT, ETRACK, interrupt;   EACCEPT is the enclave's
    memory.remove(gva)                       EREMOVE, once it has accepted

Source: Linux, ``arch/x86/kernel/cpu/sgx/encl.c`` and ``ioctl.c``: pages are added on a page fault
(``sgx_encl_eaug_page``); ``SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS``, ``_MODIFY_TYPES`` and
``_REMOVE_PAGES`` do the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tee_sim.abi.sgx import PageType, SecinfoFlags
from tee_sim.errors import PageFault, UsageError
from tee_sim.html import table
from tee_sim.hypervisor.guest import Guest
from tee_sim.hypervisor.sgx import SGXGuest
from tee_sim.hypervisor.swap import ROOT
from tee_sim.units import PAGE, is_aligned

READ_ONLY, RWX = 1, 7
"""Rights, as in SECINFO.FLAGS."""


class Growing:
    """The kernel's service for the dynamic memory of one enclave.

    Args:
        guest: the enclave.
        offsets: where pages may be added, in bytes from its base; all of ELRANGE by default.

    Attributes:
        added: offsets of the pages that were added since.
        trimmed: offsets of the pages that are on their way out.

    Raises:
        UsageError: the program does not run as an SGX enclave.
    """

    def __init__(self, guest: Guest, offsets: range | None = None) -> None:
        if not isinstance(guest, SGXGuest):
            raise UsageError("only an SGX enclave has dynamic memory; choose another Platform")
        self.guest, self.driver = guest, guest.driver
        self.offsets = range(guest.image.size) if offsets is None else offsets
        self.added: set[int] = set()
        self.trimmed: set[int] = set()
        self._gone: set[int] = set()  # threads whose TCS was removed; they keep their numbers
        guest.pagers.append(self._on_fault)

    def __repr__(self) -> str:
        return f"<Growing: {len(self.added)} pages added, {len(self.trimmed)} trimmed>"

    def _repr_html_(self) -> str:
        rows = [
            ("range", f"{self.offsets.start:#x} to {self.offsets.stop:#x}"),
            ("added", ", ".join(f"{offset:#x}" for offset in sorted(self.added)) or "none"),
            ("trimmed", ", ".join(f"{offset:#x}" for offset in sorted(self.trimmed)) or "none"),
        ]
        return table("Dynamic memory of an enclave", rows)

    @property
    def ocalls(self) -> dict[str, Callable[..., None]]:
        """What an enclave asks for by ocall, by the names in the EDL of `grower`."""
        return {
            "restrict_rights": self.restrict,
            "change_type": self.change,
            "remove_pages": self.remove,
        }

    def augment(self, gva: int) -> int:
        """EAUG a page at ``gva``; the enclave still has to accept it. Returns where it lies.

        The page tables allow everything: which rights it gets is between processor and enclave.

        Raises:
            UsageError: not in the range, or there is a page, in the EPC or on the disk; the enclave
                is no more; or no EPC page is free.
            Fault: the processor refused.
        """
        offset = gva - self.guest.base
        if offset not in self.offsets or not is_aligned(gva):
            raise UsageError(f"no page may be added at {gva:#x}")
        if self._exists(offset):
            raise UsageError(f"{gva:#x} has a page already")
        self._require_root()
        hpa = self.driver.swap.take(self.guest, offset)
        try:
            self.driver.eaug(hpa, self.guest.secs_hpa, gva)
        except BaseException:
            self.driver.swap.give(self.guest, offset, hpa)
            raise
        self.guest.pages[offset] = hpa
        self.guest.space.map(gva, hpa, writable=True, executable=True)
        self.added.add(offset)
        return hpa

    def restrict(self, gva: int, pages: int, rights: int) -> None:
        """Leave ``pages`` pages only those of ``rights`` (SECINFO.FLAGS: R 1, W 2, X 4).

        Raises:
            UsageError: no page there, or one that is no REG page.
            SGXError, Fault: the processor refused.
        """
        offsets = self._offsets(gva, pages)
        for offset in offsets:
            self._require_reg(offset)
        with self._tracked():
            for _, hpa in self._loaded(offsets):
                self.driver.emodpr(hpa, SecinfoFlags.of(rights & RWX))

    def change(self, gva: int, pages: int, page_type: int) -> None:
        """Make ``pages`` pages TCS pages, or trim them.

        A new TCS is the thread with the highest number, once the enclave has accepted it; one where
        a TCS was before has that one's number.

        Raises:
            UsageError: no page there, or another type.
            SGXError, Fault: the processor refused.
        """
        if page_type not in (PageType.TCS, PageType.TRIM):
            raise UsageError(f"a page can become TCS (1) or TRIM (4), not {page_type}")
        offsets = self._offsets(gva, pages)
        for offset in offsets:
            if page_type == PageType.TCS:
                self._require_reg(offset)
            elif offset in self.trimmed:
                raise UsageError(f"the page at offset {offset:#x} is trimmed already")
        with self._tracked():
            for offset, hpa in self._loaded(offsets):
                self.driver.emodt(hpa, SecinfoFlags(page_type=PageType(page_type)))
                if page_type == PageType.TRIM:
                    self.trimmed.add(offset)
                elif offset in self._gone:
                    self._gone.remove(offset)
                else:
                    self.guest.tcs_offsets.append(offset)

    def remove(self, gva: int, pages: int = 1) -> None:
        """Take trimmed pages back, while threads may go on running inside.

        Whether the enclave has accepted, EMODPR tells, as Linux has it tell: it looks at MODIFIED
        before the type. The other threads keep their numbers if the page was a TCS.

        Raises:
            UsageError: no page there, or one that was not trimmed.
            SGXError: error 20, the enclave has not accepted.
        """
        offsets = self._offsets(gva, pages)
        for offset in offsets:
            if offset not in self.trimmed:
                raise UsageError(f"trim the page at offset {offset:#x} first")
        for offset, hpa in self._loaded(offsets):
            with suppress(PageFault):
                self.driver.emodpr(hpa, SecinfoFlags.of(RWX))
            self.driver.eremove(hpa)
            self.guest.space.set_entry(self.guest.base + offset, 0)
            self.driver.swap.give(self.guest, offset, hpa)
            self.trimmed.discard(offset)
            self.added.discard(offset)
            if offset in self.guest.tcs_offsets:
                self._gone.add(offset)

    def _require_root(self) -> None:
        """The SECS page is in the EPC, where the leaves need it."""
        self.driver.swap.load(self.guest, ROOT)
        if not self.driver.swap.is_resident(self.guest, ROOT):
            raise UsageError(f"{self.guest} has no SECS page any more")

    def _exists(self, offset: int) -> bool:
        return offset in self.guest.pages or (self.guest, offset) in self.driver.swap.disk

    def _offsets(self, gva: int, pages: int) -> list[int]:
        """Of each page of a range. It may be absurdly long: the first that is missing ends it."""
        self._require_root()
        first = gva - self.guest.base
        found = []
        for offset in range(first, first + pages * PAGE, PAGE):
            if not self._exists(offset):
                raise UsageError(f"the enclave has no page at offset {offset:#x}")
            found.append(offset)
        return found

    def _require_reg(self, offset: int) -> None:
        is_tcs = offset in self.guest.tcs_offsets and offset not in self._gone
        if is_tcs or offset in self.trimmed:
            raise UsageError(f"the page at offset {offset:#x} is not a REG page")

    def _loaded(self, offsets: list[int]) -> Iterator[tuple[int, int]]:
        """Offset and physical address, one by one: to bring a page in may push another out."""
        for offset in offsets:
            self.driver.swap.load(self.guest, offset)
            yield offset, self.guest.pages[offset]

    @contextmanager
    def _tracked(self) -> Iterator[None]:
        """No TLB holds a page as it was before the block, however far that came.

        Then the enclave can accept what was done.
        """
        try:
            yield
        finally:
            self.driver.etrack(self.guest.secs_hpa)
            with self.guest.interrupted():
                pass

    def _on_fault(self, fault: PageFault) -> bool:
        """The kernel's pager: a page where the enclave has none."""
        gva = fault.address & -PAGE
        offset = gva - self.guest.base
        if offset not in self.offsets or self._exists(offset):
            return False
        self.augment(gva)
        return True
