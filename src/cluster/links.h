/*
 * The links to the other brokers. To each peer there are, over its raft port:
 *
 *    RAFT       messages of all groups, and the beat; a sender and a receiver thread
 *    CATCH_UP   committed entries for followers that are far behind, at a bounded rate
 *    ASK        questions and their answers: forwarded commands, metadata, groups
 *
 * A connection begins with a hello each way (proto/peer/hello.h): version, kind,
 * cluster id, broker id and incarnation. A stranger, another cluster or a version
 * that is not understood is refused with one clear line in the log.
 *
 * Beats: one a pair of brokers and beat.interval, for all groups. A link opens with
 * the full list of groups that the sender leads (group, term); then numbered,
 * acknowledged changes. While beats come, they vouch for all claims of that broker
 * (partition_claim); when none has come for an election timeout the claims lapse, and
 * when the connection is closed and a reconnect refused, the process is gone
 * (partition_leader_gone). A beat also lists the groups whose replica here follows the
 * receiver: who is not listed does not follow, and is not vouched for.
 *
 * What is decided is in step-shaped files: link_table.h (claims, acknowledgements, who is
 * alive), link_asks.h (questions), link_rate.h (backoff, the bound on catch-up); threads
 * (links_impl.h has them) only pump. Sockets are blocking.
 */
#ifndef KQ_CLUSTER_LINKS_H
#define KQ_CLUSTER_LINKS_H

#include "base/bytes.h"
#include "base/config.h"
#include "partition/engine.h"
#include "partition/partition.h"

struct links;

struct links_self {
    uint32_t broker_id;
    struct uuid incarnation;
    struct uuid cluster_id;
    uint64_t boot; /* grows with each start of this incarnation */
};

struct link_address {
    uint32_t broker_id;
    struct uuid incarnation; /* zero: not known, any is taken */
    char host[256];
    uint16_t port; /* the raft port */
};

struct links_options {
    struct engine *engine;
    const struct config *config;
    struct links_self self;
    int listen_fd; /* bound and listening; the links' from now on */
    void *context;
    /* Any thread, all of these; none may block. */
    /* The local replica of a group with a reference, or NULL. */
    struct partition *(*find)(void *context, const struct group_id *group);
    /* A peer came to life, or is dead (no beat for an election timeout, or refused). */
    void (*peer_changed)(void *context, uint32_t broker_id, bool alive);
    /* Somebody leads this group in this term (0: nobody known any more). */
    void (*leader_changed)(void *context, const struct group_id *group, uint32_t broker_id, uint64_t term);
    /* A member of a group that is led here takes nothing, as partition_peers.stalled; its
     * broker lives. May be NULL. */
    void (*stalled)(void *context, const struct group_id *group, const struct raft_member *member, int64_t stood_us);
    /* A PEER_FORM frame over a connection of kind FORM: a broker without a cluster asks what
     * there is (proto/peer/form.h). Appends the body of the PEER_FORM frame that answers it.
     * False: the connection ends. Receiver thread. */
    bool (*form)(void *context, const uint8_t *body, size_t body_bytes, struct buf *answer);
};

/* Who may ask: every broker of this cluster (the cluster id in its hello), also one whose
 * id or incarnation is not among the peers yet: it registers by ASK_METADATA. Raft messages
 * and beats are taken from the incarnation that links_set_peers() named alone, and only that
 * one is ever alive. */

/* Main thread. */
enum kq_err links_start(struct links **links, const struct links_options *options, struct fault *fault);
/* Main thread. Joins all threads; asks on their way are answered KQ_STOPPING. */
void links_stop(struct links **links);

/* Any thread. Whom to be linked with, self left out: connections to others end. */
void links_set_peers(struct links *links, const struct link_address *peers, size_t count);
bool links_is_alive(struct links *links, uint32_t broker_id); /* self always is */
/* Whether it has not been heard for so long; not said of one that is linked since a shorter time. */
bool links_is_silent(struct links *links, uint32_t broker_id, int64_t for_us);
/* How many peers are alive of the count given; self counts if named. */
uint32_t links_alive_count(struct links *links, const uint32_t *broker_ids, uint32_t count);
/* Who leads a group as far as known: the highest term wins. 0: not known. Own replicas'
 * news count too (links_tell). *term may be NULL. */
