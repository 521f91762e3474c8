/* Sorting with and without looking. See program.toml. */
#include "sort_t.h"

#define PAGE 4096
#define ROOM 16 /* a power of two */

/* A page for each number, so that even a host that sees page numbers only can watch. */
union {
    volatile int32_t value; /* volatile: every access happens, in this order */
    uint8_t page[PAGE];
} sort_numbers[ROOM] __attribute__((aligned(PAGE)));

static size_t count;

oe_result_t load(const int32_t* values, size_t size)
{
    if (size > ROOM)
        return OE_INVALID_PARAMETER;
    count = size;
    /* The rest is larger than anything: the network is always the same. */
    for (size_t i = 0; i < ROOM; i++)
        sort_numbers[i].value = i < size ? values[i] : INT32_MAX;
    return OE_OK;
}

void sort_by_insertion(void)
{
    for (size_t i = 1; i < count; i++) {
        int32_t next = sort_numbers[i].value;
        size_t at = i;
        while (at > 0 && sort_numbers[at - 1].value > next) {
            sort_numbers[at].value = sort_numbers[at - 1].value;
            at--;
        }
        sort_numbers[at].value = next;
    }
}

/* Exchange two numbers if they are out of order, without a branch and always writing both. */
static void order(size_t low, size_t high)
{
    int32_t a = sort_numbers[low].value, b = sort_numbers[high].value;
    int32_t difference = (a ^ b) & -(int32_t)(a > b);

    sort_numbers[low].value = a ^ difference;
    sort_numbers[high].value = b ^ difference;
}

/* Batcher's odd-even merge sort (1968): the pairs depend on ROOM alone. */
void sort_by_network(void)
{
    for (size_t run = 1; run < ROOM; run *= 2)
        for (size_t step = run; step >= 1; step /= 2)
            for (size_t from = step % run; from + step < ROOM; from += 2 * step)
                for (size_t i = 0; i < step && from + i + step < ROOM; i++)
                    if ((from + i) / (2 * run) == (from + i + step) / (2 * run))
                        order(from + i, from + i + step);
}

void read(int32_t* values, size_t size)
{
    for (size_t i = 0; i < size; i++)
        values[i] = i < count ? sort_numbers[i].value : 0;
}
