/* AEX-Notify: the thread learns of each interruption, if the processor has it and the program's
 * program.toml asks for it (aex_notify = true). Elsewhere the handler is never called.
 *
 * Intel's SDK has sgx_register_aex_handler for this, and a mitigation of its own: it touches the
 * pages that the next instruction needs, so that this instruction is over before any timer can
 * fire. An emulated processor has no such race to win, and its timer is exact: here the program
 * has to decide what an interruption means to it. */
#ifndef TEE_AEX_NOTIFY_H
#define TEE_AEX_NOTIFY_H

#include "openenclave/bits/result.h"

typedef void (*tee_aex_handler_t)(void);

/* Have `handler` called on the interrupted thread, before it goes on, after each interruption of
 * any thread; NULL ends that. It is not told of interruptions of itself. It must not call this, and
 * must not fail: an exception may be waiting for its own handler. */
oe_result_t tee_set_aex_handler(tee_aex_handler_t handler);

#endif
