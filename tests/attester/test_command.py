"""``tee-sim attest``, and what verifiers make of its files."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import dcap_qvl
import pytest
from typer.testing import CliRunner

from attester.servers import AT
from tee_sim.cli import app

FILES = ("evidence.bin", "claims.bin", "collateral.json", "root.der")


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stderr


def attest(where: Path, *more: object) -> dict[str, bytes]:
    status, said = run("attest", "attested", "--nonce", "0011aa", "--out", where, "--at", AT, *more)
    assert status == 0, said
    return {name: (where / name).read_bytes() for name in FILES}


def status(files: dict[str, bytes]) -> str:
    collateral = dcap_qvl.QuoteCollateralV3.from_json(files["collateral.json"].decode())
    quote, root = files["evidence.bin"], files["root.der"]
    return str(dcap_qvl.verify_with_root_ca(quote, collateral, root, AT).status)


def test_the_files_are_what_an_independent_verifier_takes(tmp_path: Path) -> None:
    files = attest(tmp_path / "new" / "place")
    assert status(files) == "UpToDate"
    assert files["claims.bin"].startswith(bytes.fromhex("0011aa"))
    assert len(files["claims.bin"]) == 3 + 64
    assert files["evidence.bin"][368:400] == sha256(files["claims.bin"]).digest()
    assert attest(tmp_path) == files  # one seed, one result
    assert attest(tmp_path, "--seed", 1) != files


def test_an_old_platform_and_a_client_processor_are_told_apart(tmp_path: Path) -> None:
    assert status(attest(tmp_path, "--patch-level", 0, "--platform", "sgx-mee")) == "OutOfDate"
    assert status(attest(tmp_path, "--platform", "sgx-mee")) == "UpToDate"


def test_our_own_verifier_agrees(tmp_path: Path) -> None:
    attest(tmp_path)
    where = [tmp_path / name for name in ("evidence.bin", "collateral.json", "root.der")]
    verify = ("verify", where[0], "--collateral", where[1], "--at", AT, "--json")
    result = CliRunner().invoke(app, [*map(str, verify), "--root", str(where[2])])
    assert (result.exit_code, json.loads(result.stdout)["status"]) == (0, "UpToDate")
    assert run(*verify)[0] == 1  # under Intel's root


VBS = {"--boot": "boot.bin", "--reference": "reference.json", "--root": "root.der"}


def verify_vbs(where: Path, *more: str, **files: Path) -> tuple[int, str]:
    given = {name: str(where / file) for name, file in VBS.items()}
    given |= {"--nonce": "0011aa", "--at": str(AT)}
    given |= {f"--{name}": str(path) for name, path in files.items()}
    options = [each for pair in given.items() for each in pair]
    result = CliRunner().invoke(app, ["verify", str(where / "evidence.bin"), *options, *more])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout or result.stderr


@pytest.fixture(scope="module")
def on_vbs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The files of an updated machine, and of one without updates."""
    made = []
    for level in (1, 0):
        made.append(tmp_path_factory.mktemp("vbs"))
        arguments = ("attested", "--nonce", "0011aa", "--platform", "vbs", "--patch-level", level)
        status, said = run("attest", *arguments, "--out", made[-1])
        assert status == 0, said
    return made[0], made[1]


def test_evidence_of_vbs_leads_down_to_the_boot(on_vbs: tuple[Path, Path], tmp_path: Path) -> None:
    where, old = on_vbs
    status, said = verify_vbs(where)
    assert (status, said.splitlines()[0]) == (0, "accepted: UpToDate")
    status, said = verify_vbs(old)
    names = "firmware, boot manager, winload.efi, hvix64.exe, securekernel.exe".split(", ")
    failed = [f"MEASUREMENT.{name}" for name in names] + [f"SVN.{name}" for name in names[-2:]]
    first = f"REFUSED: OutOfDate; failed: {', '.join(failed)}"
    assert (status, said.splitlines()[0]) == (1, first)
    held = (where / "claims.bin").read_bytes()
    assert held.startswith(bytes.fromhex("0011aa"))
    for data, expected in ((held, 0), (held + b"!", 1)):
        (tmp_path / "policy.toml").write_text(f'held_data = "{data.hex()}"')
        assert verify_vbs(where, "--policy", str(tmp_path / "policy.toml"))[0] == expected
    assert verify_vbs(where, "--nonce", "0011ab")[0] == 1
    assert verify_vbs(where, boot=old / "boot.bin")[0] == 1
    attest(tmp_path)
    assert verify_vbs(where, root=tmp_path / "root.der")[0] == 1  # Intel is no vendor of TPMs


def test_what_is_missing_for_vbs_is_named(on_vbs: tuple[Path, Path], tmp_path: Path) -> None:
    evidence = on_vbs[0] / "evidence.bin"
    status, said = run("verify", evidence, "--at", AT, "--nonce", "00")
    assert (status, "give --root, --boot, --reference, too" in said) == (2, True)
    (tmp_path / "junk").write_bytes(b'{"measurements": {"firmware": ["00"]}}')
    for name in ("boot", "reference", "root"):
        status, said = verify_vbs(on_vbs[0], **{name: tmp_path / "junk"})
        assert (status, said.count("\n")) == (2, 1), said
    assert verify_vbs(on_vbs[0], "--nonce", "0")[0] == 2
    attest(tmp_path)
    status, said = run("verify", tmp_path / "evidence.bin", "--at", AT)
    assert (status, "give --collateral" in said) == (2, True)
    # What would not be looked at is no reassurance.
    collateral = tmp_path / "collateral.json"
    quote = ("verify", tmp_path / "evidence.bin", "--at", AT, "--collateral", collateral)
    status, said = run(*quote, "--nonce", "ff")
    assert (status, "is compared with --nonce" in said) == (2, True)
    status, said = verify_vbs(on_vbs[0], collateral=collateral)
    assert (status, "is compared with --collateral" in said) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vault", "--nonce", "00"), "no ecall named 'attest' in vault"),
        (("attested", "--nonce", "0x"), "not hexadecimal"),
        (("attested", "--nonce", ""), "0 bytes"),
        (("attested", "--nonce", "00" * 65), "65 bytes"),
        (("attested", "--nonce", "00", "--platform", "none"), "none has no SGX"),
        (("attested", "--nonce", "00", "--platform", "moon"), "no platform 'moon'"),
        (("attested", "--nonce", "00", "--patch-level", "2"), "the newest is 1"),
        (("attested", "--nonce", "00", "--at", "1"), "outside the root CA's validity"),
        (("nothing", "--nonce", "00"), "no program 'nothing'"),
    ],
)
def test_unusable_input_is_named_and_nothing_is_written(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    found, said = run("attest", *arguments, "--out", tmp_path / "out")
    assert (found, message in said) == (2, True), said
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    found, said = run("attest", "attested", "--nonce", "00", "--at", AT, "--out", tmp_path / "file")
    assert found == 2
    assert "file" in said
