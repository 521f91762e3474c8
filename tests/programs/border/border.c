/* What crosses the border in odd shapes. */
#include "border_t.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int nulls(const int* a, const char* b, struct list* c, const wchar_t* d)
{
    return !a + 2 * !b + 4 * !c + 8 * !d + 16 * (c && !c->numbers);
}

oe_result_t pass_nulls(void)
{
    struct list empty = {3, NULL};
    oe_result_t result = take_nulls(NULL, NULL, &empty);

    if (result == OE_OK && (empty.n != 3 || empty.numbers))
        result = OE_UNEXPECTED;
    return result == OE_OK ? take_nulls(NULL, NULL, NULL) : result;
}

/* The sum of all numbers; doubles them, and scrambles everything else. */
uint64_t sum(struct tree* tree)
{
    uint64_t total = 0;

    for (int i = 0; i < tree->count; i++) {
        for (size_t j = 0; j < tree->lists[i].n; j++) {
            total += tree->lists[i].numbers[j];
            tree->lists[i].numbers[j] *= 2;
        }
        tree->lists[i].n = 1000;
        tree->lists[i].numbers = NULL;
    }
    tree->count = -1;
    tree->lists = NULL;
    return total;
}

oe_result_t grow(int n, struct tree* tree)
{
    tree->count = n;
    tree->lists = calloc(n, sizeof *tree->lists);
    for (int i = 0; tree->lists && i < n; i++) {
        tree->lists[i].n = i;
        tree->lists[i].numbers = calloc(i, sizeof(uint64_t));
        for (int j = 0; tree->lists[i].numbers && j < i; j++)
            tree->lists[i].numbers[j] = 10 * i + j;
    }
    return OE_OK;
}

oe_result_t fetch_tree(uint64_t* sums)
{
    struct tree tree = {7, NULL, NULL};
    oe_result_t result = give_tree(&tree);

    sums[0] = tree.count;
    if (result == OE_OK && tree.lists) {
        for (int i = 0; i < tree.count; i++)
            free(tree.lists[i].numbers ? tree.lists[i].numbers : NULL);
        free(tree.lists);
    }
    sums[1] = (uint64_t)tree.lists;
    return result;
}

oe_result_t change_tree(uint64_t* state)
{
    uint64_t numbers[2] = {1, 2};
    struct list list = {2, numbers};
    struct tree tree = {1, &list, NULL};
    oe_result_t result = trim_tree(&tree);

    *state = (tree.count == 1) + 2 * (tree.lists == &list) + 4 * (list.n == 2) +
             8 * (list.numbers == numbers) + 16 * (numbers[0] == 0xabab && numbers[1] == 0xabab);
    return result;
}

oe_result_t send_gaps(void)
{
    struct gap one, two, back;

    memset(&one, 0xee, sizeof one);
    memset(&two, 0xee, sizeof two);
    one.small = two.small = 1;
    one.big = two.big = 2;
    return take_gaps(&back, 3, one, &two, true);
}

oe_result_t ask_name(char* name)
{
    oe_result_t result = rename_it(name);

    return result == OE_OK && strlen(name) > 5 ? OE_UNEXPECTED : result;
}

int64_t open_file(int* error)
{
    int64_t fd = 0;

    errno = 99;
    oe_syscall_open_ocall(&fd, "/etc/passwd", 0, 0);
    *error = errno;
    return fd;
}

oe_result_t say(void)
{
    oe_result_t result = oe_write_ocall(0, "hello, host\n", 5);

    return result == OE_OK ? oe_log_ocall(1, "logged\n") : result;
}
