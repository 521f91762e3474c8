"""The `tee-sim` command: the laboratory without a notebook.

Exit status: 0 done, 1 refused or failed, 2 unusable input, 130 interrupted; never a traceback.
Results go to standard output, everything else to standard error. Each command imports what it
needs when it runs, so that ``--help`` is quick.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from tee_sim.cli.attesting import attest, fetch_evidence
from tee_sim.cli.calls import run
from tee_sim.cli.files import inspect, measure
from tee_sim.cli.serve import serve
from tee_sim.cli.tables import checks, matrix
from tee_sim.cli.verify import verify
from tee_sim.errors import BuildError, LayoutError, TeeSimError, UsageError

__all__ = ["app", "main"]


class Commands(TyperGroup):
    """Turns whatever goes wrong in a command into one line on stderr and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            fail("interrupted", 130)
        except (UsageError, LayoutError, BuildError) as error:
            fail(str(error), 2)
        except TeeSimError as error:
            fail(str(error), 1)
        except MemoryError:
            fail("not enough memory", 1)
        except OSError as error:
            if error.filename is not None:  # what was asked for cannot be read
                fail(f"{error.filename}: {error.strerror}", 2)
            unwritable(error)
        return result


def fail(message: str, status: int) -> NoReturn:
    """End with a message on standard error."""
    typer.echo(f"tee-sim: {message}", err=True)
    raise typer.Exit(status)


def unwritable(error: OSError) -> NoReturn:
    """End because standard output is gone or full; what is still buffered is dropped."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        raise typer.Exit(1)
    fail(f"cannot write the result: {error.strerror or error}", 1)


def examples(*lines: str) -> str:
    """The end of a help page."""
    return "\n".join(("\b", "Examples:", *(f"  tee-sim {line}" for line in lines)))


app = typer.Typer(
    name="tee-sim",
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "matrix",
        "matrix --platform sgx-tme --without PRM.ABORT_PAGE",
        "checks",
        "measure vault",
        "run hello --platform vbs",
        "run vault make_secret 1234 --platform sgx-mee",
        "attest attested --nonce 00112233 --out evidence",
        "verify quote.bin --collateral collateral.json --at 1752919277",
    ),
)
app.command(
    epilog=examples(
        "matrix",
        "matrix --platform none --platform sgx-tme --attack read_private_page",
        "matrix --platform sgx-tme --without PRM.ABORT_PAGE --json",
    )
)(matrix)
app.command(epilog=examples("checks", "checks --json"))(checks)
app.command(
    epilog=examples(
        "measure vault", "measure my_program/", "measure a.sgxs --json", "measure enclave.signed.so"
    )
)(measure)
app.command(
    epilog=examples("inspect enclave.sgxs", "inspect sigstruct.bin", "inspect enclave.signed.so")
)(inspect)
app.command(
    epilog=examples(
        "run hello --platform sgx-mee",
        "run vault make_secret 1234 --platform sgx-mee",
        "run careless cpuid 0x7 --platform none --json",
        "run my_program/ draw @picture.bin hex:00ff -5 2.5",
    ),
    context_settings={"ignore_unknown_options": True},  # -5 is a number
)(run)
app.command(
    epilog=examples(
        "attest attested --platform sgx-tme --nonce 00112233 --out evidence",
        "attest attested --platform vbs --nonce 00112233 --out evidence",
        "attest my_program/ --nonce 00 --out old --patch-level 0 --at 1767225600",
    )
)(attest)
app.command(
    epilog=examples(
        "verify quote.bin --collateral collateral.json --at 1752919277",
        "verify evidence.bin --collateral collateral.json --at 1752919277 --root root.der --json",
        "verify quote.bin --collateral collateral.json --at 1752919277 --policy policy.toml",
        "verify evidence.bin --boot boot.bin --reference reference.json --nonce 00112233 "
        "--at 1767225600 --root root.der",
    ),
)(verify)
app.command(epilog=examples("fetch-evidence evidence"))(fetch_evidence)
app.command(
    epilog=examples(
        "serve --out keys",
        "serve --isolated owner.pem --port 0",
        "serve --collateral collateral.json --root root.der",
    )
)(serve)


def _version(wanted: bool) -> None:
    if wanted:
        from tee_sim import __version__

        typer.echo(f"tee-sim {__version__}")
        raise typer.Exit


@app.callback()
def tee_sim(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it and exit.")
    ] = False,
) -> None:
    """Attack real enclaves on a simulated machine, and see which check stops you.

    Exit status: 0 done, 1 refused or failed, 2 unusable input.
    """


def main() -> None:
    """What the console script calls."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not every terminal has a ■; the words remain
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except Exception as error:
        if os.environ.get("TEE_SIM_TRACEBACK"):
            traceback.print_exc()
        what = f"this is a bug: {type(error).__name__}: {error}"
        typer.echo(f"tee-sim: {what} (TEE_SIM_TRACEBACK=1 shows where)", err=True)
        sys.exit(1)
