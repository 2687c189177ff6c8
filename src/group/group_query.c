/* Answers that list: the groups of a coordinator, the partitions of a group. */
#include "base/require.h"
#include "group/classic_state.h"

#include <stdio.h>
#include <stdlib.h>

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct group_row *)a)->name, ((const struct group_row *)b)->name);
}

static uint32_t count_members(const struct group *group)
{
    /* A session that is in two topics of the group is one member. */
    uint32_t members = 0;
    for (const struct group_topic *t = group->topics; t != NULL; t = t->next)
        for (const struct claim *c = t->claims; c != NULL; c = c->next) {
            const struct claim *other = c->session->claims;
            while (other != c && other->topic->group != group)
                other = other->next_of_session;
            members += other == c;
        }
    return members;
}

void group_answer_list(const struct group_machine *m, struct group_call *call)
{
    if (m->groups.count == 0)
        return;
    call->groups = calloc(m->groups.count, sizeof *call->groups);
    if (call->groups == NULL) {
        (void)fault_set(&call->call.fault, KQ_NO_MEMORY, "out of memory for a list of %zu groups", m->groups.count);
        return;
    }
    struct map_walk w;
    for (map_walk_init(&w, &m->groups); map_walk_next(&w);) {
        const struct group *group = w.value;
        struct group_row *row = &call->groups[call->group_count++];
        memcpy(row->name, group->name, sizeof row->name);
        row->kind = group_has_classic(group) ? GROUP_KIND_CLASSIC : group->kind;
        row->member_count = count_members(group) + (group->classic == NULL ? 0 : group->classic->member_count);
        row->subscription_count = group->subscription_count;
        row->offset_count = group->offset_count;
        row->generation = group->generation;
        if (group->classic != NULL) {
            row->state = (uint8_t)group->classic->state;
            const char *type = group->classic->protocol_type;
            (void)snprintf(row->protocol_type, sizeof row->protocol_type, "%s", type == NULL ? "" : type);
        }
    }
    qsort(call->groups, call->group_count, sizeof *call->groups, by_name);
}

static int by_topic_and_partition(const void *a, const void *b)
{
    const struct group_partition_row *x = a;
    const struct group_partition_row *y = b;
    int order = strcmp(x->topic, y->topic);
    if (order == 0)
        order = memcmp(x->topic_id.bytes, y->topic_id.bytes, UUID_BYTES);
    return order != 0 ? order : (x->partition > y->partition) - (x->partition < y->partition);
}

static void fill_row(struct group_partition_row *row, const struct group_topic *t, uint32_t partition, int64_t now_us)
{
    const struct subscription *s = t->slots[partition].subscription;
    const struct offset *o = t->slots[partition].offset;
    *row = (struct group_partition_row){.topic_id = t->id, .partition = partition, .committed_off = -1};
    memcpy(row->topic, t->name, sizeof row->topic);
    if (s != NULL) {
        row->owned = true;
        row->live = s->claim->session->live;
        row->owner = s->claim->session->key;
        row->idle_ms = (now_us - s->used_us) / 1000;
    }
    if (o != NULL) {
        row->committed_off = o->off;
        row->committed_time_ms = o->time_ms;
    }
}

void group_answer_describe(const struct group_machine *m, struct group_call *call, const struct machine_now *now)
{
    const struct group *group = group_find(m, call->group);
    if (group == NULL) {
        (void)fault_set(&call->call.fault, KQ_UNKNOWN_GROUP, "consumer group %s does not exist", call->group);
        return;
    }
    call->kind = group_has_classic(group) ? GROUP_KIND_CLASSIC : group->kind;
    call->generation = group->generation;
    size_t most = (size_t)group->subscription_count + group->offset_count;
    if (most == 0)
        return;
    call->rows = calloc(most, sizeof *call->rows);
    if (call->rows == NULL) {
        (void)fault_set(&call->call.fault, KQ_NO_MEMORY, "out of memory for the %zu partitions of a group", most);
        return;
    }
    for (const struct group_topic *t = group->topics; t != NULL; t = t->next)
        for (uint32_t p = 0; p < t->slot_count; p++)
            if (t->slots[p].subscription != NULL || t->slots[p].offset != NULL)
                fill_row(&call->rows[call->row_count++], t, p, now->mono_us);
    REQUIRE(call->row_count <= most);
    qsort(call->rows, call->row_count, sizeof *call->rows, by_topic_and_partition);
}

void group_call_fini(struct group_call *call)
{
    free(call->ids);
    free(call->groups);
    free(call->rows);
    call->ids = NULL;
    call->groups = NULL;
    call->rows = NULL;
    call->id_count = 0;
    call->group_count = 0;
    call->row_count = 0;
}
