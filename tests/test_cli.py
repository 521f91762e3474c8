"""The command line: results, exit status, and never a traceback."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

import tee_sim
from signed_files import signed_file
from tee_sim.abi.image import measure
from tee_sim.abi.sgxs import write_sgxs
from tee_sim.attacks import ATTACKS, VERDICTS
from tee_sim.attacks.matrix import compute, register
from tee_sim.attacks.outcome import SYMBOLS
from tee_sim.cli import app, files
from tee_sim.sdk.image import load_program
from tee_sim.sdk.signing import signature
from tee_sim.sdk.sources import PROGRAMS
from tee_sim.view.matrix import VERDICTS as DRAWN

TYPES = str(Path(__file__).parent / "programs" / "types")
COMMANDS = ("matrix", "checks", "measure", "inspect", "run", "attest", "verify", "serve")
POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX signals, pipes and terminals")


def tee_sim_command(*arguments: str) -> Result:
    """Run the command in this process; an exception that gets out of it is an error of the test."""
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result


def ok(*arguments: str) -> str:
    result = tee_sim_command(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def refused(status: int, *arguments: str) -> str:
    """The message of a command that ends with this status, and prints no result."""
    result = tee_sim_command(*arguments)
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    return result.stderr


def process(*arguments: str, before: str = "", **options: Any) -> Any:
    """The command as a process of its own, after some statements."""
    script = f"from tee_sim.cli import main\n{before}\nmain()"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([sys.executable, "-c", script, *arguments], **pipes)


# The command itself


def test_the_version_is_the_packages() -> None:
    assert ok("--version") == f"tee-sim {tee_sim.__version__}\n"


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=str)
def test_help_has_examples(command: tuple[str, ...]) -> None:
    shown = ok(*command, "--help")
    assert "Examples:" in shown
    assert f"  tee-sim {' '.join(command)}" in shown


def test_no_command_and_an_unknown_one_are_unusable() -> None:
    assert tee_sim_command().exit_code == 2
    assert "No such command 'nothing'" in refused(2, "nothing")
    assert "No such option" in refused(2, "matrix", "--nothing")


@pytest.mark.parametrize("path", sorted(Path(files.__file__).parent.glob("*.py")), ids=str)
def test_the_modules_of_the_command_import_nothing_heavy(path: Path) -> None:
    light = {"typer", "tee_sim.errors", *sys.stdlib_module_names}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    at_once = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [alias.name for node in at_once if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in at_once if isinstance(node, ast.ImportFrom)]
    assert [n for n in names if n.split(".")[0] not in light and not n.startswith("tee_sim.")] == []
    inner = {n for n in names if n.startswith("tee_sim.")} - light
    assert all(name.startswith("tee_sim.cli.") for name in inner)


# matrix


def test_matrix_prints_the_computed_json() -> None:
    arguments = ["--platform", "sgx-tme", "--platform", "none", "--attack", "cold_boot"]
    found = json.loads(ok("matrix", *arguments, "--attack", "tampered_image", "--json"))
    assert found == compute(["sgx-tme", "none"], ["cold_boot", "tampered_image"])


def test_matrix_without_a_check_lets_the_attack_through() -> None:
    cell = ("matrix", "--platform", "sgx-tme", "--attack", "cold_boot", "--json")
    verdicts = [
        json.loads(ok(*cell, *more))["attacks"][0]["outcomes"]["sgx-tme"]["verdict"]
        for more in ((), ("--without", "MEM.ENCRYPTION"))
    ]
    assert verdicts == ["ciphertext", "succeeds"]


def test_repeating_a_name_changes_nothing() -> None:
    once = ["--platform", "none", "--attack", "cold_boot"]
    assert ok("matrix", *once, *once) == ok("matrix", *once)


def test_matrix_without_options_is_every_row_on_every_platform(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def note(*arguments: Any) -> dict[str, Any]:
        asked.append(arguments)
        return {}

    monkeypatch.setattr("tee_sim.attacks.matrix.compute", note)
    ok("matrix", "--json")
    rows = [attack.name for attack in ATTACKS.values() if attack.row]
    assert asked == [(["none", "vbs", "sgx-mee", "sgx-tme"], rows, [])]


def test_matrix_in_plain_text_has_one_line_for_each_attack() -> None:
    lines = ok("matrix", "--attack", "cold_boot", "--attack", "removed_page").splitlines()
    assert lines[1].split()[:2] == ["row", "attack"]
    (boot,) = [line for line in lines if "Cold boot" in line]
    assert boot.startswith("33 ")
    assert "✗ succeeds" in boot
    assert "≈ ciphertext: MEM.ENCRYPTION" in boot
    (removed,) = [line for line in lines if "Map a page that was taken back" in line]
    assert "○ not-applicable" in removed
    assert "■ blocked: EPCM.VALID (behind it EPCM.ENCLAVESECS)" in removed
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    ("arguments", "known"),
    [
        (("--platform", "sgx"), "no platform named 'sgx'; there are: none, vbs, sgx-mee, sgx-tme"),
        (("--attack", "rowhammer"), "no attack named 'rowhammer'; there are: read_private_page"),
        (("--without", "RMP.VALIDATED"), "no check named 'RMP.VALIDATED' on none, vbs, sgx-mee"),
        (("--platform", "none", "--without", "MEE.MAC"), "on none; there are none here"),
        (("--platform", "sgx-tme", "--without", "MEE.MAC"), "on sgx-tme; there are: PRM.ABORT"),
    ],
)
def test_matrix_refuses_names_that_do_not_exist(arguments: tuple[str, ...], known: str) -> None:
    assert known in refused(2, "matrix", *arguments)


def test_a_check_that_one_of_the_platforms_has_may_be_switched_off() -> None:
    found = json.loads(ok("matrix", "--attack", "bus_replay", "--without", "MEE.TREE", "--json"))
    outcomes = found["attacks"][0]["outcomes"].values()
    assert {outcome["verdict"] for outcome in outcomes} == {"succeeds"}


def test_verdicts_look_alike_everywhere() -> None:
    assert {verdict: drawn[0] for verdict, drawn in DRAWN.items()} == SYMBOLS
    assert set(SYMBOLS) == set(VERDICTS)
    assert len(set(SYMBOLS.values())) == len(VERDICTS)


@POSIX
def test_on_a_terminal_there_are_colours_a_legend_and_a_progress_bar() -> None:
    import pty

    master, terminal = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "140"}
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        environment.pop(name, None)
    run = process(
        "matrix", "--attack", "cold_boot", stdout=terminal, stderr=terminal, env=environment
    )
    os.close(terminal)
    shown = b"".join(_until_closed(master)).decode()
    os.close(master)
    assert run.wait() == 0
    assert "attacking" in shown
    assert "\x1b[33m≈ ciphertext" in shown
    assert "\x1b[1;31m✗ succeeds" in shown
    for verdict, (_, _, meaning) in DRAWN.items():
        assert verdict in shown
        assert meaning in shown


def _until_closed(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # Linux: the other end is closed
            return
        if not piece:
            return
        yield piece


# checks


def test_checks_lists_the_whole_register() -> None:
    listed = json.loads(ok("checks", "--json"))
    assert [entry["name"] for entry in listed] == [check.name for check, _ in register()]
    for entry in listed:
        assert set(entry) == {"name", "title", "stops", "source", "proof"}
        assert all(entry.values())
        assert set(entry["proof"]) <= set(ATTACKS)


def test_checks_in_plain_text_says_the_same() -> None:
    shown = ok("checks")
    for check, proof in register():
        assert f"{check.name}  {check.title}\n" in shown
        assert f"    source: {check.source}\n" in shown
        assert f"    proof: {', '.join(proof)}\n" in shown


# measure


VAULT = measure(load_program("vault").image).hex()


@pytest.mark.parametrize("what", ["vault", str(PROGRAMS / "vault"), "vault.sgx.elf"])
def test_measure_gives_mrenclave_of_a_name_a_directory_and_an_elf_file(what: str) -> None:
    place = str(PROGRAMS / "vault" / what) if what.endswith(".elf") else what
    result = tee_sim_command("measure", place, "--json")
    assert json.loads(result.stdout) == {"kind": "MRENCLAVE", "value": VAULT}
    assert ok("measure", place) == f"MRENCLAVE {VAULT}\n"
    assert result.stderr == ""


def test_measure_of_an_sgxs_stream_is_its_sha256(tmp_path: Path) -> None:
    stream = write_sgxs(image := load_program(TYPES).image)
    (tmp_path / "enclave.sgxs").write_bytes(stream)
    found = json.loads(ok("measure", str(tmp_path / "enclave.sgxs"), "--json"))
    assert found["value"] == measure(image).hex()
    assert found["value"] == sha256(stream).hexdigest()


def test_measure_says_what_it_assumes_about_a_bare_elf_file(tmp_path: Path) -> None:
    bare = tmp_path / "bare.elf"
    bare.write_bytes((PROGRAMS / "vault" / "vault.sgx.elf").read_bytes())
    result = tee_sim_command("measure", str(bare), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["value"] != VAULT
    assert "assuming heap_pages = 16, stack_pages = 4, threads = 1" in result.stderr


def test_measure_of_a_signed_enclave_says_whether_it_is_the_one_that_was_signed(
    tmp_path: Path,
) -> None:
    path, good = tmp_path / "enclave.signed.so", signed_file()
    path.write_bytes(good.data)
    mrenclave = good.mrenclave.hex()
    assert ok("measure", str(path)).splitlines() == [
        f"MRENCLAVE {mrenclave}",
        f"ENCLAVEHASH {mrenclave} (signed, and agrees)",
    ]
    path.write_bytes(good.changed("template", b"\xff", 112))
    found = json.loads(ok("measure", str(path), "--json"))
    assert found["enclavehash"] == mrenclave != found["value"]
    assert found["agrees"] is False
    assert f"ENCLAVEHASH {mrenclave} (signed, and DIFFERS)" in ok("measure", str(path))
    path.write_bytes(good.changed("metadata", b"\0"))
    assert "not signed yet" in refused(2, "measure", str(path))


def test_measure_refuses_what_is_no_enclave(tmp_path: Path) -> None:
    for content in (b"", b"\x7fELF", b"ECREATE\0", b"UNSIZED\0" + bytes(56), os.urandom(100)):
        (tmp_path / "file").write_bytes(content)
        assert refused(2, "measure", str(tmp_path / "file")).startswith("tee-sim: ")
    assert "there is no program" in refused(2, "measure", "no_such_program")
    assert "there is no program" in refused(2, "measure", str(tmp_path))


def test_a_program_that_does_not_compile_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "program.toml").write_text('name = "broken"\n')
    (tmp_path / "broken.edl").write_text("enclave { trusted { public int f(; }; };")
    (tmp_path / "broken.c").write_text("int f(void) { return 1; }\n")
    assert "broken.edl:1:" in refused(2, "measure", str(tmp_path))
    assert "broken.edl:1:" in refused(2, "run", str(tmp_path), "f")


# inspect


def test_inspect_shows_every_value_whole(tmp_path: Path) -> None:
    sigstruct = signature(bytes(range(32)))
    (tmp_path / "sigstruct").write_bytes(sigstruct.pack())
    lines = ok("inspect", str(tmp_path / "sigstruct")).splitlines()
    assert lines[0].startswith("SIGSTRUCT")
    assert lines[1].split() == ["offset", "size", "field", "value", "meaning"]
    fields = {line.split()[2]: line.split() for line in lines[2:]}
    assert fields["enclavehash"][:4] == ["0x03c0", "32", "enclavehash", bytes(range(32)).hex()]
    assert fields["modulus"][3] == sigstruct.modulus.hex()
    assert fields["MRSIGNER"][3] == sha256(sigstruct.modulus).hexdigest()
    assert fields["signature"][3] == "valid"


@pytest.mark.parametrize("field", ["isvsvn", "q1", "q2", "signature"])
def test_inspect_says_what_is_wrong_with_a_sigstruct(field: str, tmp_path: Path) -> None:
    good = signature(bytes(32))
    wrong = 9 if field == "isvsvn" else bytes(384)
    (tmp_path / "sigstruct").write_bytes(good.with_(**{field: wrong}).pack())
    said = "SIGNATURE" if field == "isvsvn" else field.upper()
    assert f"NOT valid: SIGSTRUCT.{said}: " in ok("inspect", str(tmp_path / "sigstruct"))


def test_inspect_shows_sgxs_and_elf(tmp_path: Path) -> None:
    (tmp_path / "a.sgxs").write_bytes(write_sgxs(load_program("vault").image))
    assert VAULT in ok("inspect", str(tmp_path / "a.sgxs"))
    assert "PT_LOAD" in ok("inspect", str(PROGRAMS / "vault" / "vault.sgx.elf"))


def test_inspect_shows_a_signed_enclave_with_its_checked_signature(tmp_path: Path) -> None:
    (tmp_path / "enclave.signed.so").write_bytes(signed_file().data)
    shown = ok("inspect", str(tmp_path / "enclave.signed.so"))
    for title in ("Metadata of a signed enclave, version 2.4", "SIGSTRUCT at", "Layout of version"):
        assert title in shown
    assert shown.count("  valid  ") == 2  # one signature for each metadata


def test_inspect_on_a_terminal_folds_long_values_and_drops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sigstruct = signature(bytes(32))
    (tmp_path / "sigstruct").write_bytes(sigstruct.pack())
    monkeypatch.setattr("tee_sim.cli.output.on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "90")
    lines = ok("inspect", str(tmp_path / "sigstruct")).splitlines()
    assert max(map(len, lines)) <= 90
    column = lines[2].index("value")
    values = "".join(line[column:].partition(" ")[0] for line in lines[4:])
    assert sigstruct.modulus.hex() in values
    assert sigstruct.q2.hex() in values


@pytest.mark.parametrize("command", ["inspect", "measure"])
def test_hostile_files_are_unusable(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = tmp_path / "noise"
    noise.write_bytes(os.urandom(5000))
    assert refused(2, command, str(noise))
    assert refused(2, command, str(tmp_path))
    assert refused(2, command, str(tmp_path / "missing"))
    assert refused(2, command, "a\0b")
    assert refused(2, command, "x" * 5000)
    monkeypatch.setattr(files, "MOST_BYTES", 1000)
    assert "more than" in refused(2, command, str(noise))

    def forbidden(name: str, _mode: str) -> None:
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr("builtins.open", forbidden)
    assert refused(2, command, str(noise)) == f"tee-sim: {noise}: Permission denied\n"


# run


@pytest.mark.parametrize("platform", ["none", "vbs", "sgx-mee", "sgx-tme"])
def test_run_calls_a_function_on_each_platform(platform: str) -> None:
    shown = ok("run", "vault", "make_secret", "1234", "--platform", platform)
    name, _, value = shown.strip().partition(" = ")
    assert name == "digest"
    assert len(bytes.fromhex(value)) == 32


def test_run_is_reproducible_and_the_seed_changes_it() -> None:
    secret = ("run", "vault", "make_secret", "1234", "--json")
    assert ok(*secret) == ok(*secret, "--seed", "0")
    assert ok(*secret) != ok(*secret, "--seed", "1")


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        (("add_int", "-5", "0x10"), {"result": 11}),
        (("add_u64", "0xffff_ffff", "010"), {"result": 0xFFFFFFFF + 10}),
        (("add_double", "1e-3", "0x1.8p1"), {"result": 3.001}),
        (("add_float", "-0.5", "2"), {"result": 1.5}),
        (("exclusive", "true", "0"), {"result": True}),
        (("nothing",), {}),
        (("length", "five!"), {"result": 5}),
        (("length", "hex:c3a9"), {"result": 2}),
        (("sum_bytes", "hex:01 02 ff", "3"), {"result": 258}),
        (("sum_bytes", "ab", "2"), {"result": 195}),
        (("reverse", "abc", "3"), {"data": b"cba".hex()}),
        (("divide", "17", "5"), {"result": 3, "remainder": "02000000"}),
        (("fill", "3", "7"), {"data": "070707"}),
    ],
)
def test_arguments_are_what_the_interface_asks_for(
    arguments: tuple[str, ...], result: dict[str, Any]
) -> None:
    assert json.loads(ok("run", TYPES, *arguments, "--json")) == result


def test_structures_are_json() -> None:
    border = str(Path(TYPES).parent / "border")
    tree = '{"count": 1, "lists": [{"n": 1, "numbers": [5]}], "above": null}'
    back = {"count": 1, "lists": [{"n": 1, "numbers": (10).to_bytes(8, "little").hex()}]}
    found = json.loads(ok("run", border, "sum", tree, "--json"))
    assert found == {"result": 5, "tree": back | {"above": 0}}
    assert "'{' is no struct tree in JSON" in refused(2, "run", border, "sum", "{")


def test_an_argument_can_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"abc")
    shown = ok("run", TYPES, "sha256", f"@{tmp_path / 'data'}", "3")
    assert shown == f"digest = {sha256(b'abc').hexdigest()}\n"


def test_without_a_function_the_host_script_runs() -> None:
    greeting = "Hello world, from inside.\nHello world, from the host.\n"
    assert ok("run", "hello", "--platform", "none") == greeting
    assert "host.py" in refused(2, "run", "lock")


def test_run_prints_every_result_on_a_line() -> None:
    assert ok("run", TYPES, "divide", "17", "5") == "result = 3\nremainder = 02000000\n"
    assert ok("run", "vault", "ping") == "ping is done, and returns nothing\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vault", "open"), "no ecall named 'open' in vault; there are: make_secret, release"),
        (("vault", "close"), "no ecall named 'close'"),
        (("safe", "open"), "there is no program 'safe'"),
        (("vault", "ping", "--platform", "tdx"), "no platform named 'tdx'"),
        (("vault", "ping", "1"), "takes no arguments"),
        (("vault", "make_secret"), "missing a required argument: 'pin'"),
        (("vault", "make_secret", "@/no/such/file"), "No such file"),
        (("vault", "make_secret", "hex:0"), "non-hexadecimal"),
        (("vault", "make_secret", "hex:00"), "holds a NUL"),
        (("careless", "peek", "everything"), "address: 'everything' is no uint64_t"),
        (("careless", "peek", "-1"), "expected 0 to"),
        (("careless", "peek", "9" * 5000), "is no uint64_t"),
        (("careless", "put", "too short"), "expected 4096 bytes, got 9"),
        ((TYPES, "exclusive", "1", "maybe"), "b: 'maybe' is no bool"),
        ((TYPES, "add_double", "1", "much"), "b: 'much' is no double"),
        ((TYPES, "add_double", "1", "0x1p99999"), "is no double"),
        (("vault", "ping", "--seed", "x"), "Invalid value for '--seed'"),
    ],
)
def test_unusable_arguments(arguments: tuple[str, ...], message: str) -> None:
    assert message in refused(2, "run", *arguments)


def test_what_the_enclave_refuses_is_a_failure() -> None:
    assert "OE_INVALID_PARAMETER" in refused(1, "run", TYPES, "result", "3")
    assert "died" in refused(1, "run", "careless", "peek", "0")
    assert "ENCLAVE.ILLEGAL_INSTRUCTION" in refused(1, "run", "careless", "cpuid", "7")
    assert "is lost" in refused(1, "run", TYPES, "stop")


# Accidents


PRESS_CTRL_C_ONCE_IT_RUNS = """
import os, signal, threading
from tee_sim.platform import Platform
create = Platform.create_enclave
def created(*args, **options):
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    return create(*args, **options)
Platform.create_enclave = created
"""


@POSIX
def test_ctrl_c_ends_without_a_traceback() -> None:
    run = process("run", TYPES, "spin", before=PRESS_CTRL_C_ONCE_IT_RUNS)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out, err) == (130, b"", b"tee-sim: interrupted\n")


@POSIX
def test_a_closed_pipe_ends_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    run = process("checks", stdout=writer)
    os.close(writer)
    _, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (1, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_a_failure() -> None:
    with open("/dev/full", "wb") as full:
        _, err = (run := process("checks", stdout=full)).communicate(timeout=60)
    assert run.returncode == 1
    assert err.startswith(b"tee-sim: cannot write the result")


def test_a_bug_of_ours_is_one_line_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from tee_sim import cli

    def broken() -> None:
        raise KeyError("oops")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1


WORDS = st.one_of(
    st.sampled_from(
        """--json --platform --attack --without --seed --help --version -- - -5 @ @. @/ hex: hex:0
        none sgx-tme vault careless ping release peek tries_left which 0 0x1f 1e3 nan 99999999999
        cold_boot debug_launch MEM.ENCRYPTION . / /dev/null --platform=none""".split()
    ),
    st.text(max_size=12),
    st.binary(max_size=12).map(os.fsdecode),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(("measure", "inspect", "run", "verify", "checks", "nothing")),
    st.lists(WORDS, max_size=6),
)
@example("run", ["vault", "make_secret", "\udcff"])
@example("run", ["vault", "make_secret", "\ud800"])
@example("inspect", ["\ud800"])
@example("measure", ["\udcff"])
def test_no_arguments_make_a_traceback(command: str, words: list[str]) -> None:
    result = tee_sim_command(command, *words)
    assert result.exit_code in (0, 1, 2)
    assert bool(result.stderr) or result.exit_code == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(WORDS, max_size=4))
def test_no_arguments_of_matrix_make_a_traceback(words: list[str]) -> None:
    cell = ("--platform", "sgx-tme", "--attack", "debug_launch")
    assert tee_sim_command("matrix", *cell, *words).exit_code in (0, 1, 2)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(("inspect", "measure")),
    st.sampled_from((b"", b"\x7fELF", b"\x7fELF\x02\x01\x01", b"ECREATE\0", b"UNSIZED\0")),
    st.binary(max_size=600),
)
def test_no_file_makes_a_traceback(tmp_path: Path, command: str, start: bytes, rest: bytes) -> None:
    (tmp_path / "file").write_bytes(start + rest)
    assert tee_sim_command(command, str(tmp_path / "file")).exit_code in (0, 2)
