/* Sealing: encryption under a key that only this processor can make, for whom the policy says.
 *
 * Names and arguments are those of the Open Enclave SDK. Without a TEE every function here returns
 * OE_UNSUPPORTED. Settings other than the policy are not supported, and there are no plug-ins.
 * The cipher takes 17 KiB of stack: say `stack_pages = 8` in program.toml. */
#ifndef OE_SEAL_H
#define OE_SEAL_H

#include "openenclave/bits/result.h"
#include "openenclave/bits/types.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int type;
    uint32_t size; /* of what value.p points to; 0 for a number */
    union {
        uint64_t q;
        uint32_t d;
        uint16_t w;
        uint8_t b;
        const void* p;
    } value;
} oe_seal_setting_t;

enum oe_seal_setting_type_t {
    OE_SEAL_SETTING_POLICY,
    OE_SEAL_SETTING_ADDITIONAL_CONTEXT,
    OE_SEAL_SETTING_IV,
};

/* An element of the array of settings: seal under OE_SEAL_POLICY_UNIQUE (the default) or
 * OE_SEAL_POLICY_PRODUCT. */
#define OE_SEAL_SET_POLICY(policy) {OE_SEAL_SETTING_POLICY, 0, {(uint64_t)(policy)}}

/* Encrypt `plaintext`, and authenticate it together with `additional_data`, which stays outside the
 * blob. On success the caller frees `*blob` with oe_free. All buffers lie in the enclave. */
oe_result_t oe_seal(const oe_uuid_t* plugin_id, const oe_seal_setting_t* settings,
                    size_t settings_count, const uint8_t* plaintext, size_t plaintext_size,
                    const uint8_t* additional_data, size_t additional_data_size, uint8_t** blob,
                    size_t* blob_size);

/* The reverse. On success the caller frees `*plaintext` with oe_free.
 * OE_INVALID_CPUSVN or OE_INVALID_ISVSVN: the blob was sealed by a newer processor or program.
 * OE_CRYPTO_ERROR: it was tampered with, or sealed elsewhere, or by somebody else; nobody can tell
 * which. (The Open Enclave SDK reports each of these as OE_UNSUPPORTED.) */
oe_result_t oe_unseal(const uint8_t* blob, size_t blob_size, const uint8_t* additional_data,
                      size_t additional_data_size, uint8_t** plaintext, size_t* plaintext_size);

#ifdef __cplusplus
}
#endif

#endif
