"""Hand-assembled code, the smallest things that can run it, and nothing that needs a compiler.

`Process` runs code outside any TEE; `image` and `launch` make an enclave of a few hand-placed
pages, whose ELRANGE looks like this::

    0x0000  code, up to 4 pages          0x8000  TCS of thread 0
    0x4000  data, up to 4 pages          0x9000  its save area, up to 3 frames of a page
                                         0xC000  TCS of thread 1, and at 0xD000 its save area
"""

from collections.abc import Mapping
from typing import Any

from tee_sim.abi.image import ALL_CHUNKS, PLAIN, Identity, Image, ImagePage, measure
from tee_sim.abi.sgx import KEYREQUEST, REPORT, TARGETINFO, TCS, Attributes, PageType
from tee_sim.errors import EnclaveLost
from tee_sim.hypervisor.guest import ENCLAVE_BASE, RETURN_ADDRESS
from tee_sim.hypervisor.sgx import SGXGuest
from tee_sim.machine.cpu import LogicalProcessor, Stop
from tee_sim.machine.paging import ADDRESS_MASK, PRESENT
from tee_sim.machine.registers import FLAGS_INITIAL, RAX, RBX, RCX, RDX, REGISTER_NAMES, RFLAGS, RIP
from tee_sim.monitors.sgx.enclu import Leaf
from tee_sim.platform import Platform
from tee_sim.sdk.signing import signature
from tee_sim.units import PAGE

CODE, DATA, TCS_0, SSA_0, TCS_1, SSA_1 = 0x0, 0x4000, 0x8000, 0x9000, 0xC000, 0xD000
ELRANGE = 0x10000
CODE_GVA, DATA_GVA, TCS_GVA, SSA_GVA = (
    ENCLAVE_BASE + offset for offset in (CODE, DATA, TCS_0, SSA_0)
)
ONES = 2**64 - 1

NOP, SYSCALL, ENCLU, UD2, INT3, RET = (
    b"\x90",
    b"\x0f\x05",
    b"\x0f\x01\xd7",
    b"\x0f\x0b",
    b"\xcc",
    b"\xc3",
)
SPIN = b"\xeb\xfe"
CPUID, RDRAND_RAX = b"\x0f\xa2", b"\x48\x0f\xc7\xf0"
REP_MOVSB, REP_STOSB = b"\xf3\xa4", b"\xf3\xaa"


def mov(register: int, value: int) -> bytes:
    """``mov register, imm64``."""
    return bytes((0x48 | register >> 3, 0xB8 | register & 7)) + (value & ONES).to_bytes(8, "little")


def load(register: int, base: int, displacement: int = 0) -> bytes:
    """``mov register, [base + disp32]``, 64 bits; the base is neither RSP nor R12."""
    return _memory(0x8B, register, base, displacement)


def store(base: int, register: int, displacement: int = 0) -> bytes:
    """``mov [base + disp32], register``, 64 bits; the base is neither RSP nor R12."""
    return _memory(0x89, register, base, displacement)


def load_from(register: int, gva: int) -> bytes:
    """``mov register, gva; mov register, [register]``."""
    return mov(register, gva) + load(register, register)


def store_byte(base: int, value: int) -> bytes:
    """``mov byte [base], value``; the base is one of the first eight registers, not RSP or RBP."""
    return bytes((0xC6, base, value))


def add(register: int, value: int) -> bytes:
    """``add register, imm32``, 64 bits."""
    return bytes((0x48 | register >> 3, 0x81, 0xC0 | register & 7)) + value.to_bytes(4, "little")


def jump_to(gva: int, scratch: int = RAX) -> bytes:
    """``mov scratch, gva; jmp scratch``; scratch is one of the first eight registers."""
    return mov(scratch, gva) + bytes((0xFF, 0xE0 | scratch))


def leave(target: int = RETURN_ADDRESS) -> bytes:
    """ENCLU[EEXIT] to ``target``."""
    return mov(RAX, 4) + mov(RBX, target) + ENCLU


def _memory(opcode: int, register: int, base: int, displacement: int) -> bytes:
    assert base & 7 != 4, "RSP and R12 need a SIB byte"
    rex = 0x48 | register >> 3 << 2 | base >> 3
    modrm = 0x80 | (register & 7) << 3 | base & 7
    return bytes((rex, opcode, modrm)) + displacement.to_bytes(4, "little", signed=True)


def named(lp: LogicalProcessor) -> dict[str, int]:
    """The registers of a processor by name."""
    return dict(zip(REGISTER_NAMES, lp.registers(), strict=True))


class Process:
    """Code outside any TEE on logical processor 0, in an address space of its own."""

    def __init__(
        self,
        platform: Platform,
        code: bytes = b"",
        *,
        at: int = 0x10000,
        writable: bool = False,
        processor: int = 0,
    ) -> None:
        self.platform, self.at = platform, at
        self.machine = platform.machine
        self.lp = platform.machine.processor(processor)
        self.space = platform.host.new_address_space()
        for start in range(0, max(len(code), 1), PAGE):
            self.map(at + start, code[start : start + PAGE], writable=writable, executable=True)
        self.start()

    def start(self, **registers: int) -> None:
        """Put the processor at the first instruction, with the registers named and zeros."""
        values = [registers.get(name, 0) for name in REGISTER_NAMES]
        values[RIP] = registers.get("rip", self.at)
        values[RFLAGS] = registers.get("rflags", FLAGS_INITIAL)
        self.lp.switch(self.space.cr3)
        self.lp.flush_tlb()
        self.lp.set_registers(values)

    def map(
        self,
        gva: int,
        content: bytes = b"",
        *,
        writable: bool = True,
        executable: bool = False,
        hpa: int | None = None,
    ) -> int:
        """Map one page, fresh if no ``hpa`` is given, and fill it; its physical address."""
        if hpa is None:
            hpa = self.platform.host.frames.take()
            self.machine.write(hpa, content.ljust(PAGE, b"\0"))
        self.space.map(gva, hpa, writable=writable, executable=executable)
        return hpa

    def run(self, limit: int | None = None) -> Stop:
        """Continue."""
        return self.lp.run(limit)

    @property
    def registers(self) -> dict[str, int]:
        """By name."""
        return named(self.lp)


