/* The second stage of an exception, and what a thread does when it is told of an interruption. Both run
 * on the interrupted stack, called from start.S, which then goes on with the context as it is left. */
#include "openenclave/enclave.h"
#include "openenclave/internal/thread.h"
#include "tee/aex_notify.h"
#include "tee/runtime.h"

#include <string.h>

#define MAX_HANDLERS 64

_Static_assert(sizeof(oe_context_t) == CONTEXT_SIZE, "layout.h");
_Static_assert(offsetof(oe_context_t, rip) == CONTEXT_RIP, "layout.h");
_Static_assert(offsetof(oe_context_t, mxcsr) == CONTEXT_MXCSR, "layout.h");
_Static_assert(offsetof(oe_context_t, basic_xstate) == CONTEXT_XSTATE, "layout.h");

static oe_spinlock_t lock = OE_SPINLOCK_INITIALIZER;
static oe_vectored_exception_handler_t handlers[MAX_HANDLERS];

/* start.S looks at these two: without a handler it refuses the exception, and nobody is notified. */
volatile uint64_t tee_handler_count = 0;
volatile tee_aex_handler_t tee_aex_handler = NULL;

/* The place of a handler in the table, or their number. */
static uint64_t find(oe_vectored_exception_handler_t handler)
{
    uint64_t at = 0;

    while (at < tee_handler_count && handlers[at] != handler)
        at++;
    return at;
}

oe_result_t oe_add_vectored_exception_handler(bool is_first_handler,
                                              oe_vectored_exception_handler_t vectored_handler)
{
    oe_result_t result = OE_FAILURE;

    if (!vectored_handler || !oe_is_within_enclave((void*)vectored_handler, 8))
        return OE_INVALID_PARAMETER;
    oe_spin_lock(&lock);
    if (find(vectored_handler) == tee_handler_count && tee_handler_count < MAX_HANDLERS) {
        uint64_t at = is_first_handler ? 0 : tee_handler_count;
        memmove(&handlers[at + 1], &handlers[at], (tee_handler_count - at) * sizeof *handlers);
        handlers[at] = vectored_handler;
        tee_handler_count = tee_handler_count + 1;
        result = OE_OK;
    }
    oe_spin_unlock(&lock);
    return result;
}

oe_result_t oe_remove_vectored_exception_handler(oe_vectored_exception_handler_t vectored_handler)
{
    oe_result_t result = OE_FAILURE;

    if (!vectored_handler || !oe_is_within_enclave((void*)vectored_handler, 8))
        return OE_INVALID_PARAMETER;
    oe_spin_lock(&lock);
    uint64_t at = find(vectored_handler);
    if (at < tee_handler_count) {
        tee_handler_count = tee_handler_count - 1;
        memmove(&handlers[at], &handlers[at + 1], (tee_handler_count - at) * sizeof *handlers);
        result = OE_OK;
    }
    oe_spin_unlock(&lock);
    return result;
}

static uint32_t code_of(uint32_t vector)
{
    switch (vector) {
    case 0: return OE_EXCEPTION_DIVIDE_BY_ZERO;
    case 3: return OE_EXCEPTION_BREAKPOINT;
    case 5: return OE_EXCEPTION_BOUND_OUT_OF_RANGE;
    case 6: return OE_EXCEPTION_ILLEGAL_INSTRUCTION;
    case 13: return OE_EXCEPTION_ACCESS_VIOLATION;
    case 14: return OE_EXCEPTION_PAGE_FAULT;
    case 16: return OE_EXCEPTION_X87_FLOAT_POINT;
    case 17: return OE_EXCEPTION_MISALIGNMENT;
    case 19: return OE_EXCEPTION_SIMD_FLOAT_POINT;
    default: return OE_EXCEPTION_UNKNOWN;
    }
}

void tee_handle_exception(oe_context_t* context)
{
    tee_thread_t* thread = tee_thread();
    uint32_t info = (uint32_t)thread->exception_info, vector = info & 0xff;
    bool detailed = vector == 13 || vector == 14;

    context->rip = thread->exception_rip;
    oe_exception_record_t record = {
        .code = code_of(vector),
        .flags = (info >> 8 & 7) == 3 ? OE_EXCEPTION_FLAGS_HARDWARE : OE_EXCEPTION_FLAGS_SOFTWARE,
        .address = context->rip,
        .context = context,
        .faulting_address = detailed ? thread->exception_address : 0,
        .error_code = detailed ? (uint32_t)thread->exception_error : 0,
    };
    /* What the first stage recorded is read: the next exception may be recorded there. */
    __atomic_store_n(&thread->exception_rip, 0, __ATOMIC_RELEASE);
    for (uint64_t i = 0; i < tee_handler_count; i++)
        if (handlers[i](&record) == OE_EXCEPTION_CONTINUE_EXECUTION)
            return;
    oe_abort();
}

oe_result_t tee_set_aex_handler(tee_aex_handler_t handler)
{
    tee_aex_handler = handler;
    tee_expect_notice();
    return OE_OK;
}

void tee_handle_notice(void)
{
    tee_aex_handler_t handler = tee_aex_handler;

    if (handler)
        handler();
}
