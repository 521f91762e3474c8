"""Evidence of real machines: what is fetched, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
from typer.testing import CliRunner

from tee_sim.cli import app
from tee_sim.errors import LayoutError, UsageError
from tee_sim.services import specimens
from tee_sim.services.specimens import Archive, fetch

QUOTES = [f"{name}{end}" for name in specimens.QUOTES for end in ("", "_collateral.json")]
REPORT, RUNTIME = bytes(range(256)) * 3, b"{}"


def sdists() -> tuple[bytes, bytes]:
    """Archives that are laid out as the real ones are."""
    tar, zipped = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:gz") as archive:
        for name in QUOTES:
            member = tarfile.TarInfo(f"dcap_qvl-0.7.0/sample/{name}")
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    texts = {"open_enclave_report": REPORT, "runtime_data": RUNTIME}
    source = "# a comment (with = brackets)\n"
    for name, data in texts.items():
        text = base64.urlsafe_b64encode(data).decode().rstrip("=")
        pieces = "\n    + ".join(f'"{text[i : i + 60]}"' for i in range(0, len(text), 60))
        source += f"sample_{name} = (\n    {pieces}\n)\n\n"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr(specimens.SAMPLE, source)
    return tar.getvalue(), zipped.getvalue()


Answer = Callable[..., io.BytesIO]


@pytest.fixture
def pypi(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], None]:
    """A package index that answers as it is told; the two archives are pinned to `sdists`."""
    for name, data in zip(("DCAP_QVL", "AZURE"), sdists(), strict=True):
        pinned = Archive(name, hashlib.sha256(data).hexdigest(), len(data))
        monkeypatch.setattr(specimens, name, pinned)
    return lambda answer: monkeypatch.setattr(specimens.urllib.request, "urlopen", answer)


def served(url: str, timeout: float) -> io.BytesIO:
    return io.BytesIO(sdists()[url.endswith("AZURE")])


def test_files_are_taken_out_of_the_archives(
    pypi: Callable[[Answer], None], tmp_path: Path
) -> None:
    pypi(served)
    written = {str(path.relative_to(tmp_path)): path.read_bytes() for path in fetch(tmp_path)}
    azure = {"azure/open_enclave_report": REPORT, "azure/runtime_data": RUNTIME}
    assert written == {f"dcap/{name}": name.encode() for name in QUOTES} | azure
    result = CliRunner().invoke(app, ["fetch-evidence", str(tmp_path / "new")])
    assert (result.exit_code, result.stdout.count("bytes")) == (0, len(written))


@pytest.mark.parametrize("tamper", [lambda d: d[:-1], lambda d: d + b"x", lambda d: b""])
def test_another_archive_than_the_pinned_one_is_refused(
    pypi: Callable[[Answer], None], tmp_path: Path, tamper: Callable[[bytes], bytes]
) -> None:
    pypi(lambda url, timeout: io.BytesIO(tamper(served(url, timeout).read())))
    with pytest.raises(LayoutError, match="not the archive that was pinned"):
        fetch(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [URLError("no route"), TimeoutError(), ConnectionResetError()])
def test_without_a_network_there_is_an_error_that_says_so(
    pypi: Callable[[Answer], None], tmp_path: Path, error: OSError
) -> None:
    def offline(url: str, timeout: float) -> io.BytesIO:
        raise error

    pypi(offline)
    with pytest.raises(UsageError, match="PyPI cannot be reached"):
        fetch(tmp_path)
    assert CliRunner().invoke(app, ["fetch-evidence", str(tmp_path)]).exit_code == 2
