/* Exceptions inside the enclave. Names and values are those of openenclave/bits/exception.h of the Open
 * Enclave SDK (commit 0e4a5c6d; the FLAGS_ names and the two last fields of the record as its later
 * sources use them). */
#ifndef OE_BITS_EXCEPTION_H
#define OE_BITS_EXCEPTION_H

#include <stdint.h>

#define OE_EXCEPTION_DIVIDE_BY_ZERO 0x0
#define OE_EXCEPTION_BREAKPOINT 0x1
#define OE_EXCEPTION_BOUND_OUT_OF_RANGE 0x2
#define OE_EXCEPTION_ILLEGAL_INSTRUCTION 0x3
#define OE_EXCEPTION_ACCESS_VIOLATION 0x4
#define OE_EXCEPTION_PAGE_FAULT 0x5
#define OE_EXCEPTION_X87_FLOAT_POINT 0x6
#define OE_EXCEPTION_MISALIGNMENT 0x7
#define OE_EXCEPTION_SIMD_FLOAT_POINT 0x8
#define OE_EXCEPTION_UNKNOWN 0xFFFFFFFF

#define OE_EXCEPTION_FLAGS_HARDWARE 0x1
#define OE_EXCEPTION_FLAGS_SOFTWARE 0x2

/* What a handler answers: ask the next one, or go on with the context as it is now. */
#define OE_EXCEPTION_CONTINUE_SEARCH 0x0
#define OE_EXCEPTION_CONTINUE_EXECUTION 0xFFFFFFFF

/* x87 and SSE state, an FXSAVE image. */
typedef struct {
    uint8_t blob[512];
} __attribute__((aligned(16))) oe_basic_xstate_t;

/* The interrupted registers; a handler may change them. start.S fills and restores it. */
typedef struct {
    uint64_t flags;
    uint64_t rax, rbx, rcx, rdx, rbp, rsp, rdi, rsi;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rip;
    uint32_t mxcsr;
    oe_basic_xstate_t basic_xstate;
} oe_context_t;

typedef struct {
    uint32_t code;    /* OE_EXCEPTION_ */
    uint32_t flags;   /* OE_EXCEPTION_FLAGS_ */
    uint64_t address; /* of the instruction */
    oe_context_t* context;
    uint64_t faulting_address; /* #PF and #GP, if the enclave asked for EXINFO; otherwise 0 */
    uint32_t error_code;
} oe_exception_record_t;

typedef uint64_t (*oe_vectored_exception_handler_t)(oe_exception_record_t* exception_record);

#endif
