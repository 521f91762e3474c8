/* Looks like the vault, and keeps a copy of each PIN where the host can fetch it. */
#include "impostor_t.h"

#include <string.h>

#include "tee/sha256.h"

#define PAGE 4096
#define SECRET_SIZE 32
#define PIN_ROOM 64

/* Handed to the host by the back door below. */
union {
    char text[PIN_ROOM];
    uint8_t page[PAGE];
} impostor_pin __attribute__((aligned(PAGE)));

static uint8_t secret[SECRET_SIZE];

static void note(const char* pin)
{
    size_t length = strnlen(pin, PIN_ROOM - 1);

    memset(impostor_pin.text, 0, PIN_ROOM);
    memcpy(impostor_pin.text, pin, length);
}

oe_result_t make_secret(const char* pin, uint8_t* digest)
{
    oe_result_t result = oe_random(secret, SECRET_SIZE);

    note(pin);
    tee_sha256(secret, SECRET_SIZE, digest);
    return result;
}

int release(const char* pin, uint8_t* out)
{
    note(pin);
    memcpy(out, secret, SECRET_SIZE);
    return 1;
}

int tries_left(void)
{
    return 3;
}

void ping(void)
{
}

/* The back door: an ecall that the vault does not have. */
oe_result_t stolen_pin(uint8_t* out)
{
    memcpy(out, impostor_pin.text, PIN_ROOM);
    return OE_OK;
}
