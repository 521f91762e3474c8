#include "keeper_t.h"

#include <string.h>

#include "openenclave/seal.h"

static oe_result_t give(oe_result_t result, uint8_t* made, size_t made_size, uint8_t* to, size_t room,
                        size_t* size)
{
    if (result != OE_OK)
        return result;
    if (made_size <= room)
        memcpy(to, made, made_size);
    *size = made_size;
    oe_free(made);
    return made_size <= room ? OE_OK : OE_BUFFER_TOO_SMALL;
}

oe_result_t seal(const uint8_t* data, size_t n, const uint8_t* more, size_t m, uint16_t policy,
                 uint8_t* blob, size_t room, size_t* size)
{
    const oe_seal_setting_t settings[] = {OE_SEAL_SET_POLICY(policy)};
    uint8_t* made;
    size_t made_size;
    oe_result_t result = oe_seal(NULL, settings, policy ? 1 : 0, data, n, more, m, &made, &made_size);

    return give(result, made, made_size, blob, room, size);
}

oe_result_t unseal(const uint8_t* blob, size_t n, const uint8_t* more, size_t m, uint8_t* data,
                   size_t room, size_t* size)
{
    uint8_t* made;
    size_t made_size;
    oe_result_t result = oe_unseal(blob, n, more, m, &made, &made_size);

    return give(result, made, made_size, data, room, size);
}

oe_result_t misuse_seal(int how)
{
    const oe_uuid_t plugin = {{0}};
    const oe_seal_setting_t context[] = {{OE_SEAL_SETTING_ADDITIONAL_CONTEXT, 0, {0}}};
    const oe_seal_setting_t policy[] = {OE_SEAL_SET_POLICY(3)};
    uint8_t data[8] = {0}, *blob;
    size_t size;

    switch (how) {
    case 0:
        return oe_seal(&plugin, NULL, 0, data, 8, NULL, 0, &blob, &size);
    case 1:
        return oe_seal(NULL, context, 1, data, 8, NULL, 0, &blob, &size);
    case 2:
        return oe_seal(NULL, policy, 1, data, 8, NULL, 0, &blob, &size);
    case 3:
        return oe_seal(NULL, NULL, 1, data, 8, NULL, 0, &blob, &size);
    case 4:
        return oe_seal(NULL, NULL, 0, NULL, 8, NULL, 0, &blob, &size);
    case 5:
        return oe_seal(NULL, NULL, 0, data, 8, NULL, 8, &blob, &size);
    case 6:
        return oe_seal(NULL, NULL, 0, data, 8, NULL, 0, NULL, &size);
    case 7:
        return oe_seal(NULL, NULL, 0, data, 8, NULL, 0, &blob, NULL);
    case 8:
        return oe_seal(NULL, NULL, 0, data, (size_t)-8, NULL, 0, &blob, &size);
    case 9:
        return oe_seal(NULL, NULL, 0, data, 8, data, (size_t)-8, &blob, &size);
    default:
        return oe_seal(NULL, NULL, 0, data, 1 << 20, NULL, 0, &blob, &size);
    }
}

oe_result_t misuse_unseal(int how, uint64_t outside)
{
    uint8_t blob[100] = {OE_SEAL_POLICY_UNIQUE}, *data;
    size_t size;

    switch (how) {
    case 0:
        return oe_unseal(NULL, 100, NULL, 0, &data, &size);
    case 1:
        return oe_unseal(blob, 83, NULL, 0, &data, &size);
    case 2:
        return oe_unseal((uint8_t*)outside, 100, NULL, 0, &data, &size);
    case 3:
        return oe_unseal(blob, 100, NULL, 1, &data, &size);
    case 4:
        return oe_unseal(blob, 100, NULL, 0, NULL, &size);
    case 5:
        return oe_unseal(blob, 100, NULL, 0, &data, NULL);
    default:
        return oe_unseal(blob, (size_t)-1, NULL, 0, &data, &size);
    }
}

oe_result_t misuse_report(int how, uint64_t outside)
{
    uint8_t data[OE_REPORT_DATA_SIZE] = {0}, *report;
    oe_report_t parsed;
    size_t size;
    void* info;

    switch (how) {
    case 0:
        return oe_get_report(OE_REPORT_FLAGS_REMOTE_ATTESTATION, data, 64, NULL, 0, &report, &size);
    case 1:
        return oe_get_report(2, data, 64, NULL, 0, &report, &size);
    case 2:
        return oe_get_report(0, data, 65, NULL, 0, &report, &size);
    case 3:
        return oe_get_report(0, NULL, 64, NULL, 0, &report, &size);
    case 4:
        return oe_get_report(0, data, 64, data, 64, &report, &size);
    case 5:
        return oe_get_report(0, data, 64, NULL, 512, &report, &size);
    case 6:
        return oe_get_report(0, data, 64, NULL, 0, NULL, &size);
    case 7:
        return oe_get_report(0, data, 64, NULL, 0, &report, NULL);
    case 8:
        return oe_verify_report((uint8_t*)outside, 448, NULL);
    case 9:
        return oe_verify_report(NULL, 448, NULL);
    default:
        break;
    }
    oe_result_t result = oe_get_report(0, data, 64, NULL, 0, &report, &size);
    if (result != OE_OK)
        return result;
    switch (how) {
    case 10:
        result = oe_parse_report(report, size - 1, &parsed);
        break;
    case 11:
        result = oe_parse_report(report, size, NULL);
        break;
    case 12:
        report[0] = 2;
        result = oe_parse_report(report, size, &parsed);
        break;
    case 13:
        report[4] = 2;
        result = oe_verify_report(report, size, NULL);
        break;
    case 14:
        result = oe_get_target_info(report, size, NULL, &size);
        break;
    case 15:
        result = oe_get_target_info(report, size, &info, NULL);
        break;
    case 16: /* for nobody: not even for this enclave */
        result = oe_verify_report(report, size, NULL);
        break;
    default:
        result = oe_parse_report(report, size, &parsed);
        if (result == OE_OK && (parsed.size != sizeof parsed || parsed.report_data_size != 64 ||
                                parsed.identity.attributes != OE_REPORT_ATTRIBUTES_DEBUG))
            result = OE_UNEXPECTED;
    }
    oe_free_report(report);
    return result;
}

/* Bytes that can be had in blocks of 64. */
uint64_t free_memory(void)
{
    void *first = NULL, *block;
    uint64_t total = 0;

    while ((block = oe_malloc(64))) {
        *(void**)block = first;
        first = block;
        total += 64;
    }
    while (first) {
        block = first;
        first = *(void**)block;
        oe_free(block);
    }
    return total;
}
