/*
 * A group of actors without threads: a model clock, a disk in memory for each, and a
 * network in memory that loses, doubles, delays and cuts. Packets become parcels as the
 * links would make them.
 *
 * What must never happen is looked for after every turn: a committed entry that differs
 * from what any other replica committed there, an end that goes back, two leaders in one
 * term. group_check() looks at the end whether all that was acknowledged is there, and
 * nothing that was refused.
 */
#ifndef KQ_TESTS_SUPPORT_GROUP_RIG_H
#define KQ_TESTS_SUPPORT_GROUP_RIG_H

#include "support/io_mem.h"
#include "support/pump.h"

enum {
    GROUP_NODES_MAX = 6,
    GROUP_PUBLISHES_MAX = 4000,
    GROUP_CALLS_MAX = 4000,
    GROUP_ENTRIES_MAX = 60000,
    GROUP_WIRE_MAX = 4000,
    GROUP_TERMS_MAX = 4000,
    GROUP_FAILURE_BYTES = 300,
};

struct group;

/* A machine that remembers a chain over all it applied, and how many. */
struct toy {
    uint64_t count;
    uint64_t chain;
    bool leads;
};

struct toy_call {
    struct machine_call call;
    uint64_t number;
    bool done;
    enum kq_err err;
    uint64_t count_after; /* as answered */
    uint64_t chain_after;
};

struct group_node {
    struct pump pump; /* first: the actor's env has it as context */
    struct group *group;
    struct io_mem *mem;
    int number; /* broker id - 1 */
    uint8_t incarnation;
    bool exists;
    bool up;
    bool failed; /* its disk */
    bool joins;
    uint32_t power_cuts;
    bool blind;            /* not compared with the ledger */
    uint64_t damage_first; /* as told last; 0: nothing was */
    uint64_t damage_last;
    int64_t job_at_us[LOG_LANE_COUNT];
    struct mail tick;
    int64_t armed_us;
    uint64_t checked_idx; /* the ledger was compared so far */
    int64_t shown_end_off;
    struct replica_news news;
    struct toy toy;
    char title[24];
};

struct group_publish {
    struct pump_publish publish;
    uint32_t number;
    size_t bytes;
    bool maybe; /* an earlier answer left it open, or it was sent more than once */
};

struct wire;

struct group {
    struct group_node nodes[GROUP_NODES_MAX];
    int founders;
    bool machine;
    bool serial;
    bool interval;
    bool links; /* beats of brokers vouch */
    uint32_t lost_per_mille;
    uint32_t doubled_per_mille;
    int64_t delay_us;
    int64_t disk_us;
    int64_t retention_bytes;
    int64_t now_us;
    uint64_t random;
    uint64_t seed;
    bool cut[GROUP_NODES_MAX][GROUP_NODES_MAX];
    struct wire *wires[GROUP_WIRE_MAX];
    int wire_count;
    struct group_publish publishes[GROUP_PUBLISHES_MAX];
    uint32_t publish_count;
    struct toy_call calls[GROUP_CALLS_MAX];
    uint32_t call_count;
    uint64_t chains[GROUP_CALLS_MAX + 1]; /* of the machine after so many records; 0: not seen */
    struct raft_seat target[GROUP_NODES_MAX];
    uint32_t target_count;
    struct {
        uint64_t term;
        uint32_t crc;
        uint32_t bytes;
    } ledger[GROUP_ENTRIES_MAX];
    uint32_t leaders[GROUP_TERMS_MAX]; /* broker id + incarnation * 256 that led a term */
    uint64_t resets;
    uint64_t catch_ups;
    int old_at_links, old_at_links_most; /* packets of old entries */
    uint64_t light_turns;
    bool failed;
    char failure[GROUP_FAILURE_BYTES];
};

struct group *group_new(uint64_t seed, int founders);
void group_free(struct group *group);
uint64_t group_random(struct group *group, uint64_t below);

/* Opens the founders' replicas. */
void group_start(struct group *group);
void group_open(struct group *group, int n);
/* The power of this node goes; what was not synced is treated so. */
void group_crash(struct group *group, int n, enum io_mem_mercy mercy);
/* A clean stop, with its handing over. */
void group_stop(struct group *group, int n);
/* Its disk is lost; opened again it is another member that joins. */
void group_wipe(struct group *group, int n);
/* Tells every replica whom metadata wants: a bit a node. */
void group_set_target(struct group *group, unsigned voters);

/* Time passes. */
void group_step(struct group *group);
void group_run(struct group *group, int64_t ms);
/* Until a leader serves; -1: none within the time. */
int group_wait_leader(struct group *group, int64_t ms);
/* Until all that are up have the same end, and it is committed. */
bool group_wait_even(struct group *group, int64_t ms);
bool group_wait_publishes(struct group *group, int64_t ms);
int group_leader(const struct group *group); /* -1: none */

/* One message of so many bytes, at this node. */
struct group_publish *group_publish(struct group *group, int n, size_t bytes, int64_t producer_id, int32_t sequence);
/* The same message once more, after its answer. */
void group_publish_again(struct group *group, int n, struct group_publish *publish, int64_t producer_id,
                         int32_t sequence);
struct toy_call *group_call(struct group *group, int n);
/* Puts a question and waits for its answer. */
void group_ask(struct group *group, int n, struct partition_ask *ask);

/* Parcels whose time has come. */
void group_deliver(struct group *group);

/* Every replica's numbers, for whoever looks for a fault. */
void group_show(const struct group *group);

/* Gives this node from another what it said is damaged. */
enum kq_err group_mend(struct group *group, int n, int from);

/* All that was promised holds. */
void group_check(struct group *group);
/* Whether this replica may have forgotten (interval flushing). */
bool group_is_amnesiac(const struct group *group, int n);
void group_fail(struct group *group, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
