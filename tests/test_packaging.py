"""What is promised about the package's metadata, its lock and its archives.

`pyproject.toml` holds ranges, `requirements.lock` exact versions and hashes, `environment.yml`
the conda and Binder form. They are compared as text, so that no tool has to be trusted.
"""

import io
import re
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
from flit_core import buildapi
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SHIPPED = {
    *("*.py", "py.typed"),
    *("*.c", "*.cpp", "*.h", "*.S", "*.zig", "*.edl", "*.toml", "*.elf", "*.pem"),
    *("*.lark", "*.js", "*.css"),
}
SYSTEMS = [
    {"sys_platform": "linux", "os_name": "posix", "platform_machine": "x86_64"},
    {"sys_platform": "darwin", "os_name": "posix", "platform_machine": "arm64"},
    {"sys_platform": "win32", "os_name": "nt", "platform_machine": "AMD64"},
]


def declared() -> list[str]:
    """Every requirement of pyproject.toml, as it is written there."""
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return [text for group in groups for text in group]


class Locked(NamedTuple):
    """One entry of requirements.lock."""

    name: str
    version: Version
    marker: Marker | None
    hashes: list[str]


def locked() -> list[Locked]:
    """Every entry of requirements.lock."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", "")
    entries = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        spec, *hashes = [part.strip() for part in line.split("--hash=")]
        pin, _, marker = spec.partition(";")
        name, version = pin.strip().split("==")
        entries.append(Locked(name, Version(version), Marker(marker) if marker else None, hashes))
    return entries


@pytest.mark.parametrize("text", declared())
def test_every_dependency_is_locked_within_its_range(text: str) -> None:
    requirement = Requirement(text)
    name = canonicalize_name(requirement.name)
    versions = [entry.version for entry in locked() if entry.name == name]
    assert versions, f"{text} is not in requirements.lock: run `make lock`"
    for version in versions:
        assert requirement.specifier.contains(version), f"{text}: the lock has {version}"


@pytest.mark.parametrize("python", ["3.11.2", "3.12.0", "3.13.0"])
@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system["sys_platform"])
def test_every_dependency_is_locked_for_each_system(system: dict[str, str], python: str) -> None:
    here = {
        **system,
        "python_version": python.rpartition(".")[0],
        "python_full_version": python,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    names = [e.name for e in locked() if e.marker is None or e.marker.evaluate(here)]
    assert sorted(names) == sorted(set(names)), "two versions of one package on one system"
    assert {canonicalize_name(Requirement(text).name) for text in declared()} <= set(names)


def test_every_lock_entry_has_hashes() -> None:
    for entry in locked():
        assert entry.hashes, f"{entry.name} has no hash"
        for value in entry.hashes:
            assert re.fullmatch(r"sha256:[0-9a-f]{64}", value), entry.name


def test_lock_names_no_host() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text


def test_environment_lists_the_same_ranges() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    listed = re.findall(r'^ {6}- "?([^"\n]+)"?$', text.partition("- pip:")[2], re.MULTILINE)
    assert sorted(listed) == sorted(set(declared()))
    assert "python=3.11" in text
    assert PROJECT["requires-python"] == ">=3.11"


def test_build_backend_is_locked_with_the_same_range() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
    assert set(build["requires"]) <= set(declared())


def test_changelog_has_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[?([0-9][^\]\s]*)", text, re.MULTILINE)
    assert versions[0] == PROJECT["version"]


def package_files() -> set[str]:
    """What belongs in the package, as paths in an archive."""
    found = set()
    for path in (ROOT / "tee_sim").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            found.add(path.relative_to(ROOT).as_posix())
    return found


def test_package_holds_only_known_kinds_of_files() -> None:
    stray = {name for name in package_files() if not any(Path(name).match(p) for p in SHIPPED)}
    assert not stray, "new kind of file: list it in SHIPPED, or keep it out of the package"


def test_wheel_ships_every_file_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    name = buildapi.build_wheel(str(tmp_path))
    with zipfile.ZipFile(tmp_path / name) as wheel:
        names = set(wheel.namelist())
        entry_points = wheel.read(f"tee_sim-{PROJECT['version']}.dist-info/entry_points.txt")
    assert {file for file in names if file.startswith("tee_sim/")} == package_files()
    assert "tee_sim/py.typed" in names
    assert b"tee-sim=tee_sim.cli:main" in entry_points.replace(b" ", b"")
    for notice in PROJECT["license-files"]:
        assert any(file.endswith(f"/licenses/{notice}") for file in names), notice


def test_sdist_ships_every_file_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    name = buildapi.build_sdist(str(tmp_path))
    with tarfile.open(fileobj=io.BytesIO((tmp_path / name).read_bytes())) as sdist:
        names = {file.partition("/")[2] for file in sdist.getnames()}
    assert package_files() <= names
    assert {*PROJECT["license-files"], "README.md", "CHANGELOG.md", "pyproject.toml"} <= names
