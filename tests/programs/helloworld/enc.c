// What Open Enclave's sample of this name does, with the same calls and includes.
#include <stdio.h>

#include "helloworld_t.h"

void enclave_helloworld()
{
    oe_result_t result;

    fprintf(stdout, "A greeting from inside\n");
    result = host_helloworld();
    if (result != OE_OK)
        fprintf(stderr, "host_helloworld failed: result=%u (%s)\n", result, oe_result_str(result));
}
