"""The status codes that SGX leaves return in RAX.

Source: Intel SDM Vol. 3D, "Error or Information Codes for Intel SGX Instructions"; compared with
Linux (``arch/x86/include/asm/sgx.h``).
"""

from __future__ import annotations

from typing import Final

from tee_sim.checks import Check, Checks
from tee_sim.errors import SGXError

STATUS: Final = {
    1: "SGX_INVALID_SIG_STRUCT",
    2: "SGX_INVALID_ATTRIBUTE",
    3: "SGX_BLKSTATE",
    4: "SGX_INVALID_MEASUREMENT",
    5: "SGX_NOTBLOCKABLE",
    6: "SGX_PG_INVLD",
    7: "SGX_EPC_PAGE_CONFLICT",
    8: "SGX_INVALID_SIGNATURE",
    9: "SGX_MAC_COMPARE_FAIL",
    10: "SGX_PAGE_NOT_BLOCKED",
    11: "SGX_NOT_TRACKED",
    12: "SGX_VA_SLOT_OCCUPIED",
    13: "SGX_CHILD_PRESENT",
    14: "SGX_ENCLAVE_ACT",
    15: "SGX_ENTRYEPOCH_LOCKED",
    16: "SGX_INVALID_EINITTOKEN",
    17: "SGX_PREV_TRK_INCMPL",
    18: "SGX_PG_IS_SECS",
    19: "SGX_PAGE_ATTRIBUTES_MISMATCH",
    20: "SGX_PAGE_NOT_MODIFIABLE",
    21: "SGX_PAGE_NOT_DEBUGGABLE",
    26: "SGX_PG_NONEPC",
    27: "SGX_TRACK_NOT_REQUIRED",
    28: "SGX_INVALID_REPORTMACSTRUCT",
    32: "SGX_INVALID_CPUSVN",
    64: "SGX_INVALID_ISVSVN",
    128: "SGX_UNMASKED_EVENT",
    256: "SGX_INVALID_KEYNAME",
}


def status(leaf: str, code: int, text: str, check: Check | None = None) -> SGXError:
    """The error of a leaf that returns ``code``.

    Args:
        leaf: its name.
        code: a key of `STATUS`.
        text: what is wrong, and what to do.
        check: the named check that refused, if one did.
    """
    return SGXError(leaf, STATUS[code], code, text, check=check)


def refusal(checks: Checks, check: Check, leaf: str, code: int, text: str) -> SGXError:
    """As `status`, when ``check`` refused: it is recorded."""
    return checks.refuse(check, status(leaf, code, text))
