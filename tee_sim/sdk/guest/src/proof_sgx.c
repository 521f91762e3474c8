/* What an SGX enclave can prove, see tee/attestation.h: to a neighbour by a report, to anybody by a quote.
 *
 * A quote comes from the host's quoting service, which gives our report to the quoting enclave. The host
 * carries both, and can do no more than lose them. */
#ifdef TEE_TARGET_SGX
#include "openenclave/attestation/sgx/evidence.h"
#include "openenclave/enclave.h"
#include "tee/attestation.h"
#include "tee/runtime.h"
#include "tee/sgx.h"

#include <string.h>

static const oe_uuid_t local = OE_FORMAT_UUID_SGX_LOCAL_ATTESTATION;
static const oe_uuid_t remote = OE_FORMAT_UUID_SGX_ECDSA;

static bool is(const oe_uuid_t* format, const oe_uuid_t* one)
{
    return memcmp(format, one, sizeof *one) == 0;
}

bool tee_proof_exists(const oe_uuid_t* format)
{
    return is(format, &local) || is(format, &remote);
}

static oe_result_t quote(const uint8_t data[64], uint8_t** proof, size_t* size)
{
    sgx_target_info_t quoting_enclave;
    sgx_report_t report;
    uint64_t quote_size;

    oe_result_t result;
    if (tee_host_target_info(&result, (uint8_t*)&quoting_enclave, &quote_size) != OE_OK)
        return OE_QUOTE_PROVIDER_CALL_ERROR;
    if (result == OE_OK)
        result = tee_ereport(&quoting_enclave, data, &report);
    if (result != OE_OK)
        return result;
    uint8_t* made = oe_malloc(quote_size);
    if (!made)
        return OE_OUT_OF_MEMORY;
    if (tee_host_quote(&result, (const uint8_t*)&report, made, quote_size) != OE_OK)
        result = OE_QUOTE_PROVIDER_CALL_ERROR;
    /* Not what was asked for: better to know at once. */
    if (result == OE_OK && (tee_quote_size(made, quote_size, size) != OE_OK ||
                            *size != quote_size ||
                            memcmp(&((sgx_quote_t*)made)->body, &report.body, sizeof report.body)))
        result = OE_QUOTE_PROVIDER_CALL_ERROR;
    if (result != OE_OK) {
        oe_free(made);
        return result;
    }
    *proof = made;
    return OE_OK;
}

oe_result_t tee_proof_make(const oe_uuid_t* format, const uint8_t data[64], const void* parameters,
                           size_t parameters_size, uint8_t** proof, size_t* size)
{
    sgx_target_info_t target = {0};

    if (is(format, &remote))
        return parameters_size ? OE_INVALID_PARAMETER : quote(data, proof, size);
    if (!is(format, &local))
        return OE_NOT_FOUND;
    if (parameters_size != (parameters ? sizeof target : 0))
        return OE_INVALID_PARAMETER;
    if (parameters)
        memcpy(&target, parameters, sizeof target);
    sgx_report_t* made = oe_malloc(sizeof *made);
    if (!made)
        return OE_OUT_OF_MEMORY;
    oe_result_t result = tee_ereport(&target, data, made);
    if (result != OE_OK) {
        oe_free(made);
        return result;
    }
    *proof = (uint8_t*)made;
    *size = sizeof *made;
    return OE_OK;
}

oe_result_t tee_proof_size(const oe_uuid_t* format, const uint8_t* evidence, size_t size,
                           size_t* proof_size)
{
    if (is(format, &remote))
        return tee_quote_size(evidence, size, proof_size);
    *proof_size = sizeof(sgx_report_t);
    if (!is(format, &local))
        return OE_NOT_FOUND;
    return size < sizeof(sgx_report_t) ? OE_REPORT_PARSE_ERROR : OE_OK;
}

oe_result_t tee_proof_verify(const oe_uuid_t* format, const uint8_t* proof, size_t size,
                             const char* at, oe_report_t* said)
{
    const bool quoted = is(format, &remote);
    oe_result_t result = quoted ? tee_quote_verify(proof, size, at)
                                : tee_report_verify((const sgx_report_t*)proof);

    if (result == OE_OK && quoted)
        tee_report_parse(&((const sgx_quote_t*)proof)->body, OE_REPORT_ATTRIBUTES_REMOTE, said);
    else if (result == OE_OK)
        tee_report_parse(&((const sgx_report_t*)proof)->body, 0, said);
    return result;
}
#endif
