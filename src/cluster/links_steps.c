/*
 * The links thread: events into the table, beats out of it, deadlines of questions.
 * It alone makes and ends links.
 */
#include "cluster/links_impl.h"

#include "base/logger.h"
#include "base/require.h"

#include <stdlib.h>

enum { ASK_CHECK_US = 100 * 1000 /* how late a question's deadline may be noticed */ };

/* ---- what the table says ------------------------------------------------------------------ */

static void on_claim(void *context, struct partition *partition, const struct raft_member *leader, uint64_t term,
                     bool on)
{
    const struct links *links = context;
    links->upward.claim(partition, leader, term, on);
}

static void on_peer_link(void *context, struct partition *partition, const struct raft_member *member, bool on)
{
    const struct links *links = context;
    links->upward.peer_link(partition, member, on);
}

static void on_leader_gone(void *context, struct partition *partition, const struct raft_member *leader)
{
    const struct links *links = context;
    links->upward.leader_gone(partition, leader);
}

static bool on_is_stuck(void *context, struct partition *partition, int64_t now_us, int64_t limit_us)
{
    const struct links *links = context;
    return links->upward.is_stuck(partition, now_us, limit_us);
}

static void on_drop(void *context, struct partition *partition)
{
    const struct links *links = context;
    links->upward.drop(&partition);
}

static void on_peer_changed(void *context, uint32_t broker_id, bool alive)
{
    struct links *links = context;
    if (atomic_load_explicit(&links->stopping, memory_order_acquire))
        return; /* it is this broker that leaves */
    struct link *link = links_find(links, broker_id);
    if (link != NULL) {
        atomic_store_explicit(&link->changed_us, clock_mono_us(), memory_order_relaxed);
        atomic_store_explicit(&link->alive, alive, memory_order_release);
        link_ask_hush(link, !alive);
        /* Who asked it something waits no longer: its process may be stopped, not gone. */
        (void)pthread_mutex_lock(&link->lock);
        if (!alive && link->ask != NULL)
            peer_socket_cut(link->ask);
        (void)pthread_mutex_unlock(&link->lock);
        if (alive)
            SAY_DEBUG("broker %u at %s:%u is alive", broker_id, link->address.host, (unsigned)link->address.port);
        else
            SAY_DEBUG("broker %u at %s:%u is not heard any more", broker_id, link->address.host,
                      (unsigned)link->address.port);
        link_drop(&link);
    }
    if (links->options.peer_changed != NULL)
        links->options.peer_changed(links->options.context, broker_id, alive);
}

static void on_leader_changed(void *context, const struct group_id *group, uint32_t broker_id, uint64_t term)
{
    struct links *links = context;
    if (atomic_load_explicit(&links->stopping, memory_order_acquire))
        return;
    (void)pthread_mutex_lock(&links->lock);
    struct known_leader *known = map_get(&links->leaders, group, sizeof *group);
    if (known == NULL) {
        known = calloc(1, sizeof *known);
        if (known != NULL && !map_put(&links->leaders, group, sizeof *group, known, NULL)) {
            free(known);
            known = NULL;
        }
    }
    if (known != NULL)
        *known = (struct known_leader){.broker_id = broker_id, .term = term};
    (void)pthread_mutex_unlock(&links->lock);
    if (links->options.leader_changed != NULL)
        links->options.leader_changed(links->options.context, group, broker_id, term);
}

enum kq_err links_table_init(struct links *links, struct fault *fault)
{
    const struct link_hooks hooks = {
        .context = links,
        .claim = on_claim,
        .peer_link = on_peer_link,
        .leader_gone = on_leader_gone,
        .is_stuck = on_is_stuck,
        .drop = on_drop,
        .peer_changed = on_peer_changed,
        .leader_changed = on_leader_changed,
    };
    const struct config *config = links->options.config;
    links->table = link_table_new(links->options.self.broker_id, config->beat_us, config->election_us, &hooks);
    if (links->table == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "no memory for the links to other brokers");
    return KQ_OK;
}

/* ---- links come and go ------------------------------------------------------------------------ */

static struct link *link_new(struct links *links, const struct link_address *address)
{
    struct link *link = calloc(1, sizeof *link);
    if (link == NULL)
        return NULL;
    link->tag = LINK_TAG;
    link->links = links;
    link->address = *address;
    atomic_init(&link->references, 1);
    atomic_init(&link->changed_us, clock_mono_us());
    REQUIRE(pthread_mutex_init(&link->lock, NULL) == 0);
    links_cond_init(&link->wake_out);
    links_cond_init(&link->wake_catch_up);
    links_cond_init(&link->wake_ask);
    links_cond_init(&link->wake_answers);
    packet_queue_init(&link->packets);
    packet_queue_init(&link->far_packets);
    link->last_beat = &link->beats;
    link_asks_init(&link->asks);
    return link;
}

