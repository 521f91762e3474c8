/* SGX quotes of version 3, as far as they can be verified without endorsements.
 *
 * What a quote says is true if the attestation key signed it, a genuine quoting enclave made that key, and
 * the platform's certification key (PCK) signed the report of that enclave. Names of the steps: Intel's
 * quote verification library. */
#include "openenclave/bits/sgx/sgxtypes.h"
#include "tee/attestation.h"
#include "tee/crypto.h"
#include "tee/sha256.h"
#include "vendor.h"

/* Where the parts without a fixed place are. */
typedef struct {
    const sgx_quote_auth_data_t* signatures;
    const uint8_t* auth_data;
    const uint8_t* chain;
    size_t auth_size, chain_size, size;
} parts_t;

/* The next part: a size in `width` bytes (little-endian), and as many bytes as it says. */
static bool take(const uint8_t* from, size_t end, size_t* at, size_t width, const uint8_t** part,
                 size_t* size)
{
    *size = 0;
    if (end - *at < width)
        return false;
    memcpy(size, from + *at, width);
    *at += width;
    *part = from + *at;
    if (end - *at < *size)
        return false;
    *at += *size;
    return true;
}

static oe_result_t parse(const uint8_t* quote, size_t size, parts_t* parts)
{
    static const uint8_t vendor[16] = SGX_QUOTE_VENDOR;
    const sgx_quote_t* head = (const sgx_quote_t*)quote;
    const uint8_t* unused;
    size_t at = SGX_QUOTE_SIGNED, signature_size;
    uint16_t type;

    if (size < sizeof *head || head->version != SGX_QUOTE_VERSION ||
        head->key_type != SGX_QUOTE_ECDSA_P256 || head->tee_type ||
        memcmp(head->vendor, vendor, sizeof vendor) ||
        !take(quote, size, &at, 4, &unused, &signature_size) ||
        signature_size < sizeof *parts->signatures)
        return OE_REPORT_PARSE_ERROR;
    parts->size = at;
    at = sizeof *head + sizeof *parts->signatures;
    parts->signatures = (const sgx_quote_auth_data_t*)head->signature;
    if (!take(quote, parts->size, &at, 2, &parts->auth_data, &parts->auth_size) ||
        parts->size - at < sizeof type)
        return OE_REPORT_PARSE_ERROR;
    memcpy(&type, quote + at, sizeof type);
    at += sizeof type;
    if (!take(quote, parts->size, &at, 4, &parts->chain, &parts->chain_size) || at != parts->size)
        return OE_REPORT_PARSE_ERROR;
    return type == SGX_QUOTE_PCK_CHAIN ? OE_OK : OE_MISSING_CERTIFICATE_CHAIN;
}

oe_result_t tee_quote_size(const uint8_t* quote, size_t size, size_t* quote_size)
{
    parts_t parts;
    oe_result_t result = parse(quote, size, &parts);

    if (result == OE_OK)
        *quote_size = parts.size;
    return result;
}

/* The vendor's quoting enclave, in any version, and not one for debugging. */
static bool is_quoting_enclave(const sgx_report_body_t* report)
{
    static const uint8_t signer[32] = VENDOR_MRSIGNER;

    return memcmp(report->mrsigner, signer, sizeof signer) == 0 &&
           report->isvprodid == VENDOR_QE_PRODUCT && report->miscselect == 0 &&
           (report->attributes.flags & VENDOR_QE_FLAGS_MASK) == VENDOR_QE_FLAGS;
}

/* report_data = SHA-256(attestation key || authentication data) || zeros */
static bool is_bound(const parts_t* parts)
{
    uint8_t text[64 + 256], digest[64] = {0};

    if (parts->auth_size > sizeof text - 64)
        return false;
    memcpy(text, parts->signatures->attestation_key, 64);
    memcpy(text + 64, parts->auth_data, parts->auth_size);
    tee_sha256(text, 64 + parts->auth_size, digest);
    return memcmp(digest, parts->signatures->qe_report.report_data, sizeof digest) == 0;
}

oe_result_t tee_quote_verify(const uint8_t* quote, size_t size, const char* at)
{
    parts_t parts;
    uint8_t pck[64];
    oe_result_t result = parse(quote, size, &parts);

    if (result == OE_OK)
        result = tee_chain_verify((const char*)parts.chain, parts.chain_size, at, pck);
    if (result != OE_OK)
        return result;
    const sgx_quote_auth_data_t* by = parts.signatures;
    if (!tee_p256_verify(pck, &by->qe_report, sizeof by->qe_report, by->qe_report_signature))
        return OE_QUOTE_VERIFICATION_ERROR;
    if (!is_bound(&parts))
        return OE_QUOTE_HASH_MISMATCH;
    if (!is_quoting_enclave(&by->qe_report))
        return OE_QUOTE_ENCLAVE_IDENTITY_VERIFICATION_FAILED;
    if (!tee_p256_verify(by->attestation_key, quote, SGX_QUOTE_SIGNED, by->signature))
        return OE_QUOTE_VERIFICATION_ERROR;
    return OE_OK;
}
