/* What kafka_session.c (frames, order, the protocol's table), kafka_front.c (what sessions
 * share) and the handlers of requests (kafka_*.c) have in common. Nobody else includes it. */
#ifndef KQ_SERVER_KAFKA_INTERNAL_H
#define KQ_SERVER_KAFKA_INTERNAL_H

#include "api/broker.h"
#include "proto/kafka/error.h"
#include "proto/kafka/kafka.h"
#include "server/kafka_session.h"

enum {
    KAFKA_ARENA_MAX_BYTES = 64 * 1024 * 1024,  /* of one request: what is decoded, and its answer */
    KAFKA_ANSWER_MAX_BYTES = 64 * 1024 * 1024, /* without what is sent from where it lies */
    KAFKA_PRODUCES_MAX = 1000,                 /* unanswered ones a connection; at the limit its socket is not read */

    KAFKA_HOST_BYTES = 256,
};

struct kafka_session;
struct kafka_call;

/* Bytes of an answer's records that go out from where they lie. A records field whose slice
 * has the sum of the lengths as its len, and a struct kafka_pieces as its data, is sent so. */
struct kafka_piece {
    struct slice bytes;
    void (*release)(void *keeper); /* once, when they are sent or never will be; under a lock: must not block */
    void *keeper;
};
struct kafka_pieces {
    struct kafka_piece *at;
    uint32_t count;
    struct kafka_pieces *next; /* of the call */
};

/* A request on its way. Made by the session; a handler fills `answer` and says
 * kafka_call_answered(), once, on any thread. */
struct kafka_call {
    struct kafka_session *session;
    struct broker *broker;
    struct kafka_request request;
    struct kafka_arena arena; /* one thread at a time: who has the call in hand */
    void *body;               /* struct kafka_<api>_request; lies in the arena and the frame */
    void *answer;             /* struct kafka_<api>_response with its defaults; in the arena */
    /* The handler's. */
    void *own;
    void (*fini)(struct kafka_call *call); /* frees what it has; no lock held; NULL: nothing */
    bool silent;                           /* no answer is sent (acks 0) */
    bool hang_up;                          /* instead of an answer */
    uint32_t splices;                      /* how many records fields of the answer are kafka_pieces, at most */
    struct kafka_pieces *pieces; /* all that the answer refers to; released with the call if they are not sent */
    /* The session's, under the connection's lock. */
    struct kafka_call *next;
    uint32_t refs;
    bool answered;
    bool is_produce;
    bool crowds;
    void (*cancel)(struct kafka_call *call);
    /* The session's. */
    struct pool_job job;
    void (*work)(struct kafka_call *call, struct worker *worker);
    uint8_t *frame; /* behind its size; body borrows from it */
    uint8_t *memory;
    int64_t held_bytes; /* as the account of all clients knows it, the arena's among them: */
    int64_t arena_bytes;
    struct buf reply;
    struct kafka_splices reply_splices;
};

/* Begins a request: on a worker, no lock held. */
typedef void kafka_handler(struct kafka_call *call, struct worker *worker);

/* Any thread, no lock held: call->answer is whole. The call is not the handler's any more. */
void kafka_call_answered(struct kafka_call *call);
/* Any thread, no lock held: the handler goes on in work(), on a worker; or, if the client is
 * gone, the call ends without. */
void kafka_call_wants_worker(struct kafka_call *call, void (*work)(struct kafka_call *call, struct worker *worker));
/* A handler that is going to wait for long: cancel() runs when that is to end soon, once, on any
 * thread, perhaps together with the answer. False: it is to end now. Not for Produce. */
bool kafka_call_waits(struct kafka_call *call, void (*cancel)(struct kafka_call *call));
/* A handler that has taken much of the arena, before it waits: that counts as the client's from now on. False:
 * all clients together hold more than they may, and nothing should be waited for with it. */
bool kafka_call_counts(struct kafka_call *call);
/* A mailbox that has enough: no more Produce is read of this client until the call is
 * answered. The worker, in a handler. */
