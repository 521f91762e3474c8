"""What every notebook keeps to, whatever its subject. That its outputs are true is nbval's part."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> dict[str, Any]:
    return json.loads(request.param.read_text(encoding="utf-8"))


def outputs(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [out for cell in notebook["cells"] for out in cell.get("outputs", [])]


def prose(notebook: dict[str, Any]) -> str:
    cells = notebook["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


def test_headings_are_in_order(notebook: dict[str, Any]) -> None:
    levels = [len(marks) for marks in re.findall(r"^(#+) ", prose(notebook), re.MULTILINE)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(deeper <= level + 1 for level, deeper in pairwise(levels))


def test_it_says_what_it_needs_and_gives(notebook: dict[str, Any]) -> None:
    text = prose(notebook)
    for words in ("**Time:**", "**Needs:**", "**Afterwards you can**", "What is simplified"):
        assert words in text, words
    assert "**Reset.**" in text
    assert "Where to go next" in text


def test_it_has_at_most_five_new_words(notebook: dict[str, Any]) -> None:
    glossary = re.search(r"^\| Word .*?\n\n", prose(notebook) + "\n\n", re.MULTILINE | re.DOTALL)
    assert glossary is not None
    assert 1 <= len(re.findall(r"^\| \*\*", glossary[0], re.MULTILINE)) <= 5


def test_it_asks_before_it_shows(notebook: dict[str, Any]) -> None:
    code = "\n".join("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code")
    assert "predict(" in code
    assert 2 <= len(re.findall(r"\bview\.Exercise\(", code)) <= 4
    assert '"adversary"' in code


def test_stored_outputs_need_no_kernel_and_no_network(notebook: dict[str, Any]) -> None:
    """JupyterLab shows an error for a widget whose kernel is gone; HTML is there instead."""
    assert "widgets" not in notebook["metadata"]
    for out in outputs(notebook):
        data = out.get("data", {})
        assert WIDGET not in data
        html = "".join(data.get("text/html", ""))
        assert not re.search(r"(?:src|href)\s*=\s*[\"'](?:https?:)?//", html)


def test_it_was_run_as_a_whole(notebook: dict[str, Any]) -> None:
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    errors = [out for out in outputs(notebook) if out["output_type"] == "error"]
    assert not errors


def test_it_tells_nothing_about_the_machine_that_ran_it(notebook: dict[str, Any]) -> None:
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert not any("execution" in cell["metadata"] for cell in notebook["cells"])
    text = json.dumps(notebook)
    assert not re.search(r"/(?:home|root|Users|tmp|work)/", text)


def test_pictures_have_words(notebook: dict[str, Any]) -> None:
    for out in outputs(notebook):
        for tag in re.findall(r"<img\b[^>]*>", "".join(out.get("data", {}).get("text/html", ""))):
            assert re.search(r'alt="[^"]+"', tag)
        assert "image/png" not in out.get("data", {}), "an image without words: use tee_sim.view"


def test_links_lead_somewhere(notebook: dict[str, Any]) -> None:
    for target in re.findall(r"\]\(([^)#]+)", prose(notebook)):
        if not target.startswith("http"):
            assert (ROOT / "notebooks" / target).exists(), target


def test_what_needs_files_was_stored_with_them(notebook: dict[str, Any]) -> None:
    """Cells whose outputs nobody compares show the real thing, not that it was missing."""
    for cell in notebook["cells"]:
        if "nbval-ignore-output" in cell["metadata"].get("tags", ()):
            assert cell["outputs"]
            assert "not here" not in json.dumps(cell["outputs"]).casefold()
