/* Moving arguments across the border. Everything that comes from outside is read once.
 *
 * The host can change its memory at any moment, also between two reads of the same word. So sizes and
 * pointers are copied in first, checked on the copy, and used from the copy. A pointer that is NULL
 * stays NULL, as in Open Enclave: whether it may be, the program decides. */
#include "openenclave/enclave.h"
#include "tee/runtime.h"

#include <stdlib.h>
#include <string.h>

static bool guarded(uint64_t guard)
{
    return tee_thread()->guards & guard;
}

static void clear(void* bytes, size_t size)
{
    memset(bytes, 0, size);
    __asm__ volatile("" : : "r"(bytes) : "memory"); /* the clearing is not a dead store */
}

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
    bool overflow = __builtin_mul_overflow(count, unit, size);

    if (!guarded(GUARD_OVERFLOW))
        return OE_OK;
    if (count > INT64_MAX)
        return OE_INVALID_PARAMETER;
    return overflow ? OE_INTEGER_OVERFLOW : OE_OK;
}

/* Clear what lies between the members of structures that leave: whatever was in memory or on the
 * stack before them would leave with them. */
void tee_scrub(const tee_type_t* type, void* structures, size_t size)
{
    if (!type || !guarded(GUARD_CLEAR))
        return;
    for (size_t start = 0; start < size; start += type->size)
        for (size_t i = 0; i < type->gap_count; i++) {
            size_t at = start + type->gaps[i].at, left = at < size ? size - at : 0;

            clear((uint8_t*)structures + at, left < type->gaps[i].size ? left : type->gaps[i].size);
        }
}

/* --- Members that are pointers to buffers of their own ------------------------------------------- */

typedef oe_result_t (*visit_t)(tee_buffer_t* member, uint64_t pointer);

static uint64_t extent(const tee_extent_t* extent, const uint8_t* structure)
{
    uint64_t value = extent->fixed;

    if (extent->size)
        memcpy(&value, structure + extent->at, extent->size);
    return value;
}

/* For each such member of each structure at `structures`: remember it inside, visit it, and set the
 * pointer to where its buffer lies now. Sizes are read from these structures, so they must be a copy
 * that the host cannot change. */
static oe_result_t each_member(tee_buffer_t* buffer, uint8_t* structures, int how, bool inwards,
                               visit_t visit)
{
    const tee_type_t* type = buffer->type;

    for (size_t at = 0; at + type->size <= buffer->size; at += type->size)
        for (size_t i = 0; i < type->member_count; i++) {
            const tee_member_t* member = &type->members[i];
            uint8_t* structure = structures + at;
            uint64_t pointer;
            oe_result_t result;
            tee_buffer_t* made = calloc(1, sizeof *made);

            if (!made)
                return OE_OUT_OF_MEMORY;
            memcpy(&pointer, structure + member->at, sizeof pointer);
            *made = (tee_buffer_t){.type = member->type, .how = how, .member = member, .at = at};
            made->next = buffer->members;
            buffer->members = made;
            for (int n = 0; n < 2; n++)
                made->extent[n] = extent(&member->extent[n], structure);
            result = visit(made, pointer);
            if (result != OE_OK)
                return result;
            pointer = inwards ? (uint64_t)made->inside : made->outside;
            memcpy(structure + member->at, &pointer, sizeof pointer);
        }
    return OE_OK;
}

/* Pointers and sizes as they were at the start, whatever has been written there since. */
static void restore_members(tee_buffer_t* buffer, bool inwards)
{
    for (tee_buffer_t* made = buffer->members; made; made = made->next) {
        uint8_t* structure = (uint8_t*)buffer->inside + made->at;
        uint64_t pointer = inwards ? (uint64_t)made->inside : made->outside;

        memcpy(structure + made->member->at, &pointer, sizeof pointer);
        for (int n = 0; n < 2; n++)
            memcpy(structure + made->member->extent[n].at, &made->extent[n],
                   made->member->extent[n].size);
    }
}

static bool has_members(const tee_buffer_t* buffer)
{
    return buffer->type && buffer->type->member_count && buffer->inside;
}

