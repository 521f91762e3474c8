/* The memory functions that everybody needs, and the compiler calls by itself. The C library has the
 * other ones.
 *
 * Bulk copies go 64 bytes at a time through SSE registers. `rep movsb` would be shorter, but each of
 * its iterations counts as an instruction on the emulated processor. The build says -ffreestanding,
 * or the compiler would recognise these loops and turn them into calls to themselves. */
#include <stdint.h>
#include <string.h>

/* Sixteen bytes at any address, of any type. */
typedef uint64_t block_t __attribute__((vector_size(16), aligned(1), may_alias));

static uint8_t* copy_up(uint8_t* to, const uint8_t* from, size_t size)
{
    for (; size >= 4 * sizeof(block_t); size -= 4 * sizeof(block_t)) {
        const block_t* source = (const block_t*)from;
        block_t a = source[0], b = source[1], c = source[2], d = source[3];
        block_t* target = (block_t*)to;
        target[0] = a, target[1] = b, target[2] = c, target[3] = d;
        from += 4 * sizeof(block_t), to += 4 * sizeof(block_t);
    }
    for (; size >= sizeof(block_t); size -= sizeof(block_t)) {
        *(block_t*)to = *(const block_t*)from;
        from += sizeof(block_t), to += sizeof(block_t);
    }
    while (size-- > 0)
        *to++ = *from++;
    return to;
}

void* memcpy(void* to, const void* from, size_t size)
{
    copy_up(to, from, size);
    return to;
}

void* memmove(void* to, const void* from, size_t size)
{
    uint8_t* target = to;
    const uint8_t* source = from;

    /* Upwards is safe unless the target starts inside the source. */
    if ((uintptr_t)target - (uintptr_t)source >= size)
        return memcpy(to, from, size);
    for (; size >= sizeof(block_t); size -= sizeof(block_t))
        *(block_t*)(target + size - sizeof(block_t)) =
            *(const block_t*)(source + size - sizeof(block_t));
    while (size-- > 0)
        target[size] = source[size];
    return to;
}

void* memset(void* to, int value, size_t size)
{
    uint8_t* target = to;
    uint64_t word = (uint8_t)value * 0x0101010101010101u;
    block_t block = {word, word};

    for (; size >= sizeof(block_t); size -= sizeof(block_t)) {
        *(block_t*)target = block;
        target += sizeof(block_t);
    }
    while (size-- > 0)
        *target++ = (uint8_t)value;
    return to;
}

int memcmp(const void* a, const void* b, size_t size)
{
    const uint8_t *left = a, *right = b;

    for (size_t i = 0; i < size; i++)
        if (left[i] != right[i])
            return left[i] - right[i];
    return 0;
}
