/* The one entry and the one exit of the enclave.
 *
 * Entry (the registers of EENTER; the kernel of an ordinary process sets the same ones):
 *   RAX  CSSA: how many interrupted calls this thread holds (0 in an ordinary process)
 *   RBX  address of the thread control structure      RCX  the host's instruction after its EENTER
 *   GS   base of the thread data (layout.h)
 *   RDI  number of the ecall, or -1: an ocall is done  RSI  marshalling struct, or the ocall's status
 *   R8   untrusted scratch memory (the arena)          R9   its size in bytes
 * Everything else is what the host left there, chosen to hurt: EENTER clears nothing.
 *
 * Exit: RDI says why (EXIT_ in layout.h), RSI and RDX carry the rest. EEXIT clears nothing either, so
 * every other register is cleared here, or handed back as the host left it (RSP, RBP).
 */
#include "tee/layout.h"

#define EEXIT 4
#define EFLAGS_DF 0x400
#define EFLAGS_AC 0x40000

/* What the C code takes for granted about the flags and the floating-point units. A host that
 * enters with DF set would make string instructions run backwards; one that enters with AC set
 * would turn misaligned accesses into faults that it can count; x87 and SSE control words would
 * bend every result. Needs a stack of our own. */
.macro SANITISE
    pushfq
    andl $~(EFLAGS_DF | EFLAGS_AC), (%rsp)
    popfq
    fninit
    ldmxcsr mxcsr_default(%rip)
.endm

    .section .text.start, "ax", @progbits
    .globl _start
    .type _start, @function
_start:
    cld
    testq %rax, %rax
    jnz interrupted

    movq %rcx, %gs:TD_RETURN_TARGET
    movq %rsp, %gs:TD_HOST_RSP
    movq %rbp, %gs:TD_HOST_RBP
    movq %gs:TD_PENDING_RSP, %rax
    cmpq $COMMAND_OCALL_RETURN, %rdi
    je ocall_returns
    testq %rax, %rax
    jnz reentrant

    leaq __ehdr_start(%rip), %rsp   /* our base: the image starts with its ELF header */
    addq %gs:TD_STACK_TOP, %rsp
    SANITISE
    xorl %ebp, %ebp                 /* outermost frame */
    movq %r8, %rdx
    movq %r9, %rcx
    call tee_enter
    movl %eax, %esi
    movl $EXIT_ECALL_DONE, %edi
    xorl %edx, %edx
    jmp leave

ocall_returns:
    testq %rax, %rax
    jz nothing_pending
    movq %rax, %rsp
    movq $0, %gs:TD_PENDING_RSP
    SANITISE
    movl %esi, %eax                 /* what tee_ocall returns: a claim of the host */
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size _start, . - _start

/* oe_result_t tee_ocall(uint64_t function, uint64_t args): leave for the host, and return when it
 * comes back. What the caller expects to survive goes to our stack, never to the host. */
    .globl tee_ocall
    .hidden tee_ocall
    .type tee_ocall, @function
tee_ocall:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, %gs:TD_PENDING_RSP
    movq %rsi, %rdx
    movq %rdi, %rsi
    movl $EXIT_OCALL, %edi
    jmp leave
    .size tee_ocall, . - tee_ocall

/* void tee_leave_aborted(uint32_t result): leave from any depth; the stack is given up. */
    .globl tee_leave_aborted
    .hidden tee_leave_aborted
    .type tee_leave_aborted, @function
tee_leave_aborted:
    movl %edi, %esi
    movl $EXIT_ECALL_DONE, %edi
    xorl %edx, %edx
    jmp leave

/* A new ecall while an ocall is pending: its stack frames lie where a new call would start. */
reentrant:
    movl $4, %esi                   /* OE_REENTRANT_ECALL */
    movl $EXIT_ECALL_DONE, %edi
    xorl %edx, %edx
    jmp leave

/* "The ocall is done", but there is none: the host would resume at a stale stack. */
nothing_pending:
    movl $7, %esi                   /* OE_UNEXPECTED */
    movl $EXIT_ECALL_DONE, %edi
    xorl %edx, %edx

leave:
    movq %gs:TD_RETURN_TARGET, %rbx
    movq %gs:TD_HOST_RSP, %rsp
    movq %gs:TD_HOST_RBP, %rbp

scrub:
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    pxor %xmm\n, %xmm\n
    .endr
    fninit                          /* empties the x87 stack, but its registers keep their bits */
    .rept 8
    fldz
    .endr
    fninit
    ldmxcsr mxcsr_default(%rip)
    xorl %ecx, %ecx
    xorl %r8d, %r8d
    xorl %r9d, %r9d
    xorl %r10d, %r10d
    xorl %r11d, %r11d
    xorl %r12d, %r12d
    xorl %r13d, %r13d
    xorl %r14d, %r14d
    xorl %r15d, %r15d               /* the last one also sets the flags to known values */
#ifdef TEE_TARGET_SGX
    movl $EEXIT, %eax
    .byte 0x0f, 0x01, 0xd7          /* enclu */
#else
    xorl %ebx, %ebx
    xorl %eax, %eax
    syscall                         /* an ordinary process leaves to its kernel */
#endif
    ud2                             /* never reached */

/* The thread was interrupted in the middle of a call, and the host enters it anew instead of
 * resuming it. There is no handler for that yet. Nothing is touched: not the stack, and not the
 * thread data, which the interrupted call still needs. */
interrupted:
    movq %rcx, %rbx
    movl $EXIT_NESTED, %edi
    xorl %esi, %esi
    xorl %edx, %edx
    jmp scrub

    .balign 4
mxcsr_default:
    .long 0x1f80                    /* all exceptions masked, round to nearest, no flag set */
