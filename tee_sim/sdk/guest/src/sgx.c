/* EREPORT and EGETKEY for C: what the processor asks of its operands is arranged here. */
#include "tee/sgx.h"

#include "tee/crypto.h"

enum { EREPORT = 0, EGETKEY = 1 };
enum { INVALID_ATTRIBUTE = 2, INVALID_CPUSVN = 32, INVALID_ISVSVN = 64, INVALID_KEYNAME = 256 };

static uint64_t enclu(uint64_t leaf, const void* rbx, const void* rcx, void* rdx)
{
    __asm__ volatile(".byte 0x0f, 0x01, 0xd7"
                     : "+a"(leaf)
                     : "b"(rbx), "c"(rcx), "d"(rdx)
                     : "memory", "cc");
    return leaf;
}

oe_result_t tee_ereport(const sgx_target_info_t* target, const uint8_t* data, sgx_report_t* report)
{
    /* Without what is reserved: the host often chooses the target, and EREPORT would fault. */
    _Alignas(512) sgx_target_info_t aligned_target = {
        .attributes = target->attributes,
        .config_svn = target->config_svn,
        .misc_select = target->misc_select,
    };
    _Alignas(512) sgx_report_t aligned_report;
    _Alignas(128) uint8_t aligned_data[64];

    if (!TEE_HAS_SGX)
        return OE_UNSUPPORTED;
    memcpy(aligned_target.mrenclave, target->mrenclave, sizeof target->mrenclave);
    memcpy(aligned_target.config_id, target->config_id, sizeof target->config_id);
    memcpy(aligned_data, data, sizeof aligned_data);
    enclu(EREPORT, &aligned_target, aligned_data, &aligned_report);
    *report = aligned_report;
    return OE_OK;
}

oe_result_t tee_egetkey(const sgx_key_request_t* request, uint8_t key[16])
{
    _Alignas(512) sgx_key_request_t aligned_request = *request;
    _Alignas(16) uint8_t aligned_key[16] = {0};

    if (!TEE_HAS_SGX)
        return OE_UNSUPPORTED;
    uint64_t status = enclu(EGETKEY, &aligned_request, aligned_key, NULL);
    memcpy(key, aligned_key, sizeof aligned_key);
    tee_wipe(aligned_key, sizeof aligned_key);
    switch (status) {
    case 0:
        return OE_OK;
    case INVALID_ATTRIBUTE:
        return OE_INVALID_PARAMETER;
    case INVALID_CPUSVN:
        return OE_INVALID_CPUSVN;
    case INVALID_ISVSVN:
        return OE_INVALID_ISVSVN;
    case INVALID_KEYNAME:
        return OE_INVALID_KEYNAME;
    default:
        return OE_UNEXPECTED;
    }
}
