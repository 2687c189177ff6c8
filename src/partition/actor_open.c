/* An actor's life: what a new replica begins with, opening one, closing it. */
#include "partition/actor_internal.h"

#include "base/logger.h"

/* ---- a folder that is made now -------------------------------------------------------- */

static bool is_sole_founder(const struct actor_options *options)
{
    if (options->joins)
        return false;
    return options->founder_count == 0 ||
           (options->founder_count == 1 && options->founders[0].broker_id == options->broker_id &&
            uuid_equal(&options->founders[0].incarnation, &options->incarnation));
}

static void first_hard_state(const struct actor_options *options, struct log_hard_state *state)
{
    *state = (struct log_hard_state){
        .version = 1,
        .topic_id = options->log.topic_id,
        .incarnation = options->incarnation,
        .partition = options->log.partition,
    };
    if (!options->flush_always)
        state->boot_id = options->boot_id;
    if (is_sole_founder(options)) {
        /* The group's first term comes with a vote for its only voter, durable with
         * the folder: it may be led without another write (raft.h). */
        state->term = 1;
        state->vote_broker_id = options->broker_id;
        state->vote_incarnation = options->incarnation;
        state->voter_count = 1;
        state->voters[0] = (struct log_voter){.broker_id = options->broker_id, .incarnation = options->incarnation};
        return;
    }
    if (options->joins)
        return;
    REQUIRE(options->founder_count <= LOG_VOTERS_MAX);
    state->voter_count = options->founder_count;
    for (uint32_t i = 0; i < options->founder_count; i++)
        state->voters[i] = (struct log_voter){.broker_id = options->founders[i].broker_id,
                                              .incarnation = options->founders[i].incarnation};
}

/* ---- consensus ------------------------------------------------------------------------- */

bool actor_seat_room(struct actor *actor, uint32_t seats)
{
    if (seats <= actor->raft.capacity)
        return true;
    uint32_t capacity = seats < 8 ? 8 : 2 * seats;
    capacity = capacity < RAFT_SEATS_MAX ? capacity : RAFT_SEATS_MAX;
    void *memory = seats <= capacity ? calloc(1, RAFT_MEMORY_BYTES(capacity)) : NULL;
    if (memory == NULL)
        return false;
    (void)raft_grow(&actor->raft, memory, RAFT_MEMORY_BYTES(capacity));
    free(actor->raft_more);
    actor->raft_more = memory;
    return true;
}

static uint32_t load_runs(const struct actor *actor, struct raft_run *runs)
{
    struct log_run log_runs[RAFT_RUNS_MAX];
    uint32_t count = log_term_runs(actor->log, log_runs, RAFT_RUNS_MAX);
    for (uint32_t i = 0; i < count; i++)
        runs[i] = (struct raft_run){.term = log_runs[i].term, .first_idx = log_runs[i].first_idx};
    return count;
}

/* A machine's state is stored at what is committed, and nowhere else. */
static uint64_t known_commit(const struct actor *actor)
{
    uint64_t commit_idx = log_hard_state(actor->log)->commit_idx;
    size_t state_bytes;
    uint64_t state_idx;
    if (actor->options.machine.ops != NULL && log_stored_state(actor->log, &state_bytes, &state_idx) != NULL &&
        state_idx > commit_idx)
        commit_idx = state_idx;
    return commit_idx < log_last_idx(actor->log) ? commit_idx : log_last_idx(actor->log);
}

/* With interval flushing: the power failed before what was acknowledged was flushed. */
static bool may_have_forgotten(const struct actor *actor, const struct log_report *report)
{
    const struct log_hard_state *state = log_hard_state(actor->log);
    if (uuid_equal(&state->boot_id, &actor_forgot_boot))
        return true; /* and had not caught up when it was closed */
    return !report->clean && !uuid_is_zero(&state->boot_id) && !uuid_equal(&state->boot_id, &actor->options.boot_id);
}

static enum kq_err start_raft(struct actor *actor, const struct log_report *report, const struct raft_config *config,
                              const struct raft_config *before, struct fault *fault)
{
    const struct log_hard_state *state = log_hard_state(actor->log);
    struct raft_run runs[RAFT_RUNS_MAX];
    uint32_t run_count = load_runs(actor, runs);
    uint32_t seats = config->count > before->count ? config->count : before->count;
    struct raft_start start = {
        .self = {.broker_id = actor->options.broker_id, .incarnation = state->incarnation},
        .memory = actor->raft_memory,
        .memory_bytes = sizeof actor->raft_memory,
        .config = *config,
        .before = *before,
        .joins = state->voter_count == 0,
        .commits_unflushed = !actor->options.flush_always,
        .amnesiac = may_have_forgotten(actor, report),
        .boot = actor->options.flush_always ? 0 : state->version + 1,
        .term = state->term,
        .vote = {.broker_id = state->vote_broker_id, .incarnation = state->vote_incarnation},
        .base_idx = log_first_idx(actor->log) - 1,
        .base_term = log_first_idx(actor->log) > 1 ? log_term_at(actor->log, log_first_idx(actor->log) - 1) : 0,
        .last_idx = log_last_idx(actor->log),
        .last_term = log_last_term(actor->log),
        .runs = run_count > 0 ? runs : NULL,
        .run_count = run_count,
        .commit_idx = known_commit(actor),
        .created = report->created && state->term == 1,
        .now_us = actor->now.mono_us,
        .seed = actor->options.seed,
        .election_us = actor->options.election_us,
        .beat_us = actor->options.beat_us,
    };
    if (seats > 1) {
        start.memory_bytes = RAFT_MEMORY_BYTES(seats < 8 ? 8 : seats);
        start.memory = actor->raft_more = calloc(1, start.memory_bytes);
        if (start.memory == NULL)
            return fault_set(fault, KQ_NO_MEMORY, "%s: no memory to open the partition", actor->options.log.title);
    }
    raft_init(&actor->raft, &start);
    log_set_commit(actor->log, actor->raft.commit_idx);
    actor->boot_durable = true;
    if (actor->raft.boot != 0 && !actor_is_alone(actor)) {
        actor_save_hard_state(actor); /* so that the next start has a higher number */
        actor->boot_version = actor->raft.hard_version;
        actor->boot_durable = false;
    } else if (actor->raft.term > start.term && !actor_is_alone(actor)) {
        actor_save_hard_state(actor); /* only the log's last entry tells this term, and a reset would take it away */
    }
    return KQ_OK;
}

