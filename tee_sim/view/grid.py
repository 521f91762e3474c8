"""A plain table with several columns, for what is best read side by side."""

from __future__ import annotations

from collections.abc import Sequence

from tee_sim.errors import UsageError
from tee_sim.view.markup import Html, asset, esc

_STYLE = asset("grid.css")


def grid(
    title: str, head: Sequence[str], rows: Sequence[Sequence[str]], *,
    marked: Sequence[tuple[int, int]] = (), note: str = "",
) -> Html:  # fmt: skip
    """A captioned table with a ``note`` below; the first cell of each row is its heading.

    ``marked`` are (row, column) of cells to set in bold behind an arrow, both from 0.

    Raises:
        UsageError: a row does not fit the head.
    """
    if any(len(row) != len(head) for row in rows):
        raise UsageError(f"each row needs {len(head)} cells, like the head")
    top = "".join(f'<th scope="col">{esc(word)}</th>' for word in head)
    body = ""
    for i, row in enumerate(rows):
        cells = (_cell(cell, j, (i, j) in marked) for j, cell in enumerate(row))
        body += f"<tr>{''.join(cells)}</tr>"
    below = f"<p>{esc(note)}</p>" if note else ""
    return Html(
        "Table",
        title,
        f'<div class="tee-grid" role="region" tabindex="0" aria-label="{esc(title)}">'
        f"<style>{_STYLE}</style><table><caption>{esc(title)}</caption>"
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>{below}</div>",
    )


def _cell(text: str, column: int, marked: bool) -> str:
    if column == 0:
        return f'<th scope="row">{esc(text)}</th>'
    return f"<td><b>► {esc(text)}</b></td>" if marked else f"<td>{esc(text)}</td>"
