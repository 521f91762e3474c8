"""Every program on every platform: a platform is added by adding its name to `TEES`."""

from __future__ import annotations

import pytest

from tee_sim import Platform
from tee_sim.errors import EcallFailed, UsageError
from tee_sim.sdk.build import suits
from tee_sim.sdk.sources import PROGRAMS, read
from tee_sim.tees import TEES
from tee_sim.units import MIB

NAMES = sorted(path.parent.name for path in PROGRAMS.glob("*/program.toml"))


@pytest.fixture(scope="module", params=TEES)
def host(request: pytest.FixtureRequest) -> Platform:
    return Platform(request.param, memory=32 * MIB, epc=8 * MIB)


@pytest.mark.parametrize("name", NAMES)
def test_a_program_runs_on_every_platform_or_says_that_it_cannot(host: Platform, name: str) -> None:
    if not suits(read(name).config, host.tee.target):
        with pytest.raises(UsageError, match="for sgx only"):
            host.create_enclave(name)
        return
    enclave = host.create_enclave(name)
    calls = enclave.interface.trusted if name != "grower" else ()  # its kernel has to serve it
    for function in calls:
        ecall = getattr(enclave, function.name)
        if not ecall.__signature__.parameters:
            try:
                ecall()
            except (EcallFailed, UsageError):  # a refusal, or a callback that nobody registered
                assert not enclave.lost
    assert not enclave.lost
    enclave.close()
