/* Open Enclave's older interface to reports, on VBS: an envelope around the proof of proof_vbs.c. */
#ifdef TEE_TARGET_VBS
#include "openenclave/attestation/vbs/evidence.h"
#include "openenclave/enclave.h"
#include "tee/attestation.h"
#include "tee/vbs.h"

#include <string.h>

#define VERSION 1
#define REMOTE 2 /* also where a local report is asked for: it is the same one */

typedef struct {
    uint32_t version;
    uint32_t type;
    uint64_t size;
    uint8_t data[];
} envelope_t;

static const oe_uuid_t vbs = OE_FORMAT_UUID_VBS;

oe_result_t oe_get_report(uint32_t flags, const uint8_t* report_data, size_t report_data_size,
                          const void* opt_params, size_t opt_params_size, uint8_t** report_buffer,
                          size_t* report_buffer_size)
{
    uint8_t data[OE_REPORT_DATA_SIZE] = {0}, *proof;
    size_t size;

    if ((flags & ~OE_REPORT_FLAGS_REMOTE_ATTESTATION) || !report_buffer || !report_buffer_size ||
        report_data_size > sizeof data || (report_data_size && !report_data))
        return OE_INVALID_PARAMETER;
    if (report_data_size)
        memcpy(data, report_data, report_data_size);
    oe_result_t result = tee_proof_make(&vbs, data, opt_params, opt_params_size, &proof, &size);
    if (result != OE_OK)
        return result;
    envelope_t* made = oe_malloc(sizeof *made + size);
    if (made) {
        *made = (envelope_t){VERSION, REMOTE, size};
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

static oe_result_t look_at(const uint8_t* report, size_t size, const envelope_t** found)
{
    const envelope_t* made = (const envelope_t*)report;
    size_t proof_size;

    if (!report || size < sizeof *made || !oe_is_within_enclave(report, size))
        return OE_INVALID_PARAMETER;
    if (made->version != VERSION || made->type != REMOTE || made->size != size - sizeof *made ||
        tee_proof_size(&vbs, made->data, made->size, &proof_size) != OE_OK ||
        proof_size != made->size)
        return OE_REPORT_PARSE_ERROR;
    *found = made;
    return OE_OK;
}

/* A report that is signed is for everybody: there is nobody to address it to. */
oe_result_t oe_get_target_info(const uint8_t* report, size_t report_size, void** target_info_buffer,
                               size_t* target_info_size)
{
    (void)report, (void)report_size, (void)target_info_buffer, (void)target_info_size;
    return OE_UNSUPPORTED;
}

void oe_free_target_info(void* target_info)
{
    oe_free(target_info);
}

oe_result_t oe_parse_report(const uint8_t* report, size_t report_size, oe_report_t* parsed_report)
{
    const envelope_t* found;
    oe_result_t result = look_at(report, report_size, &found);

    if (result == OE_OK && !parsed_report)
        result = OE_INVALID_PARAMETER;
    if (result == OE_OK)
        tee_vbs_parse(found->data, found->size, parsed_report);
    return result;
}

oe_result_t oe_verify_report(const uint8_t* report, size_t report_size, oe_report_t* parsed_report)
{
    const envelope_t* found;
    oe_report_t said;
    oe_result_t result = look_at(report, report_size, &found);

    if (result == OE_OK)
        result = tee_proof_verify(&vbs, found->data, found->size, NULL, &said);
    if (result == OE_OK && parsed_report)
        *parsed_report = said;
    return result;
}
#endif
