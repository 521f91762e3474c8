/* oe_seal and oe_unseal: AES-128-GCM under a key from EGETKEY. */
#include "openenclave/enclave.h"
#include "openenclave/seal.h"
#include "tee/crypto.h"
#include "tee/sgx.h"

#ifndef TEE_TARGET_VBS /* seal_vbs.c */

/* The head of a blob: all that is needed to ask for the key again. Not the KEYREQUEST itself, whose
 * reserved fields a host could fill so that EGETKEY faults. All of it is authenticated, most of it by
 * entering the key. */
typedef struct {
    uint16_t policy;
    uint16_t isv_svn;
    uint8_t reserved[4];
    uint8_t cpu_svn[16];
    uint8_t key_id[32]; /* random: no two blobs have the same key */
    uint8_t iv[12];
    uint8_t tag[16];
    uint8_t data[]; /* as many bytes as the plaintext */
} blob_t;

_Static_assert(sizeof(blob_t) == offsetof(blob_t, data), "no padding");

static oe_result_t seal_key(const blob_t* blob, uint8_t key[16])
{
    sgx_key_request_t request = {
        .key_name = SGX_KEYSELECT_SEAL,
        .key_policy = blob->policy,
        .isv_svn = blob->isv_svn,
    };

    memcpy(request.cpu_svn, blob->cpu_svn, sizeof request.cpu_svn);
    memcpy(request.key_id, blob->key_id, sizeof request.key_id);
    return tee_egetkey(&request, key);
}

/* The additional data, behind the part of the head that could otherwise be changed unnoticed. */
static uint8_t* context_of(const blob_t* blob, const uint8_t* additional_data, size_t size,
                           size_t* total)
{
    const size_t head = offsetof(blob_t, tag);
    uint8_t* context;

    if (__builtin_add_overflow(head, size, total) || !(context = oe_malloc(*total)))
        return NULL;
    memcpy(context, blob, head);
    if (size)
        memcpy(context + head, additional_data, size);
    return context;
}

static oe_result_t policy_of(const oe_seal_setting_t* settings, size_t count, uint16_t* policy)
{
    *policy = OE_SEAL_POLICY_UNIQUE;
    for (size_t i = 0; i < count; i++) {
        if (settings[i].type != OE_SEAL_SETTING_POLICY)
            return OE_UNSUPPORTED;
        *policy = settings[i].value.w;
        if (*policy != OE_SEAL_POLICY_UNIQUE && *policy != OE_SEAL_POLICY_PRODUCT)
            return OE_INVALID_PARAMETER;
    }
    return OE_OK;
}

oe_result_t oe_seal(const oe_uuid_t* plugin_id, const oe_seal_setting_t* settings,
                    size_t settings_count, const uint8_t* plaintext, size_t plaintext_size,
                    const uint8_t* additional_data, size_t additional_data_size, uint8_t** blob,
                    size_t* blob_size)
{
    sgx_target_info_t nobody = {0};
    uint8_t no_data[64] = {0}, key[16];
    sgx_report_t self;
    size_t size, context_size;
    uint16_t policy;

    if (plugin_id)
        return OE_UNSUPPORTED;
    if ((settings_count && !settings) || (plaintext_size && !plaintext) ||
        (additional_data_size && !additional_data) || !blob || !blob_size)
        return OE_INVALID_PARAMETER;
    oe_result_t result = policy_of(settings, settings_count, &policy);
    if (result == OE_OK) /* our own versions stand in any report of ours */
        result = tee_ereport(&nobody, no_data, &self);
    if (result != OE_OK)
        return result;
    if (__builtin_add_overflow(sizeof(blob_t), plaintext_size, &size))
        return OE_OUT_OF_MEMORY;
    blob_t* made = oe_calloc(1, size);
    if (!made)
        return OE_OUT_OF_MEMORY;
    made->policy = policy;
    made->isv_svn = self.body.isvsvn;
    memcpy(made->cpu_svn, self.body.cpusvn, sizeof made->cpu_svn);
    result = oe_random(made->key_id, sizeof made->key_id);
    if (result == OE_OK)
        result = oe_random(made->iv, sizeof made->iv);
    uint8_t* context = context_of(made, additional_data, additional_data_size, &context_size);
    if (!context)
        result = OE_OUT_OF_MEMORY;
    if (result == OE_OK)
        result = seal_key(made, key);
    if (result == OE_OK)
        tee_aes_gcm_seal(key, made->iv, context, context_size,
                         plaintext_size ? plaintext : no_data, plaintext_size, made->data,
                         made->tag);
    tee_wipe(key, sizeof key);
    oe_free(context);
    if (result != OE_OK) {
        oe_free(made);
        return result;
    }
    *blob = (uint8_t*)made;
    *blob_size = size;
    return OE_OK;
}

oe_result_t oe_unseal(const uint8_t* blob, size_t blob_size, const uint8_t* additional_data,
                      size_t additional_data_size, uint8_t** plaintext, size_t* plaintext_size)
{
    const blob_t* sealed = (const blob_t*)blob;
    size_t size, context_size;
    uint8_t key[16];

    if (!TEE_HAS_SGX)
        return OE_UNSUPPORTED;
    /* A blob outside could change between the check of its tag and its use. */
    if (!blob || blob_size < sizeof *sealed || !oe_is_within_enclave(blob, blob_size) ||
        (additional_data_size && !additional_data) || !plaintext || !plaintext_size)
        return OE_INVALID_PARAMETER;
    if (sealed->policy != OE_SEAL_POLICY_UNIQUE && sealed->policy != OE_SEAL_POLICY_PRODUCT)
        return OE_CRYPTO_ERROR;
    oe_result_t result = seal_key(sealed, key);
    if (result != OE_OK)
        return result;
    size = blob_size - sizeof *sealed;
    uint8_t* opened = oe_malloc(size ? size : 1);
    uint8_t* context = context_of(sealed, additional_data, additional_data_size, &context_size);
    if (!opened || !context)
        result = OE_OUT_OF_MEMORY;
    else if (!tee_aes_gcm_open(key, sealed->iv, context, context_size, sealed->data, size,
                               sealed->tag, opened))
        result = OE_CRYPTO_ERROR;
    tee_wipe(key, sizeof key);
    oe_free(context);
    if (result != OE_OK) {
        oe_free(opened);
        return result;
    }
    *plaintext = opened;
    *plaintext_size = size;
    return OE_OK;
}

#endif
