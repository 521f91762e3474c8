/* For the tests: threads that share something. */
#include "crew_t.h"

#include <errno.h>
#include <openenclave/internal/thread.h>
#include <pthread.h>

enum { SPIN, MUTEX, RWLOCK, PTHREAD_MUTEX, NONE };

static oe_spinlock_t spin = OE_SPINLOCK_INITIALIZER;
static oe_mutex_t mutex = OE_MUTEX_INITIALIZER;
static oe_rwlock_t rwlock = OE_RWLOCK_INITIALIZER;
static pthread_mutex_t pmutex = PTHREAD_MUTEX_INITIALIZER;
static volatile uint64_t number;

static void slow_add(void)
{
    uint64_t seen = number;
    for (volatile int i = 0; i < 5; i++)
        ;
    number = seen + 1;
}

void add(int kind, int times)
{
    for (int i = 0; i < times; i++)
        switch (kind) {
        case SPIN:
            oe_spin_lock(&spin);
            slow_add();
            oe_spin_unlock(&spin);
            break;
        case MUTEX:
            oe_mutex_lock(&mutex);
            oe_mutex_lock(&mutex);
            slow_add();
            oe_mutex_unlock(&mutex);
            oe_mutex_unlock(&mutex);
            break;
        case RWLOCK:
            oe_rwlock_wrlock(&rwlock);
            slow_add();
            oe_rwlock_unlock(&rwlock);
            break;
        case PTHREAD_MUTEX:
            pthread_mutex_lock(&pmutex);
            slow_add();
            pthread_mutex_unlock(&pmutex);
            break;
        default:
            slow_add();
        }
}

uint64_t total(void)
{
    return number;
}

static pthread_mutex_t slot_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int slot;

void put(int count)
{
    for (int i = 1; i <= count; i++) {
        pthread_mutex_lock(&slot_lock);
        while (slot != 0)
            pthread_cond_wait(&changed, &slot_lock);
        slot = i;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&slot_lock);
    }
}

uint64_t take(int count)
{
    uint64_t sum = 0;

    for (int i = 1; i <= count; i++) {
        pthread_mutex_lock(&slot_lock);
        while (slot == 0)
            pthread_cond_wait(&changed, &slot_lock);
        sum = sum * 10 + (uint64_t)slot;
        slot = 0;
        pthread_cond_signal(&changed);
        pthread_mutex_unlock(&slot_lock);
    }
    return sum;
}

static oe_once_t once = OE_ONCE_INITIALIZER;
static volatile int came;

static void come(void)
{
    for (volatile int i = 0; i < 300; i++)
        ;
    came = came + 1;
}

int first_come(void)
{
    oe_once(&once, come);
    return came;
}

static oe_once_t key_once = OE_ONCE_INITIALIZER;
static oe_thread_key_t key;

static void make_key(void)
{
    oe_thread_key_create(&key, NULL);
}

int64_t own(int64_t value)
{
    oe_once(&key_once, make_key);
    int64_t before = (int64_t)oe_thread_getspecific(key);
    oe_thread_setspecific(key, (void*)value);
    return before;
}

#define EXPECT(condition) do { if (!(condition)) return __LINE__; } while (0)

int misuse(void)
{
    oe_mutex_t mine;
    oe_thread_key_t keys[20];
    int made = 0;

    EXPECT(oe_mutex_init(&mine) == OE_OK && oe_mutex_unlock(&mine) == OE_NOT_OWNER);
    EXPECT(oe_mutex_trylock(&mine) == OE_OK && oe_mutex_destroy(&mine) == OE_BUSY);
    EXPECT(oe_mutex_unlock(&mine) == OE_OK && oe_mutex_destroy(&mine) == OE_OK);
    EXPECT(oe_mutex_lock(NULL) == OE_INVALID_PARAMETER);
    EXPECT(oe_cond_wait(&(oe_cond_t)OE_COND_INITIALIZER, &mine) == OE_NOT_OWNER);
    EXPECT(pthread_mutex_unlock(&pmutex) == EPERM && pthread_mutex_trylock(&pmutex) == 0);
    EXPECT(pthread_mutex_unlock(&pmutex) == 0);
    EXPECT(oe_once(NULL, come) == OE_INVALID_PARAMETER);
    while (made < 20 && oe_thread_key_create(&keys[made], NULL) == OE_OK)
        made++;
    EXPECT(made >= 15 && made <= 16);
    EXPECT(oe_thread_setspecific(99, NULL) == OE_INVALID_PARAMETER && !oe_thread_getspecific(99));
    for (int i = 0; i < made; i++)
        EXPECT(oe_thread_key_delete(keys[i]) == OE_OK);
    EXPECT(oe_thread_key_delete(keys[0]) == OE_INVALID_PARAMETER);
    EXPECT(oe_thread_equal(oe_thread_self(), oe_thread_self()) && pthread_self());
    return 0;
}

int readers(void)
{
    oe_rwlock_t lock = OE_RWLOCK_INITIALIZER;

    EXPECT(oe_rwlock_rdlock(&lock) == OE_OK && oe_rwlock_tryrdlock(&lock) == OE_OK);
    EXPECT(oe_rwlock_trywrlock(&lock) == OE_BUSY && oe_rwlock_destroy(&lock) == OE_BUSY);
    EXPECT(oe_rwlock_unlock(&lock) == OE_OK && oe_rwlock_unlock(&lock) == OE_OK);
    EXPECT(oe_rwlock_unlock(&lock) == OE_NOT_OWNER);
    EXPECT(oe_rwlock_wrlock(&lock) == OE_OK && oe_rwlock_tryrdlock(&lock) == OE_BUSY);
    EXPECT(oe_rwlock_unlock(&lock) == OE_OK && oe_rwlock_destroy(&lock) == OE_OK);
    return 0;
}
