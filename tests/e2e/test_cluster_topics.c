/*
 * Topics of a cluster: deleted and made again while a broker is away; more replicas than
 * there are brokers; a last replica; a majority that is gone.
 */
#include "e2e/cluster_case.h"

enum { PATH_BYTES = 512 };

/* All of PREFIX-0 ... PREFIX-(count - 1) of the one partition of `t`, and nothing else, as
 * broker `id` tells it. */
static void expect_all(const struct fleet *f, int id, const char *group, const char *prefix, int count)
{
    char subscription[ID_BYTES];
    struct client *c = fleet_client(f, id);
    subscribe(c, "t", group, subscription);
    expect_range(c, "t", subscription, 0, prefix, 0, count);
    client_close(&c);
}

struct leftover {
    const struct fleet *fleet;
    int id;
    const char *text;
};

static bool is_forgotten(void *arg)
{
    const struct leftover *l = arg;
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s/t-0", fleet_dir(l->fleet, l->id));
    return !folder_holds(path, l->text, strlen(l->text));
}

static void a_broker_is_away_while_a_topic_is_deleted_and_made_again(void)
{
    struct fleet *f = fleet_with_topic(3, 1, NULL, false);
    struct client *c = fleet_client(f, 1);
    publish_range(c, "t", "before", 0, 200, 20);
    CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    fleet_kill(f, 3);
    REPLY_IS(client_ask(c, "DELE t"), "Done");
    REPLY_REFUSES(client_ask(c, "PUBS t {\"Body\":\"x\"}"), "topic does not exist");
    topic_make(c, "t", 1, "");
    publish_range(c, "t", "again", 0, 100, 20);
    client_close(&c);
    fleet_start(f, 3);
    CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    for (int id = 1; id <= 3; id++)
        expect_all(f, id, id == 1 ? "one" : id == 2 ? "two" : "three", "again", 100);
    /* What it held of the first topic is gone from the partition's folder: deleted, or put
     * aside if the second topic was heard of first. */
    struct leftover l = {f, 3, "before-17"};
    CU_ASSERT(wait_until(is_forgotten, &l, WHOLE_MS));
    /* And it takes part in the second: with it alone beside another one, all goes on. */
    fleet_kill(f, 1);
    c = fleet_client(f, 3);
    publish_range(c, "t", "again", 100, 150, 20);
    client_close(&c);
    expect_all(f, 3, "four", "again", 150);
    fleet_drop(&f);
}

static void more_replicas_than_brokers_are_refused(void)
{
    struct fleet *f = fleet_with_topic(3, 1, NULL, false);
    struct client *c = fleet_client(f, 2);
    const char *reply = client_ask(c, "CRTP wide 1 4");
    REPLY_REFUSES(reply, "replica");
    REPLY_HOLDS(reply, "3");
    REPLY_IS(client_ask(c, "CRTP narrow 1 2"), "Done");
    struct json j = json_open(client_ask(c, "DESC narrow"));
    CU_ASSERT_EQUAL(json_count(&j, "Data.Partitions.0.Replicas"), 2);
    json_close(&j);
    j = json_open(client_ask(c, "DESC t")); /* the default: 3, or as many as there are brokers */
    CU_ASSERT_EQUAL(json_count(&j, "Data.Partitions.0.Replicas"), 3);
    json_close(&j);
    client_close(&c);
    fleet_end(&f);
}

/* Until the controller knows that this broker is dead, it is refused for being alive. */
static const char *remove_dead(struct client *c, int broker)
{
    int64_t deadline_us = now_us() + (int64_t)GO_ON_MS * 1000;
    const char *reply = client_ask(c, "CLUS REMOVE %d", broker);
    while (strstr(reply, "drain it first") != NULL && now_us() < deadline_us)
        reply = client_ask(c, "CLUS REMOVE %d", broker);
    return reply;
}

