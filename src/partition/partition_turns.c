/*
 * Who runs an actor's turns, and the jobs that they ask for.
 *
 * The partition's own thread does, when it is woken; and so that fewer are woken:
 *
 *   a worker, with a small publish, when nobody runs the actor (partition_post_and_turn)
 *   a flusher, when its flush is done, for the turn that answers
 *   a link's receiver, with an acknowledgement, when that turn is light: it must not touch the
 *       disk, or one that hangs would make the link deaf (partition_take_ack)
 *   a deputy, while the partition's own thread is away
 *
 * A follower's own thread runs the flush that its turn asked for itself, when nothing else waits
 * (run_kept_flush), as its leader waits for it. (A leader's does not: while a flusher wakes, more
 * is published, and the flush covers that, too.) It gives the token up for that time. A deputy is
 * booked before, one of its own, so that however many disks hang no partition is deaf.
 *
 * Who gives a turn may hold no lock: answers are given in it.
 */
#include "partition/partition_impl.h"

#include "base/clock.h"
#include "base/require.h"

enum {
    SLOW_TURN_US = 10 * 1000,
    LENT_BYTES_MAX = 16 << 10, /* of a publish whose bringer runs the turn */
    LENT_TURNS_MAX = 3,        /* in a row by another thread than the partition's own */
};

/* ---- turns (token holder) ----------------------------------------------------------- */

static void arm_deadline(struct partition *p)
{
    int64_t due_us = actor_deadline_us(p->actor);
    if (due_us < p->armed_us) {
        p->armed_us = due_us;
        engine_set_deadline(p->options.engine, &p->deadline, due_us);
    }
}

static void show_numbers(struct partition *p, bool *failed)
{
    struct partition_status status;
    actor_status(p->actor, &status);
    uint32_t leader_id = status.leads ? engine_options(p->options.engine)->broker_id : status.leader_id;
    leadership_write(&p->leadership, leader_id, status.term);
    atomic_store_explicit(&p->size_bytes, status.size_bytes, memory_order_relaxed);
    if (status.state == PARTITION_FAILED && !*failed) {
        *failed = true;
        partition_set_face(p, PARTITION_FAILED, &status.fault);
    }
}

static bool holds_tick(const struct mail_list *control)
{
    for (const struct mail *mail = control->first; mail != NULL; mail = mail->next)
        if (mail->kind == MAIL_TICK)
            return true;
    return false;
}

/* What others see of the actor, and when it wants a turn. */
static void show_turn(struct partition *p)
{
    bool failed = p->failure.err != KQ_OK;
    show_numbers(p, &failed);
    if (failed)
        p->failure.err = KQ_PARTITION_FAILED;
    arm_deadline(p);
}

static void run_turn(struct partition *p)
{
    struct mail_list control = {0};
    struct mail_list data = {0};
    (void)atomic_fetch_add_explicit(&p->turns, 1, memory_order_relaxed);
    const struct engine_options *options = engine_options(p->options.engine);
    mailbox_take(&p->box, &control, &data, actor_wants_data(p->actor), options->entry_max_bytes);
    bool ticked = holds_tick(&control);
    struct machine_now now = {.mono_us = clock_mono_us(), .wall_ms = clock_wall_ms()};
    actor_turn(p->actor, &control, &data, &now);
    if (ticked) {
        p->armed_us = CLOCK_NEVER;
        atomic_store_explicit(&p->tick_queued, false, memory_order_release);
    }
    show_turn(p);
    if (clock_mono_us() - now.mono_us > SLOW_TURN_US)
        (void)atomic_fetch_add_explicit(&engine_counters(p->options.engine)->slow_turns, 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&p->turns, 1, memory_order_relaxed);
}

/* ---- jobs ------------------------------------------------------------------------------ */

/* A thread that is not the partition's has the token: it brought what the turn is for. What
 * else comes meanwhile is for the partition's own thread, unless it is a little more of the
 * same kind: the disk's completion beside a peer's answer. */
static void run_lent_turns(struct partition *p)
{
    bool stopped = false;
    for (int turns = 1;; turns++) {
        run_turn(p);
        stopped = actor_stopped(p->actor);
        if (stopped || turns == LENT_TURNS_MAX || !mailbox_may_go_on(&p->box))
            break;
    }
    mailbox_hand_over(&p->box, actor_wants_data(p->actor), stopped);
}

/* A flusher. When nobody runs the actor it runs the turn that answers, and spares
 * the wake-up of the partition's thread. */
static void run_flush_job(struct job *job)
{
    struct lane_job *lane = CONTAINER_OF(job, struct lane_job, job);
    struct partition *p = partition_hold(lane->partition);
    log_job_run(lane->mail.job);
    if (mailbox_post_and_claim(&p->box, &lane->mail.mail))
        run_lent_turns(p);
    partition_drop(&p);
}

/* The partition's own thread, after a turn that asked for a flush: it runs it itself, when nothing else waits,
 * and spares the wake-up of a flusher. Mail that comes meanwhile calls a deputy. Gives what
 * mailbox_release() gives. */
static bool run_kept_flush(struct partition *p)
{
    struct lane_job *lane = p->kept;
    struct engine *engine = p->options.engine;
    p->kept = NULL;
    bool booked = engine_deputy_book(engine);
    if (!booked || !mailbox_go_out(&p->box, actor_wants_data(p->actor))) {
        if (booked)
            engine_deputy_free(engine);
        engine_post_flush(engine, &lane->job, false);
        return mailbox_release(&p->box, actor_wants_data(p->actor));
    }
    bool alone;
    log_job_run(lane->mail.job);
    bool holds = mailbox_come_back(&p->box, &lane->mail.mail, &alone);
    if (alone)
        engine_deputy_free(engine);
    return holds;
}

