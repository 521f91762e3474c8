"""An enclave as the secure kernel keeps it, and the signature that an image comes with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from tee_sim.abi.sgx import TCS
from tee_sim.abi.vbs_image import CreateInfo, EnclaveConfig
from tee_sim.errors import Fault
from tee_sim.machine.memory import AddressSpace


@dataclass(frozen=True)
class ImageSignature:
    """What an author signs: the hash of the image, and what he says about it.

    Attributes:
        config: the image's own configuration.
        unique_id: hash of the image, 32 bytes.
        author_key: the author's RSA public key, DER.
        signature: RSA (PKCS #1 v1.5, SHA-256) over both.

    Simplified: no certificates. On Windows they lead to an authority that lets its key sign
    enclaves, to everybody with an account; here every key counts as certified.
    """

    config: EnclaveConfig
    unique_id: bytes
    author_key: bytes
    signature: bytes

    @property
    def author_id(self) -> bytes:
        """Who signed: SHA-256 of the public key, 32 bytes (how Windows hashes is unverified)."""
        return hashlib.sha256(self.author_key).digest()

    def holds(self) -> bool:
        """Whether the author's key made the signature."""
        try:
            key = load_der_public_key(self.author_key)
            assert isinstance(key, RSAPublicKey)
            signed = self.config.pack() + self.unique_id
            key.verify(self.signature, signed, PKCS1v15(), SHA256())
        except (AssertionError, InvalidSignature, ValueError):
            return False
        return True


NO_SIGNATURE = ImageSignature(EnclaveConfig(), bytes(32), b"", b"")


def sign_image(config: EnclaveConfig, unique_id: bytes, key: RSAPrivateKey) -> ImageSignature:
    """Sign an image as its author."""
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signature = key.sign(config.pack() + unique_id, PKCS1v15(), SHA256())
    return ImageSignature(config, unique_id, public, signature)


class State(Enum):
    """The life of an enclave, in order."""

    CREATED = "created"
    LOADED = "loaded"
    INITIALIZED = "initialised"
    TERMINATED = "terminated"
    DELETED = "deleted"


@dataclass(frozen=True)
class Thread:
    """Where a thread of the enclave starts, and where its context is kept while it is out.

    Attributes:
        entry, fs, gs: linear addresses.
        context_hpa: a page of the secure kernel.
    """

    entry: int
    fs: int
    gs: int
    context_hpa: int


@dataclass(eq=False)
class Enclave:
    """One enclave. Only VTL1 has it; VTL0 holds it as a handle.

    Attributes:
        base, size: its range of linear addresses, in bytes.
        create: what its creator said.
        space: its page tables, in the secure kernel's memory.
        process: the page tables of the VTL0 process that it is in, in VTL0's memory.
        provide: asks VTL0 for the page of its process at a linear address; whether it is there.
        state: how far it has come.
        signature: of its image; `NO_SIGNATURE` before that is loaded.
        name: of its image.
        strict: it does not touch the memory of its process.
        control: the control pages of its image, which say where threads start.
        threads: what InitializeEnclave made.
        pages: the pages that VTL0 gave: offset -> physical address.
        mirrored: pages of the process that it can use now: linear address -> page-table entry.
        inside: index of a logical processor -> number of the thread that runs there.
        waiting: the same for interrupted threads, with the slot of their context.
        events: what interrupted the thread on a logical processor last; None for a timer.
        handling: index of a logical processor -> number of the thread that handles an exception.
    """

    base: int
    size: int
    create: CreateInfo
    space: AddressSpace
    process: AddressSpace
    provide: Callable[[int], bool]
    state: State = State.CREATED
    signature: ImageSignature = NO_SIGNATURE
    name: str = ""
    strict: bool = False
    control: tuple[TCS, ...] = ()
    threads: list[Thread] = field(default_factory=list)
    pages: dict[int, int] = field(default_factory=dict)
    mirrored: dict[int, int] = field(default_factory=dict)
    inside: dict[int, int] = field(default_factory=dict)
    waiting: dict[int, tuple[int, int]] = field(default_factory=dict)
    events: dict[int, Fault | None] = field(default_factory=dict)
    handling: dict[int, int] = field(default_factory=dict)

    def __contains__(self, gva: int) -> bool:
        return self.base <= gva < self.base + self.size

    def encloses(self, gva: int, size: int) -> bool:
        """Whether a range of ``size`` bytes lies in the enclave as a whole."""
        return gva in self and size <= self.base + self.size - gva

    def excludes(self, gva: int, size: int) -> bool:
        """Whether it lies outside as a whole, without passing the end of the address space."""
        end = gva + size
        return end < 1 << 64 and (end <= self.base or gva >= self.base + self.size)

    @property
    def debug(self) -> bool:
        """Whether a debugger may look in: author and creator both have to say so."""
        policy = self.signature.config.policy_flags
        return policy.debuggable and self.create.flags.debug
