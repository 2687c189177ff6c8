/*
 * What comes to the raft port: each connection gets a thread, which hears the hello
 * within a deadline, judges it, and then receives for as long as the connection lasts.
 *
 * Who may come in: of this cluster, wanting this broker, and for raft messages a
 * broker that metadata names, with the incarnation that it names. A second broker
 * with the id of one that is alive is refused, whatever it wants. A newer connection
 * of a kind ends the older one of the same broker. What is refused is said once, not
 * with each attempt, and told to the other side.
 */
#include "cluster/links_impl.h"

#include "base/logger.h"
#include "base/require.h"
#include "base/threads.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- inbounds ---------------------------------------------------------------------------- */

static struct inbound *inbound_new(struct links *links)
{
    struct inbound *in = calloc(1, sizeof *in);
    if (in == NULL)
        return NULL;
    in->links = links;
    in->socket = peer_socket_new();
    atomic_init(&in->references, 1);
    if (in->socket != NULL)
        return in;
    free(in);
    return NULL;
}

static struct inbound *inbound_hold(struct inbound *in)
{
    (void)atomic_fetch_add_explicit(&in->references, 1, memory_order_relaxed);
    return in;
}

void inbound_drop(struct inbound **inbound)
{
    struct inbound *in = *inbound;
    *inbound = NULL;
    if (in == NULL || atomic_fetch_sub_explicit(&in->references, 1, memory_order_acq_rel) != 1)
        return;
    link_drop(&in->link);
    peer_socket_free(&in->socket);
    free(in);
}

/* ---- who may come in ------------------------------------------------------------------------ */

/* With the lock. The greeted connection of this broker and kind, or NULL. */
static struct inbound *find_greeted(const struct links *links, uint32_t broker_id, enum peer_kind kind)
{
    struct inbound *in = links->inbounds;
    while (in != NULL && !(in->greeted && in->hello.broker_id == broker_id && in->hello.kind == kind))
        in = in->next;
    return in;
}

/* With the lock. What hello_judge() cannot know. */
static enum kq_err judge_here(const struct links *links, const struct link *link, const struct hello *hello,
                              const char *place, struct fault *fault)
{
    const struct inbound *now = find_greeted(links, hello->broker_id, PEER_KIND_RAFT);
    bool alive = link != NULL && atomic_load_explicit(&link->alive, memory_order_acquire);
    if (now != NULL && alive && !uuid_equal(&now->hello.incarnation, &hello->incarnation))
        return fault_set(fault, KQ_EXISTS,
                         "two brokers have the id %u: one that is linked with broker %u, from %s, and one at %s that "
                         "wants to be: start one of them with another --broker-id, in a data folder of its own",
                         hello->broker_id, links->options.self.broker_id, peer_socket_place(now->socket), place);
    if (now != NULL && uuid_equal(&now->hello.incarnation, &hello->incarnation) && hello->boot < now->hello.boot)
        return fault_set(fault, KQ_EXISTS,
                         "broker %u at %s is an older process than the one that is linked from %s: two run upon "
                         "copies of one data folder; stop one of them and remove its copy",
                         hello->broker_id, place, peer_socket_place(now->socket));
    if (hello->kind != PEER_KIND_RAFT && hello->kind != PEER_KIND_CATCH_UP)
        return KQ_OK;
    if (link == NULL)
        return fault_set(fault, KQ_AGAIN, "broker %u at %s is not known to broker %u yet", hello->broker_id, place,
                         links->options.self.broker_id);
    if (!uuid_is_zero(&link->address.incarnation) && !uuid_equal(&link->address.incarnation, &hello->incarnation))
        return fault_set(fault, KQ_AGAIN,
                         "broker %u at %s has a new data folder: it takes part when the cluster has taken it in",
                         hello->broker_id, place);
    return KQ_OK;
}

/* With the lock. The newer one is in; the older one of its kind ends. */
static void enter(struct links *links, struct inbound *in, struct link *link, const struct hello *hello)
{
    struct inbound *older = hello->kind == PEER_KIND_FORM ? NULL : find_greeted(links, hello->broker_id, hello->kind);
    if (older != NULL) {
        if (older->link != NULL)
            links->strangers++; /* it counts as one until it has ended */
        older->greeted = false;
        atomic_store(&older->superseded, true); /* a cut alone leaves what has arrived to be read */
        peer_socket_cut(older->socket);
    }
    in->hello = *hello;
    in->greeted = true;
    if (link != NULL) {
        in->link = link_hold(link);
        links->strangers--;
    }
}

