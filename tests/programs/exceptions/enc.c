// A vectored exception handler, by the calls that Open Enclave's documentation of them uses.
#include <openenclave/enclave.h>
#include <stdio.h>

#include "exceptions_t.h"

#define DIVIDE_SIZE 2 /* bytes of `idiv %ecx` */

static uint64_t handler(oe_exception_record_t* record)
{
    if (record->code != OE_EXCEPTION_DIVIDE_BY_ZERO)
        return OE_EXCEPTION_CONTINUE_SEARCH;
    printf("division by zero, flags %#x\n", record->flags);
    host_handled((int)record->code);
    record->context->rax = 0;
    record->context->rip += DIVIDE_SIZE;
    return OE_EXCEPTION_CONTINUE_EXECUTION;
}

int enc_install_handler()
{
    return oe_add_vectored_exception_handler(false, handler);
}

int enc_divide(int a, int b)
{
    int quotient = a;
    __asm__ volatile("cltd\n\tidivl %%ecx" : "+a"(quotient) : "c"(b) : "edx", "cc");
    return quotient;
}
