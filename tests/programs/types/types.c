/* For the tests: every type, every direction, every way to misbehave. */
#include "types_t.h"

#include <stdlib.h>
#include <string.h>

#include "tee/runtime.h"
#include "tee/sha256.h"

#define ADD(type, name)        \
    type name(type a, type b)  \
    {                          \
        return (type)(a + b);  \
    }

char add_char(char a, signed char b)
{
    return (char)(a + b);
}
ADD(unsigned char, add_uchar)
ADD(short, add_short)
ADD(unsigned short, add_ushort)
ADD(int, add_int)
ADD(unsigned, add_uint)
ADD(long, add_long)
ADD(unsigned long, add_ulong)
ADD(long long, add_llong)
ADD(unsigned long long, add_ullong)
ADD(int8_t, add_i8)
ADD(uint8_t, add_u8)
ADD(int16_t, add_i16)
ADD(uint16_t, add_u16)
ADD(int32_t, add_i32)
ADD(uint32_t, add_u32)
ADD(int64_t, add_i64)
ADD(uint64_t, add_u64)
ADD(size_t, add_size)
ADD(float, add_float)
ADD(double, add_double)

bool exclusive(bool a, bool b)
{
    return a != b;
}

oe_result_t result(int code)
{
    return (oe_result_t)code;
}

void nothing(void)
{
}

uint64_t sum_bytes(const void* data, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ((const uint8_t*)data)[i];
    return sum;
}

int64_t sum_i32(const int32_t* data, int n)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += data[i];
    return sum;
}

double sum_doubles(const double* data, uint8_t n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += data[i];
    return sum;
}

void fill(uint8_t* data, int n, uint8_t value)
{
    memset(data, value, (size_t)n);
}

void squares(uint16_t* data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        data[i] = (uint16_t)(i * i);
}

void reverse(char* data, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        char kept = data[i];
        data[i] = data[n - 1 - i];
        data[n - 1 - i] = kept;
    }
}

int divide(int a, int b, int* remainder)
{
    *remainder = a % b;
    return a / b;
}

void split(int value, uint8_t* low, int* high)
{
    memcpy(low, &value, 4);
    *high = value >> 16;
}

size_t length(const char* text)
{
    return strlen(text);
}

/* Does not write its output: the caller must see zeros, not what the heap held before. */
void forget(uint8_t* data)
{
    (void)data;
}

void sha256(const uint8_t* data, size_t n, uint8_t* digest)
{
    tee_sha256(data, n, digest);
}

/* A table of pointers: needs relocation. */
static const char* const words[] = {"", "a", "ab", "abc", "b", "abd", "\xff"};

static int sign(int value)
{
    return (value > 0) - (value < 0);
}

/* 0, or the number of the first check that failed. */
int strings(void)
{
    char a[200], b[200];
    volatile size_t zero = 0;

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        for (size_t j = 0; j < sizeof words / sizeof *words; j++) {
            size_t shorter = strlen(words[i]) < strlen(words[j]) ? strlen(words[i]) : strlen(words[j]);
            if (sign(strcmp(words[i], words[j])) != sign(memcmp(words[i], words[j], shorter + 1)))
                return 1;
        }
    if (strncmp("abc", "abd", 2) != 0 || strncmp("abc", "abd", 3) >= 0 || strncmp("a", "b", zero) != 0)
        return 2;
    if (strnlen("abc", 2) != 2 || strnlen("abc", 9) != 3 || strchr("abc", 'd') || *strchr("abc", 'c') != 'c')
        return 3;
    for (size_t size = 0; size < 150; size++)
        for (size_t from = 0; from < 20; from += 3) {
            for (size_t i = 0; i < sizeof a; i++)
                a[i] = (char)i, b[i] = 0;
            memcpy(b + 5, a + from, size);
            if (memcmp(b + 5, a + from, size) || b[4] || b[5 + size])
                return 4;
            memset(b + 5, 0x80, size);
            if ((size && memchr(b, 0x80, sizeof b) != b + 5) || b[4] || b[5 + size])
                return 5;
            memmove(a + 10, a + from, size); /* overlaps both ways */
            for (size_t i = 0; i < size; i++)
                if (a[10 + i] != (char)(from + i))
                    return 6;
        }
    return 0;
}

