/* SGX's own structures, as tee_sim/abi/sgx.py lays them out (Intel SDM Vol. 3D). */
#ifndef OE_SGXTYPES_H
#define OE_SGXTYPES_H

#include <stdint.h>

#define SGX_FLAGS_DEBUG 0x2ULL
#define SGX_FLAGS_MODE64BIT 0x4ULL
#define SGX_FLAGS_PROVISION_KEY 0x10ULL

typedef struct {
    uint64_t flags, xfrm;
} sgx_attributes_t;

/* Whom a report is for. */
typedef struct {
    uint8_t mrenclave[32];
    sgx_attributes_t attributes;
    uint8_t cet_attributes, reserved1;
    uint16_t config_svn;
    uint32_t misc_select;
    uint8_t reserved2[8];
    uint8_t config_id[64];
    uint8_t reserved3[384];
} sgx_target_info_t;

/* Who reports. */
typedef struct {
    uint8_t cpusvn[16];
    uint32_t miscselect;
    uint8_t cet_attributes, reserved1[11];
    uint8_t isvextprodid[16];
    sgx_attributes_t attributes;
    uint8_t mrenclave[32];
    uint8_t reserved2[32];
    uint8_t mrsigner[32];
    uint8_t reserved3[32];
    uint8_t configid[64];
    uint16_t isvprodid, isvsvn, configsvn;
    uint8_t reserved4[42];
    uint8_t isvfamilyid[16];
    uint8_t report_data[64];
} sgx_report_body_t;

typedef struct {
    sgx_report_body_t body;
    uint8_t keyid[32];
    uint8_t mac[16]; /* of the body */
} sgx_report_t;

#define SGX_KEYSELECT_PROVISION 1
#define SGX_KEYSELECT_REPORT 3
#define SGX_KEYSELECT_SEAL 4
#define SGX_KEYPOLICY_MRSIGNER 2

typedef struct {
    uint16_t key_name;
    uint16_t key_policy;
    uint16_t isv_svn;
    uint8_t cet_attributes_mask, reserved1;
    uint8_t cpu_svn[16];
    sgx_attributes_t attribute_mask;
    uint8_t key_id[32];
    uint32_t misc_attribute_mask;
    uint16_t config_svn;
    uint8_t reserved2[434];
} sgx_key_request_t;

/* A quote of version 3 (Intel's ECDSA quote library reference, "Quote Format"), and what its signature
 * consists of. Behind that: a size of 2 bytes and authentication data; a type of 2 bytes, a size of 4
 * and certification data. */
typedef struct __attribute__((packed)) {
    uint16_t version;
    uint16_t key_type; /* SGX_QUOTE_ECDSA_P256 */
    uint32_t tee_type; /* 0: SGX */
    uint16_t qe_svn, pce_svn;
    uint8_t vendor[16];
    uint8_t user_data[20];
    sgx_report_body_t body;
    uint32_t signature_size;
    uint8_t signature[];
} sgx_quote_t;

typedef struct __attribute__((packed)) {
    uint8_t signature[64]; /* of the quote up to here, by the attestation key */
    uint8_t attestation_key[64];
    sgx_report_body_t qe_report;
    uint8_t qe_report_signature[64]; /* by the PCK */
} sgx_quote_auth_data_t;

#define SGX_QUOTE_VERSION 3
#define SGX_QUOTE_ECDSA_P256 2
#define SGX_QUOTE_SIGNED 432 /* bytes of it that the attestation key signs */
#define SGX_QUOTE_PCK_CHAIN 5
#define SGX_QUOTE_VENDOR                                                                             \
    {0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07}

_Static_assert(sizeof(sgx_quote_t) == SGX_QUOTE_SIGNED + 4, "quote");
_Static_assert(sizeof(sgx_quote_auth_data_t) == 576, "quote");
_Static_assert(sizeof(sgx_target_info_t) == 512, "TARGETINFO");
_Static_assert(sizeof(sgx_report_body_t) == 384, "REPORT");
_Static_assert(sizeof(sgx_report_t) == 432, "REPORT");
_Static_assert(sizeof(sgx_key_request_t) == 512, "KEYREQUEST");

#endif
