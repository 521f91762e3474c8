import re
import shutil
import sys
import threading
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import capstone
import pytest

from tee_sim.errors import BuildError, UsageError
from tee_sim.sdk import build as builder
from tee_sim.sdk.elf import read_elf
from tee_sim.sdk.sources import PROGRAMS, find, read

NAMES = sorted(path.parent.name for path in PROGRAMS.glob("*/program.toml"))


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """No finished builds; what the compiler itself keeps stays, to save time."""
    fresh = tmp_path / "cache"
    fresh.mkdir()
    for part in ("zig", "zig-objects"):
        kept = builder.cache_directory() / part
        kept.mkdir(parents=True, exist_ok=True)
        (fresh / part).symlink_to(kept)
    monkeypatch.setattr(builder, "cache_directory", lambda: fresh)
    return fresh


@pytest.fixture
def copy(tmp_path):
    def make(where: str) -> Path:
        target = tmp_path / where
        shutil.copytree(find("vault"), target)
        return target

    return make


BUILDS = [
    (name, target)
    for name in NAMES
    for target in builder.TARGETS
    if builder.suits(read(name).config, target)
]


@pytest.mark.parametrize(("name", "target"), BUILDS)
def test_each_shipped_program_was_built_from_these_sources(name, target):
    shipped = builder.shipped(find(name), name, target).read_bytes()
    inputs = builder.build_inputs(read(name), target)
    assert builder.digest_inside(shipped) == builder.inputs_digest(inputs, target)


# A build takes seconds, and `python -m tee_sim.sdk.build --all` makes them all: here are the vault,
# and what uses C++, the C library and the cryptography most.
REBUILT = [build for build in BUILDS if build[0] == "vault"]
REBUILT += [("calculator", "vbs"), ("file_encryptor", "none"), ("attested", "sgx")]


@pytest.mark.parametrize(("name", "target"), REBUILT)
def test_a_rebuild_gives_the_shipped_bytes(empty_cache, name, target):
    shipped = builder.shipped(find(name), name, target).read_bytes()
    assert builder.build(name, target) == shipped


def test_the_same_bytes_come_from_any_directory(empty_cache, copy, monkeypatch):
    first = builder.build(copy("a"))
    shutil.rmtree(empty_cache / "elf")
    other = copy("another place/deep/down")
    monkeypatch.chdir(other)
    assert builder.build(other) == first
    assert builder.build("vault") == first


def test_the_crypto_object_is_the_same_wherever_it_is_compiled(empty_cache, tmp_path):
    made = []
    for place in ("kept from before", "another place"):
        (tmp_path / place / "src").mkdir(parents=True)
        shutil.copy(builder.GUEST / "src" / "crypto.zig", tmp_path / place / "src")
        name = builder._object(tmp_path / place, "src/crypto.zig")
        made.append((tmp_path / place / name).read_bytes())
        (empty_cache / "zig-objects").unlink()
        (empty_cache / "zig-objects").symlink_to(tmp_path / "empty")
    assert made[0] == made[1]


def test_a_broken_runtime_source_is_a_build_error(empty_cache, tmp_path):
    (tmp_path / "wrong.zig").write_text("export fn f() void { nonsense }\n")
    with pytest.raises(BuildError, match="runtime") as error:
        builder._object(tmp_path, "wrong.zig")
    assert "nonsense" in error.value.text or "expected" in error.value.text


def test_line_ends_do_not_matter(copy):
    changed = copy("crlf")
    for path in changed.iterdir():
        if path.is_file() and path.suffix != ".elf":
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    sources = read(changed)
    digest = builder.inputs_digest(builder.build_inputs(sources, "sgx"), "sgx")
    assert digest == builder.digest_inside((changed / "vault.sgx.elf").read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_no_path_or_user_gets_into_the_result(name):
    elf = builder.build(name)
    assert not re.search(rb"/(tmp|home|root|usr|work|var)\b", elf)
    assert Path.home().name.encode() not in elf


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("return -1;", "return nothing_here;", 62, "undeclared identifier"),
        ('#include "tee/sha256.h"', '#include "tee/sha3.h"', 6, "file not found"),
        ("void ping(void)\n{", "void ping(void)\n{ int", None, "expected"),
    ],
)
def test_a_compile_error_points_at_the_users_file(copy, old, new, line, said):
    directory = copy("broken")
    file = directory / "vault.c"
    text = file.read_text()
    expected = text[: text.index(old)].count("\n") + 1 if line else None
    file.write_text(text.replace(old, new))
    with pytest.raises(BuildError) as caught:
        builder.build(directory)
    assert caught.value.file == str(file)
    assert said in str(caught.value)
    assert caught.value.column >= 1
    if expected:
        assert caught.value.line == expected


