#include "sim/places.h"

#include "base/require.h"
#include "log/batch.h"

#include <stdlib.h>

enum { DIGITS_MAX = 18 };

struct place {
    uint64_t value;
    int64_t offset;
};

struct places {
    size_t count;
    struct place at[];
};

/* By value. */
struct known {
    int64_t offset;
    uint32_t partition;
    uint32_t times;
};

static struct {
    struct known *at;
    size_t room;
} all;

/* "v17 xxx"; 0: something else. */
static uint64_t value_of(struct slice text)
{
    uint64_t value = 0;
    if (text.data == NULL || text.len < 2 || text.data[0] != 'v')
        return 0;
    for (size_t i = 1; i < text.len && i < DIGITS_MAX && text.data[i] >= '0' && text.data[i] <= '9'; i++)
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    return value;
}

struct places *places_of(const uint8_t *body, size_t bytes)
{
    struct places *p = NULL;
    struct cursor at = cursor_over(body, bytes);
    size_t room = 0, count = 0;
    while (cursor_left(&at) > 0) {
        struct batch_info info;
        const uint8_t *batch;
        struct record_walk walk;
        struct record record;
        if (batch_next(&at, &info, &batch) != KQ_OK)
            break;
        record_walk_init(&walk, batch, &info);
        while (record_walk_next(&walk, &record) == KQ_OK) {
            uint64_t value = value_of(record.value);
            if (value == 0)
                continue;
            if (count == room) {
                room = room * 2 + 4;
                struct places *larger = realloc(p, sizeof *p + room * sizeof p->at[0]);
                REQUIRE(larger != NULL);
                p = larger;
            }
            REQUIRE(p != NULL);
            p->at[count++] = (struct place){value, record.off};
            p->count = count;
        }
    }
    return p;
}

static struct known *known(uint64_t value)
{
    REQUIRE(value < 100000000);
    if (value >= all.room) {
        size_t room = (size_t)value * 2 + 1024;
        all.at = realloc(all.at, room * sizeof *all.at);
        REQUIRE(all.at != NULL);
        for (size_t i = all.room; i < room; i++)
            all.at[i] = (struct known){0};
        all.room = room;
    }
    return &all.at[value];
}

void places_committed(const struct places *places, uint32_t partition)
{
    for (size_t i = 0; places != NULL && i < places->count; i++) {
        struct known *k = known(places->at[i].value);
        if (k->times > 0 && k->partition == partition && k->offset == places->at[i].offset)
            continue;
        *k = (struct known){places->at[i].offset, partition, k->times + 1};
    }
}

bool places_find(uint64_t value, uint32_t *partition, int64_t *offset)
{
    if (value >= all.room || all.at[value].times != 1)
        return false;
    *partition = all.at[value].partition;
    *offset = all.at[value].offset;
    return true;
}
