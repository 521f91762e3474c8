/* What a program inside may call. Names and contracts are Open Enclave's; the code is our own. */
#ifndef OE_ENCLAVE_H
#define OE_ENCLAVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "openenclave/bits/defs.h"
#include "openenclave/bits/exception.h"
#include "openenclave/bits/report.h"
#include "openenclave/bits/result.h"
#include "openenclave/bits/types.h"

OE_EXTERNC_BEGIN

/* Fill `data` with `size` bytes from RDRAND. OE_FAILURE if the generator stays exhausted. */
oe_result_t oe_random(void* data, size_t size);

/* Whether all of [ptr, ptr + size) lies inside the enclave. A range that wraps does not. */
bool oe_is_within_enclave(const void* ptr, size_t size);

/* Whether all of [ptr, ptr + size) lies outside. Not the negation of the other: a range that
 * straddles the border is neither, and that is why both exist. */
bool oe_is_outside_enclave(const void* ptr, size_t size);

/* Memory from the enclave's own heap. */
void* oe_malloc(size_t size);
void* oe_calloc(size_t count, size_t size);
void* oe_realloc(void* ptr, size_t size);
void oe_free(void* ptr);

/* Memory of the host, where it can read and write at any moment; NULL if it gives none. A host that
 * answers with memory of the enclave ends it. The first three are not zeroed. */
void* oe_host_malloc(size_t size);
void* oe_host_realloc(void* ptr, size_t size);
char* oe_host_strndup(const char* str, size_t n);
void* oe_host_calloc(size_t nmemb, size_t size);
void oe_host_free(void* ptr);

/* Have a handler asked about every exception inside: before those that are there already, or after.
 * OE_FAILURE if it is there already, or if there are 64. An exception that no handler takes ends the
 * enclave. #PF and #GP are reported only if program.toml asks for it (exinfo = true).
 * Without a TEE (target `none`) no exception is: the process dies of it. */
oe_result_t oe_add_vectored_exception_handler(bool is_first_handler,
                                              oe_vectored_exception_handler_t vectored_handler);
oe_result_t oe_remove_vectored_exception_handler(oe_vectored_exception_handler_t vectored_handler);

/* Attestation as it was before oe_get_evidence; without a TEE, OE_UNSUPPORTED. Buffers lie in the
 * enclave. The check takes 14 KiB of stack: say `stack_pages = 8` in program.toml.
 *
 * A report of this enclave, with up to 64 bytes of its choice, for the enclave whose target info is
 * given; without one it is for nobody, and good for oe_get_target_info only. With
 * OE_REPORT_FLAGS_REMOTE_ATTESTATION, a quote; OE_SERVICE_UNAVAILABLE: the host has no quoting
 * service. */
oe_result_t oe_get_report(uint32_t flags, const uint8_t* report_data, size_t report_data_size,
                          const void* opt_params, size_t opt_params_size, uint8_t** report_buffer,
                          size_t* report_buffer_size);
void oe_free_report(uint8_t* report_buffer);

/* How to address a report to the enclave that made this one. */
oe_result_t oe_get_target_info(const uint8_t* report, size_t report_size, void** target_info_buffer,
                               size_t* target_info_size);
void oe_free_target_info(void* target_info);

/* What a report says, whether it is true or not. */
oe_result_t oe_parse_report(const uint8_t* report, size_t report_size, oe_report_t* parsed_report);

/* The same (unless `parsed_report` is NULL) if an enclave on this processor made the report for this
 * enclave; OE_VERIFY_FAILED_AES_CMAC_MISMATCH if not. Who that enclave has to be, the caller judges.
 * A quote is verified as by oe_verify_evidence (openenclave/attestation/verifier.h). */
oe_result_t oe_verify_report(const uint8_t* report, size_t report_size, oe_report_t* parsed_report);

/* End the enclave: this call and every later one reports that it aborted. */
void oe_abort(void) __attribute__((noreturn));

/* OE_ENCLAVE_ABORTING once a thread has called oe_abort. */
oe_result_t oe_get_enclave_status(void);

/* Report the condition on standard error, and abort. */
void __oe_assert_fail(const char* expr, const char* file, int line, const char* func)
    __attribute__((noreturn));
#ifdef NDEBUG
#define oe_assert(EXPR)
#else
#define oe_assert(EXPR)                                                \
    do {                                                               \
        if (!(EXPR))                                                   \
            __oe_assert_fail(#EXPR, __FILE__, __LINE__, __FUNCTION__); \
    } while (0)
#endif

OE_EXTERNC_END

#endif
