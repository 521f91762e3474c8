/* Thread primitives: Open Enclave's, and those of <pthread.h> by their means. See internal/thread.h. */
#include "openenclave/internal/thread.h"
#include "tee/runtime.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define MAX_THREADS 64
#define MAX_KEYS 16

oe_thread_t oe_thread_self(void)
{
    return tee_thread()->index + 1;
}

bool oe_thread_equal(oe_thread_t thread1, oe_thread_t thread2)
{
    return thread1 == thread2;
}

oe_result_t oe_once(oe_once_t* once, void (*func)(void))
{
    enum { STARTED = 1, DONE = 2 };
    int state = OE_ONCE_INITIALIZER;

    if (!once || !func)
        return OE_INVALID_PARAMETER;
    if (__atomic_compare_exchange_n(once, &state, STARTED, false, __ATOMIC_ACQUIRE,
                                    __ATOMIC_ACQUIRE)) {
        func();
        __atomic_store_n(once, DONE, __ATOMIC_RELEASE);
    }
    while (__atomic_load_n(once, __ATOMIC_ACQUIRE) != DONE)
        __builtin_ia32_pause();
    return OE_OK;
}

/* Try until it is not busy. */
#define WAIT_FOR(attempt)                     \
    oe_result_t result;                       \
    while ((result = (attempt)) == OE_BUSY)   \
        __builtin_ia32_pause();               \
    return result

oe_result_t oe_mutex_init(oe_mutex_t* mutex)
{
    if (!mutex)
        return OE_INVALID_PARAMETER;
    *mutex = (oe_mutex_t)OE_MUTEX_INITIALIZER;
    return OE_OK;
}

oe_result_t oe_mutex_trylock(oe_mutex_t* mutex)
{
    oe_thread_t owner = 0, self = oe_thread_self();

    if (!mutex)
        return OE_INVALID_PARAMETER;
    if (!__atomic_compare_exchange_n(&mutex->owner, &owner, self, false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_ACQUIRE) &&
        owner != self)
        return OE_BUSY;
    mutex->depth++;
    return OE_OK;
}

oe_result_t oe_mutex_lock(oe_mutex_t* mutex)
{
    WAIT_FOR(oe_mutex_trylock(mutex));
}

oe_result_t oe_mutex_unlock(oe_mutex_t* mutex)
{
    if (!mutex)
        return OE_INVALID_PARAMETER;
    if (__atomic_load_n(&mutex->owner, __ATOMIC_ACQUIRE) != oe_thread_self())
        return OE_NOT_OWNER;
    if (--mutex->depth == 0)
        __atomic_store_n(&mutex->owner, 0, __ATOMIC_RELEASE);
    return OE_OK;
}

oe_result_t oe_mutex_destroy(oe_mutex_t* mutex)
{
    if (!mutex)
        return OE_INVALID_PARAMETER;
    return mutex->owner ? OE_BUSY : OE_OK;
}

oe_result_t oe_cond_init(oe_cond_t* condition)
{
    if (!condition)
        return OE_INVALID_PARAMETER;
    *condition = (oe_cond_t)OE_COND_INITIALIZER;
    return OE_OK;
}

oe_result_t oe_cond_wait(oe_cond_t* condition, oe_mutex_t* mutex)
{
    if (!condition || !mutex)
        return OE_INVALID_PARAMETER;
    if (__atomic_load_n(&mutex->owner, __ATOMIC_ACQUIRE) != oe_thread_self())
        return OE_NOT_OWNER;
    /* Queues before it lets go of the mutex: no signal in between is lost, and none is taken by a
     * thread that comes later. */
    uint64_t ticket = __atomic_fetch_add(&condition->tickets, 1, __ATOMIC_ACQ_REL);
    oe_mutex_unlock(mutex);
    while (__atomic_load_n(&condition->called, __ATOMIC_ACQUIRE) <= ticket)
        __builtin_ia32_pause();
    return oe_mutex_lock(mutex);
}

