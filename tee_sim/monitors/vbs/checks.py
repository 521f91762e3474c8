"""The named checks of VBS: what each one stops, and where Microsoft describes it.

``VTL`` checks are the hypervisor's, ``SK`` checks the secure kernel's. Names are ours: Microsoft
names the mechanisms and not the single rules.
"""

from tee_sim.checks import Check

TLFS = 'Hyper-V Top-Level Functional Specification, "Virtual Secure Mode", '
ENCLAVES = 'Microsoft Learn, "Virtualization-based security (VBS) enclaves", '

# fmt: off
MEMORY = Check("VTL.MEMORY", "The lower trust level cannot reach this page",
    "The VTL0 kernel reads or writes memory of the secure kernel or of an enclave.",
    TLFS + '"Memory Access Protections"')
PROTECTION_MASK = Check("VTL.PROTECTION_MASK", "Only a higher trust level opens memory",
    "The VTL0 kernel asks the hypervisor to give it access to an enclave's page.",
    TLFS + '"HvCallModifyVtlProtectionMask"')
TLB_FLUSH = Check("VTL.TLB_FLUSH", "Changed protections count at once, everywhere",
    "A processor goes on using a page by a translation from before the page changed hands.",
    TLFS + '"Memory Access Protections" (that they flush is unverified)')
INTERRUPTS = Check("VTL.INTERRUPTS", "Interrupts of the lower trust level wait",
    "The VTL0 kernel interrupts an enclave after each instruction, counts, and looks.",
    TLFS + '"VTL Interrupt Management"')
REGISTERS = Check("SK.REGISTERS", "An interrupted enclave leaves no registers behind",
    "The VTL0 kernel reads the registers that both trust levels share after an interruption.",
    TLFS + '"Virtual Processor State Isolation": what is shared, the secure kernel has to clear')
PAGE_TABLES = Check("SK.PAGE_TABLES", "Enclaves run on the secure kernel's page tables",
    "The VTL0 kernel remaps, withholds or watches pages of an enclave in its own page tables.",
    TLFS + '"Virtual Processor State Isolation": CR3 is private to each trust level')
PAGE_IN_USE = Check("SK.PAGE_IN_USE", "A page of the secure kernel is taken",
    "The VTL0 kernel gives one page to two enclaves, its own and the victim's.",
    ENCLAVES + "memory of an enclave is isolated (the rule itself is unverified)")
VTL0_PAGE = Check("SK.VTL0_PAGE", "What VTL0 lends must be its own",
    "The VTL0 kernel maps an enclave's page as ordinary memory, and secrets look like arguments.",
    ENCLAVES + "an enclave reads the memory of its process (the rule itself is unverified)")
NO_EXECUTE = Check("SK.NO_EXECUTE", "Enclaves do not execute ordinary memory",
    "A bug makes the enclave jump to code that the host wrote, which then runs with its rights.",
    ENCLAVES + "only signed code runs inside")
STRICT_MEMORY = Check("SK.STRICT_MEMORY", "This enclave does not touch its process",
    "A bug makes the enclave follow a pointer of the host's into memory that the host owns.",
    "Microsoft Learn, EnclaveRestrictContainingProcessAccess; IMAGE_ENCLAVE_POLICY_STRICT_MEMORY")
UNSECURE_RANGE = Check("SK.UNSECURE_RANGE", "The ordinary side of a copy lies outside",
    "The host names an address inside as its buffer, and has the secure kernel copy from there.",
    "Microsoft Learn, EnclaveCopyIntoEnclave, EnclaveCopyOutOfEnclave")
IMAGE_SIGNATURE = Check("SK.IMAGE_SIGNATURE", "This image is not what its author signed",
    "The host changes the program before it is loaded.",
    ENCLAVES + "enclave images are signed; the secure kernel checks that")
REVOKED_IMAGE = Check("SK.REVOKED_IMAGE", "This signed image has a known hole",
    "The host loads an old, vulnerable release in the place of the present one.",
    "Microsoft, CVE-2023-36880; Akamai, Abusing VBS Enclaves, 2025 (the list is ours: unverified)",
    since=1)
DEBUG_POLICY = Check("SK.DEBUG_POLICY", "A debugger needs the author's and creator's leave",
    "The host attaches a debugger to the enclave and reads its memory.",
    "Microsoft Learn, ENCLAVE_CREATE_INFO_VBS (ENCLAVE_VBS_FLAG_DEBUG); IMAGE_ENCLAVE_CONFIG")
TERMINATED = Check("SK.TERMINATED", "An enclave that runs is not deleted",
    "The host deletes the enclave while a thread is inside, and gets pages that are still written.",
    "Microsoft Learn, DeleteEnclave: ERROR_ENCLAVE_NOT_TERMINATED")
SCRUB = Check("SK.SCRUB", "Pages are cleared before they are given back",
    "The host deletes an enclave and reads what it leaves in memory.",
    ENCLAVES + "memory of an enclave is isolated (the rule itself is unverified)")
SEAL_IDENTITY = Check("SK.SEAL_IDENTITY", "Data is unsealed for whom it was sealed",
    "The host has a program of its own open what the victim has sealed.",
    "Microsoft Learn, ENCLAVE_SEALING_IDENTITY_POLICY")
SEAL_OWNER = Check("SK.SEAL_OWNER", "Sealed data belongs to one owner",
    "One customer's enclave opens what the same program sealed for another customer.",
    "Microsoft Learn, ENCLAVE_CREATE_INFO_VBS: OwnerID")
SEAL_SVN = Check("SK.SEAL_SVN", "Older versions cannot open newer data",
    "The host has an old, vulnerable release open what the present one has sealed.",
    "Microsoft Learn, EnclaveUnsealData: the security versions of the unsealing enclave")
SEAL_DEBUG = Check("SK.SEAL_DEBUG", "Debugged enclaves open no production data",
    "The host runs the same program under a debugger and has it open what was sealed.",
    "Microsoft Learn, EnclaveSealData: ENCLAVE_RUNTIME_POLICY_ALLOW_FULL_DEBUG")
SEAL_SECRET = Check("SK.SEAL_SECRET", "Sealing keys need this machine's secret",
    "The host carries sealed data and the program to another machine, and opens it there.",
    "Microsoft Learn, EnclaveSealData (how Windows derives the keys is unverified)")
REPORT_SIGNATURE = Check("SK.REPORT_SIGNATURE", "This machine's secure kernel signed this report",
    "The host changes a report, so that its own program passes for the victim.",
    "Microsoft Learn, EnclaveVerifyAttestationReport")
# fmt: on

CHECKS = tuple(value for value in list(vars().values()) if isinstance(value, Check))
