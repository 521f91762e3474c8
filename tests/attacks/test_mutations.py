"""Breaking a check in the simulator's sources makes the walk of the register fail.

For every check: find where the sources ask whether it holds, make a copy of the package in which
the answer is always no, and run the check's proof there. Nobody has switched the check off, so the
attack must be stopped; if it is not, the walk has noticed the damage.
"""

import ast
import compileall
import json
import os
import py_compile
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from attacks.walk import SILENT, proofs

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tee_sim"
ENFORCING = ("machine", "monitors", "sdk")
SOURCES = {
    path.relative_to(ROOT): path.read_text("utf-8")
    for part in ENFORCING
    for path in (PACKAGE / part).rglob("*.py")
}


def constants() -> dict[str, str]:
    """Check name -> the constant that holds it in the sources."""
    return {
        str(node.value.args[0].value): node.targets[0].id
        for source in SOURCES.values()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "Check"
        if isinstance(node.value.args[0], ast.Constant)
    }  # fmt: skip


class Breaker(ast.NodeTransformer):
    """Makes the answer for one check no, wherever the sources ask ``checks.on(...)``.

    They ask for it by its constant, or, where it stands in a table with others, for each row's
    check in turn: there the answer becomes no for this one.
    """

    def __init__(self, name: str, tree: ast.Module) -> None:
        self.name, self.constant, self.places = name, CONSTANTS[name], 0
        rows = [
            element for row in ast.walk(tree) if isinstance(row, ast.Tuple) for element in row.elts
        ]
        self.in_table = any(map(self._means, rows))

    def _means(self, node: ast.expr) -> bool:
        return ast.unparse(node).rpartition(".")[2] == self.constant

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if ast.unparse(node.func).rpartition(".")[2] != "on" or len(node.args) != 1:
            return node
        asked = node.args[0]
        if self._means(asked):
            self.places += 1
            return ast.Constant(False)
        if self.in_table and isinstance(asked, ast.Name) and asked.id.islower():
            self.places += 1
            text = f"({ast.unparse(node)} and {asked.id}.name != {self.name!r})"
            return ast.parse(text, mode="eval").body
        return node


def broken(name: str) -> dict[Path, str]:
    """The sources that change when the condition of a check is deleted."""
    changed = {}
    for path, source in SOURCES.items():
        if CONSTANTS[name] in source:
            tree = ast.parse(source)
            breaker = Breaker(name, tree)
            breaker.visit(tree)
            if breaker.places:
                changed[path] = ast.unparse(ast.fix_missing_locations(tree))
    return changed


def walk(copy: Path, name: str) -> str:
    """What the walk of one check finds wrong with the copy of the package."""
    done = subprocess.run(
        [sys.executable, "-m", "attacks.walk", name],
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join((str(copy), str(ROOT / "tests"))),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert Path(report["package"]).is_relative_to(copy), "another copy was imported"
    problem: str = report["problem"]
    return problem


CONSTANTS = constants()
NOTICED, NOTICED_SILENT = " succeeds although ", "^an honest launch .* is refused"
NAMES = sorted({check.name for check, _, _ in proofs()})


def test_every_check_has_a_constant() -> None:
    assert sorted(CONSTANTS) == NAMES


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, compiled so that the hash of a source decides what is run."""
    scratch = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, scratch / "tee_sim", ignore=shutil.ignore_patterns("__pycache__"))
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    assert compileall.compile_dir(scratch, quiet=1, invalidation_mode=mode)
    return scratch


def test_an_unchanged_copy_is_in_order(copy: Path) -> None:
    assert walk(copy, "EPCM.R") == ""


@pytest.mark.parametrize("name", NAMES)
def test_a_check_without_its_condition_is_noticed(name: str, copy: Path) -> None:
    changes = broken(name)
    assert changes, f"nowhere is it asked whether {name} holds"
    for path, source in changes.items():
        (copy / path).write_text(source, encoding="utf-8")
    try:
        problem = walk(copy, name)
    finally:
        for path in changes:
            (copy / path).write_text(SOURCES[path], encoding="utf-8", newline="")
    assert re.search(NOTICED_SILENT if name in SILENT else NOTICED, problem)
