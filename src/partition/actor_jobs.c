/* The log's jobs: which go out at the end of a turn, what comes of them; and when the
 * actor wants a turn though no mail comes. */
#include "partition/actor_internal.h"

/* ---- what came of them ------------------------------------------------------------------- */

static void note_flushed(struct actor *actor, const struct log_done *done)
{
    struct raft_event event = {.type = RAFT_EV_FLUSHED,
                               .now_us = actor->now.mono_us,
                               .term = done->flushed_term,
                               .idx = done->flushed_idx,
                               .cuts = done->cuts};
    actor_raft_event(actor, &event);
    if (done->flushed_idx >= log_last_idx(actor->log)) {
        actor->unflushed_since_us = 0;
        actor->unflushed_bytes = 0;
    } else {
        actor->unflushed_since_us = actor->now.mono_us;
    }
}

/* Entries that are no longer here: who needs one of them has to begin anew. */
void actor_note_log_start(struct actor *actor)
{
    uint64_t base_idx = log_first_idx(actor->log) - 1;
    if (base_idx <= actor->raft.base_idx || base_idx > actor->raft.commit_idx)
        return;
    struct raft_event event = {.type = RAFT_EV_LOG_START,
                               .now_us = actor->now.mono_us,
                               .idx = base_idx,
                               .term = log_term_at(actor->log, base_idx)};
    if (event.term != 0)
        actor_raft_event(actor, &event);
}

static void note_hard_state(struct actor *actor, uint64_t version)
{
    if (version >= actor->boot_version)
        actor->boot_durable = true;
    struct raft_event event = {.type = RAFT_EV_HARD_STATE, .now_us = actor->now.mono_us, .version = version};
    actor_raft_event(actor, &event);
}

void actor_take_job(struct actor *actor, struct actor_job_mail *mail)
{
    struct log_done done = {0};
    actor->jobs_out--;
    log_job_done(actor->log, mail->job, &done);
    if (done.err != KQ_OK && done.err != KQ_NO_SPACE) {
        actor_fail(actor, done.err, &done.fault);
        return;
    }
    if (done.hard_state_version != 0)
        note_hard_state(actor, done.hard_state_version);
    if (done.flushed)
        note_flushed(actor, &done);
    if (done.repaired_idx != 0)
        actor_note_mended(actor, &done);
    /* Any job of the keeper's: a roll may have been asked for while it was out,
     * and wants its state now. */
    if (done.space || done.err == KQ_NO_SPACE || mail->lane == LOG_LANE_KEEP)
        actor->room_wanted = false;
    if (done.view_changed) {
        actor->view_dirty = true;
        actor->retention_due_ms = 0;
    }
}

/* ---- what goes out ---------------------------------------------------------------------- */

/* With interval flushing a flush waits for its time, unless something else must
 * be durable first. */
static bool flush_may_wait(const struct actor *actor)
{
    if (actor->options.flush_always || actor->stopping || actor->unflushed_since_us == 0)
        return false;
    if (actor->raft.hard_durable < actor->raft.hard_version || log_cuts(actor->log) != actor->raft.flush_cuts)
        return false;
    return actor->unflushed_bytes < actor->options.flush_interval_bytes &&
           actor->now.mono_us < actor->unflushed_since_us + actor->options.flush_interval_us;
}

/* The state goes into the footer of a segment that is about to be sealed. */
static void give_roll_state(struct actor *actor)
{
    struct buf state;
    buf_init(&state, SIZE_MAX / 2);
    actor_encode_end(actor, &state);
    log_roll_state(actor->log, state.bad ? NULL : state.data, state.bad ? 0 : state.len);
    buf_fini(&state);
}

void actor_submit_jobs(struct actor *actor)
{
    if (actor->failure.err != KQ_OK)
        return;
    if (log_wants_roll_state(actor->log))
        give_roll_state(actor);
    for (int lane = 0; lane < LOG_LANE_COUNT; lane++) {
        if (lane == LOG_LANE_FLUSH && flush_may_wait(actor))
            continue;
        struct log_job *job = log_next_job(actor->log, (enum log_lane)lane, actor->now.mono_us);
        if (job == NULL)
            continue;
        actor->jobs_out++;
        bool alone = actor->finished.count <= 1;
        actor->options.env.submit(actor->options.env.context, (enum log_lane)lane, job, alone);
    }
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t retention_deadline_us(const struct actor *actor)
{
    if (actor->retention_due_ms == INT64_MAX || actor_start_pending(actor) || !actor_leads(actor))
        return CLOCK_NEVER;
    int64_t left_ms = actor->retention_due_ms - actor->now.wall_ms;
    left_ms = least(left_ms < 0 ? 0 : left_ms, (int64_t)RETENTION_TICK_MAX_S * 1000);
    return actor->now.mono_us + left_ms * 1000;
}

bool actor_has_inflight(const struct actor *actor)
{
    return actor->inflight.first != NULL || actor->cut.first != NULL;
}

int64_t actor_deadline_us(const struct actor *actor)
{
    if (actor->failure.err != KQ_OK)
        return CLOCK_NEVER;
    int64_t raft_us = raft_deadline_us(&actor->raft);
    if (actor->stopping)
        return actor_is_alone(actor) || !actor_has_inflight(actor) ? CLOCK_NEVER : least(raft_us, actor->stop_until_us);
    int64_t due_us = least(log_next_deadline_us(actor->log), raft_us);
    due_us = least(due_us, actor_asks_deadline_us(actor));
    due_us = least(due_us, actor_damage_deadline_us(actor));
    due_us = least(due_us, actor_lost_deadline_us(actor));
    due_us = least(due_us, actor_watch_deadline_us(actor));
    if (actor->parting) {
        bool early = actor->now.mono_us < actor->heir_due_us;
        due_us = least(due_us, early ? actor->heir_due_us : actor->stop_until_us);
    }
    if (flush_may_wait(actor))
        due_us = least(due_us, actor->unflushed_since_us + actor->options.flush_interval_us);
    if (actor->inflight.first != NULL || actor->waiting.first != NULL)
        due_us = least(due_us, actor->now.mono_us + REQUEST_TICK_US);
    const struct machine_ops *ops = actor->options.machine.ops;
    if (actor_machine_due(actor)) /* still, after this turn: it waits for the disk, or for room */
        due_us = least(due_us, actor->now.mono_us + MACHINE_AGAIN_US);
    else if (ops != NULL && ops->deadline_us != NULL && actor->machine_leads)
        due_us = least(due_us, ops->deadline_us(actor->options.machine.state));
    return least(due_us, retention_deadline_us(actor));
}
