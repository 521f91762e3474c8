/* Threads of one enclave. The names are Open Enclave's (openenclave/internal/thread.h).
 *
 * Whoever waits, waits inside: to sleep, a thread would have to ask the host, who decides when it wakes.
 * A thread that waits for another one needs that one to run: on a processor of its own. */
#ifndef OE_INTERNAL_THREAD_H
#define OE_INTERNAL_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "openenclave/bits/defs.h"
#include "openenclave/bits/result.h"

OE_EXTERNC_BEGIN

typedef uint64_t oe_thread_t;

oe_thread_t oe_thread_self(void); /* number of the caller's thread, from 1 */
bool oe_thread_equal(oe_thread_t thread1, oe_thread_t thread2);

typedef volatile char oe_spinlock_t;

#define OE_SPINLOCK_INITIALIZER 0

static inline oe_result_t oe_spin_init(oe_spinlock_t* lock)
{
    *lock = OE_SPINLOCK_INITIALIZER;
    return OE_OK;
}

static inline oe_result_t oe_spin_trylock(oe_spinlock_t* lock)
{
    return __atomic_test_and_set(lock, __ATOMIC_ACQUIRE) ? OE_BUSY : OE_OK;
}

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

static inline oe_result_t oe_spin_destroy(oe_spinlock_t* lock)
{
    (void)lock;
    return OE_OK;
}

typedef int oe_once_t;

#define OE_ONCE_INITIALIZER 0

/* Whoever comes first calls `func`; the others wait until it is done. */
oe_result_t oe_once(oe_once_t* once, void (*func)(void));

/* Recursive: its owner may lock it again. OE_NOT_OWNER: somebody else may not unlock it. */
typedef struct {
    oe_thread_t owner; /* 0 if it is free */
    uint64_t depth;
} oe_mutex_t;

#define OE_MUTEX_INITIALIZER {0, 0}

oe_result_t oe_mutex_init(oe_mutex_t* mutex);
oe_result_t oe_mutex_lock(oe_mutex_t* mutex);
oe_result_t oe_mutex_trylock(oe_mutex_t* mutex); /* OE_BUSY: it is taken */
oe_result_t oe_mutex_unlock(oe_mutex_t* mutex);
oe_result_t oe_mutex_destroy(oe_mutex_t* mutex); /* OE_BUSY: it is taken */

typedef struct {
    uint64_t tickets, called; /* whoever waits takes a ticket; tickets below `called` may go on */
    oe_spinlock_t lock;
} oe_cond_t;

#define OE_COND_INITIALIZER {0, 0, OE_SPINLOCK_INITIALIZER}

oe_result_t oe_cond_init(oe_cond_t* condition);
oe_result_t oe_cond_wait(oe_cond_t* condition, oe_mutex_t* mutex);
oe_result_t oe_cond_signal(oe_cond_t* condition);
oe_result_t oe_cond_broadcast(oe_cond_t* condition);
oe_result_t oe_cond_destroy(oe_cond_t* condition); /* OE_BUSY: somebody waits */

typedef struct {
    uint64_t readers;
    oe_thread_t writer; /* 0 if there is none */
    oe_spinlock_t lock;
} oe_rwlock_t;

#define OE_RWLOCK_INITIALIZER {0, 0, OE_SPINLOCK_INITIALIZER}

oe_result_t oe_rwlock_init(oe_rwlock_t* rw_lock);
oe_result_t oe_rwlock_rdlock(oe_rwlock_t* rw_lock);
oe_result_t oe_rwlock_tryrdlock(oe_rwlock_t* rw_lock);
oe_result_t oe_rwlock_wrlock(oe_rwlock_t* rw_lock);
oe_result_t oe_rwlock_trywrlock(oe_rwlock_t* rw_lock);
oe_result_t oe_rwlock_unlock(oe_rwlock_t* rw_lock);
oe_result_t oe_rwlock_destroy(oe_rwlock_t* rw_lock); /* OE_BUSY: it is taken */

typedef unsigned oe_thread_key_t;

/* A variable of which each thread has its own, NULL at first. A thread of an enclave does not end, so
 * `destructor` is never called. OE_OUT_OF_MEMORY: there are 16. */
oe_result_t oe_thread_key_create(oe_thread_key_t* key, void (*destructor)(void* value));
oe_result_t oe_thread_key_delete(oe_thread_key_t key);
oe_result_t oe_thread_setspecific(oe_thread_key_t key, const void* value);
void* oe_thread_getspecific(oe_thread_key_t key);

OE_EXTERNC_END

#endif
