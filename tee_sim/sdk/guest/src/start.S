/* The one entry and the one exit of the enclave, and how an exception gets from there to its handler.
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
#define EDECCSSA 9
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

/* From here to the exit, nobody runs on our stack but we: no handler of an exception or a notice. */
.macro GIVE_UP_STACK
    cmpb $0, %gs:TD_NOTICE+7
    je 1f
    movb $0, %gs:SSA_AEXNOTIFY
1:  movq $0, %gs:TD_ON_STACK
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
    movq $1, %gs:TD_ON_STACK
    call tee_expect_notice
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
    movq $1, %gs:TD_ON_STACK
    call tee_expect_notice
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
    GIVE_UP_STACK                   /* no handler may make an ocall between this one and its exit */
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
    GIVE_UP_STACK
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

/* The thread was interrupted in the middle of a call, and is entered before that has gone on: by EENTER,
 * because the host cannot handle what happened, or by ERESUME, to be notified. The registers are the
 * host's, its stack too: not one of them is to be trusted, and ours may be in use. */
interrupted:
    cmpq $1, %rax
    jne refuse
    /* Who was on the last steps of going on has gone on. */
    leaq going_on(%rip), %rdx
    movq %gs:SSA_RIP, %rax
    subq %rdx, %rax
    cmpq $(gone_on - going_on), %rax
    ja 1f
    movq $1, %gs:TD_ON_STACK
    movq %gs:TD_RESUME_RIP, %rax
    movq %rax, %gs:SSA_RIP
    movq %gs:TD_RESUME_RSP, %rax
    movq %rax, %gs:SSA_RSP
1:  cmpq $COMMAND_EXCEPTION, %rdi
    je exception
    testb $1, %gs:SSA_AEXNOTIFY
    jnz notified

/* Nothing is touched: not the stack, and not what the interrupted call needs of the thread data. */
refuse:
    movl $EXIT_NESTED, %edi
    jmp answer

/* The first stage: note what the processor saved about the exception, and have the thread go on in the
 * second stage once the host resumes it. What the host says is not asked. */
exception:
    testb $0x80, %gs:SSA_EXITINFO+3 /* VALID */
    jz refuse
    cmpq $0, tee_handler_count(%rip)
    je refuse
    cmpq $0, %gs:TD_EXCEPTION_RIP   /* the second stage has not read the last one */
    jne refuse
    /* At the entry and the exit RSP is the host's: a second stage that believed it would write the
     * host's registers to an address of the host's choice (SmashEx, 2021). */
    testb $GUARD_REENTRY, %gs:TD_GUARDS
    jz 1f
    cmpq $0, %gs:TD_ON_STACK
    je refuse
1:  movq %gs:SSA_RIP, %rax
    movq %rax, %gs:TD_EXCEPTION_RIP
    movl %gs:SSA_EXITINFO, %eax
    movq %rax, %gs:TD_EXCEPTION_INFO
    movq %gs:SSA_MADDR, %rax
    movq %rax, %gs:TD_EXCEPTION_ADDRESS
    movq %gs:SSA_ERRCD, %rax
    movq %rax, %gs:TD_EXCEPTION_ERROR
    leaq second_stage(%rip), %rax
    movq %rax, %gs:SSA_RIP
    movb $0, %gs:SSA_EXITINFO+3
    movl $EXIT_RESUME, %edi

answer:
    movq %rcx, %rbx
    xorl %esi, %esi
    xorl %edx, %edx
    jmp scrub

/* The second stage runs where the exception happened, with its registers and below its stack. */
second_stage:
    movq %rsp, %gs:TD_SAVED_RSP
    pushfq
    popq %gs:TD_SAVED_FLAGS
    subq $CONTEXT_SIZE, %rsp
    andq $-16, %rsp
    movq %rax, 8(%rsp)
    movq %rbx, 16(%rsp)
    movq %rcx, 24(%rsp)
    movq %rdx, 32(%rsp)
    movq %rbp, 40(%rsp)
    movq %rdi, 56(%rsp)
    movq %rsi, 64(%rsp)
    .irp n, 8, 9, 10, 11, 12, 13, 14, 15
    movq %r\n, 8*(\n+1)(%rsp)
    .endr
    movq %gs:TD_SAVED_FLAGS, %rax
    movq %rax, (%rsp)
    movq %gs:TD_SAVED_RSP, %rax
    movq %rax, CONTEXT_RSP(%rsp)
    fxsave64 CONTEXT_XSTATE(%rsp)
    stmxcsr CONTEXT_MXCSR(%rsp)
    movq %rsp, %rdi
    SANITISE
    xorl %ebp, %ebp
    call tee_handle_exception       /* sets the context's RIP */

