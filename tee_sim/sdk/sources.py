"""A guest program on disk: its C or C++ files, its EDL file and its `program.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from tee_sim.errors import BuildError, UsageError
from tee_sim.sdk.edl import Interface
from tee_sim.sdk.reader import parse

PROGRAMS = Path(__file__).resolve().parent.parent / "programs"
"""Where the example programs of the package live."""

SUFFIXES = (".c", ".cpp", ".h", ".S")
"""Files of a program's directory that take part in its build."""

MAX_PAGES = 1 << 16
"""Largest heap or stack, in pages: 256 MiB."""

MAX_THREADS = 64


@dataclass(frozen=True)
class Config:
    """What `program.toml` says.

    Attributes:
        name: of the program, and of its EDL file.
        heap_pages: pages of heap, shared by all threads.
        stack_pages: pages of stack for each thread.
        threads: how many calls can be inside at the same time.
        exinfo: ask for the address and error code of #PF and #GP (MISCSELECT.EXINFO).
        aex_notify: be notified of interruptions, where the processor can (AEX-Notify).
        isvprodid, isvsvn: product number and security version that its author signs.
        needs: the target without which it is of no use (``sgx``); also runs without a TEE.
        strict_memory: the program may not touch the memory of its process (VBS).
        spare_pages: pages of address space behind the heap where pages can be added at run time.
        defines: names that ``#ifdef`` finds defined in EDL files.
        edl_path: further directories, from the program's own, where imported EDL files are.
        learn: a paragraph on what the program is there to show.
    """

    name: str
    heap_pages: int = 16
    stack_pages: int = 4
    threads: int = 1
    exinfo: bool = False
    aex_notify: bool = False
    isvprodid: int = 0
    isvsvn: int = 0
    needs: str = ""
    strict_memory: bool = False
    spare_pages: int = 0
    defines: tuple[str, ...] = ()
    edl_path: tuple[str, ...] = ()
    learn: str = ""


@dataclass(frozen=True)
class Sources:
    """Everything that a build reads, with line ends as LF whatever the checkout did to them.

    Attributes:
        directory: where it was read.
        config: from `program.toml`.
        interface: from the EDL file.
        files: name -> contents of the C, C++, assembly and header files, by name.
    """

    directory: Path
    config: Config
    interface: Interface
    files: dict[str, bytes]


def find(program: Path | str) -> Path:
    """The directory of a program, from a path or from the name of an example.

    Raises:
        UsageError: there is none.
    """
    for directory in (Path(program), PROGRAMS / program):
        if (directory / "program.toml").is_file():
            return directory
    shipped = ", ".join(sorted(path.parent.name for path in PROGRAMS.glob("*/program.toml")))
    raise UsageError(
        f"there is no program {str(program)!r}: give a directory with a program.toml, or the name "
        f"of an example ({shipped})"
    )


def read(program: Path | str) -> Sources:
    """Read a program's directory.

    Raises:
        BuildError: a file is missing or does not say what it must.
        UsageError: there is no such program.
    """
    directory = find(program)
    config = _config(directory / "program.toml")
    edl = directory / f"{config.name}.edl"
    if not edl.is_file():
        raise BuildError(f"there is no {edl.name}: expected the interface here", file=str(edl))
    files = {
        path.name: read_lf(path)
        for path in sorted(directory.iterdir())
        if path.suffix in SUFFIXES and path.is_file()
    }
    if not any(name.endswith((".c", ".cpp")) for name in files):
        raise BuildError("no C or C++ file: expected at least one", file=str(directory))
    text = read_lf(edl).decode("utf-8", errors="replace")
    search = [directory / place for place in config.edl_path]
    interface = parse(text, str(edl), defines=config.defines, search=search)
    return Sources(directory, config, interface, files)


def read_lf(path: Path) -> bytes:
    """A text file's bytes, with CRLF turned into LF."""
    return path.read_bytes().replace(b"\r\n", b"\n")


def _config(path: Path) -> Config:
    """Read `program.toml`, and refuse what does not belong there."""
    try:
        table = tomllib.loads(read_lf(path).decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BuildError(str(error), file=str(path)) from None
    known = [field.name for field in fields(Config)]
    unknown = sorted(set(table) - set(known))
    if unknown or "name" not in table:
        raise BuildError(
            f"unknown keys {unknown}: expected {', '.join(known)}"
            if unknown
            else 'no name: expected name = "..."',
            file=str(path),
        )
    limits = {
        "heap_pages": (0, MAX_PAGES),
        "stack_pages": (1, MAX_PAGES),
        "threads": (1, MAX_THREADS),
        "isvprodid": (0, 0xFFFF),
        "isvsvn": (0, 0xFFFF),
        "spare_pages": (0, MAX_PAGES),
    }
    for key in ("defines", "edl_path"):
        names = table.setdefault(key, [])
        if type(names) is not list or not all(type(name) is str for name in names):
            raise BuildError(f"{key} = {names!r}: expected a list of strings", file=str(path))
        table[key] = tuple(names)
    for key, value in table.items():
        if key in limits:
            low, high = limits[key]
            if type(value) is not int or not low <= value <= high:
                raise BuildError(f"{key} = {value!r}: expected {low} to {high}", file=str(path))
        elif type(value) is not (kind := type(getattr(Config(""), key))):
            expected = {str: "a string", bool: "true or false"}[kind]
            raise BuildError(f"{key} = {value!r}: expected {expected}", file=str(path))
    if not table["name"].isidentifier():
        raise BuildError(f"name = {table['name']!r}: expected a C identifier", file=str(path))
    return Config(**table)
