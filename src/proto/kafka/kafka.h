/*
 * Kafka frames: what a server needs to read a request and to write its answer.
 *
 * A frame is a be32 size and that many bytes: a header, then the API's body. How a
 * server goes about it:
 *
 *    kafka_frame_size(first four bytes, limit, &size)     before anything is allocated
 *    kafka_request_open(frame behind the size, &request)  which API, version, client
 *    kafka_request_body(&request, &arena, &body)          the struct kafka_x_request
 *    ... KAFKA_FILL(&arena, answer.topics, ...) ...       the struct kafka_x_response
 *    kafka_answer_put(&out, &request, &answer, &splices)  size, header and body
 *    send out's bytes with the splices between them; kafka_arena_reset(&arena)
 *
 * The body borrows from the frame, so the frame lives as long as the request does. An
 * answer may borrow from the request's body.
 *
 * Headers: a request of a flexible version has tagged fields behind the client id, which
 * is itself never compact; an answer of one has them behind the correlation id, but
 * answers to ApiVersions never do. Ranges of versions, and
 * where the flexible ones begin, stand in the table in api.c.
 *
 * PURE: any thread, no state.
 */
#ifndef KQ_PROTO_KAFKA_KAFKA_H
#define KQ_PROTO_KAFKA_KAFKA_H

#include "proto/kafka/shape.h"

enum {
    KAFKA_SIZE_BYTES = 4,             /* in front of every frame */
    KAFKA_REQUEST_HEAD_MIN_BYTES = 8, /* API key, version, correlation id: in front of every request */
    KAFKA_KEYS = 92,                  /* above every key that Kafka knows */
    KAFKA_DECODED_RATIO = 20,         /* a decoded array takes at most so many times its bytes in the frame */
};

enum kafka_key {
    KAFKA_PRODUCE = 0,
    KAFKA_FETCH = 1,
    KAFKA_LIST_OFFSETS = 2,
    KAFKA_METADATA = 3,
    KAFKA_OFFSET_COMMIT = 8,
    KAFKA_OFFSET_FETCH = 9,
    KAFKA_FIND_COORDINATOR = 10,
    KAFKA_JOIN_GROUP = 11,
    KAFKA_HEARTBEAT = 12,
    KAFKA_LEAVE_GROUP = 13,
    KAFKA_SYNC_GROUP = 14,
    KAFKA_DESCRIBE_GROUPS = 15,
    KAFKA_LIST_GROUPS = 16,
    KAFKA_API_VERSIONS = 18,
    KAFKA_CREATE_TOPICS = 19,
    KAFKA_DELETE_TOPICS = 20,
    KAFKA_DELETE_RECORDS = 21,
    KAFKA_INIT_PRODUCER_ID = 22,
    KAFKA_OFFSET_FOR_LEADER_EPOCH = 23,
    KAFKA_DESCRIBE_CONFIGS = 32,
    KAFKA_ALTER_CONFIGS = 33,
    KAFKA_DESCRIBE_LOG_DIRS = 35,
    KAFKA_CREATE_PARTITIONS = 37,
    KAFKA_DELETE_GROUPS = 42,
    KAFKA_ELECT_LEADERS = 43,
    KAFKA_INCREMENTAL_ALTER_CONFIGS = 44,
    KAFKA_OFFSET_DELETE = 47,
    KAFKA_DESCRIBE_QUORUM = 55,
    KAFKA_DESCRIBE_CLUSTER = 60,
    KAFKA_DESCRIBE_PRODUCERS = 61,
};

enum { KAFKA_NEVER_FLEXIBLE = INT16_MAX };

struct kafka_api {
    const char *name;
    const struct kafka_shape *request;
    const struct kafka_shape *response;
    int16_t key;
    int16_t first; /* the versions that are described here and can be advertised */
    int16_t last;
    int16_t served_from;   /* below it: advertised for old clients' sake, answered UNSUPPORTED_VERSION */
    int16_t flexible_from; /* or KAFKA_NEVER_FLEXIBLE */
};

/* NULL: not an API that is described here. */
const struct kafka_api *kafka_api(int16_t key);

static inline struct kafka_dialect kafka_dialect(const struct kafka_api *api, int16_t version)
{
    return (struct kafka_dialect){.version = version, .flexible = version >= api->flexible_from};
}

/* ---- frames ---------------------------------------------------------------------- */

/* What the size in front of a frame says. KQ_GARBAGE: negative, or too short for any
 * request; KQ_TOO_LARGE: above limit_bytes. In both cases the connection cannot go on. */
enum kq_err kafka_frame_size(const uint8_t head[KAFKA_SIZE_BYTES], uint32_t limit_bytes, uint32_t *size_bytes);

struct kafka_request {
    const struct kafka_api *api;
    int16_t key;
    int16_t version;
    int32_t correlation_id;
    struct slice client_id; /* borrowed; absent if null */
    struct cursor body;
};

/* Reads the header of a request; frame is what follows its size.
 * KQ_OK: the body can be decoded.
 * KQ_BAD_VERSION: an API of ours in a version that is not (request->version); of
 * ApiVersions the request is set to version 0, so that its answer goes out as every
 * client can read it (and says UNSUPPORTED_VERSION); of others Kafka ends the connection.
 * KQ_NOT_FOUND: not an API of ours (request->key). KQ_GARBAGE: no request. */
enum kq_err kafka_request_open(struct slice frame, struct kafka_request *request);

/* Decodes the body into a struct kafka_<api>_request in the arena. Bytes behind it are
 * ignored, as Kafka does. KQ_GARBAGE, KQ_TOO_LARGE (the arena's limit), KQ_NO_MEMORY. */
enum kq_err kafka_request_body(const struct kafka_request *request, struct kafka_arena *arena, void **body);

/* Appends the whole frame of an answer to a request that was opened: `answer` is a
 * struct kafka_<api>_response. What splices NULL and out->bad mean: kafka_encode() in
 * shape.h; a frame above 2 GiB is bad too. */
void kafka_answer_put(struct buf *out, const struct kafka_request *request, const void *answer,
                      struct kafka_splices *splices);

/* Fills *answer (a struct kafka_api_versions_response) with the APIs that `works` says
 * yes to, in their whole range. error_code: 0, or KAFKA_ERR_UNSUPPORTED_VERSION for a
 * request that was KQ_BAD_VERSION. False: no room in the arena. */
struct kafka_api_versions_response;
bool kafka_versions_fill(struct kafka_api_versions_response *answer, struct kafka_arena *arena, int16_t error_code,
                         bool (*works)(const struct kafka_api *api, void *context), void *context);

/* ---- the other side, for tests, the bench and tools -------------------------------- */

/* Appends the whole frame of a request; body is a struct kafka_<api>_request. */
void kafka_request_put(struct buf *out, const struct kafka_api *api, int16_t version, int32_t correlation_id,
                       struct slice client_id, const void *body);

/* Decodes an answer to such a request; frame is what follows its size. */
enum kq_err kafka_answer_open(struct slice frame, const struct kafka_api *api, int16_t version,
                              struct kafka_arena *arena, int32_t *correlation_id, void **answer);

#endif
