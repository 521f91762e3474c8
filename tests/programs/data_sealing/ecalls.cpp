// The tasks of Open Enclave's sample data-sealing, by oe_seal: a class behind C ecalls, traces through
// printf, results by name, and a copy in host memory.
#include <openenclave/enclave.h>
#include <openenclave/seal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data_sealing_t.h"

#define TRACE_ENCLAVE(fmt, ...) \
    printf("Enclave: %s(%d): " fmt "\n", __FILE__, __LINE__, ##__VA_ARGS__)

class ecall_dispatcher {
public:
    int seal(int policy, const char* message, const uint8_t* data, size_t data_size,
             uint8_t* sealed, size_t room, size_t* sealed_size)
    {
        const oe_seal_setting_t settings[] = {OE_SEAL_SET_POLICY(policy)};
        uint8_t* blob = nullptr;
        size_t blob_size = 0;
        oe_result_t result =
            oe_seal(nullptr, settings, 1, data, data_size, (const uint8_t*)message,
                    strlen(message), &blob, &blob_size);
        if (result != OE_OK) {
            TRACE_ENCLAVE("oe_seal failed with %s", oe_result_str(result));
            return result;
        }
        result = give(blob, blob_size, sealed, room, sealed_size);
        oe_free(blob);
        return result;
    }

    int unseal(const char* message, const uint8_t* sealed, size_t sealed_size, uint8_t* data,
               size_t room, size_t* data_size)
    {
        uint8_t* plaintext = nullptr;
        size_t plaintext_size = 0;
        oe_result_t result = oe_unseal(sealed, sealed_size, (const uint8_t*)message,
                                       strlen(message), &plaintext, &plaintext_size);
        if (result != OE_OK) {
            TRACE_ENCLAVE("oe_unseal failed with %s", oe_result_str(result));
            return result;
        }
        result = give(plaintext, plaintext_size, data, room, data_size);
        oe_free(plaintext);
        return result;
    }

private:
    static oe_result_t give(const uint8_t* from, size_t size, uint8_t* to, size_t room,
                            size_t* to_size)
    {
        if (size > room)
            return OE_BUFFER_TOO_SMALL;
        memcpy(to, from, size);
        *to_size = size;
        return OE_OK;
    }
};

static ecall_dispatcher dispatcher;

int seal_data(int policy, const char* message, const unsigned char* data, size_t data_size,
              unsigned char* sealed, size_t room, size_t* sealed_size)
{
    return dispatcher.seal(policy, message, data, data_size, sealed, room, sealed_size);
}

int unseal_data(const char* message, const unsigned char* sealed, size_t sealed_size,
                unsigned char* data, size_t room, size_t* data_size)
{
    return dispatcher.unseal(message, sealed, sealed_size, data, room, data_size);
}
