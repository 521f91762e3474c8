/* The quoting enclave. See program.toml.
 *
 * The attestation key follows from the seal key of this signer at the current versions, as in Intel's: after
 * a restart it is the same, after an update another. Nothing has to be stored.
 * Simplified: Intel's seals key and certification data into a file of the host all the same. */
#include "qe_t.h"

#include "tee/crypto.h"
#include "tee/sgx.h"
#include "tee/sha256.h"

#include <stdlib.h>

#define AUTH_SIZE 32

/* A whole quote, but for the certificates at its end. */
typedef struct __attribute__((packed)) {
    sgx_quote_t quote;
    sgx_quote_auth_data_t signatures;
    uint16_t auth_size;
    uint8_t auth_data[AUTH_SIZE];
    uint16_t certification_type;
    uint32_t chain_size;
    uint8_t chain[];
} whole_quote_t;

/* What Intel's puts there: it binds nothing, and could. */
static const uint8_t auth_data[AUTH_SIZE] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10,
                                             11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                             22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
static const char key_label[] = "QE_KEY_DER", id_label[] = "QE_ID_DER"; /* the first is unverified */

static uint8_t secret[32];
static sgx_quote_auth_data_t own; /* but for the first field */
static uint16_t own_svn, certifier_svn;
static uint8_t* own_chain;
static uint32_t own_chain_size;

oe_result_t my_target(uint8_t* target)
{
    const sgx_target_info_t nobody = {0};
    const uint8_t nothing[64] = {0};
    sgx_report_t self;
    oe_result_t result = tee_ereport(&nobody, nothing, &self);

    if (result == OE_OK)
        tee_target_of(&self.body, (sgx_target_info_t*)target);
    return result;
}

/* The seal key of this signer, of the given versions or of the oldest. */
static oe_result_t seal_key(const sgx_report_body_t* version, uint8_t key[16])
{
    sgx_key_request_t request = {
        .key_name = SGX_KEYSELECT_SEAL,
        .key_policy = SGX_KEYPOLICY_MRSIGNER,
        .isv_svn = version ? version->isvsvn : 0,
        .attribute_mask.flags = ~SGX_FLAGS_MODE64BIT,
        .misc_attribute_mask = 0xffffffff,
    };

    if (version)
        memcpy(request.cpu_svn, version->cpusvn, sizeof request.cpu_svn);
    return tee_egetkey(&request, key);
}

oe_result_t make_key(const uint8_t* pce_target, uint8_t* report)
{
    const sgx_target_info_t* target = (const sgx_target_info_t*)pce_target;
    uint8_t key[16], data[64] = {0}, text[64 + AUTH_SIZE];
    sgx_report_t made;
    oe_result_t result = tee_ereport(target, data, &made); /* which versions are current? */

    if (result == OE_OK)
        result = seal_key(&made.body, key);
    if (result != OE_OK)
        return result;
    tee_p256_derive(key, key_label, sizeof key_label - 1, secret);
    tee_wipe(key, sizeof key);
    if (!tee_p256_public(secret, own.attestation_key))
        return OE_CRYPTO_ERROR;
    memcpy(text, own.attestation_key, 64);
    memcpy(text + 64, auth_data, AUTH_SIZE);
    tee_sha256(text, sizeof text, data);
    result = tee_ereport(target, data, &made);
    own.qe_report = made.body;
    own_svn = made.body.isvsvn;
    memcpy(report, &made, sizeof made);
    return result;
}

oe_result_t certified(const uint8_t* signature, uint16_t pce_svn, const uint8_t* chain,
                      uint32_t chain_size)
{
    uint8_t* kept = malloc(chain_size);

    if (!kept)
        return OE_OUT_OF_MEMORY;
    memcpy(kept, chain, chain_size);
    memcpy(own.qe_report_signature, signature, sizeof own.qe_report_signature);
    certifier_svn = pce_svn;
    free(own_chain);
    own_chain = kept;
    own_chain_size = chain_size;
    return OE_OK;
}

/* 16 bytes that name this platform's quoting enclave, whatever its version. */
static oe_result_t identify(uint8_t id[16])
{
    uint8_t key[16], text[16] = {0};
    oe_result_t result = seal_key(NULL, key);

    memcpy(text + 1, id_label, sizeof id_label - 1);
    if (result == OE_OK)
        tee_aes_cmac(key, text, sizeof text, id);
    tee_wipe(key, sizeof key);
    return result;
}

oe_result_t get_quote(const uint8_t* report, uint8_t* quote, uint32_t quote_size)
{
    const sgx_report_t* asking = (const sgx_report_t*)report;
    whole_quote_t* made = (whole_quote_t*)quote;

    if (!own_chain)
        return OE_SERVICE_UNAVAILABLE;
    if (quote_size != sizeof *made + own_chain_size)
        return OE_INVALID_PARAMETER;
    oe_result_t result = tee_report_verify(asking);
    if (result != OE_OK)
        return result;
    made->quote = (sgx_quote_t){
        .version = SGX_QUOTE_VERSION,
        .key_type = SGX_QUOTE_ECDSA_P256,
        .qe_svn = own_svn,
        .pce_svn = certifier_svn,
        .vendor = SGX_QUOTE_VENDOR,
        .body = asking->body,
        .signature_size = quote_size - sizeof made->quote,
    };
    result = identify(made->quote.user_data);
    if (result != OE_OK)
        return result;
    made->signatures = own;
    if (!tee_p256_sign(secret, made, SGX_QUOTE_SIGNED, made->signatures.signature))
        return OE_CRYPTO_ERROR;
    made->auth_size = AUTH_SIZE;
    memcpy(made->auth_data, auth_data, AUTH_SIZE);
    made->certification_type = SGX_QUOTE_PCK_CHAIN;
    made->chain_size = own_chain_size;
    memcpy(made->chain, own_chain, own_chain_size);
    return OE_OK;
}
