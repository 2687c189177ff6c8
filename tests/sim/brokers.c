#include "sim/brokers.h"

#include "base/config.h"
#include "base/require.h"
#include "daemon/service.h"
#include "sim/complaints.h"
#include "sim/disk.h"
#include "sim/net.h"
#include "sim/socket.h"
#include "sim/sound.h"
#include "sim/trace.h"
#include "sim/variant.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sim_broker {
    unsigned number;
    struct node *node;
    char data_dir[32];
    bool serves;
    bool stop_asked;
    struct waiters stop;    /* the broker's own main thread */
    struct waiters stopped; /* who asked */
    enum broker_death death;
    char failure[FAULT_TEXT_BYTES];
};

static struct {
    struct sim_broker at[BROKERS_MAX];
    unsigned count;
    struct chance chance;
    char peers[BROKERS_MAX * 24]; /* as --peers wants it */
} all;

unsigned brokers_count(void)
{
    return all.count;
}

struct sim_broker *brokers_at(unsigned number)
{
    REQUIRE(number >= 1 && number <= all.count);
    return &all.at[number - 1];
}

unsigned broker_number(const struct sim_broker *broker)
{
    return broker->number;
}

struct node *broker_node(const struct sim_broker *broker)
{
    return broker->node;
}

bool broker_serves(const struct sim_broker *broker)
{
    return broker->serves && broker->node->up;
}

bool broker_is_up(const struct sim_broker *broker)
{
    return broker->node->up;
}

const char *broker_failure(const struct sim_broker *broker)
{
    return broker->failure;
}

/* ---- life ------------------------------------------------------------------------- */

static void new_boot_id(struct node *node)
{
    for (size_t i = 0; i < sizeof node->boot_id; i++)
        node->boot_id[i] = (uint8_t)chance_roll(&all.chance);
}

static void hard_state_synced(void *context, const char *path)
{
    sound_judge_replica(context, path, "synced it");
}

void brokers_new(unsigned count, uint64_t seed)
{
    REQUIRE(count >= 1 && count <= BROKERS_MAX);
    all.chance = chance_of(seed, 30);
    all.count = count;
    for (unsigned i = 0; i < count; i++) {
        struct sim_broker *b = &all.at[i];
        char name[NODE_NAME_BYTES];
        b->number = i + 1;
        (void)snprintf(name, sizeof name, "broker %u", b->number);
        (void)snprintf(b->data_dir, sizeof b->data_dir, "/kafkaesque-%u", b->number);
        b->node = node_new(name);
        b->node->up = false;
        b->node->disk = disk_new(b->node, seed);
        disk_on_hard_state(b->node->disk, hard_state_synced, b);
        new_boot_id(b->node);
        net_add(b->node);
        size_t have = strlen(all.peers);
        (void)snprintf(all.peers + have, sizeof all.peers - have, "%s%u@127.0.1.%u:%d", i > 0 ? "," : "", b->number,
                       b->number, BROKER_RAFT_PORT);
    }
}

