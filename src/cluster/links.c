#include "cluster/links.h"

#include "base/fnv.h"
#include "base/logger.h"
#include "base/require.h"
#include "base/threads.h"
#include "cluster/links_impl.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* ---- small things ----------------------------------------------------------------------- */

void links_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    REQUIRE(pthread_condattr_init(&attributes) == 0);
    REQUIRE(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    REQUIRE(pthread_cond_init(cond, &attributes) == 0);
    (void)pthread_condattr_destroy(&attributes);
}

void links_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_us)
{
    if (until_us == CLOCK_NEVER) {
        (void)pthread_cond_wait(cond, lock);
        return;
    }
    struct timespec until = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};
    (void)pthread_cond_timedwait(cond, lock, &until);
}

uint64_t links_random(void)
{
    struct uuid random = uuid_random();
    return get_le64(random.bytes);
}

bool link_worth_saying(struct link_said *said, const char *text)
{
    uint32_t hash = fnv1a_32(text, strlen(text));
    int64_t now_us = clock_mono_us();
    if (said->at_us != 0 && said->hash == hash && now_us - said->at_us < LINK_SAY_AGAIN_US)
        return false;
    *said = (struct link_said){.hash = hash, .at_us = now_us};
    return true;
}

struct hello links_hello(const struct links *links, enum peer_kind kind, const struct link *to)
{
    const struct links_self *self = &links->options.self;
    struct hello hello = {.version = PEER_VERSION,
                          .kind = kind,
                          .cluster_id = self->cluster_id,
                          .broker_id = self->broker_id,
                          .incarnation = self->incarnation,
                          .boot = self->boot};
    if (to != NULL) {
        hello.to_broker_id = to->address.broker_id;
        hello.to_incarnation = to->address.incarnation;
    }
    return hello;
}

/* ---- links and their threads --------------------------------------------------------------- */

struct link *link_hold(struct link *link)
{
    TAG_CHECK(link, LINK_TAG);
    (void)atomic_fetch_add_explicit(&link->references, 1, memory_order_relaxed);
    return link;
}

void link_drop(struct link **link)
{
    struct link *l = *link;
    *link = NULL;
    if (l == NULL)
        return;
    TAG_CHECK(l, LINK_TAG);
    if (atomic_fetch_sub_explicit(&l->references, 1, memory_order_acq_rel) != 1)
        return;
    link_discard_all(l);
    REQUIRE(l->asks.count == 0);
    (void)pthread_cond_destroy(&l->wake_out);
    (void)pthread_cond_destroy(&l->wake_catch_up);
    (void)pthread_cond_destroy(&l->wake_ask);
    (void)pthread_cond_destroy(&l->wake_answers);
    (void)pthread_mutex_destroy(&l->lock);
    l->tag = TAG_DEAD;
    free(l);
}

bool link_over(const struct link *link)
{
    return atomic_load_explicit(&link->ended, memory_order_acquire);
}

struct link *links_find(struct links *links, uint32_t broker_id)
{
    (void)pthread_mutex_lock(&links->lock);
    struct link *link = links->list;
    while (link != NULL && link->address.broker_id != broker_id)
        link = link->next;
    if (link != NULL)
        (void)link_hold(link);
    (void)pthread_mutex_unlock(&links->lock);
    return link;
}

static void *thread_run(void *argument)
{
    struct link_thread *thread = argument;
    struct links *links = thread->links;
    if (thread->inbound != NULL)
        inbound_run(thread->inbound);
    else
        thread->run(thread->link);
    inbound_drop(&thread->inbound);
    link_drop(&thread->link);
    (void)pthread_mutex_lock(&links->lock);
    thread->next = links->over;
    links->over = thread;
    links->thread_count--;
    (void)pthread_cond_broadcast(&links->all_gone);
    (void)eventfd_write(links->wake_acceptor, 1);
    (void)pthread_mutex_unlock(&links->lock);
    return NULL;
}

