"""What any host has to do to run guests: hand out memory, build address spaces, launch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tee_sim.abi.image import Image
from tee_sim.abi.sgx import Attributes, MiscSelect
from tee_sim.abi.sgx_sign import SIGSTRUCT
from tee_sim.hypervisor.guest import Guest
from tee_sim.hypervisor.memory import AddressSpace, FrameAllocator
from tee_sim.hypervisor.plain import PlainGuest
from tee_sim.hypervisor.sgx import SGXDriver, SGXGuest
from tee_sim.machine.machine import Machine


@dataclass(frozen=True)
class Launch:
    """What a customer hands to the host: an image, its author's signature, and SECS fields."""

    name: str
    image: Image
    sigstruct: SIGSTRUCT | None
    attributes: Attributes | None = None
    miscselect: MiscSelect | None = None


class Host:
    """The kernel of one server.

    Args:
        machine: the hardware.
        frames: ordinary physical memory that it may hand out.
        sgx: its SGX driver; None on a machine without SGX.

    Attributes:
        on_launch: called with each `Launch` before it is carried out; what they return is
            launched instead. An honest host has none.
    """

    def __init__(self, machine: Machine, frames: range, sgx: SGXDriver | None) -> None:
        self.machine, self.sgx = machine, sgx
        self.frames = FrameAllocator(frames, "ordinary memory")
        self.on_launch: list[Callable[[Launch], Launch]] = []

    def new_address_space(self) -> AddressSpace:
        """Empty page tables."""
        return AddressSpace(self.machine, self.frames)

    def launch(self, launch: Launch) -> Guest:
        """Load a program, as an enclave where the machine has a TEE.

        Raises:
            SGXError, Fault: the processor refused a step; nothing is left behind.
        """
        for change in self.on_launch:
            launch = change(launch)
        if self.sgx is None:
            return PlainGuest(self, launch.image)
        return SGXGuest(
            self,
            self.sgx,
            launch.image,
            launch.sigstruct,
            launch.attributes,
            miscselect=launch.miscselect,
        )
