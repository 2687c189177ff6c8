#include "api/find_time.h"

#include "api/fetch.h"

#include <sched.h>

enum { VIEW_TRIES = 100 };

/* By the index and the headers: the first record, or the first of the compressed batch that has it. */
static enum kq_err find_near(struct partition *partition, int64_t *time_ms, int64_t *off, int64_t *found_ms,
                             struct fault *fault)
{
    for (int tries = 0; tries < VIEW_TRIES; tries++) {
        struct log_view *view = partition_view(partition);
        if (view == NULL)
            break;
        int64_t wanted_ms = *time_ms;
        enum kq_err err = wanted_ms == FIND_TIME_NEWEST ? log_view_max_time(view, &wanted_ms, fault) : KQ_OK;
        *off = *found_ms = -1;
        if (err == KQ_OK && wanted_ms >= 0)
            err = log_view_find_time(view, wanted_ms, off, found_ms, fault);
        log_view_drop(&view);
        if (err == KQ_OK)
            *time_ms = wanted_ms;
        if (err != KQ_AGAIN)
            return err;
        (void)sched_yield(); /* segments came or went while it was taken */
    }
    return fault_set(fault, KQ_AGAIN, "%s cannot be read at present; try again", partition_title(partition));
}

struct looking {
    const struct fetch *fetch;
    int64_t time_ms;
    int64_t batch_off; /* -1: none was seen yet */
    int64_t off;
    int64_t found_ms;
};

/* Within the first batch that is shown. */
static bool look(void *context, struct record *record)
{
    struct looking *l = context;
    if (l->batch_off < 0)
        l->batch_off = l->fetch->walk.info.base_off;
    if (l->batch_off != l->fetch->walk.info.base_off)
        return false;
    if (record->time_ms < l->time_ms)
        return true;
    l->off = record->off;
    l->found_ms = record->time_ms;
    return false;
}

enum kq_err find_time(struct partition *partition, int64_t time_ms, int64_t *off, int64_t *found_ms,
                      struct fault *fault)
{
    struct fetch fetch;
    enum kq_err err = find_near(partition, &time_ms, off, found_ms, fault);
    if (err != KQ_OK)
        return err;
    if (*found_ms < 0) {
        *off = -1;
        return KQ_OK;
    }
    struct fault unread;
    struct looking looking = {.fetch = &fetch, .time_ms = time_ms, .batch_off = -1, .off = -1};
    if (fetch_open(&fetch, partition, *off, &unread) != KQ_OK)
        return KQ_OK;
    (void)fetch_some(&fetch, look, &looking, &unread);
    fetch_close(&fetch);
    if (looking.off >= 0) {
        *off = looking.off;
        *found_ms = looking.found_ms;
    }
    return KQ_OK;
}
