"""Collect every ``Simplified:`` paragraph of tee_sim into docs/simplifications.md.

A paragraph starts with ``Simplified:`` in the docstring of a module, class or function, and ends
at the next blank line or section. If nothing follows the colon, the indented block below it is
taken whole.

    python docs/collect_simplifications.py            write the page
    python docs/collect_simplifications.py --check    exit 1 if the page is out of date
"""

from __future__ import annotations

import ast
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "simplifications.md"
MARK = "Simplified:"
PARTS = {
    "machine": "The machine",
    "monitors/sgx": "SGX",
    "monitors/vbs": "VBS",
    "hypervisor": "The host",
    "sdk": "Programs and their kit",
    "abi": "Structures",
    "attester": "Attestation: the platform's side",
    "attest": "Attestation: Verifier and vendors",
    "services": "Services over HTTP",
    "attacks": "Attacks",
}
"""The order of the page: a folder of tee_sim, and its title. What is elsewhere comes last."""

HEAD = """\
# Simplifications

Where tee_sim differs from the hardware on purpose. What is not listed here is meant to be as the
vendor documents it; a difference that you find and that is not on this page is a bug.

This page is collected from the docstrings (`make docs`): to change an entry, change the docstring.
"""


def paragraphs(docstring: str) -> Iterator[str]:
    """The text of each ``Simplified:`` paragraph in one docstring."""
    lines = docstring.splitlines()
    for at, line in enumerate(lines):
        if not line.lstrip().startswith(MARK):
            continue
        first = line.strip().removeprefix(MARK).strip()
        indent = len(line) - len(line.lstrip())
        rest = []
        for below in lines[at + 1 :]:
            inner = len(below) - len(below.lstrip()) > indent
            if first and not below.strip():
                break
            if not first and below.strip() and not inner:
                break
            rest.append(below)
        yield (
            textwrap.dedent("\n".join(rest)).strip()
            if not first
            else " ".join([first, *(below.strip() for below in rest)])
        )


def documented(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(dotted name inside the module, docstring) of the module and all that it defines."""

    def visit(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield name, ast.get_docstring(node) or ""
        for child in ast.iter_child_nodes(node):
            inner = getattr(child, "name", "")
            yield from visit(child, f"{name}.{inner}" if name and inner else inner or name)

    yield from visit(tree, "")


def part_of(path: Path) -> str:
    """The title under which a module's simplifications stand."""
    folder = path.relative_to(ROOT / "tee_sim").parent.as_posix()
    return PARTS.get(folder, "Elsewhere")


def collect() -> str:
    """The whole page."""
    page, title = [HEAD], ""
    order = [*PARTS.values(), "Elsewhere"]
    paths = sorted((ROOT / "tee_sim").rglob("*.py"))
    for path in sorted(paths, key=lambda path: order.index(part_of(path))):
        entries = [
            (name, text)
            for name, docstring in documented(ast.parse(path.read_text(encoding="utf-8")))
            for text in paragraphs(docstring)
        ]
        if not entries:
            continue
        where = path.relative_to(ROOT).as_posix()
        if part_of(path) != title:
            title = part_of(path)
            page.append(f"## {title}\n")
        page.append(f"### [`{where}`](../{where})\n")
        for name, text in entries:
            label = f"**`{name}`**: " if name else ""
            text = text if name else text[0].upper() + text[1:]
            wrapped = textwrap.fill(
                label + text,
                98,
                initial_indent="- ",
                subsequent_indent="  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
            page.append(wrapped + "\n")
    return "\n".join(page)


def main() -> int:
    """Write the page, or compare it."""
    page = collect()
    if "--check" in sys.argv[1:]:
        current = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        if current != page:
            print("docs/simplifications.md is out of date: run `make docs`", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(page, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
