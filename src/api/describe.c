/*
 * Three rounds: what is known here; a survey of the cluster for who leads and who is in
 * sync, if any replica is elsewhere; and for each partition without a replica here its
 * ends, asked of its leader, one after the other.
 */
#include "api/describe.h"

#include "api/route.h"
#include "base/clock.h"
#include "base/require.h"

#include <stdlib.h>
#include <string.h>

enum { SURVEY_TIMEOUT_US = 2 * 1000 * 1000, REPLICAS_MAX = 16 };

static void finish(struct topic_description *d)
{
    d->done(d);
}

/* ---- the ends of partitions that are not here ------------------------------------------- */

static void next_bounds(struct topic_description *d);

static void bounds_known(struct reader *reader)
{
    struct topic_description *d = reader->owner;
    struct describe_row *row = &d->rows[d->next];
    if (reader->fault.err == KQ_OK) {
        row->start_off = reader->start_off;
        row->end_off = reader->high_watermark;
    }
    reader_fini(reader);
    d->reading = false;
    d->next++;
    next_bounds(d);
}

static void next_bounds(struct topic_description *d)
{
    while (d->next < d->row_count && (d->rows[d->next].here || d->rows[d->next].leader == 0))
        d->next++;
    if (d->next == d->row_count) {
        finish(d);
        return;
    }
    d->reader = (struct reader){.broker = d->broker,
                                .topic_id = *image_topic_id(d->found),
                                .number = d->next,
                                .done = bounds_known,
                                .owner = d};
    reader_init(&d->reader);
    d->reading = true;
    reader_bounds(&d->reader);
}

/* ---- who leads, and who is in sync ---------------------------------------------------------- */

static void take_survey(struct describe_row *row, const struct cluster_survey_partition *from)
{
    if (from->leader != 0)
        row->leader = from->leader;
    row->in_sync_count = 0;
    for (uint32_t i = 0; i < from->replica_count && i < REPLICAS_MAX; i++)
        if (from->replicas[i].in_sync)
            row->in_sync[row->in_sync_count++] = from->replicas[i].broker;
}

static void surveyed(struct cluster_survey *survey)
{
    struct topic_description *d = CONTAINER_OF(survey, struct topic_description, survey);
    for (uint32_t i = 0; survey->fault.err == KQ_OK && i < survey->partition_count; i++) {
        const struct cluster_survey_partition *from = &survey->partitions[i];
        if (from->partition < d->row_count && strcmp(from->topic, image_topic_name(d->found)) == 0)
            take_survey(&d->rows[from->partition], from);
    }
    cluster_survey_fini(survey);
    next_bounds(d);
}

/* ---- what is known here ------------------------------------------------------------------------- */

static void fill_row(struct topic_description *d, uint32_t p, bool *elsewhere)
{
    struct describe_row *row = &d->rows[p];
    struct route route;
    uint32_t count;
    const uint32_t *replicas = image_replicas(d->found, p, &count);
    route_find(d->broker, d->found, p, &route);
    row->leader = route.broker_id;
    row->replica_count = count < REPLICAS_MAX ? count : REPLICAS_MAX;
    memcpy(row->replicas, replicas, row->replica_count * sizeof(row->replicas[0]));
    row->start_off = row->end_off = -1;
    row->here = route.local != NULL;
    if (row->here) {
        partition_status(route.local, &row->status);
        row->start_off = row->status.log_start_off;
        row->end_off = row->status.high_watermark;
    }
    bool alone = count == 1 && row->here;
    if (alone && row->status.state == PARTITION_SERVING)
        row->in_sync[row->in_sync_count++] = replicas[0];
    *elsewhere = *elsewhere || !alone;
}

void topic_describe(struct broker *broker, struct topic_description *d)
{
    d->broker = broker;
    d->fault = (struct fault){.err = KQ_OK};
    d->image = cluster_image(broker->cluster);
    d->found = image_find(d->image, d->topic, strlen(d->topic));
    if (d->found == NULL) {
        (void)fault_set(&d->fault, KQ_UNKNOWN_TOPIC, "%s", err_text(KQ_UNKNOWN_TOPIC));
        finish(d);
        return;
    }
    d->rows = calloc(image_topic_partitions(d->found), sizeof(*d->rows));
    if (d->rows == NULL) {
        (void)fault_set(&d->fault, KQ_NO_MEMORY, "%s", err_text(KQ_NO_MEMORY));
        finish(d);
        return;
    }
    d->row_count = image_topic_partitions(d->found);
    d->next = 0;
    bool elsewhere = false;
    for (uint32_t p = 0; p < d->row_count; p++)
        fill_row(d, p, &elsewhere);
    if (!elsewhere) {
        finish(d);
        return;
    }
    d->survey =
        (struct cluster_survey){.done = surveyed, .all = true, .deadline_us = clock_mono_us() + SURVEY_TIMEOUT_US};
    cluster_survey(broker->cluster, &d->survey);
}

void topic_description_fini(struct topic_description *d)
{
    REQUIRE(!d->reading);
    free(d->rows);
    d->rows = NULL;
    d->row_count = 0;
    if (d->image != NULL)
        image_drop(&d->image);
}
