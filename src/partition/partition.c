/*
 * A partition's life and public face. Who runs its turns is in partition_turns.c, what it decides in actor.c.
 *
 * Who may touch what: the actor, `armed_us` and `failure` belong to whoever holds
 * the mailbox's token. `view`, `face_fault` and `face_state` are under `face_lock`, which is
 * held for a few instructions and takes no other lock. The numbers for status
 * are relaxed atomics. References: one for the starter, one while the thread
 * lives, one for each job on another thread.
 */
#include "partition/partition_impl.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/require.h"
#include "base/threads.h"

#include <stdlib.h>
#include <string.h>

enum {
    PARTITION_TAG = 0x70617274,
    SCRUB_PIECE_BYTES = 4 << 20,
    SCRUB_PAUSE_US = 100 * 1000,
    PARCELS_BYTES_MAX = 16 << 20, /* that wait for an actor; one is always taken */
};

/* ---- references --------------------------------------------------------------- */

struct partition *partition_hold(struct partition *partition)
{
    TAG_CHECK(partition, PARTITION_TAG);
    (void)atomic_fetch_add_explicit(&partition->references, 1, memory_order_relaxed);
    return partition;
}

void partition_drop(struct partition **partition)
{
    struct partition *p = *partition;
    *partition = NULL;
    if (p == NULL || atomic_fetch_sub_explicit(&p->references, 1, memory_order_acq_rel) != 1)
        return;
    TAG_CHECK(p, PARTITION_TAG);
    REQUIRE(p->actor == NULL);
    p->tag = TAG_DEAD;
    if (p->view != NULL)
        log_view_drop(&p->view);
    mailbox_fini(&p->box);
    (void)pthread_mutex_destroy(&p->face_lock);
    partition_tail_fini(p);
    free(p->dir);
    free(p->title);
    free(p);
}

/* ---- the face: what other threads may see ---------------------------------------- */

void partition_set_face(struct partition *p, enum partition_state state, const struct fault *fault)
{
    (void)pthread_mutex_lock(&p->face_lock);
    p->face_state = state;
    if (fault != NULL)
        p->face_fault = *fault;
    (void)pthread_mutex_unlock(&p->face_lock);
}

static void show_view(void *context, struct log_view *view)
{
    struct partition *p = context;
    (void)pthread_mutex_lock(&p->face_lock);
    struct log_view *old = p->view;
    p->view = view;
    (void)pthread_mutex_unlock(&p->face_lock);
    if (old != NULL)
        log_view_drop(&old);
}

struct log_view *partition_view(struct partition *partition)
{
    (void)pthread_mutex_lock(&partition->face_lock);
    struct log_view *view = partition->view != NULL ? log_view_hold(partition->view) : NULL;
    (void)pthread_mutex_unlock(&partition->face_lock);
    return view;
}

void partition_status(struct partition *partition, struct partition_status *status)
{
    struct log_view *view = partition_view(partition);
    (void)pthread_mutex_lock(&partition->face_lock);
    *status = (struct partition_status){.state = partition->face_state, .fault = partition->face_fault};
    (void)pthread_mutex_unlock(&partition->face_lock);
    status->leader_id = leadership_read(&partition->leadership, &status->term);
    status->size_bytes = atomic_load_explicit(&partition->size_bytes, memory_order_relaxed);
    status->leads =
        status->state == PARTITION_SERVING && status->leader_id == engine_options(partition->options.engine)->broker_id;
    if (view != NULL) {
        status->log_start_off = log_view_start_off(view);
        status->high_watermark = log_view_high_watermark(view);
        log_view_drop(&view);
    }
}

uint32_t partition_leader(const struct partition *partition, uint64_t *term)
{
    uint64_t its_term;
    uint32_t leader_id = leadership_read(&partition->leadership, &its_term);
    if (term != NULL)
        *term = its_term;
    /* What a stuck one knew is old, and if it led, others do by now. */
    return atomic_load_explicit(&partition->stuck, memory_order_relaxed) ? 0 : leader_id;
}

const char *partition_title(const struct partition *partition)
{
    return partition->title;
}

struct group_id partition_group(const struct partition *partition)
{
    return (struct group_id){.topic_id = partition->options.topic_id, .partition = partition->options.partition};
}

const char *partition_dir(const struct partition *partition)
{
    return partition->dir;
}

/* ---- the other replicas (token holder) ------------------------------------------------------- */

static void send_packet(void *context, struct packet *packet)
{
    struct partition *p = context;
    p->options.peers->send(p->options.peers->context, packet);
}

