/* What freestanding C++ needs (no exceptions, no run-time type information), under its mangled names. */
#include "openenclave/enclave.h"

#include <stdlib.h>

/* operator new(size_t) and new[]: without exceptions they cannot fail and return. */
void* tee_cxx_new(size_t size) __asm__("_Znwm");
void* tee_cxx_new(size_t size)
{
    void* ptr = malloc(size);
    if (!ptr)
        oe_abort();
    return ptr;
}
void* tee_cxx_new_array(size_t size) __asm__("_Znam") __attribute__((alias("_Znwm")));

/* The same with std::nothrow. */
void* tee_cxx_new_nothrow(size_t size, const void* nothrow) __asm__("_ZnwmRKSt9nothrow_t");
void* tee_cxx_new_nothrow(size_t size, const void* nothrow)
{
    (void)nothrow;
    return malloc(size);
}
void* tee_cxx_new_array_nothrow(size_t size, const void* nothrow) __asm__("_ZnamRKSt9nothrow_t")
    __attribute__((alias("_ZnwmRKSt9nothrow_t")));
const char tee_cxx_nothrow __asm__("_ZSt7nothrow") = 0;

/* operator delete(void*) and delete[], without the size and with it. */
void tee_cxx_delete(void* ptr) __asm__("_ZdlPv");
void tee_cxx_delete(void* ptr)
{
    free(ptr);
}
void tee_cxx_delete_array(void* ptr) __asm__("_ZdaPv") __attribute__((alias("_ZdlPv")));

void tee_cxx_delete_sized(void* ptr, size_t size) __asm__("_ZdlPvm");
void tee_cxx_delete_sized(void* ptr, size_t size)
{
    (void)size;
    free(ptr);
}
void tee_cxx_delete_array_sized(void* ptr, size_t size) __asm__("_ZdaPvm")
    __attribute__((alias("_ZdlPvm")));

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
