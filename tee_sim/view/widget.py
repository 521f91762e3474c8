"""The Jupyter side of `tee_sim.view.player`: the only module here that needs Jupyter installed."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from tee_sim.view.markup import asset


class PlayerWidget(anywidget.AnyWidget):
    """What the page and the kernel share: the frames, the title and the step."""

    _esm = asset("player.js")
    _css = asset("player.css")
    frames = traitlets.List(traitlets.Dict()).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)

    text: str = ""

    @traitlets.validate("step")
    def _inside(self, proposal: dict[str, Any]) -> int:
        """A page may send anything; keep the step inside the frames."""
        return max(0, min(int(proposal["value"]), len(self.frames) - 1))

    def __repr__(self) -> str:
        return self.text or "PlayerWidget()"
