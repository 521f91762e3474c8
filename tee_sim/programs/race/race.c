/* One number, and threads that add to it: with a lock, and without. */
#include "race_t.h"

#include "openenclave/internal/thread.h"

static volatile uint64_t number;
static oe_spinlock_t lock = OE_SPINLOCK_INITIALIZER;

/* Three steps. (The barrier keeps the compiler from making one instruction of them, which a logical
 * processor here would execute at one go; two real cores would still lose additions.) */
static void add_one(void)
{
    uint64_t seen = number;
    __asm__ volatile("" : "+r"(seen));
    number = seen + 1;
}

void add(uint64_t times)
{
    while (times-- > 0)
        add_one();
}

void add_locked(uint64_t times)
{
    while (times-- > 0) {
        oe_spin_lock(&lock);
        add_one();
        oe_spin_unlock(&lock);
    }
}

uint64_t total(void)
{
    return number;
}
