/*
 * What people look at, and orders for the cluster: GRPS, INFO, DESC and CLUS. They ask
 * (api/) on an errand of the session; a worker writes what may be long.
 */
#include "server/text_internal.h"

#include "api/survey.h"
#include "base/clock.h"
#include "base/require.h"

#include <string.h>

enum {
    SURVEY_TIMEOUT_US = 5 * 1000 * 1000,
    INFO_PATIENCE_US = 500 * 1000, /* for coordinators that nobody leads */
};

/* ---- GRPS, INFO ---------------------------------------------------------------------------- */

static void groups_fini(struct text_errand *errand)
{
    groups_list_fini(&errand->ask.groups);
}

static void groups_listed(struct group_request *request)
{
    text_errand_answered(request->owner, NULL);
}

static void list_groups(struct text_errand *errand)
{
    struct groups_list *list = &errand->ask.groups;
    errand->ask_fini = groups_fini;
    list->request.done = groups_listed;
    list->request.owner = errand;
    list->request.patience_us = errand->verb == TEXT_INFO ? INFO_PATIENCE_US : 0;
    groups_list(errand->session->front->broker, list);
}

static void group_fini(struct text_errand *errand)
{
    group_description_fini(&errand->ask.group_look);
}

static void group_described(struct group_description *description)
{
    text_errand_answered(description->owner, NULL);
}

static void describe_group(struct text_errand *errand)
{
    struct group_description *description = &errand->ask.group_look;
    errand->ask_fini = group_fini;
    description->done = group_described;
    description->owner = errand;
    description->request.call.group = errand->group;
    group_describe(errand->session->front->broker, description);
}

/* ---- DESC -------------------------------------------------------------------------------------- */

static void topic_fini(struct text_errand *errand)
{
    topic_description_fini(&errand->ask.describe);
}

static void topic_described(struct topic_description *description)
{
    text_errand_answered(description->owner, NULL);
}

static void describe_topic(struct text_errand *errand)
{
    struct topic_description *description = &errand->ask.describe;
    errand->ask_fini = topic_fini;
    *description = (struct topic_description){.done = topic_described, .owner = errand, .topic = errand->topic};
    topic_describe(errand->session->front->broker, description);
}

static void open_done(struct wait_request *wait)
{
    text_errand_answered(CONTAINER_OF(wait, struct text_errand, wait), NULL);
}

/* The worker. After a start a partition may take a moment to open: its ends are not known
 * before. True: a worker comes again when it is open or has failed. */
static bool wait_open(struct text_errand *errand)
{
    struct partition *opening = text_look_opening(errand->session->front->broker, errand->topic);
    if (opening == NULL)
        return false;
    partition_drop(&errand->partition);
    errand->partition = opening;
    errand->wait = (struct wait_request){.done = open_done, .off = -1};
    text_errand_asks(errand);
    partition_wait(opening, &errand->wait);
    return true;
}

/* The worker. True: it is not over. */
static bool describe_again(struct text_errand *errand)
{
    struct topic_description *description = &errand->ask.describe;
    if (errand->ask_fini != NULL && description->fault.err != KQ_UNKNOWN_TOPIC)
        return false;
    if (errand->ask_fini != NULL) {
        topic_description_fini(description);
        errand->ask_fini = NULL;
        if (text_errand_catch_up(errand))
            return true;
        (void)route_unknown(errand->topic, &errand->catch_up.fault, &description->fault);
        return false;
    }
    if (wait_open(errand))
        return true;
    text_errand_asks(errand);
    describe_topic(errand);
    return true;
}

/* ---- CLUS ---------------------------------------------------------------------------------------- */

static void ordered(struct cluster_order *order)
{
    text_errand_answered_fault(order->owner, &order->fault);
}

