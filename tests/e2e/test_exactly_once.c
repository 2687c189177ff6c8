/*
 * PRID and PUBX: a publish that is sent again is stored once, a gap and an old
 * epoch are refused, and a restart forgets none of it.
 */
#include "e2e/e2e.h"
#include "e2e/scenario.h"

static struct daemon *shared;

static struct client *session(void)
{
    if (shared == NULL)
        shared = daemon_fresh("once");
    return client_open(daemon_port(shared));
}

static int64_t producer(struct client *c)
{
    struct json j = json_open(client_ask(c, "PRID"));
    int64_t id = json_number(&j, "Data.Id");
    CU_ASSERT_EQUAL(json_number(&j, "Data.Epoch"), 0);
    json_close(&j);
    CU_ASSERT_FATAL(id >= 0);
    return id;
}

/* PUBX of {"Body":"m-SEQUENCE"}. */
static const char *pubx(struct client *c, const char *topic, int64_t id, int epoch, int sequence)
{
    return client_ask(c, "PUBX %s 0 %lld %d %d {\"Body\":\"m-%d\"}", topic, (long long)id, epoch, sequence, sequence);
}

static void expect_once(struct client *c, const char *topic, int count)
{
    char id[ID_BYTES], group[32];
    static int groups;
    (void)snprintf(group, sizeof(group), "reader-%d", groups++);
    subscribe(c, topic, group, id);
    expect_range(c, topic, id, 0, "m", 0, count);
    REPLY_IS(client_ask(c, "UNSB %s %s", topic, id), "Done");
}

static void every_producer_gets_an_id_of_its_own(void)
{
    struct client *c = session();
    int64_t a = producer(c), b = producer(c);
    CU_ASSERT_NOT_EQUAL(a, b);
    client_close(&c);
}

static void what_is_sent_again_is_stored_once(void)
{
    struct client *c = session();
    topic_make(c, "again", 1, "");
    int64_t id = producer(c);
    for (int s = 0; s < 10; s++) {
        REPLY_IS(pubx(c, "again", id, 0, s), "Done");
        REPLY_IS(pubx(c, "again", id, 0, s), "Done");
    }
    REPLY_IS(pubx(c, "again", id, 0, 8), "Done");
    REPLY_IS(pubx(c, "again", id, 0, 9), "Done");
    expect_once(c, "again", 10);
    client_close(&c);
}

static void five_in_flight_are_stored_once_each_in_order(void)
{
    char line[128];
    struct client *c = session();
    topic_make(c, "five", 1, "");
    int64_t id = producer(c);
    for (int round = 0; round < 20; round++) {
        for (int twice = 0; twice < 2; twice++)
            for (int k = 0; k < 5; k++) {
                int s = round * 5 + k;
                (void)snprintf(line, sizeof(line), "PUBX five 0 %lld 0 %d {\"Body\":\"m-%d\"}\n", (long long)id, s, s);
                CU_ASSERT(client_send_text(c, line));
            }
        for (int k = 0; k < 10; k++)
            REPLY_IS(client_reply(c), "Done");
    }
    expect_once(c, "five", 100);
    client_close(&c);
}

static void a_gap_is_refused_and_what_fills_it_goes_on(void)
{
    struct client *c = session();
    topic_make(c, "gap", 1, "");
    int64_t id = producer(c);
    REPLY_IS(pubx(c, "gap", id, 0, 0), "Done");
    REPLY_REFUSES(pubx(c, "gap", id, 0, 2), "sequence gap");
    REPLY_IS(pubx(c, "gap", id, 0, 1), "Done");
    REPLY_IS(pubx(c, "gap", id, 0, 2), "Done");
    expect_once(c, "gap", 3);
    client_close(&c);
}

static void an_older_epoch_is_fenced(void)
{
    struct client *c = session();
    topic_make(c, "fence", 1, "");
    int64_t id = producer(c);
    REPLY_IS(pubx(c, "fence", id, 0, 0), "Done");
    REPLY_IS(client_ask(c, "PUBX fence 0 %lld 1 0 {\"Body\":\"m-1\"}", (long long)id), "Done");
    REPLY_REFUSES(pubx(c, "fence", id, 0, 1), "fenced");
    REPLY_IS(client_ask(c, "PUBX fence 0 %lld 1 1 {\"Body\":\"m-2\"}", (long long)id), "Done");
    expect_once(c, "fence", 3);
    client_close(&c);
}

