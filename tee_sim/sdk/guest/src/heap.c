/* The heap: blocks one after another, first fit, neighbours merged when a search passes by.
 *
 * Every block starts with a header of 16 bytes, so what malloc returns is 16-byte aligned. The heap
 * pages are not measured (see image.py), so nothing here trusts what they hold at the start. */
#include "openenclave/enclave.h"
#include "openenclave/internal/thread.h"
#include "tee/dynamic.h"
#include "tee/runtime.h"

#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 16
#define PAGE 4096
#define USED 0x75736564u
#define FREE 0x66726565u

typedef struct {
    uint64_t size; /* bytes, header included; a multiple of ALIGNMENT */
    uint64_t state;
} block_t;

_Static_assert(sizeof(block_t) == ALIGNMENT, "payloads must stay aligned");

static block_t *first, *end;
static oe_spinlock_t lock = OE_SPINLOCK_INITIALIZER;

static block_t* after(block_t* block)
{
    return (block_t*)((uint8_t*)block + block->size);
}

void tee_heap_init(uint8_t* start, size_t size)
{
    first = (block_t*)start;
    end = (block_t*)(start + size);
    if (size > 0)
        *first = (block_t){.size = size, .state = FREE};
}

uint64_t tee_heap_end(void)
{
    return (uint64_t)((uint8_t*)end - __ehdr_start);
}

/* Touching what is not there makes the host add it; here EACCEPT is what touches it. */
bool tee_heap_grow(size_t pages)
{
    bool grown = true;

    oe_spin_lock(&lock);
    for (; grown && pages > 0; pages--) {
        grown = tee_heap_end() < tee_spare_end() && tee_accept(end, TEE_NEW);
        if (grown) {
            *end = (block_t){.size = PAGE, .state = FREE};
            end = after(end);
        }
    }
    oe_spin_unlock(&lock);
    return grown;
}

/* The first free block with room for `need` bytes, cut to size; NULL if there is none. */
static block_t* find(size_t need)
{
    for (block_t* block = first; block < end; block = after(block)) {
        if (block->state != FREE)
            continue;
        for (block_t* next = after(block); next < end && next->state == FREE; next = after(block))
            block->size += next->size;
        if (block->size < need)
            continue;
        if (block->size - need >= 2 * sizeof(block_t)) {
            block_t* rest = (block_t*)((uint8_t*)block + need);
            *rest = (block_t){.size = block->size - need, .state = FREE};
            block->size = need;
        }
        return block;
    }
    return NULL;
}

void* malloc(size_t size)
{
    size_t need;
    block_t* block;

    if (__builtin_add_overflow(size, sizeof(block_t) + ALIGNMENT - 1, &need))
        return NULL;
    need &= ~(size_t)(ALIGNMENT - 1);
    oe_spin_lock(&lock);
    block = find(need);
    if (block)
        block->state = USED;
    oe_spin_unlock(&lock);
    return block ? block + 1 : NULL;
}

void free(void* ptr)
{
    block_t* block = (block_t*)ptr - 1;

    if (!ptr)
        return;
    /* A wild or repeated free means that the program is no longer itself: stop. */
    if (block < first || block >= end || (uintptr_t)ptr % ALIGNMENT || block->state != USED)
        oe_abort();
    oe_spin_lock(&lock);
    block->state = FREE;
    oe_spin_unlock(&lock);
}

void* calloc(size_t count, size_t size)
{
    size_t total;
    void* ptr;

    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    ptr = malloc(total);
    return ptr ? memset(ptr, 0, total) : NULL;
}

void* realloc(void* ptr, size_t size)
{
    block_t* block = (block_t*)ptr - 1;
    size_t old = ptr ? block->size - sizeof(block_t) : 0;
    void* grown = malloc(size);

    if (!grown || !ptr)
        return grown;
    memcpy(grown, ptr, old < size ? old : size);
    free(ptr);
    return grown;
}

void* oe_malloc(size_t size) __attribute__((alias("malloc")));
void* oe_calloc(size_t count, size_t size) __attribute__((alias("calloc")));
void* oe_realloc(void* ptr, size_t size) __attribute__((alias("realloc")));
void oe_free(void* ptr) __attribute__((alias("free")));
