/*
 * DescribeConfigs, AlterConfigs, IncrementalAlterConfigs.
 *
 * Topics have every key that Kafka 4 knows; what does nothing here is kept and reported.
 * A broker's settings are told as they are in its file, and by the names that Kafka has
 * for some of them; they cannot be changed from here.
 */
#include "base/require.h"
#include "proto/kafka/api_configs.h"
#include "proto/kafka/api_topics.h"
#include "server/kafka_admin.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4, OP_COUNT = 4 };

/* Kafka's numbers of types. */
enum { TYPE_BOOLEAN = 1, TYPE_STRING = 2, TYPE_INT = 3, TYPE_LONG = 5, TYPE_DOUBLE = 6, TYPE_LIST = 7 };

static int8_t type_of(enum topic_config_key key)
{
    static const int8_t types[] = {
        [TOPIC_CONFIG_BOOL] = TYPE_BOOLEAN, [TOPIC_CONFIG_INT] = TYPE_INT,       [TOPIC_CONFIG_LONG] = TYPE_LONG,
        [TOPIC_CONFIG_RATIO] = TYPE_DOUBLE, [TOPIC_CONFIG_CHOICE] = TYPE_STRING, [TOPIC_CONFIG_LIST] = TYPE_LIST,
    };
    return types[topic_config_kind(key)];
}

static struct slice copy_text(struct kafka_call *call, const char *text)
{
    return kafka_arena_copy(&call->arena, text, strlen(text));
}

/* ---- what the broker was told -------------------------------------------------------------- */

static int64_t number_of(const struct config *config, const struct config_key *key)
{
    const void *at = (const char *)config + key->field_off;
    return key->live ? atomic_load_explicit((const _Atomic int64_t *)at, memory_order_relaxed) : *(const int64_t *)at;
}

/* The configuration of a broker that was told nothing; NULL: no room. */
static const struct config *factory(struct kafka_call *call)
{
    struct config *fresh = kafka_arena_take(&call->arena, sizeof(*fresh));
    if (fresh != NULL)
        config_defaults(fresh);
    return fresh;
}

/* Whether the broker was told something else than what it would do by itself. */
static bool was_told(const struct kafka_call *call, const struct config *fresh, const struct config_key *key)
{
    const struct config *config = call->broker->config;
    if (key->kind == CONFIG_TEXT)
        return strcmp((const char *)config + key->field_off, (const char *)fresh + key->field_off) != 0;
    return number_of(config, key) != number_of(fresh, key);
}

/* The same of a setting that topics follow. */
static bool was_told_of(const struct kafka_call *call, const struct config *fresh, enum topic_config_key key)
{
    size_t count;
    const struct config_key *keys = config_keys(&count);
    const char *name = key == TOPIC_CONFIG_MAX_MESSAGE_BYTES ? "message.max.bytes" : topic_config_name(key);
    for (size_t i = 0; i < count; i++)
        if (strcmp(keys[i].name, name) == 0)
            return was_told(call, fresh, &keys[i]);
    return false;
}

/* ---- topics --------------------------------------------------------------------------------- */

/* What one key of a topic is. */
struct setting {
    struct slice name;
    struct slice value;
    struct slice standard; /* without the topic's own value */
    bool own;              /* the topic has set it */
    int8_t source;
    int8_t standard_source;
};

/* What topics fall back to. */
struct background {
    struct partition_limits limits;
    const struct config *fresh;
};

static struct setting setting_of(struct kafka_call *call, const struct topic_config *config,
                                 const struct background *back, enum topic_config_key key)
{
    char text[TOPIC_CONFIG_TEXT_BYTES];
    bool from_broker;
    struct setting s = {.name = slice_text(topic_config_name(key)), .own = config->set[key]};
    topic_config_text(key, topic_config_default(key, &back->limits, &from_broker), text);
    s.standard = s.value = copy_text(call, text);
    bool told = from_broker && was_told_of(call, back->fresh, key);
    s.standard_source = told ? CONFIG_SOURCE_BROKER_FILE : CONFIG_SOURCE_DEFAULT;
    s.source = s.own ? CONFIG_SOURCE_TOPIC : s.standard_source;
    if (s.own) {
        topic_config_text(key, config->value[key], text);
        s.value = copy_text(call, text);
    }
    return s;
}