void kafka_call_crowds(struct kafka_call *call);
/* Any thread. Its memory, body and answer stay until it is dropped, also when it is answered. */
void kafka_call_hold(struct kafka_call *call);
void kafka_call_drop(struct kafka_call *call);
struct conn *kafka_call_conn(struct kafka_call *call);

/* kafka_front.c */
struct kafka_front {
    uint32_t tag;
    struct broker *broker;
    struct fetch_sessions *fetches;
};
struct kafka_front *kafka_call_front(struct kafka_call *call);
/* The address of a broker for this client: what it registered, or, of this broker where
 * nothing was set, the address that the client has reached. text has KAFKA_HOST_BYTES. */
struct kafka_address {
    uint32_t broker_id;
    char host[KAFKA_HOST_BYTES];
    uint16_t port;
};
/* Any thread. False: the broker is not known, or Kafka clients cannot reach it. */
bool kafka_address_of(struct kafka_call *call, const struct image *image, uint32_t broker_id,
                      struct kafka_address *address);
/* Where leaders are found that an answer names, so that newer clients go there at once (KIP-951).
 * nodes has room for each broker of the image. */
struct kafka_node {
    int32_t node_id;
    struct slice host;
    int32_t port;
    struct slice rack;
};
void kafka_add_node(struct kafka_call *call, const struct image *image, int32_t broker_id, struct kafka_node *nodes,
                    int32_t *count);
/* The handler of an API; NULL: it is not spoken. */
kafka_handler *kafka_handler_of(int16_t key);

/* ---- handlers: kafka_handle_x in the file of its family -------------------------------- */

/* kafka_meta.c */
kafka_handler kafka_handle_api_versions, kafka_handle_metadata, kafka_handle_describe_cluster;

/* kafka_fetch.c */
kafka_handler kafka_handle_fetch;
/* kafka_groups.c, kafka_commits.c, kafka_groups_admin.c */
kafka_handler kafka_handle_find_coordinator, kafka_handle_join_group, kafka_handle_sync_group, kafka_handle_heartbeat,
    kafka_handle_leave_group, kafka_handle_offset_commit, kafka_handle_offset_fetch, kafka_handle_offset_delete,
    kafka_handle_describe_groups, kafka_handle_list_groups, kafka_handle_delete_groups;
/* kafka_offsets.c */
kafka_handler kafka_handle_list_offsets, kafka_handle_offset_for_leader_epoch, kafka_handle_delete_records;
/* kafka_cluster.c */
kafka_handler kafka_handle_describe_log_dirs, kafka_handle_elect_leaders, kafka_handle_describe_quorum;
kafka_handler kafka_handle_describe_producers;
/* kafka_topics.c */
kafka_handler kafka_handle_create_topics, kafka_handle_delete_topics, kafka_handle_create_partitions;
/* kafka_configs.c */
kafka_handler kafka_handle_describe_configs, kafka_handle_alter_configs, kafka_handle_incremental_alter_configs;
/* kafka_produce.c */
kafka_handler kafka_handle_produce, kafka_handle_init_producer_id;

/* ---- small things that handlers share (kafka_front.c) ----------------------------------- */

/* The client's address, as Kafka shows it ("/127.0.0.1"); in the call's arena. */
struct slice kafka_peer_text(struct kafka_call *call);
/* The code for a client, of what a fault says. */
int16_t kafka_code(const struct fault *fault);
/* Leader epochs (KIP-320): a client that knows an older one (-1: none) has to look again who leads. */
int16_t kafka_check_epoch(int32_t known, uint64_t term);
/* The epoch that a leader's term is; 0, not known: none. */
int32_t kafka_epoch_of(uint64_t term);
/* The fault's sentence, in the call's arena. */
struct slice kafka_text(struct kafka_call *call, const struct fault *fault);
/* A string of a request as C text; false: longer than room - 1, absent, or with a NUL in it. */
bool kafka_c_text(struct slice text, char *to, size_t room);
struct slice kafka_uuid_text(struct kafka_call *call, const struct uuid *id); /* 22 characters of URL-safe base64 */

#endif
