/*
 * Kafka clients that behave badly, on the real daemon: bytes that are no request, frames
 * announced and never sent, batches that cannot be, floods whose answers nobody reads, and
 * real clients' frames with one bit flipped. Each is refused as Kafka refuses it, or its
 * connection is closed; memory stays bounded, nothing that was written is lost, and the
 * others go on.
 */
#include "base/clock.h"
#include "base/crc32c.h"
#include "e2e/e2e.h"
#include "e2e/kafka_caller.h"
#include "e2e/scenario.h"
#include "log/batch.h"
#include "proto/kafka/api_fetch.h"
#include "proto/kafka/api_groups.h"
#include "proto/kafka/api_produce.h"
#include "proto/kafka/error.h"

enum {
    LINE_BYTES = 64 * 1024,
    PATH_BYTES = 4096,
    WHOLE = 16 << 20, /* request.max by default */
    KEPT = 100,       /* messages that must survive everything here */
};

static struct daemon *shared;

static struct client *kafka_session(void)
{
    if (shared == NULL) {
        struct daemon_spec spec = {.dir = temp_folder("kafka-rude"), .nofile = raise_nofile(), .broker_id = 1};
        spec.settings[0] = "group.initial.rebalance.delay=0";
        spec.settings[1] = "line.timeout=2s";
        spec.settings[2] = "reply.timeout=2s";
        spec.settings[3] = "topics.max=100"; /* which flipped names would fill the disk with */
        shared = daemon_start(&spec);
        struct client *c = client_open(daemon_port(shared));
        topic_make(c, "kept", 1, "");
        publish_range(c, "kept", "m", 0, KEPT, 0);
        client_close(&c);
    }
    return client_open(daemon_kafka_port(shared));
}

/* What was written before is there, and more can be written. */
static void expect_unharmed(void)
{
    static int rounds;
    char id[ID_BYTES], group[32];
    CU_ASSERT_FATAL(daemon_alive(shared));
    struct client *c = client_open(daemon_port(shared));
    (void)snprintf(group, sizeof(group), "witness-%d", rounds++);
    subscribe(c, "kept", group, id);
    expect_range(c, "kept", id, 0, "m", 0, KEPT);
    client_close(&c);
}

static int64_t memory_kib(void)
{
    return proc_anonymous_kib(daemon_pid(shared));
}

/* ---- frames ---------------------------------------------------------------------------- */

/* Closed without an answer. */
static void expect_closed(size_t row, const void *bytes, size_t size)
{
    struct client *c = kafka_session();
    CU_ASSERT(client_send(c, bytes, size));
    bool ends = client_ends(c, REPLY_MS);
    if (!ends)
        printf("\n    row %zu is answered, or stays", row);
    CU_ASSERT(ends);
    client_close(&c);
}

static void bytes_that_are_no_request_end_their_connection(void)
{
    static const struct {
        const char *bytes;
        size_t size;
    } rows[] = {
        {"\x7f\xff\xff\xff\0\3\0\1", 8},                                      /* 2 GiB - 1 */
        {"\x80\0\0\0\0\3\0\1", 8},                                            /* a negative size */
        {"\xff\xff\xff\xf0\0\3\0\1", 8},                                      /* another */
        {"\0\0\0\0", 4},                                                      /* no header at all */
        {"\0\0\0\1\0", 5},                                                    /* a header cut off */
        {"\0\0\0\x0a\x12\x34\0\0\0\0\0\1\xff\xff", 14},                       /* an API that nobody has */
        {"\0\0\0\x0a\0\3\0\x63\0\0\0\1\xff\xff", 14},                         /* Metadata in version 99 */
        {"\0\0\0\x0a\0\3\xff\xff\0\0\0\1\xff\xff", 14},                       /* and in version -1 */
        {"\0\0\0\x0a\0\3\0\1\0\0\0\1\x7f\xff", 14},                           /* a client id of 32767 bytes */
        {"\0\0\0\x0a\0\3\0\1\0\0\0\1\xff\xfe", 14},                           /* of -2 bytes */
        {"\0\0\0\x0e\0\3\0\1\0\0\0\1\xff\xff\x7f\xff\xff\xff", 18},           /* 2^31 - 1 topics */
        {"\0\0\0\x0e\0\3\0\1\0\0\0\1\xff\xff\x80\0\0\0", 18},                 /* -2^31 topics */
        {"\0\0\0\x10\0\3\0\x0c\0\0\0\1\xff\xff\xff\xff\xff\xff\xff\xff", 20}, /* endless tagged fields */
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27},
        {"PING\r\n", 6},
        {"\x16\3\1\2\0\1\0\1\xfc\3\3", 11}, /* TLS */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect_closed(i, rows[i].bytes, rows[i].size);
    CU_ASSERT(daemon_said(shared, "the connection of a Kafka client is closed: a frame of 2147483647 bytes", REPLY_MS));
    expect_unharmed();
}

