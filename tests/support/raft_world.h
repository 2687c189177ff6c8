/*
 * A model world for the consensus core alone: up to eight replicas, each the real
 * src/raft with a model log, disk and network around it, on one model clock. One
 * seed decides everything, so a failure is replayed by its seed.
 *
 * The disk: what is appended, cut or reset goes into a queue of operations; a flush
 * applies those queued when it began, later. A crash applies only the first few of
 * what was queued, and loses the rest. Hard states are written in a queue of their
 * own. The network loses, doubles, delays and reorders, and is cut one way or both.
 *
 * raft_oracle.c watches: it keeps its own ledgers, and its own idea of majorities
 * and of the configuration in force, taken from the model logs.
 */
#ifndef KQ_TESTS_SUPPORT_RAFT_WORLD_H
#define KQ_TESTS_SUPPORT_RAFT_WORLD_H

#include "raft/raft.h"

enum {
    WORLD_NODES_MAX = 8,
    WORLD_LOG_MAX = 6000,
    WORLD_TERMS_MAX = 4096,
    WORLD_INCARNATIONS_MAX = 64,
    WORLD_PACKETS_MAX = 4096,
    WORLD_CONFS_MAX = 4096,
    WORLD_OPS_MAX = 8192,
    WORLD_HELD_MAX = 256,
    WORLD_HARDS_MAX = 64,
    WORLD_READS_MAX = 64,
    WORLD_BATCH_MAX = 6,
    WORLD_SEATS_MAX = 2 * WORLD_NODES_MAX,
    WORLD_ENTRY_BYTES = 100,
};

#define WORLD_ELECTION_US INT64_C(100000)
#define WORLD_BEAT_US INT64_C(20000)
#define WORLD_INTERVAL_US INT64_C(40000) /* flush = interval: the longest between two flushes */

struct world_conf {
    uint32_t count;
    struct raft_seat seats[WORLD_SEATS_MAX];
};

struct world_entry {
    uint64_t term;
    uint64_t content;
    uint32_t conf;     /* 0: not a configuration */
    uint32_t conf_idx; /* in a log: the newest configuration up to here; 0, or up to its base: that of the base */
};

struct world_log {
    uint64_t base_idx;
    uint64_t base_term;
    uint32_t base_conf; /* in force at base */
    uint64_t base_conf_idx;
    uint64_t last_idx;
    struct world_entry entries[WORLD_LOG_MAX]; /* by idx */
};

struct world_op {
    enum { OP_APPEND, OP_CUT, OP_RESET, OP_START } kind;
    uint64_t idx;
    uint64_t term;
    uint64_t conf_idx;
    uint32_t conf;
    uint64_t hard_version; /* handed out before it */
    struct world_entry entry;
};

struct world_hard {
    uint64_t version;
    uint64_t term;
    struct raft_member vote;
    uint64_t commit_idx;
    int64_t done_us;
};

struct world_read {
    uint64_t ticket;
    uint64_t read_idx;
    uint64_t must_idx; /* committed anywhere when it came */
    int64_t at_us;
};

struct world_packet {
    bool used;
    int64_t at_us;
    int to;
    struct raft_message message;
    struct world_conf conf; /* RESET */
    struct world_entry entries[WORLD_BATCH_MAX];
};

struct world_node {
    bool exists;
    bool up;
    bool disk_failed;
    bool amnesiac;
    bool noop_wanted;
    bool leave_wanted;
    uint32_t incarnation;
    uint64_t boots;
    int64_t restart_us; /* while down */
    int64_t disk_us;    /* how slow: the longest flush */
    int64_t flush_us;   /* and of the log alone, for that much longer */
    struct raft_member self;
    struct raft raft;
    _Alignas(16) uint8_t memory[2][RAFT_MEMORY_BYTES(WORLD_SEATS_MAX)]; /* of raft, at one of them */
    int memory_at;
    int64_t doom_us;   /* crashes then; 0: does not */
    int64_t supply_us; /* what could not be sent may be had then; 0: not waited for */
    struct raft_member supply_to;
    struct world_log log;  /* in memory */
    struct world_log disk; /* durable */
    struct world_op ops[WORLD_OPS_MAX];
    uint32_t op_count;
    uint32_t flush_ops; /* under way; 0: none */
    uint64_t flush_idx;
    uint64_t flush_term;
    uint64_t flush_cuts;
    int64_t flush_done_us;
    uint64_t cuts;
    struct world_hard hard; /* durable */
    struct world_hard hards[WORLD_HARDS_MAX];
    uint32_t hard_count;
    uint64_t hard_version;
    struct raft_message held[WORLD_HELD_MAX];
    struct world_entry held_entries[WORLD_HELD_MAX][WORLD_BATCH_MAX];
    uint32_t held_count;
    struct world_read reads[WORLD_READS_MAX];
    uint32_t read_count;
    int64_t heard_us[WORLD_NODES_MAX]; /* since it leads: when a message of this one last came */
    int64_t hands_over_us;             /* a transfer that it began ends by then at the latest; 0: none */
    int64_t forgot_us;                 /* interval: when it was last known to have forgotten */
    int64_t asked_us;                  /* when it began its latest round of asking who else has */
    uint64_t asked_round;
    int64_t troubled_us;    /* last crash, start, pause or wake-up */
    uint64_t seen_led_term; /* whose leader it was after the last event; 0: none */
    uint64_t seen_conf_idx;
    int64_t lead_us;   /* since when, with this configuration */
    int64_t paused_us; /* stands still until then, as under SIGSTOP; 0: does not */
    int64_t drain_us;  /* its turn is not over before; RAFT_NEVER_US: it is */
    uint64_t seen_commit;
    uint64_t seen_term;
    struct {
        uint64_t term;
        uint64_t config_idx;
        uint64_t boot;
        uint64_t match;
    } seen_peers[WORLD_SEATS_MAX];
};