static oe_result_t wake(oe_cond_t* condition, uint64_t most)
{
    if (!condition)
        return OE_INVALID_PARAMETER;
    oe_spin_lock(&condition->lock);
    uint64_t waiting = condition->tickets - condition->called;
    condition->called += waiting < most ? waiting : most;
    oe_spin_unlock(&condition->lock);
    return OE_OK;
}

oe_result_t oe_cond_signal(oe_cond_t* condition)
{
    return wake(condition, 1);
}

oe_result_t oe_cond_broadcast(oe_cond_t* condition)
{
    return wake(condition, UINT64_MAX);
}

oe_result_t oe_cond_destroy(oe_cond_t* condition)
{
    if (!condition)
        return OE_INVALID_PARAMETER;
    return condition->tickets != condition->called ? OE_BUSY : OE_OK;
}

oe_result_t oe_rwlock_init(oe_rwlock_t* rw_lock)
{
    if (!rw_lock)
        return OE_INVALID_PARAMETER;
    *rw_lock = (oe_rwlock_t)OE_RWLOCK_INITIALIZER;
    return OE_OK;
}

static bool is_taken(oe_rwlock_t* rw_lock, bool to_write)
{
    return __atomic_load_n(&rw_lock->writer, __ATOMIC_ACQUIRE) ||
           (to_write && __atomic_load_n(&rw_lock->readers, __ATOMIC_ACQUIRE));
}

static oe_result_t take(oe_rwlock_t* rw_lock, bool to_write)
{
    oe_result_t result = OE_OK;

    if (!rw_lock)
        return OE_INVALID_PARAMETER;
    /* Looks without the lock first: a thread that waits, interrupted with the lock again and again,
     * would keep everybody else out. */
    if (is_taken(rw_lock, to_write))
        return OE_BUSY;
    oe_spin_lock(&rw_lock->lock);
    if (is_taken(rw_lock, to_write))
        result = OE_BUSY;
    else if (to_write)
        rw_lock->writer = oe_thread_self();
    else
        rw_lock->readers++;
    oe_spin_unlock(&rw_lock->lock);
    return result;
}

oe_result_t oe_rwlock_tryrdlock(oe_rwlock_t* rw_lock)
{
    return take(rw_lock, false);
}

oe_result_t oe_rwlock_rdlock(oe_rwlock_t* rw_lock)
{
    WAIT_FOR(take(rw_lock, false));
}

oe_result_t oe_rwlock_trywrlock(oe_rwlock_t* rw_lock)
{
    return take(rw_lock, true);
}

oe_result_t oe_rwlock_wrlock(oe_rwlock_t* rw_lock)
{
    WAIT_FOR(take(rw_lock, true));
}

oe_result_t oe_rwlock_unlock(oe_rwlock_t* rw_lock)
{
    oe_result_t result = OE_OK;

    if (!rw_lock)
        return OE_INVALID_PARAMETER;
    oe_spin_lock(&rw_lock->lock);
    if (rw_lock->writer == oe_thread_self())
        rw_lock->writer = 0;
    else if (rw_lock->readers > 0)
        rw_lock->readers--;
    else
        result = OE_NOT_OWNER;
    oe_spin_unlock(&rw_lock->lock);
    return result;
}

oe_result_t oe_rwlock_destroy(oe_rwlock_t* rw_lock)
{
    if (!rw_lock)
        return OE_INVALID_PARAMETER;
    return rw_lock->readers || rw_lock->writer ? OE_BUSY : OE_OK;
}

static bool key_used[MAX_KEYS];
static void* values[MAX_KEYS][MAX_THREADS];

oe_result_t oe_thread_key_create(oe_thread_key_t* key, void (*destructor)(void* value))
{
    (void)destructor;
    if (!key)
        return OE_INVALID_PARAMETER;
    for (unsigned i = 0; i < MAX_KEYS; i++)
        if (!__atomic_test_and_set(&key_used[i], __ATOMIC_ACQ_REL)) {
            memset(values[i], 0, sizeof values[i]);
            *key = i;
            return OE_OK;
        }
    return OE_OUT_OF_MEMORY;
}

