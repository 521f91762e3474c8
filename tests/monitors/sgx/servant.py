"""An enclave that does what it is told: reads, writes, and executes any ENCLU leaf.

The kernel's SGX self-tests have such an enclave, and so need ours. Its caller names the routine by
its address, in RDI; there is nothing in it that would be worth protecting.
"""

from typing import Any

from assembly import (
    CODE_GVA,
    DATA_GVA,
    ENCLU,
    image,
    launch,
    leave,
    load,
    mov,
    store,
)
from tee_sim import Platform
from tee_sim.abi.image import Image
from tee_sim.abi.sgx import PageType, SecinfoFlags
from tee_sim.errors import Fault
from tee_sim.hypervisor.calls import interleave
from tee_sim.hypervisor.guest import ENCLAVE_BASE, Guest
from tee_sim.hypervisor.sgx import SGXGuest
from tee_sim.machine.cpu import LogicalProcessor
from tee_sim.machine.registers import RDI, RDX, RSI
from tee_sim.monitors.sgx.enclu import Leaf
from tee_sim.units import MIB, PAGE

JMP_RDI = b"\xff\xe7"
MOV_RBX_R12, MOV_RCX_RSI, MOV_RAX_R10, MOV_RDX_R11, MOV_RDI_RAX = (
    bytes.fromhex(code) for code in ("4c89e3", "4889f1", "4c89d0", "4c89da", "4889c7")
)
SLOT = 64
SECINFO_GVA = DATA_GVA
PAGE_GVA = DATA_GVA + PAGE
"""A page of data, there from the start, that nothing else needs."""

FREE_GVA = ENCLAVE_BASE + 0x6000
"""Nothing is loaded here, nor on the page behind it."""

PUT, GET, DO, STORM = (CODE_GVA + SLOT * number for number in (1, 2, 3, 5))
"""The routines: write RDX to [RSI]; read [RSI]; execute leaf R10 with RBX = R12, RCX = RSI and
RDX = R11; overwrite every register that a caller may want back, and read [RSI]."""

CALLEE_SAVED = {"rbp": 5, "r12": 12, "r13": 13, "r14": 14, "r15": 15}


def code() -> bytes:
    """The routines, each in its slots."""
    do = MOV_RBX_R12 + MOV_RCX_RSI + MOV_RAX_R10 + MOV_RDX_R11
    routines = {
        CODE_GVA: JMP_RDI,
        PUT: store(RSI, RDX) + leave(),
        GET: load(RDI, RSI) + leave(),
        DO: do + ENCLU + MOV_RDI_RAX + leave(),
        STORM: b"".join(mov(number, -1) for number in CALLEE_SAVED.values()) + load(RDI, RSI),
    }
    placed = b""
    for start, routine in routines.items():
        placed = placed.ljust(start - CODE_GVA, b"\x90") + routine
    return placed + leave()


def flags(rights: str = "", kind: PageType = PageType.REG, **state: bool) -> SecinfoFlags:
    """SECINFO.FLAGS: rights as in "rw", and pending, modified or pr."""
    named = {right: right in rights for right in "rwx"}
    return SecinfoFlags(page_type=kind, **named, **state)


NEW = flags("rw", pending=True)
TRIMMED = flags(kind=PageType.TRIM, modified=True)
NEW_TCS = flags(kind=PageType.TCS, modified=True)


class Servant:
    """The enclave on a platform of its own, and what happened to it.

    Attributes:
        faults: (vector, error code, address) of each exception that the host saw.
    """

    def __init__(self, platform: Platform | None = None, **layout: Any) -> None:
        self.platform = platform or Platform("sgx-tme", memory=20 * MIB, epc=MIB)
        self.guest: SGXGuest = launch(self.platform, self.image(**layout))
        self.driver = self.guest.driver
        self.faults: list[tuple[int, int, int]] = []
        self.guest.handlers.append(self._note)

    @staticmethod
    def image(**layout: Any) -> Image:
        return image(code(), **{"data_pages": 2, "threads": 2} | layout)

    def _note(self, _guest: Guest, _lp: LogicalProcessor, event: Fault | None) -> bool:
        if event is not None:
            self.faults.append((event.vector, event.error_code, getattr(event, "address", 0)))
        return event is None

    def _call(self, thread: int, routine: int, gva: int, **registers: int) -> int:
        """Each thread has a processor of its own: another one may wait to be resumed."""
        steps = self.guest.steps(thread, routine, gva, registers=registers, processor=thread)
        return interleave(steps)[0][0]

    def put(self, gva: int, value: int, thread: int = 0) -> None:
        self._call(thread, PUT, gva, rdx=value)

    def get(self, gva: int, thread: int = 0) -> int:
        return self._call(thread, GET, gva)

    def leaf(self, leaf: Leaf, gva: int, source: int, at: int, thread: int = 0) -> int:
        """Execute a leaf; what it leaves in RAX."""
        return self._call(thread, DO, gva, r10=leaf, r11=source, r12=at)

    def do(self, leaf: Leaf, gva: int, secinfo: int, *, source: int = 0, thread: int = 0) -> int:
        """Execute a leaf with SECINFO.FLAGS ``secinfo``; what it leaves in RAX."""
        self.put(SECINFO_GVA, int(secinfo), thread)
        return self.leaf(leaf, gva, source, SECINFO_GVA, thread)

    def accept(self, gva: int, secinfo: SecinfoFlags, thread: int = 0) -> int:
        return self.do(Leaf.EACCEPT, gva, secinfo, thread=thread)

    def hpa(self, gva: int) -> int:
        """Where the enclave's page lies."""
        return self.guest.pages[gva - ENCLAVE_BASE]

    def entry(self, gva: int) -> Any:
        """Its EPCM entry; the real one, for the judge."""
        return self.driver._sgx.epcm[self.hpa(gva)]
