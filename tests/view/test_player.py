"""The player: steps, sync with the page, stand-alone pages, stable output."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tee_sim.errors import UsageError
from tee_sim.view import Frame, Picture, Player

DOOR = '<svg viewBox="0 0 10 10"><rect width="4" height="8"/></svg>'
VOID = {"meta", "img", "input", "br", "wbr"}


class Page(HTMLParser):
    """Collects the tags and the addresses of a page, and insists that the tags are nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


def door(count: int = 3, title: str = "A door") -> Player:
    return Player([Frame(DOOR, f"Step number {i}.", f"Drawing {i}.") for i in range(count)], title)


def test_the_page_moves_the_step() -> None:
    player = door()
    player.widget.set_state({"step": 2})
    assert player.step == 2


def test_python_moves_the_step() -> None:
    player = door()
    player.step = 1
    assert player.widget.step == 1
    player.step = 2
    assert player.widget.step == 2


def test_a_step_from_the_page_stays_inside_the_frames() -> None:
    player = door()
    player.widget.set_state({"step": 99})
    assert player.step == 2
    player.widget.set_state({"step": -5})
    assert player.step == 0


def test_a_step_outside_the_frames_is_refused() -> None:
    with pytest.raises(UsageError, match="steps 0 to 2"):
        door().step = 3


def test_no_frames_are_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        Player([])


@pytest.mark.parametrize("svg", ["<svg><rect></svg>", "<p/>", "", "text", "<svg>\ud800</svg>"])
def test_a_broken_frame_is_refused(svg: str) -> None:
    with pytest.raises(UsageError, match="frame 0"):
        Player([Frame(svg, "", "")])


def test_a_page_needs_nothing_from_outside() -> None:
    page = Page(door().to_html())
    assert page.addresses
    assert all(address.startswith("data:") for address in page.addresses)
    text = door().to_html().replace("http://www.w3.org/2000/svg", "")
    assert "http:" not in text
    assert "https:" not in text
    assert not re.search(r"@import|url\(|import\s*\(|fetch\s*\(", text)
    assert "default-src 'none'" in text


def test_a_page_shows_its_first_frame_without_a_script() -> None:
    page = door().to_html()
    assert '<img alt="A door: Drawing 0."' in page
    assert "Step number 0." in page.split("<script")[0]
    assert "Step number 2." in page.split("<script")[0]


def test_the_script_is_the_same_module_and_exports_nothing() -> None:
    scripts = Page(door().to_html()).scripts
    assert "function render(" in scripts[-1]
    assert not re.search(r"^export ", scripts[-1], re.MULTILINE)
    assert len(json.loads(scripts[0])["frames"]) == 3


def test_to_html_writes_the_file_that_it_returns(tmp_path: Path) -> None:
    file = tmp_path / "door.html"
    assert door().to_html(file) == file.read_text(encoding="utf-8")


def test_output_is_the_same_in_every_run() -> None:
    one, two = door(), door()
    assert repr(one) == "Player(3 frames: A door)"
    first, _ = one._repr_mimebundle_()
    second, _ = two._repr_mimebundle_()
    assert first["text/plain"] == second["text/plain"] == repr(one)
    assert first["text/html"] == second["text/html"]
    assert one.widget.model_id not in first["text/html"] + first["text/plain"]
    assert repr(one.widget) == repr(one)
    assert "application/vnd.jupyter.widget-view+json" in first


def test_a_drawing_has_a_role_a_title_and_a_description() -> None:
    state = door().widget.frames[1]
    svg = ElementTree.fromstring(state["svg"])
    assert svg.get("role") == "img"
    assert [(child.tag, child.text) for child in svg][:2] == [
        ("title", "A door"),
        ("desc", "Drawing 1."),
    ]


def test_a_drawing_without_children_can_be_described() -> None:
    player = Player([Frame('<svg viewBox="0 0 1 1" data-x="a>b"/>', "", "Nothing.")])
    assert ElementTree.fromstring(player.widget.frames[0]["svg"]).get("data-x") == "a>b"


@given(title=st.text(), caption=st.text(), alt=st.text())
def test_hostile_words_cannot_break_a_page(title: str, caption: str, alt: str) -> None:
    calm = Page(Player([Frame(DOOR, "c", "a")] * 2, "t").to_html())
    page = Page(Player([Frame(DOOR, caption, alt)] * 2, title or "t").to_html())
    assert page.tags == calm.tags
    frame = json.loads(page.scripts[0])["frames"][0]
    ElementTree.fromstring(frame["svg"])


def test_a_script_in_a_caption_stays_words() -> None:
    evil = "</script><script>alert(1)</script><!--"
    page = Page(Player([Frame(DOOR, evil, evil)], evil).to_html())
    assert len(page.scripts) == 2
    assert json.loads(page.scripts[0])["frames"][0]["caption"] == evil


def test_a_picture_is_one_image_with_its_words() -> None:
    picture = Picture(Frame(DOOR, "See?", "A closed door."), "Door")
    assert repr(picture) == "Picture(Door)"
    assert 'alt="Door: A closed door."' in picture._repr_html_()
    assert Page(picture.to_html()).tags.count("img") == 1


WITHOUT_JUPYTER = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("anywidget", "ipywidgets", "traitlets", "IPython"):
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
from tee_sim.errors import UsageError
from tee_sim.view import Frame, Player
player = Player([Frame("<svg viewBox='0 0 1 1'></svg>", "c", "a")], "t")
player.step = 0
assert "<script>" in player.to_html()
try:
    player._repr_mimebundle_()
except UsageError as error:
    assert "pip install anywidget" in str(error)
else:
    raise SystemExit("no UsageError")
"""


def test_only_showing_a_player_needs_jupyter() -> None:
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", WITHOUT_JUPYTER], cwd=root, check=True)


def test_the_package_knows_no_machine() -> None:
    for file in (Path(__file__).parents[2] / "tee_sim" / "view").glob("*.py"):
        for line in re.findall(r"^\s*(?:from|import) (tee_sim\S*)", file.read_text(), re.MULTILINE):
            known = r"tee_sim\.(view|errors|units|trace|checks|attest\.(ledger|results))\b"
            assert re.match(known, line), (file.name, line)