/* Answered in version 0, with error 35, and the connection goes on: else librdkafka takes the
 * broker for one of before ApiVersions. */
static void an_unknown_version_of_api_versions_is_answered(void)
{
    static const uint8_t ask[] = {0, 0, 0, 10, 0, 18, 0, 99, 0, 0, 0, 42, 0xff, 0xff};
    uint8_t answer[4096];
    struct client *c = kafka_session();
    for (int i = 0; i < 2; i++) {
        CU_ASSERT(client_send(c, ask, sizeof(ask)));
        CU_ASSERT_EQUAL_FATAL(recv(client_fd(c), answer, 12, MSG_WAITALL), 12);
        CU_ASSERT_EQUAL(get_be32(answer + 4), 42);
        CU_ASSERT_EQUAL(get_be16(answer + 8), KAFKA_ERR_UNSUPPORTED_VERSION);
        size_t rest = get_be32(answer) + 4 - 12;
        CU_ASSERT_FATAL(rest < sizeof(answer));
        CU_ASSERT_EQUAL(recv(client_fd(c), answer, rest, MSG_WAITALL), (ssize_t)rest);
    }
    client_close(&c);
}

static void announced_frames_cost_nothing_until_they_come(void)
{
    enum { SESSIONS = 400 };
    static struct client *held[SESSIONS];
    static const uint8_t begun[] = {WHOLE >> 24, WHOLE >> 16 & 0xff, WHOLE >> 8 & 0xff, 0, 0, 3, 0, 1};
    struct client *first = kafka_session();
    client_close(&first);
    int64_t before = memory_kib();
    for (int i = 0; i < SESSIONS; i++) {
        held[i] = kafka_session();
        CU_ASSERT(client_send(held[i], begun, sizeof(begun)));
    }
    expect_unharmed();
    expect_memory_near(daemon_pid(shared), before);
    for (int i = 0; i < SESSIONS; i++) {
        CU_ASSERT(client_ends(held[i], REPLY_MS)); /* line.timeout */
        client_close(&held[i]);
    }
}

