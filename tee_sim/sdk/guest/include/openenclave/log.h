/* Levels of log messages. Names and values are those of the Open Enclave SDK. */
#ifndef OE_LOG_H
#define OE_LOG_H

#include "openenclave/bits/defs.h"

OE_EXTERNC_BEGIN

typedef enum {
    OE_LOG_LEVEL_NONE = 0,
    OE_LOG_LEVEL_FATAL,
    OE_LOG_LEVEL_ERROR,
    OE_LOG_LEVEL_WARNING,
    OE_LOG_LEVEL_INFO,
    OE_LOG_LEVEL_VERBOSE,
    OE_LOG_LEVEL_MAX
} oe_log_level_t;

extern const char* const oe_log_level_strings[OE_LOG_LEVEL_MAX];

OE_EXTERNC_END

#endif
