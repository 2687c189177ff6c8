#include "partition/actor_internal.h"

#include "base/logger.h"

/* ---- failing ------------------------------------------------------------------ */

void actor_fail(struct actor *actor, enum kq_err err, const struct fault *fault)
{
    if (actor->failure.err != KQ_OK)
        return;
    actor->failure = *fault;
    actor->failure.err = err == KQ_OK ? KQ_IO : err;
    struct raft_out out;
    struct raft_event event = {.type = RAFT_EV_DISK_FAILED, .now_us = actor->now.mono_us};
    raft_step(&actor->raft, &event, &out);
    SAY_ERROR("%s: stopped: %s", actor->options.log.title, fault_text(&actor->failure));
}

/* ---- raft ---------------------------------------------------------------------- */

static void save_hard_state(struct actor *actor)
{
    struct log_hard_state state = *log_hard_state(actor->log);
    state.term = actor->raft.term;
    state.vote_broker_id = actor->raft.vote.broker_id;
    state.vote_incarnation = actor->raft.vote.incarnation;
    state.commit_idx = actor->raft.commit_idx;
    state.boot_id = actor->options.flush_always ? (struct uuid){{0}} : actor->options.boot_id;
    raft_saving(&actor->raft, log_set_hard_state(actor->log, &state));
}

void actor_raft_event(struct actor *actor, const struct raft_event *event)
{
    struct raft_out out;
    raft_step(&actor->raft, event, &out);
    if (out.save_hard_state)
        save_hard_state(actor);
    if (out.append_noop)
        actor->noop_wanted = true;
    if (out.committed)
        actor->committed_news = true;
}

void actor_note_append(struct actor *actor, enum log_entry_type type, uint64_t idx, uint32_t body_bytes)
{
    if (type == LOG_ENTRY_RECORDS) {
        REQUIRE(actor->entry_count < ENTRIES_IN_FLIGHT_MAX);
        actor->entries[actor->entry_count++] = idx;
        const struct partition_limits *limits = &actor->options.limits;
        if (actor->retention_due_ms == INT64_MAX && limits->retention_ms >= 0)
            actor->retention_due_ms = actor->now.wall_ms + limits->retention_ms + 1;
        if (limits->retention_bytes >= 0 && log_size_bytes(actor->log) >= (uint64_t)limits->retention_bytes)
            actor->retention_due_ms = 0;
    }
    if (actor->unflushed_since_us == 0)
        actor->unflushed_since_us = actor->now.mono_us;
    actor->unflushed_bytes += body_bytes;
    (void)atomic_fetch_add_explicit(&actor->options.counters->entries, 1, memory_order_relaxed);
    struct raft_event event = {
        .type = RAFT_EV_APPENDED, .now_us = actor->now.mono_us, .term = actor->raft.term, .idx = idx};
    actor_raft_event(actor, &event);
}

bool actor_room(struct actor *actor, enum log_entry_type type, uint32_t body_bytes, bool *no_space)
{
    *no_space = false;
    if (actor->failure.err != KQ_OK || actor->room_wanted)
        return false;
    enum kq_err err = log_make_room(actor->log, type, body_bytes);
    switch (err) {
    case KQ_OK:
        if (actor->full_said)
            SAY_NOTICE("%s: there is room again: publishes are taken", actor->options.log.title);
        actor->full_said = false;
        return true;
    case KQ_AGAIN:
        actor->room_wanted = true;
        return false;
    case KQ_NO_SPACE:
        if (!actor->full_said)
            SAY_WARNING("%s: disk full: publishes are refused until there is room", actor->options.log.title);
        actor->full_said = true;
        *no_space = true;
        return false;
    default: {
        struct fault fault;
        (void)fault_set(&fault, err, "%s: the log cannot go on: %s", actor->options.log.title, err_text(err));
        actor_fail(actor, err, &fault);
        return false;
    }
    }
}

/* ---- waiting readers ------------------------------------------------------------- */

static void finish_wait(struct wait_request *wait, enum kq_err err)
{
    int expected = WAIT_WAITING;
    wait->err = err;
    if (atomic_compare_exchange_strong_explicit(&wait->state, &expected, WAIT_DONE, memory_order_acq_rel,
                                                memory_order_acquire))
        wait->done(wait);
    /* else its cancel is on the way, and will run done */
}

