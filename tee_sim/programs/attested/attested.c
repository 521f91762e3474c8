/* Secure key release, the enclave's side. See program.toml. */
#include "attested_t.h"

#include "openenclave/attestation/attester.h"
#include "openenclave/attestation/sgx/evidence.h"
#include "openenclave/attestation/vbs/evidence.h"
#include "openenclave/attestation/verifier.h"
#include "tee/crypto.h"
#include "tee/sha256.h"

#include <stdlib.h>
#include <string.h>

#define NONCE 64 /* the longest */
#define KEY 64
#define TAG 16
#define SECRET 256 /* the longest */

/* The formats of all platforms; each has one of them. */
static const oe_uuid_t formats[] = {OE_FORMAT_UUID_SGX_ECDSA, OE_FORMAT_UUID_VBS};
static const oe_uuid_t local = OE_FORMAT_UUID_SGX_LOCAL_ATTESTATION;

static uint8_t secret_key[32], public_key[KEY];
static bool has_key;
uint8_t attested_secret[SECRET]; /* what was received; global, so that a host can look where it lies */

static oe_result_t make_key(void)
{
    uint8_t seed[40];
    oe_result_t result = has_key ? OE_OK : oe_random(seed, sizeof seed);

    if (has_key || result != OE_OK)
        return result;
    tee_p256_secret(seed, secret_key);
    tee_wipe(seed, sizeof seed);
    has_key = tee_p256_public(secret_key, public_key);
    return has_key ? OE_OK : OE_CRYPTO_ERROR;
}

static oe_result_t prove(const oe_uuid_t* format, const uint8_t* nonce, size_t nonce_size,
                         const void* target, size_t target_size, uint8_t* evidence,
                         uint32_t capacity, uint32_t* size)
{
    uint8_t claims[NONCE + KEY], *made;
    size_t made_size;

    if (nonce_size > NONCE)
        return OE_INVALID_PARAMETER;
    oe_result_t result = make_key();
    memcpy(claims, nonce, nonce_size);
    memcpy(claims + nonce_size, public_key, KEY);
    if (result == OE_OK)
        result = oe_get_evidence(format, OE_EVIDENCE_FLAGS_EMBED_FORMAT_ID, claims,
                                 nonce_size + KEY, target, target_size, &made, &made_size, NULL,
                                 NULL);
    if (result != OE_OK)
        return result;
    *size = (uint32_t)made_size;
    if (made_size > capacity)
        result = OE_BUFFER_TOO_SMALL;
    else
        memcpy(evidence, made, made_size);
    oe_free_evidence(made);
    return result;
}

oe_result_t attest(const uint8_t* nonce, uint32_t nonce_size, uint8_t* evidence, uint32_t capacity,
                   uint32_t* size)
{
    oe_uuid_t format;
    oe_result_t result = oe_attester_initialize();

    if (result == OE_OK)
        result = oe_attester_select_format(formats, sizeof formats / sizeof *formats, &format);
    if (result != OE_OK)
        return result;
    return prove(&format, nonce, nonce_size, NULL, 0, evidence, capacity, size);
}

oe_result_t attest_to(const uint8_t* target, const uint8_t* nonce, uint32_t nonce_size,
                      uint8_t* evidence, uint32_t capacity, uint32_t* size)
{
    return prove(&local, nonce, nonce_size, target, 512, evidence, capacity, size);
}

/* The message: the sender's key for this one time, a tag, and as many bytes as the secret has. */
oe_result_t receive(const uint8_t* message, uint32_t size, uint8_t* digest)
{
    static const char purpose[] = "tee_sim secret release";
    const uint8_t iv[12] = {0}; /* the key serves once */
    const uint8_t *tag = message + KEY, *ciphertext = tag + TAG;
    uint8_t shared[32], key[16], info[sizeof purpose - 1 + 2 * KEY];
    size_t length = size - KEY - TAG;

    if (!has_key)
        return OE_PUBLIC_KEY_NOT_FOUND;
    if (size < KEY + TAG || length > SECRET)
        return OE_INVALID_PARAMETER;
    if (!tee_p256_shared(secret_key, message, shared))
        return OE_CRYPTO_ERROR;
    /* Both public keys are part of what the key is for. */
    memcpy(info, purpose, sizeof purpose - 1);
    memcpy(info + sizeof purpose - 1, message, KEY);
    memcpy(info + sizeof purpose - 1 + KEY, public_key, KEY);
    tee_hkdf_sha256(shared, sizeof shared, info, sizeof info, key, sizeof key);
    bool opened = tee_aes_gcm_open(key, iv, "", 0, ciphertext, length, tag, attested_secret);
    tee_wipe(shared, sizeof shared);
    tee_wipe(key, sizeof key);
    if (!opened)
        return OE_CRYPTO_ERROR;
    tee_sha256(attested_secret, length, digest);
    return OE_OK;
}

static const oe_claim_t* find(const oe_claim_t* claims, size_t count, const char* name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(claims[i].name, name) == 0)
            return &claims[i];
    return NULL;
}

oe_result_t verify(const uint8_t* evidence, uint32_t size, const uint32_t* time, uint8_t* unique_id,
                   uint8_t* signer_id, uint64_t* attributes, uint8_t* custom_claims)
{
    oe_datetime_t now = {time[0], time[1], time[2], time[3], time[4], time[5]};
    oe_policy_t policy = {OE_POLICY_ENDORSEMENTS_TIME, &now, sizeof now};
    oe_claim_t* claims;
    size_t count;
    oe_result_t result = oe_verify_evidence(NULL, evidence, size, NULL, 0, &policy, time[0] != 0,
                                            &claims, &count);

    if (result != OE_OK)
        return result;
    memcpy(unique_id, find(claims, count, OE_CLAIM_UNIQUE_ID)->value, OE_UNIQUE_ID_SIZE);
    memcpy(signer_id, find(claims, count, OE_CLAIM_SIGNER_ID)->value, OE_SIGNER_ID_SIZE);
    memcpy(attributes, find(claims, count, OE_CLAIM_ATTRIBUTES)->value, sizeof *attributes);
    const oe_claim_t* custom = find(claims, count, OE_CLAIM_CUSTOM_CLAIMS_BUFFER);
    if (custom)
        memcpy(custom_claims, custom->value,
               custom->value_size < NONCE + KEY ? custom->value_size : NONCE + KEY);
    oe_free_claims(claims, count);
    return OE_OK;
}

oe_result_t my_target(uint8_t* target)
{
    uint8_t* report;
    size_t report_size, size;
    void* info;
    oe_result_t result = oe_get_report(0, NULL, 0, NULL, 0, &report, &report_size);

    if (result != OE_OK)
        return result;
    result = oe_get_target_info(report, report_size, &info, &size);
    oe_free_report(report);
    if (result != OE_OK)
        return result;
    memcpy(target, info, 512);
    oe_free_target_info(info);
    return OE_OK;
}
