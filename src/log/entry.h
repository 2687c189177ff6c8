/*
 * One entry of the log file: its head (a local part and the replicated header)
 * and the checksums. The format stands at the head of entry.c.
 */
#ifndef KQ_LOG_ENTRY_H
#define KQ_LOG_ENTRY_H

#include "base/err.h"
#include "base/uuid.h"
#include "log/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ENTRY_LOCAL_BYTES = 16,
    ENTRY_HEADER_BYTES = 56,
    ENTRY_HEAD_BYTES = ENTRY_LOCAL_BYTES + ENTRY_HEADER_BYTES,
    ENTRY_BODY_BYTES_MAX = 1 << 30,
    ENTRY_LOST = 1, /* flag: the body was damaged and given up by a repair; it is not to be read */
};

/* Seeds of all checksums of one replica: `shared` is the same on every replica of
 * the partition, `local` is this replica's own. */
struct entry_seed {
    uint32_t shared;
    uint32_t local;
};

struct entry_head {
    uint64_t flushed_idx; /* of this replica when it wrote the entry */
    uint8_t flags;
    enum log_entry_type type;
    uint32_t body_crc; /* as entry_body_crc made it */
    uint32_t body_bytes;
    uint32_t record_count;
    uint64_t term;
    uint64_t idx;
    int64_t first_off;
    uint32_t prev_crc; /* body_crc of the entry before */
};

/* Any thread, all of them. */
struct entry_seed entry_seed_make(const struct uuid *topic_id, uint32_t partition, const struct uuid *incarnation);

/* The checksum of a body at its place, from the plain crc32c(0, body). */
uint32_t entry_body_crc(const struct entry_seed *seed, uint64_t term, uint64_t idx, uint32_t plain_crc,
                        uint32_t body_bytes);

void entry_encode(uint8_t out[ENTRY_HEAD_BYTES], const struct entry_head *head, const struct entry_seed *seed);

/* KQ_OK; KQ_EOF: nothing but zeros here, or fewer than ENTRY_HEAD_BYTES are left;
 * KQ_CORRUPT: does not check out; KQ_BAD_VERSION: well formed, of a newer program.
 * Looks at the head alone; body_bytes is held against the limit, not against left. */
enum kq_err entry_decode(const uint8_t *data, size_t left_bytes, const struct entry_seed *seed,
                         struct entry_head *head);

/* The next position in [from, end) where a head may begin (its magic stands there),
 * or end. */
uint64_t entry_find(const uint8_t *data, uint64_t from, uint64_t end);

/* body is head->body_bytes long. True for one that is given up. */
bool entry_body_ok(const struct entry_seed *seed, const struct entry_head *head, const uint8_t *body);

/* The largest timestamp in the batches of a RECORDS body; -1: none. Stops at what
 * is not well formed. */
int64_t entry_max_time(const struct entry_head *head, const uint8_t *body);

#endif
