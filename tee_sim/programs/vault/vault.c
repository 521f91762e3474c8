/* A safe with one secret and a PIN. See program.toml for what to try on it. */
#include "vault_t.h"

#include <string.h>

#include "tee/sha256.h"

#define PAGE 4096
#define SECRET_SIZE 32
#define PIN_ROOM 64 /* bytes, NUL included */
#define MAX_TRIES 3

/* Each of these fills a page of its own, so that an attack can aim at one without touching the
 * others: read the secret, or put back an old page of the counter alone. */
union {
    uint8_t bytes[SECRET_SIZE];
    uint8_t page[PAGE];
} vault_secret __attribute__((aligned(PAGE)));

union {
    char text[PIN_ROOM];
    uint8_t page[PAGE];
} vault_pin __attribute__((aligned(PAGE)));

union {
    volatile int32_t left; /* volatile: every call goes to memory, where the counter can be attacked */
    uint8_t page[PAGE];
} vault_tries __attribute__((aligned(PAGE)));

oe_result_t make_secret(const char* pin, uint8_t* digest)
{
    size_t length = pin ? strlen(pin) : 0;
    oe_result_t result;

    if (!digest || length == 0 || length >= PIN_ROOM)
        return OE_INVALID_PARAMETER;
    result = oe_random(vault_secret.bytes, SECRET_SIZE);
    if (result != OE_OK)
        return result;
    memset(vault_pin.text, 0, PIN_ROOM);
    memcpy(vault_pin.text, pin, length);
    vault_tries.left = MAX_TRIES;
    tee_sha256(vault_secret.bytes, SECRET_SIZE, digest);
    return OE_OK;
}

/* Compares all of both, whatever the first difference: the time says nothing about the PIN. */
static bool same_pin(const char* pin)
{
    size_t length = strnlen(pin, PIN_ROOM);
    char padded[PIN_ROOM] = {0};
    uint8_t difference = 0;

    if (length == PIN_ROOM)
        return false;
    memcpy(padded, pin, length);
    for (size_t i = 0; i < PIN_ROOM; i++)
        difference |= (uint8_t)(padded[i] ^ vault_pin.text[i]);
    return difference == 0;
}

int release(const char* pin, uint8_t* secret)
{
    if (vault_tries.left <= 0)
        return -1;
    /* Count first, compare afterwards: a host that stops the call in between gains nothing. */
    vault_tries.left = vault_tries.left - 1;
    if (!pin || !secret || !same_pin(pin))
        return 0;
    vault_tries.left = MAX_TRIES;
    memcpy(secret, vault_secret.bytes, SECRET_SIZE);
    return 1;
}

int tries_left(void)
{
    return vault_tries.left;
}

void ping(void)
{
}
