/*
 * Assertions that stay on, and the tags that objects carry.
 *
 * REQUIRE is for what only a bug in this program can break. Bytes from outside,
 * a full disk, or memory for a client's data are errors with answers, never a
 * REQUIRE. One condition each, so that the line says which one broke.
 */
#ifndef KQ_BASE_REQUIRE_H
#define KQ_BASE_REQUIRE_H

#include <stdint.h>

#define REQUIRE(condition) ((condition) ? (void)0 : require_failed(#condition, __FILE__, __LINE__, __func__))

/* Says on stderr what broke and where, then aborts. */
void require_failed(const char *condition, const char *file, int line, const char *function)
    __attribute__((noreturn, cold));

/* Objects that other threads or layers hold pointers to begin with
 * `uint32_t tag;`, set at birth and poisoned at death. */
#define TAG_CHECK(object, expected) REQUIRE((object)->tag == (expected))
enum { TAG_DEAD = 0x0dead0ad };

/* The struct that holds `member` at `pointer`. */
#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
