/*
 * What the replicas of a group send each other, on its way between an actor and
 * a link. An actor makes packets and a link sends or drops them; a link makes
 * parcels of what it receives and an actor takes them.
 *
 * Ownership: a packet is the link's from partition_peers.send on, a parcel the
 * partition's from partition_receive() on. The bytes of fresh entries are shared
 * by the packets for all followers; nothing of them is ever changed.
 */
#ifndef KQ_PARTITION_PACKET_H
#define KQ_PARTITION_PACKET_H

#include "log/log.h"
#include "partition/mailbox.h"
#include "raft/raft.h"

#include <stdatomic.h>

/* Which Raft group: the replicas of one partition. */
struct group_id {
    struct uuid topic_id;
    uint32_t partition;
};

/* An entry as it was appended, for as many packets as want it. */
struct shared_entry {
    _Atomic uint32_t references;
    enum log_entry_type type;
    uint64_t term;
    uint64_t idx;
    int64_t first_off;
    uint32_t record_count;
    int64_t max_time_ms;
    uint32_t body_bytes;
    uint32_t body_crc; /* CRC-32C of the body from 0 */
    uint8_t body[];
};

/* Any thread. NULL: out of memory; the body is copied from the parts. */
struct shared_entry *shared_entry_new(const struct log_entry *entry);
struct shared_entry *shared_entry_hold(struct shared_entry *entry);
void shared_entry_drop(struct shared_entry **entry);

/* ---- outgoing ------------------------------------------------------------------- */

struct packet {
    struct packet *next; /* whoever has it */
    struct group_id group;
    struct raft_message message; /* message.config, if any, points to `config` below */
    struct raft_config config;   /* seats behind it, from the same malloc */
    /* APPEND with entries message.prev_idx + 1 .. message.last_idx: either fresh ones, */
    struct shared_entry **entries; /* from the same malloc as the packet */
    uint32_t entry_count;
    bool machine; /* of a group that carries a state machine: nobody published what it holds */
    /* or committed ones that are read from here when they are sent: catch-up, over the
     * connection of its own, at the bounded rate. */
    struct log_view *view;
    /* RESET: where the log begins anew, and the state there (actor_state.c). */
    int64_t next_off;
    int64_t start_off;
    uint8_t *state;
    uint32_t state_bytes;
    uint32_t size_bytes; /* what it counts for in an outbox */
    /* Not NULL: any thread; once, when it has been sent or dropped, before it is freed. */
    void (*left)(struct packet *packet, bool sent);
    void *left_context;
};

/* Any thread. Drops what it refers to. */
void packet_free(struct packet **packet);

/* ---- incoming ------------------------------------------------------------------- */

struct parcel_entry {
    enum log_entry_type type;
    uint64_t term;
    uint64_t idx;
    int64_t first_off;
    uint32_t record_count;
    int64_t max_time_ms;
    const uint8_t *body; /* in the parcel's own memory */
    uint32_t body_bytes;
    uint32_t body_crc; /* of these bytes, as the sender had them; checked by the link */
};

/* A message with what came with it. */
struct parcel {
    struct mail mail; /* MAIL_PARCEL; size_bytes as received */
    struct group_id group;
    struct raft_message message; /* message.config, if any, lives in the parcel */
    struct parcel_entry *entries;
    uint32_t entry_count;
    int64_t next_off; /* RESET */
    int64_t start_off;
    const uint8_t *state;
    uint32_t state_bytes;
    void (*release)(struct parcel *parcel); /* frees it all; any thread */
};

/* ---- the body of a CONFIG entry (config_body.c) ------------------------------------- */

/* Little-endian: u8 version = 1, u8 0, u16 seats, and for each u32 broker id, 16 bytes
 * incarnation, u32 kinds. */
void config_body_encode(const struct raft_config *config, struct buf *out);
/* Into config->seats, which has room for room seats. KQ_CORRUPT, KQ_BAD_VERSION,
 * KQ_LIMIT (more seats than room). Sets config->count, not idx. */
enum kq_err config_body_decode(const uint8_t *body, size_t body_bytes, struct raft_config *config, uint32_t room);

#endif
