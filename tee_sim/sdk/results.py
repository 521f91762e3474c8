"""Open Enclave's result codes: number -> name, read from the header that the guest includes."""

from __future__ import annotations

import re
from pathlib import Path

_HEADER = Path(__file__).parent / "guest" / "include" / "openenclave" / "bits" / "result_names.h"

RESULTS: tuple[str, ...] = tuple(
    re.findall(r"^OE_RESULT\((\w+)\)$", _HEADER.read_text(encoding="utf-8"), flags=re.M)
)
"""Names in the order of their numbers."""

OE_OK = 0
OE_FAILURE = RESULTS.index("OE_FAILURE")
OE_NOT_FOUND = RESULTS.index("OE_NOT_FOUND")
OE_REENTRANT_ECALL = RESULTS.index("OE_REENTRANT_ECALL")
OE_SERVICE_UNAVAILABLE = RESULTS.index("OE_SERVICE_UNAVAILABLE")
OE_QUOTE_PROVIDER_CALL_ERROR = RESULTS.index("OE_QUOTE_PROVIDER_CALL_ERROR")
ABORTED = (RESULTS.index("OE_ENCLAVE_ABORTING"), RESULTS.index("OE_ENCLAVE_ABORTED"))

MEANING = {
    "OE_FAILURE": "the program gave no reason",
    "OE_INVALID_PARAMETER": "the runtime or the program refused an argument",
    "OE_REENTRANT_ECALL": "this thread still waits inside for an earlier call to end",
    "OE_OUT_OF_MEMORY": "the enclave's heap is full",
    "OE_UNEXPECTED": "something happened that the program, or its runtime, did not expect",
    "OE_NOT_FOUND": "the enclave has no function with this number",
    "OE_SERVICE_UNAVAILABLE": "the host has no quoting service: attester.QuotingService is one",
    "OE_VERIFY_FAILED_AES_CMAC_MISMATCH": "no enclave here made this report for this enclave",
    "OE_CONSTRAINT_FAILED": "the enclave that asks may not have the provisioning keys",
    "OE_VERIFY_FAILED": "nobody who is trusted here signed these bytes",
    "OE_REPORT_PARSE_ERROR": "these bytes are no report, or one of another kind of platform",
    "OE_INVALID_ISVSVN": "a newer version than this one sealed it, or a newer platform",
    "OE_INTEGER_OVERFLOW": "a size computed from the arguments is too large",
}
"""What the commonest codes mean when they come from our runtime."""


def name_of(code: int) -> str:
    """The name of a code, or its number if it has none."""
    return RESULTS[code] if 0 <= code < len(RESULTS) else f"result {code:#x}"
