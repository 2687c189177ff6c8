/* Starting brokers that speak Kafka, and asking them as any client would. */
#include "bench/kafka_site.h"

#include "e2e/fleet.h"
#include "e2e/harness.h"
#include "e2e/kafka_caller.h"
#include "e2e/probe.h"
#include "proto/kafka/api_fetch.h"
#include "proto/kafka/api_metadata.h"
#include "proto/kafka/api_topics.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    APACHE_READY_MS = 120000,
    TOPIC_MS = 60000,
    METADATA_VERSION = 9,
    CREATE_VERSION = 4,
    FETCH_VERSION = 11,
    CREATE_MS = 30000
};
enum { VOTERS_BYTES = 128, NUMBER_BYTES = 16 };

/* ---- starting ---------------------------------------------------------------------------- */

const char *site_script(void)
{
    const char *path = getenv("KAFKA_PEER");
    return path != NULL ? path : "tests/bench/kafka-peer.sh";
}

const char *site_apache_version(void)
{
    static char version[64];
    static bool asked;
    char command[1024];
    if (asked)
        return version[0] != '\0' ? version : NULL;
    asked = true;
    (void)snprintf(command, sizeof(command), "'%s' version 2>/dev/null", site_script());
    FILE *f = popen(command, "re");
    if (f == NULL)
        return NULL;
    if (fgets(version, sizeof(version), f) == NULL)
        version[0] = '\0';
    version[strcspn(version, "\n")] = '\0';
    (void)pclose(f);
    return version[0] != '\0' ? version : NULL;
}

void site_start_ours(struct kafka_site *site, int count, const char *const *settings)
{
    *site = (struct kafka_site){.count = count};
    if (count == 1) {
        struct daemon_spec spec = {.dir = temp_folder("ours"), .nofile = raise_nofile()};
        for (size_t i = 0; settings != NULL && settings[i] != NULL; i++)
            spec.settings[i] = settings[i];
        site->daemon = daemon_start(&spec);
        site->ports[0] = daemon_kafka_port(site->daemon);
        site->pids[0] = daemon_pid(site->daemon);
        site->dirs[0] = spec.dir;
        return;
    }
    struct fleet_spec spec = {.brokers = count};
    for (size_t i = 0; settings != NULL && settings[i] != NULL; i++)
        spec.settings[i] = settings[i];
    site->fleet = fleet_form(&spec);
    for (int i = 0; i < count; i++) {
        site->ports[i] = fleet_kafka_port(site->fleet, i + 1);
        site->pids[i] = fleet_pid(site->fleet, i + 1);
        site->dirs[i] = fleet_dir(site->fleet, i + 1);
    }
}

static pid_t run_apache(int id, int port, int controller_port, const char *dir, const char *voters)
{
    char texts[3][NUMBER_BYTES];
    (void)snprintf(texts[0], NUMBER_BYTES, "%d", id);
    (void)snprintf(texts[1], NUMBER_BYTES, "%d", port);
    (void)snprintf(texts[2], NUMBER_BYTES, "%d", controller_port);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)execl(site_script(), site_script(), "run", texts[0], texts[1], texts[2], dir, voters, (char *)NULL);
    _exit(127);
}

/* Every broker knows all of them. */
static bool is_formed(void *arg)
{
    const struct kafka_site *site = arg;
    for (int i = 0; i < site->count; i++) {
        struct client *c = client_try_open(site->ports[i], 0);
        if (c == NULL)
            return false;
        client_close(&c);
        struct kafka_caller *caller = caller_open(site->ports[i]);
        struct kafka_metadata_request ask = {.allow_auto_topic_creation = false};
        const struct kafka_metadata_response *answer = caller_ask(caller, KAFKA_METADATA, METADATA_VERSION, &ask);
        bool all = answer->brokers.count == site->count;
        caller_close(&caller);
        if (!all)
            return false;
    }
    return true;
}

bool site_start_apache(struct kafka_site *site, int count)
{
    char voters[VOTERS_BYTES] = "";
    int controller_ports[SITE_BROKERS_MAX];
    *site = (struct kafka_site){.apache = true, .count = count};
    if (site_apache_version() == NULL)
        return false;
    for (int i = 0; i < count; i++) {
        size_t used = strlen(voters);
        site->ports[i] = free_port();
        site->dirs[i] = temp_folder("kafka");
        controller_ports[i] = free_port();
        (void)snprintf(voters + used, sizeof(voters) - used, "%s%d@127.0.0.1:%d", i > 0 ? "," : "", i + 1,
                       controller_ports[i]);
    }
    for (int i = 0; i < count; i++)
        site->pids[i] = run_apache(i + 1, site->ports[i], controller_ports[i], site->dirs[i], voters);
    if (!wait_until(is_formed, site, APACHE_READY_MS))
        harness_fail("Apache Kafka does not start; its folder has server.log");
    return true;
}

