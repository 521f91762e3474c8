/* Moving arguments across the border. Everything that comes from outside is read once.
 *
 * The host can change its memory at any moment, also between two reads of the same word. So sizes and
 * pointers are copied in first, checked on the copy, and used from the copy. */
#include "openenclave/enclave.h"
#include "tee/runtime.h"

#include <stdlib.h>
#include <string.h>

oe_result_t tee_copy_in(void* inside, uint64_t outside, size_t size)
{
    /* Without this check the host could name an address inside, and have the enclave read its own
     * secrets as if they were arguments. */
    if (!outside || !oe_is_outside_enclave((void*)outside, size))
        return OE_INVALID_PARAMETER;
    return tee_read_outside(inside, outside, size);
}

oe_result_t tee_copy_out(uint64_t outside, const void* inside, size_t size)
{
    if (!outside || !oe_is_outside_enclave((void*)outside, size))
        return OE_INVALID_PARAMETER;
    return tee_write_outside(outside, inside, size);
}

/* count * unit in bytes. A negative count arrives here as a huge one. */
static oe_result_t bytes_of(uint64_t count, uint64_t unit, size_t* size)
{
    if (count > INT64_MAX)
        return OE_INVALID_PARAMETER;
    return __builtin_mul_overflow(count, unit, size) ? OE_INTEGER_OVERFLOW : OE_OK;
}

/* Ecall: make room inside for the buffer at `outside`, and fill it if it is an input. A pure
 * output starts as zeros, so that a function that forgets to write it leaks nothing. */
oe_result_t tee_take(tee_buffer_t* buffer, uint64_t outside, uint64_t count, uint64_t unit, int how)
{
    size_t size;
    oe_result_t result = bytes_of(count, unit, &size);

    if (result != OE_OK)
        return result;
    if (size > 0 && (!outside || !oe_is_outside_enclave((void*)outside, size)))
        return OE_INVALID_PARAMETER;
    buffer->inside = malloc(size);
    if (!buffer->inside)
        return OE_OUT_OF_MEMORY;
    buffer->outside = outside;
    buffer->size = size;
    if (how & TEE_IN)
        return tee_read_outside(buffer->inside, outside, size);
    memset(buffer->inside, 0, size);
    return OE_OK;
}

/* Ecall: the same for a string of `size` bytes, its NUL included. The last byte is checked on the
 * copy: outside it could still change. */
oe_result_t tee_take_string(tee_buffer_t* buffer, uint64_t outside, uint64_t size)
{
    oe_result_t result = size > 0 ? tee_take(buffer, outside, size, 1, TEE_IN) : OE_INVALID_PARAMETER;

    if (result == OE_OK && ((const char*)buffer->inside)[size - 1] != '\0')
        result = OE_INVALID_PARAMETER;
    return result;
}

/* Ecall: hand an output to the host. The range was checked by tee_take, and is ours since. */
oe_result_t tee_give(const tee_buffer_t* buffer)
{
    return tee_write_outside(buffer->outside, buffer->inside, buffer->size);
}

/* Ecall: forget a buffer. Cleared first, or the next call could be handed these bytes. */
void tee_drop(tee_buffer_t* buffer)
{
    if (!buffer->inside)
        return;
    memset(buffer->inside, 0, buffer->size);
    __asm__ volatile("" : : "r"(buffer->inside) : "memory"); /* the clearing is not a dead store */
    free(buffer->inside);
}

/* Ocall: begin with the whole arena. At most one ocall of a thread is ever pending. */
void tee_arena_reset(void)
{
    tee_thread()->arena_used = 0;
}

/* Ocall: give the host room for a buffer, with its contents if it is an input. The address is
 * remembered inside: the host cannot redirect what is read back. */
oe_result_t tee_lend(tee_buffer_t* buffer, void* inside, uint64_t count, uint64_t unit, int how)
{
    tee_thread_t* thread = tee_thread();
    uint64_t at = (thread->arena_used + 15) & ~15ull;
    size_t size;
    oe_result_t result = bytes_of(count, unit, &size);

    if (result != OE_OK)
        return result;
    if (size > 0 && !inside)
        return OE_INVALID_PARAMETER;
    if (at > thread->arena_size || size > thread->arena_size - at)
        return OE_OUT_OF_MEMORY;
    thread->arena_used = at + size;
    *buffer = (tee_buffer_t){.inside = inside, .outside = thread->arena_base + at, .size = size};
    if (how & TEE_IN)
        return tee_write_outside(buffer->outside, inside, size);
    return tee_clear_outside(buffer->outside, size);
}

oe_result_t tee_lend_string(tee_buffer_t* buffer, const char* text)
{
    if (!text)
        return OE_INVALID_PARAMETER;
    return tee_lend(buffer, (void*)text, strlen(text) + 1, 1, TEE_IN);
}

/* Ocall: read an output back, once, into the caller's own memory. */
oe_result_t tee_collect(const tee_buffer_t* buffer)
{
    return tee_read_outside(buffer->inside, buffer->outside, buffer->size);
}
