#include "api/info.h"

#include "base/clock.h"
#include "cluster/links.h"

static int64_t counter(const _Atomic uint64_t *value)
{
    return (int64_t)atomic_load_explicit(value, memory_order_relaxed);
}

static void write_counters(struct broker *broker, struct json *json)
{
    struct engine_counters *c = engine_counters(broker->engine);
    json_key(json, "Counters");
    json_open(json, '{');
    json_put_number(json, "messages_in", counter(&c->messages_in));
    json_put_number(json, "batches_in", counter(&c->batches_in));
    json_put_number(json, "bytes_in", counter(&c->bytes_in));
    json_put_number(json, "entries", counter(&c->entries));
    json_put_number(json, "turns", counter(&c->turns));
    json_put_number(json, "slow_turns", counter(&c->slow_turns));
    json_put_number(json, "handoffs", counter(&c->handoffs));
    json_put_number(json, "fsyncs", counter(&c->log.fsyncs));
    json_put_number(json, "writes", counter(&c->log.writes));
    json_put_number(json, "bytes_written", counter(&c->log.written_bytes));
    json_put_number(json, "bytes_copied", counter(&c->log.copied_bytes));
    json_put_number(json, "bytes_prepared", counter(&c->log.prepared_bytes));
    json_put_number(json, "bytes_zeroed", counter(&c->log.zeroed_bytes));
    json_put_number(json, "pieces_written", counter(&c->log.pieces));
    json_put_number(json, "recovery_bytes", counter(&c->log.recovery_read_bytes));
    json_put_number(json, "scrubbed_bytes", counter(&c->log.scrubbed_bytes));
    json_close(json, '}');
}

static void write_links(struct broker *broker, struct json *json)
{
    const struct links_counters *c = links_counters(cluster_links(broker->cluster));
    json_key(json, "Links");
    json_open(json, '{');
    json_put_number(json, "messages_out", counter(&c->messages_out));
    json_put_number(json, "messages_in", counter(&c->messages_in));
    json_put_number(json, "beats_out", counter(&c->beats_out));
    json_put_number(json, "writes", counter(&c->writes));
    json_put_number(json, "writes_now", counter(&c->writes_now));
    json_put_number(json, "wakes", counter(&c->wakes));
    json_put_number(json, "bytes_out", counter(&c->bytes_out));
    json_put_number(json, "catch_up_bytes", counter(&c->catch_up_bytes));
    json_put_number(json, "dropped", counter(&c->dropped));
    json_put_number(json, "asks_out", counter(&c->asks_out));
    json_put_number(json, "connects", counter(&c->connects));
    json_put_number(json, "refusals", counter(&c->refusals));
    json_close(json, '}');
}

static void write_brokers(struct broker *broker, struct json *json)
{
    struct image *image = cluster_image(broker->cluster);
    size_t count = image_broker_count(image), alive = 0;
    for (size_t i = 0; i < count; i++)
        alive += links_is_alive(cluster_links(broker->cluster), image_broker_at(image, i)->id);
    image_drop(&image);
    json_put_number(json, "Brokers", (int64_t)count);
    json_put_number(json, "BrokersAlive", (int64_t)alive);
}

static void write_faults(const struct cluster_status *status, struct json *json)
{
    json_key(json, "Failed");
    json_open(json, '[');
    for (uint32_t i = 0; i < status->fault_count; i++) {
        json_open(json, '{');
        json_put_text(json, "Partition", status->faults[i].partition);
        json_put_text(json, "Reason", fault_text(&status->faults[i].fault));
        json_close(json, '}');
    }
    json_close(json, ']');
}

void info_write(struct broker *broker, int64_t group_count, struct json *json)
{
    struct cluster_status status;
    char id[UUID_TEXT_BYTES];
    cluster_status(broker->cluster, &status);
    json_open(json, '{');
    json_put_number(json, "BrokerId", status.broker_id);
    json_put_text(json, "Version", broker->version);
    json_put_text(json, "ClusterId", uuid_format(&status.cluster_id, id));
    json_put_number(json, "Controller", status.controller_id);
    write_brokers(broker, json);
    json_put_number(json, "UptimeMs", (clock_mono_us() - broker->started_us) / 1000);
    json_put_number(json, "Topics", status.topic_count);
    json_put_number(json, "Partitions", status.partition_count);
    json_put_number(json, "OpeningPartitions", status.opening_count);
    json_put_number(json, "FailedPartitions", status.failed_count);
    write_faults(&status, json);
    json_key(json, "Groups");
    if (group_count < 0)
        json_add_null(json);
    else
        json_add_number(json, group_count);
    if (broker->describe_server != NULL)
        broker->describe_server(broker->describe_context, json);
    if (broker->describe_kafka != NULL)
        broker->describe_kafka(broker->describe_kafka_context, json);
    write_counters(broker, json);
    write_links(broker, json);
    json_close(json, '}');
}
