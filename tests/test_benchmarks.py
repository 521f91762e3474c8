"""The benchmarks run, each action once. Measuring is for ``make bench``, on a quiet machine."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "benchmarks" / "bench.py"


def test_every_figure_with_a_limit_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("bench", BENCH)
    assert spec is not None
    assert spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)

    def once(first, second, _rounds: int) -> float:
        first()
        second()
        return 1.0

    monkeypatch.setattr(bench, "interleaved", once)
    monkeypatch.setattr(bench, "repeat", lambda action, _times: action)
    monkeypatch.setattr(bench, "ENCLAVES", 20)
    assert set(bench.measured()) == set(bench.LIMITS)
