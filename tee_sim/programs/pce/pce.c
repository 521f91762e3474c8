/* The provisioning certification enclave. See program.toml.
 *
 * Keys and identifiers are derived as Intel's enclave derives them (intel/linux-sgx, psw/ae/pce).
 * Simplified: Intel's encrypts the PPID with a key of Intel's. */
#include "pce_t.h"

#include "tee/crypto.h"
#include "tee/sgx.h"

static const char label[] = "PAK_KEY_DER";

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

/* The provisioning key of a TCB. EGETKEY refuses one that this platform has not reached. */
static oe_result_t provisioning_key(const uint8_t cpusvn[16], uint16_t isvsvn, uint8_t key[16])
{
    sgx_key_request_t request = {
        .key_name = SGX_KEYSELECT_PROVISION,
        .isv_svn = isvsvn,
        .attribute_mask.flags = ~SGX_FLAGS_MODE64BIT, /* DEBUG counts: a debugger gets another key */
        .misc_attribute_mask = 0xffffffff,
    };

    memcpy(request.cpu_svn, cpusvn, sizeof request.cpu_svn);
    return tee_egetkey(&request, key);
}

/* Whether who asks is an enclave on this platform that the kernel let have the provisioning keys. */
static oe_result_t admit(const sgx_report_t* report)
{
    oe_result_t result = tee_report_verify(report);

    if (result == OE_OK && !(report->body.attributes.flags & SGX_FLAGS_PROVISION_KEY))
        result = OE_CONSTRAINT_FAILED;
    return result;
}

oe_result_t get_ppid(const uint8_t* report, uint8_t* ppid)
{
    const uint8_t oldest[16] = {0}, text[16] = {0};
    uint8_t key[16];
    oe_result_t result = admit((const sgx_report_t*)report);

    if (result == OE_OK)
        result = provisioning_key(oldest, 0, key);
    if (result == OE_OK)
        tee_aes_cmac(key, text, sizeof text, ppid);
    tee_wipe(key, sizeof key);
    return result;
}

oe_result_t certify(const uint8_t* report, const uint8_t* cpusvn, uint16_t isvsvn,
                    uint8_t* signature)
{
    const sgx_report_t* asking = (const sgx_report_t*)report;
    uint8_t key[16], secret[32];
    oe_result_t result = admit(asking);

    if (result == OE_OK)
        result = provisioning_key(cpusvn, isvsvn, key);
    if (result == OE_OK) {
        tee_p256_derive(key, label, sizeof label - 1, secret);
        if (!tee_p256_sign(secret, &asking->body, sizeof asking->body, signature))
            result = OE_CRYPTO_ERROR;
    }
    tee_wipe(key, sizeof key);
    tee_wipe(secret, sizeof secret);
    return result;
}
