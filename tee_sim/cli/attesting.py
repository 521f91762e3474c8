"""``tee-sim attest`` and ``fetch-evidence``: evidence of a program here, or of real machines."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tee_sim.cli.files import from_hex
from tee_sim.errors import UsageError

if TYPE_CHECKING:
    from tee_sim.hypervisor.vbs import VBSDriver
    from tee_sim.platform import Platform

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

    Into the directory go evidence.bin (the quote, or VBS's report), claims.bin (what the program
    binds: the nonce and its public key; the SHA-256 is in the evidence) and root.der (the simulated
    vendor's root, which no verifier trusts unless it is told to). For SGX, collateral.json (in
    dcap-qvl's form); for VBS, boot.bin (how the machine was started: a TPM's quote of the nonce,
    the log, certificates) and reference.json (what should have been started).

    The program needs an ecall `attest` as the example `attested` has it.
    """
    from tee_sim.platform import Platform

    wanted = from_hex("--nonce", nonce)
    if not 0 < len(wanted) <= MOST_NONCE:
        raise UsageError(f"--nonce has {len(wanted)} bytes; 1 to {MOST_NONCE} are needed")
    host = Platform(platform, seed=seed, patch_level=patch_level)
    if host.host.vbs is not None:
        files = _vbs(host, host.host.vbs, program, wanted)
    else:
        files = _sgx(host, program, wanted, int(time.time()) if at is None else at)
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (out / name).write_bytes(content)
        typer.echo(f"{out / name}: {len(content)} bytes")


def _sgx(host: Platform, program: str, nonce: bytes, at: int) -> dict[str, bytes]:
    """The files for a quote, and what they hold."""
    from tee_sim.abi.quote import unwrap
    from tee_sim.attest.intel import SimulatedIntel
    from tee_sim.attester import QuotingService, evidence_of, manufacture

    intel = SimulatedIntel()
    manufacture(host, intel)
    pck = QuotingService(host, intel).pck
    quote, claims = unwrap(evidence_of(host.create_enclave(program), nonce))
    return {
        "evidence.bin": quote,
        "claims.bin": claims,
        "collateral.json": intel.collateral(pck.fmspc, pck.ca, at).to_json().encode(),
        "root.der": intel.root_der,
    }


def _vbs(host: Platform, driver: VBSDriver, program: str, nonce: bytes) -> dict[str, bytes]:
    """The files for a report of VBS, and what they hold."""
    from tee_sim.abi.vbs import unwrap
    from tee_sim.attest.tpm_endorser import TPMVendor
    from tee_sim.attester import evidence_of, published_values

    vendor = TPMVendor()
    report, claims = unwrap(evidence_of(host.create_enclave(program), nonce))
    return {
        "evidence.bin": report,
        "claims.bin": claims,
        "boot.bin": driver.boot_evidence(nonce, vendor.certify).pack(),
        "reference.json": published_values().to_json().encode(),
        "root.der": vendor.root_der,
    }


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
