/* Evidence about this enclave. Names and arguments are those of the Open Enclave SDK. */
#ifndef OE_ATTESTATION_ATTESTER_H
#define OE_ATTESTATION_ATTESTER_H

#include "openenclave/bits/evidence.h"
#include "openenclave/bits/result.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Put a header in front that says which format follows. */
#define OE_EVIDENCE_FLAGS_EMBED_FORMAT_ID 0x00000001

/* These two have nothing to do here; there are no plug-ins. */
oe_result_t oe_attester_initialize(void);
oe_result_t oe_attester_shutdown(void);

/* The first of the formats that this platform has. OE_NOT_FOUND: none of them. */
oe_result_t oe_attester_select_format(const oe_uuid_t* format_ids, size_t format_ids_length,
                                      oe_uuid_t* selected_format_id);

/* Evidence in a format of this platform. The SHA-256 of the custom claims is what the processor signs;
 * the claims themselves follow it in the evidence. The caller frees `*evidence_buffer`.
 * Optional parameters: for local attestation the target info of who is to verify.
 * OE_NOT_FOUND: this platform has not that format. OE_SERVICE_UNAVAILABLE: its host has no quoting
 * service. Endorsements are not available here (OE_UNSUPPORTED): a verifier has its own. */
oe_result_t oe_get_evidence(const oe_uuid_t* format_id, uint32_t flags,
                            const void* custom_claims_buffer, size_t custom_claims_buffer_size,
                            const void* optional_parameters, size_t optional_parameters_size,
                            uint8_t** evidence_buffer, size_t* evidence_buffer_size,
                            uint8_t** endorsements_buffer, size_t* endorsements_buffer_size);

oe_result_t oe_free_evidence(uint8_t* evidence_buffer);
oe_result_t oe_free_endorsements(uint8_t* endorsements_buffer);

#ifdef __cplusplus
}
#endif

#endif
