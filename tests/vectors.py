"""Test vectors from real hardware and other projects, which live outside this repository."""

import os
from pathlib import Path

import pytest

_BESIDE_THE_REPOSITORY = Path(__file__).parents[2] / "shared" / "vectors"


def vector(name: str) -> bytes:
    """Read one vector, such as ``sgx/sig1.q1.bin``; skip the test where there are none at all."""
    named = os.environ.get("TEE_SIM_VECTORS")
    folder = Path(named) if named else _BESIDE_THE_REPOSITORY
    if not folder.is_dir():
        pytest.skip(f"no test vectors in {folder}; TEE_SIM_VECTORS can name their folder")
    return (folder / name).read_bytes()


def vector_names(folder: str) -> list[str]:
    """The names of the vectors in a folder; skip the test where there are none at all."""
    named = os.environ.get("TEE_SIM_VECTORS")
    root = Path(named) if named else _BESIDE_THE_REPOSITORY
    if not root.is_dir():
        pytest.skip(f"no test vectors in {root}; TEE_SIM_VECTORS can name their folder")
    return sorted(path.name for path in (root / folder).iterdir())