static enum kq_err admit(struct links *links, struct inbound *in, const struct hello *hello, struct fault *fault)
{
    (void)pthread_mutex_lock(&links->lock);
    struct link *link = links->list;
    while (link != NULL && link->address.broker_id != hello->broker_id)
        link = link->next;
    enum kq_err err = judge_here(links, link, hello, peer_socket_place(in->socket), fault);
    if (err == KQ_OK && atomic_load_explicit(&links->stopping, memory_order_acquire))
        err = fault_set(fault, KQ_STOPPING, "broker %u is stopping", links->options.self.broker_id);
    if (err == KQ_OK)
        enter(links, in, link, hello);
    (void)pthread_mutex_unlock(&links->lock);
    return err;
}

static void say_refused(struct links *links, const struct fault *fault)
{
    links_count(&links->counters.refusals, 1);
    (void)pthread_mutex_lock(&links->lock);
    bool worth = link_worth_saying(&links->refused, fault_text(fault));
    (void)pthread_mutex_unlock(&links->lock);
    if (!worth)
        return;
    if (fault->err == KQ_EXISTS)
        SAY_WARNING("a connection to the raft port was refused: %s", fault_text(fault));
    else if (fault->err == KQ_AGAIN)
        SAY_INFO("a connection to the raft port was refused: %s", fault_text(fault));
    else
        SAY_NOTICE("a connection to the raft port was refused: %s", fault_text(fault));
}

static bool welcome(struct inbound *in)
{
    struct links *links = in->links;
    struct fault fault = {.err = KQ_OK};
    struct hello hello;
    int64_t deadline_us = clock_mono_us() + LINK_HELLO_US;
    struct hello self = links_hello(links, PEER_KIND_RAFT, NULL);
    enum kq_err err = peer_socket_hear(in->socket, &hello, deadline_us, &fault);
    if (err == KQ_OK) {
        self.kind = hello.kind;
        err = hello_judge(&self, &hello, peer_socket_place(in->socket), &fault);
    }
    if (err == KQ_OK)
        err = admit(links, in, &hello, &fault);
    if (err == KQ_OK)
        err = peer_socket_answer(in->socket, &self, &hello, deadline_us, &fault);
    else if (err != KQ_EOF && err != KQ_IO && err != KQ_STOPPING)
        peer_socket_refuse(in->socket, &fault, deadline_us);
    if (err == KQ_OK) {
        links_count(&links->counters.connects, 1);
        return true;
    }
    if (err != KQ_STOPPING && !atomic_load_explicit(&links->stopping, memory_order_acquire))
        say_refused(links, &fault);
    return false;
}

/* ---- raft -------------------------------------------------------------------------------------- */

/* Takes body. False: the connection is of no use. */
static bool take_beat(struct inbound *in, const struct peer_frame *frame, uint8_t *body)
{
    struct links *links = in->links;
    struct link *link = in->link;
    if (in->hello.kind != PEER_KIND_RAFT || !peer_frame_check(frame, peer_socket_seed(in->socket), body)) {
        free(body);
        return false;
    }
    (void)pthread_mutex_lock(&links->lock);
    while (link->beats_queued >= LINK_BEATS_QUEUED_MAX && !atomic_load_explicit(&links->stopping, memory_order_acquire))
        links_cond_wait(&links->less, &links->lock, CLOCK_NEVER);
    link->beats_queued++;
    (void)pthread_mutex_unlock(&links->lock);
    links_post(links, &(struct event){.kind = EVENT_BEAT,
                                      .broker_id = in->hello.broker_id,
                                      .session = in->hello.session,
                                      .link = link_hold(link),
                                      .inbound = inbound_hold(in),
                                      .body = body,
                                      .body_bytes = frame->body_bytes});
    return true;
}

