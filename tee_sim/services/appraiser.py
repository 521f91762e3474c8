"""What joins the attestation service to the Verifier of quotes: `tee_sim.services.maa.Appraise`.

Simplified: which TCB statuses Microsoft's baseline accepts is not published (unverified).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from tee_sim.abi.quote import SGX, Quote, unwrap
from tee_sim.attest.certificates import CA
from tee_sim.attest.chains import load_chain
from tee_sim.attest.collateral import Collateral
from tee_sim.attest.intel import SimulatedIntel
from tee_sim.attest.pck import PCK
from tee_sim.attest.policy import Policy, appraise
from tee_sim.attest.verifier import verify_quote
from tee_sim.errors import ReferenceValueMismatch, UntrustedChain, UsageError
from tee_sim.services.maa import Appraise

Provider: TypeAlias = Callable[[Quote, int], Collateral]
"""Finds the collateral for a quote, as of a Unix time."""

GOOD_ENOUGH = "UpToDate SWHardeningNeeded ConfigurationNeeded ConfigurationAndSWHardeningNeeded"
BASELINE = Policy(tcb_statuses=tuple(GOOD_ENOUGH.split()), allow_debug=True)
"""What a platform must be before the owner's policy is asked, which may forbid debugging."""


def quote_appraiser(collateral: Provider, root: bytes | None = None) -> Appraise:
    """Appraises SGX quotes, and the Open Enclave reports that hold them.

    Args:
        collateral: finds it.
        root: the certificate that is trusted, DER; None for the real Intel's.
    """

    def appraise_evidence(kind: str, evidence: bytes, at: int) -> Mapping[str, Any]:
        data = unwrap(evidence)[0] if kind == "OpenEnclave" else evidence
        quote = Quote.parse(data)
        if quote.header.tee_type != SGX:
            raise ReferenceValueMismatch("this is a quote of another TEE than SGX")
        found = collateral(quote, at)
        result = appraise(verify_quote(data, found, root=root, at=at), BASELINE).require()
        return {
            **result.claims,
            "sgx_qe_id_info": found.qe_identity,
            "sgx_qe_id_issuer_chain": found.qe_identity_issuer_chain,
            "sgx_root_ca_crl": found.root_ca_crl,
            "sgx_tcb_info": found.tcb_info,
            "sgx_tcb_issuer_chain": found.tcb_info_issuer_chain,
        }

    return appraise_evidence


def simulated_collateral(intel: SimulatedIntel) -> Provider:
    """Collateral from the simulated Intel, for quotes that carry their PCK certificate."""

    def provide(quote: Quote, at: int) -> Collateral:
        pck = PCK.parse(load_chain(quote.certification_data, 3)[0].sgx_extension)
        try:
            ca: CA = "processor" if pck.platform_instance_id is None else "platform"
            return intel.collateral(pck.fmspc, ca, at)
        except UsageError as error:
            raise UntrustedChain(f"no collateral: {error}") from None

    return provide
