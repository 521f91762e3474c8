"""Compiles a guest program: C or C++ in, ELF out, the same bytes everywhere.

The compiler is the `ziglang` wheel (clang and lld), an extra: ``build``. The example
programs ship compiled, so it is needed only to change one. A build happens in a fresh directory
under relative names, without debug information, so that no path and no time gets into the result;
results are kept on disk under the SHA-256 of everything that went in.

Run ``python -m tee_sim.sdk.build --all`` to rebuild the ELFs that ship in the package.

Simplified: no stack protector, and no hardening against transient execution (LFENCE after an entry
and around what comes from outside): the emulated processor does not speculate.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tee_sim.errors import BuildError, UsageError
from tee_sim.sdk import codegen, libc
from tee_sim.sdk.sources import PROGRAMS, Config, Sources, read, read_lf

GUEST = Path(__file__).resolve().parent / "guest"
"""The runtime's own sources."""

TARGETS = ("sgx", "none", "vbs")
"""How the program leaves: by ENCLU, or by SYSCALL: to the kernel, or to the secure kernel."""

# fmt: off
FLAGS = (
    "-target", "x86_64-freestanding-none",
    "-mcpu=x86_64",                 # the baseline: SSE2 and nothing later
    *libc.CODE_FLAGS,
    "-UNDEBUG",                     # zig would leave assertions out
    "-nostdlib", "-fPIE", "-pie",
    "-Wl,--gc-sections", "-Wl,--entry=_start",
    "-Wl,-z,norelro",               # relocated data lies with the rest: the runtime relocates it
    "-Wno-unused-command-line-argument",
)
# fmt: on

_MARK = re.compile(rb"tee_sim inputs ([0-9a-f]{64})")
_DIAGNOSTIC = re.compile(
    r"^(?P<file>[^\s:]+):(?P<line>\d+):(?P<column>\d+): (?:fatal )?error: (?P<text>.*)$", re.M
)
_LINKER = re.compile(r"^(?:ld\.lld|error): (?:error: )?(?P<text>.*)$", re.M)
_LEAKY_ENVIRONMENT = ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH")
_TIMEOUT_SECONDS = 300


def build(program: Path | str, target: str = "sgx") -> bytes:
    """Compile a program, or take the result from the cache.

    Args:
        program: a directory with `program.toml`, an EDL file and sources, or an example's name.
        target: one of `TARGETS`.

    Returns:
        The ELF: a static position-independent executable.

    Raises:
        BuildError: it does not compile, or the compiler is not installed.
        UsageError: there is no such program or target.
    """
    sources = read(program)
    files = build_inputs(sources, target)
    digest = inputs_digest(files, target)
    compiler = _compiler_version()
    kept = cache_directory() / "elf" / f"{digest}-{compiler}.elf"
    if kept.is_file():
        return kept.read_bytes()
    elf = _compile(sources, files, target, digest)
    with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        _store(kept, elf)
    return elf


def suits(config: Config, target: str) -> bool:
    """Whether a program is meant for a target."""
    return not config.needs or target in (config.needs, "none")


def build_inputs(sources: Sources, target: str) -> dict[str, bytes]:
    """Every file of a build under its relative name, in the order in which they are linked.

    The entry comes first and the program next to it: the pages of an empty call lie together.
    """
    if target not in TARGETS:
        raise UsageError(f"there is no target {target!r}: choose one of {', '.join(TARGETS)}")
    name = sources.config.name
    runtime = {path.relative_to(GUEST).as_posix(): read_lf(path) for path in _runtime_files()}
    files = {"src/start.S": runtime.pop("src/start.S")}
    files[f"generated/{name}_t.c"] = codegen.source(sources.interface, name).encode()
    files[f"generated/{name}_t.h"] = codegen.header(sources.interface, name).encode()
    files |= {f"program/{file}": content for file, content in sources.files.items()}
    return files | runtime


def _runtime_files() -> list[Path]:
    wanted = (".c", ".h", ".S", ".zig")
    return sorted(p for p in GUEST.rglob("*") if p.suffix in wanted and p.is_file())


def inputs_digest(files: dict[str, bytes], target: str) -> str:
    """SHA-256, in hex, of everything that decides the result except the compiler itself."""
    digest = hashlib.sha256("\0".join((target, *FLAGS, *libc.FLAGS)).encode())
    for name, content in files.items():
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def digest_inside(elf: bytes) -> str:
    """The `inputs_digest` that an ELF says it was built from, or an empty string.

    It stands in a section that is not loaded, so it is not measured: a changed comment in a source
    file changes this, and leaves MRENCLAVE alone.
    """
    found = _MARK.search(elf)
    return found[1].decode() if found else ""


def shipped(directory: Path, name: str, target: str) -> Path:
    """Where the compiled form of an example program is kept."""
    return directory / f"{name}.{target}.elf"


