/*
 * What this broker owes to the cluster, on the keeper's thread: the links know their
 * peers and the metadata's group its members; the broker is registered as it is; what
 * lies in the folder is swept once the metadata is known to be current; a partition led
 * here that has become what was wanted is reported, a replica that was lost or is
 * damaged is replaced.
 *
 * A run looks at the present state and does what is due; nothing is remembered but what is
 * under way. It comes again with each change, and by time while something is pending.
 */
#include "cluster/cluster_state.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/require.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    PENDING_US = 100 * 1000,
    REGISTER_AGAIN_US = 300 * 1000,
    REFUSED_AGAIN_US = 30 * 1000 * 1000,
    CALL_US = 5 * 1000 * 1000,
    POKE_US = 1000 * 1000,
    SCAN_US = 5 * 1000 * 1000,
    ALONE_US = 3 * 1000 * 1000,       /* without a controller: what this broker knows of its peers may be old */
    GRACE_US = 3 * 1000 * 1000,       /* a replica that failed is left alone for so long */
    FULL_AGAIN_US = 10 * 1000 * 1000, /* one that did not start for want of room */
    REPORTS_A_RUN = 64,
    METADATA_SEATS_MAX = RAFT_SEATS_MAX - 16, /* a change needs room for those that leave */
};

void duties_post(struct cluster *c)
{
    cluster_post_job(c, &c->duties_job, &c->duties_posted);
}

void duties_fire(struct engine_deadline *deadline)
{
    duties_post(CONTAINER_OF(deadline, struct cluster, duties_deadline));
}

/* ---- peers, the metadata's members --------------------------------------------------------- */

static size_t list_contacts(const struct cluster *c, struct link_address *peers)
{
    size_t count = 0;
    for (uint32_t i = 0; i < c->contacts.count; i++) {
        const struct peer_address *from = &c->contacts.peers[i];
        struct link_address *to = &peers[count++];
        *to = (struct link_address){.broker_id = from->broker_id, .port = from->port};
        (void)snprintf(to->host, sizeof to->host, "%s", from->host);
    }
    for (uint32_t i = 0; i < c->identity.founding.count; i++) {
        const struct form_member *from = &c->identity.founding.members[i];
        struct link_address *to = peers;
        while (to < peers + count && to->broker_id != from->broker_id)
            to++;
        bool listed = to < peers + count;
        if (!listed) {
            *to = (struct link_address){.broker_id = from->broker_id, .port = from->raft_port};
            (void)snprintf(to->host, sizeof to->host, "%s", from->host);
            count += from->host[0] != '\0';
        }
        if (!c->identity.joined)
            to->incarnation = from->incarnation;
    }
    return count;
}

/* Whether the image names this broker: who joins gets the metadata piece by piece, and the first
 * brokers that it names are not yet all. */
static bool names_self(const struct cluster *c, const struct image *image)
{
    for (size_t i = 0; i < image_broker_count(image); i++)
        if (image_broker_at(image, i)->id == c->identity.broker_id)
            return true;
    return false;
}

/* Whether this broker has known of no controller for a while. */
static bool is_left_alone(struct cluster *c, int64_t now_us)
{
    struct duties *d = &c->duties;
    if (cluster_controller(c) != 0)
        d->alone_since_us = 0;
    else if (d->alone_since_us == 0)
        d->alone_since_us = now_us;
    return d->alone_since_us != 0 && now_us >= d->alone_since_us + ALONE_US;
}

/* Until the metadata names this broker, also those that the command line and the founding name. Who
 * joined takes any incarnation until its image is current: one that it knows from the middle of the
 * log may be of a folder that was emptied since, and its present broker may be the one to tell so.
 * For the same reason one that finds no controller takes any of brokers that it does not hear: what
 * it knows may be old. No vote comes of that: replicas are named by incarnation in every group. */
