/* A program with every bug that a host could wish for: what do the processor's checks still stop? */
#include "careless_t.h"

#include <string.h>

#include "tee/sha256.h"

#define PAGE 4096
#define SECRET_SIZE 32

union {
    uint8_t bytes[SECRET_SIZE];
    uint64_t words[4];
    uint8_t page[PAGE];
} careless_secret __attribute__((aligned(PAGE)));

/* What the caller gave to keep. */
uint8_t careless_page[PAGE] __attribute__((aligned(PAGE)));

/* One page, indexed by a secret. */
volatile uint8_t careless_table[PAGE] __attribute__((aligned(PAGE)));

/* A promise to everybody who reads the program: read-only. */
const volatile uint64_t careless_limit __attribute__((aligned(PAGE), used, retain)) = 3;

static uint16_t careless_index;

oe_result_t make_secret(uint8_t* digest)
{
    oe_result_t result = oe_random(careless_secret.bytes, SECRET_SIZE);

    if (result == OE_OK)
        result = oe_random(&careless_index, sizeof careless_index);
    careless_index %= PAGE;
    tee_sha256(careless_secret.bytes, SECRET_SIZE, digest);
    return result;
}

uint64_t peek(uint64_t address)
{
    return *(volatile uint64_t*)address;
}

void poke(uint64_t address, uint64_t value)
{
    *(volatile uint64_t*)address = value;
}

uint64_t jump(uint64_t address)
{
    return ((uint64_t (*)(void))address)();
}

void put(const uint8_t* page)
{
    memcpy(careless_page, page, PAGE);
}

uint64_t cpuid(uint32_t leaf)
{
    uint32_t a = leaf, b, c = 0, d;

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return (uint64_t)b << 32 | a;
}

void look_up(void)
{
    (void)careless_table[careless_index];
}

int which(void)
{
    return careless_index;
}

uint64_t count(uint64_t rounds)
{
    volatile uint64_t sum = 0;

    for (uint64_t i = 0; i < rounds; i++)
        sum = sum + 1;
    return sum;
}

/* Left in by its developer: leaves with the secret in four registers. Nothing calls it, and no ecall
 * leads here; only somebody who chooses where the enclave starts would reach it. */
__attribute__((naked, used, retain)) void careless_debug(void)
{
    __asm__ volatile(
        "leaq careless_secret(%rip), %rbx\n"
        "movq 0(%rbx), %rdi\n"
        "movq 8(%rbx), %rsi\n"
        "movq 16(%rbx), %rdx\n"
        "movq 24(%rbx), %r8\n"
#ifdef TEE_TARGET_SGX
        "movq %rcx, %rbx\n"
        "movl $4, %eax\n"
        ".byte 0x0f, 0x01, 0xd7\n"
#else
        "xorl %eax, %eax\n"
        "syscall\n"
#endif
    );
}
