/* Prints from inside, and has the host greet, too. See program.toml. */
#include "hello_t.h"

#include <stdio.h>

void greet(const char* name)
{
    printf("Hello %s, from inside.\n", name);
    oe_result_t result = host_greets(name);
    if (result != OE_OK)
        fprintf(stderr, "The host did not greet: %s\n", oe_result_str(result));
}
