/*
 * What is sent to a peer: beats and raft messages. (link_catch_up.c has what a follower
 * far behind needs.)
 *
 * The sender takes everything that waits, at most PEER_WRITE_MAX_BYTES, and hands it
 * to the system in one writev, the beats first. What was written is forgotten: Raft
 * sends again what did not arrive. A small packet that finds nothing waiting and nobody
 * writing does not come here at all (link_now.c); what did not fit then is finished here
 * before anything else.
 */
#include "cluster/links_impl.h"

#include "base/logger.h"
#include "base/require.h"

#include <stdlib.h>

/* ---- queues ------------------------------------------------------------------------------ */

void packet_queue_init(struct packet_queue *queue)
{
    *queue = (struct packet_queue){.first = NULL};
    queue->last = &queue->first;
}

static void queue_put(struct packet_queue *queue, struct packet *packet)
{
    packet->next = NULL;
    *queue->last = packet;
    queue->last = &packet->next;
    queue->bytes += packet->size_bytes;
}

struct packet *packet_queue_take(struct packet_queue *queue)
{
    struct packet *packet = queue->first;
    if (packet == NULL)
        return NULL;
    queue->first = packet->next;
    if (queue->first == NULL)
        queue->last = &queue->first;
    queue->bytes -= packet->size_bytes;
    packet->next = NULL;
    return packet;
}

/* The oldest, until at most limit_bytes are left; a list by `next`. */
static struct packet *queue_shorten(struct packet_queue *queue, uint64_t limit_bytes)
{
    struct packet *list = NULL;
    while (queue->bytes > limit_bytes && queue->first != NULL) {
        struct packet *packet = packet_queue_take(queue);
        packet->next = list;
        list = packet;
    }
    return list;
}

void link_discard(struct link *link, struct packet *packet, bool sent)
{
    if (!sent)
        links_count(&link->links->counters.dropped, 1);
    if (packet->left != NULL)
        packet->left(packet, sent);
    link->links->upward.packet_free(&packet);
}

static void discard_list(struct link *link, struct packet *list)
{
    for (struct packet *next; list != NULL; list = next) {
        next = list->next;
        link_discard(link, list, false);
    }
}

static void free_bodies(struct link_body *list)
{
    for (struct link_body *next; list != NULL; list = next) {
        next = list->next;
        free(list);
    }
}

void link_discard_queue(struct link *link, struct packet_queue *queue)
{
    (void)pthread_mutex_lock(&link->lock);
    struct packet *list = queue->first;
    packet_queue_init(queue);
    (void)pthread_mutex_unlock(&link->lock);
    discard_list(link, list);
}

void link_discard_all(struct link *link)
{
    link_discard_queue(link, &link->packets);
    link_discard_queue(link, &link->far_packets);
    free_bodies(link->beats);
    link->beats = NULL;
    free_bodies(link->rest);
    link->rest = NULL;
}

static bool goes_far(const struct packet *packet)
{
    return packet->view != NULL || packet->state_bytes > LINK_LARGE_STATE_BYTES;
}

void link_send(struct link *link, struct packet *packet)
{
    bool far = goes_far(packet);
    struct packet_queue *queue = far ? &link->far_packets : &link->packets;
    uint64_t limit_bytes = (uint64_t)link->links->options.config->outbox_max_bytes;
    (void)pthread_mutex_lock(&link->lock);
    if (link_over(link)) {
        (void)pthread_mutex_unlock(&link->lock);
        link_discard(link, packet, false);
        return;
    }
    if (!far && link_claim_out(link, packet)) {
        (void)pthread_mutex_unlock(&link->lock);
        link_write_now(link, packet);
        return;
    }
    if (!far && !link->out_greeted && limit_bytes > LINK_WAITING_BYTES)
        limit_bytes = LINK_WAITING_BYTES;
    limit_bytes = limit_bytes > packet->size_bytes ? limit_bytes - packet->size_bytes : 0;
    struct packet *dropped = queue_shorten(queue, limit_bytes);
    bool wake = queue->first == NULL && (far || !link->out_busy); /* who writes looks again */
    queue_put(queue, packet);
    (void)pthread_mutex_unlock(&link->lock);
    if (wake) {
        links_count(&link->links->counters.wakes, far ? 0 : 1);
        (void)pthread_cond_signal(far ? &link->wake_catch_up : &link->wake_out);
    }
    discard_list(link, dropped);
}

