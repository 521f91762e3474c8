/* Says who it is, on every TEE. See program.toml. */
#include "notary_t.h"

#include <string.h>

#define ROOM 2048

oe_result_t present(const uint8_t* data, uint8_t* report, uint32_t* report_size)
{
    uint8_t* made;
    size_t size, target_size = 0;
    void* target = NULL;
    oe_result_t result = oe_get_report(0, NULL, 0, NULL, 0, &made, &size);

    if (result != OE_OK)
        return result;
    /* Where reports are addressed, any report of ours says how to address one to us. */
    result = oe_get_target_info(made, size, &target, &target_size);
    oe_free_report(made);
    if (result != OE_OK && result != OE_UNSUPPORTED)
        return result;
    result = oe_get_report(0, data, OE_REPORT_DATA_SIZE, target, target_size, &made, &size);
    oe_free_target_info(target);
    if (result != OE_OK)
        return result;
    if (size <= ROOM) {
        memcpy(report, made, size);
        *report_size = (uint32_t)size;
    } else {
        result = OE_BUFFER_TOO_SMALL;
    }
    oe_free_report(made);
    return result;
}

oe_result_t check(const uint8_t* report, size_t size, uint8_t* unique_id, uint8_t* signer_id,
                  uint8_t* data)
{
    oe_report_t parsed;
    oe_result_t result = oe_verify_report(report, size, &parsed);

    if (result != OE_OK)
        return result;
    memcpy(unique_id, parsed.identity.unique_id, OE_UNIQUE_ID_SIZE);
    memcpy(signer_id, parsed.identity.signer_id, OE_SIGNER_ID_SIZE);
    memcpy(data, parsed.report_data, OE_REPORT_DATA_SIZE);
    return OE_OK;
}