/* Its threads end by themselves, soon. */
static void link_end(struct link *link)
{
    (void)pthread_mutex_lock(&link->lock);
    atomic_store_explicit(&link->ended, true, memory_order_release);
    struct peer_socket *const sockets[] = {link->out, link->catch_up, link->ask};
    for (size_t i = 0; i < sizeof sockets / sizeof sockets[0]; i++)
        if (sockets[i] != NULL)
            peer_socket_cut(sockets[i]);
    (void)pthread_cond_broadcast(&link->wake_out);
    (void)pthread_cond_broadcast(&link->wake_catch_up);
    (void)pthread_cond_broadcast(&link->wake_ask);
    (void)pthread_cond_broadcast(&link->wake_answers);
    (void)pthread_mutex_unlock(&link->lock);
}

static void remove_link(struct links *links, struct link **at)
{
    struct link *link = *at;
    link_table_remove(links->table, link->address.broker_id, clock_mono_us());
    (void)pthread_mutex_lock(&links->lock);
    *at = link->next;
    for (struct inbound *in = links->inbounds; in != NULL; in = in->next)
        if (in->greeted && in->link == link)
            peer_socket_cut(in->socket);
    (void)pthread_mutex_unlock(&links->lock);
    link_end(link);
    link_drop(&link);
}

static void add_link(struct links *links, const struct link_address *address)
{
    static const struct {
        const char *name;
        void (*run)(struct link *link);
    } threads[] = {{"link-out", link_out_run},
                   {"link-catch-up", link_catch_up_run},
                   {"link-ask", link_ask_run},
                   {"link-answers", link_answers_run}};
    struct fault fault = {.err = KQ_OK};
    struct link *link = link_new(links, address);
    if (link == NULL || !link_table_add(links->table, address->broker_id)) {
        SAY_ERROR("no memory for a link to broker %u: it is not linked", address->broker_id);
        link_drop(&link);
        return;
    }
    (void)pthread_mutex_lock(&links->lock);
    link->next = links->list;
    links->list = link;
    (void)pthread_mutex_unlock(&links->lock);
    for (size_t i = 0; i < sizeof threads / sizeof threads[0]; i++) {
        if (links_thread(links, threads[i].name, link_hold(link), NULL, threads[i].run, &fault) == KQ_OK)
            continue;
        SAY_ERROR("broker %u is not linked: %s", address->broker_id, fault_text(&fault));
        remove_link(links, &links->list);
        return;
    }
}

/* A link that takes any incarnation goes on when one becomes known: whom it reached is whom it is
 * to reach, and messages name the replicas that they are meant for. */
static bool same_place(const struct link_address *wanted, const struct link_address *linked)
{
    return wanted->port == linked->port && strcmp(wanted->host, linked->host) == 0 &&
           (uuid_is_zero(&linked->incarnation) || uuid_equal(&wanted->incarnation, &linked->incarnation));
}

static const struct link_address *address_of(const struct event *event, uint32_t broker_id)
{
    for (size_t i = 0; i < event->peer_count; i++)
        if (event->peers[i].broker_id == broker_id)
            return &event->peers[i];
    return NULL;
}

static void set_peers(struct links *links, const struct event *event)
{
    for (struct link **at = &links->list; *at != NULL;) {
        const struct link_address *address = address_of(event, (*at)->address.broker_id);
        if (address == NULL || !same_place(address, &(*at)->address))
            remove_link(links, at);
        else
            at = &(*at)->next;
    }
    for (size_t i = 0; i < event->peer_count; i++) {
        struct link *known = links_find(links, event->peers[i].broker_id);
        if (known == NULL)
            add_link(links, &event->peers[i]);
        link_drop(&known);
    }
}

/* ---- events -------------------------------------------------------------------------------------- */

static void take_beat(struct links *links, const struct event *event, int64_t now_us)
{
    if (!link_table_beat(links->table, event->broker_id, event->session, event->body, event->body_bytes, now_us)) {
        SAY_WARNING("broker %u at %s sends beats that cannot be: the connection is ended", event->broker_id,
                    peer_socket_place(event->inbound->socket));
        peer_socket_cut(event->inbound->socket);
    }
    (void)pthread_mutex_lock(&links->lock);
    event->link->beats_queued--;
    (void)pthread_cond_broadcast(&links->less);
    (void)pthread_mutex_unlock(&links->lock);
}

