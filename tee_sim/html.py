"""The plain table as which objects show themselves in a notebook.

Pictures and cards are `tee_sim.view`'s; this is for every object that a student may print.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def table(caption: str, rows: Iterable[tuple[str, object]]) -> str:
    """A captioned two-column table: name and value, both escaped; integers in hexadecimal."""
    body = "".join(
        f"<tr><th scope='row' style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'><code>{escape(_show(value))}</code></td></tr>"
        for name, value in rows
    )
    return f"<table><caption>{escape(caption)}</caption><tbody>{body}</tbody></table>"


def _show(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes):
        return value.hex() if len(value) <= 64 else f"{value[:32].hex()}... ({len(value)} bytes)"
    if type(value) is int:
        return f"{value:#x}"
    return str(getattr(value, "name", value))
