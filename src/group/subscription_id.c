/* The text of a subscription's id; its form stands in group.h. */
#include "group/group.h"

#include <stdio.h>

char *subscription_id_format(const struct subscription_id *id, char text[SUBSCRIPTION_ID_TEXT_BYTES])
{
    char secret[UUID_TEXT_BYTES];
    (void)snprintf(text, SUBSCRIPTION_ID_TEXT_BYTES, "%u-%u-%s", id->coordinator, id->partition,
                   uuid_format(&id->secret, secret));
    return text;
}

/* Decimal digits up to a '-', without leading zeros, so that an id has one text only. */
static bool take_number(const char **at, const char *end, uint32_t *number)
{
    const char *p = *at;
    uint64_t n = 0;
    while (p < end && *p >= '0' && *p <= '9' && n <= UINT32_MAX)
        n = n * 10 + (uint64_t)(*p++ - '0');
    if (p == *at || p == end || *p != '-' || n > UINT32_MAX || (**at == '0' && p - *at > 1))
        return false;
    *number = (uint32_t)n;
    *at = p + 1;
    return true;
}

bool subscription_id_parse(const char *text, size_t text_bytes, struct subscription_id *id)
{
    const char *at = text;
    const char *end = text + text_bytes;
    return take_number(&at, end, &id->coordinator) && take_number(&at, end, &id->partition) &&
           end - at == UUID_TEXT_BYTES - 1 && uuid_parse(at, &id->secret);
}