/* Takes body. */
static bool take_raft(struct inbound *in, const struct peer_frame *frame, uint8_t *body)
{
    struct links *links = in->links;
    struct parcel *parcel;
    enum kq_err err = link_parcel_new(&parcel, frame, peer_socket_seed(in->socket), body);
    if (err != KQ_OK)
        return err == KQ_NO_MEMORY; /* then it is lost, and comes again */
    if (parcel->message.from.broker_id != in->hello.broker_id ||
        parcel->message.to.broker_id != links->options.self.broker_id) {
        parcel->release(parcel);
        return false;
    }
    links_count(&links->counters.messages_in, 1);
    struct partition *partition = links->options.find(links->options.context, &parcel->group);
    if (partition == NULL || !links->upward.receive(partition, parcel))
        parcel->release(parcel);
    if (partition != NULL)
        links->upward.drop(&partition);
    return true;
}

static void receive_raft(struct inbound *in)
{
    struct fault fault = {.err = KQ_OK};
    enum kq_err err;
    bool beats = in->hello.kind == PEER_KIND_RAFT;
    int64_t silent_us = LINK_SILENT_US + 3 * in->links->options.config->beat_us;
    if (beats)
        peer_socket_be_patient(in->socket);
    for (;;) {
        struct peer_frame frame;
        uint8_t *body;
        /* Beats come all the while: who is silent for so long is gone, or a damaged length
         * made all that it says part of one frame. It connects anew. */
        int64_t deadline_us = beats ? clock_mono_us() + silent_us : CLOCK_NEVER;
        err = peer_socket_receive_raw(in->socket, PEER_FRAME_MAX_BYTES, deadline_us, &frame, &body, &fault);
        if (err != KQ_OK)
            break;
        bool ok = false;
        if (frame.type == PEER_RAFT)
            ok = take_raft(in, &frame, body);
        else if (frame.type == PEER_BEAT)
            ok = take_beat(in, &frame, body);
        else
            free(body);
        if (!ok) {
            err = fault_set(&fault, KQ_GARBAGE, "what broker %u sends from %s is no frame of this connection",
                            in->hello.broker_id, peer_socket_place(in->socket));
            break;
        }
    }
    if (err == KQ_GARBAGE || err == KQ_TOO_LARGE)
        SAY_WARNING("a connection of a broker is ended: %s", fault_text(&fault));
    else if (err == KQ_TIMEOUT)
        SAY_NOTICE("a connection of broker %u from %s is ended: nothing whole came of it for %d s", in->hello.broker_id,
                   peer_socket_place(in->socket), (int)(silent_us / 1000000));
}

/* The peer's own connection has come or gone: what does that say of ours? */
static void tell_sender(struct link *link, bool came)
{
    (void)pthread_mutex_lock(&link->lock);
    link->dial_now = link->dial_now || !link->out_greeted;
    link->look_from_us = came ? 0 : clock_mono_us();
    (void)pthread_cond_broadcast(&link->wake_out);
    (void)pthread_mutex_unlock(&link->lock);
}

static void serve_raft(struct inbound *in)
{
    const struct event down = {.kind = EVENT_IN_DOWN, .broker_id = in->hello.broker_id, .session = in->hello.session};
    links_post_in_up(in);
    tell_sender(in->link, true);
    receive_raft(in);
    links_post(in->links, &down);
    tell_sender(in->link, false);
}

/* ---- a connection's thread ----------------------------------------------------------------------- */

/* A broker without a cluster asks what this one was founded with. */
static void serve_form(struct inbound *in)
{
    enum { FORM_LIMIT_BYTES = 16 * 1024 };
    struct links *links = in->links;
    struct peer_frame frame;
    uint8_t *body = NULL;
    struct fault fault;
    int64_t deadline_us = clock_mono_us() + LINK_HELLO_US;
    enum kq_err err = peer_socket_receive(in->socket, FORM_LIMIT_BYTES, deadline_us, &frame, &body, &fault);
    struct buf answer;
    buf_init(&answer, FORM_LIMIT_BYTES);
    if (err == KQ_OK && frame.type == PEER_FORM && links->options.form != NULL &&
        links->options.form(links->options.context, body, frame.body_bytes, &answer)) {
        struct slice part = slice_of(answer.data, answer.len);
        (void)peer_socket_send(in->socket, PEER_FORM, &part, 1, deadline_us, &fault);
    }
    buf_fini(&answer);
    free(body);
}

