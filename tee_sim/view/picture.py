"""A single drawing: what a `Player` is with one frame, but with nothing to press."""

from __future__ import annotations

from pathlib import Path

from tee_sim.view.markup import clean, document, esc, save
from tee_sim.view.player import STYLE, Frame
from tee_sim.view.svg import still


class Picture:
    """One `Frame` with a title. Jupyter shows it as HTML; no widget is involved."""

    def __init__(self, frame: Frame, title: str = "") -> None:
        self.frame, self.title = frame, clean(title)

    def __repr__(self) -> str:
        return f"Picture({' '.join(self.title.split())})"

    def _repr_html_(self) -> str:
        title = f'<p class="tee-title">{esc(self.title)}</p>' if self.title else ""
        caption = f'<p class="tee-caption">{esc(self.frame.caption)}</p>'
        return (
            f'<figure class="tee-player"><style>{STYLE}</style>{title}'
            f'<div class="tee-stage">{still(self.frame.svg, self.title, self.frame.alt)}</div>'
            f"{caption if self.frame.caption else ''}</figure>"
        )

    def to_html(self, path: Path | str | None = None) -> str:
        """A self-contained page; also written to ``path`` if one is given."""
        return save(document(self.title or "Picture", self._repr_html_()), path)
