"""VBS: the report that an enclave gets from the secure kernel.

`EnclaveGetAttestationReport` returns a package of three parts: a header, the *signed statement*
(a fixed part, then one block for each module in the enclave) and the signature over the statement.
`read_report` takes one apart, `EnclaveReport` builds one. What a *virtual machine* that VBS
isolates gets is another structure, and not here.

Sources: Microsoft's ``ntenclv.h`` and its pages on learn.microsoft.com, compared with the bindings
that Microsoft generates from the header (``windows-sys``, module ``Win32::System::Environment``).
Everything is packed and little-endian. No report of real hardware was at hand: that Windows fills
these fields as described here is unverified.
"""

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from tee_sim.abi.layout import Bits, Struct, at, bit
from tee_sim.errors import Truncated, UnknownVersion

NTENCLV_H: Final = "Microsoft, ntenclv.h, "

VERSION = 1
"""VBS_ENCLAVE_REPORT_PKG_HEADER_VERSION_CURRENT and VBS_ENCLAVE_REPORT_VERSION_CURRENT."""

SHA256_RSA_PSS_SHA256 = 1
"""VBS_ENCLAVE_REPORT_SIGNATURE_SCHEME_SHA256_RSA_PSS_SHA256, the only scheme."""

FORMAT: Final = b"~ee_sim vbs rep\x01"
"""UUID of evidence that holds a report (``OE_FORMAT_UUID_VBS``); the value is ours."""

_VERSION_AND_SCHEME: Final = struct.pack("<II", VERSION, SHA256_RSA_PSS_SHA256)

VARDATA_MODULE = 1
"""VBS_ENCLAVE_VARDATA_MODULE, the only kind of block."""

ENCLAVE_TYPE_VBS = 0x10
"""ENCLAVE_TYPE_VBS in ``winnt.h``."""

REPORT_DATA = 64
"""ENCLAVE_REPORT_DATA_LENGTH: bytes that the enclave puts into its report."""


# fmt: off
class EnclaveFlags(Bits, size=4, source=NTENCLV_H + "ENCLAVE_FLAG_*"):
    """Who may look into the enclave."""

    full_debug_enabled:    bool = bit(0, "a debugger may read and write the enclave")
    dynamic_debug_enabled: bool = bit(1, "debugging may be switched on while it runs")
    dynamic_debug_active:  bool = bit(2, "debugging has been switched on")


class EnclaveIdentity(Struct, size=152, source=NTENCLV_H + "ENCLAVE_IDENTITY"):
    """Who an enclave is. Its primary module says so, except for the owner and the versions."""

    owner_id:          bytes        = at(0,   32, "what its creator passed to CreateEnclave")
    unique_id:         bytes        = at(32,  32, "hash of the primary module")
    author_id:         bytes        = at(64,  32, "hash that identifies who signed the module")
    family_id:         bytes        = at(96,  16, "product family that the author gave")
    image_id:          bytes        = at(112, 16, "product that the author gave")
    enclave_svn:       int          = at(128, 4,  "security version of the enclave")
    secure_kernel_svn: int          = at(132, 4,  "security version of the secure kernel")
    platform_svn:      int          = at(136, 4,  "security version of what is below: hypervisor")
    flags:             EnclaveFlags = at(140, 4,  "who may look into the enclave")
    signing_level:     int          = at(144, 4,  "how much the signature is trusted")
    enclave_type:      int          = at(148, 4,  "ENCLAVE_TYPE_VBS")


class PackageHeader(Struct, size=24, source=NTENCLV_H + "VBS_ENCLAVE_REPORT_PKG_HEADER"):
    """What is in a package."""

    package_size:          int = at(0,  4, "bytes of header, signed statement and signature")
    version:               int = at(4,  4, "1")
    signature_scheme:      int = at(8,  4, "1: RSA-PSS with SHA-256 and MGF1 over SHA-256")
    signed_statement_size: int = at(12, 4, "bytes after the header that are signed")
    signature_size:        int = at(16, 4, "bytes of signature after them")


class ReportHead(Struct, size=224, source=NTENCLV_H + "VBS_ENCLAVE_REPORT"):
    """The part of the signed statement that is always there; blocks follow it."""

    report_size:      int             = at(0,  4,   "bytes of the signed statement")
    report_version:   int             = at(4,  4,   "1")
    enclave_data:     bytes           = at(8,  64,  "what the enclave put into its report")
    enclave_identity: EnclaveIdentity = at(72, 152, "who the enclave is")


class VardataHeader(Struct, size=8, source=NTENCLV_H + "VBS_ENCLAVE_REPORT_VARDATA_HEADER"):
    """The start of a block in the signed statement."""

    data_type: int = at(0, 4, "1, a module")
    size:      int = at(4, 4, "bytes of the block, this header included")