static void take_event(struct links *links, struct event *event, int64_t now_us)
{
    struct link_table *table = links->table;
    switch (event->kind) {
    case EVENT_PEERS:
        set_peers(links, event);
        break;
    case EVENT_NEWS:
        link_table_news(table, event->partition, &event->news, now_us);
        break;
    case EVENT_FORGET:
        link_table_forget(table, &event->group, now_us);
        break;
    case EVENT_OUT_UP:
        link_table_out_up(table, event->broker_id, event->session, now_us);
        break;
    case EVENT_OUT_DOWN:
        link_table_out_down(table, event->broker_id, now_us);
        break;
    case EVENT_REFUSED:
        link_table_refused(table, event->broker_id, now_us);
        break;
    case EVENT_IN_UP:
        link_table_in_up(table, event->broker_id, event->session);
        break;
    case EVENT_IN_DOWN:
        link_table_in_down(table, event->broker_id, event->session);
        break;
    case EVENT_BEAT:
        take_beat(links, event, now_us);
        break;
    }
    link_drop(&event->link);
    inbound_drop(&event->inbound);
    free(event->peers);
    free(event->body);
    free(event);
}

/* ---- the thread ------------------------------------------------------------------------------------ */

static void compose_all(struct links *links, int64_t now_us, struct buf *body)
{
    for (struct link *link = links->list; link != NULL; link = link->next) {
        if (link_has_beats(link)) { /* the socket is full; what is news now rides on the next */
            link_table_put_off(links->table, link->address.broker_id, now_us);
            continue;
        }
        while (link_table_compose(links->table, link->address.broker_id, now_us, body))
            link_put_beat(link, body);
    }
}

static void expire_asks(struct links *links, int64_t now_us)
{
    for (struct link *link = links->list; link != NULL; link = link->next) {
        (void)pthread_mutex_lock(&link->lock);
        struct ask *late = link_asks_expire(&link->asks, now_us);
        (void)pthread_mutex_unlock(&link->lock);
        links_ask_done(late);
    }
}

static void look_at_publishing(struct links *links, int64_t now_us)
{
    if (links->options.engine == NULL)
        return;
    struct engine_counters *counters = engine_counters(links->options.engine);
    uint64_t bytes = atomic_load_explicit(&counters->bytes_in, memory_order_relaxed);
    atomic_store_explicit(&links->growth_bytes, link_meter_look(&links->meter, bytes, now_us), memory_order_relaxed);
    uint64_t count = atomic_load_explicit(&counters->messages_in, memory_order_relaxed);
    if (count == links->published)
        return;
    links->published = count;
    atomic_store_explicit(&links->published_us, now_us, memory_order_relaxed);
}

/* Until something is to be done; takes the events. */
static struct event *wait_for_work(struct links *links, int64_t until_us)
{
    (void)pthread_mutex_lock(&links->lock);
    while (links->events == NULL && !atomic_load_explicit(&links->stopping, memory_order_acquire) &&
           clock_mono_us() < until_us)
        links_cond_wait(&links->wake_links, &links->lock, until_us);
    struct event *events = links->events;
    links->events = NULL;
    links->last_event = &links->events;
    (void)pthread_mutex_unlock(&links->lock);
    return events;
}

void *links_steps_run(void *argument)
{
    struct links *links = argument;
    struct buf body;
    buf_init(&body, BEAT_HEAD_BYTES + (size_t)BEAT_CHANGES_MAX * BEAT_CHANGE_BYTES);
    while (!atomic_load_explicit(&links->stopping, memory_order_acquire)) {
        int64_t until_us = link_table_deadline_us(links->table);
        int64_t now_us = clock_mono_us();
        if (links->list != NULL && until_us > now_us + ASK_CHECK_US)
            until_us = now_us + ASK_CHECK_US;
        struct event *event = wait_for_work(links, until_us);
        now_us = clock_mono_us();
        while (event != NULL) {
            struct event *next = event->next;
            take_event(links, event, now_us);
            event = next;
        }
        now_us = clock_mono_us();
        look_at_publishing(links, now_us);
        link_table_tick(links->table, now_us);
        compose_all(links, now_us, &body);
        expire_asks(links, now_us);
    }
    buf_fini(&body);
    while (links->list != NULL)
        remove_link(links, &links->list);
    return NULL;
}
