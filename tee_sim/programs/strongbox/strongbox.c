/* A safe with one secret and a PIN, and a handler for its exceptions. See program.toml. */
#include "strongbox_t.h"

#include <string.h>

#include "tee/sha256.h"

#define PAGE 4096
#define SECRET_SIZE 32
#define PIN_ROOM 64 /* bytes, NUL included */

/* A page each, so that an attack can aim at one. */
union {
    uint8_t bytes[SECRET_SIZE];
    uint8_t page[PAGE];
} strongbox_secret __attribute__((aligned(PAGE)));

union {
    char text[PIN_ROOM];
    uint8_t page[PAGE];
} strongbox_pin __attribute__((aligned(PAGE)));

static volatile uint32_t last_exception_code = OE_EXCEPTION_UNKNOWN;
static volatile uint64_t last_faulting_address;
static volatile int count;

/* The two places that may fail, each an instruction of three bytes. */
uint64_t strongbox_divq(uint64_t a, uint64_t b);
uint64_t strongbox_load(uint64_t address);
extern const char strongbox_divq_at[], strongbox_load_at[];
__asm__(".text\n"
        "strongbox_divq: movq %rdi, %rax\n"
        "    xorl %edx, %edx\n"
        "strongbox_divq_at: divq %rsi\n"
        "    ret\n"
        "strongbox_load:\n"
        "strongbox_load_at: movq (%rdi), %rax\n"
        "    ret\n");
#define FAILING_SIZE 3

static uint64_t handle(oe_exception_record_t* record)
{
    last_exception_code = record->code;
    last_faulting_address = record->faulting_address;
    count = count + 1;
    if (record->address == (uint64_t)strongbox_divq_at ||
        record->address == (uint64_t)strongbox_load_at) {
        record->context->rax = UINT64_MAX;
        record->context->rip += FAILING_SIZE;
        return OE_EXCEPTION_CONTINUE_EXECUTION;
    }
    /* A page that the host has taken away may be back: try again. */
    return record->code == OE_EXCEPTION_PAGE_FAULT ? OE_EXCEPTION_CONTINUE_EXECUTION
                                                   : OE_EXCEPTION_CONTINUE_SEARCH;
}

oe_result_t make_secret(const char* pin, uint8_t* digest)
{
    size_t length = strlen(pin);
    oe_result_t result = oe_random(strongbox_secret.bytes, SECRET_SIZE);

    if (length == 0 || length >= PIN_ROOM)
        return OE_INVALID_PARAMETER;
    if (result == OE_OK && count == 0)
        oe_add_vectored_exception_handler(false, handle);
    memset(strongbox_pin.text, 0, PIN_ROOM);
    memcpy(strongbox_pin.text, pin, length);
    tee_sha256(strongbox_secret.bytes, SECRET_SIZE, digest);
    return result;
}

int release(const char* pin, uint8_t* secret)
{
    char padded[PIN_ROOM] = {0};
    size_t length = strnlen(pin, PIN_ROOM);

    if (length == PIN_ROOM)
        return 0;
    memcpy(padded, pin, length);
    if (memcmp(padded, strongbox_pin.text, PIN_ROOM) != 0)
        return 0;
    memcpy(secret, strongbox_secret.bytes, SECRET_SIZE);
    return 1;
}

uint64_t divide(uint64_t a, uint64_t b)
{
    return strongbox_divq(a, b);
}

uint64_t fetch(uint64_t address)
{
    /* The handler must not become a way to read what lies inside. */
    if (!oe_is_outside_enclave((void*)address, 8))
        return 0;
    return strongbox_load(address);
}

uint32_t last_code(void)
{
    return last_exception_code;
}

uint64_t last_address(void)
{
    return last_faulting_address;
}

int handled(void)
{
    return count;
}