class ModuleIdentity(Struct, size=100, source=NTENCLV_H + "VBS_ENCLAVE_REPORT_MODULE"):
    """Which module is in the enclave; in a block its header precedes this, and its name follows."""

    unique_id: bytes = at(0,  32, "hash of the module")
    author_id: bytes = at(32, 32, "hash that identifies who signed it")
    family_id: bytes = at(64, 16, "product family that the author gave")
    image_id:  bytes = at(80, 16, "product that the author gave")
    svn:       int   = at(96, 4,  "security version of the module")
# fmt: on


class Module(NamedTuple):
    """A module in the enclave, and its file name, exactly as its block holds it.

    Unverified: whether Windows ends the name with a NUL.
    """

    identity: ModuleIdentity
    name: str

    def pack(self) -> bytes:
        """The block."""
        content = self.identity.pack() + self.name.encode("utf-16-le", "surrogatepass")
        header = VardataHeader(data_type=VARDATA_MODULE, size=VardataHeader.SIZE + len(content))
        return header.pack() + content


def _module_at(data: bytes, start: int) -> tuple[Module, int]:
    """The module whose block starts there, and where the block ends."""
    header = VardataHeader.unpack(data[start : start + VardataHeader.SIZE])
    end = start + header.size
    if header.data_type != VARDATA_MODULE:
        raise UnknownVersion(f"a block of type {header.data_type}; only 1, a module, is known")
    if header.size < VardataHeader.SIZE or end > len(data) or header.size % 2:
        raise Truncated(f"a block of {header.size} bytes with {len(data) - start} left, or odd")
    identity, name = ModuleIdentity.take(data[start + VardataHeader.SIZE : end])
    return Module(identity, name.decode("utf-16-le", "surrogatepass")), end


@dataclass(frozen=True)
class EnclaveReport:
    """A report without what follows from its content: sizes, versions, signature scheme.

    Attributes:
        enclave_data: the 64 bytes that the enclave put into it.
        identity: who the enclave is.
        modules: what is loaded in it, the primary module first.
        signature: over `signed_statement`; empty before it is signed.
    """

    enclave_data: bytes
    identity: EnclaveIdentity
    modules: tuple[Module, ...] = ()
    signature: bytes = b""

    def signed_statement(self) -> bytes:
        """The bytes that are signed.

        Raises:
            LayoutError: a field cannot hold its value.
        """
        blocks = b"".join(module.pack() for module in self.modules)
        head = ReportHead(
            report_size=ReportHead.SIZE + len(blocks),
            report_version=VERSION,
            enclave_data=self.enclave_data,
            enclave_identity=self.identity,
        )
        return head.pack() + blocks

    def pack(self) -> bytes:
        """The package: header, signed statement, signature."""
        statement = self.signed_statement()
        header = PackageHeader(
            package_size=PackageHeader.SIZE + len(statement) + len(self.signature),
            version=VERSION,
            signature_scheme=SHA256_RSA_PSS_SHA256,
            signed_statement_size=len(statement),
            signature_size=len(self.signature),
        )
        return header.pack() + statement + self.signature


def read_report(data: bytes) -> EnclaveReport:
    """The report in a package; `EnclaveReport.pack` gives the same bytes again.

    Raises:
        UnknownVersion: a version, scheme or block that we do not know.
        Truncated: its parts do not fill it exactly.
        LayoutError: a field holds something that it cannot.
    """
    header, rest = PackageHeader.take(data)
    known = header.with_(version=VERSION, signature_scheme=SHA256_RSA_PSS_SHA256)
    head, blocks = ReportHead.take(rest[: header.signed_statement_size])
    if header != known or head.report_version != VERSION:
        raise UnknownVersion(
            f"package version {header.version}, scheme {header.signature_scheme}, report version "
            f"{head.report_version}; only 1 of each is known"
        )
    modules, start = [], 0
    while start < len(blocks):
        module, start = _module_at(blocks, start)
        modules.append(module)
    signature = rest[header.signed_statement_size :]
    report = EnclaveReport(head.enclave_data, head.enclave_identity, tuple(modules), signature)
    if report.pack() != data:
        raise Truncated("the sizes in the package are not those of its parts")
    return report


def is_vbs(evidence: bytes) -> bool:
    """Whether it is a report, or one in Open Enclave's form; no quote looks like that."""
    return evidence[4:20] == FORMAT or evidence[4:12] == _VERSION_AND_SCHEME


def unwrap(evidence: bytes) -> tuple[bytes, bytes]:
    """The report in a piece of evidence, and the custom claims behind it; or `LayoutError`.

    Evidence is a report, or one behind Open Enclave's evidence header (``oe_attestation_header_t``,
    version 3, 32 bytes); the SHA-256 of the custom claims is in the report's data.
    """
    package = evidence
    if evidence[4:20] == FORMAT:
        package = evidence[32:]
        if evidence[:4] != b"\3\0\0\0" or int.from_bytes(evidence[24:32], "little") != len(package):
            raise Truncated("evidence: its header does not say what is behind it")
    size = PackageHeader.take(package)[0].package_size
    return package[:size], package[size:]
