"""Small cards for notebooks: who attacks, what you predict, what to do."""

from __future__ import annotations

from collections.abc import Sequence

from tee_sim.checks import Check
from tee_sim.errors import UsageError
from tee_sim.view.markup import Html, asset, esc

Line = str | tuple[str, str]
"""A sentence, or a word and what it stands for."""

# kind: heading, colour, style of the bar at the left, sign
KINDS = {
    "adversary": ("Adversary", "#a84300", "dashed", "⚔"),
    "prediction": ("Prediction", "#0072b2", "dotted", "?"),
    "exercise": ("Exercise", "#00694d", "solid", "✎"),
    "note": ("Note", "#4d4d4d", "double", "☞"),
    "check": ("Check", "#0072b2", "solid", "■"),
}

_STYLE = asset("cards.css")

# Without a style sheet, too: JupyterLab strips it from the stored outputs of a notebook that this
# reader has not run yet, and leaves `style` attributes.
_BOX = (
    "box-sizing:border-box;max-width:934px;margin:8px 0;padding:10px 16px;background:#fff;"
    "color:#1a1a1a;border:1px solid #767676;border-radius:8px"
)


def card(kind: str, title: str, lines: Sequence[Line] = ()) -> Html:
    """A card of one kind: ``"adversary"``, ``"prediction"``, ``"exercise"`` or ``"note"``.

    Args:
        kind: which card.
        title: its first line.
        lines: sentences, or pairs such as ``("capability", "reads and writes the memory bus")``;
            pairs that follow each other are set as one list.

    Raises:
        UsageError: there is no card of that kind.
    """
    if kind not in KINDS:
        raise UsageError(f"no card of kind {kind!r}; there are {', '.join(KINDS)}")
    heading, colour, bar, sign = KINDS[kind]
    return Html(
        heading,
        title,
        f'<div class="tee-card" role="group" aria-label="{heading}: {esc(title)}" '
        f'style="{_BOX};border-left:8px {bar} {colour}"><style>{_STYLE}</style>'
        f'<p class="k" style="color:{colour}"><span aria-hidden="true">{sign}</span> {heading}</p>'
        f'<p class="t"><b>{esc(title)}</b></p>{"".join(_parts(lines))}</div>',
    )


def check_card(check: Check) -> Html:
    """What one named check is for: its plain title, what it stops, and who defines it."""
    lines = [("name", check.name), ("stops", check.stops), ("defined in", check.source)]
    return card("check", check.title, lines)


def _parts(lines: Sequence[Line]) -> list[str]:
    out: list[str] = []
    for line in lines:
        if isinstance(line, str):
            out.append(f"<p>{esc(line)}</p>")
            continue
        row = f"<dt>{esc(line[0])}</dt><dd>{esc(line[1])}</dd>"
        if out and out[-1].endswith("</dl>"):
            out[-1] = out[-1].removesuffix("</dl>") + row + "</dl>"
        else:
            out.append(f"<dl>{row}</dl>")
    return out
