/*
 * The snapshot file: an opaque state at an idx. The format stands at the head of
 * snapshot.c. Private to src/log; calls block; one thread at a time.
 */
#ifndef KQ_LOG_SNAPSHOT_H
#define KQ_LOG_SNAPSHOT_H

#include "log/segment.h"

#define SNAPSHOT_NAME "snapshot"
#define SNAPSHOT_TEMP_NAME "snapshot.new"

/* A snapshot file under another name; the folder is not synced. */
enum kq_err snapshot_write(struct place *place, const char *name, uint64_t idx, const void *state, size_t state_bytes,
                           struct fault *fault);
/* Durable under its name on KQ_OK; before that the old one stands. */
enum kq_err snapshot_store(struct place *place, uint64_t idx, const void *state, size_t state_bytes,
                           struct fault *fault);
/* *state is the caller's (free(3)); NULL when it is empty. KQ_NOT_FOUND: there is
 * none. KQ_CORRUPT, KQ_BAD_VERSION, KQ_IO, KQ_NO_MEMORY: with *fault. */
enum kq_err snapshot_load(struct place *place, uint64_t *idx, void **state, size_t *state_bytes, struct fault *fault);

#endif
