"""The page tables as a host reads them."""

from __future__ import annotations

from tee_sim import Platform


def test_the_levels_end_in_the_page() -> None:
    host = Platform("sgx-tme")
    vault = host.create_enclave("vault")
    gva = vault.address("vault_secret")
    entries = host.adversary.levels(vault.guest, gva)
    assert len(entries) == 4
    assert entries[0].entry_hpa & -4096 == vault.guest.space.cr3
    assert entries[-1] == host.adversary.walk(vault.guest, gva)
    assert entries[-1].hpa == vault.physical("vault_secret")


def test_the_levels_end_at_an_entry_that_is_not_present() -> None:
    host = Platform("none")
    vault = host.create_enclave("vault")
    assert [entry.present for entry in host.adversary.levels(vault.guest, 0)] == [True, False]
