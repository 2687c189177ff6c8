#include "client/placement.h"

#include "client/show.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- reading ------------------------------------------------------------------------- */

static yajl_val member(yajl_val object, const char *name, yajl_type type)
{
    const char *path[] = {name, NULL};
    return YAJL_IS_OBJECT(object) ? yajl_tree_get(object, path, type) : NULL;
}

static int64_t number_of(yajl_val object, const char *name, int64_t otherwise)
{
    yajl_val value = member(object, name, yajl_t_number);
    return YAJL_IS_INTEGER(value) ? YAJL_GET_INTEGER(value) : otherwise;
}

static bool is_true(yajl_val object, const char *name)
{
    return YAJL_IS_TRUE(member(object, name, yajl_t_any));
}

static void read_broker(struct placement_broker *broker, yajl_val from)
{
    const char *host = YAJL_GET_STRING(member(from, "Host", yajl_t_string));
    *broker = (struct placement_broker){.id = number_of(from, "Broker", 0),
                                        .port = number_of(from, "Port", 0),
                                        .raft_port = number_of(from, "RaftPort", 0),
                                        .alive = is_true(from, "Alive"),
                                        .draining = is_true(from, "Draining"),
                                        .controller = is_true(from, "Controller"),
                                        .replicas = number_of(from, "Replicas", 0),
                                        .leaders = number_of(from, "Leaders", 0)};
    (void)snprintf(broker->host, sizeof(broker->host), "%s", host == NULL ? "" : host);
}

static enum kq_err read_partition(struct placement_partition *partition, yajl_val from)
{
    const char *topic = YAJL_GET_STRING(member(from, "Topic", yajl_t_string));
    yajl_val replicas = member(from, "Replicas", yajl_t_array);
    *partition = (struct placement_partition){.number = number_of(from, "Partition", -1),
                                              .leader = number_of(from, "Leader", 0),
                                              .moving = is_true(from, "Moving"),
                                              .lost = is_true(from, "Lost")};
    if (topic == NULL || partition->number < 0 || replicas == NULL)
        return KQ_GARBAGE;
    for (size_t i = 0; i < replicas->u.array.len && i < PLACEMENT_REPLICAS_MAX; i++) {
        yajl_val row = replicas->u.array.values[i];
        partition->replicas[partition->replica_count++] =
            (struct placement_replica){.broker = number_of(row, "Broker", 0),
                                       .wanted = is_true(row, "Wanted"),
                                       .voter = is_true(row, "Voter"),
                                       .in_sync = is_true(row, "InSync"),
                                       .lag = number_of(row, "Lag", -1)};
    }
    partition->topic = strdup(topic);
    return partition->topic == NULL ? KQ_NO_MEMORY : KQ_OK;
}

enum kq_err placement_read(struct placement *placement, yajl_val data, struct fault *fault)
{
    yajl_val brokers = member(data, "Brokers", yajl_t_array);
    yajl_val partitions = member(data, "Partitions", yajl_t_array);
    yajl_val totals = member(data, "Totals", yajl_t_object);
    *placement = (struct placement){.total = number_of(totals, "Partitions", -1),
                                    .leaderless = number_of(totals, "Leaderless", 0),
                                    .lacking = number_of(totals, "Lacking", 0),
                                    .moving = number_of(totals, "Moving", 0),
                                    .lost = number_of(totals, "Lost", 0)};
    if (brokers == NULL || partitions == NULL || placement->total < 0)
        return fault_set(fault, KQ_GARBAGE, "the broker's reply to CLUS STATUS is not of the protocol");
    placement->brokers = calloc(brokers->u.array.len + 1, sizeof(*placement->brokers));
    placement->partitions = calloc(partitions->u.array.len + 1, sizeof(*placement->partitions));
    if (placement->brokers == NULL || placement->partitions == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < brokers->u.array.len; i++)
        read_broker(&placement->brokers[placement->broker_count++], brokers->u.array.values[i]);
    enum kq_err err = KQ_OK;
    for (size_t i = 0; i < partitions->u.array.len && err == KQ_OK; i++)
        err = read_partition(&placement->partitions[placement->partition_count++], partitions->u.array.values[i]);
    return err == KQ_OK ? err
                        : fault_set(fault, err, "the broker's reply to CLUS STATUS has a partition without a name");
}

void placement_fini(struct placement *placement)
{
    for (size_t i = 0; i < placement->partition_count; i++)
        free(placement->partitions[i].topic);
    free(placement->partitions);
    free(placement->brokers);
    *placement = (struct placement){.total = 0};
}