void kafka_fill_created_configs(struct kafka_call *call, struct kafka_create_topics_response_topic *to,
                                const struct topic_config *config)
{
    struct background back = {.limits = cluster_default_limits(call->broker->cluster), .fresh = factory(call)};
    if (back.fresh == NULL ||
        !KAFKA_FILL(&call->arena, to->configs, kafka_create_topics_response_config, TOPIC_CONFIG_COUNT))
        return;
    for (int i = 0; i < TOPIC_CONFIG_COUNT; i++) {
        struct setting s = setting_of(call, config, &back, (enum topic_config_key)i);
        to->configs.at[i].name = s.name;
        to->configs.at[i].value = s.value;
        to->configs.at[i].config_source = s.source;
    }
}

/* A broker's setting that a topic follows, by Kafka's name. */
static const char *broker_name(enum topic_config_key key)
{
    switch (key) {
    case TOPIC_CONFIG_RETENTION_MS:
        return "log.retention.ms";
    case TOPIC_CONFIG_RETENTION_BYTES:
        return "log.retention.bytes";
    case TOPIC_CONFIG_SEGMENT_BYTES:
        return "log.segment.bytes";
    case TOPIC_CONFIG_MAX_MESSAGE_BYTES:
        return "message.max.bytes";
    default:
        return topic_config_name(key);
    }
}

static void fill_topic_row(struct kafka_call *call, struct kafka_describe_configs_response_config *row,
                           const struct setting *s, enum topic_config_key key)
{
    const struct kafka_describe_configs_request *asked = call->body;
    row->name = s->name;
    row->value = s->value;
    row->is_default = s->source == CONFIG_SOURCE_DEFAULT;
    row->config_source = s->source;
    row->config_type = type_of(key);
    if (asked->include_documentation)
        row->documentation = slice_text(topic_config_why(key));
    if (!asked->include_synonyms ||
        !KAFKA_FILL(&call->arena, row->synonyms, kafka_describe_configs_response_synonym, s->own + 1))
        return;
    if (s->own)
        row->synonyms.at[0] = (struct kafka_describe_configs_response_synonym){
            .name = s->name, .value = s->value, .source = CONFIG_SOURCE_TOPIC};
    row->synonyms.at[s->own] = (struct kafka_describe_configs_response_synonym){
        .name = slice_text(broker_name(key)), .value = s->standard, .source = s->standard_source};
}

/* Whether the key is among those asked for; null: all are. */
static bool wants(const struct kafka_describe_configs_request_resource *asked, const char *name)
{
    if (asked->configuration_keys.count < 0)
        return true;
    for (int32_t i = 0; i < asked->configuration_keys.count; i++)
        if (slice_equal_text(asked->configuration_keys.at[i], name))
            return true;
    return false;
}

static void describe_topic(struct kafka_call *call, const struct image *image,
                           const struct kafka_describe_configs_request_resource *asked,
                           struct kafka_describe_configs_response_result *to)
{
    const struct image_topic *topic =
        image_find(image, (const char *)asked->resource_name.data, asked->resource_name.len);
    if (topic == NULL) {
        to->error_code = KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
        to->error_message = slice_text("this topic does not exist");
        return;
    }
    struct background back = {.limits = cluster_default_limits(call->broker->cluster), .fresh = factory(call)};
    if (back.fresh == NULL ||
        !KAFKA_FILL(&call->arena, to->configs, kafka_describe_configs_response_config, TOPIC_CONFIG_COUNT))
        return;
    int32_t count = 0;
    for (int i = 0; i < TOPIC_CONFIG_COUNT; i++) {
        enum topic_config_key key = (enum topic_config_key)i;
        if (!wants(asked, topic_config_name(key)))
            continue;
        struct setting s = setting_of(call, image_topic_config(topic), &back, key);
        fill_topic_row(call, &to->configs.at[count++], &s, key);
    }
    to->configs.count = count;
}

/* ---- brokers ----------------------------------------------------------------------------------- */

/* The nth of the words in "a|b|c". */
static struct slice word_at(const char *words, int64_t n)
{
    for (; n > 0 && strchr(words, '|') != NULL; n--)
        words = strchr(words, '|') + 1;
    return slice_of(words, strcspn(words, "|"));
}

/* Spans in milliseconds, as Kafka has them. */
static struct slice broker_value(struct kafka_call *call, const struct config *config, const struct config_key *key)
{
    if (key->kind == CONFIG_TEXT)
        return copy_text(call, (const char *)config + key->field_off);
    int64_t number = number_of(config, key);
    if (key->kind == CONFIG_CHOICE)
        return word_at(key->smallest, number);
    if (key->kind == CONFIG_SPAN && number > 0)
        number /= 1000;
    return kafka_arena_printf(&call->arena, "%" PRId64, number);
}

