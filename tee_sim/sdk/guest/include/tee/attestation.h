/* Between the portable part of attestation and what each target can prove. Not for programs.
 *
 * A target has a file src/proof_<target>.c with these functions; a *proof* is what it signs: a report of
 * the processor, a quote, a report of the hypervisor. */
#ifndef TEE_ATTESTATION_H
#define TEE_ATTESTATION_H

#include "openenclave/bits/evidence.h"
#include "openenclave/bits/result.h"

#include <stdbool.h>

/* In front of evidence if its maker asked for it; layout and version are Open Enclave's. */
typedef struct {
    uint32_t version;
    oe_uuid_t format_id;
    uint64_t data_size;
    uint8_t data[];
} tee_evidence_header_t;

#define TEE_EVIDENCE_VERSION 3

/* Whether this target makes proofs of that format. */
bool tee_proof_exists(const oe_uuid_t* format);

/* A proof that carries 64 bytes of our choice. The caller frees `*proof`. */
oe_result_t tee_proof_make(const oe_uuid_t* format, const uint8_t data[64], const void* parameters,
                           size_t parameters_size, uint8_t** proof, size_t* size);

/* How many bytes of `evidence` the proof is: what follows it are the custom claims. */
oe_result_t tee_proof_size(const oe_uuid_t* format, const uint8_t* evidence, size_t size,
                           size_t* proof_size);

/* Whether it is genuine, and what it says. `at`: see tee_quote_verify. */
oe_result_t tee_proof_verify(const oe_uuid_t* format, const uint8_t* proof, size_t size,
                             const char* at, oe_report_t* said);

/* quote.c: SGX quotes of version 3, on any target. `at` is the time as YYYYMMDDHHMMSS, or NULL if no
 * date is to be checked. */
oe_result_t tee_quote_size(const uint8_t* quote, size_t size, size_t* quote_size);
oe_result_t tee_quote_verify(const uint8_t* quote, size_t size, const char* at);

/* certificate.c: whether the PEM chain leads from a certificate of the public key `*key` to the vendor's
 * root. */
oe_result_t tee_chain_verify(const char* pem, size_t size, const char* at, uint8_t key[64]);

#endif