static void take_back(struct packet_queue *queue, const struct group_id *group, struct packet **list)
{
    struct packet_queue kept;
    packet_queue_init(&kept);
    for (struct packet *packet = packet_queue_take(queue); packet != NULL; packet = packet_queue_take(queue)) {
        if (packet->group.partition != group->partition || !uuid_equal(&packet->group.topic_id, &group->topic_id)) {
            queue_put(&kept, packet);
            continue;
        }
        packet->next = *list;
        *list = packet;
    }
    *queue = kept;
    if (kept.first == NULL)
        packet_queue_init(queue);
}

void link_take_back(struct link *link, const struct group_id *group, struct packet **list)
{
    (void)pthread_mutex_lock(&link->lock);
    take_back(&link->packets, group, list);
    take_back(&link->far_packets, group, list);
    (void)pthread_mutex_unlock(&link->lock);
}

bool link_has_beats(struct link *link)
{
    (void)pthread_mutex_lock(&link->lock);
    bool has = link->beats != NULL;
    (void)pthread_mutex_unlock(&link->lock);
    return has;
}

void link_put_beat(struct link *link, const struct buf *body)
{
    struct link_body *b = malloc(sizeof *b + body->len);
    REQUIRE(b != NULL);
    b->next = NULL;
    b->size_bytes = body->len;
    memcpy(b->data, body->data, body->len);
    (void)pthread_mutex_lock(&link->lock);
    bool greeted = link->out_greeted;
    if (greeted) {
        *link->last_beat = b;
        link->last_beat = &b->next;
        b = NULL;
    }
    (void)pthread_mutex_unlock(&link->lock);
    free(b); /* that connection has ended, the table will be told */
    if (!greeted)
        return;
    links_count(&link->links->counters.wakes, 1);
    (void)pthread_cond_signal(&link->wake_out);
}

/* ---- connecting ---------------------------------------------------------------------------- */

void link_say(struct link *link, const struct fault *fault, enum peer_kind kind)
{
    struct link_said *said = &link->said;
    (void)pthread_mutex_lock(&link->lock);
    bool worth = link_worth_saying(said, fault_text(fault));
    (void)pthread_mutex_unlock(&link->lock);
    if (!worth || link_over(link))
        return;
    bool refused = fault->err == KQ_INVALID || fault->err == KQ_EXISTS || fault->err == KQ_BAD_VERSION;
    if (refused)
        SAY_WARNING("broker %u is not linked (%s): %s", link->address.broker_id, peer_kind_name(kind),
                    fault_text(fault));
    else if (fault->err == KQ_AGAIN)
        SAY_INFO("broker %u is not linked yet (%s): %s", link->address.broker_id, peer_kind_name(kind),
                 fault_text(fault));
    else
        SAY_NOTICE("broker %u is not reached (%s): %s; it is tried again", link->address.broker_id,
                   peer_kind_name(kind), fault_text(fault));
}

/* Puts a new socket into the slot. NULL: the link ends, or no memory. */
static struct peer_socket *open_slot(struct link *link, struct peer_socket **slot)
{
    struct peer_socket *socket = peer_socket_new();
    (void)pthread_mutex_lock(&link->lock);
    REQUIRE(*slot == NULL);
    bool over = link_over(link);
    if (!over)
        *slot = socket;
    (void)pthread_mutex_unlock(&link->lock);
    if (over)
        peer_socket_free(&socket);
    return socket;
}

void link_hang_up(struct link *link, struct peer_socket **slot)
{
    (void)pthread_mutex_lock(&link->lock);
    struct peer_socket *socket = *slot;
    *slot = NULL;
    (void)pthread_mutex_unlock(&link->lock);
    peer_socket_free(&socket);
}

enum kq_err link_dial(struct link *link, struct peer_socket **slot, enum peer_kind kind, struct hello *self,
                      bool *refused, struct fault *fault)
{
    *refused = false;
    struct peer_socket *socket = open_slot(link, slot);
    if (socket == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "no memory for a connection");
    int64_t deadline_us = clock_mono_us() + LINK_HELLO_US;
    struct hello other;
    *self = links_hello(link->links, kind, link);
    enum kq_err err = peer_socket_connect(socket, link->address.host, link->address.port, deadline_us, refused, fault);
    if (err == KQ_OK)
        err = peer_socket_greet(socket, self, &other, deadline_us, fault);
    if (err == KQ_OK)
        err = hello_judge(self, &other, peer_socket_place(socket), fault);
    if (err != KQ_OK) {
        link_hang_up(link, slot);
        return err;
    }
    links_count(&link->links->counters.connects, 1);
    return KQ_OK;
}

