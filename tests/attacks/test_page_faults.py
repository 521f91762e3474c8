"""The controlled channel: what it recovers, and whom it blames when it does not."""

from __future__ import annotations

import pytest

from tee_sim import Platform, attacks
from tee_sim.errors import UsageError


def test_the_picture_is_recovered() -> None:
    host = Platform("sgx-tme")
    sketch = host.create_enclave("sketch")
    outcome = attacks.page_faults(host, sketch, sketch.choose())
    assert outcome.verdict == "succeeds"
    assert len(outcome.leaked) == 32


def test_no_check_gets_the_credit_for_a_picture_not_recovered() -> None:
    host = Platform("sgx-tme")
    sketch = host.create_enclave("sketch")
    sketch.choose()
    with pytest.raises(UsageError, match="not the picture"):
        attacks.page_faults(host, sketch, bytes(32))
