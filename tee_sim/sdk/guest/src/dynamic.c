/* The leaves of dynamic memory that are executed inside, and a thread made of new pages. */
#include "tee/dynamic.h"

#include "tee/runtime.h"

#define PAGE 4096
#define EACCEPT 5
#define EMODPE 6
#define EACCEPTCOPY 7
#define NSSA 2 /* as image.py */

typedef struct {
    uint64_t flags, reserved[7];
} __attribute__((aligned(64))) secinfo_t;

typedef struct {
    uint64_t state, flags, ossa;
    uint32_t cssa, nssa;
    uint64_t oentry, aep, ofsbase, ogsbase;
    uint32_t fslimit, gslimit;
} tcs_t;

extern uint8_t _start[] __attribute__((visibility("hidden")));

/* Bytes at the end of the spare range that belong to threads made here. */
static size_t taken;

static uint64_t enclu(uint64_t leaf, const secinfo_t* secinfo, void* page, const void* source)
{
#ifdef TEE_TARGET_SGX
    __asm__ volatile(".byte 0x0f, 0x01, 0xd7"
                     : "+a"(leaf)
                     : "b"(secinfo), "c"(page), "d"(source)
                     : "memory", "cc");
    return leaf;
#else
    (void)leaf, (void)secinfo, (void)page, (void)source;
    return UINT64_MAX; /* nothing protects the pages, so there is nothing to accept */
#endif
}

bool tee_accept(void* page, uint64_t flags)
{
    secinfo_t secinfo = {.flags = flags};

    return enclu(EACCEPT, &secinfo, page, NULL) == 0;
}

bool tee_accept_copy(void* page, const void* source, uint64_t flags)
{
    secinfo_t secinfo = {.flags = flags};

    return enclu(EACCEPTCOPY, &secinfo, page, source) == 0;
}

void tee_extend(void* page, uint64_t flags)
{
    secinfo_t secinfo = {.flags = flags};

    enclu(EMODPE, &secinfo, page, NULL);
}

uint64_t tee_spare_end(void)
{
    const tee_thread_t* thread = tee_thread();

    return thread->heap + thread->heap_size + thread->spare_size - taken;
}

static bool accept_new(uint64_t start, uint64_t end)
{
    for (; start < end; start += PAGE)
        if (!tee_accept(__ehdr_start + start, TEE_NEW))
            return false;
    return true;
}

oe_result_t tee_thread_make(size_t stack_pages, void** tcs)
{
    static uint64_t index = UINT64_MAX; /* from the top: those of the loader start at 0 */
    const tee_thread_t* maker = tee_thread();
    uint64_t end = tee_spare_end(), data = end - PAGE, ssa = data - NSSA * PAGE, control = ssa - PAGE;
    uint64_t top = control - PAGE, bottom = top - stack_pages * PAGE;
    /* Guard pages above and below the stack stay without a page. */
    size_t whole = (stack_pages + NSSA + 4) * PAGE;

    if (stack_pages == 0 || stack_pages > maker->spare_size / PAGE || whole > end - tee_heap_end())
        return OE_OUT_OF_MEMORY;
    if (!accept_new(bottom, top) || !accept_new(control, end))
        return OE_FAILURE;
    taken += whole;
    *(tee_thread_t*)(__ehdr_start + data) = (tee_thread_t){
        .self = data,
        .stack_top = top,
        .heap = maker->heap,
        .heap_size = maker->heap_size,
        .enclave_size = maker->enclave_size,
        .index = index--,
        .spare_size = maker->spare_size,
    };
    *(tcs_t*)(__ehdr_start + control) = (tcs_t){
        .ossa = ssa,
        .nssa = NSSA,
        .oentry = (uint64_t)(_start - __ehdr_start),
        .ofsbase = data,
        .ogsbase = data,
        .fslimit = UINT32_MAX,
        .gslimit = UINT32_MAX,
    };
    *tcs = __ehdr_start + control;
    return OE_OK;
}