static int8_t broker_type(const struct config_key *key)
{
    if (key->kind == CONFIG_TEXT)
        return TYPE_STRING;
    if (key->kind == CONFIG_CHOICE)
        return strcmp(key->smallest, "false|true") == 0 ? TYPE_BOOLEAN : TYPE_STRING;
    return TYPE_LONG;
}

struct broker_row {
    const char *name;
    struct slice value;
    int8_t source;
    int8_t type;
    const char *why;
};

static void add_broker_row(struct kafka_call *call, const struct kafka_describe_configs_request_resource *wanted,
                           struct kafka_describe_configs_response_result *to, const struct broker_row *from)
{
    const struct kafka_describe_configs_request *asked = call->body;
    if (!wants(wanted, from->name))
        return;
    struct kafka_describe_configs_response_config *row = &to->configs.at[to->configs.count++];
    row->name = slice_text(from->name);
    row->value = from->value;
    row->read_only = true;
    row->is_default = from->source == CONFIG_SOURCE_DEFAULT;
    row->config_source = from->source;
    row->config_type = from->type;
    if (asked->include_documentation)
        row->documentation = slice_text(from->why);
    if (!asked->include_synonyms ||
        !KAFKA_FILL(&call->arena, row->synonyms, kafka_describe_configs_response_synonym, 1))
        return;
    row->synonyms.at[0] = (struct kafka_describe_configs_response_synonym){
        .name = row->name, .value = from->value, .source = from->source};
}

/* Where Kafka has another name for a setting. */
static const char *kafka_name(const char *name)
{
    static const char *const names[][2] = {{"retention.ms", "log.retention.ms"},
                                           {"retention.bytes", "log.retention.bytes"},
                                           {"segment.bytes", "log.segment.bytes"},
                                           {"request.max", "socket.request.max.bytes"},
                                           {"offsets.partitions", "offsets.topic.num.partitions"},
                                           {"connections.max", "max.connections"}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i][0], name) == 0)
            return names[i][1];
    return name;
}

static void describe_broker(struct kafka_call *call, const struct kafka_describe_configs_request_resource *asked,
                            struct kafka_describe_configs_response_result *to)
{
    char id[16], self[16];
    (void)snprintf(self, sizeof(self), "%u", cluster_self(call->broker->cluster));
    if (asked->resource_name.len == 0)
        return; /* settings of all brokers at once: there are none */
    if (!kafka_c_text(asked->resource_name, id, sizeof(id)) || strcmp(id, self) != 0) {
        to->error_code = KAFKA_ERR_INVALID_REQUEST;
        to->error_message = kafka_arena_printf(
            &call->arena, "this is broker %s; the settings of another one are asked of itself", self);
        return;
    }
    size_t count;
    const struct config_key *keys = config_keys(&count);
    const struct config *fresh = factory(call);
    if (fresh == NULL || !KAFKA_FILL(&call->arena, to->configs, kafka_describe_configs_response_config, count + 3))
        return;
    to->configs.count = 0;
    for (size_t i = 0; i < count; i++) {
        bool told = was_told(call, fresh, &keys[i]);
        struct broker_row row = {.name = kafka_name(keys[i].name),
                                 .value = broker_value(call, call->broker->config, &keys[i]),
                                 .source = told ? CONFIG_SOURCE_BROKER_FILE : CONFIG_SOURCE_DEFAULT,
                                 .type = broker_type(&keys[i]),
                                 .why = keys[i].why};
        add_broker_row(call, asked, to, &row);
    }
    const struct broker_row more[] = {
        {"broker.id", copy_text(call, self), CONFIG_SOURCE_BROKER_FILE, TYPE_INT, "this broker's number"},
        {"node.id", copy_text(call, self), CONFIG_SOURCE_BROKER_FILE, TYPE_INT, "this broker's number"},
        {"delete.topic.enable", slice_text("true"), CONFIG_SOURCE_DEFAULT, TYPE_BOOLEAN, "topics can be deleted"}};
    for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
        add_broker_row(call, asked, to, &more[i]);
}

/* ---- DescribeConfigs ---------------------------------------------------------------------------- */

