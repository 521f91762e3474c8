/* A combination lock that compares digit by digit. See program.toml for what that gives away. */
#include "lock_t.h"

#include "tee/aex_notify.h"
#include "tee/sha256.h"

#define DIGITS 8
#define PATIENCE 4 /* interruptions of one call: a timer of an honest host has no reason for more */

static uint8_t combination[DIGITS];
static volatile int interruptions;

oe_result_t choose(uint8_t* digest)
{
    oe_result_t result = oe_random(combination, DIGITS);

    for (int i = 0; i < DIGITS; i++)
        combination[i] %= 10;
    tee_sha256(combination, DIGITS, digest);
    return result;
}

static void on_interruption(void)
{
    interruptions = interruptions + 1;
    if (interruptions > PATIENCE)
        oe_abort();
}

void mind(void)
{
    tee_set_aex_handler(on_interruption);
}

int unlock(uint64_t digits)
{
    interruptions = 0;
    for (int i = 0; i < DIGITS; i++)
        /* The mistake: how long this takes depends on the secret. */
        if ((uint8_t)(digits >> 8 * i) != combination[i])
            return 0;
    return 1;
}
