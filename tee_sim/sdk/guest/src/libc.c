/* What the C library takes from this runtime: errno, the end of a program, and the locks of streams,
 * which have none (libc/stdio.c). */
#include "openenclave/enclave.h"
#include "tee/runtime.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int* __errno_location(void)
{
    return (int*)&tee_thread()->last_errno;
}

/* musl's own name for it. */
int* ___errno_location(void) __attribute__((alias("__errno_location")));

void abort(void)
{
    oe_abort();
}

/* There is no process to leave. */
void exit(int status)
{
    (void)status;
    oe_abort();
}

void __assert_fail(const char* condition, const char* file, int line, const char* function)
{
    fprintf(stderr, "%s:%d: %s: assertion failed: %s\n", file, line, function, condition);
    oe_abort();
}

void __oe_assert_fail(const char* expr, const char* file, int line, const char* func)
    __attribute__((alias("__assert_fail")));

int __lockfile(FILE* stream)
{
    (void)stream;
    return 0;
}

void __unlockfile(FILE* stream)
{
    (void)stream;
}

void __stdio_exit_needed(void)
{
}
