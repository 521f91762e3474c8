"""Every program on every platform: one source, one host script. A platform is added by its name."""

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from tee_sim.errors import UsageError
from tee_sim.platform import Platform
from tee_sim.sdk.build import suits
from tee_sim.sdk.sources import PROGRAMS, read
from tee_sim.tees import TEES

NAMES = sorted(path.parent.name for path in PROGRAMS.glob("*/program.toml"))
SCRIPTS = sorted(path.parent.name for path in PROGRAMS.glob("*/host.py"))
ON_EVERY = pytest.mark.parametrize("tee", TEES)
LACKS_TEE = {name for name in TEES if TEES[name].target == "none"}


@ON_EVERY
@pytest.mark.parametrize("name", NAMES)
def test_it_starts_and_has_the_ecalls_that_it_declares(name: str, tee: str) -> None:
    if not suits(read(name).config, TEES[tee].target):
        with pytest.raises(UsageError, match="is a program for sgx only"):
            Platform(tee).create_enclave(name)
        return
    enclave = Platform(tee).create_enclave(name)
    assert enclave.lost is None
    assert all(callable(getattr(enclave, ecall.name)) for ecall in enclave.interface.trusted)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_to_learn_from_it(name: str) -> None:
    assert len(read(name).config.learn.split()) > 30


def same(expected: str) -> Callable[[str, str], bool]:
    """The same text on every platform."""
    return lambda _tee, shown: shown == expected


def sealed(tee: str, shown: str) -> bool:
    """A card survives, and the host can read it only where nothing is sealed."""
    assert "uses left: 2\n" in shown
    assert "after a restart, uses left: 2\nspent: 1, 1, and once too often: 0\n" in shown
    return f"on its disk: {tee in LACKS_TEE}" in shown


def told_apart(_tee: str, shown: str) -> bool:
    """Only one way of sorting takes as long for every order; both sort."""
    lines = re.findall(r"insertion (\d+) instructions, by a network (\d+): (.*)", shown)
    insertion, network, after = map(set, zip(*lines, strict=True))
    assert after == {str(tuple(range(12)))}
    return len(lines) == len(insertion) == 3 and len(network) == 1


EXPECTED: dict[str, Callable[[str, str], bool]] = {
    "hello": same("Hello world, from inside.\nHello world, from the host.\n"),
    "vault": same(
        "a secret was made inside; all that came out is its SHA-256\n"
        "PIN 0000: wrong, 2 tries left; matches the digest: False\n"
        "PIN 1234: wrong, 1 tries left; matches the digest: False\n"
        "PIN 2468: released, 3 tries left; matches the digest: True\n"
        "after three wrong ones in a row, the right PIN gives -1\n"
    ),
    "sealed_counter": sealed,
    "file_encryptor": same(
        "236 bytes became 4 chunks, 300 bytes\n"
        "the file as it was: the same text: True\n"
        "another password: refused, OE_CRYPTO_ERROR\n"
        "a changed byte: refused, OE_CRYPTO_ERROR\n"
        "two chunks exchanged: refused, OE_CRYPTO_ERROR\n"
        "the last chunk cut off: refused, OE_CRYPTO_ERROR\n"
    ),
    "sort": told_apart,
    "calculator": same(
        "1 + 2 * 3                7.0\n"
        "-(2 ^ 3 ^ 2) / 4         -128.0\n"
        "2 * cos(pi / 3)          1.0000000000000002\n"
        "1 / (3 - 3)              division by zero, at character 12\n"
        "2 * (3 +                 expected a number, at character 10\n"
        "four + 4                 unknown name, at character 1\n"
        "(((((((((((((((((((((((( nested too deeply, at character 41\n"
    ),
}


@ON_EVERY
@pytest.mark.parametrize("name", SCRIPTS)
def test_its_host_script_shows_the_same_on_every_platform(
    name: str, tee: str, capsys: pytest.CaptureFixture[str]
) -> None:
    script: Any = import_module(f"tee_sim.programs.{name}.host")
    script.main(Platform(tee))
    shown = capsys.readouterr()
    assert EXPECTED[name](tee, shown.out), shown.out
    assert not shown.err
