"""What all tests share: repeatable randomness, and how much of it."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

HOSTILE_STEPS = 10_000

# The same examples on every run. HYPOTHESIS_PROFILE=explore looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--hostile-steps",
        type=int,
        default=int(os.environ.get("TEE_SIM_HOSTILE_STEPS", HOSTILE_STEPS)),
        help="steps of the hostile state machine, all platforms together (default: %(default)s)",
    )


@pytest.fixture(scope="session")
def hostile_steps(request: pytest.FixtureRequest) -> int:
    """How many hostile steps to take."""
    steps: int = request.config.getoption("--hostile-steps")
    return steps