static void tell_news(void *context, const struct replica_news *news)
{
    struct partition *p = context;
    p->options.peers->tell(p->options.peers->context, p, news);
}

static struct actor_peer_mail *peer_mail(enum actor_peer_news news, const struct raft_member *member, uint32_t seats)
{
    struct actor_peer_mail *mail = calloc(1, sizeof *mail + seats * sizeof(struct raft_seat));
    if (mail == NULL)
        return NULL;
    mail->mail.kind = MAIL_PEER;
    mail->news = news;
    if (member != NULL)
        mail->member = *member;
    return mail;
}

static void post_peer_mail(struct partition *p, struct actor_peer_mail *mail)
{
    if (mailbox_post(&p->box, MAIL_CONTROL, &mail->mail) == MAILBOX_CLOSED)
        free(mail);
}

/* A packet of old entries knows whom to tell when it has left: its mail, which knows the
 * partition, which is held until then. */
struct watch {
    struct partition *partition;
    struct actor_peer_mail *mail;
};

static void packet_left(struct packet *packet, bool sent)
{
    struct watch *watch = packet->left_context;
    packet->left = NULL;
    watch->mail->on = sent;
    post_peer_mail(watch->partition, watch->mail);
    partition_drop(&watch->partition);
    free(watch);
}

static bool watch_packet(void *context, struct packet *packet)
{
    struct watch *watch = calloc(1, sizeof *watch);
    if (watch != NULL)
        watch->mail = peer_mail(ACTOR_PEER_SENT, &packet->message.to, 0);
    if (watch == NULL || watch->mail == NULL) {
        free(watch);
        return false;
    }
    watch->partition = partition_hold(context);
    packet->left = packet_left;
    packet->left_context = watch;
    return true;
}

static void tell_damage(void *context, uint64_t first_idx, uint64_t last_idx)
{
    struct partition *p = context;
    p->options.peers->damaged(p->options.peers->context, p, first_idx, last_idx);
}

static void tell_stalled(void *context, const struct raft_member *member, int64_t stood_us)
{
    struct partition *p = context;
    p->options.peers->stalled(p->options.peers->context, p, member, stood_us);
}

static void parcel_gone(void *context, struct parcel *parcel)
{
    struct partition *p = context;
    (void)atomic_fetch_sub_explicit(&p->parcels_bytes, parcel->mail.size_bytes, memory_order_relaxed);
    parcel->release(parcel);
}

/* ---- scrubbing (keeper) -------------------------------------------------------------------- */

static void fire_scrub(struct engine_deadline *deadline)
{
    struct partition *p = CONTAINER_OF(deadline, struct partition, scrub_deadline);
    engine_post_work(p->options.engine, &partition_hold(p)->scrub_job);
}

static void run_scrub(struct job *job)
{
    struct partition *p = CONTAINER_OF(job, struct partition, scrub_job);
    struct log_view *view = atomic_load(&p->ended) ? NULL : partition_view(p);
    if (view != NULL) {
        bool done = false;
        struct fault fault = {0};
        if (log_view_scrub(view, &p->scrub_cursor, SCRUB_PIECE_BYTES, &done, &fault) != KQ_OK) {
            SAY_ERROR("%s: found while scrubbing: %s", p->title, fault_text(&fault));
            partition_fire_tick(&p->deadline); /* a turn: others may have what is damaged here */
        }
        log_view_drop(&view);
        if (done)
            p->scrub_cursor = 0;
        int64_t pause_us = done ? engine_options(p->options.engine)->scrub_interval_us : SCRUB_PAUSE_US;
        engine_set_deadline(p->options.engine, &p->scrub_deadline, clock_mono_us() + pause_us);
    }
    partition_drop(&p);
}

