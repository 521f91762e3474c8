"""The architecture's import rules, read from the sources with `ast`; nothing is imported.

An import inside a function counts like any other. An import under ``if TYPE_CHECKING:`` obeys
the layers too and is exempt from the search for cycles only.
"""

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "tee_sim"
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60

FOUNDATION = {"errors", "units", "checks", "trace", "html"}
MACHINE = FOUNDATION | {"abi", "machine"}
HYPERVISOR = MACHINE | {"monitors", "hypervisor"}
JOINED = HYPERVISOR | {"sdk", "tees", "platform", "programs"}

# Rules 1-5: which parts of tee_sim each part may import. A part is what follows `tee_sim.`.
MAY_IMPORT = {
    **dict.fromkeys(FOUNDATION, FOUNDATION),
    "abi": FOUNDATION | {"abi"},
    "machine": MACHINE,
    "monitors": MACHINE | {"monitors"},
    "hypervisor": HYPERVISOR,
    "attacks": (JOINED - {"monitors"}) | {"attest", "attester", "services", "attacks"},
    "attest": {"abi", "errors", "units", "html", "attest"},
    "services": {"abi", "errors", "units", "html", "attest", "services"},
    "attester": JOINED | {"attest", "attester"},
    "programs": JOINED,
    "sdk": JOINED,
    "tees": JOINED,
    "platform": JOINED,
    "view": JOINED | {"attacks", "attest", "attester", "services", "view"},
}
# The package's own `__init__` is the front door for students: it may offer what they start with.
FRONT_DOOR = JOINED | {"attacks", "attest", "attester"}
COMMAND_LINE = {"cli", "__main__"}
UNICORN = "tee_sim.machine.emulator"
ATTEST_LIBRARIES = {"cryptography"}


@dataclass(frozen=True)
class Import:
    """One imported module as one module's source names it."""

    module: str
    line: int
    type_only: bool


def module_name(path: Path) -> str:
    """The dotted name of a source file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}


def part_of(module: str) -> str:
    """Which part of the package a module belongs to; empty for `tee_sim` itself."""
    return module.partition(".")[2].partition(".")[0]


def is_type_checking(node: ast.AST) -> bool:
    """Whether a node is ``if TYPE_CHECKING:``."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports_of(name: str) -> list[Import]:
    """Every import in a module, with relative ones and imported submodules resolved."""
    found: list[Import] = []
    package = name if SOURCES[name].name == "__init__.py" else name.rpartition(".")[0]

    def visit(node: ast.AST, type_only: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, type_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                kept = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*kept, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.append(Import(inner if inner in SOURCES else base, node.lineno, type_only))
        for child in ast.iter_child_nodes(node):
            visit(child, type_only or (is_type_checking(node) and child in node.body))

    visit(TREES[name], False)
    return found


IMPORTS = {name: imports_of(name) for name in SOURCES}
ALL_MODULES = pytest.mark.parametrize("name", SOURCES)


def place(name: str, line: int) -> str:
    """Where to look, as an editor understands it."""
    return f"{SOURCES[name].relative_to(ROOT).as_posix()}:{line}"


def own(name: str) -> list[Import]:
    """The imports of a module that stay inside tee_sim."""
    return [i for i in IMPORTS[name] if i.module.split(".")[0] == PACKAGE]


@ALL_MODULES
def test_layers_import_downwards_only(name: str) -> None:
    part = part_of(name)
    if part in COMMAND_LINE:
        return
    assert not part or part in MAY_IMPORT, f"{part} has no place in the layers: give it one above"
    allowed = MAY_IMPORT[part] if part else FRONT_DOOR
    wrong = [
        f"{place(name, i.line)} imports {i.module}"
        for i in own(name)
        if part_of(i.module) not in allowed
    ]
    assert not wrong, wrong


@ALL_MODULES
def test_only_the_command_line_imports_view(name: str) -> None:
    if part_of(name) in {"view", *COMMAND_LINE}:
        return
    wrong = [place(name, i.line) for i in own(name) if part_of(i.module) == "view"]
    assert not wrong, wrong


@ALL_MODULES
def test_one_module_imports_unicorn(name: str) -> None:
    if name == UNICORN:
        return
    wrong = [place(name, i.line) for i in IMPORTS[name] if i.module.split(".")[0] == "unicorn"]
    assert not wrong, wrong


@ALL_MODULES
def test_a_verifier_sees_bytes_and_cryptography_only(name: str) -> None:
    if part_of(name) != "attest":
        return
    known = ATTEST_LIBRARIES | sys.stdlib_module_names | {PACKAGE}
    wrong = [place(name, i.line) for i in IMPORTS[name] if i.module.split(".")[0] not in known]
    assert not wrong, wrong


@ALL_MODULES
def test_no_star_imports(name: str) -> None:
    wrong = [
        place(name, node.lineno)
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    ]
    assert not wrong, wrong


def test_no_import_cycles() -> None:
    graph = {
        name: {i.module for i in own(name) if not i.type_only and i.module != name}
        for name in SOURCES
    }
    done: set[str] = set()

    def follow(name: str, path: list[str]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for target in sorted(graph.get(name, ())):
                follow(target, [*path, name])
            done.add(name)

    for name in graph:
        follow(name, [])


@ALL_MODULES
def test_modules_are_small(name: str) -> None:
    lines = len(SOURCES[name].read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_MODULE_LINES, "is there a second noun hiding in it?"


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from its ``def`` to its end, without the docstring."""
    total = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        total -= docstring.end_lineno - docstring.lineno + 1
    return total


@ALL_MODULES
def test_functions_are_short(name: str) -> None:
    wrong = [
        f"{place(name, node.lineno)} {node.name}: {code_lines(node)} lines"
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and code_lines(node) > MAX_FUNCTION_LINES
    ]
    assert not wrong, wrong
