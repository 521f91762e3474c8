#include "witness_t.h"

#include "openenclave/attestation/attester.h"
#include "openenclave/attestation/sgx/evidence.h"
#include "openenclave/attestation/verifier.h"

#include <stdlib.h>
#include <string.h>

static const oe_uuid_t local = OE_FORMAT_UUID_SGX_LOCAL_ATTESTATION;
static const oe_uuid_t remote = OE_FORMAT_UUID_SGX_ECDSA;
static const oe_uuid_t unknown = {{1, 2, 3}};

oe_result_t remote_report(const uint8_t* data, uint8_t* report, size_t room, size_t* size)
{
    uint8_t* made;
    oe_result_t result =
        oe_get_report(OE_REPORT_FLAGS_REMOTE_ATTESTATION, data, 64, NULL, 0, &made, size);

    if (result != OE_OK)
        return result;
    if (*size > room)
        result = OE_BUFFER_TOO_SMALL;
    else
        memcpy(report, made, *size);
    oe_free_report(made);
    return result;
}

oe_result_t check_report(const uint8_t* report, size_t size, uint8_t* unique_id,
                         uint64_t* attributes, uint8_t* data)
{
    oe_report_t said, parsed;
    oe_result_t result = oe_verify_report(report, size, &said);

    if (result == OE_OK)
        result = oe_parse_report(report, size, &parsed);
    if (result != OE_OK)
        return result;
    if (memcmp(&said, &parsed, sizeof said))
        return OE_UNEXPECTED;
    memcpy(unique_id, said.identity.unique_id, 32);
    memcpy(data, said.report_data, 64);
    *attributes = said.identity.attributes;
    return OE_OK;
}

oe_result_t target_of(const uint8_t* report, size_t size, uint8_t* target)
{
    void* info;
    size_t info_size;
    oe_result_t result = oe_get_target_info(report, size, &info, &info_size);

    if (result != OE_OK)
        return result;
    memcpy(target, info, 512);
    oe_free_target_info(info);
    return OE_OK;
}

oe_result_t misuse_attester(int how)
{
    oe_uuid_t formats[] = {unknown, local, remote}, found;
    uint8_t *made, *more, claims[4] = {0}, target[512] = {0};
    size_t size, more_size;

    switch (how) {
    case 0:
        return oe_attester_select_format(NULL, 1, &found);
    case 1:
        return oe_attester_select_format(formats, 0, &found);
    case 2:
        return oe_attester_select_format(formats, 3, NULL);
    case 3:
        return oe_attester_select_format(formats, 1, &found);
    case 4:
        return oe_get_evidence(NULL, 0, NULL, 0, NULL, 0, &made, &size, NULL, NULL);
    case 5:
        return oe_get_evidence(&local, 2, NULL, 0, NULL, 0, &made, &size, NULL, NULL);
    case 6:
        return oe_get_evidence(&local, 0, NULL, 1, NULL, 0, &made, &size, NULL, NULL);
    case 7:
        return oe_get_evidence(&local, 0, NULL, 0, NULL, 512, &made, &size, NULL, NULL);
    case 8:
        return oe_get_evidence(&local, 0, NULL, 0, target, 511, &made, &size, NULL, NULL);
    case 9:
        return oe_get_evidence(&remote, 0, NULL, 0, target, 512, &made, &size, NULL, NULL);
    case 10:
        return oe_get_evidence(&local, 0, NULL, 0, NULL, 0, NULL, &size, NULL, NULL);
    case 11:
        return oe_get_evidence(&local, 0, NULL, 0, NULL, 0, &made, NULL, NULL, NULL);
    case 12:
        return oe_get_evidence(&local, 0, NULL, 0, NULL, 0, &made, &size, &more, &more_size);
    case 13:
        return oe_get_evidence(&unknown, 0, NULL, 0, NULL, 0, &made, &size, NULL, NULL);
    default: /* what may be left out, and that it is given back */
        if (oe_attester_select_format(formats, 3, &found) != OE_OK ||
            memcmp(&found, &local, sizeof found))
            return OE_UNEXPECTED;
        oe_result_t result =
            oe_get_evidence(&local, 0, NULL, 0, NULL, 0, &made, &size, NULL, NULL);
        if (result != OE_OK || size != 432)
            return OE_UNEXPECTED;
        oe_free_evidence(made);
        result = oe_get_evidence(&local, 0, claims, 4, target, 512, &made, &size, NULL, NULL);
        if (result != OE_OK || size != 436)
            return OE_UNEXPECTED;
        oe_free_evidence(made);
        oe_free_endorsements(NULL);
        return oe_attester_shutdown();
    }
}

oe_result_t misuse_verifier(int how, uint64_t outside)
{
    uint8_t evidence[500] = {0};
    oe_datetime_t now = {2026, 1, 1, 0, 0, 0};
    oe_policy_t policy = {OE_POLICY_ENDORSEMENTS_TIME, &now, sizeof now};
    oe_claim_t* claims;
    size_t count;

    switch (how) {
    case 0:
        return oe_verify_evidence(&local, NULL, 432, NULL, 0, NULL, 0, &claims, &count);
    case 1:
        return oe_verify_evidence(&local, (uint8_t*)outside, 432, NULL, 0, NULL, 0, NULL, NULL);
    case 2:
        return oe_verify_evidence(&local, evidence, 432, NULL, 0, NULL, 0, &claims, NULL);
    case 3:
        return oe_verify_evidence(&local, evidence, 432, NULL, 0, NULL, 1, NULL, NULL);
    case 4:
        policy.type = 2;
        return oe_verify_evidence(&local, evidence, 432, NULL, 0, &policy, 1, NULL, NULL);
    case 5:
        policy.policy_size = 4;
        return oe_verify_evidence(&local, evidence, 432, NULL, 0, &policy, 1, NULL, NULL);
    case 6:
        policy.policy = NULL;
        return oe_verify_evidence(&local, evidence, 432, NULL, 0, &policy, 1, NULL, NULL);
    case 7:
        return oe_verify_evidence(NULL, evidence, 31, NULL, 0, NULL, 0, NULL, NULL);
    case 8:
        return oe_verify_evidence(&local, evidence, 432, evidence, 1, NULL, 0, NULL, NULL);
    case 9:
        return oe_verify_evidence(&local, evidence, 431, NULL, 0, NULL, 0, NULL, NULL);
    case 10:
        return oe_verify_evidence(&unknown, evidence, 432, NULL, 0, NULL, 0, NULL, NULL);
    case 11:
        return oe_verify_evidence(&remote, evidence, 500, NULL, 0, NULL, 0, NULL, NULL);
    default:
        return oe_verify_evidence(&local, evidence, 432, NULL, 0, &policy, 1, NULL, NULL);
    }
}

/* Bytes that can be had in blocks of 64. */
uint64_t free_memory(void)
{
    uint64_t total = 0;
    void *first = NULL, *block;

    while ((block = malloc(64))) {
        *(void**)block = first;
        first = block;
        total += 64;
    }
    while ((block = first)) {
        first = *(void**)block;
        free(block);
    }
    return total;
}
