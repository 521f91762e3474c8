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
/* The runtime keeps the rest; zero at load. */
#define TD_RETURN_TARGET 48  /* where to leave to: the instruction after the host's EENTER */
#define TD_HOST_RSP 56       /* the host's stack, handed back at the exit */
#define TD_HOST_RBP 64
#define TD_PENDING_RSP 72    /* the stack of a call that waits for its ocall; 0 if none does */
#define TD_ARENA_BASE 80     /* untrusted memory that the host lends with each ecall */
#define TD_ARENA_SIZE 88     /* bytes */
#define TD_ARENA_USED 96     /* bytes already given to the ocall being prepared */
/* Filled by the loader again. */
#define TD_SPARE_SIZE 104    /* bytes behind the heap where the host may add pages; 0 if none */

/* What the host asks for, in RDI: the number of an ecall, or all ones to come back from an ocall. */
#define COMMAND_OCALL_RETURN -1

/* What an exit means, in RDI. */
#define EXIT_ECALL_DONE 0    /* RSI = oe_result_t */
#define EXIT_OCALL 1         /* RSI = number of the ocall, RDX = its marshalling struct */
#define EXIT_NESTED 2        /* refused: this thread was interrupted and has not finished */

#endif