def test_a_missing_function_is_a_build_error(copy):
    directory = copy("missing")
    file = directory / "vault.c"
    file.write_text(file.read_text().replace("void ping(void)", "void pong(void)"))
    with pytest.raises(BuildError, match="ping"):
        builder.build(directory)


def test_an_edl_error_points_at_the_edl_file(copy):
    directory = copy("edl")
    file = directory / "vault.edl"
    file.write_text(file.read_text().replace("[in, string]", "[in, sizefunc=f]"))
    with pytest.raises(BuildError, match="sizefunc") as caught:
        builder.build(directory)
    assert caught.value.file == str(file)


def test_imports_and_conditions_follow_the_program_s_settings(copy):
    directory = copy("imports")
    shared = directory.parent / "shared"
    shared.mkdir()
    (shared / "more.edl").write_text("enclave { untrusted { void more(void); }; };")
    edl, config = directory / "vault.edl", directory / "program.toml"
    text = '#ifdef MORE\nimport "more.edl"\n#endif\n trusted {'
    edl.write_text(edl.read_text().replace("trusted {", text, 1))
    plain = builder.build(directory)
    config.write_text(config.read_text() + 'defines = ["MORE"]\nedl_path = ["../shared"]\n')
    assert [f.name for f in read(directory).interface.untrusted] == ["more"]
    assert builder.digest_inside(builder.build(directory)) != builder.digest_inside(plain)


def test_without_the_compiler_the_message_names_the_extra(copy, empty_cache, monkeypatch):
    def missing(_name):
        raise PackageNotFoundError

    monkeypatch.setattr("importlib.metadata.version", missing)
    with pytest.raises(BuildError, match=re.escape(".[build]")):
        builder.build("vault")


def test_builds_at_the_same_time_agree(empty_cache):
    results: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: results.append(builder.build("vault"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert len(set(results)) == 1
    assert len(list((empty_cache / "elf").iterdir())) == 1


def test_a_build_works_without_a_place_for_the_cache(empty_cache):
    for part in ("zig", "elf"):
        (empty_cache / part).unlink(missing_ok=True)
        (empty_cache / part).touch()
    assert builder.build("vault") == builder.shipped(find("vault"), "vault", "sgx").read_bytes()


def test_the_cache_follows_the_systems_custom(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert builder.cache_directory() == tmp_path / "tee_sim"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert builder.cache_directory() == tmp_path / "local" / "tee_sim"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no name"),
        ("name = 3", "expected a string"),
        ('name = "vault"\ndefines = "FAST"', "expected a list of strings"),
        ('name = "vault"\nedl_path = [1]', "expected a list of strings"),
        ('name = "a b"', "C identifier"),
        ('name = "vault"\nheap_pages = -1', "expected 0 to"),
        ('name = "vault"\nthreads = true', "expected 1 to"),
        ('name = "vault"\nhat = 1', "unknown keys"),
        ('name = "vault"\naex_notify = 1', "expected true or false"),
        ('name = "vault"\nlearn = true', "expected a string"),
        ("name = ", "Invalid value"),
        ('name = "other"', "expected the interface here"),
    ],
)
def test_a_wrong_config_is_a_build_error(copy, text, said):
    directory = copy("config")
    (directory / "program.toml").write_text(text)
    with pytest.raises(BuildError, match=said):
        read(directory)


def test_an_unknown_program_or_target_is_a_usage_error():
    with pytest.raises(UsageError, match="vault"):
        builder.build("no such program")
    with pytest.raises(UsageError, match="choose one of sgx, none"):
        builder.build("vault", "tdx")


@pytest.mark.parametrize("name", NAMES)
def test_the_machine_code_uses_nothing_after_sse2_but_rdrand(name):
    """The emulated processor runs no AVX, and `rep movs` is slow on it."""
    listing = "\n".join(_instructions(name))
    assert not re.search(r"^(v[a-z]+|rep\w* |xgetbv|pshufb)", listing, re.M)


def _instructions(name):
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.skipdata = True
    for segment in read_elf(builder.build(name)).segments:
        if segment.x:
            for instruction in engine.disasm(segment.content, segment.start):
                yield f"{instruction.mnemonic} {instruction.op_str}"
