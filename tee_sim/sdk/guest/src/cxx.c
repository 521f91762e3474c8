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

/* std::__libcpp_verbose_abort: what libc++ does instead of throwing. */
void tee_cxx_abort(const char* format, ...) __asm__("_ZNSt3__122__libcpp_verbose_abortEPKcz");
void tee_cxx_abort(const char* format, ...)
{
    (void)format;
    oe_abort();
}
