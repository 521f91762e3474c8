"""``tee-sim serve`` as a student starts it."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from azure.security.attestation import AttestationAdministrationClient, AttestationClient
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from attest.quotes import FMSPC
from services.lab import RUNTIME, Login, certificate, key, pem, platform, quote
from tee_sim.abi.quote import unwrap
from tee_sim.attest.intel import SimulatedIntel
from tee_sim.attester import QuotingService, evidence_of, manufacture
from tee_sim.cli import app
from tee_sim.platform import Platform
from tee_sim.services.local_ca import certify

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is a POSIX signal here")


@contextmanager
def serving(*options: str) -> Iterator[dict[str, str]]:
    """What the command prints, while it serves; Ctrl-C ends it."""
    main = "from tee_sim.cli import main; main()"
    command = [sys.executable, "-c", main, "serve", "--port=0", "--pcs-port=0", *options]
    lines = 2 if any(option.startswith("--collateral") for option in options) else 4
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            read = (process.stdout.readline() for _ in range(lines))
            yield dict(line.strip().split(": ", 1) for line in read)
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


@POSIX
def test_an_enclave_s_own_evidence_gets_a_token(tmp_path: Path) -> None:
    host, intel = Platform("sgx-tme", seed=5), SimulatedIntel()
    manufacture(host, intel)
    QuotingService(host, intel)
    enclave = host.create_enclave("attested")
    evidence, held = unwrap(evidence_of(enclave, b"nonce"))
    with serving(f"--out={tmp_path / 'made' / 'here'}") as found:
        url, ca = found["attestation service"], found["trust its CA"]
        client = AttestationClient(url, Login(), connection_verify=ca)
        result, _ = client.attest_sgx_enclave(evidence, runtime_data=held)
        assert result.enclave_held_data == held
        assert b"nonce" in held
        assert Path(found["trust its root"]).read_bytes() == intel.root_der
        path = "/sgx/certification/v4/tcb?fmspc=00606A000000"
        assert httpx.get(found["collateral service"] + path).json()["tcbInfo"]["id"] == "SGX"


@POSIX
def test_collateral_and_owners_come_from_files(tmp_path: Path) -> None:
    intel, now = platform().intel, int(time.time())  # the command has no other clock
    (tmp_path / "collateral").write_text(intel.collateral(FMSPC, "processor", now).to_json())
    (tmp_path / "root").write_bytes(intel.root_der)
    (tmp_path / "isolated").write_text(pem(certificate("owner")))
    files = [f"--{name}={tmp_path / name}" for name in ("collateral", "root", "isolated")]
    with serving(f"--out={tmp_path}", *files) as found:
        url, ca = found["attestation service"], found["trust its CA"]
        client = AttestationClient(url, Login(), connection_verify=ca)
        assert client.attest_sgx_enclave(quote(), runtime_json=RUNTIME)[0].runtime_claims
        signer = {
            "signing_key": pem(key("owner")),
            "signing_certificate": pem(certificate("owner")),
        }
        owner = AttestationAdministrationClient(url, Login(), connection_verify=ca, **signer)
        assert owner.reset_policy("SgxEnclave")[0].policy_resolution == "Removed"


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["serve", *arguments])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr


def test_help_has_examples() -> None:
    assert "Examples:" in CliRunner().invoke(app, ["serve", "--help"]).stdout


def test_what_cannot_be_served_is_said(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        assert "cannot be had" in refused("--out", str(tmp_path), "--port", str(port))
    (tmp_path / "empty").touch()
    assert "empty" in refused("--out", str(tmp_path / "empty" / "below"))
    assert "No such file" in refused("--isolated", str(tmp_path / "missing"))
    assert "--isolated" in refused("--isolated", str(tmp_path / "empty"))
    (tmp_path / "curve").write_text(pem(certify("curve", ec.generate_private_key(ec.SECP256R1()))))
    assert "no RSA key" in refused("--isolated", str(tmp_path / "curve"))
    assert "--collateral" in refused("--root", str(tmp_path / "empty"))
    assert "no JSON" in refused("--collateral", str(tmp_path / "empty"))
    assert "65535" in refused("--port", "65536")