const struct placement_broker *placement_find_broker(const struct placement *placement, int64_t id)
{
    for (size_t i = 0; i < placement->broker_count; i++)
        if (placement->brokers[i].id == id)
            return &placement->brokers[i];
    return NULL;
}

const struct placement_partition *placement_find(const struct placement *placement, const char *topic, int64_t number)
{
    for (size_t i = 0; placement->partitions != NULL && i < placement->partition_count; i++)
        if (placement->partitions[i].number == number && strcmp(placement->partitions[i].topic, topic) == 0)
            return &placement->partitions[i];
    return NULL;
}

int64_t placement_lag(const struct placement *placement)
{
    int64_t lag = 0;
    for (size_t i = 0; i < placement->partition_count; i++)
        for (uint32_t r = 0; r < placement->partitions[i].replica_count; r++)
            lag += placement->partitions[i].replicas[r].lag > 0 ? placement->partitions[i].replicas[r].lag : 0;
    return lag;
}

/* ---- showing ------------------------------------------------------------------------------ */

/* The rows that were written into `json` as one list, by show_value. */
static void show_rows(struct buf *out, struct buf *json)
{
    char why[100];
    buf_u8(json, 0);
    yajl_val rows = json->bad ? NULL : yajl_tree_parse((const char *)json->data, why, sizeof(why));
    if (rows == NULL) {
        out->bad = true;
        return;
    }
    show_value(out, rows);
    yajl_tree_free(rows);
}

static const char *state_of(const struct placement_broker *broker)
{
    if (!broker->alive)
        return broker->draining ? "dead, draining" : "dead";
    return broker->draining ? "alive, draining" : "alive";
}

