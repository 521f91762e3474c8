"""The secure kernel: the life of an enclave, its memory, its identity, and its errors."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tee_sim import Platform
from tee_sim.abi.image import PLAIN, Identity, measure
from tee_sim.abi.sgx import TCS, PageType
from tee_sim.abi.vbs import EnclaveIdentity, read_report
from tee_sim.abi.vbs_image import CreateFlags, CreateInfo, EnclaveConfig, InitInfo
from tee_sim.errors import (
    CallError,
    EcallFailed,
    EnclaveLost,
    GeneralProtection,
    LayoutError,
    TeeSimError,
    UsageError,
    VBSError,
)
from tee_sim.hypervisor.guest import ARENA_BASE
from tee_sim.hypervisor.honest import Launch
from tee_sim.hypervisor.vbs import VBSDriver, VBSGuest
from tee_sim.machine.paging import PRESENT, USER, WRITABLE
from tee_sim.machine.registers import R10, RAX, RDI, RDX, RSI
from tee_sim.monitors.vbs import crossing, exceptions, services
from tee_sim.monitors.vbs.enclave import ImageSignature
from tee_sim.monitors.vbs.secure_kernel import ERRORS, own_memory
from tee_sim.monitors.vbs.services import Call
from tee_sim.platform import DeployedEnclave
from tee_sim.sdk.build import GUEST
from tee_sim.sdk.host import Enclave
from tee_sim.sdk.image import load_program
from tee_sim.units import MIB, PAGE

SMALL = {"memory": 24 * MIB, "budget": 50_000_000}
LOOT = ARENA_BASE + 0x100000


def platform(**how: Any) -> Platform:
    return Platform("vbs", **{**SMALL, **how})


def driver(host: Platform) -> VBSDriver:
    assert host.host.vbs is not None
    return host.host.vbs


def guest(enclave: DeployedEnclave) -> VBSGuest:
    assert isinstance(enclave.guest, VBSGuest)
    return enclave.guest


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(VBSError) as error:
        call()
    return error.value.status


# The life of an enclave


def test_each_step_of_the_life_of_an_enclave_needs_the_one_before() -> None:
    host = platform()
    vbs, image = driver(host), load_program("vault", "vbs").image
    space = host.host.new_address_space()
    info = CreateInfo(flags=CreateFlags(), owner_id=bytes(32))
    init = InitInfo(length=8, thread_count=1)
    for base, size in ((1, 2 * MIB), (0, PAGE), (0, 0), (1 << 47, 2 * MIB), (-2 * MIB, 4 * MIB)):
        create = (base, size, info, space, lambda gva: False)
        assert refused(lambda c=create: vbs.create_enclave(*c)) == "ERROR_INVALID_PARAMETER"
    enclave = vbs.create_enclave(4 * MIB, 2 * MIB, info, space, lambda gva: False)
    assert refused(lambda: vbs.initialize_enclave(enclave, init)) == "ERROR_ENCLAVE_FAILURE"
    lp = host.machine.processor(0)
    enter = (enclave, lp, 0, [0] * 20)
    assert refused(lambda: vbs.call_enclave(*enter)) == "ERROR_ENCLAVE_FAILURE"
    pages = [host.host.frames.take() for _ in image.pages]
    signed = host.sign(image, PLAIN)
    for bad in (pages[1:], [*pages[1:], 5], [*pages[1:], 1 << 40], [*pages[1:], pages[1]]):
        assert refused(lambda b=bad: vbs.load_enclave_image(enclave, image, signed, b)).startswith(
            "ERROR_INVALID_"
        )
    vbs.load_enclave_image(enclave, image, signed, pages)
    load = (enclave, image, signed, pages)
    assert refused(lambda: vbs.load_enclave_image(*load)) == "ERROR_ENCLAVE_FAILURE"
    for count in (0, 2):
        many = InitInfo(length=8, thread_count=count)
        assert refused(lambda m=many: vbs.initialize_enclave(enclave, m)).startswith("ERROR")
    vbs.initialize_enclave(enclave, init)
    assert refused(lambda: vbs.call_enclave(enclave, lp, 1, [0] * 20)) == "ERROR_INVALID_PARAMETER"
    assert refused(lambda: vbs.resume(enclave, lp)) == "ERROR_INVALID_PARAMETER"
    vbs.terminate_enclave(enclave)
    assert refused(lambda: vbs.call_enclave(*enter)) == "ERROR_ENCLAVE_FAILURE"
    assert vbs.delete_enclave(enclave) == pages
    assert host.adversary.read(pages[0], PAGE) == bytes(PAGE)
    for call in (vbs.delete_enclave, vbs.terminate_enclave):
        assert refused(lambda c=call: c(enclave)) == "ERROR_INVALID_ADDRESS"


def test_a_refused_image_leaves_its_pages_with_vtl0() -> None:
    host = platform()
    left = host.host.frames.left
    with host.adversary.tampering(lambda launch: replace(launch, sigstruct=None)):
        assert refused(lambda: host.create_enclave("vault")) == "ERROR_INVALID_IMAGE_HASH"
    assert host.host.frames.left == left
    assert driver(host)._sk.enclaves == []


def test_a_signature_holds_for_its_own_image_configuration_and_key_only() -> None:
    image = load_program("vault", "vbs").image
    host = platform()
    good = host.sign(image, PLAIN)
    other = host.sign(image, PLAIN, attacker=True)
    assert isinstance(good, ImageSignature)
    assert isinstance(other, ImageSignature)
    assert good.holds()
    newer = good.config.with_(security_version=9)
    for change in (
        {"config": newer},
        {"unique_id": bytes(32)},
        {"author_key": other.author_key},
        {"author_key": b"no key"},
        {"signature": bytes(384)},
    ):
        assert not replace(good, **change).holds()


def test_an_enclave_that_was_terminated_goes_no_further() -> None:
    host = platform(without={"VTL.INTERRUPTS"})
    victim = host.create_enclave("vault")

    def look(_registers: dict[str, int]) -> None:
        driver(host).terminate_enclave(guest(victim).enclave)

    with host.adversary.interrupting(victim.guest, 50, look), pytest.raises(CallError):
        victim.make_secret("1")
    assert victim.lost


def test_what_a_power_cut_leaves_is_an_empty_secure_kernel() -> None:
    host = platform()
    left = host.host.frames.left
    victim = host.create_enclave("vault")
    victim.make_secret("1")
    before = driver(host).event_log
    host.machine.power_cut()
    assert victim.lost
    victim.close()
    victim.close()
    assert host.host.frames.left == left
    assert driver(host)._sk.enclaves == []
    assert driver(host).event_log == before
    assert host.create_enclave("vault").tries_left() == 0


@pytest.mark.parametrize("seed", range(12))
def test_any_calls_of_vtl0_in_any_order_harm_nobody_else(seed: int) -> None:
    rng, host = Random(seed), platform()
    vbs, image = driver(host), load_program("race", "vbs").image
    bystander = host.create_enclave("vault")
    digest = bystander.make_secret("1")
    space, lp = host.host.new_address_space(), host.machine.processor(1)
    known = [guest(bystander).enclave]

    def some() -> Any:
        return rng.choice(known[1:] or known) if rng.random() < 0.95 else known[0]

    def create() -> None:
        flags = CreateFlags(debug=rng.random() < 0.5)
        info = CreateInfo(flags=flags, owner_id=rng.randbytes(32))
        size = rng.choice([2, 4]) * MIB
        known.append(vbs.create_enclave(rng.randrange(8) * MIB, size, info, space, lambda _: False))

    def pages() -> list[int]:
        victim = list(known[0].pages.values())
        fresh = [host.host.frames.take() for _ in image.pages]
        return [rng.choice(victim) if rng.random() < 0.02 else page for page in fresh]

    def enter(enclave: Any) -> None:
        vbs.call_enclave(enclave, lp, rng.randrange(5), [0] * 20)
        lp.run(200)

    steps: list[Callable[[], object]] = [
        create,
        lambda: vbs.load_enclave_image(some(), image, host.sign(image, PLAIN), pages()),
        lambda: vbs.initialize_enclave(some(), InitInfo(length=8, thread_count=rng.randrange(6))),
        lambda: len(known) > 1 and enter(known[-1]),
        lambda: crossing.interrupt(vbs._sk, lp, None) if lp.context else None,
        lambda: len(known) > 1 and vbs.resume(known[-1], lp),
        lambda: len(known) > 1 and exceptions.deliver(vbs._sk, known[-1], lp, [0] * 20),
        lambda: vbs.debug(known[0], known[0].base, 8) and pytest.fail("read"),
        lambda: vbs.modify_vtl_protection_mask([rng.choice([*known[0].pages.values()])], 7),
        lambda: vbs.terminate_enclave(known[-1]) if len(known) > 1 else None,
        lambda: vbs.delete_enclave(known[-1]) if len(known) > 1 else None,
    ]
    for _ in range(60):
        try:
            rng.choice(steps)()
        except TeeSimError:
            continue
    assert sha256(bystander.release("1").secret).digest() == digest


def test_threads_start_where_the_signed_image_says() -> None:
    host = platform()
    vbs, image = driver(host), load_program("vault", "vbs").image
    info, space = CreateInfo(owner_id=bytes(32)), host.host.new_address_space()
    enclave = vbs.create_enclave(4 * MIB, 2 * MIB, info, space, lambda gva: False)
    pages = [host.host.frames.take() for _ in image.pages]
    vbs.load_enclave_image(enclave, image, host.sign(image, PLAIN), pages)
    vbs.initialize_enclave(enclave, InitInfo(length=8, thread_count=1))
    control = next(page for page in image.pages if page.page_type == PageType.TCS)
    assert enclave.threads[0].entry == enclave.base + TCS.unpack(control.content).oentry


@pytest.mark.parametrize("end", ["close", "power_cut"])
def test_a_handle_of_a_deleted_enclave_leads_nowhere(end: str) -> None:
    host = platform(without={"SK.DEBUG_POLICY"})
    old = host.create_enclave("vault", debug=True)
    old.close() if end == "close" else host.machine.power_cut()
    victim = host.create_enclave("vault")
    victim.make_secret("1")
    vbs, handle, place = driver(host), guest(old).enclave, victim.address("vault_secret")
    lp = host.machine.processor(1)
    assert refused(lambda: vbs.debug(handle, place, 32)) == "ERROR_INVALID_ADDRESS"
    assert refused(lambda: vbs.delete_enclave(handle)) == "ERROR_INVALID_ADDRESS"
    assert refused(lambda: vbs.call_enclave(handle, lp, 0, [0] * 20)) == "ERROR_ENCLAVE_FAILURE"


def test_more_memory_makes_room_for_more_enclaves() -> None:
    assert len(own_memory(16 * MIB)) == len(own_memory(256 * MIB)) == 4 * MIB
    assert len(own_memory(1024 * MIB)) == 16 * MIB
    host = platform(memory=512 * MIB)
    kernel = driver(host)._sk
    assert kernel.frames.left == 8 * MIB // PAGE
    assert not kernel.hypervisor.is_open(own_memory(512 * MIB).start)


def test_tables_from_before_a_power_cut_change_nothing() -> None:
    host = platform()
    old = host.create_enclave("careless")
    old.guest.write(LOOT, bytes(8))
    old.peek(LOOT)
    host.machine.power_cut()
    victim = host.create_enclave("careless")
    victim.guest.write(LOOT, b"one page")
    victim.peek(LOOT)
    tables = guest(victim).enclave.space
    before = tables.entry(LOOT)
    old.guest.space.map(LOOT, host.host.frames.take())
    assert tables.entry(LOOT) == before


def test_an_owner_that_does_not_fit_is_refused_and_costs_no_page() -> None:
    host = platform()
    left = host.host.frames.left
    for owner in (b"short", bytes(33), "text", None, 3):
        with pytest.raises(LayoutError, match="owner_id"):
            host.create_enclave("hello", owner_id=owner)  # type: ignore[arg-type]  # bad on purpose
    assert host.host.frames.left == left


# Memory


def test_tables_that_became_an_enclaves_page_are_not_the_hosts_to_edit() -> None:
    host = platform()
    image, space = load_program("vault", "vbs"), host.host.new_address_space()
    offset = image.symbols["vault_secret"]
    pages = [
        space.cr3 if p.offset == offset else host.host.frames.take() for p in image.image.pages
    ]
    launch = Launch("vault", image.image, host.sign(image.image, image.identity))
    victim = Enclave(image.interface, VBSGuest(host.host, driver(host), launch, pages))
    digest = victim.make_secret("1")
    for call in (lambda: space.map(LOOT, PAGE), lambda: space.entry(LOOT)):
        with pytest.raises(UsageError, match="not in the host's memory"):
            call()
    assert sha256(victim.release("1").secret).digest() == digest


@pytest.mark.parametrize("without", [(), ("SK.VTL0_PAGE",)])
def test_a_page_that_becomes_an_enclaves_is_taken_from_whom_it_was_lent(
    without: tuple[str, ...],
) -> None:
    host = platform(without=without)
    spy = host.create_enclave("careless")
    image, page = load_program("vault", "vbs"), host.host.frames.take()
    spy.guest.space.map(LOOT, page)
    assert spy.peek(LOOT) == 0
    offset = image.symbols["vault_secret"]
    pages = [page if p.offset == offset else host.host.frames.take() for p in image.image.pages]
    launch = Launch("vault", image.image, host.sign(image.image, image.identity))
    victim = Enclave(image.interface, VBSGuest(host.host, driver(host), launch, pages))
    digest = victim.make_secret("1")
    if not without:
        with pytest.raises(EnclaveLost, match=r"SK\.VTL0_PAGE"):
            spy.peek(LOOT)
    else:
        found = b"".join(spy.peek(LOOT + at).to_bytes(8, "little") for at in range(0, 32, 8))
        assert sha256(found).digest() == digest


@pytest.mark.parametrize("strict", [False, True])
def test_arguments_reach_an_enclave_whether_it_may_touch_its_process_or_not(strict: bool) -> None:
    enclave = platform().create_enclave("careless", identity=Identity(strict_memory=strict))
    enclave.make_secret()
    enclave.put(bytes(range(256)) * 16)
    assert enclave.peek(enclave.address("careless_page")) == int.from_bytes(range(8), "little")
    enclave.guest.write(LOOT, b"outside!")
    if strict:
        with pytest.raises(EnclaveLost) as lost:
            enclave.peek(LOOT)
        assert "SK.STRICT_MEMORY" in str(lost.value.fault)
    else:
        assert enclave.peek(LOOT) == int.from_bytes(b"outside!", "little")


@pytest.mark.parametrize("entry", [PRESENT | WRITABLE, PRESENT | WRITABLE | USER | 1 << 50])
def test_an_enclave_uses_no_page_that_its_process_could_not(entry: int) -> None:
    host = platform()
    page = host.host.frames.take()
    host.adversary.write(page, b"kernel's")
    enclave = host.create_enclave("careless")
    enclave.guest.space.set_entry(LOOT, page | entry)
    with pytest.raises(EnclaveLost):
        enclave.peek(LOOT)
    caller = host.create_enclave("careless")
    caller.guest.space.set_entry(LOOT, page | entry)
    inside = caller.address("careless_page")
    for call, arguments in (
        (Call.COPY_INTO_ENCLAVE, (inside, LOOT, 8)),
        (Call.COPY_OUT_OF_ENCLAVE, (LOOT, inside, 8)),
    ):
        assert answer(caller, call, *arguments) == ERRORS["ERROR_INVALID_ADDRESS"]
    assert host.adversary.read(page, 8) == b"kernel's"


def test_an_enclave_sees_its_process_as_the_process_is_now() -> None:
    enclave = platform().create_enclave("careless")
    space = enclave.guest.space
    enclave.guest.write(LOOT, b"one page")
    assert enclave.peek(LOOT) == int.from_bytes(b"one page", "little")
    other = enclave.guest.borrow()
    enclave.guest.host.machine.write(other, b"another.")
    space.map(LOOT, other, writable=False)
    assert enclave.peek(LOOT) == int.from_bytes(b"another.", "little")
    with pytest.raises(EnclaveLost):
        enclave.poke(LOOT, 1)


def test_the_runtime_can_give_up_its_process_at_run_time() -> None:
    enclave = platform().create_enclave("careless")
    enclave.guest.write(LOOT, bytes(8))
    assert enclave.peek(LOOT) == 0
    inner, table = guest(enclave).enclave, enclave.address("careless_page")
    assert answer(enclave, Call.RESTRICT_CONTAINING_PROCESS_ACCESS, 1, table) == 0
    assert inner.strict
    assert not inner.mirrored
    with pytest.raises(EnclaveLost):
        enclave.peek(LOOT)


def answer(enclave: DeployedEnclave, call: int, *arguments: int) -> int:
    """What the secure kernel answers to a call that this enclave makes: RAX."""
    vbs, inner = guest(enclave).driver, guest(enclave).enclave
    lp = enclave.guest.host.machine.processor(3)
    vbs.call_enclave(inner, lp, 0, [0] * 20)
    registers, padded = lp.registers(), (*arguments, 0, 0, 0, 0)
    registers[RAX] = call
    registers[RDI], registers[RSI], registers[RDX], registers[R10] = padded[:4]
    lp.set_registers(registers)
    try:
        services.syscall(vbs._sk, lp)
        return lp.register(RAX)
    finally:
        inner.inside.clear()
        lp.switch(0)


BIG = [0, 1, PAGE, 2 * MIB, 1 << 28, 1 << 47, 1 << 63, 2**64 - 1]
EDGES = st.sampled_from([*BIG, ARENA_BASE, 0x4000_0000, 0x4000_0000 + 2 * MIB - 8])


@given(st.integers(0, 12), st.tuples(EDGES, EDGES, EDGES, EDGES))
@settings(max_examples=60)
def test_any_call_of_an_enclave_is_answered_with_a_known_number(
    number: int, arguments: tuple[int, int, int, int]
) -> None:
    if number == Call.LEAVE:
        return
    try:
        status = answer(CALLER, number, *arguments)
    except GeneralProtection:
        return
    assert status in {0, *ERRORS.values()}


CALLER = platform().create_enclave("careless")


# Identity, sealing, exceptions


def test_an_identity_says_what_author_owner_and_machine_said() -> None:
    host = platform()
    who = Identity(isvsvn=7, isvfamilyid=b"f" * 16, isvextprodid=b"i" * 16)
    enclave = host.create_enclave("notary", identity=who, owner_id=b"o" * 32, debug=True)
    found = guest(enclave).identity
    assert (found.owner_id, found.family_id, found.image_id) == (b"o" * 32, b"f" * 16, b"i" * 16)
    assert found.unique_id == measure(enclave.program.image)
    assert (found.enclave_svn, found.secure_kernel_svn, found.platform_svn) == (7, 2, 2)
    assert (found.flags.full_debug_enabled, found.signing_level) == (True, 4)
    made = enclave.present(b"q" * 64)
    report = read_report(made.report[16 : int.from_bytes(made.report_size, "little")])
    assert (report.identity, report.enclave_data) == (found, b"q" * 64)
    assert [module.name for module in report.modules] == ["notary.dll"]


@pytest.mark.parametrize("author", [False, True])
@pytest.mark.parametrize("creator", [False, True])
def test_a_debugger_needs_both_author_and_creator(author: bool, creator: bool) -> None:
    host = platform()

    def sign_it(launch: Any) -> Any:
        signed = host.sign(launch.image, launch.identity, debug=author)
        return replace(launch, sigstruct=signed)

    with host.adversary.tampering(sign_it):
        victim = host.create_enclave("vault", debug=creator)
    digest, enclave = victim.make_secret("1"), guest(victim).enclave

    def read() -> bytes:
        return driver(host).debug(enclave, victim.address("vault_secret"), 32)

    if author and creator:
        assert sha256(read()).digest() == digest
        driver(host).debug(enclave, victim.address("vault_tries"), 1, b"\x63")
        assert victim.tries_left() == 99
    else:
        assert refused(read) == "ERROR_ACCESS_DENIED"


def test_sealed_state_survives_a_restart_and_no_change() -> None:
    host, disk = platform(), []
    card = host.create_enclave("sealed_counter", ocalls={"store": lambda s, _n: disk.append(s)})
    card.issue(3, 1)
    card.close()
    again = host.create_enclave("sealed_counter", ocalls={"store": lambda s, _n: None})
    state = disk[0]
    for at in (0, 100, 160, 200, len(state) - 1):
        broken = bytearray(state)
        broken[at] ^= 1
        with pytest.raises(EcallFailed, match="OE_CRYPTO_ERROR"):
            again.restore(bytes(broken), len(state))
    for size in (0, 1, 207, 239):
        with pytest.raises(EcallFailed, match=r"OE_INVALID_PARAMETER|OE_CRYPTO_ERROR"):
            again.restore(state[:size], size)
    again.restore(state, len(state))
    assert again.uses_left() == 3
    assert b"\x03\x00\x00\x00\x01\x00" not in state


@pytest.mark.parametrize("without", [(), ("VTL.INTERRUPTS",)])
def test_an_enclave_handles_its_own_exceptions(without: tuple[str, ...]) -> None:
    box = platform(without=without).create_enclave("strongbox")
    box.make_secret("1")
    assert box.divide(9, 3) == 3
    box.guest.timer = 1
    box.guest.handlers.append(lambda _guest, _lp, event: event is None)
    assert (box.divide(9, 0), box.handled()) == (2**64 - 1, 1)
    assert box.fetch(1 << 40) == 2**64 - 1
    assert (box.last_address(), box.divide(8, 2)) == (1 << 40, 4)


def test_vtl0_cannot_invent_an_exception() -> None:
    host = platform(without={"VTL.INTERRUPTS"})
    box = host.create_enclave("strongbox")
    box.make_secret("1")
    offered = []

    def handler(victim: Any, lp: Any, event: Any) -> bool:
        offered.append(victim._offer(lp))
        victim.timer = None
        return event is None

    box.guest.handlers.append(handler)
    box.guest.timer = 30
    assert box.divide(6, 2) == 3
    assert (offered, box.handled()) == ([False], 0)


def test_an_exception_is_handled_once() -> None:
    host = platform()
    box = host.create_enclave("strongbox")
    box.make_secret("1")
    again = []

    def answered(lp: Any, offered: Any) -> None:
        again.append(box.guest._offer(lp))
        VBSGuest._answered(guest(box), lp, offered)

    guest(box)._answered = answered  # type: ignore[method-assign]  # VTL0 offers it once more
    assert (box.divide(9, 0), box.handled(), again) == (2**64 - 1, 1, [False])


def test_a_terminated_enclave_handles_no_exception() -> None:
    host = platform()
    box = host.create_enclave("strongbox")
    box.make_secret("1")
    offered = []

    def handler(victim: Any, lp: Any, event: Any) -> bool:
        driver(host).terminate_enclave(guest(box).enclave)
        offered.append(victim._offer(lp))
        return False

    box.guest.handlers.append(handler)
    with pytest.raises(EnclaveLost):
        box.divide(9, 0)
    assert offered == [False]


def test_no_other_thread_is_called_on_a_processor_where_one_waits() -> None:
    host = platform(without={"VTL.INTERRUPTS"})
    crew = host.create_enclave("race")
    statuses = []

    def interrupted(victim: Any, lp: Any, event: Any) -> bool:
        call = (guest(crew).enclave, lp, 1, [0] * 20)
        statuses.append(refused(lambda: driver(host).call_enclave(*call)))
        victim.timer = None
        return event is None

    crew.guest.handlers.append(interrupted)
    crew.guest.timer = 30
    crew.add(1000)
    assert statuses == ["ERROR_INVALID_PARAMETER"]


# Against independent sources


def header(name: str) -> str:
    found = importlib.util.find_spec("ziglang")
    if found is None or found.origin is None:
        pytest.skip("the compiler, which has the header, is not installed")
    folder = Path(found.origin).parent / "lib/libc/include/any-windows-any"
    return (folder / name).read_text(encoding="utf-8")


def test_errors_have_the_numbers_of_the_windows_header() -> None:
    text = header("winerror.h")
    for name, number in ERRORS.items():
        assert re.search(rf"#define {name} (?:__MSABI_LONG\()?{number}\b", text), name


def test_the_guest_and_the_secure_kernel_agree_on_numbers_and_sizes() -> None:
    text = (GUEST / "include" / "tee" / "vbs.h").read_text(encoding="utf-8")
    numbers = {m[1]: int(m[2]) for m in re.finditer(r"#define VBS_(\w+) (\d+)", text)}
    assert all(numbers[call.name] == call for call in Call)
    assert numbers["SEAL_OVERHEAD"] == 208
    assert (EnclaveConfig.SIZE, CreateInfo.SIZE, EnclaveIdentity.SIZE) == (80, 36, 152)
