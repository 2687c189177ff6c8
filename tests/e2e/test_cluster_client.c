/*
 * The command-line client and a cluster: it goes from broker to broker, and its orders are
 * carried out while messages are published.
 */
#include "e2e/cluster_case.h"

#include "e2e/command.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { LINES = 6000, RATE = 300, FED_AT_A_TIME = 20, LATER = 200, UNDER_WAY = 50 };

/* "127.0.0.1:P,127.0.0.1:Q,...", broker `first` first. */
static const char *addresses(const struct fleet *f, int first)
{
    static char text[FLEET_MAX * 24];
    size_t len = 0;
    for (int i = 0; i < fleet_size(f); i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s127.0.0.1:%d", i > 0 ? "," : "",
                                fleet_port(f, (first - 1 + i) % fleet_size(f) + 1));
    return text;
}

/* ---- from broker to broker ----------------------------------------------------------- */

/* A pipe that is fed as the test goes on, so that publishing lasts as long. */
struct feeding {
    const struct fleet *fleet;
    int fd, fed, want;
    int asked; /* the broker that is asked how far it is */
};

static int64_t stored(const struct feeding *f)
{
    struct client *c = fleet_try_client(f->fleet, f->asked);
    int64_t count = 0;
    for (int p = 0; p < 3 && c != NULL; p++) {
        int64_t end = partition_end(c, "t", p);
        count += end > 0 ? end : 0;
    }
    client_close(&c);
    return count;
}

/* Feeds some lines; true once most of what was wanted is stored. */
static bool feeds(void *arg)
{
    struct feeding *f = arg;
    char text[FED_AT_A_TIME * 16];
    size_t len = 0;
    int till = f->fed + FED_AT_A_TIME < f->want ? f->fed + FED_AT_A_TIME : f->want;
    for (; f->fed < till; f->fed++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "line-%d\n", f->fed);
    CU_ASSERT(write(f->fd, text, len) == (ssize_t)len);
    return f->fed == f->want && stored(f) > f->want - UNDER_WAY;
}

static void publishing_and_following_go_on_at_the_next_broker(void)
{
    char fifo[600], followed[600], summary[600], count[16];
    struct fleet *f = fleet_with_topic(3, 3, NULL, false);
    (void)snprintf(fifo, sizeof(fifo), "%s", command_file("fifo"));
    (void)snprintf(followed, sizeof(followed), "%s", command_file("followed"));
    (void)snprintf(summary, sizeof(summary), "%s", command_file("summary"));
    (void)snprintf(count, sizeof(count), "%d", LINES);
    CU_ASSERT_EQUAL_FATAL(mkfifo(fifo, 0600), 0);
    struct feeding feeding = {.fleet = f, .fd = open(fifo, O_RDWR | O_CLOEXEC)};
    CU_ASSERT_FATAL(feeding.fd >= 0);
    pid_t follower =
        command_begin(addresses(f, 2), NULL, followed,
                      (const char *const[]){"consume", "t", "--follow", "-n", count, "--timeout", "60", NULL});
    pid_t publisher =
        command_begin(addresses(f, 1), fifo, summary, (const char *const[]){"publish", "t", "--timeout", "60", NULL});
    for (int round = 0; round < 3; round++) { /* each of the brokers that the two talk to, one way or the other */
        feeding.want += LINES / 3 - LATER;
        feeding.asked = round % 3 + 2 > 3 ? 1 : round % 3 + 2;
        CU_ASSERT_FATAL(wait_until(feeds, &feeding, 2 * GO_ON_MS));
        int victim = round + 1;
        if (round == 1)
            fleet_pause(f, victim); /* says nothing, and refuses nothing */
        else
            fleet_kill(f, victim);
        feeding.asked = victim % 3 + 1;
        feeding.want += LATER;
        CU_ASSERT_FATAL(wait_until(feeds, &feeding, 2 * GO_ON_MS));
        if (round == 1)
            fleet_resume(f, victim);
        else
            fleet_start(f, victim);
        CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    }
    (void)close(feeding.fd);
    CU_ASSERT_EQUAL(command_finish(publisher), 0);
    CU_ASSERT_EQUAL(command_finish(follower), 0);
    command_slurp(summary);
    command_shows("published 6000 messages");
    command_slurp(followed);
    command_printed_are("line", 0, LINES, false);
    CU_ASSERT_EQUAL(COMMAND(addresses(f, 3), NULL, "consume", "t"), 0);
    command_printed_are("line", 0, LINES, false);
    fleet_end(&f);
}

/* ---- orders ---------------------------------------------------------------------------- */

