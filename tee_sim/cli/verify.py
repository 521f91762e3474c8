"""``tee-sim verify``: is this evidence authentic, and good enough?"""

from __future__ import annotations

from typing import Annotated

import typer

from tee_sim.cli.files import read_file
from tee_sim.cli.output import Cell, Json, print_cells, print_json, print_table

STYLES = {"passed": "green", "failed": "bold red", "not checked": "yellow"}


def verify(
    evidence: Annotated[
        str, typer.Argument(metavar="EVIDENCE", help="A quote, or Open Enclave's form of one.")
    ],
    collateral: Annotated[
        str, typer.Option(metavar="FILE", help="Intel's collateral, in dcap-qvl's JSON form.")
    ],
    at: Annotated[int, typer.Option(metavar="UNIX_SECONDS", help="When it must be valid.")],
    root: Annotated[
        str | None, typer.Option(metavar="FILE", help="The trusted root, PEM or DER.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(metavar="FILE", help="An appraisal policy, JSON or TOML.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify a quote of SGX or TDX, and list every check that was made.

    Without --root only the real Intel's root is trusted. Without --policy the question is only
    whether the evidence is authentic: any enclave will do, on any platform that is not revoked.

    Exit status: 0 accepted, 1 refused, 2 unusable input.
    """
    from tee_sim.attest.chains import load_root
    from tee_sim.attest.collateral import Collateral
    from tee_sim.attest.policy import Policy, appraise
    from tee_sim.attest.verifier import verify_evidence

    trusted = load_root(read_file(root)) if root is not None else None
    endorsements = Collateral.from_json(read_file(collateral))
    demands = Policy.parse(read_file(policy)) if policy is not None else None
    result = verify_evidence(read_file(evidence), endorsements, root=trusted, at=at)
    if demands is not None:
        result = appraise(result, demands)
    if as_json:
        print_json(result.to_json())
    else:
        verdict = "accepted" if result.accepted else "REFUSED"
        about = ", ".join((result.status or "no TCB status", *result.advisories))
        print_cells(
            [Cell(verdict, STYLES["passed" if result.accepted else "failed"]), Cell(": " + about)]
        )
        print_table(
            "Checks" if policy else "Checks (no policy was applied)",
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
    if not result.accepted:
        raise typer.Exit(1)