struct describing {
    struct kafka_call *call;
    struct cluster_request catch_up;
};

static void describing_fini(struct kafka_call *call)
{
    free(call->own);
}

static void describe_all(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_describe_configs_request *asked = call->body;
    struct kafka_describe_configs_response *answer = call->answer;
    struct image *image = cluster_image(call->broker->cluster);
    int32_t count = asked->resources.count;
    if (!KAFKA_FILL(&call->arena, answer->results, kafka_describe_configs_response_result, count))
        count = 0;
    for (int32_t i = 0; i < count; i++) {
        const struct kafka_describe_configs_request_resource *from = &asked->resources.at[i];
        struct kafka_describe_configs_response_result *to = &answer->results.at[i];
        to->resource_type = from->resource_type;
        to->resource_name = from->resource_name;
        if (from->resource_type == RESOURCE_TOPIC) {
            describe_topic(call, image, from, to);
        } else if (from->resource_type == RESOURCE_BROKER) {
            describe_broker(call, from, to);
        } else {
            to->error_code = KAFKA_ERR_INVALID_REQUEST;
            to->error_message = slice_text("settings are had of topics (2) and brokers (4)");
        }
    }
    image_drop(&image);
    kafka_call_answered(call);
}

static void described_now(struct cluster_request *request)
{
    kafka_call_wants_worker(CONTAINER_OF(request, struct describing, catch_up)->call, describe_all);
}

/* What was changed a moment ago, at any broker, is to be seen: so what is committed is asked for
 * first. Without a controller it is told what is known here. */
void kafka_handle_describe_configs(struct kafka_call *call, struct worker *worker)
{
    struct describing *describing = calloc(1, sizeof(*describing));
    if (describing == NULL) {
        describe_all(call, worker);
        return;
    }
    call->own = describing;
    call->fini = describing_fini;
    *describing = (struct describing){.call = call, .catch_up = {.done = described_now}};
    cluster_catch_up(call->broker->cluster, &describing->catch_up);
}

/* ---- changes --------------------------------------------------------------------------------------- */

/* Both requests, seen alike. */
struct change {
    struct slice name;
    struct slice value;
    int8_t op;
};

struct resource {
    int8_t type;
    struct slice name;
    int32_t count;
};

static bool is_incremental(const struct kafka_call *call)
{
    return call->request.key == KAFKA_INCREMENTAL_ALTER_CONFIGS;
}

static struct resource resource_at(const struct kafka_call *call, int32_t i)
{
    const struct kafka_alter_configs_request *whole = call->body;
    const struct kafka_incremental_alter_configs_request *steps = call->body;
    if (is_incremental(call))
        return (struct resource){steps->resources.at[i].resource_type, steps->resources.at[i].resource_name,
                                 steps->resources.at[i].configs.count};
    return (struct resource){whole->resources.at[i].resource_type, whole->resources.at[i].resource_name,
                             whole->resources.at[i].configs.count};
}

static struct change change_at(const struct kafka_call *call, int32_t i, int32_t k)
{
    const struct kafka_alter_configs_request *whole = call->body;
    const struct kafka_incremental_alter_configs_request *steps = call->body;
    if (is_incremental(call))
        return (struct change){steps->resources.at[i].configs.at[k].name, steps->resources.at[i].configs.at[k].value,
                               steps->resources.at[i].configs.at[k].config_operation};
    return (struct change){whole->resources.at[i].configs.at[k].name, whole->resources.at[i].configs.at[k].value, 0};
}

static void alter_answer(struct kafka_call *call, int32_t i, int16_t code, struct slice why)
{
    struct resource resource = resource_at(call, i);
    struct kafka_alter_configs_response *whole = call->answer;
    struct kafka_incremental_alter_configs_response *steps = call->answer;
    if (is_incremental(call))
        steps->responses.at[i] =
            (struct kafka_incremental_alter_configs_response_result){code, why, resource.type, resource.name};
    else
        whole->responses.at[i] = (struct kafka_alter_configs_response_result){code, why, resource.type, resource.name};
}

