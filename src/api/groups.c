#include "api/groups.h"

#include "api/fetch.h"
#include "base/require.h"

#include <stdlib.h>
#include <string.h>

static void list_next(struct groups_list *list, uint32_t coordinator);

/* Moves a coordinator's rows to the end of the list. */
static enum kq_err list_add(struct groups_list *list)
{
    struct group_call *call = &list->request.call;
    if (call->group_count == 0)
        return KQ_OK;
    struct group_row *rows = realloc(list->rows, (list->count + call->group_count) * sizeof(*rows));
    if (rows == NULL)
        return KQ_NO_MEMORY;
    memcpy(rows + list->count, call->groups, call->group_count * sizeof(*rows));
    list->rows = rows;
    list->count += call->group_count;
    return KQ_OK;
}

static void list_answered(struct group_request *request)
{
    struct groups_list *list = CONTAINER_OF(request, struct groups_list, request);
    enum kq_err err = request->call.call.fault.err;
    if (err == KQ_OK)
        err = list_add(list);
    if (err != KQ_OK) {
        request->call.call.fault.err = err;
        request->done(request);
        return;
    }
    group_call_fini(&request->call);
    list_next(list, request->coordinator + 1);
}

static void list_next(struct groups_list *list, uint32_t coordinator)
{
    struct group_request *request = &list->request;
    request->call = (struct group_call){.verb = GROUP_LIST, .session = request->call.session};
    if (coordinator < cluster_coordinator_count(request->image))
        group_send(request, coordinator, list_answered);
    else
        request->done(request);
}

void groups_list(struct broker *broker, struct groups_list *list)
{
    group_request_begin(broker, &list->request, GROUP_LIST);
    list_next(list, 0);
}

void groups_list_fini(struct groups_list *list)
{
    group_request_fini(&list->request);
    free(list->rows);
    list->rows = NULL;
}

/* ---- one group ------------------------------------------------------------------------------- */

static void next_bounds(struct group_description *d);

static void bounds_known(struct reader *reader)
{
    struct group_description *d = reader->owner;
    if (reader->fault.err == KQ_OK)
        d->bounds[d->next] = (struct group_bounds){.start_off = reader->start_off, .end_off = reader->high_watermark};
    reader_fini(reader);
    d->next++;
    next_bounds(d);
}

static void next_bounds(struct group_description *d)
{
    const struct group_call *call = &d->request.call;
    for (; d->next < call->row_count; d->next++) {
        const struct group_partition_row *row = &call->rows[d->next];
        struct group_bounds *bounds = &d->bounds[d->next];
        struct image_topic *topic = image_find_id(d->request.image, &row->topic_id);
        if (topic == NULL || row->partition >= image_topic_partitions(topic))
            continue;
        struct partition *partition = image_partition(topic, row->partition);
        if (partition != NULL && fetch_bounds(partition, &bounds->start_off, &bounds->end_off))
            continue;
        d->reader = (struct reader){.broker = d->request.broker,
                                    .topic_id = row->topic_id,
                                    .number = row->partition,
                                    .done = bounds_known,
                                    .owner = d};
        reader_init(&d->reader);
        reader_bounds(&d->reader);
        return;
    }
    d->done(d);
}

static void described(struct group_request *request)
{
    struct group_description *d = CONTAINER_OF(request, struct group_description, request);
    struct group_call *call = &request->call;
    if (call->call.fault.err == KQ_OK && call->row_count > 0) {
        d->bounds = malloc(call->row_count * sizeof(*d->bounds));
        if (d->bounds == NULL)
            (void)fault_set(&call->call.fault, KQ_NO_MEMORY, "%s", err_text(KQ_NO_MEMORY));
    }
    if (d->bounds == NULL) {
        d->done(d);
        return;
    }
    for (uint32_t i = 0; i < call->row_count; i++)
        d->bounds[i] = (struct group_bounds){-1, -1};
    d->next = 0;
    next_bounds(d);
}

void group_describe(struct broker *broker, struct group_description *d)
{
    d->request.call.verb = GROUP_DESCRIBE;
    d->request.done = described;
    group_request_send_to_group(broker, &d->request);
}

void group_description_fini(struct group_description *d)
{
    free(d->bounds);
    d->bounds = NULL;
    group_request_fini(&d->request);
}

int64_t group_lag(const struct group_description *description, uint32_t row, int64_t *end_off)
{
    const struct group_bounds *bounds = &description->bounds[row];
    int64_t committed_off = description->request.call.rows[row].committed_off;
    *end_off = bounds->end_off;
    if (bounds->end_off < 0)
        return -1;
    int64_t from = committed_off < bounds->start_off ? bounds->start_off : committed_off;
    return bounds->end_off > from ? bounds->end_off - from : 0;
}
