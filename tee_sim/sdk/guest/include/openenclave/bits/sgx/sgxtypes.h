/* SGX's own structures, as tee_sim/abi/sgx.py lays them out (Intel SDM Vol. 3D). */
#ifndef OE_SGXTYPES_H
#define OE_SGXTYPES_H

#include <stdint.h>

#define SGX_FLAGS_DEBUG 0x2ULL

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

#define SGX_KEYSELECT_REPORT 3
#define SGX_KEYSELECT_SEAL 4

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

_Static_assert(sizeof(sgx_target_info_t) == 512, "TARGETINFO");
_Static_assert(sizeof(sgx_report_body_t) == 384, "REPORT");
_Static_assert(sizeof(sgx_report_t) == 432, "REPORT");
_Static_assert(sizeof(sgx_key_request_t) == 512, "KEYREQUEST");

#endif
