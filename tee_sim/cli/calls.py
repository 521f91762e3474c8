"""``tee-sim run``: start a program, and call one of its functions or run its host script."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tee_sim.cli.files import read_file
from tee_sim.cli.output import Json, print_json
from tee_sim.errors import UsageError, known

if TYPE_CHECKING:
    from tee_sim.sdk.convert import Plan
    from tee_sim.sdk.edl import Param

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def run(
    program: Annotated[
        str, typer.Argument(metavar="PROGRAM", help="An example's name, or a directory.")
    ],
    ecall: Annotated[
        str | None, typer.Argument(metavar="ECALL", help="Which function to call.")
    ] = None,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARG", help="Its arguments, in order.")
    ] = None,
    platform: Annotated[str, typer.Option(metavar="P", help="Where to run it.")] = "sgx-tme",
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed, other keys.")] = 0,
    as_json: Json = False,
) -> None:
    """Start a program on a fresh server and call one of its functions, or run its host script.

    Without ECALL, the program's own host.py does with it what it is there to show.

    What an argument is, the program's EDL file says: a number (also 0x1f or 1e-3), true or false;
    for buffers and strings @FILE is the bytes of a file, hex:00ff these bytes, and anything else
    the text itself; for structures JSON. Bytes that come out are printed in hexadecimal.
    """
    from runpy import run_path

    from tee_sim.platform import Platform
    from tee_sim.sdk.convert import Plan
    from tee_sim.sdk.image import load_program
    from tee_sim.sdk.sources import find
    from tee_sim.tees import TEES

    known("platform", [platform], TEES)
    if ecall is None:
        run_path(str(find(program) / "host.py"))["main"](Platform(platform, seed=seed))
        return
    built = load_program(program, TEES[platform].target)
    functions = {function.name: function for function in built.interface.trusted}
    known("ecall", [ecall], functions, f" in {built.name}")
    plan = Plan(functions[ecall])
    values = _values(plan.given, arguments or ())
    enclave = Platform(platform, seed=seed).create_enclave(built)
    results = _named(plan, getattr(enclave, ecall)(*values))
    if as_json:
        print_json(results)
        return
    for name, value in results.items():
        typer.echo(f"{name} = {value}")
    if not results:
        typer.echo(f"{ecall} is done, and returns nothing")


def _named(plan: Plan, returned: Any) -> dict[str, Any]:
    """What an ecall returned, by name: ``result`` and its [out] buffers, those in hexadecimal."""
    names = ["result"] * plan.returns_value + [param.name for param in plan.outs]
    values = returned if len(names) > 1 else (returned,)
    return {name: _plain(value) for name, value in zip(names, values, strict=False)}


def _plain(value: Any) -> Any:
    """A value without named tuples and bytes, for people and for JSON."""
    if isinstance(value, bytes):
        return value.hex()
    if hasattr(value, "_asdict"):
        return {name: _plain(item) for name, item in value._asdict().items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _values(given: Sequence[Param], texts: Sequence[str]) -> list[Any]:
    """Python values of an ecall's arguments; a wrong number of them is the call's to refuse."""
    values: list[Any] = [_value(param, text) for param, text in zip(given, texts, strict=False)]
    return values + list(texts[len(values) :])


def _value(param: Param, text: str) -> Any:
    """One argument as its type asks for it."""
    if param.type.compound:
        try:
            return json.loads(text)
        except ValueError:
            raise UsageError(f"{param.name}: {text!r} is no {param.type.name} in JSON") from None
    if param.pointer:
        return _bytes(param, text)
    kind = param.type.kind
    try:
        if kind == "bool":
            return _BOOLEANS[text.lower()]
        if kind == "float":
            return float.fromhex(text) if "0x" in text.lower() else float(text)
        return int(text) if text.lstrip("+-").isdecimal() else int(text, 0)
    except (KeyError, ValueError, OverflowError):
        raise UsageError(f"{param.name}: {text!r} is no {param.type.name}") from None


def _bytes(param: Param, text: str) -> bytes:
    if text.startswith("@"):
        return read_file(text[1:])
    try:
        return bytes.fromhex(text[4:]) if text.startswith("hex:") else os.fsencode(text)
    except ValueError as error:  # UnicodeEncodeError is one
        raise UsageError(f"{param.name}: {text!r}: {error}") from None
