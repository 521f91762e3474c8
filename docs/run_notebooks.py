"""Run every notebook of the course from top to bottom and store what it shows.

    python docs/run_notebooks.py [NOTEBOOK ...]

What is stored needs no kernel, tells nothing about this machine, and is what `make test` compares.
A notebook that fails is left as it was.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
WIDGET = "application/vnd.jupyter.widget-view+json"


def run(path: Path) -> None:
    """Execute one notebook and write it back."""
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, timeout=300, resources=where, record_timing=False)
    client.coalesce_streams, client.extra_arguments = True, ["--log-level=ERROR"]
    client.execute()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
    nbformat.write(notebook, path)


def main(names: list[str]) -> None:
    """Run the named notebooks, or all of them."""
    paths = [Path(name) for name in names] or sorted((ROOT / "notebooks").glob("*.ipynb"))
    for path in paths:
        print(path.name, flush=True)
        run(path)


if __name__ == "__main__":
    main(sys.argv[1:])
