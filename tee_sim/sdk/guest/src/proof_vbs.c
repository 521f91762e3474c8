/* What a VBS enclave can prove, see tee/attestation.h: the secure kernel signs a report, so one report is
 * good for everybody. Whether this secure kernel is to be believed, only the measured boot says. */
#ifdef TEE_TARGET_VBS
#include "openenclave/attestation/vbs/evidence.h"
#include "openenclave/enclave.h"
#include "tee/attestation.h"
#include "tee/vbs.h"

#include <string.h>

#define ROOM 4096 /* for a report; one with a single module has a sixth of that */

/* The parts of a report that are read here. */
typedef struct {
    uint32_t package_size; /* VBS_ENCLAVE_REPORT_PKG_HEADER */
    uint32_t header[5];
    uint32_t report_size; /* VBS_ENCLAVE_REPORT */
    uint32_t report_version;
    uint8_t data[OE_REPORT_DATA_SIZE];
    tee_vbs_identity_t identity;
} package_t;

_Static_assert(sizeof(package_t) == 24 + 224, "no padding");

static const oe_uuid_t vbs = OE_FORMAT_UUID_VBS;

bool tee_proof_exists(const oe_uuid_t* format)
{
    return memcmp(format, &vbs, sizeof vbs) == 0;
}

oe_result_t tee_proof_make(const oe_uuid_t* format, const uint8_t data[64], const void* parameters,
                           size_t parameters_size, uint8_t** proof, size_t* size)
{
    uint8_t copy[OE_REPORT_DATA_SIZE];
    uint64_t made_size = 0;

    if (!tee_proof_exists(format))
        return OE_NOT_FOUND;
    if (parameters || parameters_size)
        return OE_INVALID_PARAMETER;
    uint8_t* made = oe_malloc(ROOM);
    if (!made)
        return OE_OUT_OF_MEMORY;
    memcpy(copy, data, sizeof copy);
    oe_result_t result = tee_vbs(VBS_GET_ATTESTATION_REPORT, (uint64_t)copy, (uint64_t)made, ROOM,
                                 (uint64_t)&made_size);
    if (result != OE_OK) {
        oe_free(made);
        return result;
    }
    *proof = made;
    *size = made_size;
    return OE_OK;
}

oe_result_t tee_proof_size(const oe_uuid_t* format, const uint8_t* evidence, size_t size,
                           size_t* proof_size)
{
    const package_t* package = (const package_t*)evidence;

    if (!tee_proof_exists(format))
        return OE_NOT_FOUND;
    if (size < sizeof *package || package->package_size < sizeof *package ||
        package->package_size > size)
        return OE_REPORT_PARSE_ERROR;
    *proof_size = package->package_size;
    return OE_OK;
}

void tee_vbs_parse(const uint8_t* proof, size_t size, oe_report_t* said)
{
    const package_t* package = (const package_t*)proof;
    const tee_vbs_identity_t* who = &package->identity;

    *said = (oe_report_t){
        .size = sizeof *said,
        .type = OE_ENCLAVE_TYPE_VBS,
        .report_data = (uint8_t*)package->data,
        .report_data_size = sizeof package->data,
        .enclave_report = (uint8_t*)package,
        .enclave_report_size = size,
        .identity.security_version = who->enclave_svn,
        .identity.attributes = OE_REPORT_ATTRIBUTES_REMOTE,
    };
    oe_identity_t* identity = &said->identity;
    if (who->flags & VBS_ENCLAVE_FLAG_FULL_DEBUG_ENABLED)
        identity->attributes |= OE_REPORT_ATTRIBUTES_DEBUG;
    memcpy(identity->unique_id, who->unique_id, sizeof who->unique_id);
    memcpy(identity->signer_id, who->author_id, sizeof who->author_id);
    memcpy(identity->product_id, who->image_id, sizeof who->image_id);
}

oe_result_t tee_proof_verify(const oe_uuid_t* format, const uint8_t* proof, size_t size,
                             const char* at, oe_report_t* said)
{
    (void)format, (void)at;
    oe_result_t result = tee_vbs(VBS_VERIFY_ATTESTATION_REPORT, (uint64_t)proof, size, 0, 0);

    if (result == OE_OK)
        tee_vbs_parse(proof, size, said);
    return result == OE_CRYPTO_ERROR ? OE_VERIFY_FAILED : result;
}
#endif
