"""The named checks of SGX: what each one stops, and where the SDM defines it.

The memory engines' checks (MEM.ENCRYPTION, MEE.*) are in `tee_sim.machine.encryption`.
"""

from tee_sim.checks import Check

SDM = "Intel SDM Vol. 3D, "

ABORT_PAGE = Check(
    "PRM.ABORT_PAGE",
    "Outsiders read all ones from enclave memory",
    "Software outside the enclave, the kernel included, reads or writes an enclave page.",
    SDM + '"Memory Access Requests by Non-enclave Software" (all ones: Linux, "x86/sgx")',
)
INVD_PRM = Check(
    "INVD.PRM",
    "The cache is never dropped unwritten",
    "The kernel invalidates the cache and so takes back what an enclave has just written.",
    SDM + '"INVD Handling when Enclaves Are Enabled" (39.6.5 in 2016)',
)
EPCM_VALID = Check(
    "EPCM.VALID",
    "This enclave page slot is empty",
    "The host maps a slot that it took back, still holding bytes of its choice, into an enclave.",
    SDM + '"EPCM Access Control"',
)
EPCM_IN_USE = Check(
    "EPCM.IN_USE",
    "A page in use is not given away",
    "The host adds a page of its own over a page that the victim is using.",
    SDM + '"EADD - Add a Page to an Uninitialized Enclave": EPCM.VALID of the target',
)
EPCM_ENCLAVESECS = Check(
    "EPCM.ENCLAVESECS",
    "This page belongs to another enclave",
    "The host maps a page of its own enclave into the victim's address range.",
    SDM + '"EPCM Access Control"',
)
EPCM_ENCLAVEADDRESS = Check(
    "EPCM.ENCLAVEADDRESS",
    "This page belongs at another address",
    "The host swaps two pages of one enclave in its page tables.",
    SDM + '"EPCM Access Control"',
)
EPCM_PT = Check(
    "EPCM.PT",
    "Control pages are not data",
    "Code inside overwrites its own thread control structure and moves the entry point.",
    SDM + '"EPCM Access Control"',
)
EPCM_R = Check(
    "EPCM.R",
    "This page may not be read",
    "Code inside reads a page that its author made execute-only.",
    SDM + '"EPCM Access Control"',
)
EPCM_W = Check(
    "EPCM.W",
    "This page may not be written",
    "The host makes code writable in its page tables, and a bug inside overwrites it.",
    SDM + '"EPCM Access Control"',
)
EPCM_X = Check(
    "EPCM.X",
    "This page may not be executed",
    "The host makes data executable in its page tables, and a bug inside jumps to it.",
    SDM + '"EPCM Access Control"',
)
EPCM_BLOCKED = Check(
    "EPCM.BLOCKED",
    "This page is being evicted",
    "An enclave goes on using a page that is being paged out.",
    SDM + '"EPCM Access Control"',
)
EPCM_PENDING = Check(
    "EPCM.PENDING",
    "The enclave has not accepted this page",
    "The host adds a page that the enclave did not ask for.",
    SDM + '"EPCM Access Control"',
)
EPCM_MODIFIED = Check(
    "EPCM.MODIFIED",
    "The enclave has not accepted this page's change",
    "The host changes a page's type behind the enclave's back.",
    SDM + '"EPCM Access Control"',
)
EACCEPT_ATTRIBUTES = Check(
    "EACCEPT.ATTRIBUTES",
    "A page is accepted only as asked for",
    "The host says that it took a right away, and leaves it in force.",
    SDM + '"EACCEPT - Accept Changes to an EPC Page": SGX_PAGE_ATTRIBUTES_MISMATCH',
)
EACCEPT_TRACKED = Check(
    "EACCEPT.TRACKED",
    "Nothing is accepted while old translations may live",
    "A right that the enclave believes is gone lives on in another processor's TLB.",
    SDM + '"EACCEPT - Accept Changes to an EPC Page": SGX_NOT_TRACKED',
)
EMODPR_MASK = Check(
    "EMODPR.MASK",
    "The host can only take rights away",
    "The host gives itself the right to have the enclave's code overwritten.",
    SDM + '"EMODPR - Restrict the Permissions of an EPC Page"',
)
ELRANGE_EPC = Check(
    "ELRANGE.EPC",
    "Enclave addresses need enclave pages",
    "The host maps an ordinary page, which it can read and write, into the enclave's range.",
    SDM + '"Memory Access Requests by Enclave Software"',
)
ELRANGE_FETCH = Check(
    "ELRANGE.FETCH",
    "Enclave mode executes only the enclave's pages",
    "A hijacked enclave jumps to code outside, which would run with the enclave's rights.",
    SDM + '"Memory Access Requests by Enclave Software"',
)
ILLEGAL_INSTRUCTION = Check(
    "ENCLAVE.ILLEGAL_INSTRUCTION",
    "Instructions that a hypervisor answers are illegal",
    "The hypervisor intercepts CPUID inside the enclave and answers with a lie.",
    SDM + '"Illegal Instructions"',
)
TLB_FLUSH = Check(
    "ENCLAVE.TLB_FLUSH",
    "Translations are forgotten on entry and exit",
    "Code outside uses a translation that was made while the enclave ran.",
    SDM + '"Enclave Entry and Exit": flush of the linear context',
)
AEX_STATE = Check(
    "AEX.SYNTHETIC_STATE",
    "Interrupted registers are hidden from the host",
    "The kernel interrupts the enclave and reads its registers.",
    SDM + '"State Saving by AEX", "Synthetic State on Asynchronous Enclave Exit"',
)
AEX_CR2 = Check(
    "AEX.CR2",
    "Page faults hide the low address bits",
    "The kernel unmaps a page and learns from the fault which byte of it was used.",
    SDM + '"Asynchronous Enclave Exit": CR2',
)
AEX_NOTIFY = Check(
    "AEX.NOTIFY",
    "A resumed thread first runs its own handler",
    "The host single-steps an enclave that cannot know, and counts its instructions.",
    SDM + '"ERESUME - Re-Enters an Enclave": AEX notification',
    since=1,
)
BUFFERS_CLEARED = Check(
    "BUFFERS.CLEARED",
    "Leaving an enclave clears the processor's buffers",
    "The host samples what the quoting enclave left on the die, and has its key.",
    "Intel SA-00329 (CVE-2020-0549), SA-00657 (CVE-2022-21233)",
    since=1,
)
EENTER_PT_TCS = Check(
    "EENTER.PT_TCS",
    "Entry only through a thread control structure",
    "The host enters through a data page that it filled with a forged TCS.",
    SDM + '"EENTER - Enters an Enclave"',
)
EENTER_INIT = Check(
    "EENTER.INIT",
    "Only a finished enclave can be entered",
    "The host skips EINIT, and with it every check of the signature and the measurement.",
    SDM + '"EENTER - Enters an Enclave"',
)
EENTER_CSSA = Check(
    "EENTER.CSSA",
    "Interrupted state must fit its save area",
    "The host nests entries until interrupted registers overwrite the pages behind the area.",
    SDM + '"EENTER - Enters an Enclave"',
)
EENTER_SSA = Check(
    "EENTER.SSA",
    "Interrupted state is saved inside the enclave",
    "The host maps its own page where the interrupted registers will be saved.",
    SDM + '"EENTER - Enters an Enclave"',
)
TCS_STATE = Check(
    "TCS.STATE",
    "One thread at a time per TCS",
    "The host enters the same thread twice; both run on one stack.",
    SDM + '"EENTER - Enters an Enclave"',
)
EENTER_TF = Check(
    "EENTER.TF",
    "The trap flag stays outside",
    "The host sets the trap flag and gets a debug exception after each instruction inside.",
    SDM + '"Enclave Code Debug and Profiling": opt-out entry',
)
EADD_INIT = Check(
    "EADD.INIT",
    "No pages are added after launch",
    "The host adds its own code to an enclave that is already trusted.",
    SDM + '"EADD - Add a Page to an Uninitialized Enclave"',
)
MEASURE_EADD = Check(
    "MEASURE.EADD",
    "A page's place is part of the identity",
    "The host loads the right pages at the wrong addresses.",
    SDM + '"EADD - Add a Page to an Uninitialized Enclave"',
)
MEASURE_EEXTEND = Check(
    "MEASURE.EEXTEND",
    "Page contents are part of the identity",
    "The host changes a byte of the program while it loads it.",
    SDM + '"EEXTEND - Extend Uninitialized Enclave Measurement by 256 Bytes"',
)
EINIT_MEASUREMENT = Check(
    "EINIT.ENCLAVEHASH",
    "The program is the one signed",
    "The host launches a changed program under its author's signature.",
    SDM + '"EINIT - Initialize an Enclave for Execution": SGX_INVALID_MEASUREMENT',
)
EINIT_SIGNATURE = Check(
    "EINIT.SIGNATURE",
    "The author's signature must verify",
    "The host writes the measurement of its changed program into the signed structure.",
    SDM + '"EINIT - Initialize an Enclave for Execution": SGX_INVALID_SIGNATURE',
)
EINIT_ATTRIBUTES = Check(
    "EINIT.ATTRIBUTES",
    "Launch attributes are those signed",
    "The host launches a production enclave with the debug bit set.",
    SDM + '"EINIT - Initialize an Enclave for Execution": SGX_INVALID_ATTRIBUTE',
)
EINIT_LEPUBKEYHASH = Check(
    "EINIT.LEPUBKEYHASH",
    "Only the launch authority launches without a token",
    "On a server that its vendor controls, somebody launches an enclave without permission.",
    SDM + '"EINIT - Initialize an Enclave for Execution": SGX_INVALID_EINITTOKEN',
)
EINIT_TOKEN_MAC = Check(
    "EINIT.TOKEN_MAC",
    "The launch enclave made this permission",
    "Somebody writes a launch permission without knowing the launch key.",
    SDM + '"EINIT - Initialize an Enclave for Execution": SGX_INVALID_EINITTOKEN',
)
KEY_FUSES = Check(
    "EGETKEY.FUSES",
    "Each processor derives keys of its own",
    "The host carries sealed data to another processor and opens it there.",
    SDM + '"EGETKEY - Retrieves a Cryptographic Key": derivation data and package specific value',
)
KEY_MRENCLAVE = Check(
    "EGETKEY.MRENCLAVE",
    "A key belongs to one program",
    "Another program of the same author opens what this one sealed for itself.",
    SDM + '"EGETKEY - Retrieves a Cryptographic Key": Key Derivation',
)
KEY_MRSIGNER = Check(
    "EGETKEY.MRSIGNER",
    "A key belongs to one author",
    "The host signs a program of its own and opens what the victim sealed.",
    SDM + '"EGETKEY - Retrieves a Cryptographic Key": Key Derivation',
)
EGETKEY_CPUSVN = Check(
    "EGETKEY.CPUSVN",
    "No keys of a processor version not installed",
    "The host removes a security update and opens what was sealed after it.",
    SDM + '"EGETKEY - Retrieves a Cryptographic Key": SGX_INVALID_CPUSVN',
)
EGETKEY_ISVSVN = Check(
    "EGETKEY.ISVSVN",
    "No keys of a newer program version",
    "The host starts an old version with a known hole and opens what the mended one sealed.",
    SDM + '"EGETKEY - Retrieves a Cryptographic Key": SGX_INVALID_ISVSVN',
)
EGETKEY_PROVISIONKEY = Check(
    "EGETKEY.PROVISIONKEY",
    "Only permitted enclaves identify the processor",
    "Any enclave asks for a key that stays the same whoever owns the processor, and tracks it.",
    SDM + '"EGETKEY - Retrieves a Cryptographic Key": SGX_INVALID_ATTRIBUTE',
)
REPORT_TARGET = Check(
    "EREPORT.TARGET",
    "Only its target can verify a report",
    "An enclave of the host takes its own report key and forges reports to others with it.",
    SDM + '"EREPORT - Create a Cryptographic Report of the Enclave"',
)
REPORT2_MAC = Check(
    "EVERIFYREPORT2.MAC",
    "This platform made the structure",
    "The host writes a report of a trust domain that does not exist and has it quoted.",
    'Intel TDX documents, "REPORTMACSTRUCT"; unverified in the SDM',
)
EDBG_DEBUG = Check(
    "EDBGRD.DEBUG",
    "Only debug enclaves can be inspected",
    "The host reads or writes a production enclave with the debugger's instructions.",
    SDM + '"EDBGRD - Read From a Debug Enclave", "EDBGWR - Write to a Debug Enclave"',
)
EREMOVE_CHILD = Check(
    "EREMOVE.CHILD",
    "An enclave's root page is removed last",
    "The host replaces the root page and so inherits the enclave's other pages.",
    SDM + '"EREMOVE - Remove a Page From the EPC": SGX_CHILD_PRESENT',
)
EREMOVE_ACTIVE = Check(
    "EREMOVE.ACTIVE",
    "No page is removed while a thread runs",
    "The host gives a page to its own enclave while the victim still has it in a TLB.",
    SDM + '"EREMOVE - Remove a Page From the EPC": SGX_ENCLAVE_ACT',
)
EWB_BLOCKED = Check(
    "EWB.BLOCKED",
    "Only blocked pages are evicted",
    "The host evicts a page while new translations to it are still being made.",
    SDM + '"EWB - Invalidate an EPC Page and Write out to Main Memory": SGX_PAGE_NOT_BLOCKED',
)
EWB_TRACKED = Check(
    "EWB.TRACKED",
    "No TLB still reaches an evicted page",
    "The host evicts and reuses a page while a running thread holds a translation to it.",
    SDM + '"EWB - Invalidate an EPC Page and Write out to Main Memory": SGX_NOT_TRACKED',
)
EWB_CHILD = Check(
    "EWB.CHILD",
    "An enclave's root page is evicted last",
    "The host evicts the root page and puts its own there, which inherits the enclave's pages.",
    SDM + '"EWB - Invalidate an EPC Page and Write out to Main Memory": SGX_CHILD_PRESENT',
)
EWB_ENCRYPTION = Check(
    "EWB.ENCRYPTION",
    "Evicted pages leave the EPC only encrypted",
    "The host evicts a page and reads what it gets.",
    SDM + '"EWB - Invalidate an EPC Page and Write out to Main Memory": AES_GCM_ENC',
)
EWB_VERSION = Check(
    "EWB.VERSION",
    "Each eviction has a version of its own",
    "The host keeps an evicted page and brings it back in place of a later one.",
    SDM + '"Version Array (VA)"',
)
VA_PT = Check(
    "VA.PT",
    "Versions are kept in version-array pages alone",
    "The host keeps versions in a page of its own enclave, and puts back an old one.",
    SDM + '"Version Array (VA)"; #PF of EWB and ELDU',
)
ELD_MAC = Check(
    "ELD.MAC",
    "An evicted page returns as it left",
    "The host changes an evicted page, its rights, its address or its owner.",
    SDM + '"ELDB/ELDU - Load an EPC Page and Mark its State": SGX_MAC_COMPARE_FAIL',
)

CHECKS = tuple(value for value in list(globals().values()) if isinstance(value, Check))
"""All of the above, in order."""