enum kq_err links_thread(struct links *links, const char *name, struct link *link, struct inbound *inbound,
                         void (*run)(struct link *link), struct fault *fault)
{
    struct link_thread *thread = calloc(1, sizeof *thread);
    if (thread == NULL) {
        link_drop(&link);
        inbound_drop(&inbound);
        return fault_set(fault, KQ_NO_MEMORY, "no memory for a thread of the links");
    }
    *thread = (struct link_thread){.links = links, .link = link, .inbound = inbound, .run = run};
    (void)pthread_mutex_lock(&links->lock); /* so that id is there before it can be joined */
    links->thread_count++;
    enum kq_err err = thread_start(&thread->id, name, links->stack_bytes, thread_run, thread, fault);
    if (err != KQ_OK)
        links->thread_count--;
    (void)pthread_mutex_unlock(&links->lock);
    if (err == KQ_OK)
        return KQ_OK;
    link_drop(&thread->link);
    inbound_drop(&thread->inbound);
    free(thread);
    return err;
}

/* ---- events ------------------------------------------------------------------------------------ */

/* in: not NULL: only if it has not been replaced by a newer connection. */
static void post(struct links *links, const struct event *event, const struct inbound *in)
{
    struct event *e = malloc(sizeof *e);
    REQUIRE(e != NULL); /* as the threads of partitions do: without it a claim would never lapse */
    *e = *event;
    e->next = NULL;
    (void)pthread_mutex_lock(&links->lock);
    bool first = links->events == NULL;
    bool now = in == NULL || in->greeted;
    if (now) {
        *links->last_event = e;
        links->last_event = &e->next;
    }
    (void)pthread_mutex_unlock(&links->lock);
    if (!now)
        free(e);
    else if (first)
        (void)pthread_cond_signal(&links->wake_links);
}

void links_post(struct links *links, const struct event *event)
{
    post(links, event, NULL);
}

void links_post_in_up(const struct inbound *in)
{
    post(in->links,
         &(struct event){.kind = EVENT_IN_UP, .broker_id = in->hello.broker_id, .session = in->hello.session}, in);
}

void links_set_peers(struct links *links, const struct link_address *peers, size_t count)
{
    TAG_CHECK(links, LINKS_TAG);
    struct event event = {.kind = EVENT_PEERS, .peers = calloc(count + 1, sizeof *peers)};
    REQUIRE(event.peers != NULL);
    for (size_t i = 0; i < count; i++)
        if (peers[i].broker_id != links->options.self.broker_id)
            event.peers[event.peer_count++] = peers[i];
    links_post(links, &event);
}

static void discard(struct links *links, struct packet *packet)
{
    if (packet->left != NULL)
        packet->left(packet, false);
    links->upward.packet_free(&packet);
    links_count(&links->counters.dropped, 1);
}

void links_forget(struct links *links, const struct group_id *group)
{
    TAG_CHECK(links, LINKS_TAG);
    links_post(links, &(struct event){.kind = EVENT_FORGET, .group = *group});
    struct packet *dropped = NULL;
    (void)pthread_mutex_lock(&links->lock);
    for (struct link *link = links->list; link != NULL; link = link->next)
        link_take_back(link, group, &dropped);
    (void)pthread_mutex_unlock(&links->lock);
    for (struct packet *next; dropped != NULL; dropped = next) {
        next = dropped->next;
        discard(links, dropped);
    }
}

/* ---- for partitions ---------------------------------------------------------------------------- */

/* Not of what the cluster writes for itself: a wiped broker makes the controller write, which would
 * then bound for a second what that broker is filled with. */
static void note_publishing(struct links *links, const struct packet *packet)
{
    if (!packet->machine && packet->entry_count > 0 && packet->entries[0]->type == LOG_ENTRY_RECORDS)
        atomic_store_explicit(&links->published_us, clock_mono_us(), memory_order_relaxed);
}

static void on_send(void *context, struct packet *packet)
{
    struct links *links = context;
    note_publishing(links, packet);
    struct link *link = links_find(links, packet->message.to.broker_id);
    if (link != NULL) {
        link_send(link, packet);
        link_drop(&link);
        return;
    }
    discard(links, packet);
}

