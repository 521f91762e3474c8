"""Quotes that enclaves make, judged by an independent verifier."""

from __future__ import annotations

from hashlib import sha256

import dcap_qvl
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from attester.servers import AT, Server, as_the_vendor, requote, server
from tee_sim import Platform
from tee_sim.abi.image import Identity
from tee_sim.abi.quote import INTEL_QE_VENDOR, Quote
from tee_sim.abi.sgx import REPORT, ReportBody
from tee_sim.attest.intel import SimulatedIntel
from tee_sim.attest.verifier import verify_quote
from tee_sim.attester import QuotingService, manufacture
from tee_sim.attester.manufacturing import derive_key, provisioning_key
from tee_sim.errors import EcallFailed, PermissionRefused, UsageError
from tee_sim.monitors.sgx.processor import VENDOR_HASH, cpusvn

MISMATCH = "OE_VERIFY_FAILED_AES_CMAC_MISMATCH"
DAY = 86400


@pytest.mark.parametrize(("tee", "ca"), [("sgx-mee", "processor"), ("sgx-tme", "platform")])
def test_an_independent_verifier_accepts_a_quote_under_the_simulated_root_only(
    tee: str, ca: str
) -> None:
    here = server(tee)
    quote = here.quote()
    assert here.service.pck.ca == ca
    assert here.status(quote) == ("UpToDate", [])
    with pytest.raises(ValueError, match="Verification failed"):
        here.status(quote, root=SimulatedIntel(1).root_der)
    pck = here.service.pck
    collateral = here.intel.collateral(pck.fmspc, pck.ca, AT)
    with pytest.raises(ValueError, match="Verification failed"):  # under Intel's real root
        dcap_qvl.verify(quote, dcap_qvl.QuoteCollateralV3.from_json(collateral.to_json()), AT)
    assert verify_quote(quote, collateral, root=here.intel.root_der, at=AT).accepted
    assert not verify_quote(quote, collateral, at=AT).accepted


def test_a_quote_says_what_the_report_said_and_nothing_is_left_over() -> None:
    here = server()
    report = REPORT.unpack(here.report(here.service.get_target_info(), b"said".ljust(64)))
    raw = here.service.get_quote(report.pack())
    quote, rest = Quote.take(raw)
    assert (quote.pack(), rest) == (raw, b"")
    assert len(raw) == here.service.quote_size
    assert quote.body == report.body
    assert quote.header.qe_vendor_id == INTEL_QE_VENDOR
    assert (quote.header.qe_svn, quote.header.pce_svn) == (1, 1)
    assert quote.certification_data.decode() == here.service.chain


def test_the_quoting_enclave_binds_its_key_in_a_report_of_its_own() -> None:
    here = server()
    quote = Quote.parse(here.quote())
    qe = ReportBody.unpack(quote.qe_report)
    digest = sha256(quote.attestation_key + quote.qe_auth_data).digest()
    assert qe.reportdata == digest + bytes(32)
    assert (qe.mrenclave, qe.mrsigner) == (here.service.qe.mrenclave, VENDOR_HASH)
    flags = qe.attributes.flags
    assert flags.provisionkey
    assert not flags.debug


@given(st.data())
@settings(max_examples=40)
def test_no_changed_byte_of_a_quote_is_accepted(data: st.DataObject) -> None:
    here = server()
    quote = bytearray(here.quote())
    chain = len(quote) - len(here.service.chain)
    at = data.draw(st.integers(0, chain - 1))
    quote[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r"."):
        here.status(bytes(quote))


# The attestation key


def test_the_attestation_key_is_the_same_after_a_restart() -> None:
    here = Server()
    before = Quote.parse(here.quote())
    here.service.start()
    assert Quote.parse(here.quote()).attestation_key == before.attestation_key


