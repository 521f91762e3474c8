/* Open Enclave's older interface: reports to another enclave on the same processor, quotes for anybody,
 * and the check of both. */
#include "openenclave/attestation/sgx/evidence.h"
#include "openenclave/enclave.h"
#include "tee/attestation.h"
#include "tee/crypto.h"
#include "tee/sgx.h"

#ifndef TEE_TARGET_VBS /* report_vbs.c */

#define VERSION 1

enum { LOCAL = 1, REMOTE = 2 };

/* What stands before the report or quote; layout and values are Open Enclave's. */
typedef struct {
    uint32_t version;
    uint32_t type;
    uint64_t size;
    uint8_t data[];
} envelope_t;

_Static_assert(sizeof(envelope_t) == 16, "no padding");

static const oe_uuid_t formats[] = {
    [LOCAL] = OE_FORMAT_UUID_SGX_LOCAL_ATTESTATION, [REMOTE] = OE_FORMAT_UUID_SGX_ECDSA};

oe_result_t oe_get_report(uint32_t flags, const uint8_t* report_data, size_t report_data_size,
                          const void* opt_params, size_t opt_params_size, uint8_t** report_buffer,
                          size_t* report_buffer_size)
{
    const uint32_t type = flags & OE_REPORT_FLAGS_REMOTE_ATTESTATION ? REMOTE : LOCAL;
    uint8_t data[OE_REPORT_DATA_SIZE] = {0}, *proof;
    size_t size;

    if (flags & ~OE_REPORT_FLAGS_REMOTE_ATTESTATION || !report_buffer || !report_buffer_size ||
        report_data_size > sizeof data || (report_data_size && !report_data) ||
        (opt_params_size && !opt_params))
        return OE_INVALID_PARAMETER;
    if (report_data_size)
        memcpy(data, report_data, report_data_size);
    oe_result_t result =
        tee_proof_make(&formats[type], data, opt_params, opt_params_size, &proof, &size);
    if (result != OE_OK)
        return result;
    envelope_t* made = oe_malloc(sizeof *made + size);
    if (made) {
        *made = (envelope_t){VERSION, type, size};
        memcpy(made->data, proof, size);
        *report_buffer = (uint8_t*)made;
        *report_buffer_size = sizeof *made + size;
    }
    oe_free(proof);
    return made ? OE_OK : OE_OUT_OF_MEMORY;
}

void oe_free_report(uint8_t* report_buffer)
{
    oe_free(report_buffer);
}

void tee_target_of(const sgx_report_body_t* who, sgx_target_info_t* target)
{
    *target = (sgx_target_info_t){
        .attributes = who->attributes,
        .config_svn = who->configsvn,
        .misc_select = who->miscselect,
    };
    memcpy(target->mrenclave, who->mrenclave, sizeof target->mrenclave);
    memcpy(target->config_id, who->configid, sizeof target->config_id);
}

void tee_report_parse(const sgx_report_body_t* body, uint64_t attributes, oe_report_t* parsed)
{
    *parsed = (oe_report_t){
        .size = sizeof *parsed,
        .type = OE_ENCLAVE_TYPE_SGX,
        .report_data = (uint8_t*)body->report_data,
        .report_data_size = sizeof body->report_data,
        .enclave_report = (uint8_t*)body,
        .enclave_report_size = sizeof *body,
        .identity.security_version = body->isvsvn,
        .identity.attributes = attributes,
    };
    oe_identity_t* identity = &parsed->identity;
    if (body->attributes.flags & SGX_FLAGS_DEBUG)
        identity->attributes |= OE_REPORT_ATTRIBUTES_DEBUG;
    memcpy(identity->unique_id, body->mrenclave, sizeof body->mrenclave);
    memcpy(identity->signer_id, body->mrsigner, sizeof body->mrsigner);
    memcpy(identity->product_id, &body->isvprodid, sizeof body->isvprodid);
}

oe_result_t tee_report_verify(const sgx_report_t* report)
{
    sgx_key_request_t request = {.key_name = SGX_KEYSELECT_REPORT};
    uint8_t key[16], mac[16];

    memcpy(request.key_id, report->keyid, sizeof request.key_id);
    oe_result_t result = tee_egetkey(&request, key);
    if (result != OE_OK)
        return result;
    tee_aes_cmac(key, &report->body, sizeof report->body, mac);
    tee_wipe(key, sizeof key);
    bool genuine = tee_equal(mac, report->mac, sizeof mac);
    tee_wipe(mac, sizeof mac); /* whoever learns it has a forged report */
    return genuine ? OE_OK : OE_VERIFY_FAILED_AES_CMAC_MISMATCH;
}

static oe_result_t open(const uint8_t* report, size_t report_size, const envelope_t** found)
{
    const envelope_t* made = (const envelope_t*)report;
    size_t size;

    if (!report || report_size < sizeof *made || !oe_is_within_enclave(report, report_size))
        return OE_INVALID_PARAMETER;
    if (made->version != VERSION || made->type < LOCAL || made->type > REMOTE ||
        made->size != report_size - sizeof *made ||
        tee_proof_size(&formats[made->type], made->data, made->size, &size) != OE_OK ||
        size != made->size)
        return OE_REPORT_PARSE_ERROR;
    *found = made;
    return OE_OK;
}

static const sgx_report_body_t* body_of(const envelope_t* made)
{
    if (made->type == LOCAL)
        return &((const sgx_report_t*)made->data)->body;
    return &((const sgx_quote_t*)made->data)->body;
}

oe_result_t oe_get_target_info(const uint8_t* report, size_t report_size, void** target_info_buffer,
                               size_t* target_info_size)
{
    const envelope_t* found;
    oe_result_t result = open(report, report_size, &found);

    if (result != OE_OK)
        return result;
    if (!target_info_buffer || !target_info_size)
        return OE_INVALID_PARAMETER;
    sgx_target_info_t* info = oe_malloc(sizeof *info);
    if (!info)
        return OE_OUT_OF_MEMORY;
    tee_target_of(body_of(found), info);
    *target_info_buffer = info;
    *target_info_size = sizeof *info;
    return OE_OK;
}

void oe_free_target_info(void* target_info)
{
    oe_free(target_info);
}

oe_result_t oe_parse_report(const uint8_t* report, size_t report_size, oe_report_t* parsed_report)
{
    const envelope_t* found;
    oe_result_t result = open(report, report_size, &found);

    if (result != OE_OK)
        return result;
    if (!parsed_report)
        return OE_INVALID_PARAMETER;
    tee_report_parse(body_of(found),
                     found->type == REMOTE ? OE_REPORT_ATTRIBUTES_REMOTE : 0, parsed_report);
    return OE_OK;
}

oe_result_t oe_verify_report(const uint8_t* report, size_t report_size, oe_report_t* parsed_report)
{
    const envelope_t* found;
    oe_report_t said;
    oe_result_t result = open(report, report_size, &found);

    if (result == OE_OK)
        result = tee_proof_verify(&formats[found->type], found->data, found->size, NULL, &said);
    if (result == OE_OK && parsed_report)
        *parsed_report = said;
    return result;
}

#endif
