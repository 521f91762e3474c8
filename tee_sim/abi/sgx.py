"""SGX: the structures that enclave building, entry, paging and reporting use.

Names are the SDM's in lower case. SIGSTRUCT and EINITTOKEN, the structures of launch control, are
in `tee_sim.abi.sgx_sign`.

Sources: Intel 64 and IA-32 Architectures Software Developer's Manual, Vol. 3D, chapter "Enclave
Access Control and Data Structures". Offsets were compared with intel/linux-sgx
(``common/inc/internal/arch.h``, ``sgx_report.h``, ``sgx_key.h``), Linux
(``arch/x86/include/asm/sgx.h``), fortanix ``sgx-isa`` and gramine (``sgx_arch.h``).

Simplified: CET's fields are laid out, but CET is not modelled; whoever accepts one of these
structures has to refuse values other than zero in them. The TCS's two are reserved (see `TCS`).
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from tee_sim.abi.layout import Bits, Struct, at, bit, bits

SDM: Final = "Intel SDM Vol. 3D, "
"""How the rows below cite the manual; a section's title follows."""

CHUNK = 256
"""Bytes that one EEXTEND measures; a page has sixteen chunks."""


VA_SLOT = 8
"""Bytes of a version; a version-array page has 512 slots of them."""


class PageType(IntEnum):
    """EPCM.PT and SECINFO.FLAGS.PAGE_TYPE: what an EPC page holds.

    Source: Intel SDM Vol. 3D, "PAGE_TYPE Field Definition".
    """

    SECS = 0
    TCS = 1
    REG = 2
    VA = 3
    TRIM = 4
    SS_FIRST = 5
    SS_REST = 6


class KeyName(IntEnum):
    """KEYREQUEST.KEYNAME: the key that EGETKEY derives.

    Source: Intel SDM Vol. 3D, "KEY REQUEST KeyNames".
    """

    EINITTOKEN = 0
    PROVISION = 1
    PROVISION_SEAL = 2
    REPORT = 3
    SEAL = 4


# fmt: off
class AttributeFlags(Bits, size=8, source=SDM + '"ATTRIBUTES"'):
    """The first half of ATTRIBUTES: what the enclave may do, and whether it is initialised."""

    init:          bool = bit(0,  "EINIT has succeeded; the enclave can be entered")
    debug:         bool = bit(1,  "a debugger may read and write the enclave")
    mode64bit:     bool = bit(2,  "the enclave runs in 64-bit mode")
    provisionkey:  bool = bit(4,  "EGETKEY gives the provisioning keys")
    einittokenkey: bool = bit(5,  "EGETKEY gives the launch key")
    cet:           bool = bit(6,  "control-flow enforcement is enabled")
    kss:           bool = bit(7,  "key separation and sharing is enabled")
    aexnotify:     bool = bit(10, "threads may ask to be notified of asynchronous exits")


class Attributes(Struct, size=16, source=SDM + '"ATTRIBUTES"'):
    """Properties of an enclave that every report and key is bound to."""

    flags: AttributeFlags = at(0, 8, "what the enclave may do")
    xfrm:  int            = at(8, 8, "processor state it uses, as in XCR0; bits 0 and 1 are set")


class AttributesMask(Struct, size=16, source=SDM + '"Enclave Signature Structure (SIGSTRUCT)"'):
    """Which bits of ATTRIBUTES count, in a signature or in a derived key; any bit may be set."""

    flags: int = at(0, 8, "mask of ATTRIBUTES.FLAGS")
    xfrm:  int = at(8, 8, "mask of ATTRIBUTES.XFRM")


class MiscSelect(Bits, size=4, source=SDM + '"SECS.MISCSELECT Field"'):
    """What an asynchronous exit saves besides the registers."""

    exinfo: bool = bit(0, "the address and error code of #PF and #GP")
    cpinfo: bool = bit(1, "the error code of #CP")


class SECS(Struct, size=4096, source=SDM + '"SGX Enclave Control Structure (SECS)"'):
    """The enclave itself: its range, its properties, its measurement and its signer.

    Simplified: EID, ISVEXTPRODID and ISVFAMILYID have no architectural offset, and so no row.
    """

    size:                  int        = at(0,   8,  "bytes of ELRANGE, a power of two")
    baseaddr:              int        = at(8,   8,  "linear address of ELRANGE, aligned to SIZE")
    ssaframesize:          int        = at(16,  4,  "pages in one state-save frame")
    miscselect:            MiscSelect = at(20,  4,  "what an asynchronous exit saves besides")
    cet_leg_bitmap_offset: int        = at(24,  8,  "offset of CET's legacy code bitmap")
    cet_attributes:        int        = at(32,  1,  "CET features in use")
    attributes:            Attributes = at(48,  16, "properties of the enclave")
    mrenclave:             bytes      = at(64,  32, "SHA-256 of how the enclave was built")
    mrsigner:              bytes      = at(128, 32, "SHA-256 of the signer's modulus")
    configid:              bytes      = at(192, 64, "identity of what the enclave will run (KSS)")
    isvprodid:             int        = at(256, 2,  "product number that the signer gave")
    isvsvn:                int        = at(258, 2,  "security version that the signer gave")
    configsvn:             int        = at(260, 2,  "security version of CONFIGID (KSS)")