static void give_order(struct text_errand *errand, const struct text_command *command)
{
    static const enum cluster_order_verb verbs[TEXT_CLUSTER_COUNT] = {
        [TEXT_CLUSTER_ADD] = CLUSTER_ADD_BROKER,       [TEXT_CLUSTER_DRAIN] = CLUSTER_DRAIN_BROKER,
        [TEXT_CLUSTER_REMOVE] = CLUSTER_REMOVE_BROKER, [TEXT_CLUSTER_MOVE] = CLUSTER_MOVE,
        [TEXT_CLUSTER_REBALANCE] = CLUSTER_REBALANCE,  [TEXT_CLUSTER_TRANSFER] = CLUSTER_TRANSFER,
    };
    struct cluster_order *order = &errand->ask.order;
    order->done = ordered;
    order->owner = errand;
    order->verb = verbs[command->cluster];
    order->broker = command->broker;
    order->topic = errand->topic;
    order->partition = (uint32_t)command->partition;
    for (uint32_t i = 0; i < command->broker_count && i < sizeof(order->brokers) / sizeof(order->brokers[0]); i++)
        order->brokers[order->broker_count++] = command->brokers[i];
    cluster_order(errand->session->front->broker->cluster, order);
}

static void survey_fini(struct text_errand *errand)
{
    cluster_survey_fini(&errand->ask.survey);
}

static void surveyed(struct cluster_survey *survey)
{
    text_errand_answered(survey->owner, NULL);
}

static void take_survey(struct text_errand *errand, const struct text_command *command)
{
    struct cluster_survey *survey = &errand->ask.survey;
    errand->ask_fini = survey_fini;
    survey->done = surveyed;
    survey->owner = errand;
    survey->all = command->all;
    survey->deadline_us = clock_mono_us() + SURVEY_TIMEOUT_US;
    cluster_survey(errand->session->front->broker->cluster, survey);
}

static void write_survey(const struct cluster_survey *survey, struct buf *reply)
{
    struct json json;
    if (survey->fault.err != KQ_OK) {
        reply_fault(reply, survey->fault.err, &survey->fault);
        return;
    }
    reply_data_begin(&json, reply);
    survey_write(survey, &json);
    reply_data_end(&json);
}

/* ---- all of them ----------------------------------------------------------------------------------- */

void text_run_look(struct text_session *session, const struct text_command *command)
{
    struct text_errand *errand = text_errand_new(session, command);
    if (errand == NULL)
        return;
    if (command->verb == TEXT_DESC)
        text_errand_answered(errand, NULL); /* a worker begins, as it may have to wait */
    else if (command->verb == TEXT_CLUS && command->cluster == TEXT_CLUSTER_STATUS)
        take_survey(errand, command);
    else if (command->verb == TEXT_CLUS)
        give_order(errand, command);
    else if (command->verb == TEXT_GRPS && errand->group[0] != '\0')
        describe_group(errand);
    else
        list_groups(errand);
}

static void write_look(struct text_errand *errand, struct buf *reply)
{
    const struct fault *listed = &errand->ask.groups.request.call.call.fault;
    const struct fault *described = &errand->ask.group_look.request.call.call.fault;
    if (errand->verb == TEXT_DESC && errand->ask.describe.fault.err != KQ_OK)
        reply_fault(reply, errand->ask.describe.fault.err, &errand->ask.describe.fault);
    else if (errand->verb == TEXT_DESC)
        text_look_topic(&errand->ask.describe, reply);
    else if (errand->verb == TEXT_CLUS)
        write_survey(&errand->ask.survey, reply);
    else if (errand->verb == TEXT_INFO)
        text_look_info(errand->session->front, listed->err == KQ_OK ? &errand->ask.groups : NULL, reply);
    else if (errand->ask_fini == groups_fini && listed->err != KQ_OK)
        reply_fault(reply, listed->err, listed);
    else if (errand->ask_fini == groups_fini)
        text_look_groups(&errand->ask.groups, reply);
    else if (described->err != KQ_OK)
        reply_fault(reply, described->err, described);
    else
        text_look_group(&errand->ask.group_look, reply);
}

void text_look_work(struct text_errand *errand)
{
    struct conn *conn = errand->session->conn;
    if (errand->verb == TEXT_DESC && describe_again(errand))
        return;
    struct buf reply;
    buf_init(&reply, TEXT_REPLY_MAX_BYTES);
    write_look(errand, &reply);
    conn_lock(conn);
    text_put(errand->session, &reply);
    text_errand_end(errand);
    conn_unlock(conn);
    buf_fini(&reply);
}