uint32_t links_leader(struct links *links, const struct group_id *group, uint64_t *term);

/* What partition_options.peers wants. */
const struct partition_peers *links_partition_peers(struct links *links);
/* The partition is closed: nothing of it is claimed any more, and what of it waits to be sent
 * is dropped: its folder may go next, and with it what was promised. */
void links_forget(struct links *links, const struct group_id *group);

/* ---- asking ------------------------------------------------------------------------------ */

/* What may be asked. The numbers are on the wire. */
enum ask_verb {
    ASK_PUBLISH = 1,  /* api: batches for a partition */
    ASK_READ = 2,     /* api: committed batches from an offset on, at most so many bytes */
    ASK_WATCH = 3,    /* api: told when there is more than an offset, or at the deadline */
    ASK_GROUP = 4,    /* group: a coordinator's call */
    ASK_EVENT = 5,    /* group: an event for one of the asked broker's sessions */
    ASK_METADATA = 6, /* cluster: a call to the controller */
    ASK_STATUS = 7,   /* cluster: partitions' members and lag as their leader knows them */
    ASK_TRANSFER = 8, /* cluster: hand over leadership */
    ASK_ENTRIES = 9,  /* cluster: entries by index, to repair damage */
    ASK_QUORUM = 10,  /* cluster: the metadata's voters, as the controller knows them */
    ASK_VERB_COUNT,
};

/* Zeroed, then filled; the links' from links_ask() until done. */
struct ask {
    uint32_t broker_id;
    enum ask_verb verb;
    const struct iovec *parts; /* the question; borrowed until done */
    int part_count;
    int64_t deadline_us; /* CLOCK_MONOTONIC */
    /* Once; on any thread, also before links_ask() returns; must not block. */
    void (*done)(struct ask *ask);
    void *owner;
    /* the answer */
    struct fault
        fault; /* as the other broker said; or KQ_NO_LEADER (no link, or not heard any more), KQ_TIMEOUT, KQ_STOPPING */
    bool maybe_delivered; /* with an error of the link itself: the other may have got it */
    struct buf answer;    /* the asker frees it */
    struct ask *next;     /* the links', as all below */
    uint64_t number;
    int state;
};
void links_ask(struct links *links, struct ask *ask);

/* A question that came here. The handler's from the call until ask_answer(). */
struct asked {
    uint32_t broker_id; /* who asks */
    enum ask_verb verb;
    uint8_t *body; /* in the question's own memory, until ask_answer(); the handler may change it */
    size_t body_bytes;
    int64_t deadline_us;
};
/* Receiver thread; must not block, for a disk neither. Answers now or later, from any thread. */
typedef void ask_handler(void *context, struct asked *asked);
/* Main thread, right after links_start(): a question that comes before waits a moment. */
void links_serve(struct links *links, enum ask_verb verb, ask_handler *handler, void *context);
/* Any thread. parts are copied. asked is gone. Every question is answered, also late ones. */
void ask_answer(struct asked *asked, const struct fault *fault, const struct iovec *parts, int part_count);

/* ---- for INFO and the bench ------------------------------------------------------------------ */

struct links_counters {
    _Atomic uint64_t messages_out; /* raft messages */
    _Atomic uint64_t messages_in;
    _Atomic uint64_t beats_out;
    _Atomic uint64_t writes;
    _Atomic uint64_t writes_now; /* of writes: on the thread that made the message */
    _Atomic uint64_t wakes;      /* of link-out, for something to be sent */
    _Atomic uint64_t bytes_out;
    _Atomic uint64_t dropped;
    _Atomic uint64_t asks_out;
    _Atomic uint64_t catch_up_bytes; /* of bytes_out: over the catch-up connections */
    _Atomic uint64_t connects;       /* connections begun, both ways, that got to the hello */
    _Atomic uint64_t refusals;       /* strangers, garbage, two with one id */
};
struct links_counters *links_counters(struct links *links);

#endif