bool actor_wait_claim_cancel(struct wait_request *wait)
{
    int expected = WAIT_WAITING;
    return atomic_compare_exchange_strong_explicit(&wait->state, &expected, WAIT_CANCELLING, memory_order_acq_rel,
                                                   memory_order_acquire);
}

static void wake_waits(struct actor *actor, enum kq_err reason)
{
    int64_t high_watermark = log_end_off_at(actor->log, actor->raft.commit_idx);
    struct wait_request **link = &actor->waits;
    while (*link != NULL) {
        struct wait_request *wait = *link;
        if (reason == KQ_OK && wait->off >= high_watermark) {
            link = &wait->next;
            continue;
        }
        *link = wait->next;
        finish_wait(wait, reason);
    }
}

static void take_wait(struct actor *actor, struct wait_request *wait)
{
    if (actor->failure.err != KQ_OK) {
        finish_wait(wait, KQ_PARTITION_FAILED);
    } else if (actor->stopping) {
        finish_wait(wait, actor->stop_reason);
    } else if (wait->off < log_end_off_at(actor->log, actor->raft.commit_idx)) {
        finish_wait(wait, KQ_OK);
    } else {
        wait->next = actor->waits;
        actor->waits = wait;
    }
}

/* The canceller has set the state; whatever the wait came to, done runs here. */
static void cancel_wait(struct actor *actor, struct wait_request *wait)
{
    for (struct wait_request **link = &actor->waits; *link != NULL; link = &(*link)->next)
        if (*link == wait) {
            *link = wait->next;
            break;
        }
    wait->err = KQ_AGAIN;
    wait->done(wait);
}

/* ---- answers ------------------------------------------------------------------------ */

void actor_refuse(struct mail *mail, enum kq_err err, const struct fault *fault)
{
    struct fault answer = {.err = err};
    if (fault != NULL)
        answer = *fault;
    answer.err = err;
    switch (mail->kind) {
    case MAIL_PUBLISH: {
        struct publish_request *request = CONTAINER_OF(mail, struct publish_request, mail);
        request->fault = answer;
        request->done(request);
        break;
    }
    case MAIL_CALL: {
        struct machine_call *call = CONTAINER_OF(mail, struct machine_call, mail);
        call->fault = answer;
        call->done(call);
        break;
    }
    case MAIL_WAIT:
        finish_wait(CONTAINER_OF(mail, struct wait_request, mail), err);
        break;
    case MAIL_WAIT_CANCEL: {
        struct wait_request *wait = CONTAINER_OF(mail, struct wait_request, cancel);
        wait->err = KQ_AGAIN;
        wait->done(wait);
        break;
    }
    case MAIL_CONFIGURE:
        free(mail);
        break;
    case MAIL_PARCEL: {
        struct parcel *parcel = CONTAINER_OF(mail, struct parcel, mail);
        parcel->release(parcel);
        break;
    }
    case MAIL_ASK: {
        struct partition_ask *ask = CONTAINER_OF(mail, struct partition_ask, mail);
        ask->fault = answer;
        ask->done(ask);
        break;
    }
    case MAIL_PEER:
        free(mail);
        break;
    case MAIL_JOB_DONE:
    case MAIL_TICK:
    case MAIL_STOP:
        break;
    }
}

static uint64_t wait_idx_of(const struct mail *mail)
{
    if (mail->kind == MAIL_PUBLISH)
        return ((const struct publish_request *)(const void *)mail)->wait_idx;
    return ((const struct machine_call *)(const void *)mail)->wait_idx;
}

static int64_t deadline_of(const struct mail *mail)
{
    return mail->kind == MAIL_PUBLISH ? ((const struct publish_request *)(const void *)mail)->deadline_us : CLOCK_NEVER;
}

static void finish_committed(struct actor *actor)
{
    while (actor->inflight.first != NULL && wait_idx_of(actor->inflight.first) <= actor->raft.commit_idx)
        mail_list_append(&actor->finished, mail_list_take(&actor->inflight));
}