static void leave(struct inbound *in)
{
    struct links *links = in->links;
    (void)pthread_mutex_lock(&links->lock);
    struct inbound **at = &links->inbounds;
    while (*at != in)
        at = &(*at)->next;
    *at = in->next;
    if (!in->greeted || in->link == NULL)
        links->strangers--;
    (void)pthread_mutex_unlock(&links->lock);
}

void inbound_run(struct inbound *in)
{
    if (welcome(in)) {
        switch (in->hello.kind) {
        case PEER_KIND_RAFT:
            serve_raft(in);
            break;
        case PEER_KIND_CATCH_UP:
            thread_be_patient(); /* nobody waits for it */
            receive_raft(in);
            break;
        case PEER_KIND_ASK:
            links_serve_run(in);
            break;
        case PEER_KIND_FORM:
        case PEER_KIND_END:
            serve_form(in);
            break;
        }
    }
    leave(in);
}

/* ---- links-accept ----------------------------------------------------------------------------------- */

static void begin_inbound(struct links *links, int fd)
{
    struct fault fault = {.err = KQ_OK};
    struct inbound *in = inbound_new(links);
    if (in == NULL) {
        (void)close(fd);
        return;
    }
    if (peer_socket_take(in->socket, fd, &fault) != KQ_OK) {
        inbound_drop(&in);
        return;
    }
    (void)pthread_mutex_lock(&links->lock);
    bool stopping = atomic_load_explicit(&links->stopping, memory_order_acquire);
    bool room = links->strangers < LINK_STRANGERS_MAX && !stopping;
    if (room) {
        links->strangers++;
        in->next = links->inbounds;
        links->inbounds = in;
    }
    (void)pthread_mutex_unlock(&links->lock);
    if (!room) {
        if (!stopping)
            SAY_NOTICE("%d connections to the raft port have not said who they are: one from %s is turned away",
                       LINK_STRANGERS_MAX, peer_socket_place(in->socket));
        inbound_drop(&in);
        return;
    }
    struct inbound *listed = inbound_hold(in);
    if (links_thread(links, "link-in", NULL, in, NULL, &fault) != KQ_OK) {
        SAY_ERROR("a connection from %s is ended: %s", peer_socket_place(listed->socket), fault_text(&fault));
        leave(listed);
    }
    inbound_drop(&listed);
}

static void join_over(struct links *links)
{
    (void)pthread_mutex_lock(&links->lock);
    struct link_thread *list = links->over;
    links->over = NULL;
    (void)pthread_mutex_unlock(&links->lock);
    for (struct link_thread *next; list != NULL; list = next) {
        next = list->next;
        (void)pthread_join(list->id, NULL);
        free(list);
    }
}

static bool all_ended(struct links *links)
{
    (void)pthread_mutex_lock(&links->lock);
    bool ended = atomic_load_explicit(&links->stopping, memory_order_acquire) && links->thread_count == 0;
    (void)pthread_mutex_unlock(&links->lock);
    return ended;
}

void *links_accept_run(void *argument)
{
    enum { ACCEPT_AGAIN_MS = 100 };
    struct links *links = argument;
    int wait_ms = -1;
    while (!all_ended(links)) {
        struct pollfd polls[] = {{.fd = links->wake_acceptor, .events = POLLIN},
                                 {.fd = wait_ms < 0 ? links->options.listen_fd : -1, .events = POLLIN}};
        int n = poll(polls, 2, wait_ms);
        wait_ms = -1;
        eventfd_t ignored;
        (void)eventfd_read(links->wake_acceptor, &ignored);
        join_over(links);
        if (n <= 0 || polls[1].revents == 0)
            continue;
        int fd = accept4(links->options.listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            begin_inbound(links, fd);
        } else if (errno != EINTR && errno != ECONNABORTED && errno != EAGAIN) {
            SAY_ERROR("cannot accept a connection to the raft port: %s", strerror(errno));
            wait_ms = ACCEPT_AGAIN_MS; /* out of descriptors, most likely; see ulimit -n */
        }
    }
    join_over(links);
    return NULL;
}
