"""The attack matrix as an HTML table, from its JSON form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tee_sim.errors import UsageError
from tee_sim.view.markup import Html, asset, esc

# verdict: symbol, class, what it means
VERDICTS = {
    "blocked": ("■", "b", "a check refused it"),
    "detected": ("◆", "d", "not stopped, but noticed before the victim acts on it"),
    "ciphertext": ("≈", "c", "the attacker gets ciphertext only"),
    "succeeds": ("✗", "x", "the attacker gets what it wants"),
    "not-applicable": ("○", "n", "the attack has no meaning on this platform"),
}

_STYLE = asset("matrix.css")

# What must not be lost where a style sheet is: see cards.py.
_BOX = (
    "margin:8px 0;padding:12px 16px;overflow-x:auto;background:#fff;color:#1a1a1a;"
    "border:1px solid #767676;border-radius:8px"
)
_CELL = "text-align:left;vertical-align:top;color:#1a1a1a;background:"
_FILLS = {"b": "#d9eef7", "d": "#e0f2ec", "c": "#fdf9d8", "x": "#fbe3d5", "n": "#fff"}


def matrix_table(data: Mapping[str, Any], title: str = "Attack matrix") -> Html:
    """Draw the computed attack matrix: attacks are rows, platforms are columns.

    Args:
        data: ``{"platforms": [...], "attacks": [{"name", "row", "reference", "title",
            "outcomes": {platform: {"verdict", "check", "layers", "variant", "detail"}}}]}``. An
            outcome with a true ``"unverified"`` says so; a platform without an outcome was not
            run.
        title: the caption of the table.

    Raises:
        UsageError: a verdict is not one of the five.
    """
    platforms = [str(platform) for platform in data["platforms"]]
    top = f'scope="col" style="{_CELL}#f2f2f2"'
    head = "".join(f"<th {top}>{esc(platform)}</th>" for platform in platforms)
    body = "".join(_row(attack, platforms) for attack in data["attacks"])
    legend = "".join(
        f'<li><span class="v"><span aria-hidden="true">{symbol}</span> {verdict}</span>: '
        f"{meaning}</li>"
        for verdict, (symbol, _, meaning) in VERDICTS.items()
    )
    return Html(
        "Matrix",
        f"{title}: {len(data['attacks'])} attacks on {len(platforms)} platforms",
        f'<div class="tee-matrix" role="region" tabindex="0" aria-label="{esc(title)}" '
        f'style="{_BOX}">'
        f"<style>{_STYLE}</style><table><caption>{esc(title)}</caption>"
        f"<thead><tr><th {top}>attack</th>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"<ul>{legend}</ul></div>",
    )


def _row(attack: Mapping[str, Any], platforms: Sequence[str]) -> str:
    outcomes = attack["outcomes"]
    cells = "".join(_cell(outcomes.get(platform)) for platform in platforms)
    number = f"{esc(attack['row'])}. " if attack.get("row") not in (None, "") else ""
    reference = attack.get("reference") or ""
    source = f'<div class="s">{esc(reference)}</div>' if reference else ""
    words = esc(attack.get("title") or attack["name"])
    return (
        f'<tr><th scope="row" style="{_CELL}#fff"><b>{number}{words}</b>{source}</th>{cells}</tr>'
    )


def _cell(outcome: Mapping[str, Any] | None) -> str:
    """One outcome: the verdict, what fired, and the rest behind a "more"."""
    if outcome is None:
        return f'<td class="n" style="{_CELL}#fff">not run</td>'
    verdict = str(outcome["verdict"])
    if verdict not in VERDICTS:
        raise UsageError(f"verdict {verdict!r} must be one of {', '.join(VERDICTS)}")
    symbol, style, _ = VERDICTS[verdict]
    words = verdict.replace("-", "-<wbr>")
    parts = [f'<b class="v"><span aria-hidden="true">{symbol}</span>&#160;{words}</b>']
    if outcome.get("unverified"):
        parts.append('<div class="s">(unverified)</div>')
    for key in ("check", "variant"):
        if outcome.get(key):
            parts.append(f'<div class="s">{_breakable(outcome[key])}</div>')
    behind = [layer for layer in outcome.get("layers") or () if layer != outcome.get("check")]
    more = [f"Behind it: {', '.join(_breakable(layer) for layer in behind)}."] if behind else []
    if outcome.get("detail"):
        more.append(esc(outcome["detail"]))
    if more:
        parts.append(f"<details><summary>more</summary>{' '.join(more)}</details>")
    return f'<td class="{style}" style="{_CELL}{_FILLS[style]}">{"".join(parts)}</td>'


def _breakable(name: object) -> str:
    """A check's name, which may be broken after its dots."""
    return esc(name).replace(".", ".<wbr>").replace("_", "_<wbr>")