static void refuse_list(struct mail_list *list, enum kq_err err, const struct fault *fault)
{
    struct mail *mail;
    while ((mail = mail_list_take(list)) != NULL)
        actor_refuse(mail, err, fault);
}

/* The machine answers the calls that it kept. */
static void stop_leading(struct actor *actor)
{
    if (!actor->machine_leads)
        return;
    actor->machine_leads = false;
    actor->options.machine.ops->leads(actor->options.machine.state, false, &actor->now);
}

/* Nothing that is on its way can be promised any more. */
static void answer_failure(struct actor *actor)
{
    struct fault unknown;
    (void)fault_set(&unknown, KQ_OUTCOME_UNKNOWN, "%s", fault_text(&actor->failure));
    finish_committed(actor);
    refuse_list(&actor->inflight, KQ_OUTCOME_UNKNOWN, &unknown);
    refuse_list(&actor->waiting, KQ_PARTITION_FAILED, &actor->failure);
    actor_deliver_notes(actor, UINT64_MAX, KQ_PARTITION_FAILED);
    wake_waits(actor, KQ_PARTITION_FAILED);
    stop_leading(actor);
}

static void expire_list(struct actor *actor, struct mail_list *list, enum kq_err err, const char *text)
{
    struct mail_list kept = {0};
    struct mail *mail;
    struct fault fault;
    (void)fault_set(&fault, err, "%s", text);
    while ((mail = mail_list_take(list)) != NULL) {
        if (deadline_of(mail) > actor->now.mono_us)
            mail_list_append(&kept, mail);
        else
            actor_refuse(mail, err, &fault);
    }
    *list = kept;
}

static void answer_finished(struct actor *actor)
{
    struct mail *mail;
    while ((mail = mail_list_take(&actor->finished)) != NULL) {
        if (mail->kind == MAIL_PUBLISH) {
            struct publish_request *request = CONTAINER_OF(mail, struct publish_request, mail);
            request->done(request);
        } else {
            struct machine_call *call = CONTAINER_OF(mail, struct machine_call, mail);
            call->done(call);
        }
    }
}

/* ---- control mail --------------------------------------------------------------------- */

static void note_flushed(struct actor *actor, const struct log_done *done)
{
    struct raft_event event = {
        .type = RAFT_EV_FLUSHED, .now_us = actor->now.mono_us, .term = done->flushed_term, .idx = done->flushed_idx};
    actor_raft_event(actor, &event);
    if (done->flushed_idx >= log_last_idx(actor->log)) {
        actor->unflushed_since_us = 0;
        actor->unflushed_bytes = 0;
    } else {
        actor->unflushed_since_us = actor->now.mono_us;
    }
}

static void take_job(struct actor *actor, struct actor_job_mail *mail)
{
    struct log_done done = {0};
    actor->jobs_out--;
    log_job_done(actor->log, mail->job, &done);
    if (done.err != KQ_OK && done.err != KQ_NO_SPACE) {
        actor_fail(actor, done.err, &done.fault);
        return;
    }
    if (done.hard_state_version != 0) {
        struct raft_event event = {
            .type = RAFT_EV_HARD_STATE, .now_us = actor->now.mono_us, .version = done.hard_state_version};
        actor_raft_event(actor, &event);
    }
    if (done.flushed)
        note_flushed(actor, &done);
    /* Any job of the keeper's: a roll may have been asked for while it was out,
     * and wants its state now. */
    if (done.space || done.err == KQ_NO_SPACE || mail->lane == LOG_LANE_KEEP)
        actor->room_wanted = false;
    if (done.view_changed) {
        actor->view_dirty = true;
        actor->retention_due_ms = 0;
    }
}

static void take_tick(struct actor *actor)
{
    expire_list(actor, &actor->inflight, KQ_OUTCOME_UNKNOWN,
                "written, but not known to be durable within publish.timeout");
    expire_list(actor, &actor->waiting, KQ_NO_LEADER, "no leader within the timeout");
    actor->impatient = true;
}