static void tell_peers(struct cluster *c, const struct image *image, int64_t now_us)
{
    size_t known = image_broker_count(image);
    struct link_address *peers = calloc(known + PEERS_MAX + FORM_MEMBERS_MAX + 1, sizeof *peers);
    if (peers == NULL)
        return;
    size_t count = 0;
    (void)pthread_mutex_lock(&c->lock);
    bool any = c->identity.joined && !c->current;
    (void)pthread_mutex_unlock(&c->lock);
    bool alone = is_left_alone(c, now_us);
    if (!names_self(c, image))
        count = list_contacts(c, peers);
    for (size_t i = 0; i < known; i++) {
        const struct image_broker *from = image_broker_at(image, i);
        struct link_address *to = peers;
        while (to < peers + count && to->broker_id != from->id)
            to++;
        count += to == peers + count;
        *to = (struct link_address){.broker_id = from->id, .port = from->raft_port};
        if (!any && !(alone && !links_is_alive(c->links, from->id)))
            to->incarnation = from->incarnation;
        (void)snprintf(to->host, sizeof to->host, "%s", from->host);
    }
    size_t others = 0;
    for (size_t i = 0; i < count; i++)
        if (peers[i].broker_id != c->identity.broker_id)
            peers[others++] = peers[i];
    struct duties *d = &c->duties;
    bool same = others == d->peer_count && (others == 0 || memcmp(peers, d->peers, others * sizeof *peers) == 0);
    if (same) {
        free(peers);
        return;
    }
    links_set_peers(c->links, peers, others);
    free(d->peers);
    d->peers = peers;
    d->peer_count = others;
}

uint32_t duties_metadata_seats(const struct image *image, struct raft_seat *seats, uint32_t room)
{
    uint32_t count = 0;
    uint32_t voters = 0;
    for (int draining = 0; draining < 2; draining++)
        for (size_t i = 0; i < image_broker_count(image) && count < room; i++) {
            const struct image_broker *b = image_broker_at(image, i);
            if (b->draining != (draining == 1))
                continue;
            /* One that is being drained votes where that makes a third: of two both would be needed. */
            bool votes = voters < CLUSTER_VOTERS_MAX && (draining == 0 || voters == 0 || voters == 2);
            voters += votes;
            seats[count++] = (struct raft_seat){.member = {.broker_id = b->id, .incarnation = b->incarnation},
                                                .kinds = votes ? RAFT_SEAT_VOTER : RAFT_SEAT_LEARNER};
        }
    return count;
}

static void tell_metadata(struct cluster *c, const struct image *image)
{
    struct raft_seat seats[METADATA_SEATS_MAX];
    uint32_t count = duties_metadata_seats(image, seats, METADATA_SEATS_MAX);
    struct duties *d = &c->duties;
    if (count == 0 || (count == d->seat_count && memcmp(seats, d->seats, count * sizeof *seats) == 0))
        return;
    memcpy(d->seats, seats, count * sizeof *seats);
    d->seat_count = count;
    partition_set_target(c->metadata_partition, d->seats, count);
}

/* ---- registration ------------------------------------------------------------------------------ */

static bool is_registered(const struct cluster *c, const struct image *image)
{
    const struct image_broker *b = image_find_broker(image, c->identity.broker_id);
    struct uuid cluster_id = image_cluster_id(image);
    return b != NULL && uuid_equal(&b->incarnation, &c->identity.incarnation) && strcmp(b->host, c->host) == 0 &&
           b->port == c->options.port && b->raft_port == c->options.raft_port &&
           strcmp(b->kafka_host, c->kafka_host[0] != '\0' ? c->kafka_host : c->host) == 0 &&
           b->kafka_port == c->options.kafka_port && !uuid_is_zero(&cluster_id);
}

/* Any thread. */
static void registration_done(struct controller_call *call)
{
    struct cluster *c = CONTAINER_OF(call, struct cluster, duties.registration);
    const struct fault *fault = &call->call.call.fault;
    (void)pthread_mutex_lock(&c->lock);
    bool news = fault->err != c->registration_fault.err && fault->err != KQ_STOPPING;
    c->registration_fault = *fault;
    c->duties.registering = false;
    bool refused = fault->err == KQ_INVALID; /* removed: that does not change by itself */
    c->duties.register_at_us = clock_mono_us() + (refused ? REFUSED_AGAIN_US : REGISTER_AGAIN_US);
    (void)pthread_cond_broadcast(&c->moved);
    (void)pthread_mutex_unlock(&c->lock);
    if (fault->err != KQ_OK && news)
        SAY_WARNING("this broker could not be registered with the cluster: %s; trying again", fault_text(fault));
    duties_post(c);
    cluster_call_end(c);
}