/* Until it may be tried again, or there is reason to. */
static void wait_to_dial(struct link *link, pthread_cond_t *wake, int64_t until_us)
{
    (void)pthread_mutex_lock(&link->lock);
    while (!link_over(link) && !link->dial_now && clock_mono_us() < until_us)
        links_cond_wait(wake, &link->lock, until_us);
    link->dial_now = false;
    (void)pthread_mutex_unlock(&link->lock);
}

/* ---- link-out ---------------------------------------------------------------------------------- */

/* What one write takes, out of the queues. */
struct batch {
    struct link_body *beats;
    struct packet *first;
    struct packet **last;
    uint32_t packet_count;
    uint32_t beat_count;
};

/* The peer's connection has just ended; a killed process closes both, not at once. */
static const int64_t look_after_us[] = {0, 1000, 3000, 10000, 30000, 100000};
enum { LOOKS = sizeof look_after_us / sizeof look_after_us[0] };

static bool may_send(const struct link *link)
{
    return !link->out_busy && (link->beats != NULL || link->packets.first != NULL || link->rest != NULL);
}

/* With the lock. True: there is something to send, and nobody else writes; false: an end. */
static bool wait_to_send(struct link *link, struct peer_socket *socket)
{
    int look = 0;
    while (!link_over(link) && !link->out_broken && !may_send(link)) {
        if (link->look_from_us == 0) {
            look = 0;
            links_cond_wait(&link->wake_out, &link->lock, CLOCK_NEVER);
            continue;
        }
        int64_t at_us = link->look_from_us + look_after_us[look];
        if (clock_mono_us() < at_us) {
            links_cond_wait(&link->wake_out, &link->lock, at_us);
            continue;
        }
        if (peer_socket_is_closed(socket))
            return false;
        if (++look == LOOKS)
            link->look_from_us = 0;
    }
    return !link_over(link) && !link->out_broken;
}

/* True: out_busy is set. */
static bool take_batch(struct link *link, struct peer_socket *socket, struct batch *batch)
{
    (void)pthread_mutex_lock(&link->lock);
    bool ok = wait_to_send(link, socket);
    if (ok)
        link->out_busy = true;
    batch->beats = link->beats;
    link->beats = NULL;
    link->last_beat = &link->beats;
    (void)pthread_mutex_unlock(&link->lock);
    return ok;
}

/* The next packet is put into the write; false: none, or no room for it now. */
static bool add_packet(struct link *link, struct batch *batch, uint32_t seed)
{
    (void)pthread_mutex_lock(&link->lock);
    struct packet *packet = link->packets.first;
    size_t bytes = link->write.bytes;
    bool fits = packet != NULL && (bytes == 0 || bytes + packet->size_bytes <= PEER_WRITE_MAX_BYTES);
    if (fits)
        (void)packet_queue_take(&link->packets);
    (void)pthread_mutex_unlock(&link->lock);
    if (!fits)
        return false;
    if (link_write_packet(&link->write, seed, packet)) {
        *batch->last = packet;
        batch->last = &packet->next;
        batch->packet_count++;
        return true;
    }
    (void)pthread_mutex_lock(&link->lock); /* goes first next time */
    packet->next = link->packets.first;
    if (link->packets.first == NULL)
        link->packets.last = &packet->next;
    link->packets.first = packet;
    link->packets.bytes += packet->size_bytes;
    (void)pthread_mutex_unlock(&link->lock);
    return false;
}

static void fill_write(struct link *link, struct batch *batch, uint32_t seed)
{
    link_write_reset(&link->write);
    batch->first = NULL;
    batch->last = &batch->first;
    batch->packet_count = 0;
    batch->beat_count = 0;
    for (struct link_body *b = batch->beats; b != NULL; b = batch->beats) {
        struct slice part = slice_of(b->data, b->size_bytes);
        if (!link_write_frame(&link->write, seed, PEER_BEAT, &part, 1))
            return; /* the rest goes with the next write */
        batch->beats = b->next;
        free(b);
        batch->beat_count++;
    }
    while (add_packet(link, batch, seed)) {
    }
}

int64_t link_write_deadline_us(size_t bytes)
{
    return clock_mono_us() + LINK_WRITE_US + (int64_t)bytes;
}

