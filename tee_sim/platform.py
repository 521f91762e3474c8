"""The front door: one server with a chosen TEE, and everything outside the TEE in your hands.

    host = Platform("sgx-tme")
    vault = host.create_enclave("vault")
    digest = vault.make_secret("1234")
    host.adversary.read(vault.physical("vault_secret"), 32)      # all ones

`Platform` wires a machine, a monitor and a hypervisor together; each stays usable on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tee_sim.abi.elf import MAGIC
from tee_sim.abi.image import PLAIN, Identity, Image, measure
from tee_sim.abi.sgx import Attributes, MiscSelect
from tee_sim.abi.sgx_sign import SIGSTRUCT
from tee_sim.abi.sgxs import read_sgxs
from tee_sim.abi.signed import read_signed
from tee_sim.checks import PATCH_LEVEL, Checks
from tee_sim.errors import UsageError
from tee_sim.html import table
from tee_sim.hypervisor.guest import Guest
from tee_sim.hypervisor.honest import Host, Launch
from tee_sim.hypervisor.lane import Lane
from tee_sim.hypervisor.malicious import Adversary
from tee_sim.hypervisor.plain import Unprotected
from tee_sim.hypervisor.sgx import SGXDriver, SGXGuest, production
from tee_sim.hypervisor.vbs import VBSDriver
from tee_sim.machine.cpu import DEFAULT_BUDGET
from tee_sim.machine.dram import DRAM
from tee_sim.machine.encryption import XTS, Engine
from tee_sim.machine.entropy import Entropy
from tee_sim.machine.machine import Machine, Monitor
from tee_sim.machine.voltage import Voltage
from tee_sim.monitors.sgx.processor import LAUNCH_CONTROL, LOCKED, SGX, SGX_ENABLE, cpusvn
from tee_sim.monitors.vbs.enclave import ImageSignature
from tee_sim.monitors.vbs.hypervisor import HyperV
from tee_sim.monitors.vbs.secure_kernel import SecureKernel, boot_components, own_memory
from tee_sim.sdk import guards
from tee_sim.sdk.host import COMMAND_EXCEPTION, EXIT_RESUME, Callback, Enclave
from tee_sim.sdk.image import Program, load_program
from tee_sim.sdk.signing import image_signature, signature
from tee_sim.tees import TEES
from tee_sim.trace import Event, Recorder
from tee_sim.units import MIB, PAGE, align_up

MEMORY, EPC_SIZE = 256 * MIB, 96 * MIB


class DeployedEnclave(Enclave):
    """A program running on a `Platform`: its ecalls are methods of this object.

    Attributes:
        program: what was built: symbols, layout, interface.
        guest: how the host runs it: page tables, interruptions.
        mrenclave: its measurement, 32 bytes; None on a platform that does not measure.
        mrsigner: whose key signed it, 32 bytes; None likewise.
    """

    def __init__(self, program: Program, guest: Guest, ocalls: Mapping[str, Callback] | None):
        self.program, self.guest = program, guest
        guest.exception_call = COMMAND_EXCEPTION, EXIT_RESUME
        super().__init__(program.interface, guest, name=program.name, ocalls=ocalls)

    @property
    def lost(self) -> str | None:
        """Why the enclave cannot be called any more, or None while it can."""
        return super().lost or (str(self.guest.lost) if self.guest.lost else None)

    @property
    def mrenclave(self) -> bytes | None:
        """The measurement that the processor made while it was loaded."""
        return self.guest.mrenclave if isinstance(self.guest, SGXGuest) else None

    @property
    def mrsigner(self) -> bytes | None:
        """SHA-256 of the public key that signed it, 32 bytes; None as for `mrenclave`."""
        return self.guest.enclave.secs.mrsigner if isinstance(self.guest, SGXGuest) else None

    def on_thread(self, thread: int, quantum: int = 100) -> Enclave:
        """The same enclave, called by another of its threads, on a logical processor of its own.

        With `tee_sim.hypervisor.guest.interleave`, such calls run at the same time:
        ``interleave(one.count.steps(1000), two.count.steps(1000))``.

        Args:
            thread: its number; thread n runs on logical processor n.
            quantum: instructions until the next processor's turn.
        """
        lane = Lane(self.guest, thread, quantum)
        name = f"{self.name}, thread {thread}"
        also: Any = {"ocalls": self._callbacks, "services": self.services}
        return Enclave(self.interface, lane, name=name, thread=thread, **also)

    def address(self, symbol: str) -> int:
        """Linear address of a global symbol of the program (public: the image is)."""
        if symbol not in self.program.symbols:
            known = ", ".join(sorted(self.program.symbols))
            raise UsageError(f"{self.name} has no symbol '{symbol}'; it has {known}")
        return self.guest.base + self.program.symbols[symbol]

    def physical(self, symbol: str) -> int:
        """Physical address of a global symbol, by the host's page tables."""
        found = self.guest.space.translate(self.address(symbol))
        if found is None:
            raise UsageError(f"'{symbol}' is not mapped at the moment")
        return found

    def _repr_html_(self) -> str:
        rows: list[tuple[str, object]] = [
            ("ecalls", ", ".join(function.name for function in self.interface.trusted)),
            ("linear address", self.guest.base),
            ("MRENCLAVE", self.mrenclave or "none: only SGX has one"),
            ("state", self.lost or "alive"),
        ]
        return table(f"Enclave {self.name}", rows)

    def close(self) -> None:
        """Remove the enclave and give its memory back."""
        self.guest.close()


