"""From an enclave's report down to how its machine was started, through the Verifier."""

from __future__ import annotations

from typing import Any

import pytest

from tee_sim import Platform
from tee_sim.abi.image import measure
from tee_sim.attest.results import AttestationResult
from tee_sim.attest.tpm_endorser import TPMVendor
from tee_sim.attest.vbs import verify_vbs
from tee_sim.attester import evidence_of, published_values, vbs_evidence_of
from tee_sim.errors import EcallFailed, UsageError
from tee_sim.units import MIB

NONCE, DATA, NOW = b"n" * 32, b"d" * 64, 1_750_000_000
VENDOR = TPMVendor()
REFERENCE = published_values(enclave_data=DATA)


def appraised(host: Platform) -> AttestationResult:
    report, boot = vbs_evidence_of(host.create_enclave("notary"), NONCE, DATA, VENDOR)
    root = VENDOR.root_der
    return verify_vbs(report, boot, root=root, nonce=NONCE, at=NOW, reference=REFERENCE)


def broken(host: Platform) -> set[str]:
    return {check.name for check in appraised(host).failed}


def platform(**how: Any) -> Platform:
    return Platform("vbs", memory=24 * MIB, **how)


def test_a_good_machine_and_enclave_are_accepted() -> None:
    assert appraised(platform()).require().status == "UpToDate"


@pytest.mark.parametrize(
    ("without", "measured"),
    [
        ("VTL.MEMORY", "MEASUREMENT.hvix64.exe"),
        ("VTL.INTERRUPTS", "MEASUREMENT.hvix64.exe"),
        ("SK.IMAGE_SIGNATURE", "MEASUREMENT.securekernel.exe"),
    ],
)
def test_a_changed_hypervisor_or_secure_kernel_starts_and_is_named(
    without: str, measured: str
) -> None:
    host = platform(without={without})
    assert host.create_enclave("vault").make_secret("1"), "it runs like any other"
    assert broken(host) == {measured}


def test_a_program_without_a_guard_of_its_own_does_not_change_the_machine() -> None:
    assert broken(platform(without={"RUNTIME.OUTSIDE"})) == set()


def test_an_outdated_machine_starts_and_is_named() -> None:
    result = appraised(platform(patch_level=0))
    assert result.status == "OutOfDate"
    names = {check.name for check in result.failed}
    assert {"SVN.hvix64.exe", "SVN.securekernel.exe", "MEASUREMENT.hvix64.exe"} <= names


@pytest.mark.parametrize(
    ("tee", "program", "why"), [("none", "notary", "not run on VBS"), ("vbs", "vault", "present")]
)
def test_evidence_needs_vbs_and_a_program_that_reports(tee: str, program: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        vbs_evidence_of(Platform(tee).create_enclave(program), NONCE, DATA, VENDOR)


def test_an_outdated_machine_is_known_to_who_accepts_it() -> None:
    names = {"hvix64.exe": 1, "securekernel.exe": 1}
    assert published_values(0).minimum_svns == names
    assert published_values(0).measurements != published_values().measurements
    with pytest.raises(UsageError, match="patch level 2"):
        published_values(2)


def test_two_boots_and_two_seeds_have_their_own_evidence() -> None:
    hosts = [platform(), platform(), platform(seed=1)]
    drivers = [host.host.vbs for host in hosts]
    assert all(drivers)
    first, again, other = (vbs.boot_evidence(NONCE, VENDOR.certify) for vbs in drivers if vbs)
    assert first == again
    assert first.quote != other.quote


def test_a_changed_report_is_refused_inside_and_by_the_verifier() -> None:
    host = platform()
    notary = host.create_enclave("notary")
    made = notary.present(DATA)
    whole = made.report[: int.from_bytes(made.report_size, "little")]
    assert notary.check(whole, len(whole)).data == DATA
    for at in (16 + 24 + 8, 16 + 24 + 72, len(whole) - 1):
        changed = bytearray(whole)
        changed[at] ^= 1
        with pytest.raises(EcallFailed, match="OE_VERIFY_FAILED"):
            notary.check(bytes(changed), len(changed))
    for size in (0, 16, 200, len(whole) - 1):
        with pytest.raises(EcallFailed):
            notary.check(whole[:size], size)


def test_one_program_gives_evidence_in_open_enclaves_form_on_every_tee() -> None:
    attested = platform().create_enclave("attested")
    evidence = evidence_of(attested, NONCE)
    said = attested.verify(evidence, len(evidence), bytes(24))
    assert said.unique_id == measure(attested.program.image)
    assert said.custom_claims.startswith(NONCE)
    assert int.from_bytes(said.attributes, "little") == 2, "remote, and not debugged"
    for at in (25, 200, len(evidence) - 1):
        changed = bytearray(evidence)
        changed[at] ^= 1
        with pytest.raises(EcallFailed):
            attested.verify(bytes(changed), len(changed), bytes(24))