static void take_control(struct actor *actor, struct mail *mail)
{
    switch (mail->kind) {
    case MAIL_JOB_DONE:
        take_job(actor, CONTAINER_OF(mail, struct actor_job_mail, mail));
        break;
    case MAIL_TICK:
        take_tick(actor);
        break;
    case MAIL_STOP:
        actor->stopping = true;
        actor->stop_reason = CONTAINER_OF(mail, struct actor_stop_mail, mail)->reason;
        break;
    case MAIL_CONFIGURE:
        actor->options.limits = CONTAINER_OF(mail, struct actor_configure_mail, mail)->limits;
        free(mail);
        log_set_segment_bytes(actor->log, (uint64_t)actor->options.limits.segment_bytes);
        actor->retention_due_ms = 0;
        break;
    case MAIL_WAIT_CANCEL:
        cancel_wait(actor, CONTAINER_OF(mail, struct wait_request, cancel));
        break;
    case MAIL_PARCEL:
    case MAIL_PEER:
    case MAIL_ASK:
        actor_refuse(mail, KQ_NOT_LEADER, NULL); /* a group of one has no peers */
        break;
    case MAIL_PUBLISH:
    case MAIL_WAIT:
    case MAIL_CALL:
        REQUIRE(false); /* data mail on the control lane */
    }
}

static void take_data(struct actor *actor, struct mail_list *data)
{
    bool has_machine = actor->options.machine.ops != NULL;
    struct mail *mail;
    while ((mail = mail_list_take(data)) != NULL) {
        if (mail->kind == MAIL_WAIT)
            take_wait(actor, CONTAINER_OF(mail, struct wait_request, mail));
        else if (mail->kind == MAIL_WAIT_CANCEL)
            cancel_wait(actor, CONTAINER_OF(mail, struct wait_request, cancel));
        else if ((mail->kind == MAIL_CALL) == has_machine)
            mail_list_append(&actor->waiting, mail);
        else
            actor_refuse(mail, KQ_INVALID, NULL);
    }
}

/* ---- moving on ------------------------------------------------------------------------ */

static void count_entries(struct actor *actor)
{
    uint64_t counted = actor->options.flush_always ? log_flushed_idx(actor->log) : actor->raft.commit_idx;
    uint32_t gone = 0;
    while (gone < actor->entry_count && actor->entries[gone] <= counted)
        gone++;
    actor->entry_count -= gone;
    for (uint32_t i = 0; i < actor->entry_count; i++)
        actor->entries[i] = actor->entries[i + gone];
}

/* The machine is told before its first call is decided. */
static void begin_to_lead(struct actor *actor)
{
    const struct machine_ops *ops = actor->options.machine.ops;
    if (ops == NULL || actor->machine_leads || !raft_may_propose(&actor->raft))
        return;
    actor->machine_leads = true;
    ops->leads(actor->options.machine.state, true, &actor->now);
}

static void show_commit(struct actor *actor)
{
    actor->committed_news = false;
    log_set_commit(actor->log, actor->raft.commit_idx);
    if (actor->start.idx != 0 && actor->start.idx <= actor->raft.commit_idx) {
        log_set_start(actor->log, actor->start.off);
        actor->start.idx = 0;
        actor->retention_due_ms = 0;
    }
    const struct machine_ops *ops = actor->options.machine.ops;
    begin_to_lead(actor);
    if (ops != NULL && ops->committed != NULL)
        ops->committed(actor->options.machine.state, &actor->now);
    actor_deliver_notes(actor, actor->raft.commit_idx, KQ_OK);
    wake_waits(actor, KQ_OK);
}

/* Commits that moved become visible, and free places for entries. */
static void settle(struct actor *actor)
{
    if (actor->committed_news)
        show_commit(actor);
    actor_deliver_notes(actor, actor->raft.commit_idx, KQ_OK);
    finish_committed(actor);
    count_entries(actor);
}

