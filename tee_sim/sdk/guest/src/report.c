/* Local attestation: reports to another enclave on the same processor, and the check of one. */
#include "openenclave/enclave.h"
#include "tee/crypto.h"
#include "tee/sgx.h"

#ifndef TEE_TARGET_VBS /* report_vbs.c */

#define VERSION 1
#define LOCAL 1

/* What stands before the processor's report; layout and values are Open Enclave's. */
typedef struct {
    uint32_t version;
    uint32_t type;
    uint64_t size;
    sgx_report_t report;
} envelope_t;

_Static_assert(sizeof(envelope_t) == 448, "no padding");

oe_result_t oe_get_report(uint32_t flags, const uint8_t* report_data, size_t report_data_size,
                          const void* opt_params, size_t opt_params_size, uint8_t** report_buffer,
                          size_t* report_buffer_size)
{
    sgx_target_info_t target = {0};
    uint8_t data[OE_REPORT_DATA_SIZE] = {0};

    if (flags & OE_REPORT_FLAGS_REMOTE_ATTESTATION)
        return OE_UNSUPPORTED;
    if (flags || !report_buffer || !report_buffer_size || report_data_size > sizeof data ||
        (report_data_size && !report_data) ||
        opt_params_size != (opt_params ? sizeof target : 0))
        return OE_INVALID_PARAMETER;
    if (opt_params)
        memcpy(&target, opt_params, sizeof target);
    if (report_data_size)
        memcpy(data, report_data, report_data_size);

    envelope_t* made = oe_malloc(sizeof *made);
    if (!made)
        return OE_OUT_OF_MEMORY;
    *made = (envelope_t){VERSION, LOCAL, sizeof made->report, {{0}}};
    oe_result_t result = tee_ereport(&target, data, &made->report);
    if (result != OE_OK) {
        oe_free(made);
        return result;
    }
    *report_buffer = (uint8_t*)made;
    *report_buffer_size = sizeof *made;
    return OE_OK;
}

void oe_free_report(uint8_t* report_buffer)
{
    oe_free(report_buffer);
}

static oe_result_t open(const uint8_t* report, size_t report_size, const sgx_report_t** found)
{
    const envelope_t* made = (const envelope_t*)report;

    if (!report || report_size != sizeof *made || !oe_is_within_enclave(report, report_size))
        return OE_INVALID_PARAMETER;
    if (made->version != VERSION || made->type != LOCAL || made->size != sizeof made->report)
        return OE_REPORT_PARSE_ERROR;
    *found = &made->report;
    return OE_OK;
}

oe_result_t oe_get_target_info(const uint8_t* report, size_t report_size, void** target_info_buffer,
                               size_t* target_info_size)
{
    const sgx_report_t* found;
    oe_result_t result = open(report, report_size, &found);

    if (result != OE_OK)
        return result;
    if (!target_info_buffer || !target_info_size)
        return OE_INVALID_PARAMETER;
    sgx_target_info_t* info = oe_calloc(1, sizeof *info);
    if (!info)
        return OE_OUT_OF_MEMORY;
    memcpy(info->mrenclave, found->body.mrenclave, sizeof info->mrenclave);
    memcpy(info->config_id, found->body.configid, sizeof info->config_id);
    info->attributes = found->body.attributes;
    info->misc_select = found->body.miscselect;
    info->config_svn = found->body.configsvn;
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
    const sgx_report_t* found;
    oe_result_t result = open(report, report_size, &found);

    if (result != OE_OK)
        return result;
    if (!parsed_report)
        return OE_INVALID_PARAMETER;
    const sgx_report_body_t* body = &found->body;
    *parsed_report = (oe_report_t){
        .size = sizeof *parsed_report,
        .type = OE_ENCLAVE_TYPE_SGX,
        .report_data = (uint8_t*)body->report_data,
        .report_data_size = sizeof body->report_data,
        .enclave_report = (uint8_t*)body,
        .enclave_report_size = sizeof *body,
        .identity.security_version = body->isvsvn,
    };
    oe_identity_t* identity = &parsed_report->identity;
    if (body->attributes.flags & SGX_FLAGS_DEBUG)
        identity->attributes = OE_REPORT_ATTRIBUTES_DEBUG;
    memcpy(identity->unique_id, body->mrenclave, sizeof body->mrenclave);
    memcpy(identity->signer_id, body->mrsigner, sizeof body->mrsigner);
    memcpy(identity->product_id, &body->isvprodid, sizeof body->isvprodid);
    return OE_OK;
}

oe_result_t oe_verify_report(const uint8_t* report, size_t report_size, oe_report_t* parsed_report)
{
    const sgx_report_t* found;
    sgx_key_request_t request = {.key_name = SGX_KEYSELECT_REPORT};
    uint8_t key[16], mac[16];
    oe_result_t result = open(report, report_size, &found);

    if (result != OE_OK)
        return result;
    memcpy(request.key_id, found->keyid, sizeof request.key_id);
    result = tee_egetkey(&request, key);
    if (result != OE_OK)
        return result;
    tee_aes_cmac(key, &found->body, sizeof found->body, mac);
    tee_wipe(key, sizeof key);
    bool genuine = tee_equal(mac, found->mac, sizeof mac);
    tee_wipe(mac, sizeof mac); /* whoever learns it has a forged report */
    if (!genuine)
        return OE_VERIFY_FAILED_AES_CMAC_MISMATCH;
    return parsed_report ? oe_parse_report(report, report_size, parsed_report) : OE_OK;
}

#endif
