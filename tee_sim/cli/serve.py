"""``tee-sim serve``: an attestation service on this machine, and Intel's collateral beside it."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Annotated

import typer

from tee_sim.cli.files import read_file
from tee_sim.errors import LayoutError, ServiceError, UsageError

if TYPE_CHECKING:
    from tee_sim.attest.intel import SimulatedIntel
    from tee_sim.services.maa import AttestationService

Port = typer.Option(min=0, max=0xFFFF, metavar="PORT", help="0 takes any that is free.")


def serve(
    port: Annotated[int, Port] = 8443,
    pcs_port: Annotated[int, Port] = 8081,
    http: Annotated[bool, typer.Option("--http", help="No TLS; Azure's client wants it.")] = False,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="For ca.pem and root.der; else a new one.")
    ] = None,
    isolated: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Certificate (PEM) that may sign policies; repeatable."),
    ] = None,
    collateral: Annotated[
        str | None, typer.Option(metavar="FILE", help="Collateral in dcap-qvl's JSON form.")
    ] = None,
    root: Annotated[
        str | None, typer.Option(metavar="FILE", help="Its root, PEM or DER; without, Intel's.")
    ] = None,
) -> None:
    """Run an attestation service that speaks the REST API of Microsoft Azure Attestation.

    Clients have to trust the CA in ca.pem, which is new each time. Without --collateral, the
    simulated Intel endorses, and its collateral is served too. Ctrl-C ends it.
    """
    if root is not None and collateral is None:
        raise UsageError("--root is the root of --collateral; the simulated Intel has its own")
    directory = Path(out or mkdtemp(prefix="tee-sim-"))
    directory.mkdir(parents=True, exist_ok=True)
    try:
        from tee_sim.services.maa_http import serving
        from tee_sim.services.pcs import create_app
        from tee_sim.services.running import running

        service, intel = _service(isolated or [], collateral, root)
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is missing: pip install '.[services]'") from None
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        ca = stack.enter_context(serving(service, None if http else directory, port=port))
        typer.echo(f"attestation service: {service.issuer}")
        if ca:
            typer.echo(f"trust its CA: {ca.resolve()}")
        if intel is not None:
            pcs = running(create_app(intel, lambda: int(time.time())), port=pcs_port)
            typer.echo(f"collateral service: {stack.enter_context(pcs)}")
            (directory / "root.der").write_bytes(intel.root_der)
            typer.echo(f"trust its root: {(directory / 'root.der').resolve()}")
        sys.stdout.flush()
        threading.Event().wait()


def _service(
    isolated: list[str], collateral: str | None, root: str | None
) -> tuple[AttestationService, SimulatedIntel | None]:
    """The service, and the simulated Intel that endorses where no collateral is given."""
    from cryptography.x509 import load_pem_x509_certificate

    from tee_sim.attest.chains import load_root
    from tee_sim.attest.collateral import Collateral
    from tee_sim.attest.intel import SimulatedIntel
    from tee_sim.attester.manufacturing import MODELS, manufacture
    from tee_sim.platform import Platform
    from tee_sim.services.appraiser import quote_appraiser, simulated_collateral
    from tee_sim.services.local_ca import new_signer
    from tee_sim.services.maa import AttestationService
    from tee_sim.services.tokens import certificate_of, jwk

    if collateral is not None:
        intel, endorsed = None, Collateral.from_json(read_file(collateral))
        trusted = load_root(read_file(root)) if root is not None else None
        appraise = quote_appraiser(lambda *_: endorsed, trusted)
    else:
        intel = SimulatedIntel()
        for tee in MODELS:
            manufacture(Platform(tee), intel)  # from now on Intel endorses all of its kind
        appraise = quote_appraiser(simulated_collateral(intel), intel.root_der)
    try:
        signers = [load_pem_x509_certificate(read_file(name)) for name in isolated]
        for signer in signers:
            certificate_of(jwk(signer))  # whoever has another key could never sign a policy
    except (ValueError, ServiceError) as error:
        raise LayoutError(f"--isolated: {error}") from None
    service = AttestationService(appraise, issuer="", signer=new_signer(), management=signers)
    return service, intel
