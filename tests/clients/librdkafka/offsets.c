/* Where a reader begins, seeks to and has committed; times; and how all that outlives brokers. */
#include "cases.h"

#include <stdio.h>
#include <time.h>

static void want_next(rd_kafka_t *reader, int number)
{
    rd_kafka_message_t *m = next_message(reader);
    if (m == NULL)
        fail("the end, where %d was wanted", number);
    want_int(number, number_in(m), "the next message");
    rd_kafka_message_destroy(m);
}

static void seek_to(rd_kafka_t *reader, const char *topic, int64_t offset)
{
    rd_kafka_topic_partition_list_t *to = place(topic, 0, offset);
    rd_kafka_error_t *error = rd_kafka_seek_partitions(reader, to, PATIENCE_MS);
    if (error != NULL)
        fail("seek: %s", rd_kafka_error_string(error));
    want_ok(to->elems[0].err, "seek");
    rd_kafka_topic_partition_list_destroy(to);
}

static void readers_seek(void)
{
    const char *topic = topic_new("seek", 1);
    send_numbers(topic, 0, 199, "batch.num.messages=7");
    rd_kafka_t *reader = reader_of(topic, 50, "auto.offset.reset=earliest");
    want_next(reader, 50);
    seek_to(reader, topic, 3);
    want_next(reader, 3);
    seek_to(reader, topic, 197);
    want_next(reader, 197);
    want_next(reader, 198);
    want_next(reader, 199);
    WANT(next_message(reader) == NULL);
    seek_to(reader, topic, RD_KAFKA_OFFSET_TAIL(2));
    want_next(reader, 198);
    seek_to(reader, topic, RD_KAFKA_OFFSET_BEGINNING);
    want_next(reader, 0);
    seek_to(reader, topic, 100000); /* beyond the end: auto.offset.reset */
    want_next(reader, 0);
    int64_t low = -1, high = -1;
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    for (int tries = 0; tries < 100 && err == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; tries++) {
        err = rd_kafka_query_watermark_offsets(reader, topic, 0, &low, &high, PATIENCE_MS);
        if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
            (void)rd_kafka_poll(reader, 100);
    }
    want_ok(err, "watermarks");
    want_int(0, low, "low");
    want_int(200, high, "high");
    rd_kafka_destroy(reader);
}

/* The leader may have just changed: then it is asked again. */
static int64_t offset_at(rd_kafka_t *reader, const char *topic, int64_t time_ms)
{
    rd_kafka_topic_partition_list_t *at = place(topic, 0, time_ms);
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    for (int tries = 0; tries < 100 && err == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; tries++) {
        at->elems[0].offset = time_ms;
        err = rd_kafka_offsets_for_times(reader, at, PATIENCE_MS);
        if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
            err = at->elems[0].err;
        if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
            (void)rd_kafka_poll(reader, 100);
    }
    want_ok(err, "offset for a time");
    int64_t offset = at->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(at);
    return offset;
}

static void offsets_for_times(void)
{
    const char *topic = topic_new("times", 1);
    int64_t first = (int64_t)time(NULL) * 1000 - 3600000; /* much older ones may be deleted at once */
    rd_kafka_t *producer = producer_of("compression.codec=lz4 linger.ms=50"); /* one batch: a time inside it */
    for (int64_t i = 0; i < 10; i++)
        want_ok(rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_TIMESTAMP(first + 1000 * i),
                                  RD_KAFKA_V_VALUE("x", 1), RD_KAFKA_V_END),
                "produce");
    producer_done(producer);
    rd_kafka_t *reader = reader_of(topic, 0, "");
    want_int(0, offset_at(reader, topic, 1), "before all");
    want_int(4, offset_at(reader, topic, first + 4000), "at a message's");
    want_int(5, offset_at(reader, topic, first + 4001), "between two");
    want_int(RD_KAFKA_OFFSET_END, offset_at(reader, topic, first + 10000), "after all");
    rd_kafka_timestamp_type_t type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    rd_kafka_message_t *m = next_message(reader);
    WANT(m != NULL);
    want_int(first, rd_kafka_message_timestamp(m, &type), "time");
    want_int(RD_KAFKA_TIMESTAMP_CREATE_TIME, type, "type of time");
    rd_kafka_message_destroy(m);
    rd_kafka_destroy(reader);
}

static int64_t committed(const char *topic, const char *options, const char *metadata)
{
    rd_kafka_t *reader = reader_of(topic, 0, options);
    rd_kafka_topic_partition_list_t *at = place(topic, 0, 0);
    want_ok(rd_kafka_committed(reader, at, PATIENCE_MS), "committed");
    want_ok(at->elems[0].err, "committed");
    if (metadata != NULL && (at->elems[0].metadata_size != strlen(metadata) ||
                             memcmp(at->elems[0].metadata, metadata, strlen(metadata)) != 0))
        fail("the commit's metadata is not %s", metadata);
    int64_t offset = at->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(at);
    rd_kafka_destroy(reader);
    return offset;
}

static void commits_outlive_all_brokers_death(void)
{
    static char metadata[] = "forty-two";
    const char *topic = topic_new("commit", 1);
    send_numbers(topic, 0, 99, "");
    want_int(RD_KAFKA_OFFSET_INVALID, committed(topic, "group.id=rdk-commit", NULL), "before the first commit");
    rd_kafka_t *reader = reader_of(topic, 0, "group.id=rdk-commit");
    rd_kafka_topic_partition_list_t *at = place(topic, 0, 42);
    at->elems[0].metadata = strdup(metadata);
    at->elems[0].metadata_size = strlen(metadata);
    want_ok(rd_kafka_commit(reader, at, 0), "commit");
    rd_kafka_topic_partition_list_destroy(at);
    rd_kafka_destroy(reader);
    (void)command("KQ_FAULT", "kill-all");
    (void)command("KQ_FAULT", "restart");
    want_int(42, committed(topic, "group.id=rdk-commit", metadata), "after it");
    reader = reader_of(topic, RD_KAFKA_OFFSET_STORED, "group.id=rdk-commit");
    want_next(reader, 42);
    rd_kafka_destroy(reader);
    want_numbers(topic, 0, 99);
}

const struct one_case offset_cases[] = {
    {"readers seek", readers_seek, 0},
    {"offsets for times", offsets_for_times, 0},
    {"commits outlive all brokers' death", commits_outlive_all_brokers_death, 0},
    {NULL, NULL, 0},
};
