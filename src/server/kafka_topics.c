/*
 * CreateTopics, DeleteTopics, CreatePartitions: each topic is a question to the controller,
 * which judges and places; this file checks only what it alone can see (items that come
 * twice, assignments that do not add up), and what Kafka names otherwise.
 */
#include "base/require.h"
#include "proto/kafka/api_topics.h"
#include "server/kafka_admin.h"

#include <stdlib.h>

/* ---- CreateTopics ------------------------------------------------------------------------------ */

static void create_refuse(struct kafka_create_topics_response_topic *to, int16_t code, struct slice why)
{
    to->error_code = code;
    to->error_message = why;
    to->num_partitions = -1;
    to->replication_factor = -1;
}

/* An assignment into job->assigned: all partitions from 0 on, each with as many brokers.
 * NULL, or what is wrong. */
static const char *take_assignments(const struct kafka_create_topics_request_topic *asked, struct admin_job *job)
{
    int32_t count = asked->assignments.count;
    int32_t width = asked->assignments.at[0].broker_ids.count;
    size_t room = sizeof(job->assigned) / sizeof(job->assigned[0]);
    if (width <= 0 || (size_t)count * (size_t)width > room)
        return "replicas can be assigned by hand for up to 1024 of them, at least one a partition";
    memset(job->assigned, 0, sizeof(job->assigned));
    for (int32_t i = 0; i < count; i++) {
        const struct kafka_create_topics_request_assignment *one = &asked->assignments.at[i];
        if (one->partition_index < 0 || one->partition_index >= count)
            return "partitions that are assigned by hand must be numbered from 0 on without a gap";
        if (one->broker_ids.count != width)
            return "partitions that are assigned by hand must have equally many replicas";
        for (int32_t k = 0; k < width; k++) {
            uint32_t *to = &job->assigned[one->partition_index * width + k];
            if (*to != 0 || one->broker_ids.at[k] <= 0)
                return "a partition is assigned twice, or to a broker that cannot be";
            *to = (uint32_t)one->broker_ids.at[k];
        }
    }
    job->request.partitions = (uint32_t)count;
    job->request.replicas = (uint32_t)width;
    job->request.assigned = job->assigned;
    job->request.assigned_count = (uint32_t)(count * width);
    return NULL;
}

/* The settings into job->settings. */
static enum kq_err take_settings(const struct kafka_create_topics_request_topic *asked, struct admin_job *job,
                                 struct fault *fault)
{
    for (int32_t i = 0; i < asked->configs.count; i++) {
        const struct kafka_create_topics_request_config *one = &asked->configs.at[i];
        char name[TOPIC_CONFIG_TEXT_BYTES], value[TOPIC_CONFIG_TEXT_BYTES];
        if (job->request.setting_count == TOPIC_CONFIG_SETTINGS_MAX)
            return fault_set(fault, KQ_INVALID, "more than %d settings", TOPIC_CONFIG_SETTINGS_MAX);
        if (!kafka_c_text(one->name, name, sizeof(name)))
            return fault_set(fault, KQ_INVALID, "a setting's name is not one of a topic's");
        if (!kafka_c_text(one->value, value, sizeof(value)))
            return fault_set(fault, KQ_INVALID, "%s: its value is missing, or too long", name);
        if (topic_config_setting(name, TOPIC_CONFIG_SET, value, &job->settings[job->request.setting_count++], fault) !=
            KQ_OK)
            return KQ_INVALID;
    }
    job->request.settings = job->settings;
    return KQ_OK;
}

