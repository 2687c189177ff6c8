/*
 * Groups: members join, leave, die and come back, and each partition is read by exactly one.
 * All members of a case are polled by its one thread; librdkafka beats for them by threads of
 * its own. A member that dies is ended without a word to the group.
 */
#include "cases.h"

#include <stdio.h>

enum { PARTITIONS = 6, MEMBERS = 4, VALUES = 400 };

struct member {
    rd_kafka_t *client; /* NULL: not there */
    bool has[PARTITIONS];
    int rebalances; /* times that it was given or lost something */
    int lost;       /* partitions that it ever had to give back */
};

struct team {
    const char *topic, *options;
    struct member members[MEMBERS];
    int read[VALUES]; /* how often that value was read, by all together */
};

static void note(struct member *m, const rd_kafka_topic_partition_list_t *list, bool has)
{
    for (int i = 0; i < list->cnt; i++) {
        m->has[list->elems[i].partition] = has;
        m->lost += !has;
    }
    m->rebalances++;
}

static void rebalance(rd_kafka_t *client, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list, void *arg)
{
    bool given = err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    note(arg, list, given);
    if (strcmp(rd_kafka_rebalance_protocol(client), "COOPERATIVE") == 0) {
        rd_kafka_error_t *error =
            given ? rd_kafka_incremental_assign(client, list) : rd_kafka_incremental_unassign(client, list);
        if (error != NULL)
            fail("incremental assignment: %s", rd_kafka_error_string(error));
    } else {
        want_ok(rd_kafka_assign(client, given ? list : NULL), "assign");
    }
}

static void join(struct team *t, int who, const char *more)
{
    struct member *m = &t->members[who];
    char options[512];
    (void)snprintf(options, sizeof(options),
                   "group.id=%s enable.auto.commit=false auto.offset.reset=earliest session.timeout.ms=1500 "
                   "heartbeat.interval.ms=200 topic.metadata.refresh.interval.ms=1000 %s %s",
                   t->topic, t->options, more);
    rd_kafka_conf_t *conf = conf_of(options);
    *m = (struct member){0};
    rd_kafka_conf_set_opaque(conf, m);
    rd_kafka_conf_set_rebalance_cb(conf, rebalance);
    m->client = client_of(RD_KAFKA_CONSUMER, conf);
    (void)rd_kafka_poll_set_consumer(m->client);
    rd_kafka_topic_partition_list_t *topics = place(t->topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_OFFSET_INVALID);
    want_ok(rd_kafka_subscribe(m->client, topics), "subscribe");
    rd_kafka_topic_partition_list_destroy(topics);
}

static void leave(struct team *t, int who)
{
    struct member *m = &t->members[who];
    want_ok(rd_kafka_consumer_close(m->client), "close");
    rd_kafka_destroy(m->client);
    *m = (struct member){0};
}

