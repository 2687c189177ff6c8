#include "base/uuid.h"

#include "base/require.h"

#include <string.h>
#include <sys/random.h>

struct uuid uuid_random(void)
{
    struct uuid id;
    size_t have = 0;
    while (have < sizeof id.bytes) {
        ssize_t got = getrandom(id.bytes + have, sizeof id.bytes - have, 0);
        if (got > 0)
            have += (size_t)got;
    }
    id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x40);
    id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3f) | 0x80);
    REQUIRE(!uuid_is_zero(&id));
    return id;
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

bool uuid_is_zero(const struct uuid *id)
{
    static const struct uuid zero;
    return uuid_equal(id, &zero);
}

char *uuid_format(const struct uuid *id, char text[UUID_TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < UUID_BYTES; i++) {
        text[2 * i] = digits[id->bytes[i] >> 4];
        text[2 * i + 1] = digits[id->bytes[i] & 0x0f];
    }
    text[UUID_TEXT_BYTES - 1] = '\0';
    return text;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool uuid_parse(const char *text, struct uuid *id)
{
    for (int i = 0; i < UUID_BYTES; i++) {
        int high = hex_value(text[2 * i]);
        if (high < 0)
            return false;
        int low = hex_value(text[2 * i + 1]);
        if (low < 0)
            return false;
        id->bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
