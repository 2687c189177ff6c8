/*
 * Opening a partition whose unsealed tail is damaged below what was flushed. The log says which
 * entries others could stand in for (log_report.tail); they are asked for, and what comes is given
 * to another try, which verifies it (log/tail.c). The replica is not open meanwhile: it neither votes
 * nor leads nor acknowledges, what is posted waits as during any start. So nothing of what it
 * promised is ever missing in what it says, and it comes back as what it was.
 *
 * After TAIL_US without progress it fails as it would have at once, and the controller lets a new
 * replica take its place.
 */
#include "partition/partition_impl.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/require.h"

enum { TAIL_US = 8 * 1000 * 1000, ASK_AGAIN_US = 1000 * 1000 };

void partition_tail_init(struct partition *p)
{
    pthread_condattr_t attributes;
    (void)pthread_mutex_init(&p->tail_lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&p->tail_news, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

void partition_tail_fini(struct partition *p)
{
    (void)pthread_cond_destroy(&p->tail_news);
    (void)pthread_mutex_destroy(&p->tail_lock);
}

bool partition_tail_give(struct partition *p, struct partition_mend *mend)
{
    (void)pthread_mutex_lock(&p->tail_lock);
    bool wanted = p->tail_waits && p->tail_mend == NULL;
    if (wanted)
        p->tail_mend = mend;
    (void)pthread_cond_signal(&p->tail_news);
    (void)pthread_mutex_unlock(&p->tail_lock);
    return wanted;
}

void partition_tail_stop(struct partition *p)
{
    (void)pthread_mutex_lock(&p->tail_lock);
    p->tail_stop = true;
    (void)pthread_cond_signal(&p->tail_news);
    (void)pthread_mutex_unlock(&p->tail_lock);
}

/* NULL: none until then, or it is to stop. */
static struct partition_mend *wait_for_entries(struct partition *p, int64_t until_us)
{
    struct timespec until = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};
    (void)pthread_mutex_lock(&p->tail_lock);
    while (p->tail_mend == NULL && !p->tail_stop && clock_mono_us() < until_us)
        (void)pthread_cond_timedwait(&p->tail_news, &p->tail_lock, &until);
    struct partition_mend *mend = p->tail_mend;
    p->tail_mend = NULL;
    (void)pthread_mutex_unlock(&p->tail_lock);
    return mend;
}

/* From now on entries are taken, or no more. True: it is to stop. */
static bool wait_more(struct partition *p, bool waits)
{
    (void)pthread_mutex_lock(&p->tail_lock);
    bool stop = p->tail_stop;
    struct partition_mend *rest = waits ? NULL : p->tail_mend;
    p->tail_waits = waits;
    p->tail_mend = waits ? p->tail_mend : NULL;
    (void)pthread_mutex_unlock(&p->tail_lock);
    if (rest != NULL) {
        rest->fault = (struct fault){.err = KQ_AGAIN};
        rest->done(rest);
    }
    return stop;
}

static enum kq_err open_once(struct partition *p, struct actor_options *options, struct fault *fault)
{
    struct machine_now now = {.mono_us = clock_mono_us(), .wall_ms = clock_wall_ms()};
    return actor_open(&p->actor, options, &now, fault);
}

/* Another try with what came. */
static enum kq_err open_with(struct partition *p, struct actor_options *options, struct partition_mend *mend,
                             struct fault *fault)
{
    const struct log_damage was = *options->damaged_tail;
    enum kq_err err = KQ_CORRUPT;
    mend->fault = (struct fault){.err = KQ_AGAIN}; /* of an earlier question */
    if (mend->count == was.last_idx - was.first_idx + 1 && mend->entries[0].idx == was.first_idx) {
        options->log.tail = mend->entries;
        options->log.tail_count = mend->count;
        err = open_once(p, options, fault);
        options->log.tail = NULL;
        options->log.tail_count = 0;
        mend->fault.err = KQ_OK;
        if (err == KQ_CORRUPT && options->damaged_tail->first_idx == was.first_idx)
            (void)fault_set(&mend->fault, KQ_INVALID, "entries %llu to %llu are not those that stood here",
                            (unsigned long long)was.first_idx, (unsigned long long)was.last_idx);
    }
    mend->done(mend);
    return err;
}

enum kq_err partition_open(struct partition *p, struct actor_options *options, struct fault *fault)
{
    const struct log_damage *damage = &p->tail_damage;
    options->damaged_tail = &p->tail_damage;
    enum kq_err err = open_once(p, options, fault);
    const struct partition_peers *peers = p->options.peers;
    if (err != KQ_CORRUPT || damage->first_idx == 0 || p->options.alone || peers == NULL || peers->damaged == NULL)
        return err;
    SAY_WARNING("%s: is not open yet: %s. Entries %llu to %llu are asked of the other brokers", p->title,
                fault_text(fault), (unsigned long long)damage->first_idx, (unsigned long long)damage->last_idx);
    int64_t until_us = clock_mono_us() + TAIL_US;
    bool stop = wait_more(p, true);
    while (err == KQ_CORRUPT && damage->first_idx > 0 && !stop && clock_mono_us() < until_us) {
        uint64_t first_idx = damage->first_idx;
        peers->damaged(peers->context, p, damage->first_idx, damage->last_idx);
        struct partition_mend *mend = wait_for_entries(p, clock_mono_us() + ASK_AGAIN_US);
        if (mend != NULL)
            err = open_with(p, options, mend, fault);
        if (damage->first_idx > first_idx) /* there is more behind it */
            until_us = clock_mono_us() + TAIL_US;
        stop = wait_more(p, true);
    }
    (void)wait_more(p, false);
    if (err != KQ_OK)
        return err;
    *fault = (struct fault){.err = KQ_OK};
    SAY_NOTICE("%s: its unsealed tail that was damaged is whole again, from another broker", p->title);
    return KQ_OK;
}
