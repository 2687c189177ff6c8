/*
 * Having all that was committed when somebody asked: the controller is asked for a
 * barrier (its high watermark, after a majority confirmed that it leads), then the image
 * is waited for. A request joins the next round, never the one under way, whose barrier
 * may be older than the request.
 *
 *    waiting -> asking (a round: barrier) -> reading (until the image is there) -> answered
 *
 * Rounds are tried again while there is no controller, for as long as an election may take.
 * With a majority of those who vote on the metadata known to be gone there will be none: who
 * waits is told so at once.
 */
#include "cluster/cluster_state.h"

#include "base/clock.h"
#include "base/require.h"
#include "cluster/metadata_wire.h"

enum {
    RETRY_US = 50 * 1000,
    TRY_US = 2 * 1000 * 1000,
    ELECTION_US = 2 * 1000 * 1000, /* at least so long is waited for a controller, */
    ELECTION_TIMEOUTS = 4,         /* or so many election timeouts */
};

static bool has_read(const struct cluster *c, uint64_t off)
{
    return off <= c->floor_off || off <= image_next_off(c->image);
}

static int64_t timeout_us(const struct cluster *c)
{
    return atomic_load_explicit(&c->options.config->publish_timeout_us, memory_order_relaxed);
}

static int64_t patience_us(const struct cluster *c)
{
    int64_t election_us = ELECTION_TIMEOUTS * c->options.config->election_us;
    int64_t wait_us = election_us > ELECTION_US ? election_us : ELECTION_US;
    return wait_us < timeout_us(c) ? wait_us : timeout_us(c);
}

/* How many vote on the metadata, and how many of them have not been heard for an election
 * timeout: without a majority nobody will control the cluster. */
static bool is_without_majority(struct cluster *c, struct fault *fault)
{
    struct raft_seat seats[RAFT_SEATS_MAX];
    uint32_t voters = 0, gone = 0;
    struct image *image = cluster_image(c);
    uint32_t count = duties_metadata_seats(image, seats, RAFT_SEATS_MAX);
    image_drop(&image);
    for (uint32_t i = 0; i < count; i++) {
        if ((seats[i].kinds & RAFT_SEAT_VOTER) == 0)
            continue;
        voters++;
        gone += links_is_silent(c->links, seats[i].member.broker_id, c->options.config->election_us);
    }
    if (voters == 0 || 2 * (voters - gone) > voters)
        return false;
    (void)fault_set(fault, KQ_NOT_ENOUGH_REPLICAS,
                    "of %u brokers that keep the cluster's metadata %u are not alive, and a majority is needed to know",
                    voters, gone);
    return true;
}

static void append(struct cluster_request **list, struct cluster_request *requests)
{
    while (*list != NULL)
        list = &(*list)->next;
    *list = requests;
}

static void answer_all(struct cluster_request *request, const struct fault *fault)
{
    for (struct cluster_request *next; request != NULL; request = next) {
        next = request->next;
        request->fault = *fault;
        request->done(request);
    }
}

/* Lock held. Those that are done, and those whose time is over; *late the latter. */
static struct cluster_request *take_done(struct cluster *c, int64_t now_us, struct cluster_request **late)
{
    struct catch_up *u = &c->catch_up;
    struct cluster_request *done = NULL;
    if (u->reading != NULL && has_read(c, u->off)) {
        done = u->reading;
        u->reading = NULL;
    }
    if (u->due_us <= now_us) { /* of the oldest; the others come again */
        *late = u->waiting;
        append(late, u->reading);
        u->waiting = NULL;
        u->reading = NULL;
    }
    return done;
}

static void round_begins(struct cluster *c);

/* Lock held. Whether a round is to begin now; the lists move. */
static bool next_round(struct cluster *c)
{
    struct catch_up *u = &c->catch_up;
    if (u->under_way || u->waiting == NULL || c->stopping)
        return false;
    u->under_way = true;
    u->asking = u->waiting;
    u->waiting = NULL;
    return true;
}

static void step(struct cluster *c)
{
    struct cluster_request *late = NULL;
    (void)pthread_mutex_lock(&c->lock);
    struct cluster_request *done = take_done(c, clock_mono_us(), &late);
    bool begin = next_round(c);
    (void)pthread_mutex_unlock(&c->lock);
    answer_all(done, &(struct fault){.err = KQ_OK});
    if (late != NULL) {
        struct fault fault;
        (void)fault_set(&fault, KQ_NO_LEADER,
                        "no broker could be reached that controls the cluster, so it is not known whether this is the "
                        "newest state");
        answer_all(late, &fault);
    }
    if (begin)
        round_begins(c);
}

