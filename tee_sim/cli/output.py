"""What commands print: drawn with `rich` on a terminal, else plain text with whole values.

Into a pipe or a file goes one row on a line, without colour, so that other tools can read it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from rich.console import Console


Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


class Cell(NamedTuple):
    """One cell of a table: text, and its style on a terminal."""

    text: str
    style: str = ""


def visible(cells: Sequence[Cell]) -> list[Cell]:
    """The cells without what moves a terminal's cursor or begins a line.

    Strangers write names into their evidence, and one could read like a verdict of ours.
    """
    return [Cell("".join(map(_shown, cell.text)), cell.style) for cell in cells]


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode()


def print_json(data: Any) -> None:
    """Print data for another program."""
    typer.echo(json.dumps(data, indent=2))


def on_terminal() -> bool:
    """Whether a person reads standard output."""
    return sys.stdout is not None and sys.stdout.isatty()


def console(stderr: bool = False) -> Console:
    """Where `rich` draws."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def print_cells(cells: Sequence[Cell]) -> None:
    """Print one line."""
    cells = visible(cells)
    if not on_terminal():
        typer.echo("".join(cell.text for cell in cells))
        return
    from rich.text import Text

    console().print(Text.assemble(*((cell.text, cell.style) for cell in cells)))


def print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a table."""
    rows = [visible(row) for row in rows]
    if not on_terminal():
        lines = [list(heads), *([cell.text for cell in row] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        typer.echo(title)
        for line in lines:
            padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
            typer.echo("  ".join(padded).rstrip())
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD)
    for head in heads:
        table.add_column(Text(head), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell.text, cell.style) for cell in row))
    console().print(table)


def print_record(head: Sequence[Cell], fields: Mapping[str, str]) -> None:
    """Print a heading, and indented under it the fields with their names."""
    print_cells(head)
    if not on_terminal():
        for name, text in fields.items():
            typer.echo(f"    {name}: {text}")
        return
    from rich.padding import Padding
    from rich.text import Text

    for name, text in fields.items():
        console().print(Padding(Text.assemble((f"{name}: ", "dim"), text), (0, 0, 0, 4)))
