"""Platforms that cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from tee_sim import Platform
from tee_sim.errors import UsageError


@pytest.mark.parametrize("tee", ["none", "vbs", "sgx-mee", "sgx-tme"])
@pytest.mark.parametrize(
    "sizes",
    [
        {"memory": 0},
        {"memory": -4096},
        {"memory": 5000},
        {"memory": 1 << 50},
        {"memory": 10**30},
        {"epc": 0},
        {"epc": -4096},
        {"epc": 1 << 40},
        {"processors": 0},
        {"cache_pages": 0},
        {"cache_pages": -1},
        {"cache_pages": 1},
        {"budget": 0},
        {"budget": -5},
    ],
    ids=str,
)
def test_a_size_that_cannot_be_is_a_usage_error(tee: str, sizes: dict[str, Any]) -> None:
    if tee in ("none", "vbs") and sizes == {"epc": 1 << 40}:
        assert Platform(tee, **sizes)  # it has none
        return
    with pytest.raises(UsageError):
        Platform(tee, **sizes)
