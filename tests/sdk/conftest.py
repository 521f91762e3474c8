from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdk.bare import Bare
from tee_sim.sdk.host import Enclave
from tee_sim.sdk.image import Program, load_program

TEST_PROGRAMS = Path(__file__).parent.parent / "programs"
BASES = (0x7000_0000, 0x1234_5678_9000)


def program(name: str, target: str = "sgx") -> Program:
    directory = TEST_PROGRAMS / name
    return load_program(directory if directory.is_dir() else name, target)


@pytest.fixture(params=[("sgx", BASES[0]), ("sgx", BASES[1]), ("none", BASES[0])], ids=str)
def create(request: pytest.FixtureRequest) -> Callable[..., tuple[Enclave, Bare]]:
    """Load a program on the bare machine: on each target, and at two load addresses."""
    target, base = request.param

    def make(name: str, seed: int = 0, **arguments: Any) -> tuple[Enclave, Bare]:
        loaded = program(name, target)
        bare = Bare(loaded, base, seed)
        return Enclave(loaded.interface, bare, name=name, **arguments), bare

    return make
