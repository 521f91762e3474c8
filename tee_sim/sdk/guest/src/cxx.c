/* What freestanding C++ needs (no exceptions, no run-time type information), under its mangled names. */
#include "openenclave/enclave.h"

#include <stdlib.h>

/* operator new(size_t): without exceptions it cannot fail and return. */
void* tee_cxx_new(size_t size) __asm__("_Znwm");
void* tee_cxx_new(size_t size)
{
    void* ptr = malloc(size);
    if (!ptr)
        oe_abort();
    return ptr;
}

/* operator delete(void*) and operator delete(void*, size_t). */
void tee_cxx_delete(void* ptr) __asm__("_ZdlPv");
void tee_cxx_delete(void* ptr)
{
    free(ptr);
}

void tee_cxx_delete_sized(void* ptr, size_t size) __asm__("_ZdlPvm");
void tee_cxx_delete_sized(void* ptr, size_t size)
{
    (void)size;
    free(ptr);
}

/* Where a call of a pure virtual function lands. */
void __cxa_pure_virtual(void)
{
    oe_abort();
}
