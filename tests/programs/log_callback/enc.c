// What Open Enclave's sample of this name does, with the same calls and includes. It writes to standard
// output where the sample opens a file: there is no file system inside.
#include <openenclave/tracee.h>
#include <stdio.h>
#include <string.h>

#include "log_callback_t.h"
#include "openenclave/internal/trace.h"

static void customized_log(void* context, oe_log_level_t level, uint64_t thread_id,
                           const char* message)
{
    char modified[200];

    sprintf(modified, "E, %s, %llx, %s", oe_log_level_strings[level],
            (unsigned long long)thread_id, message);
    fprintf((FILE*)context, "%s\n", modified);
}

void enclave_set_log_callback()
{
    oe_enclave_log_set_callback((void*)stdout, customized_log);
}

void enclave_hello()
{
    OE_TRACE_INFO("about to call %s", "host_hello");
    oe_result_t result = host_hello();
    if (result != OE_OK)
        fprintf(stderr, "host_hello failed: result=%u (%s)\n", result, oe_result_str(result));
}
