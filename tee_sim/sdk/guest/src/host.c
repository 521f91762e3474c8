/* What the runtime itself asks of the host: to print, to log, and for memory. The ocalls are declared
 * in runtime.edl, and every host has them. */
#include "openenclave/enclave.h"
#include "openenclave/internal/thread.h"
#include "openenclave/internal/trace.h"
#include "tee/runtime.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_ROOM 1024 /* bytes, NUL included */

const char* oe_result_str(oe_result_t result)
{
    switch (result) {
#define OE_RESULT(name) \
    case name: return #name;
#include "openenclave/bits/result_names.h"
    default: return "UNKNOWN";
    }
}

/* Called by the streams of libc/stdio.c. */
long tee_print(int stream, const void* text, size_t size)
{
    return tee_host_print(stream, text, size);
}

const char* const oe_log_level_strings[OE_LOG_LEVEL_MAX] = {"NONE",    "FATAL", "ERROR",
                                                            "WARNING", "INFO",  "VERBOSE"};

static oe_spinlock_t lock = OE_SPINLOCK_INITIALIZER;
static oe_enclave_log_callback_t log_callback;
static void* log_context;

oe_result_t oe_enclave_log_set_callback(void* context, oe_enclave_log_callback_t callback)
{
    oe_spin_lock(&lock);
    log_callback = callback;
    log_context = context;
    oe_spin_unlock(&lock);
    return OE_OK;
}

oe_result_t oe_log(oe_log_level_t level, const char* format, ...)
{
    char message[MESSAGE_ROOM];
    va_list arguments;
    bool inside;

    if (level <= OE_LOG_LEVEL_NONE || level >= OE_LOG_LEVEL_MAX || !format)
        return OE_INVALID_PARAMETER;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    oe_spin_lock(&lock);
    inside = log_callback != NULL;
    if (inside)
        log_callback(log_context, level, (uint64_t)tee_thread(), message);
    oe_spin_unlock(&lock);
    return inside ? OE_OK : tee_host_log(level, message);
}

/* The host is free to answer anything. Memory of ours would let it choose what we overwrite. */
void* oe_host_realloc(void* ptr, size_t size)
{
    uint64_t address = 0;

    if (tee_host_memory(&address, (uint64_t)ptr, size) != OE_OK || !address || !size)
        return NULL;
    if (!oe_is_outside_enclave((void*)address, size))
        oe_abort();
    return (void*)address;
}

void* oe_host_malloc(size_t size)
{
    return oe_host_realloc(NULL, size ? size : 1);
}

void* oe_host_calloc(size_t nmemb, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(nmemb, size, &total))
        return NULL;
    void* ptr = oe_host_malloc(total);
    return ptr && tee_clear_outside((uint64_t)ptr, total) == OE_OK ? ptr : NULL;
}

void oe_host_free(void* ptr)
{
    if (ptr)
        oe_host_realloc(ptr, 0);
}

char* oe_host_strndup(const char* str, size_t n)
{
    size_t length = str ? strnlen(str, n) : 0;
    char* copy = str ? oe_host_malloc(length + 1) : NULL;

    if (!copy || tee_write_outside((uint64_t)copy, str, length) != OE_OK ||
        tee_clear_outside((uint64_t)copy + length, 1) != OE_OK)
        return NULL;
    return copy;
}
