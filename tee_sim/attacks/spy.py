"""An enclave of the host's own that takes over a page of the EPC and then reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee_sim.abi.sgx import PageType, SecinfoFlags
from tee_sim.hypervisor.honest import Launch
from tee_sim.hypervisor.sgx import SGXGuest
from tee_sim.sdk.host import Enclave
from tee_sim.sdk.image import load_program
from tee_sim.sdk.signing import signature
from tee_sim.units import PAGE

if TYPE_CHECKING:
    from tee_sim.platform import Platform


class Spy:
    """The program `careless`, with one page more than its author gave it.

    Args:
        host: an SGX platform.

    Attributes:
        page: physical address of the page that was taken over; 0 if none was yet.
    """

    def __init__(self, host: Platform) -> None:
        assert host.adversary.sgx is not None, "an SGX attack"
        self.sgx, self.page = host.adversary.sgx, 0
        program = load_program("careless", host.tee.target)
        guest = host.host.launch(Launch("spy", program.image, None))
        assert isinstance(guest, SGXGuest)
        self.guest = guest
        self.enclave = Enclave(program.interface, guest, name="spy")
        self.place = guest.base + max(p.offset for p in program.image.pages) + PAGE

    def adopt(self, page: int) -> None:
        """EADD the free page, empty, and finish the enclave."""
        self.page = page
        flags = SecinfoFlags(r=True, w=True, page_type=PageType.REG)
        self.sgx.eadd(page, self.guest.secs_hpa, self.place, flags, bytes(PAGE))
        self.guest.space.map(self.place, page)
        self.finish()

    def finish(self) -> None:
        """EINIT, signed by the host."""
        self.sgx.einit(self.guest.secs_hpa, signature(self.guest.mrenclave, attacker=True))

    def read(self) -> bytes:
        """The first 32 bytes of the page, as code inside reads them."""
        words = [self.enclave.peek(self.place + at) for at in range(0, 32, 8)]
        return b"".join(word.to_bytes(8, "little") for word in words)
