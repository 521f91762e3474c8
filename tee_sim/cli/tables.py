"""``tee-sim matrix`` and ``tee-sim checks``: what stops which attack, and by which check."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from tee_sim.cli.output import Cell, Json, print_cells, print_json, print_record, print_table
from tee_sim.errors import known

STYLES = {"blocked": "green", "detected": "cyan", "ciphertext": "yellow", "succeeds": "bold red"}


def matrix(
    platform: Annotated[
        list[str] | None, typer.Option(metavar="P", help="A column; may be repeated.")
    ] = None,
    attack: Annotated[
        list[str] | None,
        typer.Option(metavar="A", help="A row, or the proof of a check; may be repeated."),
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(metavar="CHECK", help="Switch it off; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run attacks on platforms, and show what came of them.

    Without options: every row of the matrix on every platform. A cell names the check that stopped
    the attack, and behind it those that had to be switched off as well until it succeeded.
    """
    from tee_sim.attacks import ATTACKS
    from tee_sim.attacks.matrix import compute
    from tee_sim.tees import TEES

    columns = known("platform", platform or (), TEES) or list(TEES)
    rows = known("attack", attack or (), ATTACKS) or [a.name for a in ATTACKS.values() if a.row]
    here = {check.name: check for name in columns for check in TEES[name].checks}
    off = known("check", without or (), here, f" on {', '.join(columns)}")
    if as_json:
        print_json(compute(columns, rows, off))
        return
    data = _compute_with_progress(columns, rows, off)
    print_table(
        "Attack matrix" + (f" without {', '.join(off)}" if off else ""),
        ["row", "attack", *(f"{name}: {TEES[name].title}" for name in columns)],
        [_matrix_row(attack, columns) for attack in data["attacks"]],
    )
    from tee_sim.view.matrix import VERDICTS

    for verdict, (symbol, _, meaning) in VERDICTS.items():
        sign = Cell(f"{symbol} {verdict}", STYLES.get(verdict, ""))
        print_cells([sign, Cell(f": {meaning}")])


def _compute_with_progress(
    columns: Sequence[str], rows: Sequence[str], off: Sequence[str]
) -> dict[str, Any]:
    """The matrix; on a terminal with a bar that goes away when it is done."""
    from tee_sim.attacks.matrix import cells, compute

    if not sys.stderr.isatty():
        return compute(columns, rows, off)
    from rich.progress import Progress

    from tee_sim.cli.output import console

    with Progress(console=console(stderr=True), transient=True) as progress:
        task = progress.add_task("attacking", total=cells(rows) * len(columns))
        return compute(columns, rows, off, lambda: progress.advance(task))


def _matrix_row(attack: dict[str, Any], columns: Iterable[str]) -> list[Cell]:
    cells = [Cell(str(attack["row"] or "")), Cell(attack["title"])]
    return cells + [_outcome(attack["outcomes"][name]) for name in columns]


def _outcome(outcome: dict[str, Any]) -> Cell:
    from tee_sim.attacks.outcome import SYMBOLS

    verdict, check = outcome["verdict"], outcome["check"]
    text = f"{SYMBOLS[verdict]} {verdict}"
    if check:
        text += f": {check}"
    if outcome["variant"]:
        text += f" [{outcome['variant']}]"
    if behind := [layer for layer in outcome["layers"] if layer != check]:
        text += f" (behind it {', '.join(behind)})"
    if outcome["unverified"]:
        text += " (unverified)"
    return Cell(text, STYLES.get(verdict, ""))


def checks(as_json: Json = False) -> None:
    """List the register of checks: what each stops, where it is defined, what proves it.

    "proof" holds the names of the attacks that succeed without the check.
    """
    from tee_sim.attacks.matrix import register

    table: list[dict[str, Any]] = [
        {
            "name": check.name,
            "title": check.title,
            "stops": check.stops,
            "source": check.source,
            "proof": proof,
        }
        for check, proof in register()
    ]
    if as_json:
        print_json(table)
        return
    for entry in table:
        fields = {"stops": entry["stops"], "source": entry["source"]}
        fields["proof"] = ", ".join(entry["proof"])
        print_record([Cell(entry["name"], "bold cyan"), Cell(f"  {entry['title']}")], fields)
