/* Types that the enclave and its host share. Names and values are those of the Open Enclave SDK. */
#ifndef OE_BITS_TYPES_H
#define OE_BITS_TYPES_H

#include <stdint.h>

typedef enum {
    OE_ENCLAVE_TYPE_AUTO = 1,
    OE_ENCLAVE_TYPE_SGX = 2,
    OE_ENCLAVE_TYPE_VBS = 0x10, /* ours: the number is that of ntenclv.h */
} oe_enclave_type_t;

/* Whom a sealing key is bound to. */
typedef enum {
    OE_SEAL_POLICY_UNIQUE = 1,  /* this very program: MRENCLAVE */
    OE_SEAL_POLICY_PRODUCT = 2, /* any program of this author and product: MRSIGNER, ISVPRODID */
} oe_seal_policy_t;

typedef struct {
    uint8_t b[16];
} oe_uuid_t;

typedef struct {
    uint32_t year, month, day, hours, minutes, seconds; /* 2026, 1-12, 1-31, 0-23, 0-59, 0-59 */
} oe_datetime_t;

#endif
