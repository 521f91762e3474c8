/* What evidence says once it is verified: claims. Names and values are those of the Open Enclave SDK. */
#ifndef OE_BITS_EVIDENCE_H
#define OE_BITS_EVIDENCE_H

#include "openenclave/bits/report.h"
#include "openenclave/bits/types.h"

#define OE_EVIDENCE_ATTRIBUTES_SGX_DEBUG OE_REPORT_ATTRIBUTES_DEBUG
#define OE_EVIDENCE_ATTRIBUTES_SGX_REMOTE OE_REPORT_ATTRIBUTES_REMOTE

typedef struct {
    char* name;
    uint8_t* value;
    size_t value_size;
} oe_claim_t;

/* Every verified evidence has these. */
#define OE_CLAIM_ID_VERSION "id_version"             /* uint32_t */
#define OE_CLAIM_SECURITY_VERSION "security_version" /* uint32_t; SGX: ISVSVN */
#define OE_CLAIM_ATTRIBUTES "attributes"             /* uint64_t; OE_EVIDENCE_ATTRIBUTES_ */
#define OE_CLAIM_UNIQUE_ID "unique_id"               /* 32 bytes; SGX: MRENCLAVE */
#define OE_CLAIM_SIGNER_ID "signer_id"               /* 32 bytes; SGX: MRSIGNER */
#define OE_CLAIM_PRODUCT_ID "product_id"             /* 16 bytes; SGX: ISVPRODID */
#define OE_CLAIM_FORMAT_UUID "format_uuid"           /* 16 bytes */
#define OE_REQUIRED_CLAIMS_COUNT 7

/* The buffer that the attester gave to oe_get_evidence, if it gave one. */
#define OE_CLAIM_CUSTOM_CLAIMS_BUFFER "custom_claims_buffer"

typedef enum {
    OE_POLICY_ENDORSEMENTS_TIME = 1, /* an oe_datetime_t: when certificates have to be valid */
} oe_policy_type_t;

typedef struct {
    oe_policy_type_t type;
    void* policy;
    size_t policy_size;
} oe_policy_t;

#endif
