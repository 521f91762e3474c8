/* Randomness from the processor: the only source that the host cannot choose. */
#include "openenclave/enclave.h"

#include <string.h>

/* Intel's guide asks for ten tries before giving up: the generator may be drained for a moment. */
#define TRIES 10

static bool rdrand(uint64_t* value)
{
    for (int i = 0; i < TRIES; i++) {
        bool valid;
        __asm__ volatile("rdrand %0" : "=r"(*value), "=@ccc"(valid));
        if (valid)
            return true;
    }
    return false;
}

oe_result_t oe_random(void* data, size_t size)
{
    uint8_t* to = data;
    uint64_t value;

    while (size > 0) {
        size_t part = size < sizeof value ? size : sizeof value;
        if (!rdrand(&value))
            return OE_FAILURE;
        memcpy(to, &value, part);
        to += part;
        size -= part;
    }
    return OE_OK;
}
