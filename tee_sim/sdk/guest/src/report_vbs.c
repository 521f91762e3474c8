/* Reports of a VBS enclave: the secure kernel signs them, so one report is good for everybody, here and
 * elsewhere. Whether this secure kernel is to be believed, only the measured boot says. */
#include "openenclave/enclave.h"
#include "tee/vbs.h"

#include <string.h>

#ifdef TEE_TARGET_VBS

#define VERSION 1
#define LOCAL 1
#define REMOTE 2
#define ROOM 4096 /* for a report; one with a single module has a tenth of that */

/* What stands before the report, as on SGX; then the parts of it that are read here. */
typedef struct {
    uint32_t version;
    uint32_t type;
    uint64_t size;
    uint32_t header[6];      /* VBS_ENCLAVE_REPORT_PKG_HEADER */
    uint32_t report_size;    /* VBS_ENCLAVE_REPORT */
    uint32_t report_version;
    uint8_t data[OE_REPORT_DATA_SIZE];
    tee_vbs_identity_t identity;
} envelope_t;

#define HEAD offsetof(envelope_t, header)

_Static_assert(HEAD == 16 && sizeof(envelope_t) == 16 + 24 + 224, "no padding");

oe_result_t oe_get_report(uint32_t flags, const uint8_t* report_data, size_t report_data_size,
                          const void* opt_params, size_t opt_params_size, uint8_t** report_buffer,
                          size_t* report_buffer_size)
{
    uint8_t data[OE_REPORT_DATA_SIZE] = {0};
    uint64_t size = 0;

    if ((flags & ~OE_REPORT_FLAGS_REMOTE_ATTESTATION) || !report_buffer || !report_buffer_size ||
        report_data_size > sizeof data || (report_data_size && !report_data) || opt_params ||
        opt_params_size)
        return OE_INVALID_PARAMETER;
    if (report_data_size)
        memcpy(data, report_data, report_data_size);
    uint8_t* made = oe_malloc(HEAD + ROOM);
    if (!made)
        return OE_OUT_OF_MEMORY;
    oe_result_t result = tee_vbs(VBS_GET_ATTESTATION_REPORT, (uint64_t)data,
                                 (uint64_t)(made + HEAD), ROOM, (uint64_t)&size);
    if (result != OE_OK) {
        oe_free(made);
        return result;
    }
    envelope_t* envelope = (envelope_t*)made;
    envelope->version = VERSION;
    envelope->type = flags ? REMOTE : LOCAL;
    envelope->size = size;
    *report_buffer = made;
    *report_buffer_size = HEAD + size;
    return OE_OK;
}

void oe_free_report(uint8_t* report_buffer)
{
    oe_free(report_buffer);
}

static oe_result_t look_at(const uint8_t* report, size_t size, const envelope_t** found)
{
    const envelope_t* envelope = (const envelope_t*)report;

    if (!report || size < sizeof *envelope || !oe_is_within_enclave(report, size))
        return OE_INVALID_PARAMETER;
    if (envelope->version != VERSION || (envelope->type != LOCAL && envelope->type != REMOTE) ||
        envelope->size != size - HEAD)
        return OE_REPORT_PARSE_ERROR;
    *found = envelope;
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

    if (result != OE_OK)
        return result;
    if (!parsed_report)
        return OE_INVALID_PARAMETER;
    const tee_vbs_identity_t* who = &found->identity;
    *parsed_report = (oe_report_t){
        .size = sizeof *parsed_report,
        .type = OE_ENCLAVE_TYPE_VBS,
        .report_data = (uint8_t*)found->data,
        .report_data_size = sizeof found->data,
        .enclave_report = (uint8_t*)found->header,
        .enclave_report_size = report_size - HEAD,
        .identity.security_version = who->enclave_svn,
    };
    oe_identity_t* identity = &parsed_report->identity;
    if (found->type == REMOTE)
        identity->attributes |= OE_REPORT_ATTRIBUTES_REMOTE;
    if (who->flags & VBS_ENCLAVE_FLAG_FULL_DEBUG_ENABLED)
        identity->attributes |= OE_REPORT_ATTRIBUTES_DEBUG;
    memcpy(identity->unique_id, who->unique_id, sizeof who->unique_id);
    memcpy(identity->signer_id, who->author_id, sizeof who->author_id);
    memcpy(identity->product_id, who->image_id, sizeof who->image_id);
    return OE_OK;
}

oe_result_t oe_verify_report(const uint8_t* report, size_t report_size, oe_report_t* parsed_report)
{
    const envelope_t* found;
    oe_result_t result = look_at(report, report_size, &found);

    if (result != OE_OK)
        return result;
    result = tee_vbs(VBS_VERIFY_ATTESTATION_REPORT, (uint64_t)found->header, report_size - HEAD, 0, 0);
    if (result != OE_OK)
        return result == OE_CRYPTO_ERROR ? OE_VERIFY_FAILED : result;
    return parsed_report ? oe_parse_report(report, report_size, parsed_report) : OE_OK;
}

#endif
