/*
 * Who does what in which group, as the brokers tell each other by their beats: the
 * step-shaped half of the links. No thread, clock, lock or socket; whoever owns the
 * table calls it on one thread at a time, with the time.
 *
 * It knows of each group what the local replica told last (news), and what each peer
 * says of its own replica (a claim: it LEADS, or it FOLLOWS this broker). From these
 * follow, for the local replica,
 *
 *    claim       on: a peer that is alive says that it leads, in this term
 *    peer_link   on: this replica leads, and a peer that is alive follows in this term
 *                and has heard (acknowledged) that this one leads
 *    leader_gone the process of the leader is known to be gone
 *
 * and, for everybody, who leads. A peer is alive from its first beat until none has
 * come for an election timeout, or until it refuses connections and its own has ended.
 * Its claims stay while it is silent and count again with its next beat: terms tell
 * whether they still mean anything. A new connection begins with the whole list, and
 * what is not in that is gone.
 *
 * It must never call out but through its hooks, and never vouch for a local replica
 * that is stuck, nor say that one follows which may have forgotten what it promised:
 * its leader would rest, and never bring it up.
 */
#ifndef KQ_CLUSTER_LINK_TABLE_H
#define KQ_CLUSTER_LINK_TABLE_H

#include "base/bytes.h"
#include "partition/partition.h"

enum { LINK_CLAIMS_MAX = 400 * 1000 }; /* of one peer */

struct link_table;

/* None may call back into the table. */
struct link_hooks {
    void *context;
    void (*claim)(void *context, struct partition *partition, const struct raft_member *leader, uint64_t term, bool on);
    void (*peer_link)(void *context, struct partition *partition, const struct raft_member *member, bool on);
    void (*leader_gone)(void *context, struct partition *partition, const struct raft_member *leader);
    bool (*is_stuck)(void *context, struct partition *partition, int64_t now_us, int64_t limit_us);
    void (*drop)(void *context, struct partition *partition); /* the table's reference */
    void (*peer_changed)(void *context, uint32_t broker_id, bool alive);
    void (*leader_changed)(void *context, const struct group_id *group, uint32_t broker_id, uint64_t term);
};

/* NULL: out of memory. */
struct link_table *link_table_new(uint32_t self_id, int64_t beat_us, int64_t election_us,
                                  const struct link_hooks *hooks);
void link_table_free(struct link_table **table);

/* ---- peers --------------------------------------------------------------------------- */

bool link_table_add(struct link_table *table, uint32_t broker_id); /* false: out of memory */
void link_table_remove(struct link_table *table, uint32_t broker_id, int64_t now_us);
bool link_table_is_alive(const struct link_table *table, uint32_t broker_id);

/* ---- the local replicas --------------------------------------------------------------- */

/* Takes a reference of the partition. */
void link_table_news(struct link_table *table, struct partition *partition, const struct replica_news *news,
                     int64_t now_us);
void link_table_forget(struct link_table *table, const struct group_id *group, int64_t now_us);
/* 0: nobody known. */
uint32_t link_table_leader(const struct link_table *table, const struct group_id *group, uint64_t *term);

/* ---- connections ------------------------------------------------------------------------ */

/* Own connection to the peer: beats go over it. session: the one the peer acknowledges. */
void link_table_out_up(struct link_table *table, uint32_t broker_id, uint64_t session, int64_t now_us);
void link_table_out_down(struct link_table *table, uint32_t broker_id, int64_t now_us);
/* A connect was refused by the peer's machine: nobody listens there. */
void link_table_refused(struct link_table *table, uint32_t broker_id, int64_t now_us);
/* The peer's connection. */
void link_table_in_up(struct link_table *table, uint32_t broker_id, uint64_t session);
void link_table_in_down(struct link_table *table, uint32_t broker_id, uint64_t session);
/* A beat that came over it. False: it breaks the protocol, end the connection. */
bool link_table_beat(struct link_table *table, uint32_t broker_id, uint64_t session, const uint8_t *body,
                     size_t body_bytes, int64_t now_us);

/* ---- time ------------------------------------------------------------------------------- */

/* When link_table_tick() and link_table_compose() should be called next. */
int64_t link_table_deadline_us(const struct link_table *table);
void link_table_tick(struct link_table *table, int64_t now_us);
/* The next beat for this peer that is due now, to be sent in this order. False: none. A
 * beat that is due and not asked for yet loses nothing. */
bool link_table_compose(struct link_table *table, uint32_t broker_id, int64_t now_us, struct buf *out);

/* The last beat has not left yet: none is due to this peer for a while. */
void link_table_put_off(struct link_table *table, uint32_t broker_id, int64_t now_us);

/* How many groups it has something of; for tests. */
size_t link_table_groups(const struct link_table *table);
/* What must hold between calls; for tests. */
void link_table_check(const struct link_table *table);

#endif
