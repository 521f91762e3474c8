"""Memory-encryption engines: what stands between the plaintext on the die and the DRAM bus.

::

      cache (plaintext, on the die)
        |  write_page: encrypt, store          read_page: fetch, decrypt, verify
        v                                        ^
      engine   none         nothing              |   sees everything, changes everything
               XTS          secrecy              |   sees *whether* a page changed, and can replay
               CounterTree  secrecy, integrity,  |   sees that something is written, and can only
                            freshness            |   destroy
        |                                        |
        v                                        |
      DRAM  <--- somebody with a probe on the bus reads and writes here, unseen

`XTS` is deterministic: the same data at the same address has the same ciphertext, today and
tomorrow, so an old ciphertext put back *is* the old data. `CounterTree` (`tee_sim.machine.tree`)
never encrypts twice alike, because a version number goes into every line, and it remembers on the
die which version is the latest.

The granule is one page. Nothing in this file or that one loads numpy until the tree is imported.
"""

from __future__ import annotations

from typing import Protocol

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tee_sim.checks import Check, Checks
from tee_sim.errors import BootError, UsageError
from tee_sim.machine.dram import DRAM
from tee_sim.machine.entropy import Entropy
from tee_sim.units import PAGE, is_aligned

_GUERON = "Gueron, A Memory Encryption Engine Suitable for General Purpose Processors, 2016"

MEM_ENCRYPTION = Check(
    "MEM.ENCRYPTION",
    "Protected memory leaves the processor only encrypted",
    "Reading a protected page with a probe on the memory bus, or from a DIMM pulled out cold.",
    f"Intel Architecture Memory Encryption Technologies Specification; {_GUERON}",
)
MEE_MAC = Check(
    "MEE.MAC",
    "This line is what the processor wrote here",
    "Changing ciphertext in DRAM, or moving it to another address: the line no longer fits the MAC "
    "that the engine made over ciphertext, address and version.",
    f"{_GUERON}, on the MAC",
)
MEE_TREE = Check(
    "MEE.TREE",
    "This is the latest version of the line",
    "Putting back an old line together with its old MAC and version (which would also make the "
    "engine use a keystream twice): each counter is authenticated by the one above it, and the "
    "topmost never leaves the die.",
    f"{_GUERON}, on the integrity tree",
)

BOOT_ALIAS = Check(
    "BOOT.ALIAS_CHECK",
    "No two addresses reach the same memory",
    "A memory module that claims to be larger than it is: the kernel reads and replays enclave "
    "memory through its second address.",
    "De Meulemeester et al., BadRAM, 2025, on Intel's Alias Checking Trusted Module; not compared "
    "with a text of Intel's",
)

XTS_CHECKS = (MEM_ENCRYPTION, BOOT_ALIAS)
"""What `XTS` enforces."""

TREE_CHECKS = (MEM_ENCRYPTION, MEE_MAC, MEE_TREE)
"""What `tee_sim.machine.tree.CounterTree` enforces."""


class Engine(Protocol):
    """Moves whole pages between the die (plaintext) and DRAM (whatever the engine stores)."""

    def read_page(self, hpa: int) -> bytes:
        """Fetch the page at ``hpa`` from DRAM, decrypt and verify it.

        Raises:
            MachineCheck: the page is not what this engine last wrote there.
            UsageError: ``hpa`` is not a page of this engine.
        """

    def write_page(self, hpa: int, plaintext: bytes | memoryview) -> None:
        """Encrypt one page and store it in DRAM at ``hpa``.

        Raises:
            MachineCheck: what the engine keeps in DRAM beside the page was changed.
            UsageError: ``hpa`` is not a page of this engine, or ``plaintext`` is not one page.
        """

    def reset(self) -> None:
        """Boot again: new keys, so that everything in DRAM is lost; no lock."""

    def metadata_ranges(self, hpa: int) -> list[tuple[str, int, int]]:
        """What else DRAM holds for the page at ``hpa``: (name, address, bytes) of each range."""