static enum kq_err send_batch(struct link *link, struct peer_socket *socket, struct batch *batch, struct fault *fault)
{
    struct links_counters *counters = &link->links->counters;
    size_t bytes = link->write.bytes;
    enum kq_err err =
        peer_socket_write(socket, link->write.parts, link->write.part_count, link_write_deadline_us(bytes), fault);
    for (struct packet *packet = batch->first, *next; packet != NULL; packet = next) {
        next = packet->next;
        link_discard(link, packet, err == KQ_OK);
    }
    if (err != KQ_OK)
        return err;
    links_count(&counters->writes, 1);
    links_count(&counters->bytes_out, bytes);
    links_count(&counters->messages_out, batch->packet_count);
    links_count(&counters->beats_out, batch->beat_count);
    return KQ_OK;
}

/* What a frame that left in part still lacks. */
static enum kq_err send_rest(struct link *link, struct peer_socket *socket, struct fault *fault)
{
    struct link_body *rest = link->rest;
    if (rest == NULL)
        return KQ_OK;
    link->rest = NULL;
    struct iovec part = {.iov_base = rest->data, .iov_len = rest->size_bytes};
    enum kq_err err = peer_socket_write(socket, &part, 1, link_write_deadline_us(rest->size_bytes), fault);
    free(rest);
    return err;
}

static void leave_out(struct link *link)
{
    (void)pthread_mutex_lock(&link->lock);
    link->out_busy = false;
    (void)pthread_mutex_unlock(&link->lock);
}

static void pump_out(struct link *link, struct peer_socket *socket, struct batch *batch)
{
    struct fault fault = {.err = KQ_OK};
    uint32_t seed = peer_socket_seed(socket);
    enum kq_err err = KQ_OK;
    while (err == KQ_OK && take_batch(link, socket, batch)) {
        err = send_rest(link, socket, &fault);
        while (err == KQ_OK) {
            fill_write(link, batch, seed);
            if (link->write.part_count > 0)
                err = send_batch(link, socket, batch, &fault);
            if (batch->beats == NULL)
                break;
        }
        leave_out(link);
    }
    free_bodies(batch->beats);
    batch->beats = NULL;
}

/* What was meant for the connection before is forgotten. Nobody writes to it when this returns. */
static void set_greeted(struct link *link, bool greeted)
{
    (void)pthread_mutex_lock(&link->lock);
    link->out_greeted = greeted;
    while (link->out_busy) /* it does not block */
        links_cond_wait(&link->wake_out, &link->lock, CLOCK_NEVER);
    link->look_from_us = 0;
    link->out_broken = false;
    struct link_body *beats = link->beats, *rest = link->rest;
    link->beats = NULL;
    link->last_beat = &link->beats;
    link->rest = NULL;
    (void)pthread_mutex_unlock(&link->lock);
    free_bodies(beats);
    free_bodies(rest);
}

void link_out_run(struct link *link)
{
    struct links *links = link->links;
    uint32_t id = link->address.broker_id;
    struct link_backoff backoff = {0};
    struct batch batch = {.beats = NULL};
    while (!link_write_init(&link->write) && !link_over(link)) {
        SAY_ERROR("no memory for what is sent to broker %u", id);
        wait_to_dial(link, &link->wake_out, clock_mono_us() + LINK_BACKOFF_MAX_US);
    }
    while (!link_over(link)) {
        struct fault fault = {.err = KQ_OK};
        struct hello self;
        bool refused;
        enum kq_err err = link_dial(link, &link->out, PEER_KIND_RAFT, &self, &refused, &fault);
        if (err != KQ_OK) {
            /* AGAIN: a process is there that knows nothing of what the one before it said. */
            if (refused || err == KQ_AGAIN)
                links_post(links, &(struct event){.kind = EVENT_REFUSED, .broker_id = id});
            link_say(link, &fault, PEER_KIND_RAFT);
            if (err == KQ_INVALID || err == KQ_EXISTS || err == KQ_BAD_VERSION)
                backoff.failed = UINT32_MAX / 2; /* it will take a person, or the cluster, to mend that */
            wait_to_dial(link, &link->wake_out, clock_mono_us() + link_backoff_us(&backoff, links_random()));
            continue;
        }
        backoff.failed = 0;
        set_greeted(link, true);
        links_post(links, &(struct event){.kind = EVENT_OUT_UP, .broker_id = id, .session = self.session});
        pump_out(link, link->out, &batch);
        set_greeted(link, false);
        links_post(links, &(struct event){.kind = EVENT_OUT_DOWN, .broker_id = id});
        link_hang_up(link, &link->out);
    }
    link_write_fini(&link->write);
    link_discard_queue(link, &link->packets);
}
