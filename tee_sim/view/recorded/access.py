"""One access, followed from the page table to DRAM; and the address space it happens in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from tee_sim.abi.sgx import PageType
from tee_sim.checks import Check
from tee_sim.errors import EnclaveLost, Fault, UsageError
from tee_sim.hypervisor.malicious import PageTableEntry
from tee_sim.hypervisor.sgx import SGXGuest
from tee_sim.machine.paging import ACCESS_NAMES, FLAGS, NO_EXECUTE, USER, WRITABLE
from tee_sim.monitors.sgx import checks as rules
from tee_sim.platform import DeployedEnclave, Platform
from tee_sim.trace import Event, Recorder, TLBFill
from tee_sim.units import PAGE
from tee_sim.view.player import Picture, Player
from tee_sim.view.recorded.launch import letters
from tee_sim.view.scene_funnel import Stage, Verdict, funnel
from tee_sim.view.scene_memory import Region, memory_map

Broken = tuple[bool, Check, str]
"""Whether a rule is broken, its check, and one sentence about this access."""

SHOWN = 8
"""Bytes of memory that a stage shows."""

_PAGE_TABLE = "page table"
_DYNAMIC = (rules.EPCM_BLOCKED, rules.EPCM_PENDING, rules.EPCM_MODIFIED)
"""Rules of paging and dynamic memory: one stage for all of them while they have nothing to say."""


@dataclass(frozen=True)
class _Scene:
    """What stood where just before the access."""

    host: Platform
    victim: DeployedEnclave
    gva: int
    access: int
    entry: PageTableEntry
    rules: list[Broken]
    cached: bool
    protected: bool
    raw: bytes

    @property
    def hpa(self) -> int:
        return self.entry.hpa + self.gva % PAGE


def access_funnel(
    host: Platform, victim: DeployedEnclave, gva: int, touch: Callable[[], object], *,
    access: str = "read", title: str = "One access",
) -> Player:  # fmt: skip
    """Have the program make an access, and draw every stage that it met.

    Args:
        host: the server.
        victim: the program on it.
        gva: the address that is accessed.
        touch: calls the program such that it makes the access, e.g. ``vault.tries_left``. It may
            be refused; the program is lost then, as it would be anyway.
        access: ``"read"``, ``"write"`` or ``"fetch"``.
        title: shown above the drawing.

    Raises:
        UsageError: ``touch`` did not make that access.
    """
    if access not in ACCESS_NAMES:
        raise UsageError(f"an access is one of {', '.join(ACCESS_NAMES)}, not {access!r}")
    scene = _look(host, victim, gva, ACCESS_NAMES.index(access))
    heard, fault = _make(host, touch)
    made = any(
        isinstance(event, TLBFill) and event.gva & -PAGE == gva & -PAGE and event.access == access
        for event in heard
    )
    stages = _paging(scene) + _judged(scene) + _fetched(scene, fault, made)
    drawn = next((stage.name for stage in stages if stage.verdict == "refuse"), "")
    if drawn != ("" if made else _cause(fault)):
        end = f"it ended with {fault or 'success'}"
        raise UsageError(f"touch() made no {access} at {gva:#x}; {end}")
    return funnel(stages, title)


def _cause(fault: Fault | None) -> str:
    """Name of the stage that raised ``fault``."""
    check = fault.check if fault is not None else None
    return check.name if check is not None else _PAGE_TABLE


def _make(host: Platform, touch: Callable[[], object]) -> tuple[list[Event], Fault | None]:
    """The events of an access and how it ended; whoever listens already hears of it afterwards."""
    heard, usual = Recorder(), host.checks.tracer
    host.checks.tracer, fault = heard, None
    try:
        touch()
    except EnclaveLost as lost:
        fault = lost.fault
    except Fault as error:
        fault = error
    finally:
        host.checks.tracer = usual
        for event in heard.events:
            host.checks.emit(event)
    return heard.events, fault


def _look(host: Platform, victim: DeployedEnclave, gva: int, access: int) -> _Scene:
    """The state on which the access will be decided."""
    guest, driver, cache = victim.guest, host.host.sgx, host.machine.cache
    entry = host.adversary.walk(guest, gva)
    known = entry.hpa < host.machine.dram.size
    found: list[Broken] = []
    if known and driver is not None and isinstance(guest, SGXGuest):
        if not guest.enclave.contains(gva):
            raise UsageError(f"{gva:#x} is not in the enclave's own range of addresses")
        found = driver.judge(guest.enclave, gva, entry.hpa, access)
    raw = host.machine.dram.read(entry.hpa + gva % PAGE, SHOWN) if known else b""
    cached = known and cache.is_cached(entry.hpa)
    protected = cache.keys.engine(entry.hpa) is not None
    return _Scene(host, victim, gva, access, entry, found, cached, protected, raw)


def _paging(scene: _Scene) -> list[Stage]:
    """The host's page tables; they may refuse like anybody."""
    entry, name = scene.entry, ACCESS_NAMES[scene.access]
    flags = ", ".join(word for word, bit in FLAGS.items() if entry.value & bit)
    needed = (True, entry.value & WRITABLE, not entry.value & NO_EXECUTE)[scene.access]
    source = 'Intel SDM Vol. 3A, "4-Level Paging and 5-Level Paging"'
    page = scene.gva & -PAGE
    if not entry.present:
        words = f"the host's entry for {page:#x} is not present: #PF, and the host is asked"
        return [Stage(_PAGE_TABLE, words, "refuse", source)]
    words = f"the host's entry says: {page:#x} is at physical {entry.hpa:#x} ({flags})"
    allowed = needed and entry.value & USER
    words += "" if allowed else f"; it forbids this {name}"
    return [Stage(_PAGE_TABLE, words, "pass" if allowed else "refuse", source)]


