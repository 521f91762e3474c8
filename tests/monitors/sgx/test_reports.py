"""EREPORT and EVERIFYREPORT2: what a report says, who can verify it, and what is refused."""

from __future__ import annotations

import hmac
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given, settings
from hypothesis import strategies as st

from assembly import ASK, DATA_GVA, Asker, mov
from tee_sim import Platform
from tee_sim.abi.image import Identity
from tee_sim.abi.sgx import (
    KEYREQUEST,
    REPORT,
    TARGETINFO,
    KeyName,
    ReportBody,
)
from tee_sim.errors import GeneralProtection, PageFault
from tee_sim.machine.registers import RBX, RCX, RDX
from tee_sim.monitors.sgx.enclu import Leaf
from tee_sim.monitors.sgx.processor import cpusvn
from tee_sim.monitors.sgx.reports import REPORTMACSTRUCT, report_mac
from tee_sim.units import MIB, PAGE

ME = Identity(3, 5, b"f" * 16, b"e" * 16, b"c" * 64, 7)


@cache
def server() -> Platform:
    return Platform("sgx-tme", memory=32 * MIB, epc=4 * MIB)


@cache
def asker(**how: Any) -> Asker:
    return Asker(server(), **how)


def target(guest: Asker) -> TARGETINFO:
    """What a report for this enclave has to be addressed to."""
    secs = guest.guest.enclave.secs
    return TARGETINFO(
        measurement=secs.mrenclave,
        attributes=secs.attributes,
        miscselect=secs.miscselect,
        configid=secs.configid,
        configsvn=secs.configsvn,
    )


def report_key(guest: Asker, keyid: bytes) -> bytes:
    """The enclave's own report key, from EGETKEY."""
    found = guest.key(KEYREQUEST(keyname=KeyName.REPORT, keyid=keyid))
    assert isinstance(found, bytes)
    return found


def accepts(guest: Asker, report: REPORT) -> bool:
    """What an enclave computes that verifies a report."""
    mac = CMAC(AES(report_key(guest, report.keyid)))
    mac.update(report.pack()[:384])
    return mac.finalize() == report.mac


def test_a_report_says_who_the_enclave_is() -> None:
    reporter = Asker(server(), identity=ME)
    secs = reporter.guest.enclave.secs
    assert reporter.report(TARGETINFO(), b"d" * 64).body == ReportBody(
        cpusvn=cpusvn(1),
        attributes=secs.attributes,
        mrenclave=reporter.guest.mrenclave,
        mrsigner=secs.mrsigner,
        isvprodid=3,
        isvsvn=5,
        isvfamilyid=b"f" * 16,
        isvextprodid=b"e" * 16,
        configid=b"c" * 64,
        configsvn=7,
        reportdata=b"d" * 64,
    )
    assert secs.attributes.flags.init


TARGETS: dict[str, dict[str, Any]] = {
    "plain": {},
    "another program": {"data": b"another program"},
    "debug": {"debug": True},
    "another configuration": {"identity": ME},
}


@pytest.mark.parametrize("addressee", TARGETS)
@pytest.mark.parametrize("verifier", TARGETS)
def test_a_report_is_verified_by_its_target_and_by_no_other_enclave(
    addressee: str, verifier: str
) -> None:
    report = asker().report(target(asker(**TARGETS[addressee])))
    assert accepts(asker(**TARGETS[verifier]), report) == (addressee == verifier)


def test_two_enclaves_of_the_same_program_have_the_same_report_key_whoever_signed_them() -> None:
    assert accepts(asker(attacker=True), asker().report(target(asker())))


@given(st.binary(min_size=64, max_size=64), st.sampled_from(sorted(TARGETS)))
@settings(max_examples=40)
def test_the_mac_is_the_cmac_under_the_targets_report_key(said: bytes, name: str) -> None:
    report = asker().report(target(asker(**TARGETS[name])), said)
    assert report.body.reportdata == said
    assert accepts(asker(**TARGETS[name]), report)


