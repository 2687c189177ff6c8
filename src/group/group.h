/*
 * The coordinator of consumer groups: who owns which partition of a topic, and
 * how far each group has read. A state machine (partition/machine.h) on each
 * partition of `__consumer_offsets`; a group lives in the partition that
 * fnv_partition(its name) says.
 *
 * A member is a session (a client's connection). It subscribes to a topic with a
 * number of partitions that it wants; it gets subscriptions: one id a partition.
 * No two subscriptions of a group ever hold the same partition of a topic. An id
 * ends by command, by not being used for the session timeout, or by being
 * revoked in favour of a member that holds less.
 *
 * PURE: no thread, clock, random source, disk or socket; time and ids come in.
 * It must never show an event before the record behind it is committed
 * (machine_note), nor give a partition to a session that is not known to live.
 */
#ifndef KQ_GROUP_GROUP_H
#define KQ_GROUP_GROUP_H

#include "base/account.h"
#include "base/err.h"
#include "base/uuid.h"
#include "partition/machine.h"

#include <stdatomic.h>

struct group_machine;

enum {
    GROUP_NAME_MAX_BYTES = 249,
    GROUP_METADATA_MAX_BYTES = 4096,
    GROUP_OFFSET_LEAST = -2,   /* Kafka clients commit -2 for the log's start, whatever that is, and -1 for its end */
    GROUP_GROUPS_MAX = 100000, /* a coordinator; beyond it KQ_LIMIT */
    SUBSCRIPTION_ID_TEXT_BYTES = 56, /* with its NUL */
};

/* ---- subscription ids ------------------------------------------------------------- */

/* Text: "<coordinator>-<partition>-<32 hexadecimal digits>", decimal numbers. The
 * numbers route, the digits are 128 random bits: only who was told an id has it. */
struct subscription_id {
    uint32_t coordinator; /* the partition of __consumer_offsets */
    uint32_t partition;   /* of the topic */
    struct uuid secret;
};

/* Any thread. Returns text. */
char *subscription_id_format(const struct subscription_id *id, char text[SUBSCRIPTION_ID_TEXT_BYTES]);
/* Any thread. False: not an id; no broker knows it (answer KQ_UNKNOWN_SUBSCRIPTION). */
bool subscription_id_parse(const char *text, size_t text_bytes, struct subscription_id *id);

/* ---- sessions ----------------------------------------------------------------------- */

/* A connection. id is never used twice by the same broker, not after a restart
 * either (cluster_next_session_id()); 0: none. */
struct group_session {
    uint32_t broker_id;
    uint64_t id;
};

enum group_event_kind { GROUP_EVENT_REVOKED, GROUP_EVENT_ASSIGNED };

/* Something that a session is to be told. Borrowed for the call. */
struct group_event {
    enum group_event_kind kind;
    struct group_session session;
    const char *topic;
    uint32_t partition;
    char id[SUBSCRIPTION_ID_TEXT_BYTES];
};

/* ---- life ---------------------------------------------------------------------------- */

struct group_options {
    uint32_t coordinator; /* the partition of __consumer_offsets */
    /* Read once a turn; may change. -1 for the retention: never forgotten. */
    const _Atomic int64_t *session_timeout_us;
    const _Atomic int64_t *offsets_retention_us;
    /* How long the first members of a group wait for others to join (NULL: not at all). */
    const _Atomic int64_t *join_delay_us;
    /* What Kafka members, their calls that wait and answers to them hold, of all coordinators of the
     * broker (NULL: not counted); outlives the calls, too. Over the limit nobody new joins and nobody
     * asks for more than before; at twice the limit answers that need memory fail (KQ_NO_MEMORY).
     * What others lead and replicate to here is counted, not refused. */
    struct account *memory;
    /* Fills 16 bytes that nobody can guess. On the actor's turn. */
    void (*random)(void *context, uint8_t bytes[UUID_BYTES]);
    /* On the actor's turn, when the change is committed; must not block. */
    void (*notify)(void *context, const struct group_event *event);
    void *context;
};

/* NULL: out of memory. */
struct group_machine *group_machine_new(const struct group_options *options);
void group_machine_free(struct group_machine **machine);
/* What partition_start() takes. Borrows the machine. */
struct machine group_machine_ops(struct group_machine *machine);

/* ---- calls ------------------------------------------------------------------------------ */

enum group_kind { GROUP_KIND_NONE = 0, GROUP_KIND_TEXT = 1, GROUP_KIND_CLASSIC = 2 };

