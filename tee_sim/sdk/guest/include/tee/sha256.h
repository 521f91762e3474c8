/* SHA-256 (FIPS 180-4), so that a program can publish a digest of its secret. */
#ifndef TEE_SHA256_H
#define TEE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* digest[32] = SHA-256 of `size` bytes at `data`. */
void tee_sha256(const void* data, size_t size, uint8_t digest[32]);

#ifdef __cplusplus
}
#endif

#endif