static void show_brokers(struct buf *out, const struct placement *placement)
{
    struct buf rows;
    struct json json;
    buf_init(&rows, WIRE_LINE_MAX_BYTES);
    json_begin(&json, &rows);
    json_open(&json, '[');
    for (size_t i = 0; i < placement->broker_count; i++) {
        const struct placement_broker *broker = &placement->brokers[i];
        char address[300];
        bool six = strchr(broker->host, ':') != NULL;
        (void)snprintf(address, sizeof(address), "%s%s%s:%lld", six ? "[" : "", broker->host, six ? "]" : "",
                       (long long)broker->port);
        json_open(&json, '{');
        json_put_number(&json, "Broker", broker->id);
        json_put_text(&json, "Address", address);
        json_put_number(&json, "RaftPort", broker->raft_port);
        json_put_text(&json, "State", state_of(broker));
        json_put_text(&json, "Controller", broker->controller ? "yes" : "");
        json_put_number(&json, "Replicas", broker->replicas);
        json_put_number(&json, "Leaders", broker->leaders);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    show_rows(out, &rows);
    buf_fini(&rows);
}

static void show_sentence(struct buf *out, const struct placement *p)
{
    buf_printf(out, "%lld partition%s: ", (long long)p->total, p->total == 1 ? "" : "s");
    if (p->leaderless == 0 && p->lacking == 0 && p->moving == 0)
        buf_text(out, "each has a leader and all its replicas");
    else
        buf_printf(out, "%lld without a leader, %lld lacking replicas, %lld moving", (long long)p->leaderless,
                   (long long)p->lacking, (long long)p->moving);
    if (p->lost > 0)
        buf_printf(out, ", %lld lost for good", (long long)p->lost);
    buf_u8(out, '\n');
}

enum column { HELD, IN_SYNC, BEHIND, COMING, LEAVING };

static bool belongs(const struct placement_replica *replica, enum column column)
{
    switch (column) {
    case HELD:
        return true;
    case IN_SYNC:
        return replica->in_sync;
    case BEHIND:
        return !replica->in_sync;
    case COMING:
        return replica->wanted && !replica->voter;
    case LEAVING:
        return !replica->wanted;
    }
    return false;
}

/* `1,3`; of those behind with the entries they lack, `3 (17)`. */
static void put_column(struct json *json, const char *name, const struct placement_partition *partition,
                       enum column column)
{
    char text[PLACEMENT_REPLICAS_MAX * 48] = "";
    size_t len = 0;
    for (uint32_t i = 0; i < partition->replica_count; i++) {
        const struct placement_replica *replica = &partition->replicas[i];
        char lag[24];
        if (!belongs(replica, column))
            continue;
        (void)snprintf(lag, sizeof(lag), replica->lag >= 0 ? "%lld" : "?", (long long)replica->lag);
        int put =
            snprintf(text + len, sizeof(text) - len, "%s%lld%s%s%s", len > 0 ? "," : "", (long long)replica->broker,
                     column == BEHIND ? " (" : "", column == BEHIND ? lag : "", column == BEHIND ? ")" : "");
        len += put > 0 && (size_t)put < sizeof(text) - len ? (size_t)put : 0;
    }
    json_put_text(json, name, text);
}

static void show_partitions(struct buf *out, const struct placement *placement)
{
    struct buf rows;
    struct json json;
    buf_init(&rows, WIRE_LINE_MAX_BYTES);
    json_begin(&json, &rows);
    json_open(&json, '[');
    for (size_t i = 0; i < placement->partition_count; i++) {
        const struct placement_partition *partition = &placement->partitions[i];
        json_open(&json, '{');
        json_put_text(&json, "Topic", partition->topic);
        json_put_number(&json, "Partition", partition->number);
        json_key(&json, "Leader");
        if (partition->leader == 0)
            json_add_null(&json);
        else
            json_add_number(&json, partition->leader);
        put_column(&json, "Replicas", partition, HELD);
        put_column(&json, "InSync", partition, IN_SYNC);
        put_column(&json, "Behind", partition, BEHIND);
        put_column(&json, "Coming", partition, COMING);
        put_column(&json, "Leaving", partition, LEAVING);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    show_rows(out, &rows);
    buf_fini(&rows);
}

/* What is lost for good, and what can be done. */
static void show_losses(struct buf *out, const struct placement *placement)
{
    if (placement->lost == 0)
        return;
    buf_text(out, "\nLost for good:");
    for (size_t i = 0; i < placement->partition_count; i++)
        if (placement->partitions[i].lost)
            buf_printf(out, " %s/%lld", placement->partitions[i].topic, (long long)placement->partitions[i].number);
    buf_text(out,
             "\nA majority of the replicas is gone with brokers that were removed or came back with an empty disk.\n"
             "They take no messages any more, unless such a broker gets its old data folder back. What is left is\n"
             "read as before: read it out, delete the topic and make it anew.\n");
}

void placement_show(struct buf *out, const struct placement *placement)
{
    show_brokers(out, placement);
    buf_u8(out, '\n');
    show_sentence(out, placement);
    if (placement->partition_count > 0) {
        buf_u8(out, '\n');
        show_partitions(out, placement);
    }
    show_losses(out, placement);
}

/* ---- comparing ----------------------------------------------------------------------------- */

static bool holds(const struct placement_partition *partition, int64_t broker)
{
    for (uint32_t i = 0; i < partition->replica_count; i++)
        if (partition->replicas[i].broker == broker)
            return true;
    return false;
}

static void put_holders(struct buf *out, const struct placement_partition *partition)
{
    for (uint32_t i = 0; i < partition->replica_count; i++)
        buf_printf(out, "%s%lld", i > 0 ? "," : "", (long long)partition->replicas[i].broker);
    if (partition->leader != 0)
        buf_printf(out, " led by %lld", (long long)partition->leader);
}

struct placement_changes placement_compare(struct buf *out, const struct placement *before,
                                           const struct placement *after, uint32_t most)
{
    struct placement_changes changes = {0, 0};
    uint32_t changed = 0;
    for (size_t i = 0; i < after->partition_count; i++) {
        const struct placement_partition *now = &after->partitions[i];
        /* Both lists are in one order, so the same place is the first to look at. */
        const struct placement_partition *then = i < before->partition_count ? &before->partitions[i] : NULL;
        if (then == NULL || then->number != now->number || strcmp(then->topic, now->topic) != 0)
            then = placement_find(before, now->topic, now->number);
        if (then == NULL)
            continue;
        uint32_t came = 0;
        uint32_t went = 0;
        for (uint32_t r = 0; r < now->replica_count; r++)
            came += !holds(then, now->replicas[r].broker);
        for (uint32_t r = 0; r < then->replica_count; r++)
            went += !holds(now, then->replicas[r].broker);
        bool other_leader = now->leader != 0 && now->leader != then->leader;
        changes.replicas += came;
        changes.leaders += other_leader;
        if (came + went == 0 && !other_leader)
            continue;
        if (out != NULL && changed < most) {
            buf_printf(out, "%s/%lld: ", now->topic, (long long)now->number);
            put_holders(out, then);
            buf_text(out, " -> ");
            put_holders(out, now);
            buf_u8(out, '\n');
        }
        changed++;
    }
    if (out != NULL && changed > most)
        buf_printf(out, "and %u more partitions\n", changed - most);
    return changes;
}
