/* RSA signatures by the Chinese remainder theorem, and no look at the result before it goes out.
 *
 * 512 bits are far too few for a real key; they keep the arithmetic on one page. Nothing here runs in
 * constant time either: this program is about faults. Numbers are arrays of 64-bit limbs, the least
 * significant first; those modulo a prime have HALF of them. */
#include "signer_t.h"

#include <string.h>

#include "tee/sha256.h"

#define HALF 4
#define FULL (2 * HALF)
#define EXPONENT 65537
#define WITNESSES 8

typedef uint64_t half_t[HALF];
typedef unsigned __int128 wide_t;

/* One prime, and what calculating modulo it needs. */
typedef struct {
    half_t p;
    half_t r2;       /* R^2 mod p, R = 2^256 */
    half_t exponent; /* of a signature: EXPONENT^-1 mod (p - 1) */
    uint64_t inverse; /* -p^-1 mod 2^64 */
} prime_t;

static prime_t first, second;
static half_t coefficient; /* second^-1 mod first, times R */
static const half_t one = {1};

static uint64_t subtract(half_t x, const half_t y)
{
    uint64_t borrow = 0;

    for (int i = 0; i < HALF; i++) {
        wide_t difference = (wide_t)x[i] - y[i] - borrow;
        x[i] = (uint64_t)difference;
        borrow = (uint64_t)(difference >> 64) & 1;
    }
    return borrow;
}

static uint64_t add(half_t x, const half_t y)
{
    uint64_t carry = 0;

    for (int i = 0; i < HALF; i++) {
        wide_t sum = (wide_t)x[i] + y[i] + carry;
        x[i] = (uint64_t)sum;
        carry = (uint64_t)(sum >> 64);
    }
    return carry;
}

static bool is_below(const half_t x, const half_t y)
{
    for (int i = HALF - 1; i >= 0; i--)
        if (x[i] != y[i])
            return x[i] < y[i];
    return false;
}

/* result = x y / R mod p, for any x and a y below p (Montgomery). */
static void multiply(half_t result, const half_t x, const half_t y, const prime_t* m)
{
    uint64_t t[HALF + 2] = {0};

    for (int i = 0; i < HALF; i++) {
        wide_t sum = 0;
        for (int j = 0; j < HALF; j++) {
            sum = (wide_t)x[i] * y[j] + t[j] + (uint64_t)(sum >> 64);
            t[j] = (uint64_t)sum;
        }
        sum = (wide_t)t[HALF] + (uint64_t)(sum >> 64);
        t[HALF] = (uint64_t)sum;
        t[HALF + 1] = (uint64_t)(sum >> 64);
        uint64_t factor = t[0] * m->inverse;
        sum = (wide_t)factor * m->p[0] + t[0];
        for (int j = 1; j < HALF; j++) {
            sum = (wide_t)factor * m->p[j] + t[j] + (uint64_t)(sum >> 64);
            t[j - 1] = (uint64_t)sum;
        }
        sum = (wide_t)t[HALF] + (uint64_t)(sum >> 64);
        t[HALF - 1] = (uint64_t)sum;
        t[HALF] = t[HALF + 1] + (uint64_t)(sum >> 64);
    }
    if (t[HALF] || !is_below(t, m->p))
        subtract(t, m->p);
    memcpy(result, t, sizeof(half_t));
}

/* result = base^exponent mod p; base and result are multiplied by R. */
static void power(half_t result, const half_t base, const half_t exponent, const prime_t* m)
{
    half_t x;

    multiply(x, one, m->r2, m);
    for (int bit = 64 * HALF - 1; bit >= 0; bit--) {
        multiply(x, x, x, m);
        if (exponent[bit / 64] >> bit % 64 & 1)
            multiply(x, x, base, m);
    }
    memcpy(result, x, sizeof x);
}

/* Everything about an odd p with its top bit set but the exponent. */
static void prepare(prime_t* m)
{
    m->inverse = 1;
    for (int i = 0; i < 6; i++) /* Newton: each round doubles the number of right bits */
        m->inverse *= 2 - m->p[0] * m->inverse;
    m->inverse = -m->inverse;
    memcpy(m->r2, one, sizeof one);
    for (int i = 0; i < 2 * 64 * HALF; i++) {
        half_t twice;
        memcpy(twice, m->r2, sizeof twice);
        if (add(m->r2, twice) || !is_below(m->r2, m->p))
            subtract(m->r2, m->p);
    }
}

/* Fermat's test with a few bases. What passes it and is not prime is rarer than a broken processor. */
static bool is_prime(const prime_t* m)
{
    half_t exponent, unit, x;

    memcpy(exponent, m->p, sizeof exponent);
    exponent[0]--;
    multiply(unit, one, m->r2, m);
    for (uint64_t base = 2; base < 2 + WITNESSES; base++) {
        multiply(x, (half_t){base}, m->r2, m);
        power(x, x, exponent, m);
        if (memcmp(x, unit, sizeof x) != 0)
            return false;
    }
    return true;
}

