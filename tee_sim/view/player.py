"""A picture in steps: frames that are drawn in Python and stepped through in the page.

    Player(2 frames: A door)

The page does the stepping, so a step costs no message to the kernel; ``step`` still arrives in
Python. The same JavaScript works without a kernel and without a network (`Player.to_html`).
Jupyter is needed only to *show* a Player as a widget; this module imports without it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from tee_sim.errors import UsageError
from tee_sim.view.markup import Html, asset, clean, esc
from tee_sim.view.svg import describe, still

SCRIPT = asset("player.js")
STYLE = asset("player.css")

# Without a kernel: find the figures that no script has woken yet, and give each its own model.
_WAKE = """
for (const el of document.querySelectorAll(".tee-home:not([data-awake])")) {
  const state = { step: 0, ...JSON.parse(el.querySelector("script").textContent) };
  el.setAttribute("data-awake", "true");
  render({ el, model: {
    get: (name) => state[name], set: (name, value) => { state[name] = value; },
    save_changes() {}, on() {}, off() {},
  } });
}
"""


@dataclass(frozen=True, slots=True)
class Frame:
    """One step of a `Player`.

    Attributes:
        svg: an ``<svg>`` element with a ``viewBox``.
        caption: one or two sentences that say what happens in this step.
        alt: what the drawing shows, for a reader who does not see it.
    """

    svg: str
    caption: str
    alt: str


class Picture(Html):
    """One `Frame` with a title, and nothing to press. No widget is involved."""

    def __init__(self, frame: Frame, title: str = "") -> None:
        caption = f'<p class="tee-caption">{esc(frame.caption)}</p>' if frame.caption else ""
        super().__init__("Picture", title)
        self.frame = frame
        self.body = _figure(frame, self.title, f"<style>{STYLE}</style>", caption)


class Player(Html):
    """Frames below a title, and the step that is shown.

    Raises:
        UsageError: there is no frame, or a frame is not a well-formed ``<svg>`` element.
    """

    def __init__(self, frames: Sequence[Frame], title: str = "") -> None:
        if not frames:
            raise UsageError("a Player needs at least one Frame")
        for i, frame in enumerate(frames):
            _require_svg(frame.svg, i)
        super().__init__("Picture in steps", title)
        self.frames = tuple(frames)
        self._step = 0
        self._widget: Any = None

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        count = f"{len(self)} frame{'s' if len(self) != 1 else ''}"
        return f"Player({count}: {' '.join(self.title.split())})"

    @property
    def step(self) -> int:
        """The frame that is shown, from 0. Setting it moves the picture in the page, too."""
        return int(self._widget.step) if self._widget is not None else self._step

    @step.setter
    def step(self, value: int) -> None:
        if not 0 <= value < len(self):
            raise UsageError(f"step {value}: this Player has steps 0 to {len(self) - 1}")
        self._step = value
        if self._widget is not None:
            self._widget.step = value

    @property
    def widget(self) -> Any:
        """The anywidget behind it, made on first use.

        Raises:
            UsageError: anywidget is not installed.
        """
        if self._widget is None:
            try:
                from tee_sim.view.widget import PlayerWidget
            except ImportError as error:
                raise UsageError(
                    "showing a Player in a notebook needs anywidget: pip install anywidget "
                    "(or use player.to_html('file.html') and open that file)"
                ) from error
            self._widget = PlayerWidget(frames=self._state(), title=self.title, step=self._step)
            self._widget.text = repr(self)
        return self._widget

    def _repr_html_(self) -> str:
        """The first frame, then the script that steps, with no kernel and no network."""
        state = json.dumps({"frames": self._state(), "title": self.title}, sort_keys=True)
        script = SCRIPT.replace("export default { render };", _WAKE)
        return (
            f'<style>{STYLE}</style><div class="tee-home">{self._still()}'
            f'<script type="application/json">{state.replace("<", chr(92) + "u003c")}</script>'
            f"</div><script>(() => {{\n{script}}})();</script>"
        )

    def _still(self) -> str:
        """The first frame and all captions, for a page that runs no script."""
        below = f'<p class="tee-caption">{esc(self.frames[0].caption)}</p>'
        if len(self) > 1:
            steps = "".join(f"<li>{esc(f.caption)} {esc(f.alt)}</li>" for f in self.frames)
            summary = "<summary>All steps as text</summary>"
            below += f'<details class="tee-steps">{summary}<ol>{steps}</ol></details>'
        return _figure(self.frames[0], self.title, "", below)

    def _state(self) -> list[dict[str, str]]:
        """The frames as the page gets them."""
        states = []
        for frame in self.frames:
            svg = describe(frame.svg, self.title, frame.alt)
            states.append({"svg": svg, "caption": clean(frame.caption), "alt": clean(frame.alt)})
        return states

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, Any], dict[str, Any]]:
        """The widget for a live notebook, HTML for a published one, text for a comparison."""
        data, _ = self.widget._repr_mimebundle_()
        return {**data, "text/plain": repr(self), "text/html": self._repr_html_()}, {}


def _figure(frame: Frame, title: str, style: str, below: str) -> str:
    """A drawing between its title and what stands below it."""
    above = f'<p class="tee-title">{esc(title)}</p>' if title else ""
    return (
        f'<figure class="tee-player">{style}{above}'
        f'<div class="tee-stage">{still(frame.svg, title, frame.alt)}</div>{below}</figure>'
    )


def _require_svg(svg: str, index: int) -> None:
    """Refuse a frame that would break the page around it."""
    try:
        tag = ElementTree.fromstring(svg).tag
    except (ElementTree.ParseError, UnicodeEncodeError) as error:
        raise UsageError(f"frame {index} is not well-formed SVG: {error}") from error
    if tag.rpartition("}")[2] != "svg":
        raise UsageError(f"frame {index} must be one <svg> element, not <{tag}>")
