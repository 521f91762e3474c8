/* Makes reports for other enclaves, and checks those of others. See program.toml. */
#include "reporter_t.h"

#include <string.h>

#define TARGET_SIZE 512
#define REPORT_SIZE 448

oe_result_t my_target(uint8_t* target)
{
    uint8_t* report;
    size_t report_size, size;
    void* info;

    /* How to be addressed is part of what any report of ours says. */
    oe_result_t result = oe_get_report(0, NULL, 0, NULL, 0, &report, &report_size);
    if (result != OE_OK)
        return result;
    result = oe_get_target_info(report, report_size, &info, &size);
    oe_free_report(report);
    if (result != OE_OK)
        return result;
    memcpy(target, info, TARGET_SIZE);
    oe_free_target_info(info);
    return OE_OK;
}

oe_result_t report_to(const uint8_t* target, const uint8_t* data, uint8_t* report)
{
    uint8_t* made;
    size_t size;
    oe_result_t result =
        oe_get_report(0, data, OE_REPORT_DATA_SIZE, target, TARGET_SIZE, &made, &size);

    if (result != OE_OK)
        return result;
    memcpy(report, made, REPORT_SIZE);
    oe_free_report(made);
    return OE_OK;
}

oe_result_t check(const uint8_t* report, uint8_t* unique_id, uint8_t* signer_id, uint8_t* data)
{
    oe_report_t parsed;
    oe_result_t result = oe_verify_report(report, REPORT_SIZE, &parsed);

    if (result != OE_OK)
        return result;
    memcpy(unique_id, parsed.identity.unique_id, OE_UNIQUE_ID_SIZE);
    memcpy(signer_id, parsed.identity.signer_id, OE_SIGNER_ID_SIZE);
    memcpy(data, parsed.report_data, OE_REPORT_DATA_SIZE);
    return OE_OK;
}
