"""Random hostile sequences against running enclaves, and what holds after every step.

Hypothesis chooses the steps and shortens a sequence that breaks a promise; each step's details come
from its seed. ``pytest --hostile-steps=N`` or ``TEE_SIM_HOSTILE_STEPS=N`` runs more of them.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from hostile.lab import Lab

STEPS_IN_A_SEQUENCE = 50
PLATFORMS = [("sgx-mee", 4096), ("sgx-tme", 4096), ("sgx-mee", 16), ("sgx-tme", 24)]
SEEDS = st.integers(0, 2**32 - 1)
# One rule with weights, not a rule for each: Hypothesis leaves rules out of whole sequences.
STEPS = ["owner"] * 8 + ["attack"] * 9 + ["launch"] * 2 + ["scenario"] * 3
SETTINGS = settings(
    max_examples=6,
    stateful_step_count=STEPS_IN_A_SEQUENCE,
    derandomize=False,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


class HostileHost(RuleBasedStateMachine):
    """A host with a few enclaves, gone bad."""

    tee: ClassVar[str]
    cache_pages: ClassVar[int]
    counts: ClassVar[Counter[str]]
    salt: ClassVar[str]

    @initialize(seed=SEEDS)
    def start(self, seed: int) -> None:
        self.used: Counter[int] = Counter()
        self.boot()
        self.perform("launch", seed)

    def boot(self) -> None:
        self.lab = Lab(self.tee, self.cache_pages, note)

    def perform(self, what: str, seed: int) -> None:
        """One step; a machine that was locked by a machine check is replaced."""
        # Hypothesis likes some numbers more than others: each use of one is another step.
        self.used[seed] += 1
        dead, rng = self.lab.dead, Random(f"{self.salt} {seed} {self.used[seed]}")
        self.lab.step("locked" if dead else what, rng)
        self.counts["steps"] += 1
        if dead:
            self.end()
            self.boot()

    def end(self) -> None:
        self.lab.finish()
        self.counts.update(self.lab.counts())

    def teardown(self) -> None:
        if hasattr(self, "lab"):
            self.end()

    @rule(what=st.sampled_from(STEPS), seed=SEEDS)
    def step(self, what: str, seed: int) -> None:
        self.perform(what, seed)


@pytest.mark.slow
@pytest.mark.parametrize(("tee", "cache_pages"), PLATFORMS)
def test_no_sequence_of_attacks_breaks_a_promise(
    tee: str, cache_pages: int, hostile_steps: int
) -> None:
    counts: Counter[str] = Counter()
    batch = 0
    while counts["steps"] < hostile_steps // len(PLATFORMS):
        batch += 1
        name = f"{tee}, {cache_pages} pages, batch {batch}"
        choices = {"tee": tee, "cache_pages": cache_pages, "counts": counts, "salt": name}
        machine = type(name, (HostileHost,), choices)
        run_state_machine_as_test(seed(batch)(machine), settings=SETTINGS)
    print(dict(counts))
    if counts["steps"] > 1000:  # so many are worth something: calls were compared with the model
        assert counts["exact"] > counts["steps"] / 20
        assert counts["refused" if tee == "sgx-mee" else "replayed"] > 0