static void on_tell(void *context, struct partition *partition, const struct replica_news *news)
{
    struct links *links = context;
    links_post(links, &(struct event){.kind = EVENT_NEWS, .partition = links->upward.hold(partition), .news = *news});
}

const struct partition_peers *links_partition_peers(struct links *links)
{
    TAG_CHECK(links, LINKS_TAG);
    return &links->peers;
}

/* ---- questions of others --------------------------------------------------------------------------- */

bool links_is_alive(struct links *links, uint32_t broker_id)
{
    TAG_CHECK(links, LINKS_TAG);
    if (broker_id == links->options.self.broker_id)
        return true;
    struct link *link = links_find(links, broker_id);
    bool alive = link != NULL && atomic_load_explicit(&link->alive, memory_order_acquire);
    link_drop(&link);
    return alive;
}

bool links_is_silent(struct links *links, uint32_t broker_id, int64_t for_us)
{
    TAG_CHECK(links, LINKS_TAG);
    if (broker_id == links->options.self.broker_id)
        return false;
    struct link *link = links_find(links, broker_id);
    bool silent =
        link == NULL || (!atomic_load_explicit(&link->alive, memory_order_acquire) &&
                         clock_mono_us() >= atomic_load_explicit(&link->changed_us, memory_order_relaxed) + for_us);
    link_drop(&link);
    return silent;
}

uint32_t links_alive_count(struct links *links, const uint32_t *broker_ids, uint32_t count)
{
    uint32_t alive = 0;
    for (uint32_t i = 0; i < count; i++)
        alive += links_is_alive(links, broker_ids[i]);
    return alive;
}

uint32_t links_leader(struct links *links, const struct group_id *group, uint64_t *term)
{
    TAG_CHECK(links, LINKS_TAG);
    (void)pthread_mutex_lock(&links->lock);
    const struct known_leader *known = map_get(&links->leaders, group, sizeof *group);
    uint32_t broker_id = known != NULL ? known->broker_id : 0;
    if (term != NULL)
        *term = known != NULL ? known->term : 0;
    (void)pthread_mutex_unlock(&links->lock);
    return broker_id;
}

struct links_counters *links_counters(struct links *links)
{
    TAG_CHECK(links, LINKS_TAG);
    return &links->counters;
}

void links_serve(struct links *links, enum ask_verb verb, ask_handler *handler, void *context)
{
    TAG_CHECK(links, LINKS_TAG);
    REQUIRE((unsigned)verb < ASK_VERB_COUNT);
    (void)pthread_mutex_lock(&links->lock);
    links->handlers[verb] = handler;
    links->handler_contexts[verb] = context;
    (void)pthread_cond_broadcast(&links->served);
    (void)pthread_mutex_unlock(&links->lock);
}

/* ---- start and stop ----------------------------------------------------------------------------------- */

static void links_free(struct links *links)
{
    struct map_walk w;
    for (map_walk_init(&w, &links->leaders); map_walk_next(&w);)
        free(w.value);
    map_fini(&links->leaders);
    link_table_free(&links->table);
    if (links->wake_acceptor >= 0)
        (void)close(links->wake_acceptor);
    if (links->options.listen_fd >= 0)
        (void)close(links->options.listen_fd);
    (void)pthread_cond_destroy(&links->wake_links);
    (void)pthread_cond_destroy(&links->served);
    (void)pthread_cond_destroy(&links->less);
    (void)pthread_cond_destroy(&links->taken);
    (void)pthread_cond_destroy(&links->all_gone);
    (void)pthread_mutex_destroy(&links->lock);
    (void)pthread_mutex_destroy(&links->bucket_lock);
    links->tag = TAG_DEAD;
    free(links);
}

static void on_stalled(void *context, struct partition *partition, const struct raft_member *member, int64_t stood_us)
{
    struct links *links = context;
    struct group_id group = partition_group(partition);
    if (links->options.stalled != NULL && links_is_alive(links, member->broker_id))
        links->options.stalled(links->options.context, &group, member, stood_us);
}