def cache_directory() -> Path:
    """Where builds and the compiler's own files are kept, following the system's custom."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tee_sim"


def _compiler_version() -> str:
    # Imported here: only a build needs it, and it is a tenth of the time to import tee_sim.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ziglang")
    except PackageNotFoundError:
        raise BuildError(
            "the compiler is not installed: run `pip install '.[build]'` (the examples "
            "themselves ship compiled, and need it only once they are changed)"
        ) from None


def _compile(sources: Sources, files: dict[str, bytes], target: str, digest: str) -> bytes:
    """One run of the compiler in a directory of its own."""
    mark = f'.section .tee_sim.inputs, "", @progbits\n.ascii "tee_sim inputs {digest}"\n'
    with tempfile.TemporaryDirectory(prefix="tee_sim-") as scratch:
        root = Path(scratch)
        for name, content in {**files, "generated/inputs.S": mark.encode()}.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        ours = [name for name in files if not name.startswith("libc/")]
        units = [name for name in ours if name.endswith((".c", ".cpp", ".S"))]
        command = ["cc", *FLAGS, f"-DTEE_TARGET_{target.upper()}"]
        command += ["-Iinclude", "-Igenerated", "-Iprogram", "-o", "out.elf"]
        command += libc.include_flags(cxx=any(name.endswith(".cpp") for name in units))
        command += [*units, *(_object(root, name) for name in ours if name.endswith(".zig"))]
        result = _run([*command, "generated/inputs.S", _libc(root, files)], root)
        if result.returncode != 0 or not (root / "out.elf").is_file():
            raise _error(sources, result.stderr)
        return (root / "out.elf").read_bytes()


def _object(root: Path, name: str) -> str:
    """Compile one Zig source of the runtime, or take the result from the cache; its file."""
    out = Path(name).with_suffix(".o").as_posix()
    flags = ("-target", "x86_64-freestanding-none", *libc.ZIG_FLAGS)
    inputs = "\0".join(flags).encode() + (root / name).read_bytes()
    return _kept(root, inputs, out, ["build-obj", name, f"-femit-bin={out}", *flags])


def _libc(root: Path, files: dict[str, bytes]) -> str:
    """The C library, likewise: half a minute's work, once."""
    own = b"\0".join(content for name, content in files.items() if name.startswith("libc/"))
    inputs = "\0".join(libc.FLAGS).encode() + own
    return _kept(root, inputs, "libc.a", libc.command(root, "libc.a"))


def _kept(root: Path, inputs: bytes, out: str, command: list[str]) -> str:
    """Make the file ``out`` of the runtime, or take it from the cache."""
    digest = hashlib.sha256(_compiler_version().encode() + inputs).hexdigest()
    kept = cache_directory() / "zig-objects" / f"{digest}{Path(out).suffix}"
    made = root / out
    if kept.is_file():
        made.write_bytes(kept.read_bytes())
    else:
        result = _run(command, root)
        if result.returncode != 0 or not made.is_file():
            raise BuildError("the runtime does not compile", file=out, text=result.stderr)
        with contextlib.suppress(OSError):
            _store(kept, made.read_bytes())
    return out


def _run(command: list[str], where: Path) -> subprocess.CompletedProcess[str]:
    zig = cache_directory() / "zig"
    try:
        zig.mkdir(parents=True, exist_ok=True)
    except OSError:
        zig = where / "zig"
    env = {key: value for key, value in os.environ.items() if key not in _LEAKY_ENVIRONMENT}
    env |= {"ZIG_GLOBAL_CACHE_DIR": str(zig), "ZIG_LOCAL_CACHE_DIR": str(zig)}
    try:
        return subprocess.run(
            [sys.executable, "-m", "ziglang", *command],
            cwd=where,
            env=env,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"the compiler did not end within {_TIMEOUT_SECONDS} s") from None


def _error(sources: Sources, text: str) -> BuildError:
    """The first complaint of the compiler, pointing at the user's file."""
    found = _DIAGNOSTIC.search(text)
    if found:
        file = found["file"].removeprefix("./")
        if file.startswith("program/"):
            file = str(sources.directory / file.removeprefix("program/"))
        line, column = int(found["line"]), int(found["column"])
        return BuildError(found["text"], file=file, line=line, column=column, text=text)
    linker = _LINKER.search(text)
    message = linker["text"] if linker else "the compiler failed and did not say why"
    return BuildError(message, file=str(sources.directory), text=text)


def _store(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, whoever else writes it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    os.replace(temporary, path)


def main(arguments: list[str] | None = None) -> None:
    """Rebuild the ELFs beside the sources of the named programs."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m tee_sim.sdk.build", description=main.__doc__)
    parser.add_argument("programs", nargs="*", help="directories, or names of examples")
    parser.add_argument("--all", action="store_true", help="every example of the package")
    chosen = parser.parse_args(arguments)
    names: list[Path | str] = list(chosen.programs)
    if chosen.all:
        names += sorted(path.parent for path in PROGRAMS.glob("*/program.toml"))
    for name in names:
        sources = read(name)
        for target in (t for t in TARGETS if suits(sources.config, t)):
            path = shipped(sources.directory, sources.config.name, target)
            path.write_bytes(build(name, target))
            print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
