"""A server with a quoting service, and an independent verifier for what it says."""

from __future__ import annotations

from functools import cache
from typing import Any

import dcap_qvl

from tee_sim import Platform
from tee_sim.attest.intel import SimulatedIntel
from tee_sim.attester import QuotingService, manufacture
from tee_sim.platform import DeployedEnclave
from tee_sim.units import MIB

AT = 1_767_225_600
NONCE = b"nonce of a Relying Party"
NO_TIME = bytes(24)


class Site:
    """One server, manufactured and certified by a simulated Intel."""

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

    def status(self, quote: bytes, at: int = AT, root: bytes = b"") -> str:
        """What dcap-qvl thinks; ValueError if it refuses."""
        pck = self.service.pck
        collateral = self.intel.collateral(pck.fmspc, pck.ca, at).to_json()
        given = dcap_qvl.QuoteCollateralV3.from_json(collateral)
        return str(
            dcap_qvl.verify_with_root_ca(quote, given, root or self.intel.root_der, at).status
        )

    def verify(self, evidence: bytes, time: bytes = NO_TIME) -> Any:
        """What an enclave of this server thinks."""
        return self.attested.verify(evidence, len(evidence), time)


@cache
def site(tee: str = "sgx-tme", **how: Any) -> Site:
    """A server that the tests share: they do no harm to it."""
    return Site(tee, **how)