class TCSFlags(Bits, size=8, source=SDM + '"TCS.FLAGS"'):
    """How a thread runs."""

    dbgoptin:  bool = bit(0, "debug events reach this thread; EADD clears it")
    aexnotify: bool = bit(1, "the thread may ask to be notified of asynchronous exits")


class TCS(Struct, size=4096, source=SDM + '"Thread Control Structure (TCS)"'):
    """One door into the enclave, for one thread at a time.

    Simplified: OCETSSA and PREVSSP, which only a processor with CET reads, are reserved.
    """

    state:   int      = at(0,  8, "0: free, 1: a processor is inside; EADD clears it")
    flags:   TCSFlags = at(8,  8, "how the thread runs")
    ossa:    int      = at(16, 8, "offset of the state-save area, page aligned")
    cssa:    int      = at(24, 4, "index of the next free state-save frame; EADD clears it")
    nssa:    int      = at(28, 4, "number of state-save frames")
    oentry:  int      = at(32, 8, "offset at which EENTER starts to execute")
    aep:     int      = at(40, 8, "where an asynchronous exit goes; EADD clears it")
    ofsbase: int      = at(48, 8, "offset that becomes FS inside, page aligned")
    ogsbase: int      = at(56, 8, "offset that becomes GS inside, page aligned")
    fslimit: int      = at(64, 4, "limit of FS, in 32-bit enclaves")
    gslimit: int      = at(68, 4, "limit of GS, in 32-bit enclaves")


class SecinfoFlags(Bits, size=8, source=SDM + '"SECINFO.FLAGS"'):
    """Rights, state and type of one EPC page."""

    r:         bool     = bit(0,     "readable from inside")
    w:         bool     = bit(1,     "writable from inside")
    x:         bool     = bit(2,     "executable from inside")
    pending:   bool     = bit(3,     "added by EAUG and not yet accepted")
    modified:  bool     = bit(4,     "its type was changed, and that is not yet accepted")
    pr:        bool     = bit(5,     "its rights were reduced, and that is not yet accepted")
    page_type: PageType = bits(8, 8, "what the page holds")


class SECINFO(Struct, size=64, source=SDM + '"Security Information (SECINFO)"'):
    """What software asks, or is told, about one EPC page."""

    flags: SecinfoFlags = at(0, 8, "rights, state and type")


class PAGEINFO(Struct, size=32, source=SDM + '"Page Information (PAGEINFO)"'):
    """Operands of the leaves that bring a page into the EPC or out of it: four addresses."""

    linaddr: int = at(0,  8, "linear address of the page in the enclave")
    srcpge:  int = at(8,  8, "where its contents are")
    secinfo: int = at(16, 8, "where its SECINFO is, or for EWB and ELDU its PCMD")
    secs:    int = at(24, 8, "where its enclave's SECS is")


class PCMD(Struct, size=128, source=SDM + '"Paging Crypto MetaData (PCMD)"'):
    """What EWB writes beside an evicted page, and ELDU needs to take it back."""

    secinfo:   SECINFO = at(0,   64, "rights and type of the page")
    enclaveid: int     = at(64,  8,  "which enclave it belongs to; a hint for software")
    mac:       bytes   = at(112, 16, "authenticates contents, address, enclave and version")


@dataclass(frozen=True, slots=True)
class EvictedPage:
    """What EWB leaves with the host, and ELDU takes back. The host may change any of it.

    Attributes:
        linaddr: PAGEINFO.LINADDR: where the page belongs; 0 for a SECS or a version array.
        srcpge: what PAGEINFO.SRCPGE points to: the ciphertext, one page.
        pcmd: what PAGEINFO.PCMD points to: rights, type, owner and MAC.
        slot_was_occupied: EWB said 12: the slot held a version, which is lost.
    """

    linaddr: int
    srcpge: bytes
    pcmd: PCMD
    slot_was_occupied: bool = False


class ExitInfo(Bits, size=4, source=SDM + '"EXITINFO"'):
    """Why the enclave was left, where the enclave is told."""

    vector:    int  = bits(0, 8, "exception vector")
    exit_type: int  = bits(8, 3, "3: hardware exception, 6: software exception")
    valid:     bool = bit(31,    "the other fields mean something")


