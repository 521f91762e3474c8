"""SGX launch control: SIGSTRUCT, which the signer ships, and EINITTOKEN, which permits a launch.

`tee_sim.monitors.sgx.sigstruct` signs and verifies the former.
"""

from tee_sim.abi.layout import Struct, at
from tee_sim.abi.sgx import SDM, Attributes, AttributesMask, MiscSelect

HEADER = bytes.fromhex("06000000e10000000000010000000000")
"""SIGSTRUCT.HEADER: the only value that EINIT accepts."""

HEADER2 = bytes.fromhex("01010000600000006000000001000000")
"""SIGSTRUCT.HEADER2: the only value that EINIT accepts."""

VENDOR_INTEL = 0x8086
"""SIGSTRUCT.VENDOR of Intel's own enclaves; everybody else's is zero."""


# fmt: off
class SIGSTRUCT(Struct, size=1808, source=SDM + '"Enclave Signature Structure (SIGSTRUCT)"'):
    """The signer's certificate for one enclave: what EINIT checks the enclave against.

    Numbers of 384 bytes are little-endian. Two spans are signed: bytes 0-127 and 900-1027.
    """

    header:              bytes          = at(0,    16,  "constant, see HEADER")
    vendor:              int            = at(16,   4,   "0, or 8086h for Intel's own enclaves")
    date:                int            = at(20,   4,   "day of signing, decimal yyyymmdd in hex")
    header2:             bytes          = at(24,   16,  "constant, see HEADER2")
    swdefined:           int            = at(40,   4,   "whatever the signer wants")
    modulus:             bytes          = at(128,  384, "RSA modulus of the signer, 3072 bits")
    exponent:            int            = at(512,  4,   "RSA exponent, always 3")
    signature:           bytes          = at(516,  384, "PKCS #1 v1.5 with SHA-256")
    miscselect:          MiscSelect     = at(900,  4,   "MISCSELECT that the enclave must have")
    miscmask:            int            = at(904,  4,   "which bits of MISCSELECT count")
    cet_attributes:      int            = at(908,  1,   "CET attributes it must have")
    cet_attributes_mask: int            = at(909,  1,   "which CET attributes count")
    isvfamilyid:         bytes          = at(912,  16,  "product family (KSS)")
    attributes:          Attributes     = at(928,  16,  "ATTRIBUTES that the enclave must have")
    attributemask:       AttributesMask = at(944,  16,  "which bits of ATTRIBUTES count")
    enclavehash:         bytes          = at(960,  32,  "MRENCLAVE that the enclave must have")
    isvextprodid:        bytes          = at(1008, 16,  "extended product number (KSS)")
    isvprodid:           int            = at(1024, 2,   "product number")
    isvsvn:              int            = at(1026, 2,   "security version")
    q1:                  bytes          = at(1040, 384, "quotient that speeds up verification")
    q2:                  bytes          = at(1424, 384, "another such quotient")

    def signed_bytes(self) -> bytes:
        """The 256 bytes that the signature covers."""
        data = self.pack()
        return data[:128] + data[900:1028]


class EINITTOKEN(Struct, size=304, source=SDM + '"EINIT Token Structure (EINITTOKEN)"'):
    """A launch enclave's permission to launch one enclave."""

    valid:                    int        = at(0,   4,  "bit 0: the token is to be checked")
    attributes:               Attributes = at(48,  16, "ATTRIBUTES of the enclave")
    mrenclave:                bytes      = at(64,  32, "MRENCLAVE of the enclave")
    mrsigner:                 bytes      = at(128, 32, "MRSIGNER of the enclave")
    cpusvnle:                 bytes      = at(192, 16, "CPUSVN of the launch enclave")
    isvprodidle:              int        = at(208, 2,  "ISVPRODID of the launch enclave")
    isvsvnle:                 int        = at(210, 2,  "ISVSVN of the launch enclave")
    cet_masked_attributes_le: int        = at(212, 1,  "CET attributes of the launch enclave")
    maskedmiscselectle:       int        = at(236, 4,  "MISCSELECT of the launch enclave, masked")
    maskedattributesle:       Attributes = at(240, 16, "ATTRIBUTES of the launch enclave, masked")
    keyid:                    bytes      = at(256, 32, "wear-out protection of the launch key")
    mac:                      bytes      = at(288, 16, "AES-CMAC of the first 192 bytes")

    def maced_bytes(self) -> bytes:
        """The 192 bytes that the MAC covers."""
        return self.pack()[:192]
# fmt: on