static void look_at_retention(struct actor *actor)
{
    if (actor->now.wall_ms < actor->retention_due_ms || actor->start.wanted || actor->start.idx != 0)
        return;
    /* A machine's segments are superseded by the state in the newest footer; two
     * segments' worth always keeps that one. */
    bool machine = actor->options.machine.ops != NULL;
    int64_t limit_bytes = machine ? 2 * actor->options.limits.segment_bytes : actor->options.limits.retention_bytes;
    int64_t keep_ms = machine ? -1 : actor->options.limits.retention_ms;
    bool roll = false;
    int64_t next_ms = INT64_MAX;
    int64_t start_off = log_retention_start(actor->log, limit_bytes, keep_ms, actor->now.wall_ms, &roll, &next_ms);
    actor->retention_due_ms = next_ms;
    if (roll)
        log_force_roll(actor->log);
    if (start_off > log_start_off(actor->log) || roll) {
        actor->start.off = start_off > log_start_off(actor->log) ? start_off : log_start_off(actor->log);
        actor->start.wanted = true;
    }
}

static bool needs_to_lead(const struct actor *actor)
{
    return actor->waiting.first != NULL || actor->start.wanted || actor->records_open;
}

static void append_what_waits(struct actor *actor)
{
    if (actor->noop_wanted)
        actor_append_noop(actor);
    if (!raft_may_propose(&actor->raft))
        return;
    begin_to_lead(actor);
    if (actor->start.wanted && !actor->records_open)
        actor_append_start(actor);
    if (actor->failure.err != KQ_OK)
        return;
    if (actor->options.machine.ops != NULL)
        actor_decide_calls(actor);
    else
        actor_fold_publishes(actor);
}

/* Stopping while a machine's proposals found no room: they never come to be. */
static void drop_records(struct actor *actor)
{
    struct mail_list kept = {0};
    struct mail *mail;
    while ((mail = mail_list_take(&actor->inflight)) != NULL) {
        if (wait_idx_of(mail) <= log_last_idx(actor->log))
            mail_list_append(&kept, mail);
        else
            actor_refuse(mail, KQ_NO_SPACE, NULL);
    }
    actor->inflight = kept;
    actor->records_open = false;
    actor->state_ahead = true;
}

static void advance(struct actor *actor)
{
    if (actor->failure.err == KQ_OK)
        settle(actor);
    if (actor->stopping && actor->failure.err == KQ_OK) {
        refuse_list(&actor->waiting, actor->stop_reason, NULL);
        wake_waits(actor, actor->stop_reason);
        if (actor->records_open)
            drop_records(actor);
    }
    if (actor->failure.err == KQ_OK && !actor->stopping) {
        look_at_retention(actor);
        if (needs_to_lead(actor) && actor->raft.role == RAFT_FOLLOWER) {
            struct raft_event event = {.type = RAFT_EV_WANT_LEAD, .now_us = actor->now.mono_us};
            actor_raft_event(actor, &event);
        }
        append_what_waits(actor);
        settle(actor);
        if (raft_may_propose(&actor->raft) && actor->waiting.first != NULL &&
            actor->entry_count < actor->options.unflushed_entries)
            append_what_waits(actor);
        settle(actor);
    }
    if (actor->failure.err != KQ_OK)
        answer_failure(actor);
}

/* ---- jobs and deadlines ---------------------------------------------------------------- */

/* With interval flushing a flush waits for its time, unless something else must
 * be durable first. */
static bool flush_may_wait(const struct actor *actor)
{
    if (actor->options.flush_always || actor->stopping || actor->unflushed_since_us == 0)
        return false;
    if (actor->raft.hard_durable < actor->raft.hard_version)
        return false;
    return actor->unflushed_bytes < actor->options.flush_interval_bytes &&
           actor->now.mono_us < actor->unflushed_since_us + actor->options.flush_interval_us;
}

/* The state goes into the footer of a segment that is about to be sealed. */
static void give_roll_state(struct actor *actor)
{
    struct buf state;
    buf_init(&state, SIZE_MAX / 2);
    actor_encode_state(actor, &state);
    log_roll_state(actor->log, state.bad ? NULL : state.data, state.bad ? 0 : state.len);
    buf_fini(&state);
}

static void submit_jobs(struct actor *actor)
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

