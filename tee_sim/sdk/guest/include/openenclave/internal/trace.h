/* Log messages. The names are Open Enclave's (openenclave/internal/trace.h).
 *
 * Every level leaves for the host, which filters; it reads whatever it does not show. */
#ifndef OE_INTERNAL_TRACE_H
#define OE_INTERNAL_TRACE_H

#include "openenclave/log.h"
#include "openenclave/tracee.h"

OE_EXTERNC_BEGIN

/* OE_INVALID_PARAMETER: no such level. Longer messages than 1023 bytes are cut. */
oe_result_t oe_log(oe_log_level_t level, const char* format, ...)
    __attribute__((format(printf, 2, 3)));

OE_EXTERNC_END

#define OE_TRACE(level, ...) oe_log(level, __VA_ARGS__)
#define OE_TRACE_FATAL(...) OE_TRACE(OE_LOG_LEVEL_FATAL, __VA_ARGS__)
#define OE_TRACE_ERROR(...) OE_TRACE(OE_LOG_LEVEL_ERROR, __VA_ARGS__)
#define OE_TRACE_WARNING(...) OE_TRACE(OE_LOG_LEVEL_WARNING, __VA_ARGS__)
#define OE_TRACE_INFO(...) OE_TRACE(OE_LOG_LEVEL_INFO, __VA_ARGS__)
#define OE_TRACE_VERBOSE(...) OE_TRACE(OE_LOG_LEVEL_VERBOSE, __VA_ARGS__)

#endif