int heap(void)
{
    uint8_t* block[40] = {0};

    if ((uintptr_t)malloc(0) % 16 != 0 || malloc(SIZE_MAX) || calloc(SIZE_MAX / 2, 4))
        return 1;
    for (int round = 0; round < 20; round++)
        for (size_t i = 0; i < 40; i++) {
            size_t size = (i * 37 + (size_t)round * 11) % 300;
            if (block[i] && block[i][0] != i)
                return 2;
            if ((i + (size_t)round) % 3 == 0) {
                block[i] = realloc(block[i], size + 1);
            } else {
                free(block[i]);
                block[i] = malloc(size + 1);
            }
            if (!block[i] || (uintptr_t)block[i] % 16 || !oe_is_within_enclave(block[i], size + 1))
                return 3;
            memset(block[i], (int)i, size + 1);
        }
    for (size_t i = 0; i < 40; i++)
        free(block[i]);
    uint8_t* zeros = calloc(7, 11);
    for (size_t i = 0; i < 77; i++)
        if (zeros[i] != 0)
            return 4;
    free(zeros);
    return 0;
}

/* Takes all the heap in blocks of 1000 bytes, gives it back, and says how many there were. */
uint64_t exhaust(void)
{
    void *last = NULL, *next;
    uint64_t count = 0;

    while ((next = malloc(1000)) != NULL) {
        *(void**)next = last;
        last = next;
        count++;
    }
    for (; last; last = next) {
        next = *(void**)last;
        free(last);
    }
    return count;
}

oe_result_t random_bytes(uint8_t* data, size_t n)
{
    return oe_random(data, n);
}

uint64_t address_of(int what)
{
    int local = 0;
    void* addresses[] = {(void*)address_of, (void*)&words, &local, tee_thread()};
    return (uint64_t)addresses[what];
}

/* MXCSR, then the x87 control word, then DF and AC: what a hostile host would like to choose. */
uint64_t float_state(void)
{
    uint32_t mxcsr;
    uint16_t control;
    uint64_t flags;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    __asm__ volatile("fnstcw %0" : "=m"(control));
    __asm__ volatile("pushfq; popq %0" : "=r"(flags));
    return mxcsr | (uint64_t)control << 16 | (flags & 0x40400) << 32;
}

oe_result_t call_scale(int a, double b, double* scaled)
{
    return scale(scaled, a, b);
}

oe_result_t call_greet(const char* who, char* text)
{
    int length = 0;
    oe_result_t status = greet(&length, who, text, 32);
    return status == OE_OK && length != (int)strnlen(text, 32) ? OE_UNEXPECTED : status;
}

oe_result_t call_tick(void)
{
    return tick();
}

oe_result_t call_mix(int32_t* data)
{
    static const int32_t other[4] = {1, -2, 3, -4};
    return mix(data, other, true);
}

oe_result_t call_big(size_t n)
{
    oe_result_t answer = OE_OK;
    uint8_t* data = malloc(n);
    oe_result_t status = data ? take(&answer, data, n) : OE_OUT_OF_MEMORY;
    free(data);
    return status == OE_OK ? answer : status;
}

/* Two ocalls, with values that must survive them in callee-saved registers. */
int call_twice(int value)
{
    double a = 0, b = 0;
    int c = value * 3, d = value * 5, e = value * 7, f = value * 11;
    if (scale(&a, value, 2) != OE_OK || scale(&b, c, 3) != OE_OK)
        return -1;
    return (int)a + (int)b + c + d + e + f;
}

oe_result_t call_unknown(void)
{
    return tee_ocall(1000, 0);
}

void stop(void)
{
    oe_abort();
}

void spin(void)
{
    for (;;)
        __asm__ volatile("pause");
}

void wild_jump(void)
{
    void (*volatile nowhere)(void) = (void (*)(void))0x10;
    nowhere();
}

void illegal(void)
{
    __asm__ volatile("ud2");
}

void write_code(void)
{
    *(volatile uint8_t*)(uintptr_t)write_code = 0xc3;
}

void overflow_stack(int depth)
{
    uint8_t room[1024];
    __asm__ volatile("" : : "r"(room) : "memory"); /* keeps the frame, here and after the call */
    room[0] = (uint8_t)depth;
    if (depth > 0)
        overflow_stack(depth - 1);
    __asm__ volatile("" : : "r"(room) : "memory");
}

void double_free(void)
{
    void* volatile block = malloc(10);
    free(block);
    free(block);
}
