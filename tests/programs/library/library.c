/* For the tests: the C library and the runtime's services, one call at a time. */
#include "library_t.h"

#include <openenclave/enclave.h>
#include <openenclave/internal/trace.h>

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define ROOM 64

int format_int(const char* format, int64_t value, char* text)
{
    return snprintf(text, ROOM, format, value);
}

int format_double(const char* format, double value, char* text)
{
    return snprintf(text, ROOM, format, value);
}

int format_string(const char* format, const char* value, char* text)
{
    return snprintf(text, ROOM, format, value);
}

int64_t to_long(const char* text, int base, int32_t* used, int32_t* error)
{
    char* end;

    errno = 0;
    int64_t value = strtoll(text, &end, base);
    *used = (int32_t)(end - text);
    *error = errno;
    return value;
}

uint64_t to_ulong(const char* text, int base, int32_t* error)
{
    errno = 0;
    uint64_t value = strtoul(text, NULL, base);
    *error = errno;
    return value;
}

double to_double(const char* text, int32_t* used)
{
    char* end;
    double value = strtod(text, &end);

    *used = (int32_t)(end - text);
    return value;
}

int scan(const char* text, int64_t* number, char* word)
{
    return sscanf(text, "%" SCNd64 " %15s", number, word);
}

double math1(int which, double x)
{
    static double (*const functions[])(double) = {
        sqrt, exp, log, sin, cos, tan, asin, acos, atan, sinh, cosh, tanh, floor, ceil, round,
        trunc, fabs, cbrt, log2, log10, exp2, expm1, log1p, tgamma, lgamma, erf,
    };
    return functions[which](x);
}

double math2(int which, double x, double y)
{
    static double (*const functions[])(double, double) = {pow, atan2, fmod, hypot, fmin, fmax, copysign};
    return functions[which](x, y);
}

uint32_t classes(int character)
{
    static int (*const functions[])(int) = {
        isalnum, isalpha, isblank, iscntrl, isdigit, isgraph,
        islower, isprint, ispunct, isspace, isupper, isxdigit,
    };
    uint32_t result = 0;

    for (size_t i = 0; i < OE_COUNTOF(functions); i++)
        result |= (uint32_t)(functions[i](character) != 0) << i;
    return result;
}

static int ascending(const void* a, const void* b)
{
    int32_t left = *(const int32_t*)a, right = *(const int32_t*)b;
    return (left > right) - (left < right);
}

void sort(int32_t* values, size_t size)
{
    qsort(values, size, sizeof *values, ascending);
}

int64_t find(const int32_t* values, size_t size, int32_t wanted)
{
    const int32_t* found = bsearch(&wanted, values, size, sizeof *values, ascending);
    return found ? found - values : -1;
}

#define EXPECT(condition) do { if (!(condition)) return __LINE__; } while (0)

int strings(void)
{
    char text[ROOM] = "one two,three", *rest = NULL;

    EXPECT(strcmp(strtok_r(text, " ,", &rest), "one") == 0);
    EXPECT(strcmp(strtok_r(NULL, " ,", &rest), "two") == 0);
    EXPECT(strcmp(strtok_r(NULL, " ,", &rest), "three") == 0);
    EXPECT(strtok_r(NULL, " ,", &rest) == NULL);
    EXPECT(strcmp(strcat(strcpy(text, "ab"), "cd"), "abcd") == 0);
    EXPECT(strcmp(strncat(strncpy(text, "abcdef", 3), "xyz", 0), "abcd") == 0);
    EXPECT(strrchr(text, 'a') == text && strchr(text, '\0') == text + 4);
    EXPECT(strstr("needle in hay", "in") && !strstr("hay", "needle"));
    EXPECT(strspn("aab", "a") == 2 && strcspn("aab", "b") == 2);
    EXPECT(strcmp(strpbrk("abc", "cb"), "bc") == 0);
    EXPECT(memchr("abc", 'c', 2) == NULL && strnlen("abc", 2) == 2);
    EXPECT(strcasecmp("AbC", "aBc") == 0 && strncmp("abc", "abd", 2) == 0);
    char* copy = strdup("again");
    EXPECT(copy && strcmp(copy, "again") == 0);
    free(copy);
    EXPECT(abs(-3) == 3 && atoi("-12x") == -12 && div(7, 2).rem == 1);
    srand(7);
    int first = rand();
    srand(7);
    EXPECT(first == rand() && first != rand());
    EXPECT(sprintf(text, "%s", "x") == 1 && CHAR_BIT == 8);
    return 0;
}

int wide(void)
{
    wchar_t text[8];
    char back[16];

    EXPECT(mbstowcs(text, "gr\xc3\xbc\xc3\x9f", 8) == 4 && text[2] == 0xfc && wcslen(text) == 4);
    EXPECT(wcscmp(text, L"gr\u00fc\u00df") == 0 && wcschr(text, 0xdf) == text + 3);
    EXPECT(wcstombs(back, text, sizeof back) == 6 && strcmp(back, "gr\xc3\xbc\xc3\x9f") == 0);
    return 0;
}

void say(const char* text)
{
    printf("%s", text);
}

int repeat(const char* text, int times)
{
    size_t size = strlen(text);
    char* all = malloc(size * (size_t)times + 1);

    for (int i = 0; i < times; i++)
        strcpy(all + size * (size_t)i, text);
    int shown = printf("%s", all);
    free(all);
    return shown;
}

void complain(int number)
{
    errno = number;
    perror("sorry");
}

int letters(const char* text)
{
    for (; *text; text++)
        if (putchar(*text) == EOF)
            return -1;
    return puts("") + fputs("end", stdout) + fflush(stdout);
}

int log_at(uint32_t level, const char* message)
{
    return oe_log((oe_log_level_t)level, "%s (%d)", message, 1);
}

static char kept[ROOM];
static oe_log_level_t kept_level;

static void keep(void* context, oe_log_level_t level, uint64_t thread_id, const char* message)
{
    kept_level = level;
    snprintf(context, ROOM, "%s|%d|%s", oe_log_level_strings[level],
             oe_is_within_enclave((void*)thread_id, 1), message);
}

void log_inside(int on)
{
    oe_enclave_log_set_callback(on ? kept : NULL, on ? keep : NULL);
}

int logged(char* text, uint32_t* level)
{
    strcpy(text, kept);
    *level = kept_level;
    return (int)strlen(text);
}

void name_of(int result, char* text)
{
    strcpy(text, oe_result_str((oe_result_t)result));
}

void error_name(int number, char* text)
{
    strcpy(text, strerror(number));
}

uint64_t borrow(uint64_t size)
{
    return (uint64_t)oe_host_malloc(size);
}

int borrow_and_copy(const char* text, size_t most, uint64_t* where)
{
    char* copy = oe_host_strndup(text, most);

    *where = (uint64_t)copy;
    return copy && oe_is_outside_enclave(copy, strlen(copy)) ? (int)strlen(copy) : -1;
}

uint64_t borrow_zeros(uint64_t count, uint64_t size)
{
    return (uint64_t)oe_host_calloc(count, size);
}

uint64_t extend(uint64_t address, uint64_t size)
{
    return (uint64_t)oe_host_realloc((void*)address, size);
}

void give_back(uint64_t address)
{
    oe_host_free((void*)address);
}

void claim(int holds)
{
    assert(holds != 1);
    oe_assert(holds != 2);
}

void leave(int status)
{
    exit(status);
}

int set_error(int number)
{
    errno = number;
    pause();
    return errno;
}

int last_error(void)
{
    return errno;
}

int status(void)
{
    return oe_get_enclave_status();
}