void site_stop(struct kafka_site *site)
{
    if (site->fleet != NULL)
        fleet_end(&site->fleet);
    else if (site->daemon != NULL && daemon_stop(&site->daemon) != 0)
        harness_fail("the daemon did not stop with exit code 0");
    for (int i = 0; site->apache && i < site->count && site->pids[i] != 0; i++)
        (void)kill(site->pids[i], SIGKILL); /* nothing is asked of it any more */
    for (int i = 0; site->apache && i < site->count && site->pids[i] != 0; i++)
        (void)waitpid(site->pids[i], NULL, 0);
    *site = (struct kafka_site){.apache = site->apache};
}

int64_t site_cpu_us(const struct kafka_site *site)
{
    int64_t us = 0;
    for (int i = 0; i < site->count; i++)
        us += proc_cpu_us(site->pids[i]);
    return us;
}

/* ---- topics ------------------------------------------------------------------------------ */

struct looking {
    const struct kafka_site *site;
    const char *topic;
    int partition; /* -1: all have leaders and replicas */
    int port;
};

static bool look_at(struct looking *look, const struct kafka_metadata_response *answer)
{
    const struct kafka_metadata_response_topic *topic = NULL;
    for (int32_t i = 0; i < answer->topics.count; i++)
        if (slice_equal_text(answer->topics.at[i].name, look->topic))
            topic = &answer->topics.at[i];
    if (topic == NULL || topic->error_code != 0 || topic->partitions.count == 0)
        return false;
    int32_t leader_id = -1;
    for (int32_t i = 0; i < topic->partitions.count; i++) {
        const struct kafka_metadata_response_partition *p = &topic->partitions.at[i];
        if (p->leader_id < 0 || p->error_code != 0 || p->isr_nodes.count != look->site->count ||
            p->leader_id != p->replica_nodes.at[0])
            return false; /* the preferred leader: else it is about to change */
        if (p->partition_index == look->partition)
            leader_id = p->leader_id;
    }
    for (int32_t i = 0; i < answer->brokers.count; i++)
        if (answer->brokers.at[i].node_id == leader_id)
            look->port = answer->brokers.at[i].port;
    return look->partition < 0 || look->port > 0;
}

static bool is_led(void *arg)
{
    struct looking *look = arg;
    for (int i = 0; i < look->site->count; i++) {
        struct kafka_caller *caller = caller_open(look->site->ports[i]);
        struct kafka_metadata_request_topic name = {.name = slice_text(look->topic)};
        struct kafka_metadata_request ask = {.topics = {.at = &name, .count = 1}};
        bool led = look_at(look, caller_ask(caller, KAFKA_METADATA, METADATA_VERSION, &ask));
        caller_close(&caller);
        if (!led)
            return false;
    }
    return true;
}

static bool is_made(void *arg)
{
    const struct looking *look = arg;
    struct kafka_create_topics_request_topic topic = {.name = slice_text(look->topic),
                                                      .num_partitions = look->partition,
                                                      .replication_factor = (int16_t)look->site->count};
    struct kafka_create_topics_request ask = {.topics = {.at = &topic, .count = 1}, .timeout_ms = CREATE_MS};
    struct kafka_caller *caller = caller_open(look->site->ports[0]);
    const struct kafka_create_topics_response *answer = caller_ask(caller, KAFKA_CREATE_TOPICS, CREATE_VERSION, &ask);
    bool made = answer->topics.count == 1 && answer->topics.at[0].error_code == 0;
    caller_close(&caller);
    return made;
}

/* Metadata tell of a leader before it knows that it is one. */
static bool is_served(void *arg)
{
    const struct looking *look = arg;
    struct kafka_fetch_request_partition at = {
        .current_leader_epoch = -1, .partition_max_bytes = 1, .log_start_offset = -1};
    struct kafka_fetch_request_topic from = {.topic = slice_text(look->topic), .partitions = {.at = &at, .count = 1}};
    struct kafka_fetch_request ask = {.replica_id = -1, .session_epoch = -1, .rack_id = slice_text("")};
    ask.topics.at = &from;
    ask.topics.count = 1;
    at.partition = look->partition;
    struct kafka_caller *caller = caller_open(site_leader_port(look->site, look->topic, look->partition));
    const struct kafka_fetch_response *answer = caller_ask(caller, KAFKA_FETCH, FETCH_VERSION, &ask);
    bool served = answer->responses.count == 1 && answer->responses.at[0].partitions.count == 1 &&
                  answer->responses.at[0].partitions.at[0].error_code == 0;
    caller_close(&caller);
    return served;
}

void site_create(const struct kafka_site *site, const char *topic, int partitions)
{
    struct looking look = {.site = site, .topic = topic, .partition = partitions};
    if (!wait_until(is_made, &look, TOPIC_MS))
        harness_fail("a topic could not be made");
    look.partition = -1;
    if (!wait_until(is_led, &look, TOPIC_MS))
        harness_fail("the partitions of a new topic have no leaders");
    for (look.partition = 0; look.partition < partitions; look.partition++)
        if (!wait_until(is_served, &look, TOPIC_MS))
            harness_fail("the leader of a new partition does not serve it");
}

int site_leader_port(const struct kafka_site *site, const char *topic, int partition)
{
    struct looking look = {.site = site, .topic = topic, .partition = partition};
    if (!wait_until(is_led, &look, TOPIC_MS))
        harness_fail("a partition has no leader");
    return look.port;
}
