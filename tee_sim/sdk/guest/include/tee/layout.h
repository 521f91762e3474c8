/* Numbers that the assembly, the C code and the Python loader share.
 * The loader (tee_sim/sdk/image.py) reads the TD_ lines of this file: keep one `#define NAME number` a line. */
#ifndef TEE_LAYOUT_H
#define TEE_LAYOUT_H

/* Thread data: the page at the GS (and FS) base, one for each thread control structure.
 * The loader fills the first part, and it is measured: so it holds offsets from the enclave's base,
 * never addresses. */
#define TD_SELF 0            /* offset of this page */
#define TD_STACK_TOP 8       /* offset just above the stack, 16-byte aligned */
#define TD_HEAP 16           /* offset of the heap */
#define TD_HEAP_SIZE 24      /* bytes */
#define TD_ENCLAVE_SIZE 32   /* bytes of address space that belong to the enclave (ELRANGE) */
#define TD_INDEX 40          /* number of this thread, from 0 */
#define TD_GUARDS 48         /* GUARD_ bits: which of the runtime's own guards are built in */
#define TD_SPARE_SIZE 56     /* bytes behind the heap where the host may add pages; 0 if none */
/* The runtime keeps the rest; zero at load. */
#define TD_RETURN_TARGET 64  /* where to leave to: the instruction after the host's EENTER */
#define TD_HOST_RSP 72       /* the host's stack, handed back at the exit */
#define TD_HOST_RBP 80
#define TD_PENDING_RSP 88    /* the stack of a call that waits for its ocall; 0 if none does */
#define TD_ARENA_BASE 96     /* untrusted memory that the host lends with each ecall */
#define TD_ARENA_SIZE 104    /* bytes */
#define TD_ARENA_USED 112    /* bytes already given to the ocall being prepared */
#define TD_ON_STACK 120      /* 1 while RSP is ours and an exception can be handled on it */
#define TD_EXCEPTION_RIP 128 /* first to second stage: where it happened; 0 if none is recorded */
#define TD_EXCEPTION_INFO 136
#define TD_EXCEPTION_ADDRESS 144
#define TD_EXCEPTION_ERROR 152
#define TD_SAVED_RSP 160     /* second stage: what it takes from the interrupted code first */
#define TD_SAVED_FLAGS 168
#define TD_RESUME_RIP 176    /* where an interrupted thread goes on */
#define TD_RESUME_RSP 184
#define TD_NOTICE 192        /* AEXNOTIFY for the save area, in the highest byte */
#define TD_ERRNO 200         /* errno of this thread */

/* A guard that is not built in is a bug that real runtimes had. A build without it would have no code
 * for it; here a measured word of the thread data decides, so that one ELF serves for both. */
#define GUARD_REENTRY 1      /* no exception is handled while the host's registers are in use */
#define GUARD_OUTSIDE 2      /* what the host lends has to lie outside */
#define GUARD_COPY 4         /* arguments are copied in before anybody looks at them */
#define GUARD_OVERFLOW 8     /* a size that does not fit a word is refused */
#define GUARD_CLEAR 16       /* outputs start as zeros, and have zeros between their members */

/* The end of SSA frame 0, seen from the thread data: the loader puts two frames of a page before it.
 * Offsets in GPRSGX (abi/sgx.py), and EXINFO below it. */
#define SSA_XSAVE -8192
#define SSA_GPR -4280
#define SSA_MADDR (SSA_GPR - 16)
#define SSA_ERRCD (SSA_GPR - 8)
#define SSA_RSP (SSA_GPR + 32)
#define SSA_RIP (SSA_GPR + 136)
#define SSA_EXITINFO (SSA_GPR + 160)
#define SSA_AEXNOTIFY (SSA_GPR + 167)

/* oe_context_t */
#define CONTEXT_RSP 48
#define CONTEXT_RIP 136
#define CONTEXT_MXCSR 144
#define CONTEXT_XSTATE 160
#define CONTEXT_SIZE 672

/* What the host asks for, in RDI: the number of an ecall, or one of these. */
#define COMMAND_OCALL_RETURN -1
#define COMMAND_EXCEPTION -2 /* the thread was interrupted by an exception that the host cannot handle */

/* What an exit means, in RDI. */
#define EXIT_ECALL_DONE 0    /* RSI = oe_result_t */
#define EXIT_OCALL 1         /* RSI = number of the ocall, RDX = its marshalling struct */
#define EXIT_NESTED 2        /* refused: this thread was interrupted and has not finished */
#define EXIT_RESUME 3        /* the exception is recorded: resume the thread, it handles it */

#endif