static void the_broker_with_a_last_replica_is_not_removed(void)
{
    struct fleet *f = fleet_with_topic(3, 1, NULL, false);
    struct client *c = fleet_client(f, 1);
    REPLY_IS(client_ask(c, "CRTP lonely 1 1"), "Done");
    publish_range(c, "lonely", "m", 0, 20, 0);
    int holder = fleet_leader(f, 1, "lonely", 0, GO_ON_MS);
    CU_ASSERT_FATAL(holder >= 1 && holder <= 3);
    client_close(&c);
    c = fleet_client(f, holder % 3 + 1);
    REPLY_REFUSES(client_ask(c, "CLUS REMOVE %d", holder), "drain");
    fleet_kill(f, holder); /* nor when it is dead: its disk may have the only copy */
    REPLY_REFUSES(remove_dead(c, holder), "lonely");
    REPLY_REFUSES(client_ask(c, "CLUS REMOVE 9"), "9");
    client_close(&c);
    fleet_start(f, holder);
    CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    c = fleet_client(f, 1);
    char id[ID_BYTES];
    subscribe(c, "lonely", "g", id);
    expect_range(c, "lonely", id, 0, "m", 0, 20);
    client_close(&c);
    fleet_end(&f);
}

struct refusing {
    struct client *c;
    char reply[300];
};

static bool refuses_for_lack_of_replicas(void *arg)
{
    struct refusing *r = arg;
    (void)snprintf(r->reply, sizeof(r->reply), "%s", client_ask(r->c, "PUBS t {\"Body\":\"never\"}"));
    return strstr(r->reply, "not enough replicas") != NULL;
}

static bool publishes(void *arg)
{
    struct refusing *r = arg;
    (void)snprintf(r->reply, sizeof(r->reply), "%s", client_ask(r->c, "PUBS t {\"Body\":\"m-101\"}"));
    return strcmp(r->reply, "Done") == 0;
}

struct beats {
    struct client *c;
    int64_t until;
};

static bool have_gone(void *arg)
{
    const struct beats *b = arg;
    return info_number(b->c, "beats_out") >= b->until;
}

static void without_a_majority_publishes_are_refused_and_reads_go_on(void)
{
    struct fleet *f = fleet_with_topic(3, 1, "publish.timeout=3s", false);
    char id[ID_BYTES];
    int survivor = leader_of(f, 0, 0);
    struct client *c = fleet_client(f, survivor);
    publish_range(c, "t", "m", 0, 100, 0);
    subscribe(c, "t", "g", id);
    struct beats beats = {.c = c, .until = info_number(c, "beats_out") + 20};
    CU_ASSERT_FATAL(wait_until(have_gone, &beats, GO_ON_MS)); /* all were told of the subscription */
    for (int other = 1; other <= 3; other++)
        if (other != survivor)
            fleet_pause(f, other);
    /* It leads and hears nobody: this one was appended, and nobody can tell what becomes of it. */
    REPLY_REFUSES(client_ask(c, "PUBS t {\"Body\":\"m-100\"}"), "outcome unknown");
    for (int other = 1; other <= 3; other++)
        if (other != survivor)
            fleet_kill(f, other);
    struct refusing r = {.c = c};
    CU_ASSERT(wait_until(refuses_for_lack_of_replicas, &r, GO_ON_MS));
    int64_t begin_us = now_us();
    REPLY_REFUSES(client_ask(c, "PUBS t {\"Body\":\"never\"}"), "not enough replicas");
    CU_ASSERT(SANITIZED || now_us() - begin_us < 1000000); /* at once, not after the timeout */
    begin_us = now_us();
    REPLY_REFUSES(client_ask(c, "PUBS nowhere {\"Body\":\"never\"}"), "cannot be told now: of 3 brokers");
    CU_ASSERT(SANITIZED || now_us() - begin_us < 1000000);
    expect_range(c, "t", id, 0, "m", 0, 100);
    fleet_start_all(f);
    CU_ASSERT_FATAL(wait_until(publishes, &r, GO_ON_MS));
    CU_ASSERT(fleet_whole(f, 3, WHOLE_MS));
    REPLY_REFUSES(client_ask(c, "PUBS nowhere {\"Body\":\"never\"}"), "topic does not exist");
    /* The unknown one appears or does not; what was refused does not. */
    const char *reply = client_ask(c, "CONS t %s 100", id);
    CU_ASSERT_PTR_NULL(strstr(reply, "never"));
    CU_ASSERT_PTR_NOT_NULL(strstr(reply, "m-101"));
    client_close(&c);
    fleet_end(&f);
}

