/* 128-bit identities: topics, clusters, replica incarnations, subscriptions. */
#ifndef KQ_BASE_UUID_H
#define KQ_BASE_UUID_H

#include <stdbool.h>
#include <stdint.h>

enum { UUID_BYTES = 16, UUID_TEXT_BYTES = 33 };

struct uuid {
    uint8_t bytes[UUID_BYTES];
};

/* Any thread. A fresh random (version 4) id from getrandom(2). Never zero. */
struct uuid uuid_random(void);

bool uuid_equal(const struct uuid *a, const struct uuid *b);
bool uuid_is_zero(const struct uuid *id);

/* Writes 32 lower-case hexadecimal digits and a NUL; returns text. */
char *uuid_format(const struct uuid *id, char text[UUID_TEXT_BYTES]);

/* Reads exactly 32 hexadecimal digits at text (no NUL needed). False: not an id. */
bool uuid_parse(const char *text, struct uuid *id);

#endif