static void round_ended(struct cluster *c, const struct fault *fault, uint64_t off)
{
    struct catch_up *u = &c->catch_up;
    (void)pthread_mutex_lock(&c->lock);
    u->under_way = false;
    if (fault->err == KQ_OK) {
        u->off = u->reading == NULL || off > u->off ? off : u->off;
        append(&u->reading, u->asking);
        u->due_us = clock_mono_us() + timeout_us(c);
        engine_set_deadline(c->options.engine, &c->catch_up_deadline, u->due_us);
    } else {
        append(&u->asking, u->waiting);
        u->waiting = u->asking;
        if (!c->stopping) {
            int64_t next_us = clock_mono_us() + RETRY_US;
            engine_set_deadline(c->options.engine, &c->catch_up_deadline, next_us);
        }
    }
    u->asking = NULL;
    (void)pthread_mutex_unlock(&c->lock);
    if (fault->err == KQ_OK)
        step(c);
}

/* Metadata actor's turn. */
static void barrier_done(struct partition_ask *ask)
{
    struct cluster *c = CONTAINER_OF(ask, struct cluster, catch_up.barrier);
    round_ended(c, &ask->fault, (uint64_t)ask->off);
}

/* Any thread. */
static void ask_done(struct ask *ask)
{
    struct cluster *c = ask->owner;
    struct fault fault = ask->fault;
    uint64_t off = 0;
    if (fault.err == KQ_OK)
        fault.err = metadata_wire_decode_offset(ask->answer.data, ask->answer.len, &off);
    buf_fini(&ask->answer);
    round_ended(c, &fault, off);
}

/* In place of a round. */
static void refuse_all(struct cluster *c, const struct fault *fault)
{
    struct catch_up *u = &c->catch_up;
    (void)pthread_mutex_lock(&c->lock);
    struct cluster_request *all = u->asking;
    append(&all, u->waiting);
    u->asking = NULL;
    u->waiting = NULL;
    u->under_way = false;
    (void)pthread_mutex_unlock(&c->lock);
    answer_all(all, fault);
}

static void round_begins(struct cluster *c)
{
    struct catch_up *u = &c->catch_up;
    uint32_t controller = cluster_controller(c);
    int64_t deadline_us = clock_mono_us() + TRY_US;
    struct fault gone;
    if (controller == 0 && is_without_majority(c, &gone)) {
        refuse_all(c, &gone);
        return;
    }
    if (controller == 0) {
        round_ended(c, &(struct fault){.err = KQ_NO_LEADER}, 0);
        return;
    }
    if (controller == c->identity.broker_id) {
        u->barrier =
            (struct partition_ask){.question = PARTITION_ASK_BARRIER, .deadline_us = deadline_us, .done = barrier_done};
        partition_ask(c->metadata_partition, &u->barrier);
        return;
    }
    struct buf body;
    buf_init(&body, sizeof u->body);
    metadata_wire_encode_barrier(&body);
    REQUIRE(!body.bad);
    memcpy(u->body, body.data, body.len);
    u->part = (struct iovec){.iov_base = u->body, .iov_len = body.len};
    buf_fini(&body);
    u->ask = (struct ask){.broker_id = controller,
                          .verb = ASK_METADATA,
                          .parts = &u->part,
                          .part_count = 1,
                          .deadline_us = deadline_us,
                          .done = ask_done,
                          .owner = c};
    links_ask(c->links, &u->ask);
}

void cluster_catch_up(struct cluster *cluster, struct cluster_request *request)
{
    TAG_CHECK(cluster, CLUSTER_TAG);
    struct catch_up *u = &cluster->catch_up;
    request->fault = (struct fault){.err = KQ_OK};
    request->next = NULL;
    if (cluster_is_alone(cluster)) { /* nobody else could have committed anything */
        request->done(request);
        return;
    }
    int64_t due_us = clock_mono_us() + patience_us(cluster);
    (void)pthread_mutex_lock(&cluster->lock);
    bool stopping = cluster->stopping;
    if (!stopping) {
        if (u->waiting == NULL && u->reading == NULL && u->asking == NULL)
            u->due_us = due_us;
        append(&u->waiting, request);
        engine_set_deadline(cluster->options.engine, &cluster->catch_up_deadline, u->due_us);
    }
    (void)pthread_mutex_unlock(&cluster->lock);
    if (stopping) {
        request->fault.err = KQ_STOPPING;
        request->done(request);
        return;
    }
    step(cluster);
}

void catch_up_wake(struct cluster *c)
{
    (void)pthread_mutex_lock(&c->lock);
    const struct catch_up *u = &c->catch_up;
    bool idle = u->waiting == NULL && u->reading == NULL;
    (void)pthread_mutex_unlock(&c->lock);
    if (!idle)
        step(c);
}

void catch_up_fire(struct engine_deadline *deadline)
{
    step(CONTAINER_OF(deadline, struct cluster, catch_up_deadline));
}

void catch_up_stop(struct cluster *c)
{
    (void)pthread_mutex_lock(&c->lock);
    struct catch_up *u = &c->catch_up;
    REQUIRE(!u->under_way);
    struct cluster_request *all = u->waiting;
    append(&all, u->reading);
    u->waiting = NULL;
    u->reading = NULL;
    (void)pthread_mutex_unlock(&c->lock);
    answer_all(all, &(struct fault){.err = KQ_STOPPING});
}