static bool refuses_as_lost(void *arg)
{
    struct client *c = arg;
    const char *reply = client_ask(c, "PUBS pair {\"Body\":\"never\"}");
    return strstr(reply, "not enough replicas") != NULL && strstr(reply, "lost for good") != NULL;
}

static int64_t replica_of(struct client *c, const char *topic, int at)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "Data.Partitions.0.Replicas.%d", at);
    struct json j = json_open(client_ask(c, "DESC %s", topic));
    int64_t broker = json_number(&j, path);
    json_close(&j);
    return broker;
}

/* Others whose leader was killed have one again. */
static bool is_lost_alone(void *c)
{
    struct json j = json_open(client_ask(c, "CLUS STATUS"));
    bool alone = json_number(&j, "Data.Totals.Lost") == 1 && json_number(&j, "Data.Totals.Leaderless") == 1;
    json_close(&j);
    return alone;
}

/* A disk with one of two replicas is lost. */
static void what_is_lost_for_good_refuses_at_once_and_is_named(void)
{
    struct fleet *f = fleet_with_topic(3, 1, NULL, false);
    struct client *c = fleet_client(f, 1);
    char id[ID_BYTES];
    REPLY_IS(client_ask(c, "CRTP pair 1 2"), "Done");
    publish_range(c, "pair", "m", 0, 20, 0);
    int lost = (int)replica_of(c, "pair", 0), left = (int)replica_of(c, "pair", 1);
    struct beats beats = {.c = c, .until = info_number(c, "beats_out") + 20};
    CU_ASSERT_FATAL(wait_until(have_gone, &beats, GO_ON_MS)); /* both know what is committed */
    client_close(&c);
    fleet_kill(f, lost);
    fleet_wipe(f, lost);
    fleet_start(f, lost);
    c = fleet_client(f, left);
    CU_ASSERT_FATAL(wait_until(refuses_as_lost, c, WHOLE_MS));
    int64_t begin_us = now_us();
    CU_ASSERT(refuses_as_lost(c));
    subscribe(c, "pair", "g", id);
    expect_range(c, "pair", id, 0, "m", 0, 20);
    CU_ASSERT(SANITIZED || now_us() - begin_us < 1000000);
    CU_ASSERT(wait_until(is_lost_alone, c, WHOLE_MS));
    /* All else goes on. */
    publish_range(c, "t", "m", 0, 20, 0);
    REPLY_IS(client_ask(c, "DELE pair"), "Done");
    REPLY_IS(client_ask(c, "CRTP pair 1 2"), "Done");
    publish_range(c, "pair", "m", 0, 20, 0);
    client_close(&c);
    CU_ASSERT(fleet_whole(f, 3, WHOLE_MS));
    fleet_end(&f);
}

static const struct unit_case cases[] = {
    {"a broker is away while a topic is deleted and made again",
     a_broker_is_away_while_a_topic_is_deleted_and_made_again},
    {"more replicas than brokers are refused", more_replicas_than_brokers_are_refused},
    {"the broker with a last replica is not removed", the_broker_with_a_last_replica_is_not_removed},
    {"without a majority publishes are refused and reads go on",
     without_a_majority_publishes_are_refused_and_reads_go_on},
    {"what is lost for good refuses at once and is named", what_is_lost_for_good_refuses_at_once_and_is_named},
};
E2E_MAIN("cluster: topics", cases)
