"""The front door: what it takes, what it refuses, and that runs can be repeated."""

from __future__ import annotations

from typing import Any

import pytest

from assembly import RDRAND_RAX, add, image, leave, load_from, mov
from signed_files import GLOBAL_DATA, PATCHED, signed_file
from tee_sim import Platform
from tee_sim.abi.image import measure
from tee_sim.errors import SGXError, TeeSimError, UsageError
from tee_sim.hypervisor.sgx import SGXGuest
from tee_sim.machine.registers import RDI, RDX, RSI
from tee_sim.sdk.signing import signature
from tee_sim.tees import TEES
from tee_sim.units import MIB, PAGE

SMALL: dict[str, Any] = {"memory": 24 * MIB, "epc": 2 * MIB}
DRAW = mov(7, 0) + RDRAND_RAX + b"\x48\x89\xc7" + leave()


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        (("sgx",), {}, "sgx-tme"),
        (("",), {}, "no platform"),
        (("sgx-tme",), {"without": {"NO.SUCH"}}, "NO.SUCH"),
        (("none",), {"without": {"EPCM.W"}}, "EPCM.W"),
        (("sgx-tme",), {"without": "EPCM.W"}, "set of names"),
        (("sgx-tme",), {"memory": 0}, "memory"),
        (("sgx-tme",), {"memory": 24 * MIB + 1}, "memory"),
        (("sgx-tme",), {"memory": 8 * MIB, "epc": 4 * MIB}, "too small"),
        (("sgx-tme",), {"memory": 24 * MIB, "epc": 32 * MIB}, "too small"),
    ],
)
def test_a_platform_that_cannot_be_is_refused(
    arguments: tuple[str], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        Platform(*arguments, **options)


@pytest.mark.parametrize("tee", TEES)
def test_every_check_can_be_left_out(tee: str) -> None:
    names = {check.name for check in TEES[tee].checks}
    host = Platform(tee, without=names, **SMALL)
    assert host.checks.without == names
    assert host.create_enclave("vault").make_secret("1")


@pytest.mark.parametrize("tee", ["sgx-mee", "sgx-tme"])
def test_the_same_seed_gives_the_same_run(tee: str) -> None:
    def draws(seed: int | None) -> list[int]:
        guest = Platform(tee, seed=seed, **SMALL).load(image(DRAW))
        return [guest.enter(0)[0] for _ in range(3)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)
    assert draws(None) != draws(None)
    assert len(set(draws(1))) == 3


@pytest.mark.parametrize("tee", TEES)
def test_a_program_answers_alike_on_every_platform(tee: str) -> None:
    vault = Platform(tee, **SMALL).create_enclave("vault")
    vault.make_secret("1234")
    assert vault.release("0000").result == 0
    assert vault.tries_left() == 2
    assert vault.release("1234").result == 1


def test_the_measurement_is_that_of_the_image_on_every_sgx_platform() -> None:
    loaded = image(leave())
    for tee in ("sgx-mee", "sgx-tme"):
        host = Platform(tee, **SMALL)
        guest = host.load(loaded)
        assert isinstance(guest, SGXGuest)
        assert guest.mrenclave == host.measurement(loaded) == measure(loaded)


def test_an_image_signed_for_another_measurement_is_refused_and_leaks_nothing() -> None:
    host = Platform("sgx-tme", **SMALL)
    driver = host.host.sgx
    assert driver is not None
    with pytest.raises(SGXError) as error:
        host.load(image(leave()), signature(bytes(32)))
    assert error.value.code == 4
    assert not driver._sgx.enclaves
    pages = (driver.epc._stop - driver.epc._next) // PAGE + len(driver.epc._freed)
    assert pages == 2 * MIB // PAGE


@pytest.mark.parametrize("debug", [False, True])
def test_a_signature_for_debugging_is_for_debugging_alone(debug: bool) -> None:
    host, loaded = Platform("sgx-tme", **SMALL), image(leave())
    sigstruct = signature(measure(loaded), debug)
    host.load(loaded, sigstruct, debug=debug)
    with pytest.raises(SGXError) as error:
        host.load(loaded, sigstruct, debug=not debug)
    assert error.value.code == 2


@pytest.mark.parametrize("data", [b"", b"ECREATE\0", b"\0" * 64, b"ECREATE\0" + b"\xff" * 56])
def test_a_stream_that_is_no_sgxs_is_refused(data: bytes) -> None:
    with pytest.raises(TeeSimError):
        Platform("sgx-tme", **SMALL).load(data)


READ = 0x4000_0000 + GLOBAL_DATA
ECHO = add(RDI, 5) + load_from(RSI, READ) + load_from(RDX, 0x4000_0000 + 0x11000) + leave()


@pytest.mark.parametrize("tee", ["sgx-mee", "sgx-tme"])
def test_a_file_that_intels_sdk_signed_is_loaded_as_it_was_signed_and_entered(tee: str) -> None:
    file = signed_file(ECHO)
    guest = Platform(tee, **SMALL).load(file.data)
    assert isinstance(guest, SGXGuest)
    secs = guest.enclave.secs
    assert secs.mrenclave == file.mrenclave
    assert (secs.isvprodid, secs.isvsvn, secs.ssaframesize) == (7, 3, 1)
    assert (secs.miscselect, secs.attributes.xfrm) == (1, 3)  # EXINFO; AVX is not there
    word = int.from_bytes(PATCHED[:8], "little")
    for thread in range(5):  # each with a TCS of its own
        assert guest.enter(thread, 7) == (12, word, 0xCCCCCCCCCCCCCCCC)


def test_debugging_a_signed_enclave_is_the_choice_of_the_host_if_its_author_left_it() -> None:
    guest = Platform("sgx-tme", **SMALL).load(signed_file().data, debug=True)
    assert isinstance(guest, SGXGuest)
    assert guest.enclave.secs.attributes.flags.debug


def test_a_signed_enclave_with_another_measurement_is_refused() -> None:
    host, file = Platform("sgx-tme", **SMALL), signed_file(enclavehash=bytes(32))
    with pytest.raises(SGXError) as error:
        host.load(file.data)
    assert error.value.code == 4
    host.load(file.data, signature(file.mrenclave)).enter(0)  # signed again, by somebody else


def test_events_are_recorded_on_request_alone() -> None:
    quiet, traced = Platform("sgx-tme", **SMALL), Platform("sgx-tme", trace=True, **SMALL)
    with pytest.raises(UsageError, match="trace=True"):
        _ = quiet.events
    assert traced.events == []
    traced.load(image(leave())).enter(0)
    names = [getattr(event, "name", None) for event in traced.events]
    assert [name for name in names if name and name != "EADD" and name != "EEXTEND"][:3] == [
        "ECREATE",
        "EINIT",
        "EENTER",
    ]


def test_a_symbol_that_does_not_exist_is_named_with_those_that_do() -> None:
    vault = Platform("sgx-tme", **SMALL).create_enclave("vault")
    with pytest.raises(UsageError, match="vault_secret"):
        vault.address("vault_secrets")


def test_identities_are_those_of_the_platform() -> None:
    assert Platform("none", **SMALL).create_enclave("vault").mrenclave is None
    vault = Platform("sgx-tme", **SMALL).create_enclave("vault")
    assert vault.mrenclave == measure(vault.program.image)
    assert vault.mrsigner is not None
    assert "alive" in repr(vault.guest)
    vault.close()
    assert "closed" in repr(vault.guest)