static struct links *links_new(const struct links_options *options, const struct links_upward *upward)
{
    struct links *links = calloc(1, sizeof *links);
    if (links == NULL)
        return NULL;
    links->tag = LINKS_TAG;
    links->options = *options;
    links->upward = *upward;
    links->stack_bytes = (size_t)options->config->stack_bytes;
    links->last_event = &links->events;
    links->peers = (struct partition_peers){
        .context = links, .send = on_send, .tell = on_tell, .damaged = links_damaged, .stalled = on_stalled};
    links->wake_acceptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    map_init(&links->leaders);
    REQUIRE(pthread_mutex_init(&links->lock, NULL) == 0);
    REQUIRE(pthread_mutex_init(&links->bucket_lock, NULL) == 0);
    links_cond_init(&links->wake_links);
    links_cond_init(&links->served);
    links_cond_init(&links->less);
    links_cond_init(&links->taken);
    links_cond_init(&links->all_gone);
    return links;
}

/* Ends the links thread: what it was told before is still done. */
static void stop_steps(struct links *links)
{
    (void)pthread_mutex_lock(&links->lock);
    atomic_store_explicit(&links->stopping, true, memory_order_release);
    (void)pthread_cond_broadcast(&links->wake_links);
    (void)pthread_cond_broadcast(&links->less);
    (void)pthread_cond_broadcast(&links->served);
    (void)pthread_mutex_unlock(&links->lock);
    (void)pthread_join(links->steps, NULL);
}

enum kq_err links_start_upon(struct links **out, const struct links_options *options, const struct links_upward *upward,
                             struct fault *fault)
{
    struct links *links = links_new(options, upward);
    *out = NULL;
    if (links == NULL) {
        (void)close(options->listen_fd);
        return fault_set(fault, KQ_NO_MEMORY, "no memory for the links to other brokers");
    }
    int flags = fcntl(options->listen_fd, F_GETFL);
    (void)fcntl(options->listen_fd, F_SETFL, flags | O_NONBLOCK); /* who gave up meanwhile must not hold the acceptor */
    enum kq_err err = links_table_init(links, fault);
    links_serve_mending(links);
    if (err == KQ_OK && links->wake_acceptor < 0)
        err = fault_set(fault, KQ_LIMIT, "cannot make an eventfd for the links: %s", "see ulimit -n");
    if (err == KQ_OK)
        err = thread_start(&links->steps, "links", links->stack_bytes, links_steps_run, links, fault);
    if (err == KQ_OK) {
        err = thread_start(&links->acceptor, "links-accept", links->stack_bytes, links_accept_run, links, fault);
        if (err != KQ_OK)
            stop_steps(links);
    }
    if (err != KQ_OK) {
        links_free(links);
        return err;
    }
    *out = links;
    return KQ_OK;
}

static void drop_events(struct links *links)
{
    for (struct event *e = links->events, *next; e != NULL; e = next) {
        next = e->next;
        if (e->partition != NULL)
            links->upward.drop(&e->partition);
        link_drop(&e->link);
        inbound_drop(&e->inbound);
        free(e->peers);
        free(e->body);
        free(e);
    }
    links->events = NULL;
}

void links_stop(struct links **out)
{
    struct links *links = *out;
    *out = NULL;
    if (links == NULL)
        return;
    TAG_CHECK(links, LINKS_TAG);
    stop_steps(links); /* it ends all links, too */
    (void)pthread_mutex_lock(&links->lock);
    for (struct inbound *in = links->inbounds; in != NULL; in = in->next)
        peer_socket_cut(in->socket);
    (void)eventfd_write(links->wake_acceptor, 1);
    while (links->thread_count > 0)
        (void)pthread_cond_wait(&links->all_gone, &links->lock);
    (void)pthread_mutex_unlock(&links->lock);
    (void)eventfd_write(links->wake_acceptor, 1); /* the last ones to join */
    (void)pthread_join(links->acceptor, NULL);
    drop_events(links);
    links_free(links);
}
