"""An EPC page outside the EPC: how EWB encrypts it, and what ELDU compares when it comes back.

::

    in the EPC                               outside, in the host's hands
    page  --- AES-GCM, paging key -------->  ciphertext, 4096 bytes    (PAGEINFO.SRCPGE)
    EPCM  --- header, authenticated ------>  rights, type, MAC         (PCMD), address (LINADDR)
    version ------------ stays: 8 bytes in a version-array page

The version is what a page outside lacks: nobody but the processor knows which eviction of a page is
the latest. It never leaves the EPC, unless its version-array page is itself evicted, under a
version in another one.

Source: Intel SDM Vol. 3D, the pages of EWB and ELDU in "SGX Instruction References"; "Paging Crypto
MetaData (PCMD)", "Version Array (VA)".
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tee_sim.abi.sgx import SECS
from tee_sim.checks import Checks
from tee_sim.errors import GeneralProtection, LayoutError
from tee_sim.machine.entropy import Entropy
from tee_sim.monitors.sgx import checks as rules
from tee_sim.monitors.sgx.enclave import Enclave
from tee_sim.units import PAGE

if TYPE_CHECKING:
    from hashlib import _Hash

_HEADER = struct.Struct("<QQQ104x")
_HIDDEN = struct.Struct("<QQQ16s16s")
_HIDDEN_AT = PAGE - _HIDDEN.size


def mac_header(eid: int, linaddr: int, flags: int) -> bytes:
    """The 128 bytes that are authenticated with a page.

    They hold EID, LINADDR and SECINFO; the order of the three is unverified.
    """
    return _HEADER.pack(eid, linaddr, flags)


class Paging:
    """AES-128-GCM under the paging key (CR_BASE_PK), and the version counter; new at each boot.

    Simplified: versions count from 1 (how silicon chooses them is not published). The nonce is
    VER << 32 in 96 bits, as in the SDM's operation of EWB; its byte order is unverified. Where a
    SECS page keeps what no software ever sees (EID, the state of the measurement, ...) is not
    published either. hashlib gives nobody the state of an unfinished hash: before EINIT, the page
    carries a number under which the processor keeps the measurement as it was.
    """

    def __init__(self, checks: Checks, entropy: Entropy) -> None:
        self._checks, self._entropy = checks, entropy
        self.reset()

    def reset(self) -> None:
        """Boot again: nothing that was evicted before comes back."""
        self._key = self._entropy.take(16, "SGX paging key")
        self._gcm = AESGCM(self._key)
        self._version = 0
        self._measurements: list[_Hash] = []

    def next_version(self) -> int:
        """A version that no page had since the boot; never 0, which means a free slot."""
        self._version += 1
        return self._version

    def encrypt(self, version: int, header: bytes, page: bytes | memoryview) -> tuple[bytes, bytes]:
        """Ciphertext and MAC; without EWB.ENCRYPTION the page is authenticated as it is."""
        nonce = self._nonce(version)
        if not self._checks.on(rules.EWB_ENCRYPTION):
            return bytes(page), self._gcm.encrypt(nonce, b"", header + page)
        out = self._gcm.encrypt(nonce, page, header)
        return out[:PAGE], out[PAGE:]

    def decrypt(self, version: int, header: bytes, srcpge: bytes, mac: bytes) -> bytes | None:
        """The page, or None if the MAC is another; without ELD.MAC, whatever comes out."""
        nonce = self._nonce(version)
        encrypted = self._checks.on(rules.EWB_ENCRYPTION)
        try:
            if encrypted:
                return self._gcm.decrypt(nonce, srcpge + mac, header)
            self._gcm.decrypt(nonce, mac, header + srcpge)
        except InvalidTag:
            if self._checks.on(rules.ELD_MAC):
                return None
        if not encrypted:
            return srcpge
        # GCM encrypts in counter mode, and block 1 is the MAC's.
        counter = modes.CTR(nonce + (2).to_bytes(4, "big"))
        return Cipher(algorithms.AES(self._key), counter).decryptor().update(srcpge)

    def _nonce(self, version: int) -> bytes:
        if not self._checks.on(rules.EWB_VERSION):
            version = 0
        return (version << 32).to_bytes(12, "little")

    def pack_secs(self, enclave: Enclave) -> bytes:
        """The bytes of a SECS page, hidden fields included, to be evicted."""
        if not enclave.initialised:
            self._measurements.append(enclave.digest.copy())
        number = 0 if enclave.initialised else len(self._measurements)
        hidden = enclave.eid, enclave.epoch, number, enclave.isvfamilyid, enclave.isvextprodid
        return enclave.secs.pack()[:_HIDDEN_AT] + _HIDDEN.pack(*hidden)

    def unpack_secs(self, page: bytes, secs_hpa: int) -> Enclave:
        """The inverse of `pack_secs`: an enclave as it was, with its SECS at ``secs_hpa``.

        Raises:
            GeneralProtection: no SECS (so damaged a page comes back without ELD.MAC only).
        """
        try:
            secs = SECS.unpack(page[:_HIDDEN_AT] + bytes(_HIDDEN.size))
        except LayoutError as error:
            raise GeneralProtection(f"the SECS page is damaged: {error}") from None
        eid, epoch, number, family, product = _HIDDEN.unpack(page[_HIDDEN_AT:])
        enclave = Enclave(secs_hpa, secs, epoch=epoch, eid=eid)
        enclave.initialised = secs.attributes.flags.init
        enclave.isvfamilyid, enclave.isvextprodid = family, product
        if 0 < number <= len(self._measurements):
            enclave.digest = self._measurements[number - 1].copy()
        return enclave
