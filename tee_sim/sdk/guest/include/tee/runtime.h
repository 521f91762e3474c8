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
    uint64_t saved_rsp, saved_flags, resume_rip, resume_rsp, notice, last_errno;
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

/* Generated from runtime.edl. */
oe_result_t tee_host_print(int stream, const char* text, size_t size);
oe_result_t tee_host_log(uint32_t level, const char* message);
oe_result_t tee_host_memory(uint64_t* _retval, uint64_t address, uint64_t size);
oe_result_t tee_host_target_info(oe_result_t* _retval, uint8_t* target, uint64_t* quote_size);
oe_result_t tee_host_quote(oe_result_t* _retval, const uint8_t* report, uint8_t* quote, size_t size);

/* Each slot of a marshalling struct begins at a multiple of 8 bytes. */
#define TEE_SLOT __attribute__((aligned(8)))

/* What the EDL file says of a structure: where it has no member, and which pointers have a size. */
typedef struct {
    uint32_t at, size;
} tee_gap_t;

/* A number of things: the unsigned member of `size` bytes at `at`, or `fixed` if `size` is 0. */
typedef struct {
    uint32_t at, size;
    uint64_t fixed;
} tee_extent_t;

typedef struct tee_type tee_type_t;

typedef struct {
    uint32_t at;
    const tee_type_t* type;
    tee_extent_t extent[2]; /* their product is the size of its buffer */
} tee_member_t;

struct tee_type {
    size_t size, gap_count, member_count;
    const tee_gap_t* gaps;
    const tee_member_t* members;
};

/* marshal.c: one buffer on its way in or out, and the buffers that hang on it. */
typedef struct tee_buffer {
    const tee_type_t* type;
    int how;
    void* inside;
    uint64_t outside;
    size_t size, at; /* `at`: where in its parent the structure begins that points to it */
    uint64_t extent[2];
    const tee_member_t* member;
    struct tee_buffer *members, *next;
} tee_buffer_t;

/* vbs.c: the one way to memory outside, already checked to be that. It fails only where somebody has
 * to be asked for it (VBS), and finds that VTL0 does not have it. */
oe_result_t tee_read_outside(void* inside, uint64_t outside, size_t size);
oe_result_t tee_write_outside(uint64_t outside, const void* inside, size_t size);
oe_result_t tee_clear_outside(uint64_t outside, size_t size);

#define TEE_IN 1
#define TEE_OUT 2

oe_result_t tee_copy_in(void* inside, uint64_t outside, size_t size);
oe_result_t tee_copy_out(uint64_t outside, const void* inside, size_t size);
oe_result_t tee_take(tee_buffer_t* buffer, uint64_t outside, uint64_t count, uint64_t unit);
oe_result_t tee_take_string(tee_buffer_t* buffer, uint64_t outside, uint64_t size, uint64_t unit);
oe_result_t tee_give(tee_buffer_t* buffer);
void tee_drop(tee_buffer_t* buffer);
void tee_scrub(const tee_type_t* type, void* structures, size_t size);

void tee_arena_reset(void);
oe_result_t tee_arena_from(uint64_t room);
uint64_t tee_arena_behind(size_t size);
oe_result_t tee_lend(tee_buffer_t* buffer, void* inside, uint64_t count, uint64_t unit);
oe_result_t tee_lend_string(tee_buffer_t* buffer, void* text, uint64_t unit);
oe_result_t tee_collect(tee_buffer_t* buffer);
oe_result_t tee_collect_string(tee_buffer_t* buffer, uint64_t unit);
void tee_forget(tee_buffer_t* buffer);

#endif
