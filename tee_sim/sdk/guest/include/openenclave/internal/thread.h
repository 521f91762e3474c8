/* A lock for threads of one enclave. The names are Open Enclave's (openenclave/internal/thread.h). */
#ifndef OE_INTERNAL_THREAD_H
#define OE_INTERNAL_THREAD_H

#include "openenclave/bits/result.h"

typedef volatile char oe_spinlock_t;

#define OE_SPINLOCK_INITIALIZER 0

/* Waits inside: to sleep, a thread would have to ask the host, who decides when it wakes. */
static inline oe_result_t oe_spin_lock(oe_spinlock_t* lock)
{
    while (__atomic_test_and_set(lock, __ATOMIC_ACQUIRE))
        __builtin_ia32_pause();
    return OE_OK;
}

static inline oe_result_t oe_spin_unlock(oe_spinlock_t* lock)
{
    __atomic_clear(lock, __ATOMIC_RELEASE);
    return OE_OK;
}

#endif
