"""Our equivalents of Open Enclave's public samples: the same includes and calls."""

import io
import shutil
from pathlib import Path
from typing import Any

import pytest

from tee_sim.errors import BuildError
from tee_sim.platform import Platform
from tee_sim.tees import TEES

HERE = Path(__file__).parent.parent / "programs"
SEALS = [name for name in TEES if TEES[name].target != "none"]
ON_EVERY = pytest.mark.parametrize("tee", TEES)


@pytest.fixture
def start() -> Any:
    """Start a sample; what it prints is in ``services.stdout`` and ``stderr``."""

    def make(name: str, tee: str | Platform, **arguments: Any) -> Any:
        platform = tee if isinstance(tee, Platform) else Platform(tee)
        enclave: Any = platform.create_enclave(HERE / name, **arguments)
        enclave.services.stdout, enclave.services.stderr = io.StringIO(), io.StringIO()
        return enclave

    return make


@ON_EVERY
def test_hello_world(start: Any, tee: str) -> None:
    called: list[str] = []
    hello = start("helloworld", tee, ocalls={"host_helloworld": lambda: called.append("host")})
    hello.enclave_helloworld()
    assert hello.services.stdout.getvalue() == "A greeting from inside\n"
    assert called == ["host"]
    assert hello.services.stderr.getvalue() == ""


def test_hello_world_says_that_its_call_failed(start: Any) -> None:
    def failing() -> None:
        raise OSError("no host")

    hello = start("helloworld", "none", ocalls={"host_helloworld": failing})
    with pytest.raises(OSError, match="no host"):
        hello.enclave_helloworld()


@ON_EVERY
def test_log_callback(start: Any, tee: str, caplog: pytest.LogCaptureFixture) -> None:
    program = start("log_callback", tee, ocalls={"host_hello": lambda: None})
    with caplog.at_level("INFO", logger="tee_sim.enclave"):
        program.enclave_hello()
        assert caplog.messages == ["about to call host_hello"]
        program.enclave_set_log_callback()
        program.enclave_hello()
    assert caplog.messages == ["about to call host_hello"]
    kind, level, thread, message = program.services.stdout.getvalue().split(", ")
    assert (kind, level, message) == ("E", "INFO", "about to call host_hello\n")
    assert int(thread, 16) >= program.guest.base


@pytest.mark.parametrize("policy", [1, 2])
@pytest.mark.parametrize("tee", SEALS)
def test_data_sealing(start: Any, tee: str, policy: int) -> None:
    server = Platform(tee)
    program = start("data_sealing", server)
    data = b"a recipe"
    code, sealed, size = program.seal_data(policy, "label", data, len(data), 1024)
    assert code == 0
    blob = sealed[: int.from_bytes(size, "little")]
    assert data not in blob
    later = start("data_sealing", server)
    code, opened, size = later.unseal_data("label", blob, len(blob), 64)
    assert (code, opened[: int.from_bytes(size, "little")]) == (0, data)
    assert later.unseal_data("other label", blob, len(blob), 64).result != 0
    assert "oe_unseal failed with OE_" in later.services.stdout.getvalue()


@pytest.mark.parametrize("tee", [name for name in TEES if TEES[name].target == "sgx"])
def test_exception_handling(start: Any, tee: str) -> None:
    codes: list[int] = []
    program = start("exceptions", tee, ocalls={"host_handled": codes.append})
    assert program.enc_install_handler() == 0
    assert [program.enc_divide(7, 2), program.enc_divide(7, 0), program.enc_divide(-9, 3)] == [
        3,
        0,
        -3,
    ]
    assert codes == [0]
    assert program.services.stdout.getvalue() == "division by zero, flags 0x1\n"


def test_a_sample_that_asks_for_a_file_system_does_not_link(tmp_path: Path) -> None:
    source = HERE / "helloworld"
    shutil.copytree(source, tmp_path / "files")
    code = tmp_path / "files" / "enc.c"
    text = code.read_text().replace("fprintf(stdout,", 'fopen("/etc/passwd", "r"); fprintf(stdout,')
    code.write_text(text)
    (tmp_path / "files" / "helloworld.edl").write_text(
        "enclave { trusted { public void enclave_helloworld(); };"
        " untrusted { void host_helloworld(); }; };"
    )
    with pytest.raises(BuildError, match="undefined symbol: fopen"):
        Platform("none").create_enclave(tmp_path / "files")


def test_an_error_while_printing_is_the_hosts_and_the_program_goes_on(start: Any) -> None:
    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError("disk full")

    called: list[str] = []
    hello = start("helloworld", "none", ocalls={"host_helloworld": lambda: called.append("host")})
    hello.services.stdout = Full()
    with pytest.raises(OSError, match="disk full"):
        hello.enclave_helloworld()
    assert hello.lost is None
    hello.services.stdout = io.StringIO()
    hello.enclave_helloworld()
    assert called == ["host"]
