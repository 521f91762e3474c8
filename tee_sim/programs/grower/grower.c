/* A program that grows, starts a thread and freezes a page, all after it was measured. */
#include "grower_t.h"

#include <stdlib.h>
#include <string.h>

#include "tee/dynamic.h"

#define PAGE 4096
#define TOIL 20000
#define TYPE(flags) ((flags) >> 8)

union {
    volatile uint64_t number;
    uint8_t page[PAGE];
} grower_page __attribute__((aligned(PAGE)));

static uint64_t published;

oe_result_t fill(uint64_t bytes, uint64_t* sum)
{
    uint8_t* block;

    if (bytes == 0 || bytes > UINT32_MAX)
        return OE_INVALID_PARAMETER;
    block = malloc(bytes);
    if (!block && tee_heap_grow(bytes / PAGE + 2))
        block = malloc(bytes);
    if (!block)
        return OE_OUT_OF_MEMORY;
    for (uint64_t i = 0; i < bytes; i++)
        block[i] = (uint8_t)i;
    *sum = 0;
    for (uint64_t i = 0; i < bytes; i++)
        *sum += block[i];
    free(block);
    return OE_OK;
}

oe_result_t add_thread(void)
{
    void* tcs;
    oe_result_t result = tee_thread_make(2, &tcs);

    if (result == OE_OK)
        result = change_type((uint64_t)tcs, 1, TYPE(TEE_TCS));
    if (result == OE_OK && !tee_accept(tcs, TEE_TCS | TEE_MODIFIED))
        result = OE_FAILURE;
    return result;
}

void toil(void)
{
    for (int i = 0; i < TOIL; i++)
        grower_page.number = grower_page.number + 1;
}

oe_result_t publish(void)
{
    oe_result_t result = restrict_rights((uint64_t)&grower_page, 1, TEE_R);

    /* The host says that it is done. Whether the right is gone, and gone for every thread that is
     * inside at this moment, the processor says. */
    if (result == OE_OK && !tee_accept(&grower_page, TEE_REG | TEE_R | TEE_PR))
        result = OE_FAILURE;
    if (result == OE_OK)
        published = grower_page.number;
    return result;
}

uint64_t number(void)
{
    return grower_page.number;
}

bool intact(void)
{
    return grower_page.number == published;
}

oe_result_t give_back(void)
{
    oe_result_t result = change_type((uint64_t)&grower_page, 1, TYPE(TEE_TRIM));

    if (result == OE_OK && !tee_accept(&grower_page, TEE_TRIM | TEE_MODIFIED))
        result = OE_FAILURE;
    if (result == OE_OK)
        result = remove_pages((uint64_t)&grower_page, 1);
    return result;
}
