/* Dynamic memory, from inside: accept what the host did to a page, or do not use it.
 *
 * Open Enclave has no public API for this; the names are ours. What the host is asked for, it is
 * asked by ocalls of the program (see the example `grower`). */
#ifndef TEE_DYNAMIC_H
#define TEE_DYNAMIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "openenclave/bits/result.h"

#ifdef __cplusplus
extern "C" {
#endif

/* SECINFO.FLAGS */
#define TEE_R 1
#define TEE_W 2
#define TEE_X 4
#define TEE_PENDING 8
#define TEE_MODIFIED 16
#define TEE_PR 32
#define TEE_TCS (1 << 8)
#define TEE_REG (2 << 8)
#define TEE_TRIM (4 << 8)

/* What a page is like that the host has just added. */
#define TEE_NEW (TEE_REG | TEE_R | TEE_W | TEE_PENDING)

/* EACCEPT: whether `page` is now as `flags` say, and no processor uses it otherwise any more. Never
 * call this twice for the same new page: the host could put a second page of zeros in its place. */
bool tee_accept(void* page, uint64_t flags);

/* EACCEPTCOPY: fill a new page from one of our own and give it the rights of `flags`. */
bool tee_accept_copy(void* page, const void* source, uint64_t flags);

/* EMODPE: add the rights of `flags`. The host cannot, and is not asked. */
void tee_extend(void* page, uint64_t flags);

/* Make the heap larger. False if the host gives no page, or there is no room (`spare_pages`). */
bool tee_heap_grow(size_t pages);

/* Make what a thread needs, at the end of the spare range: a stack, save frames, thread data, and a
 * page filled as its thread control structure. `*tcs` is that page: the host has to change its type
 * (EMODT), and it has to be accepted as TEE_TCS | TEE_MODIFIED, before the thread can be entered. */
oe_result_t tee_thread_make(size_t stack_pages, void** tcs);

#ifdef __cplusplus
}
#endif

#endif
