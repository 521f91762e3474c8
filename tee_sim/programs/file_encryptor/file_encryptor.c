/* A file under a password, one chunk at a time. See program.toml. */
#include "file_encryptor_t.h"

#include <string.h>

#include "tee/crypto.h"

#define KEY_SIZE 16
#define TAG_SIZE 16
#define SALT_SIZE 16
#define ROUNDS 1000 /* too few for a real file: today's advice is 600,000, minutes on this processor */

enum { IDLE, ENCRYPTING, DECRYPTING };

static struct {
    int state;
    uint32_t chunk; /* number of the next one */
    uint8_t key[KEY_SIZE];
} file;

static void forget(void)
{
    tee_wipe(&file, sizeof file); /* IDLE is 0 */
}

static oe_result_t begin(int state, const char* password, const uint8_t* salt)
{
    forget();
    if (password[0] == '\0')
        return OE_INVALID_PARAMETER;
    tee_pbkdf2_sha256(password, strlen(password), salt, SALT_SIZE, ROUNDS, file.key, KEY_SIZE);
    file.state = state;
    return OE_OK;
}

oe_result_t begin_encryption(const char* password, uint8_t* salt)
{
    oe_result_t result = oe_random(salt, SALT_SIZE);
    return result == OE_OK ? begin(ENCRYPTING, password, salt) : result;
}

oe_result_t begin_decryption(const char* password, const uint8_t* salt)
{
    return begin(DECRYPTING, password, salt);
}

/* Never the same twice under one key: the salt makes each file's key its own. Because the number and
 * the mark of the last chunk are in it, a chunk opens only in its place. */
static void next_nonce(uint8_t nonce[12], bool last)
{
    memset(nonce, 0, 12);
    memcpy(nonce, &file.chunk, sizeof file.chunk);
    nonce[11] = last;
}

oe_result_t encrypt_chunk(const uint8_t* plain, size_t size, bool last, uint8_t* sealed, size_t room)
{
    uint8_t nonce[12];

    if (file.state != ENCRYPTING || file.chunk == UINT32_MAX)
        return OE_UNEXPECTED;
    if (room < size || room - size != TAG_SIZE)
        return OE_INVALID_PARAMETER;
    next_nonce(nonce, last);
    tee_aes_gcm_seal(file.key, nonce, "", 0, plain, size, sealed, sealed + size);
    file.chunk++;
    if (last)
        forget();
    return OE_OK;
}

oe_result_t decrypt_chunk(const uint8_t* sealed, size_t size, bool last, uint8_t* plain, size_t room)
{
    uint8_t nonce[12];

    if (file.state != DECRYPTING || file.chunk == UINT32_MAX)
        return OE_UNEXPECTED;
    if (size < room || size - room != TAG_SIZE)
        return OE_INVALID_PARAMETER;
    next_nonce(nonce, last);
    if (!tee_aes_gcm_open(file.key, nonce, "", 0, sealed, room, sealed + room, plain)) {
        memset(plain, 0, room); /* not a byte of what is not authentic */
        forget();
        return OE_CRYPTO_ERROR;
    }
    file.chunk++;
    if (last)
        forget();
    return OE_OK;
}
