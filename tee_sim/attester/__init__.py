"""The Attester's side of remote attestation: what runs on the platform, beside the enclaves."""

from tee_sim.attester.aesm import QuotingService
from tee_sim.attester.evidence import evidence_of, published
from tee_sim.attester.manufacturing import manufacture

__all__ = ["QuotingService", "evidence_of", "manufacture", "published"]
