"""VBS: what an enclave image says about itself, and what its creator says to Windows.

Source: Microsoft's ``winnt.h``. ENCLAVE_CREATE_INFO_VBS and the image configuration are also
described on learn.microsoft.com.

Simplified: an image is this package's own (`tee_sim.abi.image`) and not a PE file, so there are no
imported modules, and the addresses of import tables are zero.
"""

from tee_sim.abi.layout import Bits, Struct, at, bit

WINNT_H = "Microsoft, winnt.h, "


PRIMARY_IMAGE = 1
"""IMAGE_ENCLAVE_FLAG_PRIMARY_IMAGE, in `EnclaveConfig.enclave_flags`."""


# fmt: off
class PolicyFlags(Bits, size=4, source=WINNT_H + "IMAGE_ENCLAVE_POLICY_*"):
    """What the author of an image allows, and asks for."""

    debuggable:    bool = bit(0, "a debugger may attach, if the enclave is created for that")
    strict_memory: bool = bit(1, "the enclave may not touch the memory of its process")


class EnclaveConfig(Struct, size=80, source=WINNT_H + "IMAGE_ENCLAVE_CONFIG64"):
    """What the author of an image says about it."""

    config_size:          int         = at(0x00, 4,  "bytes of this structure (Size)")
    minimum_config_size:  int         = at(0x04, 4,  "MinimumRequiredConfigSize")
    policy_flags:         PolicyFlags = at(0x08, 4,  "what is allowed")
    number_of_imports:    int         = at(0x0C, 4,  "other modules that it needs")
    import_list:          int         = at(0x10, 4,  "their place in the image")
    import_entry_size:    int         = at(0x14, 4,  "bytes for each of them")
    family_id:            bytes       = at(0x18, 16, "product family")
    image_id:             bytes       = at(0x28, 16, "product")
    image_version:        int         = at(0x38, 4,  "its version")
    security_version:     int         = at(0x3C, 4,  "its security version")
    enclave_size:         int         = at(0x40, 8,  "bytes of address space")
    number_of_threads:    int         = at(0x48, 4,  "threads that can be inside")
    enclave_flags:        int         = at(0x4C, 4,  "1: it is the primary image")


class CreateFlags(Bits, size=4, source=WINNT_H + "ENCLAVE_VBS_FLAG_*"):
    """How an enclave is created."""

    debug: bool = bit(0, "so that a debugger may attach")


class CreateInfo(Struct, size=36, source=WINNT_H + "ENCLAVE_CREATE_INFO_VBS"):
    """What the creator passes to CreateEnclave."""

    flags:    CreateFlags = at(0, 4,  "how to create it")
    owner_id: bytes       = at(4, 32, "whom it belongs to: part of every sealing key")


class InitInfo(Struct, size=8, source=WINNT_H + "ENCLAVE_INIT_INFO_VBS"):
    """What the creator passes to InitializeEnclave."""

    length:       int = at(0, 4, "bytes of this structure")
    thread_count: int = at(4, 4, "threads to make")
# fmt: on
