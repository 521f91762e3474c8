"""What a host can do besides its duty: everything outside the TEE.

The adversary is ring 0 (and below it, the hypervisor) plus somebody with a probe on the memory
bus. It is not inside the processor: it never sees plaintext frames, keys or the EPCM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256

from tee_sim.errors import Fault, PageFault, UsageError
from tee_sim.html import table
from tee_sim.hypervisor.guest import Guest, Handler
from tee_sim.hypervisor.honest import Host, Launch
from tee_sim.machine.cpu import LogicalProcessor
from tee_sim.machine.paging import ADDRESS_MASK, FLAGS, PRESENT
from tee_sim.machine.registers import FLAGS_INITIAL, REGISTER_NAMES, RFLAGS, RIP
from tee_sim.units import PAGE

CODE_ADDRESS = 0x0900_0000
"""Where the host's own code is mapped in a victim's address space."""

EXECUTE_LIMIT = 1_000_000
"""Instructions that such code may run."""


@dataclass(frozen=True)
class Snapshot:
    """Raw DRAM at one moment: (physical address, bytes) of each range."""

    ranges: tuple[tuple[int, bytes], ...]

    def _repr_html_(self) -> str:
        rows = ((f"{start:#x}, {len(data)} bytes", data) for start, data in self.ranges)
        return table("Snapshot of DRAM", rows)


@dataclass(frozen=True)
class PageTableEntry:
    """One page-table entry of a victim, and where it stands."""

    gva: int
    value: int
    entry_hpa: int

    @property
    def hpa(self) -> int:
        """The physical page it points to."""
        return self.value & ADDRESS_MASK

    @property
    def present(self) -> bool:
        """Whether the page is mapped."""
        return bool(self.value & PRESENT)

    def _repr_html_(self) -> str:
        flags = [name for name, bit in FLAGS.items() if self.value & bit]
        rows = [
            ("linear address", self.gva),
            ("points to", self.hpa),
            ("flags", ", ".join(flags)),
            ("stands at", self.entry_hpa),
        ]
        return table("Page-table entry", rows)


class Adversary:
    """A malicious host.

    Args:
        host: the host it has taken over.

    Attributes:
        bus: the probe on the memory bus: `read`, `write`, `search`.
        sgx: the ENCLS leaves of ring 0, or None on a machine without SGX.
        vbs: what VTL0 may ask of the secure kernel and the hypervisor; None where there is none.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.bus, self.sgx, self.vbs = host.machine.bus, host.sgx, host.vbs

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: ring 0, the hypervisor, and a probe on the memory bus>"

    # Memory, as software on the processor

    def read(self, hpa: int, size: int) -> bytes:
        """Read physical memory as the kernel; all ones where the TEE hides it."""
        return self.host.machine.read(hpa, size)

    def write(self, hpa: int, data: bytes) -> None:
        """Write physical memory as the kernel; without effect where the TEE forbids it."""
        self.host.machine.write(hpa, data)

    def evict(self, hpa: int, size: int = 1) -> None:
        """Push the pages of a range out of the cache, so that DRAM holds their newest state.

        Simplified: a real attacker does this with CLFLUSH where allowed, else by filling the
        cache with other lines.
        """
        if hpa < 0 or hpa + size > self.host.machine.dram.size:
            raise UsageError(f"physical range {hpa:#x}+{size:#x} lies outside memory")
        for page in range(hpa & -PAGE, hpa + size, PAGE):
            self.host.machine.cache.evict(page)

    def wbinvd(self) -> None:
        """Push everything out of the cache."""
        self.host.machine.cache.wbinvd()

    def invd(self) -> None:
        """Throw away what the cache holds and DRAM does not, as the INVD instruction does.

        Of ordinary pages only those that were evicted before lose anything: their writes since.

        Raises:
            GeneralProtection: the processor refuses.
        """
        self.host.machine.invd()

    # Memory and power, with physical access or by a register

    def double_dimm(self) -> int:
        """Have the memory module claim twice its size, and boot: all guests are gone.

        It takes one write to the identification chip on the module (BadRAM).

        Returns:
            The distance of the aliases: each byte of memory can be reached that much higher, too.

        Raises:
            BootError: the firmware noticed, and the server runs with an honest module again.

        Simplified: only by physical address (`read`, `write`, ``bus``), not through page tables.
        """
        size = self.host.machine.dram.size
        self.host.machine.change_dimm(2 * size)
        return size

    @contextmanager
    def undervolting(self, millivolts: int) -> Iterator[None]:
        """Set the processor's supply voltage that much below normal within the block.

        Without effect where the register is locked.

        Raises:
            UsageError: this machine has no such register.
        """
        voltage = self.host.machine.voltage
        if voltage is None:
            raise UsageError("software cannot reach a voltage register on this server")
        before = voltage.offset
        voltage.write(-millivolts)
        try:
            yield
        finally:
            voltage.write(before)

    # Memory, as the bus sees it

    def snapshot(self, hpa: int) -> Snapshot:
        """Record what DRAM holds for the page ``hpa``: its data and any integrity metadata."""
        ranges = self.host.machine.footprint(hpa)
        return Snapshot(tuple((start, self.bus.read(start, size)) for start, size in ranges))

    def replay(self, snapshot: Snapshot) -> None:
        """Put a snapshot back into DRAM."""
        for start, data in snapshot.ranges:
            self.bus.write(start, data)

    def hunt(self, digest: bytes, size: int = 32) -> list[int]:
        """Search DRAM for a secret of which only the SHA-256 is known.

        Args:
            digest: SHA-256 of the secret.
            size: bytes of the secret; it is looked for at every multiple of that.

        Returns:
            The physical addresses at which it stands.

        Raises:
            UsageError: ``digest`` is no SHA-256, or ``size`` does not divide a page.
        """
        if not isinstance(digest, bytes) or len(digest) != 32:
            raise UsageError("hunt for the 32 bytes of a SHA-256 digest")
        if size < 1 or PAGE % size:
            raise UsageError(f"a secret of {size} bytes: its size has to divide a page")
        dram, zeros, found = self.bus.dram, bytes(PAGE), []
        for page in range(0, dram.size, PAGE):
            content = dram.read(page, PAGE)
            if content != zeros:
                for at in range(0, PAGE, size):
                    if sha256(content[at : at + size]).digest() == digest:
                        found.append(page + at)
        return found

    # Page tables

    def walk(self, victim: Guest, gva: int) -> PageTableEntry:
        """The victim's page-table entry for ``gva``."""
        place = victim.space.entry_address(gva)
        if not place:
            raise UsageError(f"{gva:#x} has no page-table entry")
        return PageTableEntry(gva & -PAGE, victim.space.entry(gva), place)

    def levels(self, victim: Guest, gva: int) -> list[PageTableEntry]:
        """The entry for ``gva`` in each table, from the top; ends at one that is not present."""
        table, entries = victim.space.cr3, []
        for shift in (39, 30, 21, 12):
            place = table + (gva >> shift & 0x1FF) * 8
            value = int.from_bytes(self.read(place, 8), "little")
            entries.append(PageTableEntry(gva & -PAGE, value, place))
            if not value & PRESENT:
                break
            table = value & ADDRESS_MASK
        return entries

    def hpa(self, victim: Guest, gva: int) -> int:
        """Physical address of the victim's ``gva``."""
        found = victim.space.translate(gva)
        if found is None:
            raise UsageError(f"{gva:#x} is not mapped")
        return found

    def edit(self, victim: Guest, gva: int, value: int) -> None:
        """Overwrite the victim's page-table entry for ``gva``, and flush every TLB."""
        victim.space.set_entry(gva, value)
        self.host.machine.mmu.shootdown()

    def remap(self, victim: Guest, gva: int, hpa: int) -> None:
        """Make ``gva`` point to another physical page, with all rights."""
        victim.space.map(gva & -PAGE, hpa & -PAGE, writable=True, executable=True)
        self.host.machine.mmu.shootdown()

    def unmap(self, victim: Guest, gva: int) -> PageTableEntry:
        """Take the page at ``gva`` away; the entry returned can be given to `restore`."""
        entry = self.walk(victim, gva)
        self.edit(victim, gva, entry.value & ~PRESENT)
        return entry

    def restore(self, victim: Guest, entry: PageTableEntry) -> None:
        """Put a page-table entry back."""
        self.edit(victim, entry.gva, entry.value)

    # Interruptions

    @contextmanager
    def watching(self, victim: Guest, handler: Handler) -> Iterator[None]:
        """Have ``handler`` called at each interruption of the victim within the block.

        It is given the victim, its processor and the event (None for the timer); True resumes.
        """
        victim.handlers.append(handler)
        try:
            yield
        finally:
            victim.handlers.remove(handler)

    @contextmanager
    def interrupting(
        self,
        victim: Guest,
        every: int,
        look: Callable[[dict[str, int]], None],
        *,
        at_most: int | None = None,
    ) -> Iterator[None]:
        """Interrupt the victim after each ``every`` instructions (1: single-step) and look.

        ``look`` is given the registers that the processor leaves for the host. After ``at_most``
        interruptions the victim is left alone.
        """
        if every < 1:
            raise UsageError("interrupt after at least one instruction")
        looked = 0

        def handler(_victim: Guest, lp: LogicalProcessor, event: Fault | None) -> bool:
            nonlocal looked
            if event is not None:
                return False
            look(self.registers(lp))
            looked += 1
            if looked == at_most:
                victim.timer = None
            return True

        old, victim.timer = victim.timer, every
        try:
            with self.watching(victim, handler):
                yield
        finally:
            victim.timer = old

    @contextmanager
    def meanwhile(self, victim: Guest, every: int, action: Callable[[], None]) -> Iterator[None]:
        """Have ``action`` run after each ``every`` instructions, as if on another processor.

        The victim is not interrupted: its processor stays inside, its TLB as it is.
        """
        old, victim.meanwhile = victim.meanwhile, (every, action)
        try:
            yield
        finally:
            victim.meanwhile = old

    @contextmanager
    def faulting(self, victim: Guest, handler: Callable[[int], bool]) -> Iterator[None]:
        """Have ``handler`` called with the address of each page fault of the victim."""

        def on_event(_victim: Guest, _lp: LogicalProcessor, event: Fault | None) -> bool:
            return isinstance(event, PageFault) and handler(event.address)

        with self.watching(victim, on_event):
            yield

    def registers(self, lp: LogicalProcessor) -> dict[str, int]:
        """The registers of a processor that has left the victim, by name.

        Raises:
            UsageError: it is inside an enclave, where only the processor itself sees them.
        """
        if lp.context is not None:
            raise UsageError(
                f"logical processor {lp.index} is inside an enclave; interrupt it, and see what it "
                "leaves in its registers"
            )
        return dict(zip(REGISTER_NAMES, lp.registers(), strict=True))

    def execute(self, victim: Guest, code: bytes, *, processor: int = 0) -> None:
        """Run user-mode code of the host's own in the victim's address space, outside the TEE.

        The code ends with SYSCALL. It runs on the victim's processor without flushing its TLB, as
        the rest of the process does right after the enclave has left.

        Raises:
            Fault: the code faulted.
            UsageError: it did not end, or the processor is inside an enclave.
        """
        lp = self.host.machine.processor(processor)
        if lp.context is not None:
            raise UsageError(f"logical processor {processor} is inside an enclave")
        self.place_code(victim, code)
        registers = [0] * 20
        registers[RIP], registers[RFLAGS] = CODE_ADDRESS, FLAGS_INITIAL
        lp.switch(victim.space.cr3)
        lp.set_registers(registers)
        stop = lp.run(EXECUTE_LIMIT)
        if stop.fault is not None:
            raise stop.fault
        if stop.kind != "syscall":
            raise UsageError(f"the code did not end with SYSCALL but with {stop.kind}")

    def place_code(self, victim: Guest, code: bytes) -> int:
        """Map a page of the host's own code into the victim's address space; its address."""
        if len(code) > PAGE:
            raise UsageError("host code fits one page")
        hpa = victim.space.translate(CODE_ADDRESS) or victim.borrow()
        self.host.machine.write(hpa, code.ljust(PAGE, b"\xcc"))
        victim.space.map(CODE_ADDRESS, hpa, writable=False, executable=True)
        return CODE_ADDRESS

    # Launch

    @contextmanager
    def tampering(self, change: Callable[[Launch], Launch]) -> Iterator[None]:
        """Change everything that is launched within the block."""
        self.host.on_launch.append(change)
        try:
            yield
        finally:
            self.host.on_launch.remove(change)
