/*
 * Heads of segments that do not check out, made anew. A head says nothing that cannot be told
 * without it: the segment before ends with the entry that it names, and where there is none
 * any more, the first entry has the checksum and this replica knew the term since it was
 * opened. So nobody is asked. Where the term before the log is not known either, the head
 * stays as it is, which is said; it goes with its segment.
 *
 * Found by the scrubber or at a start, and noted in the segment; sealed ones are written by a
 * LOG_LANE_KEEP job as other damage is (heal.c), and what a start has to walk at the start.
 */
#include "log/log_impl.h"

#include "base/logger.h"
#include "base/require.h"

#include <stdlib.h>

/* Fills what stands in the head of the segment. KQ_NOT_FOUND: nobody knows. */
static enum kq_err tell_head(const struct log *log, uint32_t at, struct segment *as)
{
    struct segment *s = log->segments[at];
    as->prev_term = s->prev_term;
    if (at > 0) {
        const struct segment *before = log->segments[at - 1];
        as->prev_term = before->runs[before->run_count - 1].term;
        as->prev_crc = before->last_crc;
        return KQ_OK;
    }
    if (s->first_idx == 1) /* it follows nothing */
        return KQ_OK;
    if (s->prev_term == 0)
        return KQ_NOT_FOUND;
    struct entry_head head;
    const uint8_t *body;
    struct fault fault;
    enum kq_err err = segment_ready(s, &fault);
    if (err == KQ_OK)
        err = segment_read(s, s->first_idx, false, &head, &body, &fault);
    if (err == KQ_OK)
        as->prev_crc = head.prev_crc;
    return err;
}

/* *block is to be freed. */
static enum kq_err make_head(const struct log *log, uint32_t at, uint8_t **block)
{
    const struct segment *s = log->segments[at];
    struct segment *as = segment_new(log->place, s->first_off, s->first_idx);
    *block = malloc(SEGMENT_HEAD_BYTES);
    enum kq_err err = as != NULL && *block != NULL ? tell_head(log, at, as) : KQ_NO_MEMORY;
    if (err == KQ_OK) {
        segment_head_encode(as, *block);
    } else {
        free(*block);
        *block = NULL;
    }
    if (as != NULL)
        segment_drop(as);
    return err;
}

struct log_job *heal_head_begin(struct log *log)
{
    struct place *p = log->place;
    if (!atomic_load_explicit(&p->heads_bad, memory_order_relaxed) ||
        !atomic_exchange_explicit(&p->heads_bad, false, memory_order_acquire))
        return NULL;
    uint32_t sealed = log->segment_count - (log->active ? 1 : 0);
    for (uint32_t i = 0; i < sealed; i++) {
        struct segment *s = log->segments[i];
        if (!atomic_exchange_explicit(&s->head_bad, false, memory_order_relaxed))
            continue;
        uint8_t *block;
        enum kq_err err = make_head(log, i, &block);
        if (err == KQ_NOT_FOUND)
            SAY_WARNING("%s/%0*lld.log: its head cannot be made anew, as the term before it is not known here; its "
                        "entries are served as before. `kafkaesque log repair` can when the broker is stopped",
                        p->dir, (int)SEGMENT_NAME_DIGITS, (long long)s->first_off);
        if (err != KQ_OK) /* the scrubber comes by again */
            continue;
        atomic_store_explicit(&p->heads_bad, true, memory_order_relaxed); /* there may be more */
        struct log_job *job = job_begin(log, LOG_LANE_KEEP, JOB_HEAL_HEAD);
        job->segment = segment_hold(s);
        job->heal = (struct healing){.bytes = block, .size_bytes = SEGMENT_HEAD_BYTES};
        return job;
    }
    return NULL;
}

void heal_head_done(const struct log_job *job)
{
    const struct place *p = job->place;
    int64_t first_off = job->segment->first_off;
    if (job->heal_err == KQ_OK)
        SAY_NOTICE("%s/%0*lld.log: the segment's head, which did not check out, is whole again", p->dir,
                   (int)SEGMENT_NAME_DIGITS, (long long)first_off);
    else
        SAY_ERROR("%s/%0*lld.log: the segment's head, which does not check out, could not be written again: %s; the "
                  "scrubber will come by",
                  p->dir, (int)SEGMENT_NAME_DIGITS, (long long)first_off, err_text(job->heal_err));
}
