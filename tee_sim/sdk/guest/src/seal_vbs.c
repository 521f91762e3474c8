/* oe_seal and oe_unseal for VBS: the secure kernel seals. What stands in front of the plaintext binds
 * the additional data, for which it has no place of its own. */
#include "openenclave/enclave.h"
#include "openenclave/seal.h"
#include "tee/crypto.h"
#include "tee/sha256.h"
#include "tee/vbs.h"

#ifdef TEE_TARGET_VBS

#define DIGEST 32

static oe_result_t policy_of(const oe_seal_setting_t* settings, size_t count, uint64_t* policy)
{
    *policy = VBS_SEAL_EXACT_CODE;
    for (size_t i = 0; i < count; i++) {
        if (settings[i].type != OE_SEAL_SETTING_POLICY)
            return OE_UNSUPPORTED;
        if (settings[i].value.w != OE_SEAL_POLICY_UNIQUE &&
            settings[i].value.w != OE_SEAL_POLICY_PRODUCT)
            return OE_INVALID_PARAMETER;
        *policy = settings[i].value.w == OE_SEAL_POLICY_UNIQUE ? VBS_SEAL_EXACT_CODE
                                                               : VBS_SEAL_SAME_IMAGE;
    }
    return OE_OK;
}

oe_result_t oe_seal(const oe_uuid_t* plugin_id, const oe_seal_setting_t* settings,
                    size_t settings_count, const uint8_t* plaintext, size_t plaintext_size,
                    const uint8_t* additional_data, size_t additional_data_size, uint8_t** blob,
                    size_t* blob_size)
{
    uint64_t policy;
    size_t size;

    if (plugin_id)
        return OE_UNSUPPORTED;
    if ((settings_count && !settings) || (plaintext_size && !plaintext) ||
        (additional_data_size && !additional_data) || !blob || !blob_size)
        return OE_INVALID_PARAMETER;
    oe_result_t result = policy_of(settings, settings_count, &policy);
    if (result != OE_OK)
        return result;
    if (__builtin_add_overflow(plaintext_size, DIGEST + VBS_SEAL_OVERHEAD, &size))
        return OE_OUT_OF_MEMORY;
    uint8_t* opened = oe_malloc(DIGEST + plaintext_size);
    uint8_t* made = oe_malloc(size);
    if (opened && made) {
        tee_sha256(additional_data, additional_data_size, opened);
        if (plaintext_size)
            memcpy(opened + DIGEST, plaintext, plaintext_size);
        result = tee_vbs(VBS_SEAL_DATA, policy, (uint64_t)opened, DIGEST + plaintext_size,
                         (uint64_t)made);
        tee_wipe(opened, DIGEST + plaintext_size);
    } else {
        result = OE_OUT_OF_MEMORY;
    }
    oe_free(opened);
    if (result != OE_OK) {
        oe_free(made);
        return result;
    }
    *blob = made;
    *blob_size = size;
    return OE_OK;
}

oe_result_t oe_unseal(const uint8_t* blob, size_t blob_size, const uint8_t* additional_data,
                      size_t additional_data_size, uint8_t** plaintext, size_t* plaintext_size)
{
    uint8_t digest[DIGEST];

    if (!blob || blob_size < DIGEST + VBS_SEAL_OVERHEAD || !oe_is_within_enclave(blob, blob_size) ||
        (additional_data_size && !additional_data) || !plaintext || !plaintext_size)
        return OE_INVALID_PARAMETER;
    size_t size = blob_size - VBS_SEAL_OVERHEAD;
    uint8_t* opened = oe_malloc(size);
    if (!opened)
        return OE_OUT_OF_MEMORY;
    oe_result_t result =
        tee_vbs(VBS_UNSEAL_DATA, (uint64_t)blob, blob_size, (uint64_t)opened, size);
    tee_sha256(additional_data, additional_data_size, digest);
    if (result == OE_OK && !tee_equal(digest, opened, DIGEST))
        result = OE_CRYPTO_ERROR;
    if (result != OE_OK) {
        tee_wipe(opened, size);
        oe_free(opened);
        return result;
    }
    memmove(opened, opened + DIGEST, size - DIGEST);
    *plaintext = opened;
    *plaintext_size = size - DIGEST;
    return OE_OK;
}

#endif