def _judged(scene: _Scene) -> list[Stage]:
    """The processor's own rules, each as this access keeps or breaks it."""
    stages: list[Stage] = []
    checks = scene.host.checks
    calm = [c for broken, c, _ in scene.rules if c in _DYNAMIC and not broken and checks.on(c)]
    together = len(calm) == len(_DYNAMIC)
    for broken, check, why in scene.rules:
        if not together or check not in _DYNAMIC:
            stages.append(_rule_stage(scene, broken, check, why))
        elif check is _DYNAMIC[-1]:
            name = "EPCM: BLOCKED, PENDING, MODIFIED"
            words = "nobody is evicting or changing this page"
            stages.append(Stage(name, words, "pass", check.source))
    return stages


def _rule_stage(scene: _Scene, broken: bool, check: Check, why: str) -> Stage:
    on = scene.host.checks.on(check)
    verdict: Verdict = "off" if not on else "refuse" if broken else "pass"
    words = why if broken else _satisfied(scene, check)
    if not on:
        words = f"nobody asks; {f'{why}, and it would be refused' if broken else words}"
    return Stage(check.name, words, verdict, check.source)


def _satisfied(scene: _Scene, check: Check) -> str:
    """Why this access keeps the rule, from the EPCM entry as it stands."""
    driver = scene.host.host.sgx
    assert driver is not None, "only SGX has these rules"
    entry = driver.epcm(scene.entry.hpa)
    return {
        rules.ELRANGE_EPC: f"{scene.entry.hpa:#x} is enclave memory",
        rules.EPCM_VALID: "this page slot is in use",
        rules.EPCM_ENCLAVESECS: f"its owner is the running enclave (SECS {entry.enclavesecs:#x})",
        rules.EPCM_PT: f"type {entry.page_type.name}: code or data, no control structure",
        rules.EPCM_ENCLAVEADDRESS: f"it was added at {entry.enclaveaddress:#x}, as asked for now",
    }.get(check, f"its rights are {letters(entry)}, and this is a {ACCESS_NAMES[scene.access]}")


def _fetched(scene: _Scene, fault: Fault | None, made: bool) -> list[Stage]:
    """Cache, DRAM and engine. An access that was refused earlier gets their names alone."""
    checks, refused = scene.host.checks, _cause(fault)
    if scene.cached:
        words = "the plaintext is on the die already: neither key nor DRAM is needed"
        return [Stage("cache", words, "info"), _inside(scene, made)]
    words = f"the memory bus delivers {scene.raw.hex(' ')} from {scene.hpa:#x}"
    stages = [Stage("DRAM", words, "info")]
    for check in checks.known.values():
        if not scene.protected or not check.name.startswith(("MEM.", "MEE.")):
            continue
        verdict: Verdict = "off" if not checks.on(check) else "pass"
        verdict = "refuse" if check.name == refused else verdict
        stages.append(Stage(check.name, _engine_words(check, verdict), verdict, check.source))
    return [*stages, _inside(scene, made)]


def _engine_words(check: Check, verdict: Verdict) -> str:
    """What the memory engine has to say."""
    if check.name.startswith("MEE."):
        says = f"{check.title[0].lower()}{check.title[1:]}"
        return {"pass": says, "off": f"nobody asks: {says}?"}.get(verdict, f"it is not so: {says}")
    if verdict == "off":
        return "memory holds plaintext; there is nothing to decrypt"
    return "the engine decrypts, with a key that never leaves the processor"


def _inside(scene: _Scene, made: bool) -> Stage:
    data = scene.host.machine.cache.read(scene.hpa, SHOWN) if made else b""
    return Stage("the program", f"at {scene.gva:#x} stands {data.hex(' ')}", "info")


def address_map(victim: DeployedEnclave, title: str = "One address space") -> Picture:
    """The linear addresses of the process that hosts an enclave, and who may use them.

    Rights are read from the EPCM as it stands; which part of the program a page holds, from the
    program's layout.
    """
    start, size = victim.guest.arena
    words = "arguments and results of ecalls, in the clear"
    regions: list[Region] = [("buffer for ecalls", start, size, "host", words)]
    pages = [(_part(victim, page.offset), page.offset) for page in victim.program.image.pages]
    for _, run in groupby(enumerate(pages), lambda item: (item[1][0], item[1][1] - item[0] * PAGE)):
        group = [page for _, page in run]
        (label, owner, note), offset = group[0]
        base = victim.guest.base + offset
        regions.append((label, base, len(group) * PAGE, owner, note))
    return memory_map(regions, title)


def _part(victim: DeployedEnclave, offset: int) -> tuple[str, str, str]:
    """What the page at ``offset`` is called, who may use it, and what there is to say."""
    guest, program = victim.guest, victim.program
    page = next(page for page in program.image.pages if page.offset == offset)
    protected = isinstance(guest, SGXGuest)
    entry = guest.driver.epcm(guest.pages[offset]) if isinstance(guest, SGXGuest) else page
    owner = f"{'enclave' if protected else 'process'} {letters(entry)}"
    note = "added, but its content is not measured" if protected and not page.measured else ""
    for i, thread in enumerate(program.threads):
        if page.page_type == PageType.TCS and offset == thread.tcs:
            door = "processor only" if protected else owner
            return f"TCS {i}", door, f"a door: thread {i} enters here"
        if thread.ssa <= offset < thread.gs:
            return f"SSA {i}", owner, "registers of the interrupted thread"
        if thread.stack[0] <= offset < thread.stack[1]:
            return f"stack {i}", owner, note
        if offset == thread.gs:
            return f"thread data {i}", owner, note
    if program.heap[0] <= offset < program.heap[1]:
        return "heap", owner, note
    return ("code" if entry.x else "data" if entry.w else "constants"), owner, note
