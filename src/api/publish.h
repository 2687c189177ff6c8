/*
 * Publishing: consecutive messages are folded into one record batch and one
 * request a partition, sent to whoever leads it, sent again where that cannot
 * double a message, and the answer of each message is found again.
 *
 * A fold is filled by one thread, sent once, and answered part by part on any
 * thread. It knows nothing of replies or connections. All that a session has on its
 * way is its flight: there the order of its publishes is kept when a leader changes
 * (publish_lane.h). As long as the leader is here and nothing fails a flight costs
 * two pointers a fold.
 */
#ifndef KQ_API_PUBLISH_H
#define KQ_API_PUBLISH_H

#include "api/broker.h"
#include "api/publish_lane.h"
#include "log/batch.h"

struct publish_flight;
struct publish_fold;
struct publish_lane;
struct publish_remote;

/* What goes to one partition. */
struct publish_part {
    struct publish_request request; /* request.fault is the answer */
    struct publish_fold *fold;
    struct image_topic *topic;   /* borrowed, until the fold is sent */
    struct partition *partition; /* the replica here, with a reference; NULL: none */
    struct uuid topic_id;
    uint32_t number; /* of the partition */
    struct buf batches;
    struct batch_maker maker;
    int32_t limit_bytes; /* of the batch */
    bool alone;          /* nobody else holds the partition */
    bool crowded;        /* the sender's: the partition has more than it can take */
    bool held;           /* the sender's: a lane sends it */
    bool done;           /* the owner's, under its lock */
    bool counted;        /* the owner's, under its lock: as crowded */
    /* Under the owner's lock. */
    struct publish_lane *lane;
    struct lane_item item;
    bool lost; /* to another broker, which may have got it */
};

struct publish_fold {
    struct publish_part **parts;
    uint16_t *part_of; /* a message's part; NULL while there is but one part */
    uint32_t part_count;
    uint32_t part_cap;
    uint32_t message_count;
    uint32_t message_cap; /* of part_of */
    uint32_t hint;        /* the part after the one used last: round robin finds its part at once */
    int64_t time_ms;
    int64_t deadline_us;
    struct publish_flight *flight;
    struct publish_fold *next; /* of the flight */
};

/* What the owner of a flight does. */
struct publish_flight_ops {
    /* Any thread. Takes the lock under which the flight lies, and holds its owner. */
    void (*lock)(struct publish_flight *flight);
    /* Lock held: part->done was set a moment ago. */
    void (*decided)(struct publish_part *part);
    /* Lock held. Answers what can be answered, lets go of the lock and the owner; folds may
     * be gone then. */
    void (*finish)(struct publish_flight *flight);
    /* Any thread; the owner stays while it is held. */
    void (*hold)(struct publish_flight *flight);
    void (*drop)(struct publish_flight *flight);
};

/* A session's publishes on their way. */
struct publish_flight {
    const struct publish_flight_ops *ops;
    struct broker *broker;
    struct publish_fold *first; /* in order */
    struct publish_fold **last;
    struct publish_lane *lanes; /* of the partitions where something went wrong */
    uint64_t seen_changes;      /* of leaders: all on its way was sent after them */
    struct publish_fold *fence; /* the last that was sent before fence_changes; NULL: none */
    uint64_t fence_changes;
};

void publish_flight_init(struct publish_flight *flight, struct broker *broker, const struct publish_flight_ops *ops);
/* Lock held. At the end, before publish_fold_send. The fold is closed and holds messages. */
void publish_flight_add(struct publish_flight *flight, struct publish_fold *fold);
/* Lock held. The first fold, all of which is done. */
void publish_flight_remove(struct publish_flight *flight, struct publish_fold *fold);

enum { PUBLISH_PARTS_MAX = 4096, PUBLISH_MESSAGES_MAX = 65536 };

struct publish_message {
    struct slice key;    /* absent or empty: no key */
    struct slice value;  /* absent: null */
    struct slice header; /* absent: no header; else the record header `Header` */
};

/* time_ms: wall clock; deadline_us: CLOCK_MONOTONIC. */
void publish_fold_init(struct publish_fold *fold, struct publish_flight *flight, int64_t time_ms, int64_t deadline_us);
/* Not between publish_fold_send and the last part that is done. */
void publish_fold_fini(struct publish_fold *fold);

/* Adds a message to the partition that its key, or else round robin, chooses. The
 * image of the topic is held until the fold is sent. expected_bytes: how much more is
 * likely to come for this topic, to size memory.
 * KQ_FULL: the fold has to be sent first, then the message fits into a new one.
 * KQ_TOO_LARGE, KQ_NO_MEMORY: this message's answer. */
enum kq_err publish_fold_add(struct publish_fold *fold, struct image_topic *topic,
                             const struct publish_message *message, size_t expected_bytes, struct fault *fault);

/* One message of a producer to a partition that it chose, into an empty fold.
 * KQ_BAD_PARTITIONS and as publish_fold_add. */
struct publish_producer {
    uint32_t partition;
    int64_t id;
    int16_t epoch;
    int32_t sequence;
};
enum kq_err publish_fold_produce(struct publish_fold *fold, struct image_topic *topic,
                                 const struct publish_message *message, const struct publish_producer *producer,
                                 struct fault *fault);

/* Memory held until the last part is done, for accounts. */
size_t publish_fold_bytes(const struct publish_fold *fold);

/* No more is added. Before publish_flight_add. */
void publish_fold_close(struct publish_fold *fold);

/* Hands all parts to their partitions' leaders. The fold must stay until this has
 * returned and each part is done. Returns how many parts are marked crowded: the client
 * is not to be read before these are done. */
uint32_t publish_fold_send(struct publish_fold *fold);

/* The part that a message went to. */
static inline struct publish_part *publish_fold_part(const struct publish_fold *fold, uint32_t message)
{
    return fold->parts[fold->part_of == NULL ? 0 : fold->part_of[message]];
}

/* ---- between publish.c, publish_flight.c and publish_send.c ----------------------------- */

struct route;

/* Any thread. It is answered: part->request says how. */
void publish_part_answered(struct publish_part *part);
/* Any thread, no lock held. Posts it, bound to in_term; and_turn: a thread that is in no
 * partition's turn, see partition_publish_and_turn. True: crowded. */
bool publish_part_send(struct publish_part *part, const struct route *route, uint64_t in_term, bool and_turn);
/* No lock held. What lanes hold of the fold goes on if it can. */
void publish_flight_pump(struct publish_flight *flight);

#endif
