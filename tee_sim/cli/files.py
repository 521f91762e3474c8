"""``tee-sim measure`` and ``tee-sim inspect``: what a file holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tee_sim.cli.output import Cell, Json, print_json, print_table
from tee_sim.errors import LayoutError, UsageError

if TYPE_CHECKING:
    from tee_sim.abi.image import Image

MOST_BYTES = 256 << 20
"""Largest file that is read."""


def read_file(name: str) -> bytes:
    """A whole file.

    Raises:
        OSError: it cannot be read.
        UsageError: it is too large, or cannot be a file's name.
    """
    try:
        with open(name, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except ValueError as error:  # a NUL, or half of a surrogate pair
        raise UsageError(f"{name!r} is no name of a file: {error}") from None
    if len(data) > MOST_BYTES:
        raise UsageError(f"{name}: more than {MOST_BYTES >> 20} MiB")
    return data


def measure(
    program: Annotated[
        str, typer.Argument(metavar="PROGRAM|FILE", help="An example's name, a directory, a file.")
    ],
    as_json: Json = False,
) -> None:
    """Print MRENCLAVE of a program, an ELF file or an SGXS stream.

    An ELF file alone does not say how much heap and stack and how many threads its enclave has.
    That is read from the program.toml in its directory; without one the defaults are taken, and a
    note on standard error says which.
    """
    from tee_sim.abi.image import measure as mrenclave

    value = mrenclave(_image(program)).hex()
    if as_json:
        print_json({"kind": "MRENCLAVE", "value": value})
    else:
        typer.echo(f"MRENCLAVE {value}")


def _image(program: str) -> Image:
    """The enclave that a name, a directory or a file stands for."""
    from tee_sim.abi.image import ECREATE_TAG
    from tee_sim.abi.sgxs import UNSIZED_TAG, read_sgxs
    from tee_sim.sdk.image import load_program

    path = Path(program)
    if path.is_dir() or not path.exists():
        return load_program(program, "sgx").image
    data = read_file(program)
    if data.startswith(b"\x7fELF"):
        return _image_of_elf(path, data)
    if data.startswith((ECREATE_TAG, UNSIZED_TAG)):
        return read_sgxs(data)
    raise LayoutError(f"{program}: neither an ELF file nor an SGXS stream; try tee-sim inspect")


def _image_of_elf(path: Path, data: bytes) -> Image:
    from tee_sim.sdk.edl import Interface
    from tee_sim.sdk.elf import read_elf
    from tee_sim.sdk.image import lay_out
    from tee_sim.sdk.sources import Config, read

    elf = read_elf(data)
    if (path.parent / "program.toml").is_file():
        config = read(path.parent).config
    else:
        config = Config("program")
        sizes = ("heap_pages", "stack_pages", "threads")
        assumed = ", ".join(f"{name} = {getattr(config, name)}" for name in sizes)
        typer.echo(f"tee-sim: no program.toml beside {path}; assuming {assumed}", err=True)
    return lay_out(elf, config, Interface()).image


def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE", help="SIGSTRUCT, SGXS, ELF, SECS, ...")],
) -> None:
    """Show a structure as a table: offset, size, field, value, meaning.

    SIGSTRUCT, SGXS and ELF say what they are; SECS, TCS, REPORT, TARGETINFO, KEYREQUEST and
    EINITTOKEN are recognised by their size and by values that only they have.
    """
    from tee_sim.abi.layout import Struct, show
    from tee_sim.abi.recognise import recognise

    for title, table in recognise(read_file(file), file):
        rows = table.rows() if isinstance(table, Struct) else table
        print_table(
            title,
            ["offset", "size", "field", "value", "meaning"],
            [
                [
                    Cell(f"{row.offset:#06x}"),
                    Cell(str(row.size)),
                    Cell(row.name, "bold"),
                    Cell(show(row.value)),
                    Cell(row.meaning),
                ]
                for row in rows
            ],
        )
