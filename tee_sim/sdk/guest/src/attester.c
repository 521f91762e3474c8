/* oe_get_evidence: the portable part. What a target proves comes from its proof_<target>.c. */
#include "openenclave/attestation/attester.h"
#include "openenclave/enclave.h"
#include "tee/attestation.h"
#include "tee/sha256.h"

#include <string.h>

oe_result_t oe_attester_initialize(void)
{
    return OE_OK;
}

oe_result_t oe_attester_shutdown(void)
{
    return OE_OK;
}

oe_result_t oe_attester_select_format(const oe_uuid_t* format_ids, size_t format_ids_length,
                                      oe_uuid_t* selected_format_id)
{
    if (!format_ids || !format_ids_length || !selected_format_id)
        return OE_INVALID_PARAMETER;
    for (size_t i = 0; i < format_ids_length; i++)
        if (tee_proof_exists(&format_ids[i])) {
            *selected_format_id = format_ids[i];
            return OE_OK;
        }
    return OE_NOT_FOUND;
}

oe_result_t oe_get_evidence(const oe_uuid_t* format_id, uint32_t flags,
                            const void* custom_claims_buffer, size_t custom_claims_buffer_size,
                            const void* optional_parameters, size_t optional_parameters_size,
                            uint8_t** evidence_buffer, size_t* evidence_buffer_size,
                            uint8_t** endorsements_buffer, size_t* endorsements_buffer_size)
{
    const bool wrapped = flags & OE_EVIDENCE_FLAGS_EMBED_FORMAT_ID;
    const size_t head = wrapped ? sizeof(tee_evidence_header_t) : 0;
    uint8_t data[64] = {0}, *proof;
    size_t proof_size, size;

    if (!format_id || flags & ~OE_EVIDENCE_FLAGS_EMBED_FORMAT_ID || !evidence_buffer ||
        !evidence_buffer_size || (custom_claims_buffer_size && !custom_claims_buffer) ||
        (optional_parameters_size && !optional_parameters))
        return OE_INVALID_PARAMETER;
    if (endorsements_buffer || endorsements_buffer_size)
        return OE_UNSUPPORTED;
    if (!tee_proof_exists(format_id))
        return OE_NOT_FOUND;
    tee_sha256(custom_claims_buffer, custom_claims_buffer_size, data);
    oe_result_t result = tee_proof_make(format_id, data, optional_parameters,
                                        optional_parameters_size, &proof, &proof_size);
    if (result != OE_OK)
        return result;
    uint8_t* made = NULL;
    if (!__builtin_add_overflow(head + proof_size, custom_claims_buffer_size, &size))
        made = oe_malloc(size);
    if (made) {
        if (wrapped)
            *(tee_evidence_header_t*)made = (tee_evidence_header_t){
                .version = TEE_EVIDENCE_VERSION, .format_id = *format_id, .data_size = size - head};
        memcpy(made + head, proof, proof_size);
        if (custom_claims_buffer_size)
            memcpy(made + head + proof_size, custom_claims_buffer, custom_claims_buffer_size);
        *evidence_buffer = made;
        *evidence_buffer_size = size;
    }
    oe_free(proof);
    return made ? OE_OK : OE_OUT_OF_MEMORY;
}

oe_result_t oe_free_evidence(uint8_t* evidence_buffer)
{
    oe_free(evidence_buffer);
    return OE_OK;
}

oe_result_t oe_free_endorsements(uint8_t* endorsements_buffer)
{
    oe_free(endorsements_buffer);
    return OE_OK;
}
