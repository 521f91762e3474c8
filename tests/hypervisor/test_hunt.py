"""The search for a secret of which only the digest is known."""

from __future__ import annotations

import pytest

from tee_sim import Platform


@pytest.mark.parametrize(
    ("tee", "without", "found"),
    [
        ("none", set(), True),
        ("sgx-tme", set(), False),
        ("sgx-tme", {"MEM.ENCRYPTION"}, True),
        ("sgx-mee", set(), False),
    ],
)
def test_a_secret_is_found_in_dram_unless_it_is_encrypted(
    tee: str, without: set[str], found: bool
) -> None:
    host = Platform(tee, without=without)
    vault = host.create_enclave("vault")
    digest = vault.make_secret("2718")
    host.adversary.wbinvd()
    expected = [vault.physical("vault_secret")] if found else []
    assert host.adversary.hunt(digest) == expected
