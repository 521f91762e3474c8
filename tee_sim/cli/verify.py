"""``tee-sim verify``: is this evidence authentic, and good enough?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from tee_sim.cli.files import from_hex, read_file
from tee_sim.cli.output import Cell, Json, print_cells, print_json, print_table
from tee_sim.errors import UsageError

if TYPE_CHECKING:
    from tee_sim.attest.results import AttestationResult

STYLES = {"passed": "green", "failed": "bold red", "not checked": "yellow"}


def verify(
    evidence: Annotated[
        str, typer.Argument(metavar="EVIDENCE", help="A quote or VBS report, or OE's form of one.")
    ],
    at: Annotated[int, typer.Option(metavar="UNIX_SECONDS", help="When it must be valid.")],
    collateral: Annotated[
        str | None, typer.Option(metavar="FILE", help="Intel's collateral, in dcap-qvl's JSON.")
    ] = None,
    root: Annotated[
        str | None, typer.Option(metavar="FILE", help="The trusted root, PEM or DER.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(metavar="FILE", help="An appraisal policy, JSON or TOML.")
    ] = None,
    boot: Annotated[
        str | None, typer.Option(metavar="FILE", help="VBS: how the machine was started.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(metavar="FILE", help="VBS: what should have been started, JSON.")
    ] = None,
    nonce: Annotated[
        str | None, typer.Option(metavar="HEX", help="VBS: what the TPM's quote has to contain.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify a quote of SGX or TDX or a report of VBS, and list every check that was made.

    A quote needs --collateral; without --root only the real Intel's root is trusted. A report needs
    --boot, --reference, --nonce, and --root for the TPM's vendor. Without --policy the question is
    only whether the evidence is authentic: any enclave will do, on any platform that is not revoked
    (of VBS: on one that has been started as --reference says).

    Exit status: 0 accepted, 1 refused, 2 unusable input.
    """
    from tee_sim.abi.tpm import BootEvidence
    from tee_sim.abi.vbs import is_vbs
    from tee_sim.attest.chains import load_root
    from tee_sim.attest.collateral import Collateral
    from tee_sim.attest.policy import Policy, appraise
    from tee_sim.attest.vbs import ReferenceValues, verify_vbs_evidence
    from tee_sim.attest.verifier import verify_evidence

    data = read_file(evidence)
    trusted = load_root(read_file(root)) if root is not None else None
    demands = Policy.parse(read_file(policy)) if policy is not None else None
    of_boot = {"boot": boot, "reference": reference, "nonce": nonce}
    if is_vbs(data):
        _need("a report of VBS", {"root": root, **of_boot}, {"collateral": collateral})
        result = verify_vbs_evidence(
            data,
            BootEvidence.unpack(read_file(boot or "")),
            root=trusted or b"",
            nonce=from_hex("--nonce", nonce or ""),
            at=at,
            reference=ReferenceValues.from_json(read_file(reference or "")),
        )
    else:
        _need("a quote", {"collateral": collateral}, of_boot)
        endorsements = Collateral.from_json(read_file(collateral or ""))
        result = verify_evidence(data, endorsements, root=trusted, at=at)
    if demands is not None:
        result = appraise(result, demands)
    if as_json:
        print_json(result.to_json())
    else:
        _print(result, "Checks" if policy else "Checks (no policy was applied)")
    if not result.accepted:
        raise typer.Exit(1)


def _print(result: AttestationResult, title: str) -> None:
    verdict = "accepted" if result.accepted else "REFUSED"
    about = ", ".join((result.status or "no TCB status", *result.advisories))
    wrong = ", ".join(check.name for check in result.failed)
    why = f"; failed: {wrong}" if wrong else ""
    print_cells(
        [Cell(verdict, STYLES["passed" if result.accepted else "failed"]), Cell(f": {about}{why}")]
    )
    print_table(
        title,
        ["check", "result", "expected", "found", "why it matters"],
        [
            [
                Cell(check.name, "bold"),
                Cell(check.outcome, STYLES[check.outcome]),
                *map(Cell, (check.expected, check.found, check.why)),
            ]
            for check in result.checks
        ],
    )


def _need(what: str, wanted: Mapping[str, object], unwanted: Mapping[str, object]) -> None:
    """Refuse to go on without an option that is needed, or with one that nothing would look at."""
    missing = ", ".join(f"--{name}" for name, value in wanted.items() if value is None)
    if missing:
        raise UsageError(f"to verify {what}, give {missing}, too")
    useless = ", ".join(f"--{name}" for name, value in unwanted.items() if value is not None)
    if useless:
        raise UsageError(f"nothing in {what} is compared with {useless}; see --policy")
