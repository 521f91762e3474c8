/* Works on what the host passes. At the first counter the EDL file's attributes check it; at the
 * second, the program does, with the mistakes that programs make. */
#include "customs_t.h"

#include <string.h>

#include "tee/sha256.h"

#define PAGE 4096
#define SECRET_SIZE 32
#define SHELVES 4

union {
    uint8_t bytes[SECRET_SIZE];
    uint32_t words[SECRET_SIZE / 4];
    uint8_t page[PAGE];
} customs_secret __attribute__((aligned(PAGE)));

uint64_t customs_shelves[SHELVES] = {1, 2, 3, 4};

/* How many have been filled in. */
volatile uint64_t customs_forms;

oe_result_t make_secret(uint8_t* digest)
{
    oe_result_t result = oe_random(customs_secret.bytes, SECRET_SIZE);

    tee_sha256(customs_secret.bytes, SECRET_SIZE, digest);
    return result;
}

void carry(const uint8_t* from, uint8_t* to, size_t n)
{
    memcpy(to, from, n);
}

/* The mistake: no look at the addresses at all. */
void carry_unchecked(const uint8_t* from, uint8_t* to, size_t n)
{
    memcpy(to, from, n);
}

/* Checks, tells the host, and uses: right, if *shelf is the same in both places. */
oe_result_t fetch(const uint64_t* shelf, uint64_t* found)
{
    oe_result_t result;

    if (!shelf || *shelf >= SHELVES)
        return OE_OUT_OF_BOUNDS;
    result = going();
    if (result == OE_OK)
        *found = customs_shelves[*shelf];
    return result;
}

/* The mistake: *shelf lies outside and is read twice. */
oe_result_t fetch_unchecked(const uint64_t* shelf, uint64_t* found)
{
    if (!oe_is_outside_enclave(shelf, sizeof *shelf) || !oe_is_outside_enclave(found, sizeof *found))
        return OE_INVALID_PARAMETER;
    return fetch(shelf, found);
}

uint64_t entry(const uint64_t* list, size_t n, size_t at)
{
    return list && at < n ? list[at] : 0;
}

/* The mistake: n * 8 may be small although n is not. */
uint64_t entry_unchecked(const uint64_t* list, size_t n, size_t at)
{
    return oe_is_outside_enclave(list, n * sizeof *list) ? entry(list, n, at) : 0;
}

/* A key schedule, as ciphers have: expands one word of the secret on the stack. */
static __attribute__((noinline)) uint64_t schedule(uint32_t number)
{
    volatile uint32_t round[64];
    uint64_t sum = number;

    for (size_t i = 0; i < 64; i++)
        round[i] = customs_secret.words[number % (SECRET_SIZE / 4)];
    for (size_t i = 0; i < 64; i++)
        sum += round[i] >> (i & 31) & 1;
    return sum;
}

/* Between a form's two members lie four bytes that nobody writes. */
static __attribute__((noinline)) void write_form(struct form* form, uint32_t number, uint64_t sum)
{
    struct form draft;

    draft.number = number;
    draft.sum = sum;
    __asm__ volatile("" : : "r"(&draft) : "memory"); /* a draft in memory, not in registers */
    *form = draft;
}

void fill_in(uint32_t number, struct form* form)
{
    write_form(form, number, schedule(number));
    customs_forms++;
}

/* The mistake: the form goes out as it is, with what was on the stack before it. */
void fill_in_unchecked(uint32_t number, struct form* form)
{
    if (oe_is_outside_enclave(form, sizeof *form))
        fill_in(number, form);
}