static void a_broker_joins_takes_its_share_and_is_drained_again(void)
{
    struct fleet *f = fleet_with_topic(3, 6, NULL, false);
    struct witness_spec spec = {.fleet = f, .topic = "t", .partitions = 6, .publishers = 2, .rate = RATE};
    struct witness *w = witness_begin(&spec);
    CU_ASSERT_FATAL(witness_advances(w, 100, GO_ON_MS));
    CU_ASSERT_EQUAL(COMMAND(addresses(f, 1), NULL, "cluster", "status"), 0);
    command_shows("each has a leader and all its replicas");
    CU_ASSERT_EQUAL(fleet_grow(f), 4);
    CU_ASSERT_FATAL(fleet_whole(f, 4, WHOLE_MS));
    CU_ASSERT_EQUAL(COMMAND(addresses(f, 1), NULL, "cluster", "add", "4"), 0);
    command_shows("replicas moved");
    struct client *c = fleet_client(f, 4);
    struct json j = json_open(client_ask(c, "CLUS STATUS"));
    CU_ASSERT(json_number(&j, "Data.Brokers.3.Replicas") > 0);
    json_close(&j);
    client_close(&c);
    CU_ASSERT_FATAL(witness_advances(w, 100, GO_ON_MS));
    CU_ASSERT_EQUAL(COMMAND(addresses(f, 1), NULL, "cluster", "remove", "4"), 1);
    command_shows("drain");
    CU_ASSERT_EQUAL(COMMAND(addresses(f, 1), NULL, "cluster", "drain", "4"), 0);
    command_shows("it may be stopped now");
    CU_ASSERT_EQUAL(COMMAND(addresses(f, 1), NULL, "--json", "cluster", "status"), 0);
    j = json_open(command_printed);
    CU_ASSERT_EQUAL(json_number(&j, "Brokers.3.Broker"), 4);
    CU_ASSERT_EQUAL(json_number(&j, "Brokers.3.Replicas"), 0);
    CU_ASSERT(json_is_true(&j, "Brokers.3.Draining"));
    json_close(&j);
    fleet_stop(f, 4);
    CU_ASSERT_EQUAL(COMMAND(addresses(f, 1), NULL, "cluster", "remove", "4"), 0);
    CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    CU_ASSERT_EQUAL(COMMAND(addresses(f, 1), NULL, "--json", "cluster", "status"), 0);
    j = json_open(command_printed);
    CU_ASSERT_EQUAL(json_count(&j, "Brokers"), 3);
    json_close(&j);
    CU_ASSERT_FATAL(witness_advances(w, 100, GO_ON_MS));
    CU_ASSERT_EQUAL(witness_account(w).unknown, 0);
    witness_end(&w);
    fleet_end(&f);
}

static void partitions_move_and_leaders_change_as_ordered(void)
{
    struct fleet *f = fleet_with_topic(4, 1, NULL, false);
    struct witness_spec spec = {.fleet = f, .topic = "t", .partitions = 1, .publishers = 2, .rate = RATE};
    struct witness *w = witness_begin(&spec);
    static const char *const sets[] = {"1,2,3", "4,3,2", "2,4"};
    for (int i = 0; i < 3; i++) {
        char path[64];
        CU_ASSERT_FATAL(witness_advances(w, 100, GO_ON_MS));
        CU_ASSERT_EQUAL(COMMAND(addresses(f, 1 + i), NULL, "cluster", "move", "t/0", "--to", sets[i]), 0);
        struct client *c = fleet_client(f, 1);
        struct json j = json_open(client_ask(c, "CLUS STATUS ALL"));
        for (int p = 0; p < json_count(&j, "Data.Partitions"); p++) {
            (void)snprintf(path, sizeof(path), "Data.Partitions.%d.Topic", p);
            if (strcmp(json_text(&j, path), "t") != 0)
                continue;
            (void)snprintf(path, sizeof(path), "Data.Partitions.%d.Replicas", p);
            CU_ASSERT_EQUAL(json_count(&j, path), (int64_t)(strlen(sets[i]) + 1) / 2);
        }
        json_close(&j);
        client_close(&c);
    }
    int leader = leader_of(f, 0, 0);
    char other[8];
    (void)snprintf(other, sizeof(other), "%d", leader == 2 ? 4 : 2);
    CU_ASSERT_EQUAL(COMMAND(addresses(f, 3), NULL, "cluster", "transfer-leader", "t/0", "--to", other), 0);
    CU_ASSERT(leader_of(f, 0, 0) != leader);
    CU_ASSERT_EQUAL(COMMAND(addresses(f, 3), NULL, "cluster", "move", "t/0", "--to", "1,9"), 1);
    command_shows("9");
    CU_ASSERT_EQUAL(COMMAND(addresses(f, 3), NULL, "cluster", "move", "t/7", "--to", "1,2"), 1);
    CU_ASSERT_EQUAL(COMMAND(addresses(f, 3), NULL, "cluster", "move", "none/0", "--to", "1,2"), 1);
    command_shows("topic does not exist");
    CU_ASSERT_EQUAL(COMMAND(addresses(f, 3), NULL, "cluster", "rebalance"), 0);
    CU_ASSERT_FATAL(witness_advances(w, 100, GO_ON_MS));
    CU_ASSERT_EQUAL(witness_account(w).unknown, 0);
    witness_end(&w);
    fleet_end(&f);
}

static const struct unit_case cases[] = {
    {"publishing and following go on at the next broker", publishing_and_following_go_on_at_the_next_broker},
    {"a broker joins, takes its share and is drained again", a_broker_joins_takes_its_share_and_is_drained_again},
    {"partitions move and leaders change as ordered", partitions_move_and_leaders_change_as_ordered},
};
E2E_MAIN("cluster: client", cases)
