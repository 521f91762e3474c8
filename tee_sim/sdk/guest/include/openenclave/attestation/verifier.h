/* Verification of evidence, inside an enclave. Names and arguments are those of the Open Enclave SDK. */
#ifndef OE_ATTESTATION_VERIFIER_H
#define OE_ATTESTATION_VERIFIER_H

#include "openenclave/bits/evidence.h"
#include "openenclave/bits/result.h"

#ifdef __cplusplus
extern "C" {
#endif

/* These two have nothing to do here; there are no plug-ins. */
oe_result_t oe_verifier_initialize(void);
oe_result_t oe_verifier_shutdown(void);

/* What genuine evidence says. Who that has to be, the caller judges by the claims, which he frees. All
 * buffers lie in the enclave.
 *
 * A quote is verified as far as an enclave can by itself: both signatures, the chain of certificates up
 * to the root whose key is part of this image (src/vendor.h), and that it is the vendor's quoting
 * enclave. Dates are checked if the policy OE_POLICY_ENDORSEMENTS_TIME gives the time: an enclave has no
 * clock. Revocation lists and TCB levels are endorsements, which are not supported
 * (OE_UNSUPPORTED): OE_OK says nothing about a platform's updates. Real Open Enclave goes on from there
 * with Intel's quote verification library.
 *
 * `stack_pages = 8` in program.toml. */
oe_result_t oe_verify_evidence(const oe_uuid_t* format_id, const uint8_t* evidence_buffer,
                               size_t evidence_buffer_size, const uint8_t* endorsements_buffer,
                               size_t endorsements_buffer_size, const oe_policy_t* policies,
                               size_t policies_size, oe_claim_t** claims, size_t* claims_length);

oe_result_t oe_free_claims(oe_claim_t* claims, size_t claims_length);

#ifdef __cplusplus
}
#endif

#endif
