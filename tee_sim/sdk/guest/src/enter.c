/* What happens between the entry in start.S and the dispatcher that the EDL file becomes. */
#include "openenclave/enclave.h"
#include "tee/runtime.h"

#include <stdlib.h>

_Static_assert(offsetof(tee_thread_t, self) == TD_SELF, "layout.h");
_Static_assert(offsetof(tee_thread_t, stack_top) == TD_STACK_TOP, "layout.h");
_Static_assert(offsetof(tee_thread_t, heap) == TD_HEAP, "layout.h");
_Static_assert(offsetof(tee_thread_t, heap_size) == TD_HEAP_SIZE, "layout.h");
_Static_assert(offsetof(tee_thread_t, enclave_size) == TD_ENCLAVE_SIZE, "layout.h");
_Static_assert(offsetof(tee_thread_t, index) == TD_INDEX, "layout.h");
_Static_assert(offsetof(tee_thread_t, guards) == TD_GUARDS, "layout.h");
_Static_assert(offsetof(tee_thread_t, return_target) == TD_RETURN_TARGET, "layout.h");
_Static_assert(offsetof(tee_thread_t, host_rsp) == TD_HOST_RSP, "layout.h");
_Static_assert(offsetof(tee_thread_t, host_rbp) == TD_HOST_RBP, "layout.h");
_Static_assert(offsetof(tee_thread_t, pending_rsp) == TD_PENDING_RSP, "layout.h");
_Static_assert(offsetof(tee_thread_t, arena_base) == TD_ARENA_BASE, "layout.h");
_Static_assert(offsetof(tee_thread_t, arena_size) == TD_ARENA_SIZE, "layout.h");
_Static_assert(offsetof(tee_thread_t, arena_used) == TD_ARENA_USED, "layout.h");
_Static_assert(offsetof(tee_thread_t, on_stack) == TD_ON_STACK, "layout.h");
_Static_assert(offsetof(tee_thread_t, exception_rip) == TD_EXCEPTION_RIP, "layout.h");
_Static_assert(offsetof(tee_thread_t, exception_error) == TD_EXCEPTION_ERROR, "layout.h");
_Static_assert(offsetof(tee_thread_t, notice) == TD_NOTICE, "layout.h");
_Static_assert(offsetof(tee_thread_t, last_errno) == TD_ERRNO, "layout.h");
_Static_assert(offsetof(tee_thread_t, spare_size) == TD_SPARE_SIZE, "layout.h");
_Static_assert(OE_REENTRANT_ECALL == 4 && OE_UNEXPECTED == 7, "start.S");

enum { NOT_STARTED, STARTING, STARTED };

static volatile int runtime_state = NOT_STARTED;
static volatile bool aborted = false;

typedef void (*constructor_t)(void);
/* Not const: the relocation changes them, and they must not be read before it. */
extern constructor_t __init_array_start[] __attribute__((visibility("hidden")));
extern constructor_t __init_array_end[] __attribute__((visibility("hidden")));

/* Once in the life of the enclave, in whichever thread comes first. The relocation happens in here
 * and not in the loader, so that the measured bytes do not depend on the load address. */
static void start_runtime(const tee_thread_t* thread)
{
    int expected = NOT_STARTED;
    if (!__atomic_compare_exchange_n(&runtime_state, &expected, STARTING, false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_ACQUIRE)) {
        while (runtime_state != STARTED)
            __builtin_ia32_pause();
        return;
    }
    tee_relocate();
    tee_heap_init(__ehdr_start + thread->heap, thread->heap_size);
    for (constructor_t* next = __init_array_start; next != __init_array_end; next++)
        (*next)();
    __atomic_store_n(&runtime_state, STARTED, __ATOMIC_RELEASE);
}

uint32_t tee_enter(uint64_t function, uint64_t args, uint64_t arena_base, uint64_t arena_size)
{
    tee_thread_t* thread = tee_thread();

    if (runtime_state != STARTED)
        start_runtime(thread);
    if (aborted)
        return OE_ENCLAVE_ABORTED;
    /* Checked once here, so that no ocall can be lured into writing its arguments over our own
     * memory. */
    if (!oe_is_outside_enclave((void*)arena_base, arena_size))
        return OE_INVALID_PARAMETER;
    thread->arena_base = arena_base;
    thread->arena_size = arena_size;
    return tee_dispatch(function, args);
}

bool oe_is_within_enclave(const void* ptr, size_t size)
{
    uint64_t offset = (uint64_t)ptr - (uint64_t)__ehdr_start;
    uint64_t enclave_size = tee_thread()->enclave_size;

    /* Below the base the subtraction wraps to a huge offset, and is refused like one above. */
    return offset < enclave_size && size <= enclave_size - offset;
}

bool oe_is_outside_enclave(const void* ptr, size_t size)
{
    uint64_t start = (uint64_t)ptr, end;
    uint64_t base = (uint64_t)__ehdr_start;

    if (!(tee_thread()->guards & GUARD_OUTSIDE))
        return true;
    if (__builtin_add_overflow(start, size, &end))
        return false;
    return end <= base || start >= base + tee_thread()->enclave_size;
}

void oe_abort(void)
{
    aborted = true;
    tee_leave_aborted(OE_ENCLAVE_ABORTING);
}

oe_result_t oe_get_enclave_status(void)
{
    return aborted ? OE_ENCLAVE_ABORTING : OE_OK;
}
