/* What a VBS enclave asks the secure kernel for: SYSCALL, with a number of these in RAX. Windows has
 * the functions of winenclaveapi.h for it; the numbers are ours (monitors/vbs/services.py).
 * Elsewhere every function here says OE_UNSUPPORTED. */
#ifndef TEE_VBS_H
#define TEE_VBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "openenclave/bits/report.h"
#include "openenclave/bits/result.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifdef TEE_TARGET_VBS
#define TEE_HAS_VBS 1
#else
#define TEE_HAS_VBS 0
#endif

#define VBS_LEAVE 0 /* back to VTL0 (start.S) */
#define VBS_COPY_INTO_ENCLAVE 1
#define VBS_COPY_OUT_OF_ENCLAVE 2
#define VBS_RESTRICT_CONTAINING_PROCESS_ACCESS 3
#define VBS_GET_ENCLAVE_INFORMATION 4
#define VBS_SEAL_DATA 5
#define VBS_UNSEAL_DATA 6
#define VBS_GET_ATTESTATION_REPORT 7
#define VBS_VERIFY_ATTESTATION_REPORT 8

/* ENCLAVE_IDENTITY */
typedef struct {
    uint8_t owner_id[32], unique_id[32], author_id[32], family_id[16], image_id[16];
    uint32_t enclave_svn, secure_kernel_svn, platform_svn, flags, signing_level, enclave_type;
} tee_vbs_identity_t;

#define VBS_ENCLAVE_FLAG_FULL_DEBUG_ENABLED 1

/* ENCLAVE_IDENTITY_POLICY_SEAL_ */
#define VBS_SEAL_EXACT_CODE 1
#define VBS_SEAL_SAME_IMAGE 3

/* Bytes that sealed data has more than its plaintext. */
#define VBS_SEAL_OVERHEAD 208

/* proof_vbs.c: what a report says, whether it is true or not. */
void tee_vbs_parse(const uint8_t* proof, size_t size, oe_report_t* said);

oe_result_t tee_vbs(uint64_t call, uint64_t a, uint64_t b, uint64_t c, uint64_t d);

/* EnclaveRestrictContainingProcessAccess: whether this enclave gives up touching the memory of its
 * process; `*previous` is what it was. Arguments of ecalls and ocalls still work. */
oe_result_t tee_restrict_containing_process_access(bool restrict_access, uint32_t* previous);

#ifdef __cplusplus
}
#endif

#endif
