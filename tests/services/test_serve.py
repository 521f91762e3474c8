"""``tee-sim serve`` as a student starts it."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from azure.security.attestation import AttestationAdministrationClient, AttestationClient
from typer.testing import CliRunner

from attest.quotes import FMSPC
from services.lab import RUNTIME, Login, certificate, key, pem, platform, quote
from tee_sim.cli import app


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is a POSIX signal here")
def test_the_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    intel, now = platform().intel, int(time.time())  # the command has no other clock
    (tmp_path / "collateral.json").write_text(intel.collateral(FMSPC, "processor", now).to_json())
    (tmp_path / "root.der").write_bytes(intel.root_der)
    (tmp_path / "owner.pem").write_text(pem(certificate("owner")))
    options = [
        f"--{name}={tmp_path / file}"
        for name, file in [
            ("out", ""), ("collateral", "collateral.json"), ("root", "root.der"),
            ("isolated", "owner.pem"),
        ]
    ]  # fmt: skip
    main = "from tee_sim.cli import main; main()"
    command = [sys.executable, "-c", main, "serve", "--port=0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split(": ")[1].strip()
        ca = process.stdout.readline().split(": ")[1].strip()
        try:
            options_of_client = {"connection_verify": ca, "validate_issuer": True, "issuer": url}
            client = AttestationClient(url, Login(), **options_of_client)
            result, _ = client.attest_sgx_enclave(quote(), runtime_json=RUNTIME)
            assert result.runtime_claims
            owner = AttestationAdministrationClient(
                url, Login(), signing_key=pem(key("owner")),
                signing_certificate=pem(certificate("owner")), **options_of_client,
            )  # fmt: skip
            assert owner.reset_policy("SgxEnclave")[0].policy_resolution == "Removed"
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["serve", *arguments])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr


def test_what_cannot_be_served_is_said(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        assert "cannot be had" in refused("--out", str(tmp_path), "--port", str(port))
    assert "No such file" in refused("--out", str(tmp_path / "missing"))
    assert "No such file" in refused("--isolated", str(tmp_path / "missing"))
    (tmp_path / "empty").touch()
    assert "--isolated" in refused("--isolated", str(tmp_path / "empty"))
    assert "no JSON" in refused("--collateral", str(tmp_path / "empty"))
    assert "65535" in refused("--port", "65536")
