#include "api/groups.h"

#include "api/fetch.h"
#include "base/require.h"

#include <stdlib.h>
#include <string.h>

static void list_next(struct groups_list *list);

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

static void list_answered(struct machine_call *call)
{
    struct groups_list *list = CONTAINER_OF(call, struct groups_list, request.call.call);
    enum kq_err err = call->fault.err;
    if (err == KQ_OK)
        err = list_add(list);
    if (err != KQ_OK) {
        call->fault.err = err;
        list->request.done(&list->request);
        return;
    }
    group_call_fini(&list->request.call);
    list->request.coordinator++;
    list_next(list);
}

static void list_next(struct groups_list *list)
{
    struct group_request *request = &list->request;
    struct partition *coordinator = cluster_coordinator_at(request->image, request->coordinator);
    request->call = (struct group_call){.verb = GROUP_LIST, .session = request->call.session};
    if (coordinator == NULL) {
        request->done(request);
        return;
    }
    request->call.call.done = list_answered;
    partition_call(coordinator, &request->call.call);
}

void groups_list(struct broker *broker, struct groups_list *list)
{
    list->request.broker = broker;
    list->request.image = cluster_image(broker->cluster);
    list->request.coordinator = 0;
    list_next(list);
}

void groups_list_fini(struct groups_list *list)
{
    group_request_fini(&list->request);
    free(list->rows);
    list->rows = NULL;
}

void group_describe(struct broker *broker, struct group_request *request)
{
    request->call.verb = GROUP_DESCRIBE;
    group_request_send_to_group(broker, request);
}

int64_t group_lag(const struct group_request *request, const struct group_partition_row *row, int64_t *end_off)
{
    struct image_topic *topic = image_find_id(request->image, &row->topic_id);
    struct partition *partition = topic == NULL ? NULL : image_partition(topic, row->partition);
    int64_t start_off;
    *end_off = -1;
    if (partition == NULL || !fetch_bounds(partition, &start_off, end_off))
        return -1;
    int64_t from = row->committed_off < start_off ? start_off : row->committed_off;
    return *end_off > from ? *end_off - from : 0;
}