class GPRSGX(Struct, size=184, source=SDM + '"GPRSGX Region"'):
    """The registers of a thread that left asynchronously: the end of its state-save frame."""

    rax:       int      = at(0,   8, "RAX")
    rcx:       int      = at(8,   8, "RCX")
    rdx:       int      = at(16,  8, "RDX")
    rbx:       int      = at(24,  8, "RBX")
    rsp:       int      = at(32,  8, "RSP")
    rbp:       int      = at(40,  8, "RBP")
    rsi:       int      = at(48,  8, "RSI")
    rdi:       int      = at(56,  8, "RDI")
    r8:        int      = at(64,  8, "R8")
    r9:        int      = at(72,  8, "R9")
    r10:       int      = at(80,  8, "R10")
    r11:       int      = at(88,  8, "R11")
    r12:       int      = at(96,  8, "R12")
    r13:       int      = at(104, 8, "R13")
    r14:       int      = at(112, 8, "R14")
    r15:       int      = at(120, 8, "R15")
    rflags:    int      = at(128, 8, "RFLAGS")
    rip:       int      = at(136, 8, "RIP")
    ursp:      int      = at(144, 8, "the host's RSP, stored by EENTER")
    urbp:      int      = at(152, 8, "the host's RBP, stored by EENTER")
    exitinfo:  ExitInfo = at(160, 4, "why the enclave was left")
    aexnotify: int      = at(167, 1, "bit 0: notify this thread when it is resumed")
    fsbase:    int      = at(168, 8, "FS base")
    gsbase:    int      = at(176, 8, "GS base")


class EXINFO(Struct, size=16, source=SDM + '"EXINFO Structure"'):
    """Details of #PF and #GP, below GPRSGX, if MISCSELECT asks for them."""

    maddr: int = at(0, 8, "the whole faulting address of #PF; 0 for #GP")
    errcd: int = at(8, 4, "error code")


class TARGETINFO(Struct, size=512, source=SDM + '"Report Target Info (TARGETINFO)"'):
    """The enclave that is to verify a report: EREPORT MACs with that enclave's report key."""

    measurement:    bytes      = at(0,  32, "MRENCLAVE of the target")
    attributes:     Attributes = at(32, 16, "ATTRIBUTES of the target")
    cet_attributes: int        = at(48, 1,  "CET_ATTRIBUTES of the target")
    configsvn:      int        = at(50, 2,  "CONFIGSVN of the target")
    miscselect:     MiscSelect = at(52, 4,  "MISCSELECT of the target")
    configid:       bytes      = at(64, 64, "CONFIGID of the target")


class ReportBody(Struct, size=384, source=SDM + '"Report (REPORT)"'):
    """Who the reporting enclave is: what EREPORT MACs and what a quote carries."""

    cpusvn:         bytes      = at(0,   16, "security version of the processor")
    miscselect:     MiscSelect = at(16,  4,  "MISCSELECT of the enclave")
    cet_attributes: int        = at(20,  1,  "CET_ATTRIBUTES of the enclave")
    isvextprodid:   bytes      = at(32,  16, "extended product number (KSS)")
    attributes:     Attributes = at(48,  16, "ATTRIBUTES of the enclave")
    mrenclave:      bytes      = at(64,  32, "SHA-256 of how the enclave was built")
    mrsigner:       bytes      = at(128, 32, "SHA-256 of the signer's modulus")
    configid:       bytes      = at(192, 64, "CONFIGID of the enclave (KSS)")
    isvprodid:      int        = at(256, 2,  "product number")
    isvsvn:         int        = at(258, 2,  "security version of the enclave")
    configsvn:      int        = at(260, 2,  "security version of CONFIGID (KSS)")
    isvfamilyid:    bytes      = at(304, 16, "product family (KSS)")
    reportdata:     bytes      = at(320, 64, "what the enclave wants to say")


class REPORT(Struct, size=432, source=SDM + '"Report (REPORT)"'):
    """What EREPORT writes: proof to one enclave on this processor who another one is."""

    body:  ReportBody = at(0,   384, "what the MAC covers")
    keyid: bytes      = at(384, 32,  "wear-out protection of the report key")
    mac:   bytes      = at(416, 16,  "AES-CMAC of the body under the target's report key")


class KeyPolicy(Bits, size=2, source=SDM + '"Key Request Policy Structure"'):
    """What a derived key is bound to."""

    mrenclave:    bool = bit(0, "bound to this very program")
    mrsigner:     bool = bit(1, "bound to whoever signed it")
    noisvprodid:  bool = bit(2, "not bound to ISVPRODID (KSS)")
    configid:     bool = bit(3, "bound to CONFIGID and CONFIGSVN (KSS)")
    isvfamilyid:  bool = bit(4, "bound to ISVFAMILYID (KSS)")
    isvextprodid: bool = bit(5, "bound to ISVEXTPRODID (KSS)")


class KEYREQUEST(Struct, size=512, source=SDM + '"Key Request (KEYREQUEST)"'):
    """Which key EGETKEY is to derive. KEYNAME may be any number: EGETKEY judges it."""

    keyname:             int            = at(0,  2,  "which key; see KeyName")
    keypolicy:           KeyPolicy      = at(2,  2,  "what the key is bound to")
    isvsvn:              int            = at(4,  2,  "security version, at most the enclave's own")
    cet_attributes_mask: int            = at(6,  1,  "which CET attributes the key is bound to")
    cpusvn:              bytes          = at(8,  16, "processor version, at most the current one")
    attributemask:       AttributesMask = at(24, 16, "which attributes the key is bound to")
    keyid:               bytes          = at(40, 32, "wear-out protection of the key")
    miscmask:            int            = at(72, 4,  "which MISCSELECT bits the key is bound to")
    configsvn:           int            = at(76, 2,  "version of CONFIGID, at most the own (KSS)")
# fmt: on