/* Go on with the context at RSP. From the moment when exceptions and notices are taken again only the
 * last steps are left; `interrupted` knows them. */
go_on:
    movb $0, %gs:SSA_AEXNOTIFY
    movq $0, %gs:TD_ON_STACK
    movq CONTEXT_RIP(%rsp), %rax
    movq %rax, %gs:TD_RESUME_RIP
    movq CONTEXT_RSP(%rsp), %rax
    movq %rax, %gs:TD_RESUME_RSP
    fxrstor64 CONTEXT_XSTATE(%rsp)
    ldmxcsr CONTEXT_MXCSR(%rsp)
    .irp n, 8, 9, 10, 11, 12, 13, 14, 15
    movq 8*(\n+1)(%rsp), %r\n
    .endr
    movq 8(%rsp), %rax
    movq 16(%rsp), %rbx
    movq 24(%rsp), %rcx
    movq 32(%rsp), %rdx
    movq 40(%rsp), %rbp
    movq 56(%rsp), %rdi
    movq 64(%rsp), %rsi
    pushq (%rsp)
    popfq
    pushq %gs:TD_NOTICE
    popq %gs:SSA_EXITINFO           /* eight bytes: the last one is AEXNOTIFY, the others are not in use */
going_on:
    movq $1, %gs:TD_ON_STACK
    movq %gs:TD_RESUME_RSP, %rsp
gone_on:
    jmp *%gs:TD_RESUME_RIP

/* The thread is told of an interruption. It takes its registers out of the save area, gives that back
 * with EDECCSSA, so that it can be interrupted again, and goes on by itself when the handler is done. */
notified:
    movb $0, %gs:SSA_AEXNOTIFY      /* not of those that interrupt the handler */
    movq %gs:SSA_RSP, %rsp
    subq $CONTEXT_SIZE, %rsp
    andq $-16, %rsp
    /* RFLAGS RAX RBX RCX RDX RBP RSP RDI RSI R8-R15 RIP, by their offsets in GPRSGX */
    .set .Lat, 0
    .irp from, 128, 0, 24, 8, 16, 40, 32, 56, 48, 64, 72, 80, 88, 96, 104, 112, 120, 136
    movq %gs:SSA_GPR+\from, %rax
    movq %rax, .Lat(%rsp)
    .set .Lat, .Lat + 8
    .endr
    movl $64, %ecx
1:  movq %gs:SSA_XSAVE-8(,%rcx,8), %rax
    movq %rax, CONTEXT_XSTATE-8(%rsp,%rcx,8)
    decl %ecx
    jnz 1b
    movl CONTEXT_XSTATE+24(%rsp), %eax
    movl %eax, CONTEXT_MXCSR(%rsp)
    movl $EDECCSSA, %eax
    .byte 0x0f, 0x01, 0xd7          /* enclu */
    SANITISE
    xorl %ebp, %ebp
    call tee_handle_notice
    jmp go_on

/* void tee_expect_notice(void): whether the next interruption is to be notified, from now on. */
    .globl tee_expect_notice
    .hidden tee_expect_notice
    .type tee_expect_notice, @function
tee_expect_notice:
    xorl %eax, %eax
    cmpq $0, tee_aex_handler(%rip)
    setne %al
    cmpb %al, %gs:TD_NOTICE+7
    jne 1f
    testb %al, %al                  /* spare everybody else an access to the save area */
    jz 2f
1:  movb %al, %gs:TD_NOTICE+7
    movb %al, %gs:SSA_AEXNOTIFY
2:  ret

    .balign 4
mxcsr_default:
    .long 0x1f80                    /* all exceptions masked, round to nearest, no flag set */
