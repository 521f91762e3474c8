/* Cryptography: C names for functions of Zig's standard library (src/crypto.zig). */
#ifndef TEE_CRYPTO_H
#define TEE_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* AES-128-GCM. No pointer is NULL, even if its size is 0. */
void tee_aes_gcm_seal(const uint8_t key[16], const uint8_t iv[12], const void* additional,
                      size_t additional_size, const void* plaintext, size_t size, void* ciphertext,
                      uint8_t tag[16]);

/* False: the tag does not fit, and `plaintext` holds nothing of use. */
bool tee_aes_gcm_open(const uint8_t key[16], const uint8_t iv[12], const void* additional,
                      size_t additional_size, const void* ciphertext, size_t size,
                      const uint8_t tag[16], void* plaintext);

/* AES-128-CMAC. */
void tee_aes_cmac(const uint8_t key[16], const void* data, size_t size, uint8_t mac[16]);

/* HKDF with SHA-256 and no salt (RFC 5869); at most 8160 bytes come out. */
void tee_hkdf_sha256(const void* ikm, size_t ikm_size, const void* info, size_t info_size, void* out,
                     size_t size);

/* Keys of the curve P-256. A public key is x and y, a signature r and s, all big-endian. */

/* A secret key from random bytes: FIPS 186-5, "Key Pair Generation by Extra Random Bits". */
void tee_p256_secret(const uint8_t seed[40], uint8_t secret[32]);

/* The same from another key and a label of at most 13 bytes, as Intel's enclaves do it: three blocks
 * of AES-CMAC over a counter, the label, zeros and the number of bits. */
void tee_p256_derive(const uint8_t key[16], const char* label, size_t label_size,
                     uint8_t secret[32]);

/* False: the secret is no secret key, or the public key no point of the curve. */
bool tee_p256_public(const uint8_t secret[32], uint8_t public_key[64]);

/* ECDSA with SHA-256; the nonce is derived from the secret and the data. */
bool tee_p256_sign(const uint8_t secret[32], const void* data, size_t size, uint8_t signature[64]);
bool tee_p256_verify(const uint8_t public_key[64], const void* data, size_t size,
                     const uint8_t signature[64]);

/* ECDH: the x coordinate of the shared point. */
bool tee_p256_shared(const uint8_t secret[32], const uint8_t public_key[64], uint8_t shared[32]);

/* Base64 with line ends in it. False: it is none, or longer than `capacity` bytes. */
bool tee_base64_decode(const char* text, size_t size, void* out, size_t capacity, size_t* made);

/* PBKDF2 with HMAC-SHA-256 (RFC 8018). `rounds` is at least 1. */
void tee_pbkdf2_sha256(const void* password, size_t password_size, const void* salt,
                       size_t salt_size, uint32_t rounds, void* key, size_t key_size);

/* Whether two secrets are equal; the time does not depend on where they differ. */
static inline bool tee_equal(const uint8_t* one, const uint8_t* other, size_t size)
{
    uint8_t difference = 0;
    for (size_t i = 0; i < size; i++)
        difference |= (uint8_t)(one[i] ^ other[i]);
    return difference == 0;
}

/* Overwrite a secret; the compiler may not leave this out. */
static inline void tee_wipe(void* secret, size_t size)
{
    memset(secret, 0, size);
    __asm__ volatile("" : : "r"(secret) : "memory");
}

#ifdef __cplusplus
}
#endif

#endif
