/* An ordinary process can prove nothing. */
#ifdef TEE_TARGET_NONE
#include "tee/attestation.h"

bool tee_proof_exists(const oe_uuid_t* format)
{
    (void)format;
    return false;
}

oe_result_t tee_proof_make(const oe_uuid_t* format, const uint8_t data[64], const void* parameters,
                           size_t parameters_size, uint8_t** proof, size_t* size)
{
    (void)format, (void)data, (void)parameters, (void)parameters_size, (void)proof, (void)size;
    return OE_UNSUPPORTED;
}

oe_result_t tee_proof_size(const oe_uuid_t* format, const uint8_t* evidence, size_t size,
                           size_t* proof_size)
{
    (void)format, (void)evidence, (void)size, (void)proof_size;
    return OE_UNSUPPORTED;
}

oe_result_t tee_proof_verify(const oe_uuid_t* format, const uint8_t* proof, size_t size,
                             const char* at, oe_report_t* said)
{
    (void)format, (void)proof, (void)size, (void)at, (void)said;
    return OE_UNSUPPORTED;
}
#endif