@given(st.integers(0, 8 * 384 - 1))
@settings(max_examples=60)
def test_a_changed_bit_is_noticed(bit: int) -> None:
    report = asker().report(target(asker()))
    data = bytearray(report.pack())
    data[bit // 8] ^= 1 << bit % 8
    mac = CMAC(AES(report_key(asker(), report.keyid)))
    mac.update(bytes(data[:384]))
    assert mac.finalize() != report.mac


def test_reports_do_not_survive_a_reboot_or_another_processor() -> None:
    first = Asker(Platform("sgx-tme", memory=20 * MIB, epc=MIB))
    report = first.report(target(first))
    other = Asker(Platform("sgx-tme", memory=20 * MIB, epc=MIB, seed=1))
    assert not accepts(other, report)
    first.platform.machine.power_cut()
    again = Asker(first.platform)
    assert again.report(target(again)).keyid != report.keyid


ADDRESSES = [(RBX, 0), (RCX, 0x400), (RDX, 0x800)]


@pytest.mark.parametrize(("register", "offset"), ADDRESSES)
@pytest.mark.parametrize("value", [DATA_GVA + 0x440, DATA_GVA - 0x1000 + 0x10, 0x1000])
def test_an_operand_that_is_misaligned_or_outside_faults(
    register: int, offset: int, value: int
) -> None:
    code = ASK.replace(mov(register, DATA_GVA + offset), mov(register, value))
    with pytest.raises(GeneralProtection):
        Asker(server(), code).call(Leaf.EREPORT, TARGETINFO().pack(), bytes(64))


@pytest.mark.parametrize("right", ["r", "w"])
def test_an_operand_needs_the_rights_of_an_access_by_the_enclave(right: str) -> None:
    lone = Asker(server())
    setattr(lone.sgx.epcm[lone.guest.pages[DATA_GVA - lone.guest.base]], right, False)
    with pytest.raises(PageFault):
        lone.call(Leaf.EREPORT, TARGETINFO().pack(), bytes(64))


@pytest.mark.parametrize("at", [49, 56, 128, 511])
def test_reserved_bytes_of_targetinfo_fault_before_the_other_operands(at: int) -> None:
    data = bytearray(512)
    data[at] = 1
    code = ASK.replace(mov(RCX, DATA_GVA + 0x400), mov(RCX, DATA_GVA + 2 * PAGE))
    with pytest.raises(PageFault):
        Asker(server(), code).call(Leaf.EREPORT, bytes(512))
    with pytest.raises(GeneralProtection):
        Asker(server(), code).call(Leaf.EREPORT, bytes(data))


def test_cet_attributes_are_reserved_without_cet() -> None:
    with pytest.raises(GeneralProtection):
        Asker(server()).call(Leaf.EREPORT, TARGETINFO(cet_attributes=1).pack(), bytes(64))


def test_ereport_leaves_rax_and_the_flags_alone() -> None:
    assert asker().call(Leaf.EREPORT, TARGETINFO().pack(), bytes(64)) == Leaf.EREPORT


# EVERIFYREPORT2


def structure(**changes: Any) -> REPORTMACSTRUCT:
    made = REPORTMACSTRUCT(reporttype=0x81, cpusvn=cpusvn(0), reportdata=b"said" * 16)
    made = made.with_(**changes)
    return made.with_(mac=report_mac(asker().sgx, made))


def test_a_structure_of_this_platform_is_accepted() -> None:
    assert asker().call(Leaf.EVERIFYREPORT2, structure().pack()) == 0


def test_the_mac_covers_the_first_224_bytes() -> None:
    made = structure()
    assert made.mac == hmac.digest(asker().sgx.report_mac_key, made.pack()[:224], "sha256")


@given(st.integers(0, 8 * 256 - 1))
@settings(max_examples=60)
def test_a_changed_bit_of_the_structure_is_refused(bit: int) -> None:
    data = bytearray(structure().pack())
    data[bit // 8] ^= 1 << bit % 8
    assert asker().call(Leaf.EVERIFYREPORT2, bytes(data)) in (28, 32)


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"reporttype": 0}, 28), ({"reporttype": 0x181}, 28), ({"cpusvn": cpusvn(2)}, 32)],
)
def test_a_genuine_mac_does_not_help_against(changes: dict[str, Any], code: int) -> None:
    assert asker().call(Leaf.EVERIFYREPORT2, structure(**changes).pack()) == code


def test_another_platform_or_boot_refuses_the_structure() -> None:
    data = structure().pack()
    other = Asker(Platform("sgx-tme", memory=20 * MIB, epc=MIB, seed=1))
    assert other.call(Leaf.EVERIFYREPORT2, data) == 28
    other.platform.machine.power_cut()
    own = REPORTMACSTRUCT(reporttype=0x81)
    own = own.with_(mac=report_mac(other.sgx, own))
    again = Asker(other.platform)
    assert again.call(Leaf.EVERIFYREPORT2, own.pack()) == 0
    again.platform.machine.power_cut()
    assert Asker(again.platform).call(Leaf.EVERIFYREPORT2, own.pack()) == 28


def test_the_structure_is_aligned_to_256_bytes() -> None:
    code = ASK.replace(mov(RBX, DATA_GVA), mov(RBX, DATA_GVA + 128))
    with pytest.raises(GeneralProtection):
        Asker(server(), code).call(Leaf.EVERIFYREPORT2, structure().pack())
