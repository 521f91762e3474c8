/* The result codes of Open Enclave's public API. */
#ifndef OE_BITS_RESULT_H
#define OE_BITS_RESULT_H

#include "openenclave/bits/defs.h"

typedef enum {
#define OE_RESULT(name) name,
#include "openenclave/bits/result_names.h"
#undef OE_RESULT
    __OE_RESULT_MAX = OE_ENUM_MAX,
} oe_result_t;

OE_EXTERNC_BEGIN

/* The name of a result; "UNKNOWN" for a number without one. */
const char* oe_result_str(oe_result_t result);

OE_EXTERNC_END

#endif
