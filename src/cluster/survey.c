/*
 * The survey: what every partition's leader knows of its members, gathered from all
 * brokers that live, and laid over what the image wants.
 *
 *    each broker   asks its partitions that lead (PARTITION_ASK_MEMBERS), answers rows
 *    the surveyor  asks all, itself too; when the last has answered or its time is over, the
 *                  keeper puts it together
 */
#include "cluster/cluster_state.h"

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/require.h"
#include "cluster/survey_wire.h"

#include <stdio.h>
#include <stdlib.h>

enum { ANSWER_BYTES_MAX = 16 * 1024 * 1024 };

/* ---- one broker's part ------------------------------------------------------------------ */

struct gathered {
    struct partition_ask ask;
    struct gathering *gathering;
    struct partition *partition;
    struct group_id group;
};

struct gathering {
    struct cluster *cluster;
    bool all;
    void (*done)(struct gathering *gathering, struct buf *rows);
    void *owner;
    struct buf lost; /* names */
    _Atomic uint32_t left;
    uint32_t count;
    struct gathered *asks;
};

static bool is_well(const struct survey_row *row)
{
    bool well = row->as_target;
    for (uint32_t i = 0; i < row->member_count; i++)
        well = well && row->members[i].voter && row->members[i].in_sync;
    return well;
}

/* The replica that the metadata wants at the i-th of the holders. A broker that was wiped has
 * another one than before, of which the group's leader may not know yet. */
static struct uuid wanted_at(const struct image *image, const struct image_holders *holders, uint32_t i)
{
    const struct image_broker *broker = image_find_broker(image, holders->brokers[i]);
    return broker == NULL ? (struct uuid){{0}} : replica_incarnation(&broker->incarnation, &holders->mixes[i]);
}

/* The member that is this replica. One that is alone is what its folder says it is. */
static const struct survey_member *find_member(const struct image *image, const struct image_holders *holders,
                                               uint32_t i, const struct survey_row *row)
{
    struct uuid wanted = wanted_at(image, holders, i);
    for (uint32_t k = 0; row != NULL && k < row->member_count; k++)
        if (row->members[k].broker == holders->brokers[i] &&
            (holders->count == 1 || uuid_equal(&row->members[k].incarnation, &wanted)))
            return &row->members[k];
    return NULL;
}

static bool is_as_wanted(const struct image *image, const struct survey_row *row)
{
    const struct image_topic *topic = image_find_id(image, &row->group.topic_id);
    if (topic == NULL || row->group.partition >= image_topic_partitions(topic))
        return true;
    struct image_holders holders = image_holders(topic, row->group.partition);
    for (uint32_t i = 0; i < holders.wanted_count; i++)
        if (find_member(image, &holders, i, row) == NULL)
            return false;
    return true;
}

/* Of the brokers' names: another one, another opinion of who is to hold what. */
static uint32_t fingerprint(const struct image *image)
{
    uint32_t crc = 0;
    for (size_t i = 0; i < image_broker_count(image); i++) {
        const struct image_broker *b = image_broker_at(image, i);
        uint8_t id[4];
        put_le32(id, b->id);
        crc = crc32c(crc32c(crc, id, sizeof id), b->incarnation.bytes, UUID_BYTES);
    }
    return crc;
}

static struct survey_row row_of(const struct gathered *g)
{
    const struct partition_ask *ask = &g->ask;
    struct survey_row row = {
        .group = g->group, .term = ask->term, .as_target = ask->target_reached, .member_count = ask->member_count};
    for (uint32_t i = 0; i < ask->member_count; i++) {
        const struct partition_member_row *from = &ask->members[i];
        uint64_t behind = ask->last_idx > from->match_idx ? ask->last_idx - from->match_idx : 0;
        row.members[i] = (struct survey_member){.broker = from->member.broker_id,
                                                .incarnation = from->member.incarnation,
                                                .voter = (from->kinds & RAFT_SEAT_VOTER) != 0,
                                                .in_sync = from->in_sync,
                                                .lag = (int64_t)behind};
    }
    return row;
}

