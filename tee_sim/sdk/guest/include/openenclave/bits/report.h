/* What a report says once it is parsed. Names and values are those of the Open Enclave SDK. */
#ifndef OE_BITS_REPORT_H
#define OE_BITS_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "openenclave/bits/types.h"

#define OE_REPORT_FLAGS_REMOTE_ATTESTATION 0x00000001 /* a quote, for anybody */
#define OE_REPORT_DATA_SIZE 64

#define OE_UNIQUE_ID_SIZE 32
#define OE_SIGNER_ID_SIZE 32
#define OE_PRODUCT_ID_SIZE 16

#define OE_REPORT_ATTRIBUTES_DEBUG 0x0000000000000001ULL
#define OE_REPORT_ATTRIBUTES_REMOTE 0x0000000000000002ULL

typedef struct {
    uint32_t id_version;                     /* 0 */
    uint32_t security_version;               /* ISVSVN */
    uint64_t attributes;                     /* OE_REPORT_ATTRIBUTES_ */
    uint8_t unique_id[OE_UNIQUE_ID_SIZE];    /* MRENCLAVE */
    uint8_t signer_id[OE_SIGNER_ID_SIZE];    /* MRSIGNER */
    uint8_t product_id[OE_PRODUCT_ID_SIZE];  /* ISVPRODID */
} oe_identity_t;

/* The pointers lead into the report that was parsed. */
typedef struct {
    size_t size; /* of this structure */
    oe_enclave_type_t type;
    size_t report_data_size;
    size_t enclave_report_size;
    uint8_t* report_data;
    uint8_t* enclave_report;
    oe_identity_t identity;
} oe_report_t;

#endif
