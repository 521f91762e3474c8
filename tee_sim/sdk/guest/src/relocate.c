/* Adds the load address to every pointer in the image: the work of a dynamic linker, inside.
 *
 * A position-independent image stores pointers as offsets and lists where they are. If the host's
 * loader added the base before the pages are measured, the measurement would change with the address. */
#include "openenclave/enclave.h"
#include "tee/runtime.h"

#define DT_NULL 0
#define DT_RELA 7
#define DT_RELASZ 8
#define R_X86_64_RELATIVE 8

typedef struct {
    uint64_t tag, value;
} dynamic_t;

typedef struct {
    uint64_t offset, info, addend;
} rela_t;

extern const dynamic_t _DYNAMIC[] __attribute__((visibility("hidden")));

void tee_relocate(void)
{
    uint64_t base = (uint64_t)__ehdr_start, table = 0, size = 0;

    for (const dynamic_t* entry = _DYNAMIC; entry->tag != DT_NULL; entry++) {
        if (entry->tag == DT_RELA)
            table = base + entry->value;
        if (entry->tag == DT_RELASZ)
            size = entry->value;
    }
    for (const rela_t* entry = (rela_t*)table; (uint64_t)entry < table + size; entry++) {
        if ((uint32_t)entry->info != R_X86_64_RELATIVE)
            oe_abort();
        *(uint64_t*)(base + entry->offset) = base + entry->addend;
    }
}
