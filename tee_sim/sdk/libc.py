"""The C library inside: the compiler brings its sources, and we build what needs no kernel.

The `ziglang` wheel carries musl, which Open Enclave's C library is made of too, Zig's rewriting of
parts of it, and libc++; our own part lies in ``guest/libc``. A program that calls what is declared
and missing (files, sockets, signals) does not link. `printf` takes more than two pages of stack.

Simplified: no ``<iostream>``, locales, ``thread_local`` or threads of C++, and no exceptions.
"""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

MUSL = """
errno/strerror fenv/x86_64/fenv internal/*scan internal/shgetc math/* multibyte/* stdio/*s*printf
stdio/*sscanf stdio/__overflow stdio/__toread stdio/__towrite stdio/__uflow stdio/fputc stdio/fputs
stdio/fwrite stdio/perror stdio/putc stdio/putchar stdio/vfprintf stdio/vfscanf stdlib/*to[df]
"""
"""Sources of musl that the library is made of, under its ``src``."""

LIBCXX = "algorithm hash memory string vector"
"""Sources of libc++, under its ``src``."""

# fmt: off
CODE_FLAGS = (
    "-O2", "-g0",
    "-ffreestanding",
    "-fvisibility=hidden",          # no symbol is looked up at run time: no GOT
    "-fomit-frame-pointer",
    "-mno-red-zone",                # an exception handler runs on the interrupted stack
    "-fno-stack-protector",         # its canary would need an address of its own
    "-fno-sanitize=undefined",      # zig's default; its traps would hide the program's bugs
    "-fno-unwind-tables", "-fno-asynchronous-unwind-tables",
    "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-fno-c++-static-destructors",
    "-ffunction-sections", "-fdata-sections",
)
"""Flags for all code inside, the program's included."""

MUSL_FLAGS = (
    "-fPIC", "-w", "-std=c99", "-D_XOPEN_SOURCE=700",
    "-Dvfprintf=tee_format",        # ours, in stdio.c, does not keep a FILE while it formats
)
LIBCXX_FLAGS = ("-fPIC", "-w", "-std=c++23", "-nostdinc++", "-D_LIBCPP_BUILDING_LIBRARY")
ZIG_FLAGS = (
    "-mcpu=x86_64", "-OReleaseFast", "-fPIC", "-fstrip", "-ffunction-sections", "-fdata-sections",
    "-fno-unwind-tables", "-mno-red-zone", "-fcompiler-rt",
    "-j1",                          # with more threads the order of functions may vary
)
LIBRARY_FLAGS = ("-static", "-lc", "-target", "x86_64-linux-musl", *ZIG_FLAGS)
CXX_FLAGS = tuple(f"-D_LIBCPP_{name}" for name in (
    "ABI_VERSION=1", "ABI_NAMESPACE=__1", "HAS_MUSL_LIBC=1", "PSTL_BACKEND_SERIAL",
    "HARDENING_MODE_DEFAULT=_LIBCPP_HARDENING_MODE_NONE",
    "ASSERTION_SEMANTIC_DEFAULT=_LIBCPP_ASSERTION_SEMANTIC_IGNORE",
    *(f"HAS_{part}=0" for part in (
        "THREADS", "MONOTONIC_CLOCK", "TERMINAL", "VENDOR_AVAILABILITY_ANNOTATIONS", "FILESYSTEM",
        "RANDOM_DEVICE", "LOCALIZATION", "UNICODE", "WIDE_CHARACTERS", "TIME_ZONE_DATABASE",
        "ACCESSIBLE_FENV",
    )),
))
# fmt: on

FLAGS = (MUSL, LIBCXX, *CODE_FLAGS, *MUSL_FLAGS, *LIBCXX_FLAGS, *LIBRARY_FLAGS, *CXX_FLAGS)
"""Everything here that decides the result."""


def _lib() -> Path:
    """Where the compiler keeps its libraries."""
    return Path(str(files("ziglang"))) / "lib"


def include_flags(*, cxx: bool) -> list[str]:
    """Where a program finds ``<string.h>`` and, in C++, ``<vector>``."""
    headers = ["libcxx/include"] * cxx
    headers += ["libc/include/x86_64-linux-musl", "libc/include/generic-musl"]
    return [f"-I{_lib() / path}" for path in headers] + list(CXX_FLAGS) * cxx


def command(root: Path, out: str) -> list[str]:
    """Arguments for the compiler, run in ``root``, where ``libc/`` is a copy of our own part.

    Zig's part has to lie beside our root of it, and is copied there.
    """
    shutil.copytree(_lib() / "c", root / "libc" / "c")
    musl, libcxx = _lib() / "libc" / "musl", _lib() / "libcxx"
    found = ((musl / "src").glob(f"{name}.[cs]") for name in MUSL.split())
    sources = [str(path) for paths in found for path in sorted(paths)]
    parts = ("arch/x86_64", "arch/generic", "src/include", "src/internal", "include")
    inside = ["-Ilibc", *(f"-I{musl / part}" for part in parts), *include_flags(cxx=False)]
    cxx = [*LIBCXX_FLAGS, f"-I{libcxx / 'src'}", *include_flags(cxx=True)]
    return [
        *("build-lib", "--name", "c", f"-femit-bin={out}", *LIBRARY_FLAGS),
        *("-cflags", *CODE_FLAGS, *MUSL_FLAGS, *inside, "--", "libc/stdio.c", *sources),
        *("-cflags", *CODE_FLAGS, *cxx, "--"),
        *(str(libcxx / "src" / f"{name}.cpp") for name in LIBCXX.split()),
        "-Mroot=libc/c.zig",
    ]