struct world_options {
    uint64_t seed;
    int node_count;
    int brokers;   /* members are of these; 0: of all */
    bool interval; /* flush = interval */
    uint32_t runs_max;
    uint32_t lost_per_mille;
    uint32_t doubled_per_mille;
    uint32_t stale_per_mille; /* a second copy comes much later */
    int64_t delay_us;         /* the longest */
    uint32_t slow_turns_per_mille;
    uint32_t crash_per_persist_per_mille;
    uint64_t crash_at_persist; /* the n-th persist point; 0: none */
    uint32_t crash_after_cut_per_mille;
    uint32_t unreadable_per_mille; /* a log does not say what term it has before an append */
    uint32_t nothing_per_mille;    /* entries to be sent cannot be had now */
    int64_t propose_every_us;
    bool lose_all;             /* a crash leaves nothing of what was on its way to the disk */
    bool steady;               /* every message and every write takes as long as any other; no ranks */
    uint32_t start_per_mille;  /* with each proposal: a log gives up almost all that is committed */
    uint32_t change_per_mille; /* with each proposal: members change as soon as they may */
    bool in_order;             /* the network neither reorders nor dawdles, as one connection would not */
};

/* What the oracles remember, outside of any replica. */
struct world_ledger {
    struct {
        uint32_t incarnation;
        uint64_t boot;
    } leaders[WORLD_TERMS_MAX];
    uint8_t votes[WORLD_INCARNATIONS_MAX][WORLD_TERMS_MAX];
    uint64_t spoken_term[WORLD_INCARNATIONS_MAX];
    struct {
        uint64_t term;
        uint64_t idx;
    } acked[WORLD_INCARNATIONS_MAX]; /* the last acknowledgement, for those whose disk is gone */
    uint64_t acked_content[WORLD_INCARNATIONS_MAX][WORLD_LOG_MAX]; /* what it acknowledged there last */
    uint64_t acked_top[WORLD_INCARNATIONS_MAX];
    struct world_entry committed[WORLD_LOG_MAX];
    uint64_t commit_terms[WORLD_LOG_MAX]; /* in whose reign it was committed */
    uint64_t committed_idx;
    struct {
        uint64_t term;
        uint64_t content;
        uint64_t before_term;
    } seen[WORLD_LOG_MAX][24];
    uint32_t seen_count[WORLD_LOG_MAX];
};

struct world {
    struct world_options options;
    uint64_t random;
    int64_t now_us;
    int64_t propose_us;
    uint64_t contents;
    uint32_t incarnations;
    uint64_t persists;
    uint64_t messages;
    uint64_t appends; /* of them */
    uint64_t events;
    uint64_t commits;
    uint64_t elections;
    uint64_t cuts;
    uint64_t resets;
    bool trace;
    bool failed;
    char failure[400];
    int packet_top;
    int64_t last_at_us[WORLD_NODES_MAX][WORLD_NODES_MAX];
    bool cut[WORLD_NODES_MAX][WORLD_NODES_MAX];       /* [from][to] */
    int64_t cut_us[WORLD_NODES_MAX][WORLD_NODES_MAX]; /* when that changed last */
    struct world_conf confs[WORLD_CONFS_MAX];
    uint32_t conf_count;
    struct world_node nodes[WORLD_NODES_MAX];
    struct world_packet packets[WORLD_PACKETS_MAX];
    struct world_ledger ledger;
};

struct world *world_new(const struct world_options *options);
/* A whole run, faults and calm, drawn from the seed (raft_world_faults.c). The caller
 * looks at failed and failure, and frees it. */