static void die(struct team *t, int who)
{
    struct member *m = &t->members[who];
    rd_kafka_destroy_flags(m->client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    *m = (struct member){0};
}

/* A turn for each member: what it reads is committed at once. */
static void turn(struct team *t)
{
    for (struct member *m = t->members; m < t->members + MEMBERS; m++) {
        rd_kafka_message_t *got = m->client != NULL ? rd_kafka_consumer_poll(m->client, 10) : NULL;
        if (got == NULL)
            continue;
        if (got->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            int value = number_in(got);
            WANT(value >= 0 && value < VALUES);
            t->read[value]++;
            WANT(m->has[got->partition]);
            want_ok(rd_kafka_commit_message(m->client, got, 0), "commit");
        }
        rd_kafka_message_destroy(got);
    }
}

/* Each partition is with exactly one, and no member goes without. */
static bool is_shared(const struct team *t)
{
    int owners[PARTITIONS] = {0};
    for (const struct member *m = t->members; m < t->members + MEMBERS; m++) {
        int count = 0;
        for (int p = 0; p < PARTITIONS; p++) {
            owners[p] += m->has[p];
            count += m->has[p];
        }
        if (m->client != NULL && count == 0)
            return false;
    }
    for (int p = 0; p < PARTITIONS; p++)
        if (owners[p] != 1)
            return false;
    return true;
}

static void settle(struct team *t, const char *what)
{
    int64_t until = now_ms() + PATIENCE_MS;
    while (!is_shared(t)) {
        turn(t);
        if (now_ms() > until)
            fail("the partitions are not shared out %s", what);
    }
}

/* Values `from` to `to`, spread over the partitions, are each read exactly once. */
static void read_once(struct team *t, int from, int to, const char *what)
{
    rd_kafka_t *producer = producer_of("");
    for (int i = from; i <= to; i++)
        send_number_to(producer, t->topic, i % PARTITIONS, i);
    producer_done(producer);
    int64_t until = now_ms() + PATIENCE_MS;
    for (int i = from; i <= to; i++)
        while (t->read[i] == 0) {
            turn(t);
            if (now_ms() > until)
                fail("value %d was not read %s", i, what);
        }
    for (int i = 0; i <= to; i++)
        want_int(1, t->read[i], what);
}

static void three_members(const char *name, const char *options)
{
    struct team t = {.topic = topic_new(name, PARTITIONS), .options = options};
    join(&t, 0, "");
    settle(&t, "to one");
    read_once(&t, 0, 59, "by one");
    join(&t, 1, "");
    join(&t, 2, "");
    settle(&t, "to three");
    read_once(&t, 60, 119, "by three");
    if (strstr(options, "cooperative") != NULL)
        WANT(t.members[0].lost < PARTITIONS); /* it kept some all the time */
    die(&t, 0);
    settle(&t, "after a death");
    read_once(&t, 120, 179, "after a death");
    leave(&t, 1);
    settle(&t, "after one has left");
    read_once(&t, 180, 239, "after one has left");
    leave(&t, 2);
    join(&t, 3, "");
    settle(&t, "to one that comes when all are gone");
    read_once(&t, 240, 299, "by one that comes when all are gone");
    leave(&t, 3);
}

static void with_range(void)
{
    three_members("range", "partition.assignment.strategy=range");
}

static void with_roundrobin(void)
{
    three_members("roundrobin", "partition.assignment.strategy=roundrobin");
}

static void with_cooperative_sticky(void)
{
    three_members("cooperative", "partition.assignment.strategy=cooperative-sticky");
}

static int coordinator_of(const char *group)
{
    size_t count = 0;
    struct asked a = ask_begin();
    rd_kafka_DescribeConsumerGroups(a.client, &group, 1, a.options, a.queue);
    const rd_kafka_ConsumerGroupDescription_t **all = rd_kafka_DescribeConsumerGroups_result_groups(
        rd_kafka_event_DescribeConsumerGroups_result(ask_end(&a, 0)), &count);
    want_int(1, (int64_t)count, "groups");
    const rd_kafka_Node_t *node = rd_kafka_ConsumerGroupDescription_coordinator(all[0]);
    WANT(node != NULL);
    return rd_kafka_Node_id(node);
}

/* What is stable is replicated: members go on at the next coordinator. */
static void a_group_outlives_its_coordinator(void)
{
    struct team t = {.topic = topic_new("coordinator", PARTITIONS), .options = "session.timeout.ms=6000"};
    for (int i = 0; i < 3; i++)
        join(&t, i, "");
    settle(&t, "to three");
    read_once(&t, 0, 59, "by three");
    for (int round = 1; round <= 2; round++) {
        (void)command("KQ_FAULT", "kill %d", coordinator_of(t.topic));
        settle(&t, "when the coordinator is dead");
        read_once(&t, 60 * round, 60 * round + 59, "when the coordinator is dead");
        (void)command("KQ_FAULT", "restart");
    }
}

/* ---- static members ---------------------------------------------------------------------------- */

static void static_members_come_back(void)
{
    static const char *const names[] = {"group.instance.id=a", "group.instance.id=b", "group.instance.id=c"};
    struct team t = {.topic = topic_new("static", PARTITIONS), .options = "session.timeout.ms=3000"};
    for (int i = 0; i < 3; i++)
        join(&t, i, names[i]);
    settle(&t, "to three");
    read_once(&t, 0, 59, "by three");
    bool had[PARTITIONS];
    memcpy(had, t.members[0].has, sizeof(had));
    int before = t.members[1].rebalances + t.members[2].rebalances;
    leave(&t, 0); /* a static member's close says nothing to the group */
    join(&t, 0, names[0]);
    settle(&t, "when one has come back");
    read_once(&t, 60, 119, "when one has come back");
    WANT(memcmp(had, t.members[0].has, sizeof(had)) == 0);
    want_int(before, t.members[1].rebalances + t.members[2].rebalances, "rebalances of the others");
    die(&t, 1); /* for good: its session ends */
    settle(&t, "when one is gone for good");
    read_once(&t, 120, 179, "when one is gone for good");
}

static void a_second_with_one_name_fences_the_first(void)
{
    const char *topic = topic_new("fence", 1);
    char text[256];
    struct team t = {.topic = topic, .options = "group.instance.id=twin"};
    rd_kafka_conf_t *conf = conf_of("group.id=rdk-fence group.instance.id=twin session.timeout.ms=6000 "
                                    "heartbeat.interval.ms=100");
    rd_kafka_t *first = client_of(RD_KAFKA_CONSUMER, conf);
    rd_kafka_topic_partition_list_t *topics = place(topic, RD_KAFKA_PARTITION_UA, 0), *assigned = NULL;
    want_ok(rd_kafka_subscribe(first, topics), "subscribe");
    int64_t until = now_ms() + PATIENCE_MS;
    for (int count = 0; count == 0;) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(first, 10);
        if (m != NULL)
            rd_kafka_message_destroy(m);
        want_ok(rd_kafka_assignment(first, &assigned), "assignment");
        count = assigned->cnt;
        rd_kafka_topic_partition_list_destroy(assigned);
        if (now_ms() > until)
            fail("the first was assigned nothing");
    }
    join(&t, 0, "");
    while (rd_kafka_fatal_error(first, text, sizeof(text)) != RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID) {
        turn(&t);
        if (now_ms() > until)
            fail("the first was not fenced");
    }
}

const struct one_case group_cases[] = {
    {"a group of three, range", with_range, 1},
    {"a group of three, roundrobin", with_roundrobin, 3},
    {"a group of three, cooperative-sticky", with_cooperative_sticky, 0},
    {"a group outlives its coordinator, twice", a_group_outlives_its_coordinator, 3},
    {"static members come back to what they had", static_members_come_back, 0},
    {"a second member with one name fences the first", a_second_with_one_name_fences_the_first, 0},
    {NULL, NULL, 0},
};
