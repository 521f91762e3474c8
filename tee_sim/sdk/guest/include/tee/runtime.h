/* Between the runtime and the code that `codegen.py` writes from an EDL file. Not for programs. */
#ifndef TEE_RUNTIME_H
#define TEE_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "openenclave/bits/exception.h"
#include "openenclave/bits/result.h"
#include "tee/layout.h"

/* The page at the GS base; offsets as in layout.h, checked in enter.c. */
typedef struct {
    uint64_t self, stack_top, heap, heap_size, enclave_size, index, guards, spare_size;
    uint64_t return_target, host_rsp, host_rbp, pending_rsp;
    uint64_t arena_base, arena_size, arena_used;
    uint64_t on_stack, exception_rip, exception_info, exception_address, exception_error;
    uint64_t saved_rsp, saved_flags, resume_rip, resume_rsp, notice;
} tee_thread_t;

/* The first byte of the image: the linker puts the ELF header there. Not const, because addresses of
 * things that do change are computed from it. */
extern uint8_t __ehdr_start[] __attribute__((visibility("hidden")));

/* The thread data of the caller. */
static inline tee_thread_t* tee_thread(void)
{
    uint64_t self;
    __asm__("movq %%gs:%c1, %0" : "=r"(self) : "i"(TD_SELF));
    return (tee_thread_t*)(__ehdr_start + self);
}

/* enter.c */
uint32_t tee_enter(uint64_t function, uint64_t args, uint64_t arena_base, uint64_t arena_size);

/* start.S */
oe_result_t tee_ocall(uint64_t function, uint64_t args);
void tee_leave_aborted(uint32_t result) __attribute__((noreturn));
void tee_expect_notice(void);

/* exception.c, called from start.S */
void tee_handle_exception(oe_context_t* context);
void tee_handle_notice(void);

/* relocate.c, heap.c */
void tee_relocate(void);
void tee_heap_init(uint8_t* start, size_t size);
uint64_t tee_heap_end(void);

/* dynamic.c: offset just above what the heap may grow into */
uint64_t tee_spare_end(void);

/* Generated from the EDL file: call the ecall numbered `function`; `args` is the address of its
 * marshalling struct, outside. */
oe_result_t tee_dispatch(uint64_t function, uint64_t args);

/* Generated from runtime.edl, for host.c. */
oe_result_t tee_host_print(int stream, const char* text, size_t size);
oe_result_t tee_host_log(uint32_t level, const char* message);
oe_result_t tee_host_memory(uint64_t* _retval, uint64_t address, uint64_t size);

/* marshal.c: one buffer on its way in or out. */
typedef struct {
    void* inside;
    uint64_t outside;
    size_t size;
} tee_buffer_t;

/* A floating-point number travels as its bits, in the low bytes of a slot. */
static inline double tee_double_of(uint64_t slot)
{
    double value;
    __builtin_memcpy(&value, &slot, sizeof value);
    return value;
}

static inline uint64_t tee_slot_of_double(double value)
{
    uint64_t slot;
    __builtin_memcpy(&slot, &value, sizeof value);
    return slot;
}

static inline float tee_float_of(uint64_t slot)
{
    float value;
    __builtin_memcpy(&value, &slot, sizeof value);
    return value;
}

static inline uint64_t tee_slot_of_float(float value)
{
    uint64_t slot = 0;
    __builtin_memcpy(&slot, &value, sizeof value);
    return slot;
}

#define TEE_IN 1
#define TEE_OUT 2

oe_result_t tee_copy_in(void* inside, uint64_t outside, size_t size);
oe_result_t tee_copy_out(uint64_t outside, const void* inside, size_t size);
oe_result_t tee_take(tee_buffer_t* buffer, uint64_t outside, uint64_t count, uint64_t unit, int how);
oe_result_t tee_take_string(tee_buffer_t* buffer, uint64_t outside, uint64_t size);
void tee_give(const tee_buffer_t* buffer);
void tee_drop(tee_buffer_t* buffer);

void tee_arena_reset(void);
oe_result_t tee_lend(tee_buffer_t* buffer, void* inside, uint64_t count, uint64_t unit, int how);
oe_result_t tee_lend_string(tee_buffer_t* buffer, const char* text);
void tee_collect(const tee_buffer_t* buffer);

#endif