/* --- Ecalls ------------------------------------------------------------------------------------- */

static oe_result_t take_member(tee_buffer_t* member, uint64_t outside)
{
    return tee_take(member, outside, member->extent[0], member->extent[1]);
}

/* Make room inside for the buffer at `outside`, and fill it if it is an input. A pure output starts
 * as zeros, so that a function that forgets to write it leaks nothing. */
oe_result_t tee_take(tee_buffer_t* buffer, uint64_t outside, uint64_t count, uint64_t unit)
{
    size_t size;
    oe_result_t result = bytes_of(count, unit, &size);

    if (result != OE_OK || !outside)
        return result;
    if (size > 0 && !oe_is_outside_enclave((void*)outside, size))
        return OE_INVALID_PARAMETER;
    buffer->outside = outside;
    buffer->size = size;
    if (!guarded(GUARD_COPY) && buffer->how & TEE_IN && !buffer->member &&
        !(buffer->type && buffer->type->member_count)) {
        buffer->inside = (void*)outside;
        return OE_OK;
    }
    buffer->inside = malloc(size);
    if (!buffer->inside)
        return OE_OUT_OF_MEMORY;
    if (!(buffer->how & TEE_IN)) {
        if (guarded(GUARD_CLEAR))
            memset(buffer->inside, 0, size);
        return OE_OK;
    }
    result = tee_read_outside(buffer->inside, outside, size);
    if (result == OE_OK && has_members(buffer))
        result = each_member(buffer, buffer->inside, buffer->how, true, take_member);
    return result;
}

/* The same for a string of `size` bytes in characters of `unit` bytes, its NUL included. The last
 * character is checked on the copy: outside it could still change. */
oe_result_t tee_take_string(tee_buffer_t* buffer, uint64_t outside, uint64_t size, uint64_t unit)
{
    static const uint32_t nul;
    oe_result_t result;

    if (!outside)
        return OE_OK;
    result = size >= unit && size % unit == 0 ? tee_take(buffer, outside, size, 1)
                                              : OE_INVALID_PARAMETER;
    if (result == OE_OK && memcmp((uint8_t*)buffer->inside + size - unit, &nul, unit) != 0)
        result = OE_INVALID_PARAMETER;
    return result;
}

static oe_result_t lend_member(tee_buffer_t* member, uint64_t inside)
{
    return tee_lend(member, (void*)inside, member->extent[0], member->extent[1]);
}

/* Hand an output to the host. The range was checked by tee_take, and is ours since. What hangs on a
 * pure output the program has made; it goes to the arena. */
oe_result_t tee_give(tee_buffer_t* buffer)
{
    oe_result_t result = OE_OK;

    if (buffer->inside == (void*)buffer->outside)
        return OE_OK;
    if (has_members(buffer) && !(buffer->how & TEE_IN))
        result = each_member(buffer, buffer->inside, TEE_IN, false, lend_member);
    else {
        for (tee_buffer_t* made = buffer->members; made && result == OE_OK; made = made->next)
            result = tee_give(made);
        restore_members(buffer, false);
    }
    if (result == OE_OK) {
        tee_scrub(buffer->type, buffer->inside, buffer->size);
        result = tee_write_outside(buffer->outside, buffer->inside, buffer->size);
    }
    return result;
}

/* Forget what is remembered of a buffer's members; with `contents`, the members too. */
static void forget_members(tee_buffer_t* buffer, bool contents)
{
    while (buffer->members) {
        tee_buffer_t* made = buffer->members;

        buffer->members = made->next;
        if (contents)
            tee_drop(made);
        else
            forget_members(made, false);
        free(made);
    }
}

/* Forget a buffer. Cleared first, or the next call could be handed these bytes. */
void tee_drop(tee_buffer_t* buffer)
{
    forget_members(buffer, true);
    if (!buffer->inside || buffer->inside == (void*)buffer->outside)
        return;
    clear(buffer->inside, buffer->size);
    free(buffer->inside);
}

/* --- Ocalls ------------------------------------------------------------------------------------- */