static void start_scrubbing(struct partition *p)
{
    int64_t interval_us = engine_options(p->options.engine)->scrub_interval_us;
    if (interval_us > 0)
        engine_set_deadline(p->options.engine, &p->scrub_deadline, clock_mono_us() + interval_us);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static uint64_t random_seed(void)
{
    struct uuid id = uuid_random();
    return get_le64(id.bytes);
}

static void describe_actor(struct partition *p, struct actor_options *options)
{
    const struct engine_options *engine = engine_options(p->options.engine);
    *options = (struct actor_options){
        .log = {.io = engine->io,
                .dir = p->dir,
                .title = p->title,
                .topic_id = p->options.topic_id,
                .partition = p->options.partition,
                .segment_bytes = (uint64_t)p->options.limits.segment_bytes,
                .prepare_min_bytes = engine->prepare_min_bytes,
                .prepare_max_bytes = engine->prepare_max_bytes,
                .prepare_budget = engine_prepare_budget(p->options.engine),
                .mark_delay_us = engine->mark_delay_us,
                .counters = &engine_counters(p->options.engine)->log},
        .broker_id = engine->broker_id,
        .incarnation = p->options.incarnation,
        .founders = p->founders,
        .founder_count = p->options.founder_count,
        .joins = p->options.joins,
        .seed = random_seed(),
        .election_us = engine->election_us,
        .beat_us = engine->beat_us,
        .limits = p->options.limits,
        .machine = p->options.machine,
        .flush_always = engine->flush_always,
        .flush_interval_us = engine->flush_interval_us,
        .flush_interval_bytes = engine->flush_interval_bytes,
        .entry_max_bytes = engine->entry_max_bytes,
        .unflushed_entries = engine->unflushed_entries,
        .boot_id = engine->boot_id,
        .counters = engine_counters(p->options.engine),
        .env = {.context = p, .submit = partition_submit, .show_view = show_view},
    };
    if (p->options.peers == NULL)
        return;
    options->env.send = send_packet;
    options->env.tell = tell_news;
    options->env.watch = watch_packet;
    options->env.parcel_gone = parcel_gone;
    if (p->options.peers->damaged != NULL)
        options->env.damaged = tell_damage;
    if (p->options.peers->stalled != NULL)
        options->env.stalled = tell_stalled;
}

static void refuse_rest(struct mail_list *rest, enum kq_err err, const struct fault *fault)
{
    struct mail *mail;
    while ((mail = mail_list_take(rest)) != NULL)
        actor_refuse(mail, err, fault);
}

/* It could not be opened: everything is answered with the reason until it is told
 * to stop. */
static void serve_failure(struct partition *p)
{
    for (bool stopping = false; !stopping;) {
        struct mail_list control = {0};
        struct mail_list data = {0};
        mailbox_wait(&p->box);
        mailbox_take(&p->box, &control, &data, true, SIZE_MAX);
        for (const struct mail *mail = control.first; mail != NULL; mail = mail->next)
            stopping = stopping || mail->kind == MAIL_STOP;
        refuse_rest(&control, KQ_PARTITION_FAILED, &p->failure);
        refuse_rest(&data, KQ_PARTITION_FAILED, &p->failure);
        if (!stopping)
            mailbox_hand_over(&p->box, true, false);
    }
}

/* Runs on the keeper's thread after the partition's own has ended. */
static void run_join(struct job *job)
{
    struct partition *p = CONTAINER_OF(job, struct partition, join_job);
    (void)pthread_join(p->thread, NULL);
    engine_cancel_deadline(p->options.engine, &p->deadline);
    engine_cancel_deadline(p->options.engine, &p->scrub_deadline);
    if (p->stopped != NULL)
        p->stopped(p->stopped_context, p);
    partition_drop(&p);
}

static void *partition_thread(void *argument)
{
    struct partition *p = argument;
    struct actor_options options;
    describe_actor(p, &options);
    struct fault fault = {0};
    enum kq_err err = partition_open(p, &options, &fault);
    if (err != KQ_OK) {
        p->failure = fault;
        p->failure.err = err;
        SAY_ERROR("%s: does not serve: %s", p->title, fault_text(&p->failure));
        partition_set_face(p, PARTITION_FAILED, &p->failure);
        p->options.ready(p->options.context, p, &p->failure);
        serve_failure(p);
    } else {
        partition_set_face(p, PARTITION_SERVING, NULL);
        mailbox_rouse(&p->box); /* a first turn, for retention and deadlines */
        mailbox_lend(&p->box);
        start_scrubbing(p);
        p->options.ready(p->options.context, p, &fault);
        partition_serve(p);
    }
    struct mail_list rest = {0};
    mailbox_close(&p->box, &rest);
    refuse_rest(&rest, p->stop.reason, NULL);
    actor_close(&p->actor);
    partition_set_face(p, PARTITION_STOPPED, NULL);
    uint64_t term;
    (void)leadership_read(&p->leadership, &term);
    leadership_write(&p->leadership, 0, term);
    atomic_store(&p->ended, true);
    engine_post_work(p->options.engine, &p->join_job);
    return NULL;
}

/* ---- the public calls -------------------------------------------------------------------------- */

enum kq_err partition_start(struct partition **partition, const struct partition_options *options)
{
    if (options->founder_count > LOG_VOTERS_MAX)
        return KQ_LIMIT;
    struct partition *p = calloc(1, sizeof *p);
    if (p == NULL || (p->dir = strdup(options->dir)) == NULL || (p->title = strdup(options->title)) == NULL) {
        if (p != NULL)
            free(p->dir);
        free(p);
        return KQ_NO_MEMORY;
    }
    p->tag = PARTITION_TAG;
    p->options = *options;
    p->options.dir = p->dir;
    p->options.title = p->title;
    p->options.founders = NULL;
    for (uint32_t i = 0; i < options->founder_count; i++)
        p->founders[i] = options->founders[i];
    atomic_init(&p->references, 2);
    atomic_init(&p->ended, false);
    (void)pthread_mutex_init(&p->face_lock, NULL);
    const struct engine_options *engine = engine_options(options->engine);
    mailbox_init(&p->box, engine->mailbox_bytes, &engine_counters(options->engine)->handoffs);
    partition_turns_init(p);
    partition_tail_init(p);
    p->scrub_deadline.fire = fire_scrub;
    p->scrub_job.run = run_scrub;
    p->join_job.run = run_join;
    struct fault fault;
    enum kq_err err = thread_start(&p->thread, p->title, engine->stack_bytes, partition_thread, p, &fault);
    if (err != KQ_OK) {
        SAY_ERROR("%s", fault_text(&fault));
        atomic_store(&p->references, 1);
        partition_drop(&p);
        return err;
    }
    *partition = p;
    return KQ_OK;
}

void partition_stop(struct partition *partition, enum kq_err reason,
                    void (*stopped)(void *context, struct partition *partition), void *context)
{
    partition->stopped = stopped;
    partition->stopped_context = context;
    partition->stop = (struct actor_stop_mail){.mail = {.kind = MAIL_STOP}, .reason = reason};
    struct partition *held = partition_hold(partition);
    REQUIRE(mailbox_post(&partition->box, MAIL_CONTROL, &partition->stop.mail) != MAILBOX_CLOSED);
    partition_tail_stop(held);
    partition_drop(&held);
}

static bool publish(struct partition *p, struct publish_request *request, bool turn)
{
    request->mail = (struct mail){.kind = MAIL_PUBLISH, .size_bytes = request->batches_bytes + 64};
    switch (turn ? partition_post_and_turn(p, MAIL_DATA, &request->mail)
                 : mailbox_post(&p->box, MAIL_DATA, &request->mail)) {
    case MAILBOX_CLOSED:
        actor_refuse(&request->mail, p->stop.reason, NULL);
        return false;
    case MAILBOX_CROWDED:
        return true;
    case MAILBOX_POSTED:
        break;
    }
    return false;
}

bool partition_publish(struct partition *partition, struct publish_request *request)
{
    return publish(partition, request, false);
}

bool partition_publish_and_turn(struct partition *partition, struct publish_request *request)
{
    return publish(partition, request, true);
}

void partition_wait(struct partition *partition, struct wait_request *request)
{
    request->mail = (struct mail){.kind = MAIL_WAIT, .size_bytes = 64};
    if (mailbox_post(&partition->box, MAIL_DATA, &request->mail) == MAILBOX_CLOSED)
        actor_refuse(&request->mail, partition->stop.reason, NULL);
}

void partition_wait_cancel(struct partition *partition, struct wait_request *request)
{
    if (!actor_wait_claim_cancel(request))
        return;
    request->cancel = (struct mail){.kind = MAIL_WAIT_CANCEL, .size_bytes = 64};
    if (mailbox_post(&partition->box, MAIL_DATA, &request->cancel) == MAILBOX_CLOSED)
        actor_refuse(&request->cancel, KQ_AGAIN, NULL);
}

void partition_call(struct partition *partition, struct machine_call *call)
{
    call->mail = (struct mail){.kind = MAIL_CALL, .size_bytes = 256};
    if (mailbox_post(&partition->box, MAIL_DATA, &call->mail) == MAILBOX_CLOSED)
        actor_refuse(&call->mail, partition->stop.reason, NULL);
}

void partition_configure(struct partition *partition, const struct partition_limits *limits)
{
    struct actor_configure_mail *mail = calloc(1, sizeof *mail);
    if (mail == NULL) {
        SAY_ERROR("%s: no memory to take over a changed configuration; it counts after a restart", partition->title);
        return;
    }
    mail->mail.kind = MAIL_CONFIGURE;
    mail->limits = *limits;
    if (mailbox_post(&partition->box, MAIL_CONTROL, &mail->mail) == MAILBOX_CLOSED)
        free(mail);
}

/* ---- replication ------------------------------------------------------------------------------- */

static bool post_parcel(struct partition *p, struct parcel *parcel)
{
    if (parcel->message.type == RAFT_MSG_APPEND_REPLY)
        return partition_take_ack(p, parcel);
    return mailbox_post(&p->box, MAIL_CONTROL, &parcel->mail) != MAILBOX_CLOSED;
}

bool partition_receive(struct partition *partition, struct parcel *parcel)
{
    uint32_t size_bytes = parcel->mail.size_bytes;
    uint64_t held = atomic_fetch_add_explicit(&partition->parcels_bytes, size_bytes, memory_order_relaxed);
    parcel->mail.kind = MAIL_PARCEL;
    if ((held == 0 || held + size_bytes <= PARCELS_BYTES_MAX) && partition->options.peers != NULL &&
        post_parcel(partition, parcel))
        return true;
    (void)atomic_fetch_sub_explicit(&partition->parcels_bytes, size_bytes, memory_order_relaxed);
    return false;
}

/* What finds no memory is said again: beats go on vouching, links are looked at anew. */
static void tell_peer_news(struct partition *p, enum actor_peer_news news, const struct raft_member *member,
                           uint64_t term, bool on)
{
    struct actor_peer_mail *mail = peer_mail(news, member, 0);
    if (mail == NULL) {
        SAY_ERROR("%s: no memory to take news of another broker", p->title);
        return;
    }
    mail->term = term;
    mail->on = on;
    post_peer_mail(p, mail);
}

void partition_claim(struct partition *partition, const struct raft_member *leader, uint64_t term, bool on)
{
    tell_peer_news(partition, ACTOR_PEER_CLAIM, leader, term, on);
}

void partition_peer_link(struct partition *partition, const struct raft_member *member, bool on)
{
    tell_peer_news(partition, ACTOR_PEER_LINK, member, 0, on);
}

void partition_leader_gone(struct partition *partition, const struct raft_member *leader)
{
    tell_peer_news(partition, ACTOR_PEER_LEADER_GONE, leader, 0, false);
}

void partition_set_target(struct partition *partition, const struct raft_seat *seats, uint32_t count)
{
    count = count <= RAFT_SEATS_MAX ? count : RAFT_SEATS_MAX;
    struct actor_peer_mail *mail = peer_mail(ACTOR_PEER_TARGET, NULL, count);
    if (mail == NULL) {
        SAY_ERROR("%s: no memory to take over its replicas; it is tried again with the next change", partition->title);
        return;
    }
    mail->seat_count = count;
    memcpy(mail->seats, seats, count * sizeof *seats);
    post_peer_mail(partition, mail);
}

void partition_ask(struct partition *partition, struct partition_ask *ask)
{
    ask->mail = (struct mail){.kind = MAIL_ASK, .size_bytes = 64};
    if (mailbox_post(&partition->box, MAIL_CONTROL, &ask->mail) == MAILBOX_CLOSED)
        actor_refuse(&ask->mail, partition->stop.reason, NULL);
}

/* Called with every beat: two looks that far apart, the same turn or mail at each, and none ended
 * between. A turn that does not end may have taken the last mail there was. */
bool partition_is_stuck(struct partition *partition, int64_t now_us, int64_t limit_us)
{
    uint64_t turns = atomic_load_explicit(&partition->turns, memory_order_relaxed);
    uint64_t watched = atomic_exchange_explicit(&partition->watched_turns, turns, memory_order_relaxed);
    bool waits = turns == watched && (turns % 2 != 0 || mailbox_has_control(&partition->box));
    if (!waits)
        atomic_store_explicit(&partition->watched_us, now_us, memory_order_relaxed);
    bool stuck = waits && now_us - atomic_load_explicit(&partition->watched_us, memory_order_relaxed) >= limit_us;
    atomic_store_explicit(&partition->stuck, stuck, memory_order_relaxed);
    return stuck;
}

void partition_mend(struct partition *partition, struct partition_mend *mend)
{
    if (partition_tail_give(partition, mend))
        return;
    mend->mail = (struct mail){.kind = MAIL_MEND};
    if (mailbox_post(&partition->box, MAIL_CONTROL, &mend->mail) == MAILBOX_CLOSED)
        actor_refuse(&mend->mail, partition->stop.reason, NULL);
}