def require_page(hpa: int, plaintext: bytes | memoryview | None = None) -> None:
    """Raise UsageError unless ``hpa`` is page-aligned and ``plaintext``, if any, is one page."""
    if not is_aligned(hpa):
        raise UsageError(f"{hpa:#x} is not the start of a page; an engine moves whole pages")
    if plaintext is not None and len(plaintext) != PAGE:
        raise UsageError(f"{len(plaintext)} bytes are not a page; an engine moves {PAGE} bytes")


def find_alias(dram: DRAM) -> int:
    """A second address of the first 16 bytes of memory, or 0 if there is none.

    Found as firmware finds it: by writing in one place and looking in the other.

    Simplified: looks only where address bits that do not exist put an alias of the first bytes.
    """
    other = dram.claimed // 2
    while other >= PAGE:
        first, kept = dram.read(0, 16), dram.read(other, 16)
        dram.write(other, bytes(byte ^ 0xFF for byte in kept))
        changed = dram.read(0, 16) != first
        dram.write(other, kept)
        if changed:
            return other
        other //= 2
    return 0


class XTS:
    """AES-XTS with one key for all memory and the physical address as tweak: server SGX, TME.

    What it gives: the bus sees no plaintext, and ciphertext moved to another address decrypts to
    garbage. What it does not give: a page that is written twice alike shows the same ciphertext
    (in each 16-byte block), a changed block decrypts to garbage that nobody notices, and an old
    ciphertext put back is accepted. It never refuses anything.

    A page that was never written decrypts to garbage, as after a boot on real hardware.

    Args:
        dram: where the ciphertext goes.
        checks: whether MEM.ENCRYPTION is in force; without it DRAM holds plaintext.
        entropy: where the key comes from, afresh at every boot.

    Source: Intel Architecture Memory Encryption Technologies Specification (AES-XTS, key from the
    on-die random number generator, all external memory: checked against summaries of it). IEEE
    1619 defines XTS. That server SGX relies on TME is from "Supporting Intel SGX on Multi-Socket
    Platforms" (unverified).

    Simplified: TME encrypts all external memory with its one key; here only the protected range is,
    and the host's own memory is plaintext on the bus. The data unit is a page, so the 16-byte
    blocks of a page share one tweak chain; real engines work on smaller units, and how they form
    the tweak is not public (unverified). AES-128 only; the specification also has AES-256.
    """

    def __init__(self, dram: DRAM, checks: Checks, entropy: Entropy) -> None:
        self._dram, self._checks, self._entropy = dram, checks, entropy
        self.reset()

    def read_page(self, hpa: int) -> bytes:
        """Fetch and decrypt the page at ``hpa``; whatever DRAM holds is accepted.

        Raises:
            UsageError: ``hpa`` is not the start of a page in memory.
        """
        require_page(hpa)
        stored = self._dram.read(hpa, PAGE)
        if not self._checks.on(MEM_ENCRYPTION):
            return stored
        return self._cipher(hpa).decryptor().update(stored)

    def write_page(self, hpa: int, plaintext: bytes | memoryview) -> None:
        """Encrypt one page and store it at ``hpa``.

        Raises:
            UsageError: ``hpa`` is not the start of a page in memory, or ``plaintext`` not a page.
        """
        require_page(hpa, plaintext)
        if self._checks.on(MEM_ENCRYPTION):
            plaintext = self._cipher(hpa).encryptor().update(plaintext)
        self._dram.write(hpa, bytes(plaintext))

    def metadata_ranges(self, hpa: int) -> list[tuple[str, int, int]]:
        """None: XTS stores nothing beside the ciphertext."""
        return []

    def reset(self) -> None:
        """Boot again: a new key, so that everything in DRAM turns to garbage.

        Raises:
            BootError: BOOT.ALIAS_CHECK found an alias.
        """
        self._aes = algorithms.AES(self._entropy.take(32, "TME key"))
        if (alias := find_alias(self._dram)) and self._checks.on(BOOT_ALIAS):
            error = BootError(f"the server does not start: {alias:#x} is the same memory as 0x0")
            raise self._checks.refuse(BOOT_ALIAS, error)

    def _cipher(self, hpa: int) -> Cipher[modes.XTS]:
        return Cipher(self._aes, modes.XTS(hpa.to_bytes(16, "little")))