struct world *world_play(uint64_t seed);
/* Stories in place of faults by chance (raft_world_stories.c); the seed varies them. */
struct world_story {
    const char *name;
    struct world *(*play)(uint64_t seed);
};
const struct world_story *world_stories(uint32_t *count);
struct world *world_tell(const struct world_story *story, uint64_t seed);
/* One random step from the leader's configuration, if it may be changed. */
void world_change_somehow(struct world *world);
/* In calm weather: one thing goes wrong, or is asked for, and must end as it should
 * (raft_world_drills.c). */
void world_drill(struct world *world);
/* Ends all faults, and fails the world unless all comes right within its time. */
void world_calm_down(struct world *world);
void world_free(struct world **world);
uint64_t world_random(struct world *world, uint64_t below);
bool world_chance(struct world *world, uint32_t per_mille);
int64_t world_takes(struct world *world, int64_t longest_us); /* that long where all is steady */

/* Runs to this time, or until an oracle objects. */
void world_run_until(struct world *world, int64_t us);
/* Runs until there is a leader that may take proposals, at most to this time; -1: none. */
int world_run_to_leader(struct world *world, int64_t until_us);
int world_leader(const struct world *world); /* of the highest term; -1: none */

void world_crash(struct world *world, int node, int64_t down_us);
bool world_may_cut_power(const struct world *world);
void world_power_cut(struct world *world, int node, int64_t down_us); /* interval: memory is lost too */
void world_pause(struct world *world, int node, int64_t us);          /* wakes with a read waiting */
void world_fail_disk(struct world *world, int node);
void world_wipe(struct world *world, int node); /* a new incarnation, empty, up at once */
void world_cut(struct world *world, int from, int to, bool cut);
void world_isolate(struct world *world, int node, bool cut);
void world_heal(struct world *world); /* all links, all disks, all replicas up, no loss */
void world_feed(struct world *world, int node, struct raft_event event);
bool world_propose(struct world *world, int node);
bool world_change(struct world *world, int node, const struct raft_seat *target, uint32_t count);
void world_move_start(struct world *world, int node, uint64_t idx);
void world_read(struct world *world, int node);
/* Every seat of the leader's configuration has all that is committed. */
bool world_settled(const struct world *world);

/* raft_world.c, for raft_world_run.c */
void world_trace(const struct world *world, int node, const char *format, ...) __attribute__((format(printf, 3, 4)));
void world_apply(struct world_log *log, const struct world_op *op);
void world_do_op(struct world *world, int node, const struct world_op *op);
uint32_t world_new_conf(struct world *world, const struct raft_config *config);
/* True: the message cut alone and is to be fed again. */
bool world_step(struct world *world, int node, struct raft_event event, const struct world_packet *packet);
bool world_append_own(struct world *world, int node, const struct raft_config *config);
void world_turn(struct world *world, int node); /* a turn takes what came; sometimes it sends later */
void world_end_turn(struct world *world, int node);

/* raft_world.c, for the oracles */
void world_fail(struct world *world, int node, const char *format, ...) __attribute__((format(printf, 3, 4)));
uint64_t world_term_at(const struct world_log *log, uint64_t idx);  /* 0: not there */
uint32_t world_conf_of(const struct world_log *log, uint64_t *idx); /* in force; also its idx */
uint32_t world_conf_at(const struct world_log *log, uint64_t *idx); /* the newest at or before *idx */

/* raft_oracle.c */
void oracle_appended(struct world *world, int node, uint64_t idx);
void oracle_removes(struct world *world, int node, uint64_t first_idx, uint64_t last_idx);
void oracle_leaves(struct world *world, int node, const struct raft_message *message);
void oracle_after_event(struct world *world, int node);
void oracle_restarted(struct world *world, int node);
void oracle_reads(struct world *world, int node, uint64_t good);
void oracle_final(struct world *world);
void oracle_silent(struct world *world, int node, const struct raft_out *out); /* its disk failed before */
void oracle_pardons(struct world *world, int node);                            /* it is about to */
/* Before what the grant says is acted on. */
void oracle_grants(struct world *world, int node, const struct raft_message *asked);
void oracle_proposes(struct world *world, int node);
void oracle_reconfigures(struct world *world, int node, const struct raft_config *config);
/* A vote, its own too: what it acknowledged and was committed, it must not have forgotten. */
void oracle_remembers(struct world *world, int node);
/* The log that what it says rests on: on its disk, or in memory where that is enough. */
const struct world_log *oracle_promised_log(const struct world *world, const struct world_node *node);
bool oracle_quorum(const struct world_conf *conf, const bool *has); /* of each half; has[] by seat */

/* raft_oracle_live.c: what must come about, and what must be left in peace */
void oracle_leads(struct world *world, int node);
void oracle_campaigns(struct world *world, int node, const struct raft_message *message);

#endif
