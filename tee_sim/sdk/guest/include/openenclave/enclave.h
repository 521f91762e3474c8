/* What a program inside may call. Names and contracts are Open Enclave's; the code is our own. */
#ifndef OE_ENCLAVE_H
#define OE_ENCLAVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "openenclave/bits/result.h"

#ifdef __cplusplus
extern "C" {
#endif

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

/* End the enclave: this call and every later one reports that it aborted. */
void oe_abort(void) __attribute__((noreturn));

#ifdef __cplusplus
}
#endif

#endif