/* Numbers of partitions and replicas. False: they cannot be, and the answer says so. */
static bool take_numbers(const struct kafka_call *call, const struct kafka_create_topics_request_topic *asked,
                         struct admin_job *job, struct kafka_create_topics_response_topic *to)
{
    const struct config *config = call->broker->config;
    if (asked->assignments.count > 0) {
        if (asked->num_partitions != -1 || asked->replication_factor != -1) {
            create_refuse(to, KAFKA_ERR_INVALID_REQUEST,
                          slice_text("with an assignment, partitions and replicas must both be -1"));
            return false;
        }
        const char *wrong = take_assignments(asked, job);
        if (wrong != NULL)
            create_refuse(to, KAFKA_ERR_INVALID_REPLICA_ASSIGNMENT, slice_text(wrong));
        return wrong == NULL;
    }
    if (asked->num_partitions == 0 || asked->num_partitions < -1) {
        create_refuse(to, KAFKA_ERR_INVALID_PARTITIONS,
                      slice_text("the number of partitions must be above 0, or -1 for the broker's default"));
        return false;
    }
    if (asked->replication_factor == 0 || asked->replication_factor < -1) {
        create_refuse(to, KAFKA_ERR_INVALID_REPLICATION_FACTOR,
                      slice_text("the number of replicas must be above 0, or -1 for the broker's default"));
        return false;
    }
    int64_t partitions = asked->num_partitions, replicas = asked->replication_factor;
    if (partitions < 0)
        partitions = atomic_load_explicit(&config->num_partitions, memory_order_relaxed);
    if (replicas < 0)
        replicas = atomic_load_explicit(&config->default_replicas, memory_order_relaxed);
    job->request.partitions = (uint32_t)partitions;
    job->request.replicas = (uint32_t)replicas;
    return true;
}

static bool create_begin(struct admin_batch *batch, struct admin_job *job)
{
    struct kafka_call *call = batch->call;
    const struct kafka_create_topics_request *body = call->body;
    const struct kafka_create_topics_request_topic *asked = &body->topics.at[job->item];
    struct kafka_create_topics_response *answer = call->answer;
    struct kafka_create_topics_response_topic *to = &answer->topics.at[job->item];
    struct fault fault = {.err = KQ_OK};
    to->name = asked->name;
    if (!admin_is_first(batch, asked->name.data, asked->name.len)) {
        create_refuse(to, KAFKA_ERR_INVALID_REQUEST, slice_text("the request names this topic twice"));
        return false;
    }
    if (cluster_check_topic_name((const char *)asked->name.data, asked->name.len, &fault) != KQ_OK ||
        !kafka_c_text(asked->name, job->name, sizeof(job->name))) {
        create_refuse(to, KAFKA_ERR_INVALID_TOPIC_EXCEPTION, kafka_text(call, &fault));
        return false;
    }
    if (!take_numbers(call, asked, job, to))
        return false;
    if (take_settings(asked, job, &fault) != KQ_OK) {
        create_refuse(to, KAFKA_ERR_INVALID_CONFIG, kafka_text(call, &fault));
        return false;
    }
    job->request.topic = job->name;
    job->request.exclusive = true;
    job->request.dry = body->validate_only;
    job->request.timeout_us = admin_timeout_us(body->timeout_ms);
    job->send = cluster_create_topic;
    return true;
}

static void create_end(struct admin_batch *batch, struct admin_job *job)
{
    struct kafka_call *call = batch->call;
    struct kafka_create_topics_response *answer = call->answer;
    struct kafka_create_topics_response_topic *to = &answer->topics.at[job->item];
    const struct cluster_request *request = &job->request;
    if (request->fault.err != KQ_OK) {
        create_refuse(to, admin_code(&request->fault), kafka_text(call, &request->fault));
        return;
    }
    struct topic_config config = {.set = {false}};
    for (uint32_t i = 0; i < request->setting_count; i++)
        topic_config_apply(&config, &job->settings[i]);
    if (!request->dry)
        to->topic_id = request->topic_id;
    to->num_partitions = (int32_t)request->partitions;
    to->replication_factor = (int16_t)request->replicas;
    kafka_fill_created_configs(call, to, &config);
}

void kafka_handle_create_topics(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_create_topics_request *asked = call->body;
    struct kafka_create_topics_response *answer = call->answer;
    bool ok = KAFKA_FILL(&call->arena, answer->topics, kafka_create_topics_response_topic, asked->topics.count);
    admin_run(call, ok ? asked->topics.count : 0, false, create_begin, create_end);
}

