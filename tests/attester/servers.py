"""A server with a quoting service, and an independent verifier for what it says: dcap-qvl."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import dcap_qvl

from tee_sim import Platform
from tee_sim.attest.intel import SimulatedIntel
from tee_sim.attester import QuotingService, manufacture
from tee_sim.hypervisor.honest import Launch
from tee_sim.monitors.sgx.processor import VENDOR_HASH
from tee_sim.monitors.sgx.sigstruct import load_attacker_key, mrsigner, sign
from tee_sim.platform import DeployedEnclave
from tee_sim.units import MIB

AT = 1_767_225_600
NO_TIME = bytes(24)
HEADER = 32


class Server:
    """One machine, certified by a simulated Intel."""

    def __init__(self, tee: str = "sgx-tme", *, intel: int = 0, **how: Any) -> None:
        self.host = Platform(tee, memory=64 * MIB, epc=16 * MIB, **how)
        self.intel = SimulatedIntel(intel)
        self.ppid = manufacture(self.host, self.intel)
        self.service = QuotingService(self.host, self.intel)
        self.attested: DeployedEnclave = self.host.create_enclave("attested")
        self.reporter: DeployedEnclave = self.host.create_enclave("reporter")

    def report(self, target: bytes, data: bytes = bytes(64)) -> bytes:
        """A REPORT of an ordinary enclave."""
        return bytes(self.reporter.report_to(target, data))[16:]

    def quote(self, data: bytes = bytes(64)) -> bytes:
        return self.service.get_quote(self.report(self.service.get_target_info(), data))

    def status(self, quote: bytes, at: int = AT, root: bytes = b"") -> tuple[str, list[str]]:
        """What dcap-qvl thinks: status and advisories; ValueError if it refuses."""
        pck = self.service.pck
        collateral = self.intel.collateral(pck.fmspc, pck.ca, at).to_json()
        given = dcap_qvl.QuoteCollateralV3.from_json(collateral)
        result = dcap_qvl.verify_with_root_ca(quote, given, root or self.intel.root_der, at)
        return result.status, result.advisory_ids

    def verify(self, evidence: bytes, time: bytes = NO_TIME) -> Any:
        """What an enclave of this server thinks."""
        return self.attested.verify(evidence, len(evidence), time)


@cache
def server(tee: str = "sgx-tme", **how: Any) -> Server:
    """A server that the tests share: they do no harm to it."""
    return Server(tee, **how)


def as_the_vendor(here: Server, name: str) -> DeployedEnclave:
    """The host's own form of one of the vendor's enclaves: same code, its own signature."""

    def resign(launch: Launch) -> Launch:
        assert launch.sigstruct is not None
        old = launch.sigstruct
        made = sign(
            old.enclavehash,
            load_attacker_key(),
            attributes=old.attributes,
            attributemask=old.attributemask,
            isvprodid=old.isvprodid,
            isvsvn=old.isvsvn,
        )
        assert mrsigner(made) != VENDOR_HASH
        return replace(launch, sigstruct=made)

    here.host.host.on_launch.append(resign)
    try:
        return here.service._launch(name)
    finally:
        here.host.host.on_launch.clear()


def requote(here: Server) -> None:
    """Certify the quoting enclave's key again, by whatever enclaves the service has now."""
    service = here.service
    report = service.qe.make_key(service.pce.my_target())
    signature = service.pce.certify(report, service.pck.cpusvn, 1)
    service.qe.certified(signature, 1, service.chain.encode(), len(service.chain))
