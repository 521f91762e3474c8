"""``tee-sim measure`` and ``tee-sim inspect``: what a file holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tee_sim.cli.output import Cell, Json, print_json, print_table
from tee_sim.errors import LayoutError, UsageError

if TYPE_CHECKING:
    from tee_sim.abi.image import Image
    from tee_sim.abi.layout import Row
    from tee_sim.abi.sgx_sign import SIGSTRUCT

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


def from_hex(option: str, text: str) -> bytes:
    """The bytes that an option gives in hexadecimal, or `UsageError`."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is not hexadecimal") from None


def measure(
    program: Annotated[
        str, typer.Argument(metavar="PROGRAM|FILE", help="An example's name, a directory, a file.")
    ],
    as_json: Json = False,
) -> None:
    """Print MRENCLAVE of a program, an ELF file, a signed enclave file or an SGXS stream.

    For a file that Intel's SGX SDK signed (*.signed.so) the ENCLAVEHASH in its signature is printed
    too, and whether they agree: if not, no processor will initialise it.

    An ELF file alone does not say how much heap and stack and how many threads its enclave has.
    That is read from the program.toml in its directory; without one the defaults are taken, and a
    note on standard error says which.
    """
    from tee_sim.abi.image import measure as mrenclave

    image, sigstruct = _image(program)
    value = mrenclave(image)
    found: dict[str, Any] = {"kind": "MRENCLAVE", "value": value.hex()}
    if sigstruct is not None:
        agrees = value == sigstruct.enclavehash
        found |= {"enclavehash": sigstruct.enclavehash.hex(), "agrees": agrees}
    if as_json:
        print_json(found)
        return
    typer.echo(f"MRENCLAVE {found['value']}")
    if sigstruct is not None:
        verdict = "signed, and agrees" if agrees else "signed, and DIFFERS"
        typer.echo(f"ENCLAVEHASH {found['enclavehash']} ({verdict})")


def _image(program: str) -> tuple[Image, SIGSTRUCT | None]:
    """The enclave that a name, a directory or a file stands for, and the signature in the file."""
    from tee_sim.abi import elf
    from tee_sim.abi.image import ECREATE_TAG
    from tee_sim.abi.sgx_metadata import is_signed
    from tee_sim.abi.sgxs import UNSIZED_TAG, read_sgxs
    from tee_sim.abi.signed import read_signed
    from tee_sim.sdk.image import load_program

    path = Path(program)
    if path.is_dir() or not path.exists():
        return load_program(program, "sgx").image, None
    data = read_file(program)
    if data.startswith(elf.MAGIC):
        if not is_signed(elf.read(data)):
            return _image_of_elf(path, data), None
        signed = read_signed(data)
        return signed.image, signed.sigstruct
    if data.startswith((ECREATE_TAG, UNSIZED_TAG)):
        return read_sgxs(data), None
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

    A SIGSTRUCT is checked, too. Of an enclave that Intel's SGX SDK signed (*.signed.so), the
    metadata, the signature and the layout are shown.

    SIGSTRUCT, SGXS and ELF say what they are; SECS, TCS, REPORT, TARGETINFO, KEYREQUEST and
    EINITTOKEN are recognised by their size and by values that only they have.
    """
    from tee_sim.abi.layout import Struct
    from tee_sim.abi.recognise import recognise
    from tee_sim.abi.sgx_sign import SIGSTRUCT

    for title, table in recognise(read_file(file), file):
        _print_rows(title, table.rows() if isinstance(table, Struct) else table)
        if isinstance(table, SIGSTRUCT):
            _print_rows("What follows from this SIGSTRUCT", _checked(table))


def _checked(sigstruct: SIGSTRUCT) -> list[Row]:
    """Who signed, and whether the processor would believe it."""
    from tee_sim.abi.layout import Row
    from tee_sim.monitors.sgx.sigstruct import BadSigstruct, mrsigner, verify

    verdict = "valid"
    try:
        verify(sigstruct)
    except BadSigstruct as error:
        verdict = f"NOT valid: {error}"
    key = sigstruct.FIELDS["modulus"]
    return [
        Row(key.offset, key.size, "MRSIGNER", mrsigner(sigstruct), "SHA-256 of MODULUS"),
        Row(0, sigstruct.SIZE, "signature", verdict, "of SIGNATURE, Q1 and Q2"),
    ]


def _print_rows(title: str, rows: Sequence[Row]) -> None:
    from tee_sim.abi.layout import show

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