enum group_verb {
    GROUP_SUBSCRIBE,
    GROUP_RESOLVE,
    GROUP_RENEW,
    GROUP_COMMIT,
    GROUP_UNSUBSCRIBE,
    GROUP_SESSION_CLOSED,
    GROUP_LIST,
    GROUP_DESCRIBE,
    GROUP_PEEK,
    GROUP_BROKER_GONE,
    GROUP_DROP_TOPICS,
    /* Of struct classic_call (classic.h). */
    GROUP_JOIN,
    GROUP_SYNC,
    GROUP_HEARTBEAT,
    GROUP_LEAVE,
    GROUP_COMMIT_ALL,
    GROUP_OFFSETS,
    GROUP_FORGET,
    GROUP_LOOK,
};

/* A group, for LIST. */
struct group_row {
    char name[GROUP_NAME_MAX_BYTES + 1];
    enum group_kind kind;
    uint32_t member_count;
    uint32_t subscription_count;
    uint32_t offset_count;
    uint32_t generation;
    /* Not told to other brokers: of a group with Kafka members. */
    uint8_t state; /* enum classic_state */
    char protocol_type[64];
};

/* A partition that a group holds or has an offset of, for DESCRIBE; ordered by
 * topic and partition. Ids are not told: they are secrets. */
struct group_partition_row {
    char topic[GROUP_NAME_MAX_BYTES + 1];
    struct uuid topic_id;
    uint32_t partition;
    bool owned;
    bool live;                  /* its member's session is connected */
    struct group_session owner; /* if owned */
    int64_t idle_ms;            /* if owned: since it was last used */
    int64_t committed_off;      /* below 0: none */
    int64_t committed_time_ms;
};

/*
 * One struct for all verbs; set verb, session and that verb's inputs, zero the
 * rest. Inputs are borrowed until done. partition_call(coordinator, &call->call).
 *
 *   SUBSCRIBE       group, topic, topic_id, partition_count, wanted (>= 1): up to
 *                   `wanted` partitions more. Answer: ids[id_count].
 *                   KQ_ALL_ASSIGNED, KQ_GROUP_KIND, KQ_LIMIT, KQ_INVALID (name).
 *   RESOLVE         topic, id: for CONS and TAIL, renews. Answer: topic_id,
 *                   partition, committed_off (below 0: none), group_name.
 *                   KQ_UNKNOWN_SUBSCRIPTION. The caller compares topic_id with its
 *                   image: another one means that the topic was deleted.
 *   RENEW           all subscriptions that `session` owns or used last (PING).
 *   COMMIT          topic, id, off, metadata (may be NULL); renews. The caller has
 *                   checked off against the partition's end. Answer as RESOLVE.
 *   UNSUBSCRIBE     topic, id. KQ_UNKNOWN_SUBSCRIPTION.
 *   SESSION_CLOSED  nothing is given to `session` any more; its ids live on until
 *                   they expire. Always KQ_OK.
 *   LIST            Answer: groups[group_count], by name.
 *   DESCRIBE        group. Answer: rows[row_count], kind, generation. KQ_UNKNOWN_GROUP.
 *   PEEK            as RESOLVE, but renews nothing; with call.anywhere set any replica
 *                   answers, so that reading goes on while nobody coordinates.
 *   BROKER_GONE     SESSION_CLOSED of all sessions of broker session.broker_id, which is not
 *                   heard any more; one that calls again lives again. Always KQ_OK.
 *   DROP_TOPICS     exists(exists_context, topic_id) is asked on the actor's turn
 *                   for every topic known here; ids of what is gone are unknown
 *                   from then on, and soon its subscriptions (with events) and
 *                   offsets go.
 * Any verb: KQ_NOT_LEADER, KQ_STOPPING and what else a partition answers.
 */
struct group_call {
    struct machine_call call;
    enum group_verb verb;
    struct group_session session;
    const char *group;
    const char *topic;
    struct subscription_id id;
    struct uuid topic_id; /* in for SUBSCRIBE, answer of RESOLVE and COMMIT */
    uint32_t partition_count;
    uint32_t wanted;
    int64_t off;
    const char *metadata;
    bool (*exists)(void *context, const struct uuid *topic_id);
    void *exists_context;
    /* the answer; group_call_fini() frees it */
    struct subscription_id *ids;
    uint32_t id_count;
    uint32_t partition;
    int64_t committed_off;
    char group_name[GROUP_NAME_MAX_BYTES + 1];
    struct group_row *groups;
    uint32_t group_count;
    struct group_partition_row *rows;
    uint32_t row_count;
    enum group_kind kind;
    uint32_t generation;
};

/* Caller's thread, after done. Frees the answer's arrays; call it also after an error. */
void group_call_fini(struct group_call *call);

/* Tests, after every step: REQUIREs that the state is consistent. */
void group_machine_check(const struct group_machine *machine);

#endif