int64_t actor_deadline_us(const struct actor *actor)
{
    if (actor->failure.err != KQ_OK || actor->stopping)
        return CLOCK_NEVER;
    int64_t due_us = log_next_deadline_us(actor->log);
    if (flush_may_wait(actor))
        due_us = least(due_us, actor->unflushed_since_us + actor->options.flush_interval_us);
    if (actor->inflight.first != NULL || actor->waiting.first != NULL)
        due_us = least(due_us, actor->now.mono_us + REQUEST_TICK_US);
    const struct machine_ops *ops = actor->options.machine.ops;
    if (ops != NULL && ops->deadline_us != NULL && actor->machine_leads)
        due_us = least(due_us, ops->deadline_us(actor->options.machine.state));
    if (actor->retention_due_ms != INT64_MAX) {
        int64_t left_ms = actor->retention_due_ms - actor->now.wall_ms;
        left_ms = least(left_ms < 0 ? 0 : left_ms, (int64_t)RETENTION_TICK_MAX_S * 1000);
        due_us = least(due_us, actor->now.mono_us + left_ms * 1000);
    }
    return due_us;
}

/* ---- a turn ------------------------------------------------------------------------------ */

static void show_view(struct actor *actor)
{
    actor->view_dirty = false;
    struct log_view *view = log_view_take(actor->log);
    if (view != NULL)
        actor->options.env.show_view(actor->options.env.context, view);
}

void actor_turn(struct actor *actor, struct mail_list *control, struct mail_list *data, const struct machine_now *now)
{
    TAG_CHECK(actor, ACTOR_TAG);
    actor->now = *now;
    actor->impatient = false;
    (void)atomic_fetch_add_explicit(&actor->options.counters->turns, 1, memory_order_relaxed);
    struct mail *mail;
    while ((mail = mail_list_take(control)) != NULL)
        take_control(actor, mail);
    take_data(actor, data);
    advance(actor);
    if (actor->view_dirty)
        show_view(actor);
    submit_jobs(actor);
    answer_finished(actor);
    actor_check(actor);
}

bool actor_wants_data(const struct actor *actor)
{
    if (actor->failure.err != KQ_OK || actor->stopping || actor->impatient)
        return true;
    return actor->waiting.first == NULL && !actor->room_wanted && actor->entry_count < actor->options.unflushed_entries;
}

bool actor_stopped(const struct actor *actor)
{
    if (!actor->stopping || actor->jobs_out > 0)
        return false;
    return actor->failure.err != KQ_OK || actor->inflight.first == NULL;
}

void actor_status(const struct actor *actor, struct partition_status *status)
{
    *status = (struct partition_status){
        .state = actor->failure.err != KQ_OK ? PARTITION_FAILED : PARTITION_SERVING,
        .fault = actor->failure,
        .term = actor->raft.term,
        .leads = actor->failure.err == KQ_OK,
        .log_start_off = log_start_off(actor->log),
        .high_watermark = log_end_off_at(actor->log, actor->raft.commit_idx),
        .size_bytes = log_size_bytes(actor->log),
    };
}

