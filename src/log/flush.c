/*
 * Making entries durable: up to the tip as it stands when the job runs, by one datasync.
 *
 * What is filled in behind the others (struct log_entry, old) is flushed gently: it is
 * written out in small pieces first, each waited for. The disk is then busy with a piece at
 * a time, and who publishes and flushes on the same disk waits for one piece, where behind
 * a megabyte it waited a millisecond. Pieces are slower than one write of all: where the disk
 * has had no rest since the flush before, nobody bounds what comes, and all is written at once.
 */
#include "log/log_impl.h"

enum {
    PIECE_BYTES = 128 << 10,
    REST_US = 8000, /* at least so long, and as long as the flush before took */
};

void flush_plan(struct log *log, struct log_job *job, int64_t now_us)
{
    job->flushed_idx = log->flushed_idx;
    if (!log->active)
        return;
    job->from_pos = log->sent_pos;
    uint64_t bytes = log->write_pos > job->from_pos ? log->write_pos - job->from_pos : 0;
    int64_t rest_us = now_us - log->flush_over_us;
    job->gently =
        log->old && bytes > PIECE_BYTES && rest_us >= REST_US && rest_us >= log->flush_over_us - log->flush_us;
    log->sent_pos = log->write_pos;
    log->flush_us = now_us;
}

static enum kq_err write_out(struct place *p, struct io_file *file, uint64_t pos, uint64_t end_pos)
{
    enum kq_err err = KQ_OK;
    for (uint64_t size; err == KQ_OK && pos < end_pos; pos += size) {
        size = PIECE_BYTES - pos % PIECE_BYTES;
        if (size > end_pos - pos)
            size = end_pos - pos;
        err = err_from_errno(-p->io->ops->write_out(p->io, file, pos, size));
        PLACE_COUNT(p, pieces, 1);
    }
    return err;
}

void job_run_flush(struct log_job *job)
{
    struct place *p = job->place;
    if (!job_save_state(job))
        return;
    struct log *log = job->log;
    (void)pthread_mutex_lock(&log->tip_lock);
    struct segment *s = log->tip.segment != NULL ? segment_hold(log->tip.segment) : NULL;
    uint64_t idx = log->tip.idx;
    uint64_t term = log->tip.term;
    uint64_t end_pos = log->tip.end_pos;
    (void)pthread_mutex_unlock(&log->tip_lock);
    if (s != NULL && idx > job->flushed_idx) {
        if (job->gently)
            job->err = write_out(p, s->file, job->from_pos, end_pos);
        if (job->err == KQ_OK)
            job->err = place_datasync(p, s->file);
        job->flushed_idx = idx;
        job->flushed_term = term;
        if (job->err != KQ_OK)
            (void)fault_set(&job->fault, job->err,
                            "flushing %s/%0*lld.log: %s; nothing is tried again on the same pages: the replica stops",
                            p->dir, (int)SEGMENT_NAME_DIGITS, (long long)s->first_off, err_text(job->err));
    }
    if (s != NULL)
        segment_drop(s);
}