static void pubx_refuses_what_has_no_sense(void)
{
    struct client *c = session();
    topic_make(c, "sense", 2, "");
    int64_t id = producer(c);
    REPLY_REFUSES(client_ask(c, "PUBX"), "");
    REPLY_REFUSES(client_ask(c, "PUBX sense 0 %lld 0 0", (long long)id), "message is required field");
    REPLY_REFUSES(client_ask(c, "PUBX sense 2 %lld 0 0 {\"Body\":\"x\"}", (long long)id), "partition");
    REPLY_REFUSES(client_ask(c, "PUBX sense x %lld 0 0 {\"Body\":\"x\"}", (long long)id), "partition");
    REPLY_REFUSES(client_ask(c, "PUBX sense 0 %lld 0 -1 {\"Body\":\"x\"}", (long long)id), "sequence");
    REPLY_REFUSES(client_ask(c, "PUBX sense 0 %lld 0 0 plain", (long long)id), "JSON");
    /* An id that nobody was given: its later owner's first messages would be taken for these. */
    REPLY_REFUSES(client_ask(c, "PUBX sense 0 %lld 0 0 {\"Body\":\"x\"}", (long long)id + 1), "never given");
    REPLY_REFUSES(client_ask(c, "PUBX sense 0 %lld 0 0 {\"Body\":\"x\"}", (long long)id + 1000000), "never given");
    REPLY_REFUSES(client_ask(c, "PUBX never 0 %lld 0 0 {\"Body\":\"x\"}", (long long)id), "does not exist");
    REPLY_IS(client_ask(c, "PUBX sense 1 %lld 0 0 {\"Body\":\"x\"}", (long long)id), "Done");
    CU_ASSERT_EQUAL(partition_end(c, "sense", 1), 1);
    CU_ASSERT_EQUAL(partition_end(c, "sense", 0), 0);
    client_close(&c);
}

static void sequences_are_each_partitions_own(void)
{
    struct client *c = session();
    topic_make(c, "own", 2, "");
    int64_t id = producer(c);
    for (int p = 0; p < 2; p++)
        for (int s = 0; s < 3; s++)
            REPLY_IS(client_ask(c, "PUBX own %d %lld 0 %d {\"Body\":\"x\"}", p, (long long)id, s), "Done");
    CU_ASSERT_EQUAL(partition_end(c, "own", 0), 3);
    CU_ASSERT_EQUAL(partition_end(c, "own", 1), 3);
    client_close(&c);
}

static void survives(bool killed)
{
    struct daemon_spec spec = {.dir = temp_folder("survive")};
    struct daemon *d = daemon_start(&spec);
    struct client *c = client_open(daemon_port(d));
    topic_make(c, "kept", 1, " segment.bytes=65536");
    int64_t id = producer(c);
    int s = 0;
    for (int round = 0; round < 3; round++) {
        for (int k = 0; k < 300; k++, s++)
            REPLY_IS(pubx(c, "kept", id, 0, s), "Done");
        publish_range(c, "kept", "noise", 0, round == 1 ? 200 : 0, 1000); /* rolls: the state is in a footer */
        client_close(&c);
        if (killed)
            daemon_kill(&d);
        else
            daemon_end(&d);
        d = daemon_start(&spec);
        c = client_open(daemon_port(d));
        int64_t end = partition_end(c, "kept", 0);
        REPLY_IS(pubx(c, "kept", id, 0, s - 1), "Done"); /* the last one once more */
        CU_ASSERT_EQUAL(partition_end(c, "kept", 0), end);
        REPLY_REFUSES(pubx(c, "kept", id, 0, s + 1), "sequence gap");
        CU_ASSERT(producer(c) != id);
    }
    CU_ASSERT_EQUAL(partition_end(c, "kept", 0), 1100);
    client_close(&c);
    daemon_end(&d);
}

static void a_restart_forgets_no_producer(void)
{
    survives(false);
}

static void a_kill_forgets_no_producer(void)
{
    survives(true);
}

static void it_stops_cleanly(void)
{
    if (shared != NULL)
        daemon_end(&shared);
}

static const struct unit_case cases[] = {
    {"every producer gets an id of its own", every_producer_gets_an_id_of_its_own},
    {"what is sent again is stored once", what_is_sent_again_is_stored_once},
    {"five in flight are stored once each, in order", five_in_flight_are_stored_once_each_in_order},
    {"a gap is refused and what fills it goes on", a_gap_is_refused_and_what_fills_it_goes_on},
    {"an older epoch is fenced", an_older_epoch_is_fenced},
    {"PUBX refuses what has no sense", pubx_refuses_what_has_no_sense},
    {"sequences are each partition's own", sequences_are_each_partitions_own},
    {"a restart forgets no producer", a_restart_forgets_no_producer},
    {"a kill forgets no producer", a_kill_forgets_no_producer},
    {"it stops cleanly", it_stops_cleanly},
};

E2E_MAIN("exactly once", cases)
