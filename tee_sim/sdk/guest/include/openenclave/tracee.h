/* Where log messages go that are written inside. Names and contracts are Open Enclave's. */
#ifndef OE_TRACEE_H
#define OE_TRACEE_H

#include "openenclave/enclave.h"
#include "openenclave/log.h"

OE_EXTERNC_BEGIN

/* `thread_id` is the address of the thread's data. */
typedef void (*oe_enclave_log_callback_t)(void* context, oe_log_level_t level, uint64_t thread_id,
                                          const char* message);

/* Have every message handed to `callback`, inside, instead of to the host: it may hide what the host
 * should not read. NULL ends that. One thread at a time calls it; it must not log itself. */
oe_result_t oe_enclave_log_set_callback(void* context, oe_enclave_log_callback_t callback);

OE_EXTERNC_END

#endif