static void end_gathering(struct gathering *g)
{
    struct buf rows;
    uint32_t count = 0;
    struct image *image = cluster_image(g->cluster);
    struct buf well;
    buf_init(&rows, ANSWER_BYTES_MAX);
    buf_init(&well, ANSWER_BYTES_MAX);
    survey_wire_begin(&rows);
    for (uint32_t i = 0; i < g->count; i++) {
        if (g->asks[i].ask.fault.err != KQ_OK)
            continue;
        struct survey_row row = row_of(&g->asks[i]);
        if (!g->all && is_well(&row) && is_as_wanted(image, &row)) {
            survey_wire_add_name(&row, &well);
            continue;
        }
        survey_wire_add(&row, &rows);
        count++;
    }
    survey_wire_end(&rows, count, &well, &g->lost);
    buf_fini(&g->lost);
    buf_fini(&well);
    for (uint32_t i = 0; i < g->count; i++)
        partition_drop(&g->asks[i].partition);
    image_drop(&image);
    free(g->asks);
    struct gathering copy = *g;
    free(g);
    copy.done(&copy, &rows);
}

static void one_less(struct gathering *g)
{
    if (atomic_fetch_sub(&g->left, 1) == 1)
        end_gathering(g);
}

/* The actor's turn. */
static void members_known(struct partition_ask *ask)
{
    one_less(CONTAINER_OF(ask, struct gathered, ask)->gathering);
}

static size_t count_parts(const struct cluster *c)
{
    size_t count = 0;
    struct map_walk w;
    for (map_walk_init(&w, &c->hosted_by_id); map_walk_next(&w);)
        count += ((struct hosted *)w.value)->part_count;
    return count;
}

/* Lock held. Those that lead, each with a reference, and those that nobody can lead any more. */
static void list_parts(struct cluster *c, struct gathering *g)
{
    struct map_walk w;
    for (map_walk_init(&w, &c->hosted_by_id); map_walk_next(&w);) {
        struct hosted *h = w.value;
        for (uint32_t p = 0; p < h->part_count && !h->ending; p++) {
            const struct part *part = h->parts[p];
            if (part->lost) {
                struct survey_row row = {.group = {.topic_id = h->id, .partition = p}};
                survey_wire_add_name(&row, &g->lost);
            }
            if (part->partition == NULL || partition_leader(part->partition, NULL) != c->identity.broker_id)
                continue;
            g->asks[g->count++] = (struct gathered){.gathering = g,
                                                    .partition = partition_hold(part->partition),
                                                    .group = {.topic_id = h->id, .partition = p}};
        }
    }
}

/* False: out of memory. */
static bool gather(struct cluster *c, bool all, int64_t deadline_us,
                   void (*done)(struct gathering *gathering, struct buf *rows), void *owner)
{
    struct gathering *g = calloc(1, sizeof *g);
    if (g == NULL)
        return false;
    *g = (struct gathering){.cluster = c, .all = all, .done = done, .owner = owner};
    buf_init(&g->lost, ANSWER_BYTES_MAX);
    (void)pthread_mutex_lock(&c->lock);
    g->asks = calloc(count_parts(c) + 1, sizeof *g->asks);
    if (g->asks != NULL)
        list_parts(c, g);
    (void)pthread_mutex_unlock(&c->lock);
    if (g->asks == NULL) {
        free(g);
        return false;
    }
    uint32_t count = g->count;
    atomic_store(&g->left, count + 1); /* ours, until all are asked */
    for (uint32_t i = 0; i < count; i++) {
        g->asks[i].ask.question = PARTITION_ASK_MEMBERS;
        g->asks[i].ask.deadline_us = deadline_us;
        g->asks[i].ask.done = members_known;
        partition_ask(g->asks[i].partition, &g->asks[i].ask);
    }
    one_less(g);
    return true;
}

static void served(struct gathering *g, struct buf *rows)
{
    struct fault fault = {.err = rows->bad ? KQ_LIMIT : KQ_OK};
    struct iovec part = {.iov_base = rows->data, .iov_len = rows->len};
    ask_answer(g->owner, &fault, &part, fault.err == KQ_OK ? 1 : 0);
    buf_fini(rows);
}

