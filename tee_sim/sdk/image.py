"""From a compiled program to the pages of an enclave.

::

    0              ELF segments, each page with exactly its rights: R, then RX, then RW
    heap           RW, zeros, not measured
    (spare)        no page: where an enclave that asks for `spare_pages` can grow at run time
    for each thread:
      (guard)      no page: a stack overflow is a page fault, not a silent overwrite
      stack        RW, zeros
      (guard)
      TCS          the thread control structure
      SSA          2 frames, RW: where the processor saves an interrupted thread
      thread data  RW: what the runtime must know; GS and FS point here
    size           ELRANGE, the next power of two

Everything is measured but the heap: its pages are added, so their place and rights are measured,
but their content is not, and the runtime does not rely on it. Open Enclave decides the same. The
stack is measured there too, filled with 0xCC instead of zeros.

The second state-save frame is for what interrupts the first stage of an exception handler.

Simplified: no thread-local variables; no guard page between SSA and thread data.

Source: Open Enclave SDK, ``host/sgx/create.c`` (``_add_heap_pages``, ``_add_stack_pages``,
``_add_control_pages``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from tee_sim.abi.image import ALL_CHUNKS, Identity, Image, ImagePage
from tee_sim.abi.sgx import TCS, PageType, TCSFlags
from tee_sim.errors import LayoutError, UsageError
from tee_sim.html import table
from tee_sim.sdk import build as builder
from tee_sim.sdk import guards
from tee_sim.sdk.edl import Interface
from tee_sim.sdk.elf import ELF, read_elf
from tee_sim.sdk.sources import Config, read
from tee_sim.units import PAGE

NSSA = 2
"""State-save frames of a thread: one for an interruption, one for a handler of it."""

SSAFRAMESIZE = 1
"""Pages in a state-save frame."""

_NO_LIMIT = 0xFFFFFFFF


@dataclass(frozen=True)
class ThreadLayout:
    """Where the parts of one thread lie: offsets from the enclave's base, in bytes.

    Attributes:
        tcs: its thread control structure.
        entry: the instruction at which it enters.
        ssa: its state-save area.
        nssa: frames in it.
        gs: its thread data page, the base of GS and FS.
        stack: first offset of the stack, and first offset above it.
    """

    tcs: int
    entry: int
    ssa: int
    nssa: int
    gs: int
    stack: tuple[int, int]


@dataclass(frozen=True, repr=False)
class Program:
    """A program ready to be loaded.

    Attributes:
        name: of the program.
        target: ``sgx``, ``none`` or ``vbs``: how it leaves.
        image: its pages.
        interface: its ecalls and ocalls.
        symbols: name -> offset from the enclave's base, in bytes.
        threads: where each thread lies.
        heap: first offset of the heap, and first offset above it.
        learn: what the program is there to show.
        exinfo: it asks for MISCSELECT.EXINFO.
        aex_notify: it asks for AEX-Notify, in ATTRIBUTES and in each TCS.
        identity: what its author says about it.
    """

    name: str
    target: str
    image: Image
    interface: Interface
    symbols: dict[str, int]
    threads: tuple[ThreadLayout, ...]
    heap: tuple[int, int]
    learn: str
    identity: Identity
    exinfo: bool = False
    aex_notify: bool = False

    def __repr__(self) -> str:
        return f"<Program {self.name} for {self.target}: {self.image!r}>"

    def _repr_html_(self) -> str:
        rows = [
            ("target", self.target),
            ("ecalls", "; ".join(str(function) for function in self.interface.trusted)),
            ("pages", str(len(self.image.pages))),
            ("threads", str(len(self.threads))),
            ("to learn", self.learn),
        ]
        return table(f"Program {self.name}", rows)


def load_program(
    program: Path | str,
    target: str = "sgx",
    *,
    guarded: Collection[str] = guards.ALL,
    aex_notify: bool = True,
) -> Program:
    """A program by its directory, or by the name of an example.

    The compiled form that lies beside the sources is taken if it was built from exactly them;
    otherwise the program is compiled.

    Args:
        program: a directory, or an example's name.
        target: ``sgx``, ``none`` or ``vbs``.
        guarded: names of the guards (`tee_sim.sdk.guards`) that the runtime is built with.
        aex_notify: False builds it for a processor without AEX-Notify.

    Raises:
        BuildError: it does not compile, or the compiler is needed and not installed.
        LayoutError: the ELF beside the sources is damaged.
        UsageError: there is no such program or target, or the program is not for this one.
    """
    sources = read(program)
    if not builder.suits(sources.config, target):
        raise UsageError(f"{sources.config.name} is a program for {sources.config.needs} only")
    digest = builder.inputs_digest(builder.build_inputs(sources, target), target)
    kept = builder.shipped(sources.directory, sources.config.name, target)
    data = kept.read_bytes() if kept.is_file() else b""
    if builder.digest_inside(data) != digest:
        data = builder.build(program, target)
    config = sources.config
    if not aex_notify:
        config = replace(config, aex_notify=False)
    return lay_out(read_elf(data), config, sources.interface, target, guarded)


def lay_out(
    elf: ELF,
    config: Config,
    interface: Interface,
    target: str = "sgx",
    guarded: Collection[str] = guards.ALL,
) -> Program:
    """Place an ELF, its heap and its threads in an enclave."""
    heap_start = elf.segments[-1].pages().stop
    heap_end = heap_start + config.heap_pages * PAGE
    spare = config.spare_pages * PAGE
    threads, end = [], heap_end + spare
    for _ in range(config.threads):
        thread = _thread(end, config.stack_pages, elf.entry)
        threads.append(thread)
        end = thread.gs + PAGE
    size = max(2 * PAGE, 1 << (end - 1).bit_length())
    pages = list(_segment_pages(elf))
    pages += [_data_page(at, measured=0) for at in range(heap_start, heap_end, PAGE)]
    words = {
        "TD_HEAP": heap_start,
        "TD_HEAP_SIZE": heap_end - heap_start,
        "TD_ENCLAVE_SIZE": size,
        "TD_GUARDS": guards.bits(guarded),
        "TD_SPARE_SIZE": spare,
    }
    for index, thread in enumerate(threads):
        pages += _thread_pages(thread, config.aex_notify, words | {"TD_INDEX": index})
    return Program(
        name=config.name,
        target=target,
        image=Image(size, SSAFRAMESIZE, tuple(pages)),
        interface=interface,
        symbols=elf.symbols,
        threads=tuple(threads),
        heap=(heap_start, heap_end),
        learn=config.learn,
        exinfo=config.exinfo,
        aex_notify=config.aex_notify,
        identity=Identity(config.isvprodid, config.isvsvn, strict_memory=config.strict_memory),
    )


def _segment_pages(elf: ELF) -> Iterator[ImagePage]:
    for segment in elf.segments:
        for offset in segment.pages():
            content = segment.page(offset)
            yield ImagePage(offset, PageType.REG, True, segment.w, segment.x, content)


def _data_page(offset: int, content: bytes = bytes(PAGE), measured: int = ALL_CHUNKS) -> ImagePage:
    return ImagePage(offset, PageType.REG, True, True, False, content, measured)


def _thread(start: int, stack_pages: int, entry: int) -> ThreadLayout:
    bottom = start + PAGE  # after a guard page
    top = bottom + stack_pages * PAGE
    tcs = top + PAGE  # after another
    ssa = tcs + PAGE
    gs = ssa + NSSA * SSAFRAMESIZE * PAGE
    return ThreadLayout(tcs, entry, ssa, NSSA, gs, (bottom, top))


def _thread_pages(
    thread: ThreadLayout, aex_notify: bool, words: dict[str, int]
) -> Iterator[ImagePage]:
    for at in range(*thread.stack, PAGE):
        yield _data_page(at)
    tcs = TCS(
        flags=TCSFlags(aexnotify=aex_notify),
        ossa=thread.ssa,
        nssa=thread.nssa,
        oentry=thread.entry,
        ofsbase=thread.gs,
        ogsbase=thread.gs,
        fslimit=_NO_LIMIT,
        gslimit=_NO_LIMIT,
    )
    yield ImagePage(thread.tcs, PageType.TCS, False, False, False, tcs.pack())
    for at in range(thread.ssa, thread.gs, PAGE):
        yield _data_page(at)
    words = {"TD_SELF": thread.gs, "TD_STACK_TOP": thread.stack[1]} | words
    content = bytearray(PAGE)
    for name, value in words.items():
        at = thread_data_offsets()[name]
        content[at : at + 8] = value.to_bytes(8, "little")
    yield _data_page(thread.gs, bytes(content))


@cache
def thread_data_offsets() -> dict[str, int]:
    """Offsets in the thread data page: the ``TD_`` lines of ``guest/include/tee/layout.h``."""
    text = (builder.GUEST / "include" / "tee" / "layout.h").read_text(encoding="utf-8")
    found = {name: int(at) for name, at in re.findall(r"^#define (TD_\w+) +(\d+)", text, re.M)}
    if "TD_SELF" not in found:
        raise LayoutError("guest/include/tee/layout.h declares no thread data")
    return found