def test_an_update_and_another_processor_change_the_attestation_key_but_not_the_name() -> None:
    quotes = [Quote.parse(s.quote()) for s in (server(), server(patch_level=0), server(seed=1))]
    assert len({quote.attestation_key for quote in quotes}) == 3
    names = [quote.header.user_data for quote in quotes]
    assert names[0] == names[1] != names[2]
    assert names[0][16:] == bytes(4) != names[0][:4]


def test_the_service_starts_its_enclaves_again_after_a_power_cut() -> None:
    here = Server()
    here.host.machine.power_cut()
    here.reporter = here.host.create_enclave("reporter")
    assert here.status(here.quote()) == ("UpToDate", [])


# TCB


def test_a_platform_without_updates_is_certified_for_what_it_is() -> None:
    old = server(patch_level=0)
    assert old.service.pck.cpusvn == cpusvn(0)
    assert old.status(old.quote()) == ("OutOfDate", ["INTEL-SA-00289"])
    assert server().service.pck.cpusvn == cpusvn(1)
    assert old.ppid == server().ppid  # the same processor


def test_after_a_tcb_recovery_yesterdays_platform_is_out_of_date() -> None:
    here = Server()
    quote = here.quote()
    here.intel.publish("INTEL-SA-99999", at=AT + DAY, cpusvn=bytes([3] * 16))
    assert here.status(quote) == ("UpToDate", [])
    assert here.status(quote, AT + 2 * DAY) == ("OutOfDate", ["INTEL-SA-99999"])


def test_a_platform_cannot_be_certified_for_a_tcb_that_it_has_not_reached() -> None:
    old = server(patch_level=0)
    report = old.service.qe.make_key(old.service.pce.my_target())
    old.service.pce.certify(report, cpusvn(0), 1)
    with pytest.raises(EcallFailed, match="OE_INVALID_CPUSVN"):
        old.service.pce.certify(report, cpusvn(1), 1)
    with pytest.raises(EcallFailed, match="OE_INVALID_ISVSVN"):
        old.service.pce.certify(report, cpusvn(0), 2)


def test_without_the_check_of_cpusvn_an_unpatched_platform_passes_for_a_patched_one() -> None:
    lies = Server(patch_level=0, without={"EGETKEY.CPUSVN"})
    service = lies.service
    report = service.qe.make_key(service.pce.my_target())
    best, pem = next(iter(lies.intel.certified(lies.ppid, bytes(2)).items()))
    assert best.cpusvn == cpusvn(1)
    signature = service.pce.certify(report, best.cpusvn, best.pcesvn)
    chain = pem + lies.intel.issuer_chain(best.ca)
    service.qe.certified(signature, best.pcesvn, chain.encode(), len(chain))
    service.quote_size += len(chain) - len(service.chain)
    assert lies.status(lies.quote()) == ("UpToDate", [])


# Each step of local attestation


@given(st.integers(0, 431), st.integers(1, 255))
@settings(max_examples=20)
def test_the_quoting_enclave_refuses_a_forged_report(at: int, change: int) -> None:
    here = server()
    report = bytearray(here.report(here.service.get_target_info()))
    report[at] ^= change
    with pytest.raises(EcallFailed, match=MISMATCH):
        here.service.get_quote(bytes(report))


def test_the_quoting_enclave_refuses_a_report_for_somebody_else() -> None:
    here = server()
    for target in (here.service.pce.my_target(), here.reporter.my_target()):
        with pytest.raises(EcallFailed, match=MISMATCH):
            here.service.get_quote(here.report(target))


def test_the_quoting_enclave_refuses_a_report_of_another_processor() -> None:
    here, there = server(), server(seed=1)
    with pytest.raises(EcallFailed, match=MISMATCH):
        here.service.get_quote(there.report(here.service.get_target_info()))


def test_the_quoting_enclave_makes_no_quote_before_it_is_certified() -> None:
    here = Server()
    qe = here.service._launch("qe")
    with pytest.raises(EcallFailed, match="OE_SERVICE_UNAVAILABLE"):
        qe.get_quote(here.report(qe.my_target()), here.service.quote_size)
    with pytest.raises(EcallFailed, match="OE_INVALID_PARAMETER"):
        here.service.qe.get_quote(here.report(here.service.get_target_info()), 100)


