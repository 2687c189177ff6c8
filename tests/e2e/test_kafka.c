/*
 * Kafka clients as others wrote them, on the real daemon: kcat (librdkafka) produces,
 * fetches, and reads in groups, with every codec, on one broker and across a killed leader;
 * and telnet beside it reads and writes the same messages. Without kcat (Debian: apt-get
 * install kcat) these cases are skipped.
 */
#include "e2e/cluster_case.h"

#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OUTPUT_BYTES = 4 << 20, COMMAND_BYTES = 2048 };

static char output[OUTPUT_BYTES];

/* Runs it; what it prints is in `output`. Its exit code. */
static int shell(const char *format, ...)
{
    char command[COMMAND_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    FILE *f = popen(command, "re");
    if (f == NULL)
        harness_fail("popen");
    size_t used = fread(output, 1, sizeof(output) - 1, f);
    output[used] = '\0';
    int status = pclose(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static bool no_kcat(void)
{
    if (shell("command -v kcat") == 0)
        return false;
    say_skipped("kcat is not there");
    return true;
}

/* The numbers from `from` to `to`, a line each, are what `output` holds. */
static void expect_numbers(int from, int to)
{
    const char *at = output;
    for (int i = from; i <= to; i++) {
        char line[16];
        int len = snprintf(line, sizeof(line), "%d\n", i);
        if (strncmp(at, line, (size_t)len) != 0) {
            printf("\n    wanted %d, got %.40s\n", i, at);
            CU_FAIL_FATAL("not the messages that were sent");
        }
        at += len;
    }
    CU_ASSERT_EQUAL(*at, '\0');
}

struct broker_here {
    struct daemon *daemon;
    int kafka_port;
};

static struct broker_here broker_start(void)
{
    struct broker_here b = {.kafka_port = free_port()};
    struct daemon_spec spec = {.dir = temp_folder("kafka"), .kafka_port = b.kafka_port};
    spec.settings[0] = "group.initial.rebalance.delay=0";
    b.daemon = daemon_start(&spec);
    return b;
}

static void broker_end(struct broker_here *b)
{
    CU_ASSERT_EQUAL(daemon_stop(&b->daemon), 0);
}

/* ---- one broker ------------------------------------------------------------------------- */

static void every_codec_goes_in_and_out(void)
{
    static const char *const codecs[] = {"none", "gzip", "snappy", "lz4", "zstd"};
    if (no_kcat())
        return;
    struct broker_here b = broker_start();
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        CU_ASSERT_EQUAL(
            shell("seq 1 3000 | kcat -b 127.0.0.1:%d -P -t c-%s -z %s 2>&1", b.kafka_port, codecs[i], codecs[i]), 0);
        CU_ASSERT_EQUAL(shell("kcat -b 127.0.0.1:%d -C -t c-%s -o beginning -e -q", b.kafka_port, codecs[i]), 0);
        expect_numbers(1, 3000);
        struct client *c = client_open(daemon_port(b.daemon));
        char topic[32], subscription[ID_BYTES];
        (void)snprintf(topic, sizeof(topic), "c-%s", codecs[i]);
        subscribe(c, topic, "text", subscription);
        REPLY_HOLDS(client_ask(c, "CONS %s %s 2999", topic, subscription), "\"Body\":\"3000\"");
        client_close(&c);
    }
    broker_end(&b);
}

static void what_telnet_wrote_kcat_reads_and_the_other_way_round(void)
{
    if (no_kcat())
        return;
    struct broker_here b = broker_start();
    struct client *c = client_open(daemon_port(b.daemon));
    REPLY_IS(client_ask(c, "CRTP both"), "Done");
    REPLY_IS(client_ask(c, "PUBS both {\"Key\":\"k1\",\"Header\":\"h1\",\"Body\":\"from telnet\"}"), "Done");
    CU_ASSERT_EQUAL(
        shell("echo 'k2:from kcat' | kcat -b 127.0.0.1:%d -P -t both -K: -H Header=h2 -z zstd", b.kafka_port), 0);
    CU_ASSERT_EQUAL(shell("kcat -b 127.0.0.1:%d -C -t both -o beginning -e -q -f '%%o|%%k|%%h|%%s\\n'", b.kafka_port),
                    0);
    CU_ASSERT_STRING_EQUAL(output, "0|k1|Header=h1|from telnet\n1|k2|Header=h2|from kcat\n");
    char subscription[ID_BYTES];
    subscribe(c, "both", "readers", subscription);
    REPLY_HOLDS(client_ask(c, "CONS both %s 0", subscription),
                "\"Header\":\"h2\",\"Body\":\"from kcat\",\"Key\":\"k2\"");
    client_close(&c);
    broker_end(&b);
}

static void a_group_goes_on_where_it_was(void)
{
    if (no_kcat())
        return;
    struct broker_here b = broker_start();
    CU_ASSERT_EQUAL(shell("seq 1 500 | kcat -b 127.0.0.1:%d -P -t g", b.kafka_port), 0);
    CU_ASSERT_EQUAL(shell("kcat -b 127.0.0.1:%d -G readers -e -q -X auto.offset.reset=earliest g", b.kafka_port), 0);
    expect_numbers(1, 500);
    CU_ASSERT_EQUAL(shell("seq 501 700 | kcat -b 127.0.0.1:%d -P -t g", b.kafka_port), 0);
    CU_ASSERT_EQUAL(shell("kcat -b 127.0.0.1:%d -G readers -e -q -X auto.offset.reset=earliest g", b.kafka_port), 0);
    expect_numbers(501, 700);
    struct client *c = client_open(daemon_port(b.daemon));
    REPLY_HOLDS(client_ask(c, "GRPS readers"), "\"Committed\":700");
    client_close(&c);
    broker_end(&b);
}

/* ---- three brokers --------------------------------------------------------------------------------- */

/* The first messages are there. */
static bool has_begun(void *arg)
{
    struct client *c = fleet_client(arg, 1);
    bool begun = strstr(client_ask(c, "DESC t"), "\"End\":0,") == NULL;
    client_close(&c);
    return begun;
}

/* 40 x 1,000 numbers, a tenth of a second apart, by an idempotent producer, while the leader dies. */
static void an_idempotent_producer_outlives_its_leader(void)
{
    if (no_kcat())
        return;
    struct fleet *f = fleet_with_topic(3, 1, NULL, false);
    char brokers[128];
    (void)snprintf(brokers, sizeof(brokers), "127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d", fleet_kafka_port(f, 1),
                   fleet_kafka_port(f, 2), fleet_kafka_port(f, 3));
    pid_t pid = fork();
    if (pid == 0) {
        char command[COMMAND_BYTES];
        (void)snprintf(command, sizeof(command),
                       "(for c in $(seq 0 39); do seq $((c * 1000 + 1)) $((c * 1000 + 1000)); sleep 0.1; done) | "
                       "kcat -b %s -P -t t -X enable.idempotence=true -X message.timeout.ms=60000 "
                       "-X batch.num.messages=50 2>/dev/null",
                       brokers);
        (void)execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    CU_ASSERT_FATAL(wait_until(has_begun, f, GO_ON_MS));
    fleet_kill(f, leader_of(f, 1, 0));
    int status = -1;
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT_EQUAL(status, 0);
    CU_ASSERT_EQUAL(shell("kcat -b %s -C -t t -o beginning -e -q 2>/dev/null", brokers), 0);
    expect_numbers(1, 40000);
    fleet_drop(&f);
}

static const struct unit_case cases[] = {
    {"every codec goes in and out", every_codec_goes_in_and_out},
    {"what telnet wrote kcat reads, and the other way round", what_telnet_wrote_kcat_reads_and_the_other_way_round},
    {"a group goes on where it was", a_group_goes_on_where_it_was},
    {"an idempotent producer outlives its leader", an_idempotent_producer_outlives_its_leader},
};
UNIT_MAIN("Kafka clients", cases)