static void set(struct config *config, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void set(struct config *config, const char *format, ...)
{
    char text[256];
    struct fault fault;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    REQUIRE(config_set(config, text, "simulate", &fault) == KQ_OK);
}

/* As the command line of the daemon would have it. */
static struct config *configuration(const struct sim_broker *b)
{
    struct config *config = calloc(1, sizeof *config); /* not freed at a crash: its threads held it */
    REQUIRE(config != NULL);
    config_defaults(config);
    set(config, "broker.id=%u", b->number);
    set(config, "host=127.0.1.%u", b->number);
    set(config, "port=%d", BROKER_PORT);
    set(config, "raft.port=%d", BROKER_RAFT_PORT);
    set(config, "kafka.port=%d", BROKER_KAFKA_PORT);
    set(config, "data.dir=%s", b->data_dir);
    if (all.count > 1)
        set(config, "peers=%s", all.peers);
    set(config, "offsets.partitions=2");
    set(config, "segment.bytes=64KiB");
    set(config, "prepare.min=4KiB");
    set(config, "prepare.max=64KiB");
    set(config, "workers.min=1");
    set(config, "workers.max=4");
    set(config, "flushers=2");
    set(config, "scrub.interval=%ds", BROKER_SCRUB_S);
    set(config, "replica.stalled.timeout=10s");
    set(config, "session.timeout=10s");
    if (variant()->flush_interval)
        set(config, "flush=interval");
    if (variant()->retention_bytes >= 0)
        set(config, "retention.bytes=%lldB", (long long)variant()->retention_bytes);
    if (variant()->retention_ms >= 0)
        set(config, "retention.ms=%lldms", (long long)variant()->retention_ms);
    return config;
}

static void *broker_main(void *argument)
{
    struct sim_broker *b = argument;
    struct service *service;
    enum service_part failed;
    struct fault fault = {.err = KQ_OK};
    struct config *config = configuration(b);
    int made = disk_io(b->node->disk)->ops->mkdir(disk_io(b->node->disk), b->data_dir);
    if (made == 0)
        made = disk_io(b->node->disk)->ops->sync_dir(disk_io(b->node->disk), "/");
    (void)made; /* there already, or the disk fails, which the service will say */
    if (service_start(&service, config, "simulated", NULL, &failed, &fault) == KQ_OK) {
        trace_say(TRACE_BROKER, "%s: serves", b->node->name);
        b->serves = true;
        while (!b->stop_asked)
            (void)fiber_wait(&b->stop, MACHINE_NEVER);
        b->serves = false;
        service_stop(&service);
        trace_say(TRACE_BROKER, "%s: stopped", b->node->name);
    } else {
        (void)snprintf(b->failure, sizeof b->failure, "%s", fault.text);
        trace_say(TRACE_BROKER, "%s: does not start: %s", b->node->name, fault.text);
    }
    free(config);
    b->node->up = false;
    waiters_wake_all(&b->stopped);
    return NULL;
}

void broker_boot(struct sim_broker *broker)
{
    REQUIRE(!broker->node->up);
    trace_say(TRACE_FAULT, "%s starts", broker->node->name);
    broker->node->up = true;
    broker->node->life++;
    complaints_boot(broker->node);
    broker->stop_asked = broker->serves = false;
    broker->failure[0] = '\0';
    broker->stop = (struct waiters){NULL};
    fiber_detach(fiber_start(broker->node, "main", 0, broker_main, broker));
}

void broker_shut(struct sim_broker *broker)
{
    if (!broker->node->up)
        return;
    trace_say(TRACE_FAULT, "%s is asked to stop", broker->node->name);
    broker->stop_asked = true;
    waiters_wake_all(&broker->stop);
    uint32_t life = broker->node->life;
    while (broker->node->up && broker->node->life == life)
        (void)fiber_wait(&broker->stopped, MACHINE_NEVER);
}

/* From the loop itself, or a fiber of the harness: none of the broker's runs. */
static void die_now(void *context, uint64_t life)
{
    struct sim_broker *b = context;
    if (!b->node->up || b->node->life != (uint32_t)life)
        return;
    bool power = b->death == DEATH_POWER;
    trace_say(TRACE_FAULT, "%s %s", b->node->name, power ? "loses power" : "is killed");
    sound_judge(b, power ? "loses power" : "is killed");
    node_crash(b->node);
    if (power) {
        socket_node_power_lost(b->node);
        new_boot_id(b->node);
    } else {
        socket_node_killed(b->node);
    }
    disk_after_crash(b->node->disk, power);
    b->node->up = b->serves = false;
    waiters_wake_all(&b->stopped);
}

void broker_die(struct sim_broker *broker, enum broker_death death)
{
    broker->death = death;
    die_now(broker, broker->node->life);
}

/* In a call of its disk, on a fiber of its own: the loop does it, this one is over. */
static void die_here(void *context)
{
    struct sim_broker *b = context;
    machine_at(machine_now_ns(), die_now, b, b->node->life);
    for (;;)
        (void)fiber_wait(NULL, MACHINE_NEVER);
}

void broker_die_at_call(struct sim_broker *broker, uint64_t skip, enum broker_death death)
{
    broker->death = death;
    disk_crash_at(broker->node->disk, skip, die_here, broker);
}

void broker_die_at_rare_call(struct sim_broker *broker, uint64_t skip, enum broker_death death)
{
    broker->death = death;
    disk_crash_at_rare(broker->node->disk, skip, die_here, broker);
}

void broker_die_at_no_call(struct sim_broker *broker)
{
    disk_crash_at(broker->node->disk, 0, NULL, NULL);
}

void broker_wipe(struct sim_broker *broker)
{
    REQUIRE(!broker->node->up);
    trace_say(TRACE_FAULT, "%s gets a new disk", broker->node->name);
    io_mem_wipe(disk_mem(broker->node->disk));
}
