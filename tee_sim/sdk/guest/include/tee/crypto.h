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