/* ---- DeleteTopics ------------------------------------------------------------------------------------ */

/* What was asked for, in either form. */
struct doomed {
    struct slice name; /* absent: by id */
    struct uuid id;
};

static struct doomed doomed_at(const struct kafka_delete_topics_request *asked, bool by_struct, int32_t i)
{
    if (!by_struct)
        return (struct doomed){.name = asked->topic_names.at[i]};
    return (struct doomed){.name = asked->topics.at[i].name, .id = asked->topics.at[i].topic_id};
}

/* The topic's name into job->name, and its id if it is known. KAFKA_ERR_... */
static int16_t find_doomed(struct kafka_call *call, const struct doomed *doomed, struct admin_job *job,
                           struct kafka_delete_topics_response_result *to)
{
    struct image *image = cluster_image(call->broker->cluster);
    bool by_id = slice_is_absent(doomed->name);
    const struct image_topic *topic = by_id ? image_find_id(image, &doomed->id)
                                            : image_find(image, (const char *)doomed->name.data, doomed->name.len);
    int16_t code = KAFKA_ERR_NONE;
    if (topic != NULL)
        to->topic_id = *image_topic_id(topic);
    if (by_id && topic != NULL)
        to->name = kafka_arena_copy(&call->arena, image_topic_name(topic), strlen(image_topic_name(topic)));
    if (by_id && topic == NULL)
        code = KAFKA_ERR_UNKNOWN_TOPIC_ID;
    else if (!kafka_c_text(to->name, job->name, sizeof(job->name)))
        code = KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
    if (by_id)
        job->request.topic_id = doomed->id;
    image_drop(&image);
    return code;
}

static bool delete_begin(struct admin_batch *batch, struct admin_job *job)
{
    struct kafka_call *call = batch->call;
    const struct kafka_delete_topics_request *body = call->body;
    struct kafka_delete_topics_response *answer = call->answer;
    struct kafka_delete_topics_response_result *to = &answer->responses.at[job->item];
    struct doomed doomed = doomed_at(body, body->topics.count > 0, job->item);
    bool has_id = !uuid_is_zero(&doomed.id);
    to->name = doomed.name;
    to->topic_id = doomed.id;
    if (slice_is_absent(doomed.name) != has_id) {
        to->error_code = KAFKA_ERR_INVALID_REQUEST;
        to->error_message = slice_text("a topic is named by its name or by its id");
        return false;
    }
    to->error_code = find_doomed(call, &doomed, job, to);
    if (to->error_code == KAFKA_ERR_NONE && !admin_is_first(batch, to->name.data, to->name.len))
        to->error_code = KAFKA_ERR_INVALID_REQUEST;
    job->request.topic = job->name;
    job->request.timeout_us = admin_timeout_us(body->timeout_ms);
    job->send = cluster_delete_topic;
    return to->error_code == KAFKA_ERR_NONE;
}

static void delete_end(struct admin_batch *batch, struct admin_job *job)
{
    struct kafka_delete_topics_response *answer = batch->call->answer;
    struct kafka_delete_topics_response_result *to = &answer->responses.at[job->item];
    if (job->request.fault.err == KQ_OK)
        return;
    to->error_code = admin_code(&job->request.fault);
    to->error_message = kafka_text(batch->call, &job->request.fault);
}

void kafka_handle_delete_topics(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_delete_topics_request *asked = call->body;
    struct kafka_delete_topics_response *answer = call->answer;
    int32_t count = asked->topics.count > 0 ? asked->topics.count : asked->topic_names.count;
    bool by_id = false;
    for (int32_t i = 0; i < asked->topics.count; i++)
        by_id |= slice_is_absent(asked->topics.at[i].name);
    bool ok = KAFKA_FILL(&call->arena, answer->responses, kafka_delete_topics_response_result, count);
    admin_run(call, ok ? count : 0, by_id, delete_begin, delete_end);
}

/* ---- CreatePartitions ---------------------------------------------------------------------------------- */

