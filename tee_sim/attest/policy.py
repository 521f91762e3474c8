"""The appraisal policy: which authentic evidence is good enough for a Relying Party.

`appraise` looks at claims only, so it works for every kind of evidence whose claims have Open
Enclave's names. What a policy does not mention is not looked at, but for three things that nobody
should forget: debug is forbidden, the TCB status is looked at, and expired collateral is refused.

Source: RFC 9334, "Appraisal Policy for Evidence".
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from operator import eq, ge
from typing import Any, Self

from tee_sim.attest.claims import DEBUG
from tee_sim.attest.fields import json_object
from tee_sim.attest.ledger import Ledger, show
from tee_sim.attest.results import AttestationResult
from tee_sim.attest.tcb import STATUSES
from tee_sim.errors import Expired, UsageError, known


@dataclass(frozen=True)
class Policy:
    """What a Relying Party demands.

    Attributes:
        tcb_statuses: which statuses are acceptable.
        accepted_advisories: which of the vendor's advisories may concern the platform; None: any
            that comes with an acceptable status.
        minimum_tcb_evaluation: lowest TCB evaluation data number of TCB info and QE identity.
        measurements: acceptable ``unique_id`` (MRENCLAVE, MRTD); None: any.
        signers: acceptable ``signer_id`` (MRSIGNER); None: any.
        product_id: the signer's number of the program (ISVPRODID); None: any.
        minimum_version: lowest ``security_version`` (ISVSVN); None: any.
        allow_debug: whether the host may look inside.
        allow_expired_collateral: whether what the vendor said once is enough.
        report_data: what the report data must be, up to 64 bytes, zeros after it: a nonce.
        held_data: what the report data's first 32 bytes must be the SHA-256 of: a nonce and a
            public key, say, so that nobody can put another key in between.
    """

    tcb_statuses: tuple[str, ...] = ("UpToDate", "SWHardeningNeeded")
    accepted_advisories: tuple[str, ...] | None = None
    minimum_tcb_evaluation: int | None = None
    measurements: tuple[bytes, ...] | None = None
    signers: tuple[bytes, ...] | None = None
    product_id: int | None = None
    minimum_version: int | None = None
    allow_debug: bool = False
    allow_expired_collateral: bool = False
    report_data: bytes | None = None
    held_data: bytes | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value, kinds = getattr(self, field.name), str(field.type)
            if value is None and "None" in kinds:
                continue
            several = "tuple" in kinds
            if several and not isinstance(value, tuple):
                raise UsageError(f"policy: {field.name} is a tuple")
            kind = next(kind for kind in (bytes, str, bool, int) if kind.__name__ in kinds)
            if any(type(each) is not kind for each in (value if several else [value])):
                raise UsageError(f"policy: {field.name} takes {kind.__name__}")
        known("TCB status", self.tcb_statuses, STATUSES)
        if len(self.report_data or b"") > 64:
            raise UsageError("policy: report data has 64 bytes, and this is longer")

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a policy as JSON, which starts with a brace, or TOML; bytes are in hexadecimal.

        Raises:
            UsageError: it is no policy.
        """
        try:
            text = data.decode()
            is_json = text.lstrip().startswith("{")
            values = json_object(text, "policy") if is_json else tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # LayoutError is a ValueError
            raise UsageError(f"policy: neither JSON nor TOML: {error}") from None
        kinds = {field.name: str(field.type) for field in fields(cls)}
        known("policy field", values, kinds)
        try:
            return cls(**{name: _read(kinds[name], value) for name, value in values.items()})
        except (ValueError, TypeError) as error:  # UsageError is a ValueError
            raise UsageError(f"policy: {error}") from None


def _read(kind: str, value: Any) -> Any:
    """A value from a file: a list as a tuple, hexadecimal text as bytes."""
    if isinstance(value, list):
        return tuple(_read(kind, each) for each in value)
    return bytes.fromhex(value) if "bytes" in kind else value


def appraise(result: AttestationResult, policy: Policy) -> AttestationResult:
    """Add the checks of a policy to what a Verifier found.

    Returns:
        The result with more checks. Evidence that was refused before stays so, except that a
        policy can accept expired collateral.
    """
    ledger, status = Ledger(), result.status or None
    values = {**result.claims, "tcb_status": status}
    values["advisories"] = result.advisories if status else None
    for name, claim, word, wanted, holds in _demands(policy):
        if wanted is not None:
            found = values.get(claim)
            passed = None if found is None else bool(holds(found, wanted))
            expected = f"{word} {show(wanted)}".strip()
            ledger.note(f"POLICY.{name}", passed, expected, "unknown" if found is None else found)
    checks = result.checks
    if policy.allow_expired_collateral:
        checks = tuple(
            replace(check, passed=True, found=f"{check.found}; the policy accepts that")
            if check.passed is False and check.error is Expired
            else check
            for check in checks
        )
    return replace(result, checks=(*checks, *ledger.checks))


def _demands(policy: Policy) -> Iterable[tuple[str, str, str, Any, Callable[[Any, Any], object]]]:
    """Check, claim, how the wanted value is meant, the wanted value, and the comparison."""
    nonce, held = policy.report_data, policy.held_data
    padded = None if nonce is None else nonce.ljust(64, b"\0")
    digest = None if held is None else sha256(held).digest()
    return (
        ("TCB_STATUS", "tcb_status", "one of", policy.tcb_statuses, _among),
        ("ADVISORIES", "advisories", "only", policy.accepted_advisories, _only),
        ("TCB_EVALUATION", "tcb_evaluation_data_number", "from", policy.minimum_tcb_evaluation, ge),
        ("DEBUG", "attributes", "without bit", None if policy.allow_debug else DEBUG, _without),
        ("MEASUREMENT", "unique_id", "one of", policy.measurements, _among),
        ("SIGNER", "signer_id", "one of", policy.signers, _among),
        ("PRODUCT", "product_id", "", policy.product_id, eq),
        ("VERSION", "security_version", "from", policy.minimum_version, ge),
        ("REPORT_DATA", "report_data", "", padded, eq),
        ("KEY_BINDING", "report_data", "starts with", digest, bytes.startswith),
    )


def _among(found: object, wanted: Collection[object]) -> bool:
    return found in wanted


def _only(found: Collection[object], wanted: Collection[object]) -> bool:
    return set(found) <= set(wanted)


def _without(found: int, bit: int) -> bool:
    return not found & bit
