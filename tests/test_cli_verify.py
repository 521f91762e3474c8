"""``tee-sim verify``: the same verdicts as the library's, as exit status, table and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner, Result

from attest.forge import AT, DAY, Forge, level
from attest.oracle import Source, forged, load
from tee_sim.cli import app


def run(folder: Path, case: Source, *more: str, root: bool = True) -> Result:
    (folder / "quote").write_bytes(case.quote)
    (folder / "collateral.json").write_text(case.collateral.to_json())
    given = ["--collateral", str(folder / "collateral.json"), "--at", str(case.at)]
    if root and case.root is not None:
        (folder / "root").write_bytes(case.root)
        given += ["--root", str(folder / "root")]
    result = CliRunner().invoke(app, ["verify", str(folder / "quote"), *given, *more])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_accepted(tmp_path: Path) -> None:
    result = run(tmp_path, forged(Forge()))
    assert result.exit_code == 0
    assert result.stdout.startswith("accepted: UpToDate\nChecks (no policy was applied)\n")
    assert "QUOTE.SIGNATURE" in result.stdout
    assert "failed" not in result.stdout


def test_real_evidence_needs_no_root(tmp_path: Path) -> None:
    result = run(tmp_path, load("real SGX"))
    assert result.exit_code == 0
    assert result.stdout.startswith(
        "accepted: ConfigurationAndSWHardeningNeeded, INTEL-SA-00289, INTEL-SA-00615\n"
    )


def test_refused_with_every_check_in_json(tmp_path: Path) -> None:
    result = run(tmp_path, forged(Forge(revoked={"pck"})), "--json", root=False)
    assert result.exit_code == 1
    found: dict[str, Any] = json.loads(result.stdout)
    assert (found["status"], found["advisories"]) == ("UpToDate", [])
    failed = [check["name"] for check in found["checks"] if check["outcome"] == "failed"]
    assert failed == ["PCK.ROOT", "PCK.NOT_REVOKED", "TCB_INFO.ROOT", "QE_IDENTITY.ROOT"]
    assert found["claims"]["unique_id"] == "11" * 32


def test_a_root_in_pem(tmp_path: Path) -> None:
    case = forged(Forge())
    pem = x509.load_der_x509_certificate(case.root or b"").public_bytes(Encoding.PEM)
    (tmp_path / "root.pem").write_bytes(pem)
    result = run(tmp_path, case, "--root", str(tmp_path / "root.pem"), root=False)
    assert result.exit_code == 0


@pytest.mark.parametrize(("minimum", "status"), [(5, 0), (6, 1)])
def test_a_policy(tmp_path: Path, minimum: int, status: int) -> None:
    (tmp_path / "policy.toml").write_text(f"minimum_version = {minimum}")
    result = run(tmp_path, forged(Forge()), "--policy", str(tmp_path / "policy.toml"))
    assert result.exit_code == status
    assert ("REFUSED: UpToDate" in result.stdout) == (status == 1)
    assert "no policy" not in result.stdout


def test_names_in_evidence_cannot_pass_for_the_verdict(tmp_path: Path) -> None:
    hostile = "\x1b[2J\r\naccepted: UpToDate"
    forge = Forge(tcb_info={"tcbLevels": [level((3,) * 16, 11, "UpToDate", hostile)]})
    forge.names["pck"] = hostile
    result = run(tmp_path, forged(forge), root=False)
    assert result.exit_code == 1
    assert r"UpToDate, \x1b[2J\r\naccepted" in result.stdout.splitlines()[0]
    assert not any(line.startswith("accepted") for line in result.stdout.splitlines())
    assert all(c.isprintable() for c in result.stdout.replace("\n", ""))


def test_expired(tmp_path: Path) -> None:
    result = run(tmp_path, forged(Forge())._replace(at=AT + 50 * DAY))
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout.startswith(
        "REFUSED: UpToDate; failed: CRLS.CURRENT, TCB_INFO.CURRENT, QE_IDENTITY.CURRENT\n"
    )


def test_no_status(tmp_path: Path) -> None:
    low = {"tcbLevels": [level((9,) * 16, 11, "UpToDate")]}
    result = run(tmp_path, forged(Forge(tcb_info=low)))
    assert result.exit_code == 1
    assert result.stdout.startswith("REFUSED: no TCB status; failed: TCB.LEVEL\n")


@pytest.mark.parametrize("file", ["quote", "collateral.json", "root", "policy"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"\0" * 5000, None])
def test_unusable_input(tmp_path: Path, file: str, content: bytes | None) -> None:
    if (file, content) == ("policy", b""):
        return  # an empty policy is one
    case = forged(Forge())
    run(tmp_path, case)
    if content is None:
        (tmp_path / file).unlink(missing_ok=True)
    else:
        (tmp_path / file).write_bytes(content)
    given = ["--collateral", str(tmp_path / "collateral.json"), "--at", str(AT)]
    given += ["--root", str(tmp_path / "root")]
    given += ["--policy", str(tmp_path / "policy")] if file == "policy" else []
    result = CliRunner().invoke(app, ["verify", str(tmp_path / "quote"), *given])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("tee-sim: ")
    assert result.stderr.count("\n") == 1