static enum kq_err start_replica(struct actor *actor, const struct log_report *report, struct fault *fault)
{
    struct raft_seat seats[2][RAFT_SEATS_MAX];
    struct raft_config config = {.seats = seats[0]};
    struct raft_config before = {.seats = seats[1]};
    enum kq_err err = actor_load(actor, &config, &before, fault);
    if (err == KQ_OK)
        err = start_raft(actor, report, &config, &before, fault);
    if (err != KQ_OK)
        return err;
    actor_take_starts(actor);
    if (actor->options.machine.ops != NULL)
        err = actor_restore_machine(actor, fault);
    return err;
}

static void report_recovery(const struct actor *actor, const struct log_report *report)
{
    const char *title = actor->options.log.title;
    if (report->cut_bytes > 0)
        SAY_NOTICE("%s: removed %llu bytes of a write that was cut short; nothing acknowledged was in them", title,
                   (unsigned long long)report->cut_bytes);
    if (report->rebuilt_indexes > 0)
        SAY_NOTICE("%s: rebuilt %u index files from the log", title, report->rebuilt_indexes);
    if (!may_have_forgotten(actor, report) || (actor_is_alone(actor) && log_last_idx(actor->log) == 0))
        return;
    long long window_ms = (long long)(actor->options.flush_interval_us / 1000);
    if (actor_is_alone(actor))
        SAY_WARNING("%s: flush = interval, and the machine restarted without a clean stop: messages acknowledged in "
                    "the last %lld ms before it may be gone",
                    title, window_ms);
    else
        SAY_WARNING("%s: flush = interval, and the machine restarted without a clean stop: this replica may lack the "
                    "last %lld ms, and neither votes nor leads until it has caught up with the others",
                    title, window_ms);
}

/* ---- life --------------------------------------------------------------------------------- */

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
    a->held_end = &a->held;
    producers_init(&a->producers);
    buf_init(&a->records, MACHINE_BATCH_LIMIT);
    struct log_hard_state create;
    first_hard_state(options, &create);
    struct log_report report = {0};
    struct log_options log_options = options->log;
    log_options.needs_state = options->machine.ops != NULL;
    enum kq_err err = log_open(&a->log, &log_options, &create, &report, fault);
    if (options->damaged_tail != NULL)
        *options->damaged_tail = report.tail;
    if (err == KQ_OK)
        err = start_replica(a, &report, fault);
    if (err != KQ_OK) {
        a->failure.err = err;
        actor_close(&a);
        return err;
    }
    a->options.founders = NULL; /* were borrowed, as all these */
    a->options.damaged_tail = NULL;
    a->options.log.tail = NULL;
    a->options.log.tail_count = 0;
    report_recovery(a, &report);
    if (a->options.machine.ops != NULL && a->options.machine.ops->committed != NULL)
        a->options.machine.ops->committed(a->options.machine.state, now);
    actor_show_view(a);
    *actor = a;
    return KQ_OK;
}

void actor_close(struct actor **actor)
{
    struct actor *a = *actor;
    if (a == NULL)
        return;
    TAG_CHECK(a, ACTOR_TAG);
    REQUIRE(a->inflight.first == NULL && a->cut.first == NULL && a->waiting.first == NULL && a->waits == NULL &&
            a->jobs_out == 0);
    actor_stop_machine(a);
    actor_drop_parcels(a);
    actor_peers_fini(a);
    if (a->log != NULL) {
        struct buf state;
        buf_init(&state, SIZE_MAX / 2);
        if (a->failure.err == KQ_OK)
            actor_encode_end(a, &state);
        log_close(&a->log, state.bad ? NULL : state.data, state.bad ? 0 : state.len);
        buf_fini(&state);
    }
    producers_fini(&a->producers);
    buf_fini(&a->records);
    buf_fini(&a->snapshot);
    free(a->target);
    free(a->raft_more);
    a->tag = TAG_DEAD;
    free(a);
    *actor = NULL;
}
