"""The C library inside: the compiler brings its sources, and we build what needs no kernel.

The `ziglang` wheel carries musl, which Open Enclave's C library is made of too, Zig's own rewriting
of parts of it, and libc++. Files, sockets, signals and the like are declared by the headers and
missing here: a program that calls them does not link.

Our own part lies in ``guest/libc``; the heap, errno and ``abort`` belong to the runtime. The
`printf` family takes 9 KiB of stack: a program that uses it needs ``stack_pages = 4``, the default.

Simplified: no ``<iostream>``, locales, ``thread_local`` or threads of C++, and no exceptions.
"""

from __future__ import annotations

import shutil
from functools import cache
from importlib.util import find_spec
from pathlib import Path

MUSL = """
errno/strerror fenv/x86_64/fenv internal/floatscan internal/intscan internal/shgetc math/*
multibyte/internal multibyte/mbrlen multibyte/mbrtowc multibyte/mbsinit multibyte/mbsrtowcs
multibyte/mbstowcs multibyte/mbtowc multibyte/wcrtomb multibyte/wcsrtombs multibyte/wcstombs
multibyte/wctomb stdio/__overflow stdio/__toread stdio/__towrite stdio/__uflow stdio/asprintf
stdio/fputc stdio/fputs stdio/fwrite stdio/perror stdio/putc stdio/putchar stdio/snprintf
stdio/sprintf stdio/sscanf stdio/vasprintf stdio/vfprintf stdio/vfscanf stdio/vsnprintf
stdio/vsprintf stdio/vsscanf stdlib/atof stdlib/strtod
"""
"""Sources of musl that the library is made of, under its ``src``."""

LIBCXX = "algorithm hash memory string vector"
"""Sources of libc++, under its ``src``."""

# fmt: off
COMMON_FLAGS = (
    "-O2", "-g0", "-ffreestanding", "-fPIC", "-w", "-fvisibility=hidden", "-fomit-frame-pointer",
    "-mno-red-zone", "-fno-stack-protector", "-fno-sanitize=undefined", "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables", "-ffunction-sections", "-fdata-sections",
)
MUSL_FLAGS = (
    *COMMON_FLAGS, "-std=c99", "-D_XOPEN_SOURCE=700",
    "-Dvfprintf=tee_format",        # ours, in stdio.c, does not keep a FILE while it formats
)
ZIG_FLAGS = (
    "-static", "-target", "x86_64-linux-musl", "-mcpu=x86_64", "-OReleaseFast", "-fPIC", "-fstrip",
    "-ffunction-sections", "-fdata-sections", "-fno-unwind-tables", "-mno-red-zone",
    "-fcompiler-rt", "-lc", "-j1",
)
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

FLAGS = (MUSL, LIBCXX, *MUSL_FLAGS, *ZIG_FLAGS, *CXX_FLAGS)
"""Everything here that decides the result."""


@cache
def _lib() -> Path:
    """Where the compiler keeps its libraries."""
    spec = find_spec("ziglang")
    assert spec, "its version was asked for before"
    assert spec.origin, "a package has a file"
    return Path(spec.origin).parent / "lib"


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
    sources = [
        str(path) for name in MUSL.split() for path in sorted((musl / "src").glob(f"{name}.[cs]"))
    ]
    headers = ["libc"]
    for part in ("arch/x86_64", "arch/generic", "src/include", "src/internal", "include"):
        headers.append(str(musl / part))
    inside = [f"-I{path}" for path in headers] + include_flags(cxx=False)
    cxx = [*COMMON_FLAGS, "-std=c++23", "-fno-exceptions", "-fno-rtti", "-nostdinc++"]
    cxx += ["-D_LIBCPP_BUILDING_LIBRARY", f"-I{libcxx / 'src'}", *include_flags(cxx=True)]
    return [
        *("build-lib", "--name", "c", f"-femit-bin={out}", *ZIG_FLAGS),
        *("-cflags", *MUSL_FLAGS, *inside, "--", "libc/stdio.c", *sources),
        *("-cflags", *cxx, "--", *(str(libcxx / f"src/{name}.cpp") for name in LIBCXX.split())),
        "-Mroot=libc/c.zig",
    ]