/* True: it is to be looked at again soon. */
static bool register_self(struct cluster *c, const struct image *image, int64_t now_us)
{
    bool registered = is_registered(c, image);
    (void)pthread_mutex_lock(&c->lock);
    if (registered != c->registered) {
        c->registered = registered;
        (void)pthread_cond_broadcast(&c->moved);
    }
    bool begin = !registered && !c->duties.registering && now_us >= c->duties.register_at_us && cluster_call_begin(c);
    if (begin)
        c->duties.registering = true;
    (void)pthread_mutex_unlock(&c->lock);
    if (begin) {
        struct controller_call *call = &c->duties.registration;
        *call = (struct controller_call){
            .call = {.verb = METADATA_REGISTER_BROKER,
                     .broker = {.id = c->identity.broker_id,
                                .incarnation = c->identity.incarnation,
                                .port = c->options.port,
                                .raft_port = c->options.raft_port,
                                .kafka_port = c->options.kafka_port}},
            .done = registration_done,
            .deadline_us = now_us + CALL_US,
        };
        (void)snprintf(call->call.broker.host, sizeof call->call.broker.host, "%s", c->host);
        (void)snprintf(call->call.broker.kafka_host, sizeof call->call.broker.kafka_host, "%s", c->kafka_host);
        calls_begin(c, call);
    }
    return !registered;
}

/* ---- currency ------------------------------------------------------------------------------------ */

/* Any thread. */
static void currency_known(struct cluster_request *request)
{
    struct cluster *c = CONTAINER_OF(request, struct cluster, duties.currency);
    bool current = request->fault.err == KQ_OK;
    (void)pthread_mutex_lock(&c->lock);
    c->current |= current;
    c->duties.asking_currency = false;
    (void)pthread_mutex_unlock(&c->lock);
    if (current)
        sweep_post(c);
    cluster_call_end(c);
}

/* Strays are told from what is only not known yet when the image is current. */
static void learn_currency(struct cluster *c)
{
    (void)pthread_mutex_lock(&c->lock);
    bool begin = !c->current && c->registered && !c->duties.asking_currency && cluster_call_begin(c);
    if (begin)
        c->duties.asking_currency = true;
    (void)pthread_mutex_unlock(&c->lock);
    if (!begin)
        return;
    c->duties.currency = (struct cluster_request){.done = currency_known};
    cluster_catch_up(c, &c->duties.currency);
}

/* ---- reports on partitions --------------------------------------------------------------------------- */

/* Of one partition, by name: its topic may be gone before the answer. */
struct report {
    struct controller_call call;
    struct partition_ask ask;
    struct partition *partition; /* held while it is asked */
    struct cluster *cluster;
    struct uuid topic_id;
    uint32_t number;
};

static void end_report(struct report *r)
{
    struct cluster *c = r->cluster;
    (void)pthread_mutex_lock(&c->lock);
    struct hosted *h = reconcile_find(c, &r->topic_id);
    if (h != NULL && r->number < h->part_count)
        h->parts[r->number]->reporting = false;
    (void)pthread_mutex_unlock(&c->lock);
    if (r->partition != NULL)
        partition_drop(&r->partition);
    free(r);
    cluster_call_end(c);
}

/* Any thread. What was not heard is said again in the next run. */
static void reported(struct controller_call *call)
{
    end_report(CONTAINER_OF(call, struct report, call));
}

/* The actor's turn. */
static void members_known(struct partition_ask *ask)
{
    struct report *r = CONTAINER_OF(ask, struct report, ask);
    if (ask->fault.err != KQ_OK || !ask->target_reached) {
        end_report(r);
        return;
    }
    r->call.done = reported;
    r->call.deadline_us = clock_mono_us() + CALL_US;
    calls_begin(r->cluster, &r->call);
}

