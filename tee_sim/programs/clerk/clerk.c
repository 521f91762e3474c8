/* Believes what the host answers, in one ecall and not in the other. */
#include "clerk_t.h"

#include <string.h>

#include "tee/sha256.h"

#define PAGE 4096
#define SECRET_SIZE 32

union {
    uint8_t bytes[SECRET_SIZE];
    uint8_t page[PAGE];
} clerk_secret __attribute__((aligned(PAGE)));

/* Nothing in this program sets it. */
volatile uint64_t clerk_clearance = 0;

oe_result_t make_secret(uint8_t* digest)
{
    oe_result_t result = oe_random(clerk_secret.bytes, SECRET_SIZE);

    tee_sha256(clerk_secret.bytes, SECRET_SIZE, digest);
    return result;
}

oe_result_t log_carelessly(uint64_t entry)
{
    uint64_t room = 0;
    oe_result_t result = find_room(&room, sizeof entry);

    if (result != OE_OK)
        return result;
    /* The mistake: the host may have answered with an address of ours. */
    *(volatile uint64_t*)room = entry;
    return OE_OK;
}

oe_result_t log_carefully(uint64_t entry)
{
    uint64_t room = 0;
    oe_result_t result = find_room(&room, sizeof entry);

    if (result != OE_OK)
        return result;
    if (!oe_is_outside_enclave((void*)room, sizeof entry))
        return OE_INVALID_PARAMETER;
    *(volatile uint64_t*)room = entry;
    return OE_OK;
}

int show(uint8_t* secret)
{
    if (!clerk_clearance)
        return 0;
    memcpy(secret, clerk_secret.bytes, SECRET_SIZE);
    return 1;
}
