/* The chain of a platform's certificate: PCK, PCK CA, root. Three certificates, neither more nor less, so
 * that nobody's certificate can be taken for another kind.
 *
 * Simplified: no extension is read. Who is a CA follows from the place in the chain: the root certifies
 * no others than the CAs and the signer of TCB information, and a CA none but PCKs.
 *
 * Zig's std.crypto.Certificate is not used: it reads behind the end of a truncated certificate. */
#include "openenclave/enclave.h"
#include "tee/attestation.h"
#include "tee/crypto.h"
#include "vendor.h"

#include <stdlib.h>

#define CHAIN 3
#define MOST 4096 /* bytes of one certificate; Intel's have 700 to 1300 */

enum { INTEGER = 0x02, BITS = 0x03, UTC = 0x17, GENERAL = 0x18, SEQUENCE = 0x30, VERSION = 0xa0 };

typedef struct {
    const uint8_t* at;
    size_t size;
} span_t;

typedef struct {
    span_t signed_part, issuer, subject, key, signature;
    char from[14], until[14]; /* YYYYMMDDHHMMSS */
} certificate_t;

/* The next element of a sequence: its contents, and with its head. False: there is none of that tag. */
static bool next(span_t* rest, uint8_t tag, span_t* contents, span_t* whole)
{
    size_t head = 2, size;

    if (rest->size < 2 || rest->at[0] != tag)
        return false;
    size = rest->at[1];
    if (size > 0x80) { /* the length has a length */
        head += size - 0x80;
        if (head > 4 || rest->size < head)
            return false;
        size = 0;
        for (size_t i = 2; i < head; i++)
            size = size << 8 | rest->at[i];
    }
    if (rest->at[1] == 0x80 || size > rest->size - head)
        return false;
    *contents = (span_t){rest->at + head, size};
    *whole = (span_t){rest->at, head + size};
    *rest = (span_t){rest->at + head + size, rest->size - head - size};
    return true;
}

static bool same(span_t one, span_t other)
{
    return one.size == other.size && memcmp(one.at, other.at, one.size) == 0;
}

static bool read_time(span_t* validity, char time[14])
{
    span_t text, whole;

    if (next(validity, UTC, &text, &whole) && text.size == 13) {
        memcpy(time, text.at[0] < '5' ? "20" : "19", 2);
        memcpy(time + 2, text.at, 12);
        return true;
    }
    if (!next(validity, GENERAL, &text, &whole) || text.size != 15)
        return false;
    memcpy(time, text.at, 14);
    return true;
}

/* A SubjectPublicKeyInfo of a P-256 key that is not compressed is always these bytes, then x and y. */
static const uint8_t key_head[] = {0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d,
                                   0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
                                   0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};
/* ecdsa-with-SHA256 */
static const uint8_t algorithm[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};

/* RFC 5280, "Certificate": signed part, algorithm, signature; and the fields of the signed part. */
static bool parse(span_t der, certificate_t* made)
{
    const span_t ecdsa = {algorithm, sizeof algorithm};
    span_t all, fields, part, whole, validity, inner;

    if (!next(&der, SEQUENCE, &all, &whole) || der.size ||
        !next(&all, SEQUENCE, &fields, &made->signed_part) ||
        !next(&all, SEQUENCE, &part, &whole) || !same(part, ecdsa) ||
        !next(&all, BITS, &made->signature, &whole) || all.size)
        return false;
    if (!next(&fields, VERSION, &part, &whole) || !next(&fields, INTEGER, &part, &whole) ||
        !next(&fields, SEQUENCE, &inner, &whole) || !same(inner, ecdsa) ||
        !next(&fields, SEQUENCE, &part, &made->issuer) ||
        !next(&fields, SEQUENCE, &validity, &whole) || !read_time(&validity, made->from) ||
        !read_time(&validity, made->until) || !next(&fields, SEQUENCE, &part, &made->subject) ||
        !next(&fields, SEQUENCE, &made->key, &whole))
        return false;
    if (made->key.size != sizeof key_head + 64 || memcmp(made->key.at, key_head, sizeof key_head))
        return false;
    made->key = (span_t){made->key.at + sizeof key_head, 64};
    return true;
}

/* A DER signature, two integers, as r and s of 32 bytes. */
static bool read_signature(span_t bits, uint8_t signature[64])
{
    span_t both, number, whole, rest = {bits.at + 1, bits.size - 1};

    memset(signature, 0, 64);
    if (!bits.size || bits.at[0] || !next(&rest, SEQUENCE, &both, &whole) || rest.size)
        return false;
    for (int i = 0; i < 2; i++) {
        if (!next(&both, INTEGER, &number, &whole))
            return false;
        if (number.size == 33 && number.at[0] == 0)
            number = (span_t){number.at + 1, 32};
        if (!number.size || number.size > 32)
            return false;
        memcpy(signature + 32 * (i + 1) - number.size, number.at, number.size);
    }
    return !both.size;
}

static oe_result_t check(const certificate_t* one, const certificate_t* issuer, const char* at)
{
    uint8_t signature[64];

    if (!same(one->issuer, issuer->subject) || !read_signature(one->signature, signature) ||
        !tee_p256_verify(issuer->key.at, one->signed_part.at, one->signed_part.size, signature))
        return OE_QUOTE_VERIFICATION_ERROR;
    if (at && (memcmp(at, one->from, 14) < 0 || memcmp(at, one->until, 14) > 0))
        return OE_VERIFY_FAILED_TO_FIND_VALIDITY_PERIOD;
    return OE_OK;
}

/* The place of `text` in what is left, or NULL. */
static const char* find(const char* in, size_t size, const char* text)
{
    const size_t length = strlen(text);

    for (; size >= length; in++, size--)
        if (memcmp(in, text, length) == 0)
            return in;
    return NULL;
}

/* The next PEM block, as DER in `der`. */
static bool read_pem(const char** pem, size_t* size, uint8_t* der, size_t* der_size)
{
    static const char first[] = "-----BEGIN CERTIFICATE-----", last[] = "-----END CERTIFICATE-----";
    const char* from = find(*pem, *size, first);

    if (!from)
        return false;
    from += sizeof first - 1;
    const char* to = find(from, *size - (size_t)(from - *pem), last);
    if (!to || !tee_base64_decode(from, (size_t)(to - from), der, MOST, der_size))
        return false;
    to += sizeof last - 1;
    *size -= (size_t)(to - *pem);
    *pem = to;
    return true;
}

oe_result_t tee_chain_verify(const char* pem, size_t size, const char* at, uint8_t key[64])
{
    static const uint8_t vendor_key[64] = VENDOR_ROOT_KEY;
    certificate_t chain[CHAIN];
    oe_result_t result = OE_OK;
    uint8_t* der = malloc(CHAIN * MOST);
    size_t der_size;

    if (!der)
        return OE_OUT_OF_MEMORY;
    for (size_t i = 0; i < CHAIN && result == OE_OK; i++)
        if (!read_pem(&pem, &size, der + i * MOST, &der_size) ||
            !parse((span_t){der + i * MOST, der_size}, &chain[i]))
            result = OE_MISSING_CERTIFICATE_CHAIN;
    if (result == OE_OK && memcmp(chain[CHAIN - 1].key.at, vendor_key, sizeof vendor_key))
        result = OE_QUOTE_VERIFICATION_ERROR;
    for (size_t i = 0; i < CHAIN && result == OE_OK; i++)
        result = check(&chain[i], &chain[i + 1 < CHAIN ? i + 1 : i], at);
    if (result == OE_OK)
        memcpy(key, chain[0].key.at, 64);
    free(der);
    return result;
}