void survey_serve(void *context, struct asked *asked)
{
    struct survey_question question = {.all = true};
    struct fault fault = {.err = survey_wire_asked(asked->body, asked->body_bytes, &question)};
    struct image *image = cluster_image(context);
    bool all = question.all || question.brokers != fingerprint(image);
    image_drop(&image);
    if (fault.err == KQ_OK && !gather(context, all, asked->deadline_us, served, asked))
        fault.err = KQ_NO_MEMORY;
    if (fault.err != KQ_OK)
        ask_answer(asked, &fault, NULL, 0);
}

/* ---- the surveyor's part ------------------------------------------------------------------- */

struct question {
    struct ask ask;
    struct surveying *surveying;
    uint32_t broker;
    bool answered;
    struct buf rows;
};

struct surveying {
    struct job job;
    struct cluster *cluster;
    struct cluster_survey *survey;
    struct image *image;
    struct map by_group; /* of the newest term */
    struct survey_row *rows;
    size_t row_count;
    size_t partition_room;
    uint8_t body[SURVEY_QUESTION_BYTES];
    struct iovec part;
    _Atomic uint32_t left;
    uint32_t question_count;
    struct question questions[];
};

/* Of several that say they lead the one of the newest term does. */
static void take_row(struct surveying *s, const struct survey_row *row)
{
    struct survey_row *known = map_get(&s->by_group, &row->group, sizeof row->group);
    if (known != NULL && (known->lost || known->term < row->term) && !row->lost)
        *known = *row;
    if (known != NULL)
        return;
    struct survey_row *copy = malloc(sizeof *copy);
    if (copy == NULL)
        return;
    *copy = *row;
    if (!map_put(&s->by_group, &row->group, sizeof row->group, copy, NULL))
        free(copy);
}

static void take_rows(struct surveying *s, struct question *q)
{
    struct cursor c = cursor_over(q->rows.data, q->rows.len);
    uint32_t count;
    struct survey_row row;
    q->answered = q->answered && survey_wire_open(&c, &count);
    for (uint32_t i = 0; q->answered && i < count && survey_wire_next(&c, &row); i++) {
        row.leader = q->broker;
        take_row(s, &row);
    }
    q->answered = q->answered && survey_wire_open_names(&c, &count);
    for (uint32_t i = 0; q->answered && i < count && survey_wire_next_name(&c, &row); i++) {
        row.leader = q->broker;
        row.well = true;
        take_row(s, &row);
    }
    q->answered = q->answered && survey_wire_open_names(&c, &count);
    for (uint32_t i = 0; q->answered && i < count && survey_wire_next_name(&c, &row); i++) {
        row.lost = true; /* said of what nobody else says to lead */
        take_row(s, &row);
    }
}

static struct cluster_survey_broker *find_broker(struct cluster_survey *survey, uint32_t id)
{
    for (uint32_t i = 0; i < survey->broker_count; i++)
        if (survey->brokers[i].id == id)
            return &survey->brokers[i];
    return NULL;
}

static void describe_brokers(struct surveying *s)
{
    struct cluster_survey *survey = s->survey;
    size_t count = image_broker_count(s->image);
    survey->brokers = calloc(count + 1, sizeof *survey->brokers);
    if (survey->brokers == NULL)
        return;
    uint32_t controller = cluster_controller(s->cluster);
    for (size_t i = 0; i < count; i++) {
        const struct image_broker *from = image_broker_at(s->image, i);
        struct cluster_survey_broker *to = &survey->brokers[survey->broker_count++];
        *to = (struct cluster_survey_broker){.id = from->id,
                                             .port = from->port,
                                             .raft_port = from->raft_port,
                                             .alive = links_is_alive(s->cluster->links, from->id),
                                             .draining = from->draining,
                                             .controller = from->id == controller};
        (void)snprintf(to->host, sizeof to->host, "%s", from->host);
    }
}

