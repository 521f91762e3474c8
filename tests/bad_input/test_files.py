"""Changed files that are loaded and run: a typed error, the platform usable, nothing lost."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bad_input.guests import SMALL, TEES, Bystander, assembled, launch, nothing_lost
from signed_files import signed_file
from tee_sim import Platform
from tee_sim.abi.image import Image, ImagePage, measure
from tee_sim.abi.sgx import TCS, PageType
from tee_sim.abi.sgx_sign import SIGSTRUCT
from tee_sim.abi.sgxs import read_sgxs, write_sgxs
from tee_sim.abi.signed import read_signed
from tee_sim.errors import BuildError, EnclaveLost, SGXError, TeeSimError, UsageError
from tee_sim.hypervisor.honest import Launch
from tee_sim.sdk.build import TARGETS
from tee_sim.sdk.elf import read_elf
from tee_sim.sdk.image import lay_out
from tee_sim.sdk.reader import parse
from tee_sim.sdk.signing import signature
from tee_sim.sdk.sources import find, read
from tee_sim.units import PAGE

SEEDS = st.integers(0, 2**32 - 1)
VAULT = read("vault")
SIGNED = signed_file().data
ELF = {target: (find("vault") / f"vault.{target}.elf").read_bytes() for target in TARGETS}


@pytest.fixture(scope="module", params=TEES)
def host(request: pytest.FixtureRequest) -> Platform:
    return Platform(request.param, **SMALL)


@pytest.fixture(scope="module")
def bystander(host: Platform) -> Bystander:
    return Bystander(host)


def changed(rng: Random, data: bytes) -> bytes:
    """Cut, changed or lengthened; headers more often than the rest."""
    content = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(rng.choice([64, 0x200, len(content)]))
        size = rng.choice([1, 1, 1, 2, 4, 8])
        value = rng.choice([rng.randbytes(size), bytes(size), b"\xff" * size, b"\x7f" * size])
        content[at : at + size] = value
    cut = rng.random()
    return bytes(content[: rng.randrange(len(content))] if cut < 0.05 else content)


@given(SEEDS)
@settings(max_examples=150)
def test_a_changed_program_is_refused_or_runs_alone(
    host: Platform, bystander: Bystander, seed: int
) -> None:
    rng = Random(seed)
    with nothing_lost(host, bystander, quick=True):
        try:
            elf = read_elf(changed(rng, ELF[host.tee.target]))
            program = lay_out(elf, VAULT.config, VAULT.interface, host.tee.target)
            enclave = host.create_enclave(program)
        except TeeSimError:
            return
        try:
            enclave.make_secret("1234")
            enclave.release("1234")
        except TeeSimError:
            pass  # among them an ocall that nobody declared
        finally:
            enclave.close()


@given(SEEDS)
@settings(max_examples=100)
def test_a_changed_stream_is_refused_or_runs_alone(
    host: Platform, bystander: Bystander, seed: int
) -> None:
    rng = Random(seed)
    with nothing_lost(host, bystander, quick=True):
        stream = write_sgxs(assembled(b"\x90" * 8, host.tee.target))
        try:
            guest = launch(host, read_sgxs(changed(rng, stream)))
        except TeeSimError:
            return
        try:
            guest.enter(0, 0, 0)
        except TeeSimError:
            pass
        finally:
            guest.close()


@given(SEEDS)
@settings(max_examples=60)
def test_a_changed_signed_enclave_is_refused_or_runs_alone(
    host: Platform, bystander: Bystander, seed: int
) -> None:
    rng = Random(seed)
    with nothing_lost(host, bystander, quick=True):
        try:
            guest = launch(host, read_signed(changed(rng, SIGNED)).image)
        except TeeSimError:
            return
        try:
            guest.enter(0, 0, 0)
        except TeeSimError:
            pass
        finally:
            guest.close()


def test_every_changed_signature_is_refused() -> None:
    host = Platform("sgx-tme", **SMALL)
    bystander = Bystander(host)
    image = assembled(b"")
    good = signature(measure(image)).pack()
    rng, refused = Random(0), 0
    with nothing_lost(host, bystander):
        host.host.launch(Launch("guest", image, SIGSTRUCT.unpack(good))).close()
        for at in [*range(0, 128, 4), *range(900, 1056), *rng.sample(range(len(good)), 100)]:
            data = bytearray(good)
            data[at] ^= 1 << rng.randrange(8)
            try:
                sigstruct = SIGSTRUCT.unpack(bytes(data))
            except TeeSimError:
                continue
            with pytest.raises(SGXError):
                host.host.launch(Launch("guest", image, sigstruct))
            refused += 1
        for size in (0, 1, 127, 1807, 1809):
            with pytest.raises(TeeSimError):
                SIGSTRUCT.unpack((good + good)[:size])
    assert refused > 100


LAYOUTS = {
    "no code": {"pages": ()},
    "no thread": {"without": PageType.TCS},
    "no save area": {"tcs": {"nssa": 0}},
    "endless save area": {"tcs": {"nssa": 2**32 - 1, "ossa": 0}},
    "save area in the code": {"tcs": {"ossa": 0}},
    "save area in the TCS": {"tcs": {"ossa": 2 * PAGE}},
    "save area outside": {"tcs": {"ossa": 1 << 40}},
    "save area at the end": {"tcs": {"ossa": 2**64 - PAGE}},
    "entry outside": {"tcs": {"oentry": 1 << 40}},
    "entry not canonical": {"tcs": {"oentry": 2**63}},
    "entry at the end": {"tcs": {"oentry": 2**64 - 1}},
    "segments not canonical": {"tcs": {"ogsbase": 2**63}},
    "segments not aligned": {"tcs": {"ofsbase": 5}},
    "large frames": {"ssaframesize": 2},
    "absurd frames": {"ssaframesize": 2**32 - 1},
    "a huge range": {"size": 1 << 30},
    "a range over the whole half": {"size": 1 << 47},
    "an absurd range": {"size": 1 << 63},
}


def absurd(kind: str, target: str) -> Image:
    """An image that is well-formed, and makes no sense."""
    choices, image = LAYOUTS[kind], assembled(b"", target)
    pages = list(choices.get("pages", image.pages))
    pages = [page for page in pages if page.page_type != choices.get("without")]
    for number, page in enumerate(pages):
        if page.page_type == PageType.TCS and "tcs" in choices:
            tcs = TCS.unpack(page.content).with_(**choices["tcs"])
            pages[number] = replace(page, content=tcs.pack())
    size = choices.get("size", image.size)
    return Image(size, choices.get("ssaframesize", 1), tuple(pages))


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_layout_that_makes_no_sense_is_a_typed_error(
    host: Platform, bystander: Bystander, kind: str
) -> None:
    with nothing_lost(host, bystander):
        try:
            guest = launch(host, absurd(kind, host.tee.target))
        except TeeSimError:
            return
        for timer in (None, 1):
            guest.timer = timer
            guest.handlers.append(lambda _guest, _lp, event: event is None)
            try:
                assert guest.enter(0, 0, 0) == (0, 0, 0)
            except TeeSimError:
                continue
        guest.close()


def test_an_image_larger_than_memory_is_a_usage_error_and_than_the_epc_is_none(
    host: Platform, bystander: Bystander
) -> None:
    sgx = host.tee.target == "sgx"
    room = 1000 if sgx else 6000
    pages = tuple(
        ImagePage(at * PAGE, PageType.REG, True, True, False, bytes(PAGE), measured=0)
        for at in range(room)
    )
    if sgx:
        launch(host, Image(1 << 28, 1, pages)).close()
        bystander.check()
        return
    with nothing_lost(host, bystander), pytest.raises(UsageError, match="out of"):
        launch(host, Image(1 << 28, 1, pages))


def test_a_lost_enclave_stays_lost(host: Platform, bystander: Bystander) -> None:
    with nothing_lost(host, bystander):
        guest = launch(host, assembled(b"\x0f\x0b", host.tee.target))
        for _ in range(3):
            with pytest.raises(EnclaveLost):
                guest.enter(0, 0, 0)
        guest.close()
        with pytest.raises(EnclaveLost):
            guest.enter(0, 0, 0)


ABSURD_EDL = [
    "enclave { trusted { public void f([in, size=99999999999999999999999] void* p); }; };",
    "enclave { trusted { public void f([in, count=18446744073709551616] int* p); }; };",
    "enclave { trusted { public void f([in, size=-1] void* p); }; };",
    "enclave { trusted { public void f([in, size=0x] void* p); }; };",
    "enclave { trusted { public void f([in, size=p] void* p); }; };",
    "enclave { trusted { public void f([in, size=f] void* p); }; };",
    "enclave {" * 5000,
    "enclave { trusted { public void f(" + "[" * 5000,
    "enclave { trusted { public void f(int" + "*" * 5000 + " p); }; };",
    "/*" * 5000,
    "enclave { trusted { public void " + "f" * 100_000 + "(",
    "\ufeffenclave { trusted { }; };\u2028;",
    "enclave { trusted { public void ﬀ(); }; };",
]


@pytest.mark.parametrize("text", ABSURD_EDL, ids=lambda text: text[:40])
def test_an_absurd_interface_is_a_build_error(text: str) -> None:
    with pytest.raises(BuildError):
        parse(text)


def test_a_large_interface_is_read() -> None:
    declarations = "".join(f"public int f{number}(int a);\n" for number in range(2000))
    interface = parse("enclave { trusted {" + declarations + "}; };")
    assert len(interface.trusted) == 2000


@given(SEEDS)
@settings(max_examples=150)
def test_a_changed_interface_is_an_interface_or_a_build_error(seed: int) -> None:
    text = (find("careless") / "careless.edl").read_bytes()
    with suppress(BuildError):
        parse(changed(Random(seed), text).decode("utf-8", "replace"))
