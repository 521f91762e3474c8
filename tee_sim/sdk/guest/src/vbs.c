/* Calls to the secure kernel, and memory outside: a VBS enclave has it read and written by the secure
 * kernel, which works also where the enclave itself may not touch it. */
#include "tee/vbs.h"

#include "tee/runtime.h"

#include <string.h>

/* winerror.h */
enum {
    ERROR_SUCCESS = 0,
    ERROR_ACCESS_DENIED = 5,
    ERROR_INVALID_PARAMETER = 87,
    ERROR_INVALID_ADDRESS = 487,
    ERROR_REVISION_MISMATCH = 1306,
    ERROR_DECRYPTION_FAILED = 6001,
};

oe_result_t tee_vbs(uint64_t call, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
#ifdef TEE_TARGET_VBS
    register uint64_t r10 __asm__("r10") = d;

    __asm__ volatile("syscall" : "+a"(call) : "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    switch (call) {
    case ERROR_SUCCESS:
        return OE_OK;
    case ERROR_INVALID_PARAMETER:
    case ERROR_INVALID_ADDRESS:
        return OE_INVALID_PARAMETER;
    case ERROR_ACCESS_DENIED:
    case ERROR_DECRYPTION_FAILED:
        return OE_CRYPTO_ERROR;
    case ERROR_REVISION_MISMATCH:
        return OE_INVALID_ISVSVN;
    default:
        return OE_UNEXPECTED;
    }
#else
    (void)call, (void)a, (void)b, (void)c, (void)d;
    return OE_UNSUPPORTED;
#endif
}

oe_result_t tee_restrict_containing_process_access(bool restrict_access, uint32_t* previous)
{
    uint32_t before;
    oe_result_t result = tee_vbs(VBS_RESTRICT_CONTAINING_PROCESS_ACCESS, restrict_access,
                                 (uint64_t)&before, 0, 0);

    if (result == OE_OK && previous)
        *previous = before;
    return result;
}

oe_result_t tee_read_outside(void* inside, uint64_t outside, size_t size)
{
    if (TEE_HAS_VBS)
        return size ? tee_vbs(VBS_COPY_INTO_ENCLAVE, (uint64_t)inside, outside, size, 0) : OE_OK;
    memcpy(inside, (const void*)outside, size);
    return OE_OK;
}

oe_result_t tee_write_outside(uint64_t outside, const void* inside, size_t size)
{
    if (TEE_HAS_VBS)
        return size ? tee_vbs(VBS_COPY_OUT_OF_ENCLAVE, outside, (uint64_t)inside, size, 0) : OE_OK;
    memcpy((void*)outside, inside, size);
    return OE_OK;
}

oe_result_t tee_clear_outside(uint64_t outside, size_t size)
{
    static const uint8_t zeros[512];
    oe_result_t result = OE_OK;

    if (!TEE_HAS_VBS) {
        memset((void*)outside, 0, size);
        return OE_OK;
    }
    for (size_t at = 0; at < size && result == OE_OK; at += sizeof zeros) {
        size_t part = size - at < sizeof zeros ? size - at : sizeof zeros;
        result = tee_write_outside(outside + at, zeros, part);
    }
    return result;
}
