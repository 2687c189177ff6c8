/*
 * Steps that many scenarios share, over one line client. Like the harness, a
 * step that cannot be done ends the running case.
 */
#ifndef KQ_TESTS_E2E_SCENARIO_H
#define KQ_TESTS_E2E_SCENARIO_H

#include "e2e/client.h"
#include "e2e/harness.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ID_BYTES = 160 };

/* A daemon on a fresh folder with the defaults. */
struct daemon *daemon_fresh(const char *name);
/* SIGTERM, exit code 0. */
void daemon_end(struct daemon **d);

/* CRTP; settings may be "" or " key=value ...". */
void topic_make(struct client *c, const char *topic, int partitions, const char *settings);

/* SUBS for one partition; its id. */
void subscribe(struct client *c, const char *topic, const char *group, char id[ID_BYTES]);
/* SUBS for many; how many were given; ids[0..] set. Not an error: 0. */
int subscribe_many(struct client *c, const char *topic, const char *group, int want, char ids[][ID_BYTES]);

/* Publishes {"Body":"PREFIX-I<padding>"} for I in [from, to), many in flight;
 * all must be answered Done. pad: bytes of padding. */
void publish_range(struct client *c, const char *topic, const char *prefix, int from, int to, size_t pad);

/* Walks the bodies of a CONS reply: copies the next one, cut to size, and its
 * offset; false at the end. *at begins as the reply. */
bool next_message(const char **at, char *body, size_t size, int64_t *offset);

/* CONS from an offset (-1: none given): all of PREFIX-I for I in [from, to), in
 * order, at offsets that grow by one from *first_offset (may be NULL), and
 * nothing else. */
void expect_range(struct client *c, const char *topic, const char *id, int64_t offset, const char *prefix, int from,
                  int to);

/* From DESC: log start and end of a partition. */
int64_t partition_start(struct client *c, const char *topic, int partition);
int64_t partition_bytes(struct client *c, const char *topic, int partition); /* of its log */
int64_t partition_end(struct client *c, const char *topic, int partition);

/* A number of INFO by its name, wherever it stands; -1: there is none. */
int64_t info_number(struct client *c, const char *name);

#endif
