#include "api/broker.h"

#include "api/serve.h"
#include "base/clock.h"
#include "log/io.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* The machine's boot: tells a crash of the daemon from one of the machine. Zero
 * where it is not to be had, which counts as another boot each time. */
static struct uuid machine_boot_id(void)
{
    struct uuid id = {{0}};
    char text[64] = "", digits[64];
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        (void)close(fd);
    size_t len = 0;
    for (ssize_t i = 0; i < got; i++)
        if (text[i] != '-' && text[i] != '\n')
            digits[len++] = text[i];
    if (len != UUID_TEXT_BYTES - 1 || !uuid_parse(digits, &id))
        memset(&id, 0, sizeof(id));
    return id;
}

/* An actor's turn. While the cluster starts no other broker can be told: its client finds
 * out when it uses the subscription. */
static void notify(void *context, const struct group_event *event)
{
    struct broker *broker = context;
    bool here = event->session.broker_id == (uint32_t)broker->config->broker_id;
    if (!here && atomic_load_explicit(&broker->serves, memory_order_acquire))
        serve_tell(broker, event);
    else if (here && broker->event != NULL)
        broker->event(broker->event_context, event);
}

static bool interrupted(void *context)
{
    const struct broker *broker = context;
    return broker->interrupted != NULL && broker->interrupted();
}

/* Any thread. */
static void leader_changed(void *context, const struct uuid *topic_id, uint32_t partition)
{
    struct broker *broker = context;
    atomic_fetch_add_explicit(&broker->leader_changes, 1, memory_order_relaxed);
    leader_waits_changed(&broker->waits, topic_id, partition);
}

static enum kq_err start_engine(struct broker *broker, const struct broker_options *options, struct fault *fault)
{
    const struct config *config = options->config;
    struct engine_options engine = {
        .io = io_posix(),
        .data_dir = options->data_dir,
        .broker_id = (uint32_t)config->broker_id,
        .boot_id = machine_boot_id(),
        .flusher_count = (uint32_t)config->flushers,
        .stack_bytes = (size_t)config->stack_bytes,
        .mailbox_bytes = (uint64_t)config->mailbox_max_bytes,
        .entry_max_bytes = (uint32_t)config->entry_max_bytes,
        .unflushed_entries = (uint32_t)config->entries_unflushed_max,
        .prepare_min_bytes = (uint32_t)config->prepare_min_bytes,
        .prepare_max_bytes = (uint32_t)config->prepare_max_bytes,
        .prepare_budget_bytes = config->prepare_budget_bytes,
        .mark_delay_us = config->mark_delay_us,
        .flush_always = config->flush == CONFIG_FLUSH_ALWAYS,
        .flush_interval_us = config->flush_interval_us,
        .flush_interval_bytes = (uint32_t)config->flush_interval_bytes,
        .scrub_interval_us = config->scrub_interval_us < 0 ? 0 : config->scrub_interval_us,
        .election_us = config->election_us,
        .beat_us = config->beat_us,
    };
    return engine_start(&broker->engine, &engine, fault);
}

enum kq_err broker_start(struct broker *broker, const struct broker_options *options, struct fault *fault)
{
    broker->config = options->config;
    broker->version = options->version;
    broker->interrupted = options->interrupted;
    broker->started_us = clock_mono_us();
    enum kq_err err = start_engine(broker, options, fault);
    if (err != KQ_OK) {
        (void)close(options->raft_fd);
        return err;
    }
    struct cluster_options cluster = {
        .engine = broker->engine,
        .config = options->config,
        .data_dir = options->data_dir,
        .host = options->host,
        .port = options->port,
        .raft_port = options->raft_port,
        .kafka_host = options->kafka_host,
        .kafka_port = options->kafka_port,
        .listen_fd = options->raft_fd,
        .interrupted = interrupted,
        .notify = notify,
        .leader_changed = leader_changed,
        .context = broker,
    };
    leader_waits_init(&broker->waits, broker->engine);
    err = cluster_start(&broker->cluster, &cluster, fault);
    if (err == KQ_OK) {
        serve_start(broker);
        atomic_store_explicit(&broker->serves, true, memory_order_release); /* behind broker->cluster */
        return KQ_OK;
    }
    leader_waits_stop(&broker->waits);
    engine_stop(&broker->engine);
    leader_waits_fini(&broker->waits);
    return err;
}

void broker_stop(struct broker *broker)
{
    atomic_store(&broker->stopping, true);
    leader_waits_stop(&broker->waits);
    cluster_stop(&broker->cluster);
    engine_stop(&broker->engine);
    leader_waits_fini(&broker->waits);
}