/* Begin with the whole arena. At most one ocall of a thread is ever pending. */
void tee_arena_reset(void)
{
    tee_thread()->arena_used = 0;
}

/* An ecall's outputs may take what lies from here on: the host says where its arguments end. */
oe_result_t tee_arena_from(uint64_t room)
{
    tee_thread_t* thread = tee_thread();

    if (room < thread->arena_base || room - thread->arena_base > thread->arena_size)
        return OE_INVALID_PARAMETER;
    thread->arena_used = room - thread->arena_base;
    return OE_OK;
}

/* Where the host may put what an ocall's outputs point to: behind the struct that comes next. */
uint64_t tee_arena_behind(size_t size)
{
    return tee_thread()->arena_base + ((tee_thread()->arena_used + 15) & ~15ull) + size;
}

/* Give the host room for a buffer, with its contents if it is an input. The address is remembered
 * inside: the host cannot redirect what is read back. */
oe_result_t tee_lend(tee_buffer_t* buffer, void* inside, uint64_t count, uint64_t unit)
{
    tee_thread_t* thread = tee_thread();
    uint64_t at = (thread->arena_used + 15) & ~15ull;
    const void* content = inside;
    void* copy = NULL;
    size_t size;
    oe_result_t result = bytes_of(count, unit, &size);

    if (result != OE_OK || !inside)
        return result;
    if (at > thread->arena_size || size > thread->arena_size - at)
        return OE_OUT_OF_MEMORY;
    thread->arena_used = at + size;
    buffer->inside = inside;
    buffer->outside = thread->arena_base + at;
    buffer->size = size;
    if (!(buffer->how & TEE_IN))
        return tee_clear_outside(buffer->outside, size);
    if (buffer->type) { /* what leaves is a copy: it is scrubbed, and its pointers are the host's */
        content = copy = malloc(size);
        if (!copy)
            return OE_OUT_OF_MEMORY;
        memcpy(copy, inside, size);
        if (has_members(buffer))
            result = each_member(buffer, copy, buffer->how, false, lend_member);
        tee_scrub(buffer->type, copy, size);
    }
    if (result == OE_OK)
        result = tee_write_outside(buffer->outside, content, size);
    if (copy)
        clear(copy, size);
    free(copy);
    return result;
}

oe_result_t tee_lend_string(tee_buffer_t* buffer, void* text, uint64_t unit)
{
    size_t length = 0;

    if (text && unit == 1)
        length = strlen(text);
    while (text && unit == 4 && ((const uint32_t*)text)[length])
        length++;
    return tee_lend(buffer, text, length + 1, unit);
}

/* Read an output back, once, into the caller's own memory. Pointers and sizes of an [in, out]
 * structure stay what they were; what hangs on a pure output is copied in, and is the program's. */
oe_result_t tee_collect(tee_buffer_t* buffer)
{
    oe_result_t result;

    if (!buffer->inside || !(buffer->how & TEE_OUT))
        return OE_OK;
    result = tee_read_outside(buffer->inside, buffer->outside, buffer->size);
    if (result == OE_OK && has_members(buffer) && !(buffer->how & TEE_IN)) {
        result = each_member(buffer, buffer->inside, TEE_IN, true, take_member);
        if (result != OE_OK) {
            forget_members(buffer, true);
            clear(buffer->inside, buffer->size);
        }
    }
    for (tee_buffer_t* made = buffer->members; made && result == OE_OK; made = made->next)
        result = buffer->how & TEE_IN ? tee_collect(made) : OE_OK;
    if (buffer->how & TEE_IN)
        restore_members(buffer, true);
    return result;
}

/* The same for a string, which keeps its length: the host cannot take its end away. */
oe_result_t tee_collect_string(tee_buffer_t* buffer, uint64_t unit)
{
    oe_result_t result = tee_collect(buffer);

    if (buffer->inside && buffer->how & TEE_OUT)
        memset((uint8_t*)buffer->inside + buffer->size - unit, 0, unit);
    return result;
}

void tee_forget(tee_buffer_t* buffer)
{
    forget_members(buffer, false);
}