static bool grow_refuse(struct kafka_create_partitions_response_result *to, int16_t code, struct slice why)
{
    to->error_code = code;
    to->error_message = why;
    return false;
}

/* How many partitions the topic has; 0: it is not known here. */
static uint32_t partitions_now(struct kafka_call *call, struct slice name)
{
    struct image *image = cluster_image(call->broker->cluster);
    const struct image_topic *topic = image_find(image, (const char *)name.data, name.len);
    uint32_t count = topic == NULL ? 0 : image_topic_partitions(topic);
    image_drop(&image);
    return count;
}

/* Brokers of the new partitions, one after the other. False: they do not add up. */
static bool take_new_assignments(const struct kafka_create_partitions_request_topic *asked, uint32_t had,
                                 struct admin_job *job)
{
    size_t room = sizeof(job->assigned) / sizeof(job->assigned[0]);
    uint32_t count = 0;
    if ((uint32_t)asked->count - had != (uint32_t)asked->assignments.count)
        return false;
    for (int32_t i = 0; i < asked->assignments.count; i++) {
        if (asked->assignments.at[i].broker_ids.count != asked->assignments.at[0].broker_ids.count)
            return false;
        for (int32_t k = 0; k < asked->assignments.at[i].broker_ids.count; k++) {
            if (count == room || asked->assignments.at[i].broker_ids.at[k] <= 0)
                return false;
            job->assigned[count++] = (uint32_t)asked->assignments.at[i].broker_ids.at[k];
        }
    }
    job->request.assigned = job->assigned;
    job->request.assigned_count = count;
    return count > 0;
}

static bool grow_begin(struct admin_batch *batch, struct admin_job *job)
{
    struct kafka_call *call = batch->call;
    const struct kafka_create_partitions_request *body = call->body;
    const struct kafka_create_partitions_request_topic *asked = &body->topics.at[job->item];
    struct kafka_create_partitions_response *answer = call->answer;
    struct kafka_create_partitions_response_result *to = &answer->results.at[job->item];
    to->name = asked->name;
    if (!admin_is_first(batch, asked->name.data, asked->name.len))
        return grow_refuse(to, KAFKA_ERR_INVALID_REQUEST, slice_text("the request names this topic twice"));
    uint32_t had = partitions_now(call, asked->name);
    if (had == 0 || !kafka_c_text(asked->name, job->name, sizeof(job->name)))
        return grow_refuse(to, KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION, slice_text("this topic does not exist"));
    if (asked->count <= 0 || (uint32_t)asked->count <= had)
        return grow_refuse(to, KAFKA_ERR_INVALID_PARTITIONS,
                           kafka_arena_printf(&call->arena,
                                              "the topic has %u partitions, and %d are asked for: they "
                                              "can only become more",
                                              had, asked->count));
    if (asked->assignments.count >= 0 && !take_new_assignments(asked, had, job))
        return grow_refuse(to, KAFKA_ERR_INVALID_REPLICA_ASSIGNMENT,
                           slice_text("each new partition must be assigned, with equally many brokers"));
    job->request.topic = job->name;
    job->request.partitions = (uint32_t)asked->count;
    job->request.dry = body->validate_only;
    job->request.timeout_us = admin_timeout_us(body->timeout_ms);
    job->send = cluster_grow_topic;
    return true;
}

static void grow_end(struct admin_batch *batch, struct admin_job *job)
{
    struct kafka_create_partitions_response *answer = batch->call->answer;
    const struct fault *fault = &job->request.fault;
    if (fault->err != KQ_OK)
        (void)grow_refuse(&answer->results.at[job->item], admin_code(fault), kafka_text(batch->call, fault));
}

void kafka_handle_create_partitions(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_create_partitions_request *asked = call->body;
    struct kafka_create_partitions_response *answer = call->answer;
    bool ok = KAFKA_FILL(&call->arena, answer->results, kafka_create_partitions_response_result, asked->topics.count);
    admin_run(call, ok ? asked->topics.count : 0, true, grow_begin, grow_end);
}
