/* A prepaid card whose counter the host keeps on its disk, sealed. See program.toml. */
#include "sealed_counter_t.h"

#include <string.h>

#include "openenclave/seal.h"

static struct {
    uint32_t uses;
    uint16_t policy;
    uint16_t version; /* of this structure */
} card;

static oe_result_t keep(void)
{
    const oe_seal_setting_t settings[] = {OE_SEAL_SET_POLICY(card.policy)};
    uint8_t* blob;
    size_t size;
    oe_result_t result = oe_seal(NULL, settings, 1, (const uint8_t*)&card, sizeof card, NULL, 0,
                                 &blob, &size);

    if (result == OE_UNSUPPORTED) /* no TEE: nothing to seal with */
        return store((const uint8_t*)&card, sizeof card);
    if (result != OE_OK)
        return result;
    result = store(blob, size);
    oe_free(blob);
    return result;
}

oe_result_t issue(uint32_t uses, uint16_t policy)
{
    card.uses = uses;
    card.policy = policy;
    card.version = 1;
    return keep();
}

oe_result_t restore(const uint8_t* state, size_t size)
{
    uint8_t* opened;
    size_t opened_size;
    oe_result_t result = oe_unseal(state, size, NULL, 0, &opened, &opened_size);

    if (result == OE_UNSUPPORTED) {
        if (size != sizeof card)
            return OE_INVALID_PARAMETER;
        memcpy(&card, state, sizeof card);
        return OE_OK;
    }
    if (result != OE_OK)
        return result;
    if (opened_size == sizeof card)
        memcpy(&card, opened, sizeof card);
    else
        result = OE_UNEXPECTED;
    oe_free(opened);
    return result;
}

int spend(void)
{
    if (card.uses == 0)
        return 0;
    /* Count and keep first, grant afterwards: a host that stops the call in between gains nothing. */
    card.uses--;
    return keep() == OE_OK ? 1 : -1;
}

uint32_t uses_left(void)
{
    return card.uses;
}