void actor_check(const struct actor *actor)
{
    raft_check(&actor->raft);
    if (actor->failure.err != KQ_OK)
        return;
    REQUIRE(actor->raft.last_idx == log_last_idx(actor->log));
    REQUIRE(actor->raft.commit_idx <= log_last_idx(actor->log));
    REQUIRE(actor->entry_count <= actor->options.unflushed_entries);
    REQUIRE(actor->finished.first == NULL);
    REQUIRE(actor->inflight.first == NULL || wait_idx_of(actor->inflight.first) > actor->raft.commit_idx);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void first_hard_state(const struct actor_options *options, struct log_hard_state *state)
{
    /* The group's first term comes with a vote for its only voter, durable with
     * the folder: it may be led without another write (raft.h). */
    *state = (struct log_hard_state){
        .version = 1,
        .term = 1,
        .vote_broker_id = options->broker_id,
        .vote_incarnation = options->incarnation,
        .topic_id = options->log.topic_id,
        .incarnation = options->incarnation,
        .partition = options->log.partition,
        .voter_count = 1,
    };
    if (!options->flush_always)
        state->boot_id = options->boot_id;
    state->voters[0] = (struct log_voter){.broker_id = options->broker_id, .incarnation = options->incarnation};
}

static void start_raft(struct actor *actor, bool created)
{
    const struct log_hard_state *state = log_hard_state(actor->log);
    struct raft_start start = {
        .self = {.broker_id = actor->options.broker_id, .incarnation = state->incarnation},
        .memory = actor->raft_memory,
        .memory_bytes = sizeof actor->raft_memory,
        .commits_unflushed = !actor->options.flush_always,
        .term = state->term,
        .vote = {.broker_id = state->vote_broker_id, .incarnation = state->vote_incarnation},
        .last_idx = log_last_idx(actor->log),
        .last_term = log_last_term(actor->log),
        .commit_idx = state->commit_idx < log_last_idx(actor->log) ? state->commit_idx : log_last_idx(actor->log),
        .created = created,
    };
    raft_init(&actor->raft, &start);
    log_set_commit(actor->log, actor->raft.commit_idx);
}

static void report_recovery(const struct actor *actor, const struct log_report *report)
{
    const char *title = actor->options.log.title;
    if (report->cut_bytes > 0)
        SAY_NOTICE("%s: removed %llu bytes of a write that was cut short; nothing acknowledged was in them", title,
                   (unsigned long long)report->cut_bytes);
    if (report->rebuilt_indexes > 0)
        SAY_NOTICE("%s: rebuilt %u index files from the log", title, report->rebuilt_indexes);
    const struct log_hard_state *state = log_hard_state(actor->log);
    if (report->scanned_bytes > 0 && !uuid_is_zero(&state->boot_id) &&
        !uuid_equal(&state->boot_id, &actor->options.boot_id))
        SAY_WARNING("%s: flush = interval, and the machine restarted without a clean stop: messages acknowledged in "
                    "the last %lld ms before it may be gone",
                    title, (long long)(actor->options.flush_interval_us / 1000));
}

enum kq_err actor_open(struct actor **actor, const struct actor_options *options, const struct machine_now *now,
                       struct fault *fault)
{
    REQUIRE(options->unflushed_entries >= 1 && options->unflushed_entries <= ENTRIES_IN_FLIGHT_MAX);
    struct actor *a = calloc(1, sizeof *a);
    if (a == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "%s: no memory to open the partition", options->log.title);
    a->tag = ACTOR_TAG;
    a->options = *options;
    a->now = *now;
    a->notes_end = &a->notes;
    producers_init(&a->producers);
    buf_init(&a->records, MACHINE_BATCH_LIMIT);
    struct log_hard_state create;
    first_hard_state(options, &create);
    struct log_report report = {0};
    enum kq_err err = log_open(&a->log, &options->log, &create, &report, fault);
    if (err == KQ_OK) {
        start_raft(a, report.created);
        if (a->options.machine.ops != NULL)
            a->options.machine.ops->reset(a->options.machine.state);
        err = actor_replay(a, fault);
    }
    if (err != KQ_OK) {
        a->failure.err = err;
        actor_close(&a);
        return err;
    }
    report_recovery(a, &report);
    a->machine_idx = log_last_idx(a->log);
    if (a->options.machine.ops != NULL && a->options.machine.ops->committed != NULL)
        a->options.machine.ops->committed(a->options.machine.state, now);
    show_view(a);
    *actor = a;
    return KQ_OK;
}

void actor_close(struct actor **actor)
{
    struct actor *a = *actor;
    if (a == NULL)
        return;
    TAG_CHECK(a, ACTOR_TAG);
    REQUIRE(a->inflight.first == NULL && a->waiting.first == NULL && a->waits == NULL && a->jobs_out == 0);
    stop_leading(a);
    if (a->log != NULL) {
        struct buf state;
        buf_init(&state, SIZE_MAX / 2);
        if (a->failure.err == KQ_OK && !a->state_ahead)
            actor_encode_state(a, &state);
        log_close(&a->log, state.bad ? NULL : state.data, state.bad ? 0 : state.len);
        buf_fini(&state);
    }
    producers_fini(&a->producers);
    buf_fini(&a->records);
    a->tag = TAG_DEAD;
    free(a);
    *actor = NULL;
}
