/* The two leaves of ENCLU that identify and that derive keys. Without SGX: OE_UNSUPPORTED. */
#ifndef TEE_SGX_H
#define TEE_SGX_H

#include "openenclave/bits/report.h"
#include "openenclave/bits/result.h"
#include "openenclave/bits/sgx/sgxtypes.h"

#ifdef TEE_TARGET_SGX
#define TEE_HAS_SGX 1
#else
#define TEE_HAS_SGX 0
#endif

/* `data`: 64 bytes. */
oe_result_t tee_ereport(const sgx_target_info_t* target, const uint8_t* data, sgx_report_t* report);

oe_result_t tee_egetkey(const sgx_key_request_t* request, uint8_t key[16]);

/* report.c: whether an enclave on this processor made the report for this one; whom a report of ours
 * has to be for, if it is for the one that made that report; and what a report says. */
oe_result_t tee_report_verify(const sgx_report_t* report);
void tee_target_of(const sgx_report_body_t* who, sgx_target_info_t* target);
void tee_report_parse(const sgx_report_body_t* body, uint64_t attributes, oe_report_t* parsed);

#endif
