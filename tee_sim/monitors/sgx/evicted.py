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

_HEADER = struct.Struct("<QQQ104x")
_HIDDEN = struct.Struct("<QQQ16s16s")
_HIDDEN_AT = PAGE - _HIDDEN.size


def mac_header(eid: int, linaddr: int, flags: int) -> bytes:
    """The 128 bytes that are authenticated with a page.

    They hold EID, LINADDR and SECINFO; the order of the three is unverified.
    """
    return _HEADER.pack(eid, linaddr, flags)


class PagingCipher:
    """AES-128-GCM under the paging key (CR_BASE_PK), and the version counter; new at each boot.

    Simplified: versions count from 1 (how silicon chooses them is not published). The nonce is
    VER << 32 in 96 bits, as in the SDM's operation of EWB; its byte order is unverified.
    """

    def __init__(self, checks: Checks, entropy: Entropy) -> None:
        self._checks, self._entropy = checks, entropy
        self.reset()

    def reset(self) -> None:
        """Boot again: nothing that was evicted before comes back."""
        self._key = self._entropy.take(16, "SGX paging key")
        self._gcm = AESGCM(self._key)
        self._version = 0

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


def secs_page(enclave: Enclave, measurement: int) -> bytes:
    """The bytes of a SECS page, with what no software ever sees, for EWB.

    Args:
        enclave: as the processor holds it.
        measurement: number of its unfinished measurement (`SGX.measurements`).
    """
    hidden = _HIDDEN.pack(
        enclave.eid, enclave.epoch, measurement, enclave.isvfamilyid, enclave.isvextprodid
    )
    return enclave.secs.pack()[:_HIDDEN_AT] + hidden


def enclave_in(page: bytes, secs_hpa: int) -> tuple[Enclave, int]:
    """The inverse of `secs_page`: the enclave and the number of its measurement.

    Raises:
        GeneralProtection: no SECS (so damaged a page comes back without ELD.MAC only).
    """
    try:
        secs = SECS.unpack(page[:_HIDDEN_AT] + bytes(_HIDDEN.size))
    except LayoutError as error:
        raise GeneralProtection(f"the SECS page is damaged: {error}") from None
    eid, epoch, measurement, family, product = _HIDDEN.unpack(page[_HIDDEN_AT:])
    enclave = Enclave(secs_hpa, secs, epoch=epoch, eid=eid)
    enclave.initialised = secs.attributes.flags.init
    enclave.isvfamilyid, enclave.isvextprodid = family, product
    return enclave, measurement
