"""``tee-sim attest`` and ``fetch-evidence``: evidence of a program here, or of real machines."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from tee_sim.errors import UsageError

MOST_NONCE = 64
"""Bytes that the program takes."""


def attest(
    program: Annotated[
        str, typer.Argument(metavar="PROGRAM", help="An example's name, or a directory.")
    ],
    nonce: Annotated[str, typer.Option(metavar="HEX", help="What the evidence has to contain.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the files are written.")],
    platform: Annotated[str, typer.Option(metavar="P", help="Where to run it.")] = "sgx-tme",
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed, other keys.")] = 0,
    patch_level: Annotated[int, typer.Option(metavar="N", help="0: without updates.")] = 1,
    at: Annotated[
        int | None, typer.Option(metavar="UNIX_SECONDS", help="When collateral is issued; now.")
    ] = None,
) -> None:
    """Have a program prove what it is, and write the evidence.

    Into the directory go evidence.bin (the quote), claims.bin (what the program binds: the nonce
    and its public key; the SHA-256 is in the quote), collateral.json (in dcap-qvl's form) and
    root.der (the simulated Intel's root, which no verifier trusts unless it is told to).

    The program needs an ecall `attest` as the example `attested` has it.
    """
    from tee_sim.abi.quote import unwrap
    from tee_sim.attest.intel import SimulatedIntel
    from tee_sim.attester import QuotingService, evidence_of, manufacture
    from tee_sim.platform import Platform

    try:
        wanted = bytes.fromhex(nonce)
    except ValueError:
        raise UsageError(f"--nonce {nonce!r} is not hexadecimal") from None
    if not 0 < len(wanted) <= MOST_NONCE:
        raise UsageError(f"--nonce has {len(wanted)} bytes; 1 to {MOST_NONCE} are needed")
    host, intel = Platform(platform, seed=seed, patch_level=patch_level), SimulatedIntel()
    manufacture(host, intel)
    pck = QuotingService(host, intel).pck
    quote, claims = unwrap(evidence_of(host.create_enclave(program), wanted))
    collateral = intel.collateral(pck.fmspc, pck.ca, int(time.time()) if at is None else at)
    files = {
        "evidence.bin": quote,
        "claims.bin": claims,
        "collateral.json": collateral.to_json().encode(),
        "root.der": intel.root_der,
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (out / name).write_bytes(content)
        typer.echo(f"{out / name}: {len(content)} bytes")


def fetch_evidence(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files are written.")],
) -> None:
    """Download evidence of real machines from PyPI, 1.8 MB in all, for tee-sim verify.

    It is in the source archives of two packages, dcap-qvl and azure-security-attestation, whose
    SHA-256 this command knows. For the quotes in dcap/, collateral is there, too.
    """
    from tee_sim.services.specimens import fetch

    for path in fetch(out):
        typer.echo(f"{path}: {path.stat().st_size} bytes")