static bool has_answered(const struct surveying *s, uint32_t broker)
{
    for (uint32_t i = 0; i < s->question_count; i++)
        if (s->questions[i].broker == broker)
            return s->questions[i].answered;
    return false;
}

/* What is known of one partition; false: a replica that should be there is not. */
static bool describe_replicas(struct surveying *s, const struct image_holders *holders, const struct survey_row *row,
                              struct cluster_survey_partition *to)
{
    bool whole = true;
    bool well = row != NULL && row->well;
    for (uint32_t i = 0; i < holders->count; i++) {
        uint32_t id = holders->brokers[i];
        const struct survey_member *m = find_member(s->image, holders, i, row);
        bool wanted = i < holders->wanted_count;
        struct cluster_survey_replica *r = &to->replicas[to->replica_count++];
        *r = (struct cluster_survey_replica){.broker = id, .wanted = wanted, .lag = well ? 0 : -1};
        r->voter = m != NULL ? m->voter : well || (row == NULL && !holders->moving);
        r->in_sync = (m == NULL ? well : m->in_sync) && links_is_alive(s->cluster->links, id);
        if (m != NULL)
            r->lag = m->lag;
        whole = whole && (!wanted || r->in_sync);
        struct cluster_survey_broker *broker = find_broker(s->survey, id);
        if (broker != NULL)
            broker->replicas++;
    }
    return whole;
}

static void keep(struct surveying *s, const struct cluster_survey_partition *partition)
{
    struct cluster_survey *survey = s->survey;
    if (survey->partition_count == s->partition_room) {
        size_t room = s->partition_room == 0 ? 64 : s->partition_room * 2;
        struct cluster_survey_partition *more = realloc(survey->partitions, room * sizeof *more);
        if (more == NULL) {
            survey->fault.err = KQ_NO_MEMORY;
            return;
        }
        survey->partitions = more;
        s->partition_room = room;
    }
    survey->partitions[survey->partition_count++] = *partition;
}

static void describe_partition(struct surveying *s, const struct image_topic *topic, uint32_t p)
{
    struct cluster_survey *survey = s->survey;
    struct group_id group = {.topic_id = *image_topic_id(topic), .partition = p};
    struct image_holders holders = image_holders(topic, p);
    const struct survey_row *row = map_get(&s->by_group, &group, sizeof group);
    struct cluster_survey_partition to = {.partition = p, .lost = row != NULL && row->lost};
    row = to.lost ? NULL : row;
    (void)snprintf(to.topic, sizeof to.topic, "%s", image_topic_name(topic));
    to.leader = row != NULL ? row->leader : cluster_leader(s->cluster, &group.topic_id, p, NULL);
    if (row == NULL && has_answered(s, to.leader))
        to.leader = 0; /* it did, as far as it is known here, and does not say so any more */
    to.lost = to.lost && to.leader == 0;
    to.moving = holders.moving || (row != NULL && !row->well && !row->as_target);
    bool whole =
        describe_replicas(s, &holders, row, &to) && holders.wanted_count >= image_topic_desired_replicas(topic);
    struct cluster_survey_broker *leader = find_broker(survey, to.leader);
    if (leader != NULL)
        leader->leaders++;
    survey->total++;
    survey->leaderless += to.leader == 0;
    survey->lost += to.lost;
    survey->lacking += !whole;
    survey->moving += to.moving;
    if (survey->all || to.leader == 0 || !whole || to.moving)
        keep(s, &to);
}

static void free_surveying(struct surveying *s)
{
    struct map_walk w;
    for (map_walk_init(&w, &s->by_group); map_walk_next(&w);)
        free(w.value);
    map_fini(&s->by_group);
    for (uint32_t i = 0; i < s->question_count; i++)
        buf_fini(&s->questions[i].rows);
    image_drop(&s->image);
    free(s);
}