def image(
    code: bytes,
    *,
    data: bytes = b"",
    code_rights: str = "rx",
    data_rights: str = "rw",
    data_pages: int = 1,
    threads: int = 1,
    nssa: int = 2,
    ssaframesize: int = 1,
    measured: int = ALL_CHUNKS,
    tcs: Mapping[str, Any] | None = None,
    size: int = ELRANGE,
) -> Image:
    """An enclave of the layout drawn above; ``tcs`` changes fields of every TCS."""
    pages = [
        _page(CODE + start, code[start : start + PAGE], code_rights, measured)
        for start in range(0, max(len(code), 1), PAGE)
    ]
    pages += [
        _page(DATA + PAGE * index, data[PAGE * index : PAGE * (index + 1)], data_rights, measured)
        for index in range(data_pages)
    ]
    for offset, ossa in ((TCS_0, SSA_0), (TCS_1, SSA_1))[:threads]:
        fields = {"ossa": ossa, "nssa": nssa, "oentry": CODE, "ofsbase": DATA, "ogsbase": DATA}
        content = TCS(**fields | dict(tcs or {})).pack()
        pages.append(ImagePage(offset, PageType.TCS, False, False, False, content))
        pages += [_page(ossa + PAGE * n, b"", "rw") for n in range(nssa * ssaframesize)]
    return Image(size, ssaframesize, tuple(pages))


def _page(offset: int, content: bytes, rights: str, measured: int = ALL_CHUNKS) -> ImagePage:
    r, w, x = (right in rights for right in "rwx")
    return ImagePage(offset, PageType.REG, r, w, x, content.ljust(PAGE, b"\0"), measured)


def launch(
    platform: Platform,
    program: Image | bytes,
    *,
    debug: bool = False,
    attributes: Attributes | None = None,
    base: int = ENCLAVE_BASE,
    init: bool = True,
    identity: Identity = PLAIN,
    attacker: bool = False,
    **layout: Any,
) -> SGXGuest:
    """Load an image, or one made of code, as an enclave signed with a teaching key."""
    loaded = image(program, **layout) if isinstance(program, bytes) else program
    driver = platform.host.sgx
    assert driver is not None
    return SGXGuest(
        platform.host,
        driver,
        loaded,
        signature(measure(loaded), debug, attacker, identity) if init else None,
        attributes or identity.attributes(debug=debug),
        base,
        identity,
    )


ASK = (
    mov(RBX, DATA_GVA)
    + mov(RCX, DATA_GVA + 0x400)
    + mov(RDX, DATA_GVA + 0x800)
    + b"\x48\x89\xf8"  # mov rax, rdi
    + ENCLU
    + b"\x48\x89\xc7"  # mov rdi, rax
    + leave()
)
"""Executes one leaf of ENCLU, the number that the host names, on fixed places of the data page."""


class Asker:
    """An enclave that executes whatever leaf the host names, on whatever the host writes."""

    def __init__(
        self, platform: Platform, code: bytes = ASK, guest: SGXGuest | None = None, **how: Any
    ) -> None:
        self.platform = platform
        self.guest = guest or launch(platform, code, **how)
        self.sgx = self.guest.driver._sgx

    @property
    def data(self) -> memoryview:
        """The data page: first operand at 0, second at 0x400, third at 0x800."""
        return self.platform.machine.cache.view(self.guest.pages[DATA], write=True)

    def call(self, leaf: int, first: bytes, second: bytes = b"") -> int:
        """Execute a leaf; what stands in RAX afterwards.

        Raises:
            Fault: the leaf's, as the host sees it.
        """
        self.data[: len(first)] = first
        self.data[0x400 : 0x400 + len(second)] = second
        try:
            return self.guest.enter(0, leaf, 0)[0]
        except EnclaveLost as lost:
            raise lost.fault or lost from None

    def key(self, request: KEYREQUEST) -> bytes | int:
        """EGETKEY: the key, or the error code."""
        code = self.call(Leaf.EGETKEY, request.pack(), b"-" * 16)
        found = bytes(self.data[0x400:0x410])
        assert (code == 0) == (found != b"-" * 16), "a refusal writes nothing, and a success does"
        return code or found

    def report(self, target: TARGETINFO, said: bytes = bytes(64)) -> REPORT:
        """EREPORT."""
        self.call(Leaf.EREPORT, target.pack(), said)
        return REPORT.unpack(bytes(self.data[0x800 : 0x800 + REPORT.SIZE]))


def clear_present(guest: SGXGuest, gva: int) -> int:
    """Take a page out of the page table, without any flush; the entry as it was."""
    entry = guest.space.entry(gva)
    guest.space.set_entry(gva, entry & ~PRESENT)
    return entry


def plaintext_in_dram(platform: Platform, secret: bytes) -> list[int]:
    """Where a probe on the bus finds the secret."""
    return platform.adversary.bus.search(secret)


def page_of(entry: int) -> int:
    """The physical page that a page-table entry names."""
    return entry & ADDRESS_MASK