/* KQ_INVALID: a setting that cannot be; KQ_GARBAGE: a request that cannot be. */
static enum kq_err take_changes(struct kafka_call *call, struct admin_job *job, int32_t count, struct fault *fault)
{
    static const enum topic_config_op ops[OP_COUNT] = {TOPIC_CONFIG_SET, TOPIC_CONFIG_UNSET, TOPIC_CONFIG_APPEND,
                                                       TOPIC_CONFIG_SUBTRACT};
    bool seen[TOPIC_CONFIG_COUNT] = {false};
    if (count > TOPIC_CONFIG_COUNT)
        return fault_set(fault, KQ_GARBAGE, "more settings than a topic has");
    for (int32_t k = 0; k < count; k++) {
        struct change change = change_at(call, job->item, k);
        struct topic_config_setting *setting = &job->settings[job->request.setting_count++];
        char name[TOPIC_CONFIG_TEXT_BYTES], value[TOPIC_CONFIG_TEXT_BYTES] = "";
        if (change.op < 0 || change.op >= OP_COUNT)
            return fault_set(fault, KQ_GARBAGE, "operation %d is not one of set, delete, append and subtract",
                             change.op);
        bool unset = ops[change.op] == TOPIC_CONFIG_UNSET;
        if (!unset && slice_is_absent(change.value))
            return fault_set(fault, KQ_GARBAGE, "a setting has no value");
        if (!kafka_c_text(change.name, name, sizeof(name)) ||
            (!unset && !kafka_c_text(change.value, value, sizeof(value))))
            return fault_set(fault, KQ_INVALID, "a setting's name or value is longer than any that a topic has");
        if (topic_config_setting(name, ops[change.op], value, setting, fault) != KQ_OK)
            return KQ_INVALID;
        if (seen[setting->key])
            return fault_set(fault, KQ_GARBAGE, "%s is named twice", name);
        seen[setting->key] = true;
    }
    job->request.settings = job->settings;
    return KQ_OK;
}

static bool alter_begin(struct admin_batch *batch, struct admin_job *job)
{
    struct kafka_call *call = batch->call;
    const struct kafka_alter_configs_request *whole = call->body;
    const struct kafka_incremental_alter_configs_request *steps = call->body;
    struct resource resource = resource_at(call, job->item);
    struct fault fault = {.err = KQ_OK};
    int16_t code = KAFKA_ERR_NONE;
    if (resource.type != RESOURCE_TOPIC) {
        code = KAFKA_ERR_INVALID_REQUEST;
        (void)fault_set(&fault, KQ_INVALID,
                        "only a topic's settings can be changed; a broker's stand in its configuration file, and "
                        "some of them are read anew on SIGHUP");
    } else if (!admin_is_first(batch, resource.name.data, resource.name.len)) {
        code = KAFKA_ERR_INVALID_REQUEST;
        (void)fault_set(&fault, KQ_INVALID, "the request names this topic twice");
    } else if (!kafka_c_text(resource.name, job->name, sizeof(job->name))) {
        code = KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
        (void)fault_set(&fault, KQ_UNKNOWN_TOPIC, "this topic does not exist");
    } else if (take_changes(call, job, resource.count, &fault) != KQ_OK) {
        code = fault.err == KQ_GARBAGE ? KAFKA_ERR_INVALID_REQUEST : KAFKA_ERR_INVALID_CONFIG;
    }
    alter_answer(call, job->item, code, code == KAFKA_ERR_NONE ? slice_of(NULL, 0) : kafka_text(call, &fault));
    job->request.topic = job->name;
    job->request.replace = !is_incremental(call);
    job->request.dry = is_incremental(call) ? steps->validate_only : whole->validate_only;
    job->send = cluster_topic_config;
    return code == KAFKA_ERR_NONE;
}

static void alter_end(struct admin_batch *batch, struct admin_job *job)
{
    const struct fault *fault = &job->request.fault;
    if (fault->err != KQ_OK)
        alter_answer(batch->call, job->item, admin_code(fault), kafka_text(batch->call, fault));
}

void kafka_handle_alter_configs(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_alter_configs_request *asked = call->body;
    struct kafka_alter_configs_response *answer = call->answer;
    bool ok = KAFKA_FILL(&call->arena, answer->responses, kafka_alter_configs_response_result, asked->resources.count);
    admin_run(call, ok ? asked->resources.count : 0, false, alter_begin, alter_end);
}

void kafka_handle_incremental_alter_configs(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_incremental_alter_configs_request *asked = call->body;
    struct kafka_incremental_alter_configs_response *answer = call->answer;
    bool ok = KAFKA_FILL(&call->arena, answer->responses, kafka_incremental_alter_configs_response_result,
                         asked->resources.count);
    admin_run(call, ok ? asked->resources.count : 0, false, alter_begin, alter_end);
}
