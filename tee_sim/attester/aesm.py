"""The host's quoting service: Intel's AESM (Architectural Enclave Service Manager).

It launches the vendor's quoting enclave (QE) and provisioning certification enclave (PCE), gets the
platform's certificates from the vendor, and carries reports between them. It sees everything, and
is trusted by nobody: it may refuse to serve, and can do no more.

::

    application enclave         quoting service (host)         QE                   PCE
                                my_target                                           -> target
                                make_key(target of the PCE)    -> report
                                certify(report, TCB)                                -> signature
                                certified(signature, chain)    keeps them
    oe_get_evidence
      whom do I report to?  ->  target of the QE
      EREPORT
      quote this report     ->  get_quote(report)              checks, signs
                                                               -> quote

Source: Intel SGX ECDSA QuoteLibReference, "Quote Generation".

Simplified: Intel's PCE encrypts the PPID to Intel, and its QE keeps its key and certification in
files, sealed; here the PPID is told in clear, and nothing is kept: the key follows from the seal
key, and the rest is made again. The label from which the QE's key follows is unverified.
An enclave that verifies a quote (``oe_verify_evidence``) looks at signatures, the root and the
identity of the QE, not at revocation lists and TCB levels.
"""

from __future__ import annotations

from dataclasses import replace

from tee_sim.abi.sgx import REPORT, AttributesMask
from tee_sim.abi.sgx_sign import VENDOR_INTEL
from tee_sim.attest.intel import SimulatedIntel
from tee_sim.attester.manufacturing import PCEID
from tee_sim.errors import UsageError
from tee_sim.hypervisor.honest import Launch
from tee_sim.monitors.sgx.keys import is_beyond
from tee_sim.monitors.sgx.sigstruct import load_vendor_key, sign
from tee_sim.platform import DeployedEnclave, Platform
from tee_sim.sdk.signing import ALL_BITS

FIXED_SIZE = 1052
"""Bytes of a quote without the certificates at its end."""


class QuotingService:
    """Quotes for the enclaves of one platform; it installs itself as ``platform.host.quoting``.

    Args:
        platform: where it runs.
        intel: the vendor, who must have certified the processor (`manufacture`).

    Attributes:
        pck: what the vendor has certified of this platform.
        chain: that certificate, its CA's and the root's, PEM.
        qe, pce: the two enclaves.
        quote_size: bytes of each quote.

    Raises:
        UsageError: the vendor has certified no TCB that this processor has reached.
        PermissionRefused: the kernel does not let the service have the provisioning keys.
    """

    def __init__(self, platform: Platform, intel: SimulatedIntel) -> None:
        self._platform, self._intel = platform, intel
        self.start()
        platform.host.quoting = self

    def start(self) -> None:
        """Launch both enclaves, and have the attestation key certified."""
        self.pce, self.qe = self._launch("pce"), self._launch("qe")
        report = self.qe.make_key(self.pce.my_target())
        ppid, current = self.pce.get_ppid(report), REPORT.unpack(report).body.cpusvn
        certified = self._intel.certified(ppid, PCEID)
        reached = [pck for pck in certified if not is_beyond(pck.cpusvn, current)]
        if not reached:
            raise UsageError("the vendor does not know this processor: manufacture() it first")
        self.pck = reached[0]
        signature = self.pce.certify(report, self.pck.cpusvn, self.pck.pcesvn)
        self.chain = certified[self.pck] + self._intel.issuer_chain(self.pck.ca)
        self.qe.certified(signature, self.pck.pcesvn, self.chain.encode(), len(self.chain))
        self.quote_size = FIXED_SIZE + len(self.chain)

    def _launch(self, name: str) -> DeployedEnclave:
        """One of the vendor's enclaves, by the user who may have the provisioning keys."""
        platform, program = self._platform, self._platform.build(name)
        identity = replace(program.identity, provisionkey=True)
        attributes = identity.attributes()
        sigstruct = sign(
            platform.measurement(program.image),
            load_vendor_key(),
            attributes=attributes,
            attributemask=AttributesMask(flags=ALL_BITS, xfrm=ALL_BITS),
            isvprodid=identity.isvprodid,
            isvsvn=identity.isvsvn,
            vendor=VENDOR_INTEL,
        )
        launch = Launch(name, program.image, sigstruct, attributes, identity, caller="aesmd")
        return DeployedEnclave(program, platform.host.launch(launch), None)

    def get_target_info(self) -> bytes:
        """How to address a report to the quoting enclave: a TARGETINFO, 512 bytes."""
        if self.qe.lost:  # a power cut, or somebody who takes enclaves down
            self.start()
        target: bytes = self.qe.my_target()
        return target

    def get_quote(self, report: bytes) -> bytes:
        """The quote for a report of 432 bytes.

        Raises:
            EcallFailed: the quoting enclave does not believe the report.
        """
        quote: bytes = self.qe.get_quote(report, self.quote_size)
        return quote