/* NULL: not now. */
static struct report *new_report(struct cluster *c, struct part *part)
{
    struct report *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    (void)pthread_mutex_lock(&c->lock);
    bool begin = !part->reporting && cluster_call_begin(c);
    if (begin) {
        part->reporting = true;
        r->partition = part->partition == NULL ? NULL : partition_hold(part->partition);
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (!begin) {
        free(r);
        return NULL;
    }
    r->cluster = c;
    r->topic_id = part->hosted->id;
    r->number = part->number;
    r->call.call = (struct metadata_call){.topic_id = part->hosted->id, .partition = part->number};
    r->call.done = reported;
    r->call.deadline_us = clock_mono_us() + CALL_US;
    return r;
}

/* It moves, and is led here: is it there yet? */
static void report_settled(struct cluster *c, struct part *part, const struct image_holders *holders)
{
    struct report *r = new_report(c, part);
    if (r == NULL)
        return;
    r->call.call.verb = METADATA_SETTLED;
    r->call.call.count = holders->changes;
    r->call.call.replica_count = holders->wanted_count;
    for (uint32_t i = 0; i < holders->wanted_count; i++)
        r->call.call.replica[i] = (struct metadata_replica){.broker = holders->brokers[i], .mix = holders->mixes[i]};
    r->ask = (struct partition_ask){
        .question = PARTITION_ASK_MEMBERS, .deadline_us = clock_mono_us() + CALL_US, .done = members_known};
    partition_ask(r->partition, &r->ask);
}

static void report_replica(struct cluster *c, struct part *part, enum metadata_verb verb,
                           const struct metadata_replica *replica)
{
    struct report *r = new_report(c, part);
    if (r == NULL)
        return;
    r->call.call.verb = verb;
    r->call.call.replica_count = 1;
    r->call.call.replica[0] = *replica;
    calls_begin(c, &r->call);
}

static void report_own(struct cluster *c, struct part *part, enum metadata_verb verb, const struct uuid *mix)
{
    report_replica(c, part, verb, &(struct metadata_replica){.broker = c->identity.broker_id, .mix = *mix});
}

/* What a partition's own thread changes, too. All else of a part changes on the keeper: here. */
struct part_now {
    enum part_state state;
    enum kq_err err; /* FAILED: why */
    int64_t failed_us;
    bool current; /* the metadata is */
};

static struct part_now part_now(struct cluster *c, const struct part *part)
{
    (void)pthread_mutex_lock(&c->lock);
    struct part_now now = {.state = part->state,
                           .err = part->fault == NULL ? KQ_NO_MEMORY : part->fault->err,
                           .failed_us = part->failed_us,
                           .current = c->current};
    (void)pthread_mutex_unlock(&c->lock);
    return now;
}

/* A replica that broke while it ran. */
static void look_for_failure(struct cluster *c, struct part *part, int64_t now_us)
{
    if (part->partition == NULL || part_now(c, part).state != PART_SERVING)
        return;
    struct partition_status status;
    partition_status(part->partition, &status);
    if (status.state != PARTITION_FAILED)
        return;
    struct fault *copy = malloc(sizeof *copy);
    if (copy != NULL)
        *copy = status.fault;
    (void)pthread_mutex_lock(&c->lock);
    part->state = PART_FAILED;
    part->failed_us = now_us;
    free(part->fault);
    part->fault = copy;
    part->hosted->failed_count++;
    (void)pthread_mutex_unlock(&c->lock);
}

/* Whether the others can fill a new one: they have a leader without this replica. */
static bool may_be_replaced(struct cluster *c, const struct part *part, const struct part_now *now, int64_t now_us)
{
    bool damaged =
        now->err == KQ_CORRUPT || now->err == KQ_IO || now->err == KQ_PARTITION_FAILED || now->err == KQ_NOT_FOUND;
    bool broken =
        now->state == PART_LOST || (now->state == PART_FAILED && damaged && now_us >= now->failed_us + GRACE_US);
    if (!broken || part->sole_broker != 0)
        return false;
    struct group_id group = {.topic_id = part->hosted->id, .partition = part->number};
    uint32_t leader = links_leader(c->links, &group, NULL);
    return leader != 0 && leader != c->identity.broker_id && links_is_alive(c->links, leader);
}

/* True: there is more to come of this partition. */
static bool look_at_part(struct cluster *c, struct part *part, const struct image *image,
                         const struct image_topic *topic, int64_t now_us, uint32_t *left)
{
    if (!part->local || part->stop_told)
        return part->stop_told;
    struct image_holders holders = image_holders(topic, part->number);
    struct replica_wish wish = replica_wish(c, image, topic, part->number);
    struct part_now now = part_now(c, part);
    bool pending = now.state == PART_LOST || now.state == PART_FAILED;
    if (now.state == PART_FAILED && now.err == KQ_NO_SPACE && now_us >= now.failed_us + FULL_AGAIN_US) {
        replica_try_again(part);
        return true;
    }
    if (now.state == PART_LOST && now.current)
        replica_tell_lost(part);
    if (pending && *left > 0 && may_be_replaced(c, part, &now, now_us)) {
        (*left)--;
        report_own(c, part, METADATA_REPLACE, &wish.mix);
    }
    if (pending)
        return part->sole_broker == 0;
    if (part->partition != NULL && replica_is_unowned(part, &wish) && *left > 0) {
        struct uuid mix = replica_incarnation(&c->identity.incarnation, &part->incarnation); /* the difference */
        (*left)--;
        report_own(c, part, METADATA_OWN, &mix);
        return true;
    }
    bool fresh = now_us < part->fresh_until_us;
    replica_hurry(part, now_us);
    bool leads = part->partition != NULL && partition_leader(part->partition, NULL) == c->identity.broker_id;
    if (holders.moving && leads && replica_has_target(part, image, topic) && *left > 0) {
        (*left)--;
        report_settled(c, part, &holders);
    }
    struct metadata_replica stalled;
    if (leads && *left > 0 && stalled_due(c, part, image, &holders, now_us, &stalled)) {
        (*left)--;
        report_replica(c, part, METADATA_REHOUSE, &stalled);
    }
    return (holders.moving && part->partition != NULL) || fresh;
}

static bool look_at_parts(struct cluster *c, const struct image *image, int64_t now_us)
{
    bool scan = now_us >= c->duties.scanned_us + SCAN_US;
    bool pending = false;
    uint32_t left = REPORTS_A_RUN;
    if (scan)
        c->duties.scanned_us = now_us;
    for (size_t i = 0; i < image_topic_count(image); i++) {
        const struct image_topic *topic = image_topic_at(image, i);
        (void)pthread_mutex_lock(&c->lock);
        struct hosted *h = reconcile_find(c, image_topic_id(topic)); /* goes on the keeper alone: here */
        (void)pthread_mutex_unlock(&c->lock);
        for (uint32_t p = 0; h != NULL && !h->ending && p < h->part_count; p++) {
            if (scan) {
                look_for_failure(c, h->parts[p], now_us);
                lost_look_at(c, h->parts[p], image, now_us);
            }
            pending |= look_at_part(c, h->parts[p], image, topic, now_us, &left);
        }
    }
    return pending;
}

/* ---- a group that leads itself when it is asked to ------------------------------------------------- */

static void poked(struct machine_call *call)
{
    free(CONTAINER_OF(call, struct metadata_call, call));
}

/* The sole voter of a group leads when somebody wants to append. Nobody asks while nobody is
 * known to lead, if the metadata names other brokers that are to become members. */
static void poke_metadata(struct cluster *c, int64_t now_us)
{
    if (cluster_controller(c) != 0 || now_us < c->duties.poked_us + POKE_US)
        return;
    c->duties.poked_us = now_us;
    struct metadata_call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return;
    call->verb = METADATA_GROW;
    call->alive = &c->identity.broker_id; /* alone it can grow nothing */
    call->alive_count = 1;
    call->call.done = poked;
    partition_call(c->metadata_partition, &call->call);
}

/* ---- a run ------------------------------------------------------------------------------------------- */

void duties_run(struct job *job)
{
    struct cluster *c = CONTAINER_OF(job, struct cluster, duties_job);
    (void)pthread_mutex_lock(&c->lock);
    c->duties_posted = false;
    struct image *image = c->stopping ? NULL : image_hold(c->image);
    (void)pthread_mutex_unlock(&c->lock);
    if (image != NULL && c->links != NULL)
        tell_peers(c, image, clock_mono_us());
    if (image != NULL && c->links != NULL && c->metadata_partition != NULL) {
        int64_t now_us = clock_mono_us();
        tell_metadata(c, image);
        bool pending = register_self(c, image, now_us);
        learn_currency(c);
        poke_metadata(c, now_us);
        pending |= look_at_parts(c, image, now_us);
        int64_t next_us = controller_turn(c, image, now_us);
        int64_t own_us = now_us + (pending || cluster_controller(c) == 0 ? PENDING_US : SCAN_US);
        engine_set_deadline(c->options.engine, &c->duties_deadline, own_us < next_us ? own_us : next_us);
    }
    if (image != NULL)
        image_drop(&image);
    cluster_work_end(c);
}