/* Keeper, or whoever found that the cluster stops. */
static void finish(struct surveying *s)
{
    struct cluster *c = s->cluster;
    struct cluster_survey *survey = s->survey;
    if (cluster_is_stopping(c)) {
        survey->fault.err = KQ_STOPPING;
    } else {
        describe_brokers(s);
        for (uint32_t i = 0; i < s->question_count; i++)
            take_rows(s, &s->questions[i]);
        for (size_t i = 0; i < image_topic_count(s->image); i++) {
            const struct image_topic *topic = image_topic_at(s->image, i);
            for (uint32_t p = 0; p < image_topic_partitions(topic); p++)
                describe_partition(s, topic, p);
        }
    }
    free_surveying(s);
    survey->done(survey);
    cluster_call_end(c);
}

static void put_together(struct job *job)
{
    struct surveying *s = CONTAINER_OF(job, struct surveying, job);
    struct cluster *c = s->cluster;
    finish(s);
    cluster_work_end(c);
}

static void one_answered(struct surveying *s)
{
    if (atomic_fetch_sub(&s->left, 1) != 1)
        return;
    bool posted = false;
    cluster_post_job(s->cluster, &s->job, &posted);
    if (!posted)
        finish(s);
}

static void remote_answered(struct ask *ask)
{
    struct question *q = ask->owner;
    q->answered = ask->fault.err == KQ_OK;
    q->rows = ask->answer;
    one_answered(q->surveying);
}

static void self_answered(struct gathering *g, struct buf *rows)
{
    struct question *q = g->owner;
    q->answered = !rows->bad;
    q->rows = *rows;
    one_answered(q->surveying);
}

static void ask_all(struct surveying *s)
{
    struct cluster *c = s->cluster;
    struct survey_question question = {.all = s->survey->all, .brokers = fingerprint(s->image)};
    survey_wire_question(&question, s->body);
    s->part = (struct iovec){.iov_base = s->body, .iov_len = sizeof s->body};
    uint32_t count = s->question_count;
    int64_t deadline_us = s->survey->deadline_us;
    for (uint32_t i = 0; i < count; i++) {
        struct question *q = &s->questions[i];
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): our own part of `left` keeps it until the end */
        if (q->broker == c->identity.broker_id) {
            if (!gather(c, s->survey->all, deadline_us, self_answered, q))
                one_answered(s);
            continue;
        }
        q->ask = (struct ask){.broker_id = q->broker,
                              .verb = ASK_STATUS,
                              .parts = &s->part,
                              .part_count = 1,
                              .deadline_us = deadline_us,
                              .done = remote_answered,
                              .owner = q};
        links_ask(c->links, &q->ask);
    }
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): as above */
    one_answered(s);
}

void cluster_survey(struct cluster *cluster, struct cluster_survey *survey)
{
    TAG_CHECK(cluster, CLUSTER_TAG);
    struct image *image = cluster_image(cluster);
    size_t count = image_broker_count(image);
    struct surveying *s = calloc(1, sizeof *s + count * sizeof s->questions[0]);
    (void)pthread_mutex_lock(&cluster->lock);
    bool begin = s != NULL && cluster_call_begin(cluster);
    (void)pthread_mutex_unlock(&cluster->lock);
    survey->fault = (struct fault){.err = KQ_OK};
    if (!begin) {
        survey->fault.err = s == NULL ? KQ_NO_MEMORY : KQ_STOPPING;
        free(s);
        image_drop(&image);
        survey->done(survey);
        return;
    }
    s->job.run = put_together;
    s->cluster = cluster;
    s->survey = survey;
    s->image = image;
    map_init(&s->by_group);
    for (size_t i = 0; i < count; i++) {
        uint32_t id = image_broker_at(image, i)->id;
        if (links_is_alive(cluster->links, id))
            s->questions[s->question_count++] = (struct question){.surveying = s, .broker = id};
    }
    for (uint32_t i = 0; i < s->question_count; i++)
        buf_init(&s->questions[i].rows, 0);
    atomic_store(&s->left, s->question_count + 1); /* ours, until all are asked */
    ask_all(s);
}

void cluster_survey_fini(struct cluster_survey *survey)
{
    free(survey->brokers);
    free(survey->partitions);
    survey->brokers = NULL;
    survey->partitions = NULL;
}