def test_the_pce_certifies_only_whom_the_kernel_let_have_the_provisioning_keys() -> None:
    pce = server().service.pce
    report = server().report(pce.my_target())
    with pytest.raises(EcallFailed, match="OE_CONSTRAINT_FAILED"):
        pce.certify(report, cpusvn(1), 1)
    with pytest.raises(EcallFailed, match="OE_CONSTRAINT_FAILED"):
        pce.get_ppid(report)


def test_the_pce_refuses_a_forged_report_and_one_for_somebody_else() -> None:
    service = server().service
    report = bytearray(service.qe.make_key(service.pce.my_target()))
    report[330] ^= 1  # another attestation key
    for wrong in (bytes(report), service.qe.make_key(service.qe.my_target())):
        with pytest.raises(EcallFailed, match=MISMATCH):
            service.pce.certify(wrong, cpusvn(1), 1)


# Who gets the provisioning key


def test_the_kernel_grants_the_provisioning_keys_to_the_service_alone() -> None:
    here = server()
    with pytest.raises(PermissionRefused):
        here.host.create_enclave("pce", identity=Identity(provisionkey=True))
    strict = Platform("sgx-tme")
    strict.host.provisioners.clear()
    manufacture(strict, here.intel)
    with pytest.raises(PermissionRefused):
        QuotingService(strict, here.intel)


def test_an_enclave_without_provisionkey_gets_no_provisioning_key() -> None:
    here = server()
    pce = here.host.create_enclave("pce")
    with pytest.raises(EcallFailed, match="OE_INVALID_PARAMETER"):
        pce.certify(here.service.qe.make_key(pce.my_target()), cpusvn(1), 1)
    weak = server(without=frozenset({"EGETKEY.PROVISIONKEY"}))
    pce = weak.host.create_enclave("pce")
    assert pce.certify(weak.service.qe.make_key(pce.my_target()), cpusvn(1), 1) != bytes(64)


def test_a_pce_that_the_host_signed_gets_another_key() -> None:
    here = Server()
    here.service.pce = as_the_vendor(here, "pce")
    requote(here)
    with pytest.raises(ValueError, match="Verification failed"):
        here.status(here.quote())


def test_without_mrsigner_in_the_key_the_hosts_own_pce_is_as_good_as_the_vendors() -> None:
    here = Server(without={"EGETKEY.MRSIGNER"})
    here.service.pce = as_the_vendor(here, "pce")
    requote(here)
    assert here.status(here.quote()) == ("UpToDate", [])


def test_a_quoting_enclave_that_the_host_signed_is_certified_and_yet_not_believed() -> None:
    here = Server()
    here.service.qe = as_the_vendor(here, "qe")
    requote(here)
    with pytest.raises(ValueError, match="MRSIGNER"):
        here.status(here.quote())


# Manufacturing


def test_only_a_processor_with_sgx_can_be_manufactured() -> None:
    with pytest.raises(UsageError, match="has no SGX"):
        manufacture(Platform("none"), SimulatedIntel())


def test_a_vendor_that_did_not_make_the_processor_certifies_nothing() -> None:
    with pytest.raises(UsageError, match="does not know"):
        QuotingService(Platform("sgx-tme", seed=3), SimulatedIntel())


def test_the_vendor_computes_the_key_that_the_pce_has() -> None:
    here = server()
    report = here.service.qe.make_key(here.service.pce.my_target())
    signature = here.service.pce.certify(report, cpusvn(0), 1)
    r, s = (int.from_bytes(signature[at : at + 32], "big") for at in (0, 32))
    key = derive_key(provisioning_key(here.host.monitor, cpusvn(0), 1), b"PAK_KEY_DER")
    key.public_key().verify(encode_dss_signature(r, s), report[:384], ec.ECDSA(hashes.SHA256()))
