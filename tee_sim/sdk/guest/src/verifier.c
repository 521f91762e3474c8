/* oe_verify_evidence: the portable part. */
#include "openenclave/attestation/verifier.h"
#include "openenclave/enclave.h"
#include "tee/attestation.h"
#include "tee/sha256.h"

#include <string.h>

oe_result_t oe_verifier_initialize(void)
{
    return OE_OK;
}

oe_result_t oe_verifier_shutdown(void)
{
    return OE_OK;
}

/* One allocation holds the claims and, behind them, their names and values. */
static oe_result_t make_claims(const oe_uuid_t* format, const oe_report_t* said,
                               const uint8_t* custom, size_t custom_size, oe_claim_t** claims,
                               size_t* claims_length)
{
    const oe_identity_t* who = &said->identity;
    const struct {
        const char* name;
        const void* value;
        size_t size;
    } rows[] = {
        {OE_CLAIM_ID_VERSION, &who->id_version, sizeof who->id_version},
        {OE_CLAIM_SECURITY_VERSION, &who->security_version, sizeof who->security_version},
        {OE_CLAIM_ATTRIBUTES, &who->attributes, sizeof who->attributes},
        {OE_CLAIM_UNIQUE_ID, who->unique_id, sizeof who->unique_id},
        {OE_CLAIM_SIGNER_ID, who->signer_id, sizeof who->signer_id},
        {OE_CLAIM_PRODUCT_ID, who->product_id, sizeof who->product_id},
        {OE_CLAIM_FORMAT_UUID, format, sizeof *format},
        {OE_CLAIM_CUSTOM_CLAIMS_BUFFER, custom, custom_size},
    };
    const size_t count = OE_REQUIRED_CLAIMS_COUNT + (custom_size > 0);
    size_t size = count * sizeof **claims;

    for (size_t i = 0; i < count; i++)
        if (__builtin_add_overflow(size, rows[i].size + strlen(rows[i].name) + 1, &size))
            return OE_OUT_OF_MEMORY;
    oe_claim_t* made = oe_malloc(size);
    if (!made)
        return OE_OUT_OF_MEMORY;
    uint8_t* at = (uint8_t*)(made + count);
    for (size_t i = 0; i < count; i++) {
        const size_t name_size = strlen(rows[i].name) + 1;
        made[i] = (oe_claim_t){memcpy(at + rows[i].size, rows[i].name, name_size),
                               memcpy(at, rows[i].value, rows[i].size), rows[i].size};
        at += rows[i].size + name_size;
    }
    *claims = made;
    *claims_length = count;
    return OE_OK;
}

/* The time of the policy as YYYYMMDDHHMMSS; no policy, no time. */
static oe_result_t time_of(const oe_policy_t* policies, size_t count, char at[15], bool* given)
{
    *given = false;
    if (count && !policies)
        return OE_INVALID_PARAMETER;
    for (size_t i = 0; i < count; i++) {
        const oe_datetime_t* time = policies[i].policy;
        if (policies[i].type != OE_POLICY_ENDORSEMENTS_TIME || !time ||
            policies[i].policy_size != sizeof *time)
            return OE_INVALID_PARAMETER;
        const uint32_t parts[] = {time->year / 100, time->year % 100, time->month,  time->day,
                                  time->hours,      time->minutes,    time->seconds};
        for (size_t part = 0; part < sizeof parts / sizeof *parts; part++) {
            if (parts[part] > 99)
                return OE_INVALID_UTC_DATE_TIME;
            at[2 * part] = (char)('0' + parts[part] / 10);
            at[2 * part + 1] = (char)('0' + parts[part] % 10);
        }
        at[14] = '\0';
        *given = true;
    }
    return OE_OK;
}

oe_result_t oe_verify_evidence(const oe_uuid_t* format_id, const uint8_t* evidence_buffer,
                               size_t evidence_buffer_size, const uint8_t* endorsements_buffer,
                               size_t endorsements_buffer_size, const oe_policy_t* policies,
                               size_t policies_size, oe_claim_t** claims, size_t* claims_length)
{
    const uint8_t* proof = evidence_buffer;
    size_t size = evidence_buffer_size, proof_size;
    oe_report_t said;
    uint8_t hash[32];
    char at[15];
    bool dated;

    /* Evidence outside could change between its verification and its use. */
    if (!evidence_buffer || !oe_is_within_enclave(evidence_buffer, evidence_buffer_size) ||
        !claims != !claims_length)
        return OE_INVALID_PARAMETER;
    if (endorsements_buffer || endorsements_buffer_size)
        return OE_UNSUPPORTED;
    if (!format_id) {
        const tee_evidence_header_t* header = (const tee_evidence_header_t*)evidence_buffer;
        if (size < sizeof *header || header->version != TEE_EVIDENCE_VERSION ||
            header->data_size != size - sizeof *header)
            return OE_INVALID_PARAMETER;
        format_id = &header->format_id;
        proof = header->data;
        size -= sizeof *header;
    }
    oe_result_t result = time_of(policies, policies_size, at, &dated);
    if (result == OE_OK)
        result = tee_proof_size(format_id, proof, size, &proof_size);
    if (result == OE_OK)
        result = tee_proof_verify(format_id, proof, proof_size, dated ? at : NULL, &said);
    if (result != OE_OK)
        return result;
    const uint8_t* custom = proof + proof_size;
    tee_sha256(custom, size - proof_size, hash);
    if (said.report_data_size < sizeof hash || memcmp(hash, said.report_data, sizeof hash))
        return OE_QUOTE_HASH_MISMATCH;
    if (!claims)
        return OE_OK;
    return make_claims(format_id, &said, custom, size - proof_size, claims, claims_length);
}

oe_result_t oe_free_claims(oe_claim_t* claims, size_t claims_length)
{
    (void)claims_length;
    oe_free(claims);
    return OE_OK;
}