/* Divide by a number below 2^32, and give back what is left over. */
static uint64_t divide(half_t x, uint64_t by)
{
    uint64_t rest = 0;

    for (int i = HALF - 1; i >= 0; i--) {
        uint64_t upper = rest << 32 | x[i] >> 32;
        uint64_t lower = upper % by << 32 | (uint32_t)x[i];
        x[i] = upper / by << 32 | lower / by;
        rest = lower % by;
    }
    return rest;
}

/* EXPONENT^-1 mod (p - 1) is (1 + k (p - 1)) / EXPONENT, for the k with which that is whole:
 * with rest (p - 1) = q EXPONENT + r it is k q + (1 + k r) / EXPONENT. False if there is none. */
static bool find_exponent(prime_t* m)
{
    half_t quotient;
    uint64_t k = 1, carry;

    memcpy(quotient, m->p, sizeof quotient);
    quotient[0]--;
    const uint64_t r = divide(quotient, EXPONENT);
    if (r == 0)
        return false;
    while ((1 + k * r) % EXPONENT != 0)
        k++;
    carry = (1 + k * r) / EXPONENT;
    for (int i = 0; i < HALF; i++) {
        wide_t sum = (wide_t)quotient[i] * k + carry;
        m->exponent[i] = (uint64_t)sum;
        carry = (uint64_t)(sum >> 64);
    }
    return true;
}

static oe_result_t make_prime(prime_t* m)
{
    do {
        oe_result_t result = oe_random(m->p, sizeof m->p);
        if (result != OE_OK)
            return result;
        m->p[0] |= 1;
        m->p[HALF - 1] |= 3ull << 62; /* so that the product has all its bits */
        prepare(m);
    } while (!is_prime(m) || !find_exponent(m));
    return OE_OK;
}

/* full = x y + z */
static void multiply_add(uint64_t full[FULL], const half_t x, const half_t y, const half_t z)
{
    memset(full, 0, FULL * sizeof *full);
    memcpy(full, z, sizeof(half_t));
    for (int i = 0; i < HALF; i++) {
        uint64_t carry = 0;
        for (int j = 0; j < HALF; j++) {
            wide_t sum = (wide_t)x[i] * y[j] + full[i + j] + carry;
            full[i + j] = (uint64_t)sum;
            carry = (uint64_t)(sum >> 64);
        }
        for (int j = i + HALF; carry && j < FULL; j++) {
            wide_t sum = (wide_t)full[j] + carry;
            full[j] = (uint64_t)sum;
            carry = (uint64_t)(sum >> 64);
        }
    }
}

oe_result_t make_key(uint8_t* modulus)
{
    uint64_t full[FULL];
    half_t exponent;
    oe_result_t result = make_prime(&first);

    if (result == OE_OK)
        result = make_prime(&second);
    if (result != OE_OK)
        return result;
    memcpy(exponent, first.p, sizeof exponent);
    exponent[0] -= 2;
    multiply(coefficient, second.p, first.r2, &first);
    power(coefficient, coefficient, exponent, &first); /* x^(p-2) = x^-1 */
    multiply_add(full, first.p, second.p, (half_t){0});
    memcpy(modulus, full, sizeof full);
    return OE_OK;
}

/* The message as a number: 00 01 FF ... FF 00, what hash it is, and the hash (RFC 8017, 9.2). */
static void encode(uint64_t full[FULL], const char* message)
{
    static const uint8_t sha256[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                     0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};
    uint8_t text[8 * FULL];
    const size_t hash = sizeof text - 32, name = hash - sizeof sha256;

    memset(text, 0xff, sizeof text);
    text[0] = 0;
    text[1] = 1;
    text[name - 1] = 0;
    memcpy(text + name, sha256, sizeof sha256);
    tee_sha256(message, strlen(message), text + hash);
    for (size_t i = 0; i < sizeof text; i++)
        ((uint8_t*)full)[i] = text[sizeof text - 1 - i];
}

/* result = full^exponent mod p */
static void sign_half(half_t result, const uint64_t full[FULL], const prime_t* m)
{
    half_t upper, x;

    multiply(upper, full + HALF, m->r2, m); /* the upper half times R, */
    multiply(x, full, m->r2, m);
    multiply(x, x, one, m); /* and the lower one, modulo p */
    if (add(x, upper) || !is_below(x, m->p))
        subtract(x, m->p);
    multiply(x, x, m->r2, m);
    power(x, x, m->exponent, m);
    multiply(result, x, one, m);
}

void sign(const char* message, uint8_t* signature)
{
    uint64_t full[FULL];
    half_t x, y;

    encode(full, message);
    sign_half(x, full, &first);
    sign_half(y, full, &second);
    /* Garner: y + second ((x - y) / second mod first) */
    if (subtract(x, y))
        while (!add(x, first.p))
            ;
    multiply(x, x, coefficient, &first);
    multiply_add(full, second.p, x, y);
    /* The mistake: nobody looks whether this is right before it goes out. */
    memcpy(signature, full, sizeof full);
}