class Platform:
    """One simulated server.

    Args:
        tee: ``"none"``, ``"vbs"``, ``"sgx-mee"`` or ``"sgx-tme"``; see `TEES`.
        seed: makes keys, RDRAND and so every run reproducible; None for real entropy.
        without: names of checks to build the server without.
        memory: bytes of physical memory.
        epc: bytes of it that are enclave page cache (SGX).
        processors: how many logical processors.
        cache_pages: pages of protected memory that fit on the die in plaintext.
        budget: instructions that one uninterrupted run of a guest may take.
        trace: record every event in ``events``, TLB fills included; slower.
        patch_level: 0 for the server as it was sold, 1 with all updates. It is part of CPUSVN,
            and so of every key and report; checks that an update brought are missing before it.
        launch_control: whether the firmware lets the host name the launch authority (flexible
            launch control); otherwise the vendor of the processor is it.

    Attributes:
        machine: the hardware.
        host: its kernel.
        adversary: the same kernel, gone bad, with a probe on the memory bus.
        checks: which named checks are in force.
        monitor: the TEE as its vendor knows it, fuses included; no software sees it like this.

    Raises:
        UsageError: no such TEE or check, or a size is impossible.
    """

    def __init__(
        self,
        tee: str = "sgx-tme",
        *,
        seed: int | None = 0,
        without: Collection[str] = (),
        memory: int = MEMORY,
        epc: int = EPC_SIZE,
        processors: int = 4,
        cache_pages: int = 16384,
        budget: int = DEFAULT_BUDGET,
        trace: bool = False,
        patch_level: int = PATCH_LEVEL,
        launch_control: bool = True,
    ) -> None:
        if tee not in TEES:
            raise UsageError(f"no platform '{tee}'; there are {', '.join(TEES)}")
        if isinstance(without, str):
            raise UsageError(f"'without' is a set of names: without={{{without!r}}}")
        _require_sizes(epc=epc, processors=processors, budget=budget, patch_level=patch_level)
        if patch_level > PATCH_LEVEL:
            raise UsageError(f"Platform(patch_level={patch_level}): the newest is {PATCH_LEVEL}")
        self.tee = TEES[tee]
        self.recorder = Recorder() if trace else None
        self.patch_level, self.launch_control = patch_level, launch_control
        self.checks = Checks(self.tee.checks, without, self.recorder, patch_level)
        entropy, dram = Entropy(seed), DRAM(memory)
        ordinary, monitor = self._monitor(dram, entropy, epc)
        self.monitor = monitor
        self.machine = Machine(
            dram,
            monitor,
            self.checks,
            entropy,
            processors=processors,
            cache_pages=cache_pages,
            budget=budget,
            # No attack on a server processor's voltage is published; that it has no such register
            # is unverified.
            voltage=Voltage(self.checks, entropy) if tee in ("none", "sgx-mee") else None,
        )
        self.host = Host(self.machine, ordinary)
        if isinstance(monitor, SGX):
            monitor.machine = self.machine
            self.host.sgx = SGXDriver(monitor)
        elif isinstance(monitor, HyperV):
            monitor.machine = self.machine
            self.host.vbs = VBSDriver(self._secure_kernel(monitor, entropy))
        self.adversary = Adversary(self.host)

    def _monitor(self, dram: DRAM, entropy: Entropy, epc: int) -> tuple[range, Monitor]:
        """The ordinary memory, and the TEE's rules for the rest."""
        if self.tee.name == "none":
            return range(PAGE, dram.size), Unprotected()
        if self.tee.name == "vbs":
            if dram.size < 16 * MIB:
                raise UsageError(f"{dram.size // MIB} MiB of memory is too small for VBS")
            return range(PAGE, own_memory(dram.size).start), HyperV(dram.size, self.checks)
        metadata = 0
        if self.tee.name == "sgx-mee":
            from tee_sim.machine.tree import CounterTree

            metadata = align_up(CounterTree.metadata_size(epc))
        start = dram.size - align_up(epc) - metadata
        if start < 16 * MIB:
            raise UsageError(f"{dram.size // MIB} MiB of memory is too small for this EPC")
        frames = range(start, start + align_up(epc))
        engine: Engine
        if metadata:
            engine = CounterTree(
                dram, self.checks, entropy, protected=frames, metadata_hpa=frames.stop
            )
        else:
            engine = XTS(dram, self.checks, entropy)
        feature_control = LOCKED | SGX_ENABLE | (LAUNCH_CONTROL if self.launch_control else 0)
        return range(PAGE, start), SGX(
            frames,
            range(start, dram.size),
            engine,
            self.checks,
            entropy,
            cpusvn(self.patch_level),
            feature_control,
        )

    def _secure_kernel(self, hypervisor: HyperV, entropy: Entropy) -> SecureKernel:
        """Boot the secure kernel in the highest part of memory."""
        own = own_memory(self.machine.dram.size)
        started = boot_components(1 + self.patch_level, self.checks.without)
        kernel = SecureKernel(hypervisor, own, entropy, started)
        kernel.boot()
        return kernel

    @property
    def events(self) -> list[Event]:
        """What happened so far, oldest first; needs ``trace=True``."""
        if self.recorder is None:
            raise UsageError("build the Platform with trace=True to record events")
        return self.recorder.events

    def create_enclave(
        self,
        program: str | Path | Program,
        *,
        debug: bool = False,
        ocalls: Mapping[str, Callable[..., Any]] | None = None,
        identity: Identity | None = None,
        caller: str = "customer",
        owner_id: bytes = bytes(32),
    ) -> DeployedEnclave:
        """Build, sign, load, measure and initialise a program.

        The author's part (build and sign, with the published teaching key) and the host's part
        (load) both happen here; `Host.launch` is the host's part alone.

        Args:
            program: the name of an example, a directory with a program, or a built one.
            debug: ask for, and sign for, a debug enclave.
            ocalls: callbacks for the functions that the program calls outside.
            identity: product number, security version and the like; None for what the program says.
            caller: the user who asks; the kernel grants not everybody everything.
            owner_id: whom the enclave belongs to, 32 bytes (VBS).

        Raises:
            BuildError: the program does not compile.
            SGXError, VBSError, Fault: the processor or the secure kernel refused it.
            PermissionRefused: the kernel did.
            UsageError: no such program, or not enough memory.
        """
        if not isinstance(program, Program):
            program = self.build(program)
        identity = identity or program.identity
        misc = MiscSelect(exinfo=program.exinfo)
        identity = replace(identity, miscselect=misc, aex_notify=program.aex_notify)
        launch = Launch(
            program.name,
            program.image,
            self.sign(program.image, identity, debug=debug),
            identity.attributes(debug=debug),
            identity,
            caller=caller,
            owner_id=owner_id,
        )
        return DeployedEnclave(program, self.host.launch(launch), ocalls)

    def build(self, program: str | Path) -> Program:
        """A program as its author builds it for this kind of server.

        With AEX-Notify, if it asks for that and the processor has it: the author measures and signs
        both forms. With every guard of `tee_sim.sdk.guards` that is not switched off.
        """
        sgx = self.host.sgx
        return load_program(
            program,
            self.tee.target,
            guarded=guards.built_in(self.checks),
            aex_notify=sgx is not None and sgx.aex_notify,
        )

    def load(
        self, image: Image | bytes, sigstruct: SIGSTRUCT | None = None, *, debug: bool = False
    ) -> Guest:
        """Load an enclave that was not built here: no EDL, entered with `Guest.enter`.

        Args:
            image: its pages, an SGXS stream, or a file that Intel's SGX SDK signed.
            sigstruct: its author's signature; None takes the one in the file, and where there is
                none signs it with the teaching key.
            debug: ask for a debug enclave.

        Raises:
            LayoutError: the bytes are neither.
            SGXError, Fault: the processor refused it.
        """
        attributes, identity = production(debug=debug), PLAIN
        if isinstance(image, bytes) and image.startswith(MAGIC):
            file = read_signed(image)
            image, sigstruct = file.image, sigstruct or file.sigstruct
            # As Intel's loader: what the file wants and the processor has.
            wanted = file.metadata.attributes
            attributes = Attributes(
                flags=wanted.flags.with_(debug=debug), xfrm=wanted.xfrm & attributes.xfrm
            )
            identity = Identity(miscselect=sigstruct.miscselect)
        elif isinstance(image, bytes):
            image = read_sgxs(image)
        signed = sigstruct or self.sign(image, PLAIN, debug=debug)
        return self.host.launch(Launch("image", image, signed, attributes, identity))

    def measurement(self, image: Image) -> bytes:
        """MRENCLAVE that this kind of processor gives the image: what its author signs.

        With every MEASURE check on that is `abi.image.measure`; otherwise the author measures on
        the same weakened processor.
        """
        weak = self.host.sgx is not None and any("MEASURE" in name for name in self.checks.without)
        if not weak:
            return measure(image)
        assert self.host.sgx is not None, "only SGX has MEASURE checks"
        # Not by `Host.launch`: the author measures at home, where no adversary changes anything.
        trial = SGXGuest(self.host, self.host.sgx, image, None)
        try:
            return trial.mrenclave
        finally:
            trial.close()

    def sign(
        self, image: Image, identity: Identity, *, debug: bool = False, attacker: bool = False
    ) -> SIGSTRUCT | ImageSignature | None:
        """The signature of the image's author, or of the attacker; None where there is none."""
        if self.tee.target == "vbs":
            return image_signature(image, identity, debug, attacker)
        if self.tee.target == "none":
            return None
        return signature(self.measurement(image), debug, attacker, identity)

    def sign_as_host(self, program: Program) -> SIGSTRUCT | ImageSignature | None:
        """What a malicious host does with a program of its own: sign it with its own key."""
        return self.sign(program.image, program.identity, attacker=True)

    def _repr_html_(self) -> str:
        rows: list[tuple[str, object]] = [
            ("TEE", self.tee.title),
            ("memory", self.tee.memory),
            ("patch level", str(self.patch_level)),
            ("named checks", str(len(self.tee.checks))),
            ("switched off", ", ".join(sorted(self.checks.without)) or "none"),
        ]
        return table(f"Platform {self.tee.name}", rows)

    def __repr__(self) -> str:
        without = f", without={sorted(self.checks.without)}" if self.checks.without else ""
        return f"<Platform {self.tee.name}: {self.tee.title}{without}>"


LEAST = {"epc": PAGE, "processors": 1, "budget": 1, "patch_level": 0}
"""Smallest numbers that a platform can be built with."""


def _require_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if not isinstance(size, int) or size < LEAST[name]:
            raise UsageError(f"Platform({name}={size!r}): the least is {LEAST[name]}")
