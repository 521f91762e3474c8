"""What any host has to do to run guests: hand out memory, build address spaces, launch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tee_sim.abi.image import PLAIN, Identity, Image
from tee_sim.abi.sgx import Attributes
from tee_sim.abi.sgx_sign import EINITTOKEN, SIGSTRUCT
from tee_sim.errors import PermissionRefused
from tee_sim.hypervisor.guest import Guest
from tee_sim.hypervisor.plain import PlainGuest
from tee_sim.hypervisor.sgx import SGXDriver, SGXGuest
from tee_sim.hypervisor.vbs import VBSDriver, VBSGuest
from tee_sim.machine.machine import Machine
from tee_sim.machine.memory import AddressSpace, FrameAllocator
from tee_sim.monitors.vbs.enclave import ImageSignature


@dataclass(frozen=True)
class Launch:
    """What a customer hands to the host.

    Attributes:
        name: of the program.
        image: its pages.
        sigstruct: its author's signature.
        attributes: ATTRIBUTES to create it with.
        identity: see `SGXGuest`.
        token: a launch enclave's permission, where the vendor controls launches.
        caller: the user who asks.
        owner_id: whom an enclave of VBS belongs to, 32 bytes.
    """

    name: str
    image: Image
    sigstruct: SIGSTRUCT | ImageSignature | None
    attributes: Attributes | None = None
    identity: Identity = PLAIN
    token: EINITTOKEN | None = None
    caller: str = "customer"
    owner_id: bytes = bytes(32)


class Quoting(Protocol):
    """A service of the host that turns reports of enclaves into quotes.

    Attributes:
        quote_size: bytes of each quote.
    """

    quote_size: int

    def get_target_info(self) -> bytes:
        """Whom a report has to be for: a TARGETINFO, 512 bytes."""
        ...

    def get_quote(self, report: bytes) -> bytes:
        """The quote for a REPORT of 432 bytes."""
        ...


class Host:
    """The kernel of one server.

    Args:
        machine: the hardware.
        frames: ordinary physical memory that it may hand out.
        sgx: its SGX driver; None on a machine without SGX.
        vbs: what it may ask of the secure kernel; None where there is none.

    Attributes:
        on_launch: called with each `Launch` before it is carried out; what they return is
            launched instead. An honest host has none.
        provisioners: who may launch enclaves that ask for the provisioning keys. Linux keeps them
            by the rights on ``/dev/sgx_provision``.
        quoting: its quoting service; None as long as nobody has installed one.
    """

    def __init__(
        self,
        machine: Machine,
        frames: range,
        sgx: SGXDriver | None = None,
        vbs: VBSDriver | None = None,
    ) -> None:
        self.machine, self.sgx, self.vbs = machine, sgx, vbs
        self.frames = FrameAllocator(frames, "ordinary memory")
        self.on_launch: list[Callable[[Launch], Launch]] = []
        self.provisioners = {"aesmd"}
        self.quoting: Quoting | None = None

    def new_address_space(self) -> AddressSpace:
        """Empty page tables."""
        return AddressSpace(self.machine, self.frames)

    def launch(self, launch: Launch) -> Guest:
        """Load a program, as an enclave where the machine has a TEE.

        Raises:
            SGXError, Fault: the processor refused a step; nothing is left behind.
            PermissionRefused: the caller may not launch this.
        """
        for change in self.on_launch:
            launch = change(launch)
        if self.vbs is not None:
            return VBSGuest(self, self.vbs, launch)
        if self.sgx is None:
            return PlainGuest(self, launch.image)
        provisions = launch.attributes is not None and launch.attributes.flags.provisionkey
        if provisions and launch.caller not in self.provisioners:
            raise PermissionRefused(
                f"{launch.caller} may not launch an enclave with PROVISIONKEY: ask the "
                "administrator for a place in host.provisioners"
            )
        return SGXGuest(
            self,
            self.sgx,
            launch.image,
            launch.sigstruct if isinstance(launch.sigstruct, SIGSTRUCT) else None,
            launch.attributes,
            identity=launch.identity,
            token=launch.token,
        )