/* Half of what a client may have unanswered is asked, and nothing of the answers read. */
static void answers_that_nobody_reads_are_bounded(void)
{
    enum { TIMES = 20000 };
    static const uint8_t all_topics[] = {0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    struct client *c = kafka_session();
    int64_t before = memory_kib();
    int sent = 0;
    for (; sent < TIMES; sent++)
        if (send(client_fd(c), all_topics, sizeof(all_topics), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            break;
    expect_unharmed();
    expect_memory_near(daemon_pid(shared), before);
    client_close(&c);
}

static bool sockets_are_back(void *before)
{
    return proc_sockets(daemon_pid(shared)) <= *(const int64_t *)before;
}

/* Fetches that would wait for an hour, of clients that are cut off, and of some that only say no more. */
static void who_waits_and_goes_away_holds_nothing(void)
{
    enum { SESSIONS = 200 };
    static struct client *held[SESSIONS];
    struct kafka_fetch_request_partition part = {.fetch_offset = KEPT, .partition_max_bytes = WHOLE};
    struct kafka_fetch_request_topic topic = {.topic = slice_text("kept")};
    topic.partitions.at = &part;
    topic.partitions.count = 1;
    struct kafka_fetch_request ask = {.replica_id = -1, .max_wait_ms = 3600 * 1000, .min_bytes = 1, .max_bytes = WHOLE};
    ask.topics.at = &topic;
    ask.topics.count = 1;
    struct buf fetch;
    buf_init(&fetch, 4096);
    for (int i = 0; i < 2; i++) /* one waits, the other behind it */
        kafka_request_put(&fetch, kafka_api(KAFKA_FETCH), 4, i, slice_text("test"), &ask);
    struct client *first = kafka_session();
    client_close(&first);
    int64_t before = proc_sockets(daemon_pid(shared));
    for (int i = 0; i < SESSIONS; i++) {
        held[i] = kafka_session();
        CU_ASSERT(client_send(held[i], fetch.data, fetch.len));
    }
    CU_ASSERT(client_quiet(held[0], 0));
    for (int i = 0; i < SESSIONS; i++) {
        struct linger now = {1, 0};
        if (i % 2 == 0)
            (void)setsockopt(client_fd(held[i]), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        client_close(&held[i]);
    }
    CU_ASSERT(wait_until(sockets_are_back, &before, REPLY_MS));
    buf_fini(&fetch);
}

/* ---- groups ------------------------------------------------------------------------------ */

/* Who joined first is missed then, and that makes room: not before all have come. */
enum { CROWD_MS = SANITIZED ? 15000 : 6000 };

static int32_t join_crowd(struct kafka_caller *c, size_t metadata_bytes)
{
    static const uint8_t metadata[1 << 20];
    struct kafka_join_group_request_protocol protocol = {.name = slice_text("range"),
                                                         .metadata = slice_of(metadata, metadata_bytes)};
    struct kafka_join_group_request ask = {.group_id = slice_text("crowd"),
                                           .session_timeout_ms = CROWD_MS,
                                           .rebalance_timeout_ms = INT32_MAX,
                                           .member_id = slice_text(""),
                                           .protocol_type = slice_text("consumer")};
    ask.protocols.at = &protocol;
    ask.protocols.count = 1;
    return caller_send(c, KAFKA_JOIN_GROUP, 3, &ask);
}

static int16_t joined(struct kafka_caller *c, int32_t id)
{
    const struct kafka_join_group_response *answer = caller_take(c, KAFKA_JOIN_GROUP, 3, id);
    return answer->error_code;
}

/* Once the coordinator is there. */
static bool is_too_large(void *caller)
{
    struct kafka_find_coordinator_request ask = {.key = slice_text("crowd")};
    (void)caller_ask(caller, KAFKA_FIND_COORDINATOR, 2, &ask);
    return joined(caller, join_crowd(caller, 1 << 20)) == KAFKA_ERR_OFFSET_METADATA_TOO_LARGE;
}

static bool members_are_gone(void *text)
{
    return info_number(text, "KafkaGroupBytes") < 64 * 1024;
}

/* Members that bring all they may, and wait for each other: an eighth of memory.max is theirs. */
static void a_crowd_of_large_members_is_bounded(void)
{
    enum { SESSIONS = 600, LARGE = 240 * 1024, LIMIT = (256 << 20) / 8 };
    static struct kafka_caller *held[SESSIONS];
    static int32_t ids[SESSIONS];
    struct client *first = kafka_session();
    client_close(&first);
    int port = daemon_kafka_port(shared);
    struct client *text = client_open(daemon_port(shared));
    struct kafka_caller *c = caller_open(port);
    CU_ASSERT_FATAL(wait_until(is_too_large, c, REPLY_MS));
    int64_t before = memory_kib(), most = 0, most_kib = 0;
    for (int i = 0; i < SESSIONS; i++) {
        held[i] = caller_open(port);
        ids[i] = join_crowd(held[i], LARGE);
        if (i >= SESSIONS / 2) /* they came when it was full */
            CU_ASSERT_EQUAL_FATAL(joined(held[i], ids[i]), KAFKA_ERR_GROUP_MAX_SIZE_REACHED);
        int64_t bytes = info_number(text, "KafkaGroupBytes"), kib = memory_kib() - before;
        most = bytes > most ? bytes : most;
        most_kib = kib > most_kib ? kib : most_kib;
    }
    (void)printf("(%d KiB counted, %d KiB seen) ", (int)(most / 1024), (int)most_kib);
    CU_ASSERT(most > LIMIT / 2 && most <= LIMIT);
    CU_ASSERT(SANITIZED || most_kib <= 3 * LIMIT / 1024);
    expect_unharmed();
    for (int i = 0; i < SESSIONS; i++)
        caller_close(&held[i]);
    CU_ASSERT(wait_until(members_are_gone, text, 2 * REPLY_MS)); /* their sessions end, if not their rounds */
    CU_ASSERT_EQUAL(joined(c, join_crowd(c, 100)), KAFKA_ERR_NONE);
    caller_close(&c);
    client_close(&text);
}

/* ---- batches ---------------------------------------------------------------------------- */

/* One batch of two records, with one field altered and its checksum right (but for its own). */
static void make_batch(struct buf *out, size_t at, size_t size_bytes, uint64_t value)
{
    struct batch_maker m;
    int64_t now_ms = clock_wall_ms();
    buf_init(out, 1 << 20);
    batch_begin(&m, out, now_ms);
    batch_add(&m, now_ms, slice_text("k"), slice_text("one"), NULL, (struct slice){0});
    batch_add(&m, now_ms, slice_text("k"), slice_text("two"), NULL, (struct slice){0});
    batch_end(&m, -1, -1, -1);
    for (size_t i = 0; i < size_bytes; i++)
        out->data[at + i] = (uint8_t)(value >> (8 * (size_bytes - 1 - i)));
    if (at != 17)
        put_be32(out->data + 17, crc32c(0, out->data + BATCH_CRC_FROM, out->len - BATCH_CRC_FROM));
}

static const struct kafka_produce_response_partition *produce(struct kafka_caller *caller, int16_t version,
                                                              struct slice records, struct slice transaction)
{
    struct kafka_produce_request_partition part = {.index = 0, .records = records};
    struct kafka_produce_request_topic topic = {.name = slice_text("batches")};
    topic.partition_data.at = &part;
    topic.partition_data.count = 1;
    struct kafka_produce_request ask = {.acks = -1, .timeout_ms = REPLY_MS, .transactional_id = transaction};
    ask.topic_data.at = &topic;
    ask.topic_data.count = 1;
    const struct kafka_produce_response *answer = caller_ask(caller, KAFKA_PRODUCE, version, &ask);
    CU_ASSERT_EQUAL_FATAL(answer->responses.count, 1);
    return &answer->responses.at[0].partition_responses.at[0];
}

static void bad_batches_are_refused_and_leave_nothing(void)
{
    static const struct {
        size_t at, size_bytes;
        uint64_t value;
        int16_t code;
    } rows[] = {
        {0, 8, 1, KAFKA_ERR_INVALID_RECORD},          /* base offset */
        {8, 4, 0x7fffffff, KAFKA_ERR_INVALID_RECORD}, /* length beyond the frame */
        {8, 4, 0xfffffff0, KAFKA_ERR_INVALID_RECORD}, /* negative */
        {8, 4, 49, KAFKA_ERR_INVALID_RECORD},         /* a header alone, and bytes behind it */
        {16, 1, 0, KAFKA_ERR_INVALID_RECORD},         /* message sets of old */
        {16, 1, 1, KAFKA_ERR_INVALID_RECORD},
        {16, 1, 3, KAFKA_ERR_INVALID_RECORD},
        {17, 4, 0, KAFKA_ERR_CORRUPT_MESSAGE},
        {21, 2, 0x20, KAFKA_ERR_INVALID_RECORD},    /* control */
        {21, 2, 0x30, KAFKA_ERR_INVALID_RECORD},    /* control of a transaction */
        {21, 2, 0x10, KAFKA_ERR_INVALID_TXN_STATE}, /* a transaction that nobody began */
        {21, 2, 0x07, KAFKA_ERR_UNSUPPORTED_COMPRESSION_TYPE},
        {23, 4, 0, KAFKA_ERR_INVALID_RECORD}, /* last offset delta */
        {23, 4, 0x7fffffff, KAFKA_ERR_INVALID_RECORD},
        {43, 8, 12, KAFKA_ERR_INVALID_RECORD}, /* a producer without sequence */
        {57, 4, 0, KAFKA_ERR_INVALID_RECORD},  /* counts */
        {57, 4, 1, KAFKA_ERR_INVALID_RECORD},
        {57, 4, 3, KAFKA_ERR_INVALID_RECORD},
        {57, 4, 0x80000000, KAFKA_ERR_INVALID_RECORD},
        {61, 1, 0x7e, KAFKA_ERR_INVALID_RECORD}, /* a record longer than the batch */
    };
    struct client *line = kafka_session();
    client_close(&line);
    line = client_open(daemon_port(shared));
    topic_make(line, "batches", 1, "");
    struct kafka_caller *caller = caller_open(daemon_kafka_port(shared));
    struct buf batch;
    for (int16_t version = 3; version <= 11; version++) {
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            make_batch(&batch, rows[i].at, rows[i].size_bytes, rows[i].value);
            int16_t code = produce(caller, version, slice_of(batch.data, batch.len), (struct slice){0})->error_code;
            if (code != rows[i].code)
                printf("\n    version %d, row %zu: %d instead of %d", version, i, code, rows[i].code);
            CU_ASSERT_EQUAL(code, rows[i].code);
            buf_fini(&batch);
        }
        CU_ASSERT_EQUAL(produce(caller, version, slice_of("", 0), (struct slice){0})->error_code,
                        KAFKA_ERR_INVALID_RECORD);
    }
    CU_ASSERT_EQUAL(partition_end(line, "batches", 0), 0);
    make_batch(&batch, 0, 0, 0);
    CU_ASSERT_EQUAL(produce(caller, 9, slice_of(batch.data, batch.len), slice_text("tx"))->error_code,
                    KAFKA_ERR_INVALID_TXN_STATE);
    CU_ASSERT_EQUAL(produce(caller, 0, slice_of(batch.data, batch.len), (struct slice){0})->error_code,
                    KAFKA_ERR_UNSUPPORTED_VERSION);
    CU_ASSERT_EQUAL(produce(caller, 9, slice_of(batch.data, batch.len), (struct slice){0})->base_offset, 0);
    CU_ASSERT_EQUAL(partition_end(line, "batches", 0), 2);
    buf_fini(&batch);
    caller_close(&caller);
    client_close(&line);
}

/* ---- flipped bits ------------------------------------------------------------------------ */

/* A recorded frame, its size before it. */
struct frame {
    uint8_t bytes[LINE_BYTES / 2];
    size_t len;
};

static bool read_frame(FILE *file, struct frame *frame)
{
    static char line[LINE_BYTES];
    int key, version, hex_at = 0;
    do
        if (fgets(line, sizeof(line), file) == NULL)
            return false;
    while (sscanf(line, "frame %d %d %n", &key, &version, &hex_at) != 2);
    frame->len = 4;
    for (const char *hex = line + hex_at; hex[0] != '\0' && hex[0] != '\n'; hex += 2) {
        char pair[3] = {hex[0], hex[1], '\0'};
        frame->bytes[frame->len++] = (uint8_t)strtoul(pair, NULL, 16);
    }
    put_be32(frame->bytes, (uint32_t)(frame->len - 4));
    return true;
}

static FILE *frames_open(void)
{
    char path[PATH_BYTES];
    const char *srcdir = getenv("srcdir");
    (void)snprintf(path, sizeof(path), "%s/tests/data/kafka/clients.txt", srcdir != NULL ? srcdir : ".");
    FILE *file = fopen(path, "re");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    return file;
}

/* Sends it and says that no more will come; whatever is answered, the connection ends. */
static bool throw(const struct frame *frame)
{
    static char answer[1 << 16];
    struct client *c = kafka_session();
    struct timeval patience = {.tv_sec = REPLY_MS / 1000};
    (void)setsockopt(client_fd(c), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    (void)send(client_fd(c), frame->bytes, frame->len, MSG_NOSIGNAL);
    (void)shutdown(client_fd(c), SHUT_WR);
    ssize_t n;
    int got_bytes = 0;
    while ((n = recv(client_fd(c), answer, sizeof(answer), 0)) > 0 || (n < 0 && errno == EINTR))
        got_bytes += n > 0 ? (int)n : 0;
    bool ended = n == 0 || errno == ECONNRESET;
    struct linger now = {1, 0};
    (void)setsockopt(client_fd(c), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    client_close(&c);
    return ended && got_bytes < (64 << 20);
}

/* Every bit of every frame. */
static void flipped_bits_of_real_frames_harm_nothing(void)
{
    static struct frame frame;
    struct client *first = kafka_session();
    client_close(&first);
    FILE *file = frames_open();
    int64_t before = memory_kib();
    int rows = 0;
    for (; read_frame(file, &frame); rows++) {
        for (size_t bit = 0; bit < frame.len * 8; bit++) {
            frame.bytes[bit / 8] = (uint8_t)(frame.bytes[bit / 8] ^ 1 << bit % 8);
            bool ended = throw(&frame);
            if (!ended)
                printf("\n    frame %d, bit %zu: its connection stays", rows, bit);
            CU_ASSERT_FATAL(ended);
            frame.bytes[bit / 8] = (uint8_t)(frame.bytes[bit / 8] ^ 1 << bit % 8);
        }
    }
    (void)fclose(file);
    CU_ASSERT(rows > 50);
    expect_unharmed();
    expect_memory_near(daemon_pid(shared), before);
}

static void it_stops_cleanly_after_all_this(void)
{
    struct client *c = kafka_session();
    client_close(&c);
    daemon_end(&shared);
}

static const struct unit_case cases[] = {
    {"bytes that are no request end their connection", bytes_that_are_no_request_end_their_connection},
    {"an unknown version of ApiVersions is answered", an_unknown_version_of_api_versions_is_answered},
    {"announced frames cost nothing until they come", announced_frames_cost_nothing_until_they_come},
    {"answers that nobody reads are bounded", answers_that_nobody_reads_are_bounded},
    {"who waits and goes away holds nothing", who_waits_and_goes_away_holds_nothing},
    {"bad batches are refused and leave nothing", bad_batches_are_refused_and_leave_nothing},
    {"a crowd of large members is bounded", a_crowd_of_large_members_is_bounded},
    {"flipped bits of real frames harm nothing", flipped_bits_of_real_frames_harm_nothing},
    {"it stops cleanly after all this", it_stops_cleanly_after_all_this},
};

E2E_MAIN("Kafka clients that behave badly", cases)