oe_result_t oe_thread_key_delete(oe_thread_key_t key)
{
    if (key >= MAX_KEYS || !key_used[key])
        return OE_INVALID_PARAMETER;
    __atomic_clear(&key_used[key], __ATOMIC_RELEASE);
    return OE_OK;
}

oe_result_t oe_thread_setspecific(oe_thread_key_t key, const void* value)
{
    if (key >= MAX_KEYS || !key_used[key])
        return OE_INVALID_PARAMETER;
    values[key][tee_thread()->index % MAX_THREADS] = (void*)value;
    return OE_OK;
}

void* oe_thread_getspecific(oe_thread_key_t key)
{
    if (key >= MAX_KEYS || !key_used[key])
        return NULL;
    return values[key][tee_thread()->index % MAX_THREADS];
}

/* The types of <pthread.h> are larger, and start as zeros, too. */
_Static_assert(sizeof(oe_mutex_t) <= sizeof(pthread_mutex_t), "pthread.h");
_Static_assert(sizeof(oe_cond_t) <= sizeof(pthread_cond_t), "pthread.h");
_Static_assert(sizeof(oe_rwlock_t) <= sizeof(pthread_rwlock_t), "pthread.h");
_Static_assert(sizeof(oe_once_t) == sizeof(pthread_once_t), "pthread.h");

static int number_of(oe_result_t result)
{
    switch (result) {
    case OE_OK: return 0;
    case OE_BUSY: return EBUSY;
    case OE_NOT_OWNER: return EPERM;
    case OE_OUT_OF_MEMORY: return EAGAIN;
    default: return EINVAL;
    }
}

#define SAME(name, type)                                      \
    int pthread_##name(pthread_##type##_t* it)                \
    {                                                         \
        return number_of(oe_##name((oe_##type##_t*)it));      \
    }
#define INIT(type)                                                                  \
    int pthread_##type##_init(pthread_##type##_t* restrict it,                      \
                              const pthread_##type##attr_t* restrict attributes)    \
    {                                                                               \
        return attributes ? EINVAL : number_of(oe_##type##_init((oe_##type##_t*)it)); \
    }

INIT(mutex)
SAME(mutex_lock, mutex)
SAME(mutex_trylock, mutex)
SAME(mutex_unlock, mutex)
SAME(mutex_destroy, mutex)
INIT(cond)
SAME(cond_signal, cond)
SAME(cond_broadcast, cond)
SAME(cond_destroy, cond)
INIT(rwlock)
SAME(rwlock_rdlock, rwlock)
SAME(rwlock_tryrdlock, rwlock)
SAME(rwlock_wrlock, rwlock)
SAME(rwlock_trywrlock, rwlock)
SAME(rwlock_unlock, rwlock)
SAME(rwlock_destroy, rwlock)

int pthread_cond_wait(pthread_cond_t* restrict condition, pthread_mutex_t* restrict mutex)
{
    return number_of(oe_cond_wait((oe_cond_t*)condition, (oe_mutex_t*)mutex));
}

int pthread_once(pthread_once_t* once, void (*func)(void))
{
    return number_of(oe_once(once, func));
}

pthread_t pthread_self(void)
{
    return (pthread_t)oe_thread_self();
}

int pthread_key_create(pthread_key_t* key, void (*destructor)(void* value))
{
    return number_of(oe_thread_key_create(key, destructor));
}

int pthread_key_delete(pthread_key_t key)
{
    return number_of(oe_thread_key_delete(key));
}

int pthread_setspecific(pthread_key_t key, const void* value)
{
    return number_of(oe_thread_setspecific(key, value));
}

void* pthread_getspecific(pthread_key_t key)
{
    return oe_thread_getspecific(key);
}