static void call_deputy(struct mailbox *box)
{
    struct partition *p = partition_hold(CONTAINER_OF(box, struct partition, box));
    engine_post_deputy(p->options.engine, &p->deputy_job);
}

/* A deputy, which was given the token. */
static void run_deputy(struct job *job)
{
    struct partition *p = CONTAINER_OF(job, struct partition, deputy_job);
    struct engine *engine = p->options.engine;
    bool stopped = false;
    for (int turns = 1;; turns++) {
        run_turn(p);
        stopped = actor_stopped(p->actor);
        bool more = turns < LENT_TURNS_MAX && mailbox_may_go_on(&p->box);
        if (stopped || (!more && !mailbox_deputy_goes_on(&p->box, actor_wants_data(p->actor))))
            break;
    }
    if (mailbox_deputy_ends(&p->box, actor_wants_data(p->actor), stopped))
        engine_deputy_free(engine);
    partition_drop(&p);
}

static void run_keep_job(struct job *job)
{
    struct lane_job *lane = CONTAINER_OF(job, struct lane_job, job);
    struct partition *p = partition_hold(lane->partition);
    log_job_run(lane->mail.job);
    REQUIRE(mailbox_post(&p->box, MAIL_CONTROL, &lane->mail.mail) != MAILBOX_CLOSED);
    partition_drop(&p);
}

/* As of the turn before. */
static bool follows(const struct partition *p)
{
    uint64_t term;
    uint32_t leader_id = leadership_read(&p->leadership, &term);
    return leader_id != 0 && leader_id != engine_options(p->options.engine)->broker_id;
}

void partition_submit(void *context, enum log_lane lane, struct log_job *log_job, bool alone)
{
    struct partition *p = context;
    struct lane_job *job = &p->lane_jobs[lane];
    job->partition = p;
    job->mail = (struct actor_job_mail){.mail = {.kind = MAIL_JOB_DONE}, .job = log_job, .lane = lane};
    if (lane == LOG_LANE_FLUSH) {
        job->job.run = run_flush_job;
        if (alone && p->own_turn && follows(p))
            p->kept = job;
        else
            engine_post_flush(p->options.engine, &job->job, alone);
    } else {
        job->job.run = run_keep_job;
        engine_post_keep(p->options.engine, &job->job);
    }
}

void partition_fire_tick(struct engine_deadline *deadline)
{
    struct partition *p = CONTAINER_OF(deadline, struct partition, deadline);
    if (atomic_exchange_explicit(&p->tick_queued, true, memory_order_acq_rel))
        return;
    (void)mailbox_post(&p->box, MAIL_CONTROL, &p->tick);
}

/* ---- the partition's own thread ------------------------------------------------------------------ */

/* True: the token is kept, there is work. */
static bool release(struct partition *p)
{
    return p->kept != NULL ? run_kept_flush(p) : mailbox_release(&p->box, actor_wants_data(p->actor));
}

void partition_serve(struct partition *p)
{
    for (;;) {
        mailbox_wait(&p->box);
        do {
            if (actor_stopped(p->actor))
                return;
            p->own_turn = true;
            run_turn(p);
            p->own_turn = false;
        } while (actor_stopped(p->actor) || release(p));
    }
}

/* ---- who brings something ------------------------------------------------------------------------- */

/* Who brings a small thing runs the turn itself, if nobody does. Not a link's receiver: a disk
 * that hangs under the turn would make the link deaf. */
enum mailbox_post partition_post_and_turn(struct partition *p, enum mail_lane lane, struct mail *mail)
{
    bool claimed = false;
    struct engine *engine = p->options.engine;
    if (mail->size_bytes > LENT_BYTES_MAX || !engine_lent_begin(engine))
        return mailbox_post(&p->box, lane, mail);
    enum mailbox_post posted = mailbox_post_or_claim(&p->box, lane, mail, &claimed);
    if (!claimed) {
        engine_lent_end(engine);
        return posted;
    }
    struct partition *held = partition_hold(p); /* the turn may answer whoever holds it for the caller */
    run_lent_turns(p);
    partition_drop(&held);
    engine_lent_end(engine);
    return MAILBOX_POSTED;
}

/* A link's receiver, with an acknowledgement: it runs the turn itself where that touches no disk; one that hangs
 * would make the link deaf. */
bool partition_take_ack(struct partition *p, struct parcel *parcel)
{
    bool claimed = false;
    if (mailbox_post_or_claim(&p->box, MAIL_CONTROL, &parcel->mail, &claimed) == MAILBOX_CLOSED)
        return false;
    if (!claimed)
        return true;
    struct partition *held = partition_hold(p);
    if (actor_is_light(p->actor, parcel)) {
        struct machine_now now = {.mono_us = clock_mono_us(), .wall_ms = clock_wall_ms()};
        (void)atomic_fetch_add_explicit(&p->turns, 1, memory_order_relaxed);
        REQUIRE(mailbox_take_first(&p->box) == &parcel->mail);
        actor_light_turn(p->actor, parcel, &now);
        show_turn(p);
        (void)atomic_fetch_add_explicit(&p->turns, 1, memory_order_relaxed);
    }
    mailbox_hand_over(&p->box, actor_wants_data(p->actor), false);
    partition_drop(&held);
    return true;
}

/* ---- the beginning --------------------------------------------------------------------------------- */

void partition_turns_init(struct partition *p)
{
    p->box.call_deputy = call_deputy;
    p->deputy_job.run = run_deputy;
    p->armed_us = CLOCK_NEVER;
    p->tick.kind = MAIL_TICK;
    p->deadline.fire = partition_fire_tick;
    atomic_init(&p->tick_queued, false);
}
