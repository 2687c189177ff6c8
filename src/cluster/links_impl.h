/*
 * Inside of links.h: the threads, and what they share.
 *
 *   links         1            takes events from a queue, drives the link_table, hands out beats
 *   links-accept  1            accepts; joins threads that have ended
 *   link-in       1 a connection that came: hears the hello, then receives
 *   link-answer   1 an ASK connection that came: writes the answers
 *   link-out      1 a peer     dials; writes beats and raft messages, but for those that find the
 *                              link idle: link_now.c
 *   link-catch-up 1 a peer     dials when there is something; reads the log, writes, at a bound
 *   link-ask      1 a peer     dials when there is something; writes questions
 *   link-answers  1 a peer     reads the answers
 *
 * Locking: links->lock is over the lists of links and inbounds, the events, the leaders
 * and the handlers; link->lock over one link's queues, sockets and questions;
 * served->lock over the answers of one connection. links->lock is taken before
 * link->lock, never the other way; nothing is called out of with either of them held.
 * The table belongs to the links thread. `out` is written to by whoever has set out_busy;
 * link-out alone makes it and, when nobody writes, ends it.
 *
 * A link is counted: by the list, by each of its threads, and by whoever looks at it.
 */
#ifndef KQ_CLUSTER_LINKS_IMPL_H
#define KQ_CLUSTER_LINKS_IMPL_H

#include "base/map.h"
#include "cluster/link_asks.h"
#include "cluster/link_packet.h"
#include "cluster/link_rate.h"
#include "cluster/link_table.h"
#include "cluster/links.h"
#include "cluster/peer_socket.h"
#include "proto/peer/beat.h"

#include <pthread.h>

enum {
    LINKS_TAG = 0x11a25511,
    LINK_TAG = 0x11a25512,
    LINK_HELLO_US = 2 * 1000 * 1000,      /* for a hello each way */
    LINK_SILENT_US = 10 * 1000 * 1000,    /* a frame of a connection that has beats takes no longer */
    LINK_WRITE_US = 5 * 1000 * 1000,      /* a write that gets nowhere for this long ends its connection */
    LINK_STRANGERS_MAX = 64,              /* connections that have not greeted, or whose broker is not known here */
    LINK_WAITING_BYTES = 1024 * 1024,     /* of raft messages kept while there is no connection */
    LINK_BEATS_QUEUED_MAX = 16,           /* beats from one peer that wait for the links thread */
    LINK_SAY_AGAIN_US = 60 * 1000 * 1000, /* the same sentence about the same peer */
    LINK_LARGE_STATE_BYTES = 64 * 1024,   /* a RESET with more goes over the catch-up connection */
    LINK_NOW_BYTES = 16 * 1024,           /* a packet up to this may leave on the thread that made it */
    LINK_PUBLISH_QUIET_US = 1000 * 1000,  /* nobody published for this long: catch-up is not bounded */
    SERVED_MAX = 65536,                   /* questions of one connection that are not answered */
    SERVED_BYTES = 16 * 1024 * 1024,      /* answers that wait for their asker; above it no question is read */
};

/* What the links do to partitions and packets: partition.h's, or a test's. */
struct links_upward {
    struct partition *(*hold)(struct partition *partition);
    void (*drop)(struct partition **partition);
    bool (*receive)(struct partition *partition, struct parcel *parcel);
    void (*claim)(struct partition *partition, const struct raft_member *leader, uint64_t term, bool on);
    void (*peer_link)(struct partition *partition, const struct raft_member *member, bool on);
    void (*leader_gone)(struct partition *partition, const struct raft_member *leader);
    bool (*is_stuck)(struct partition *partition, int64_t now_us, int64_t limit_us);
    void (*packet_free)(struct packet **packet);
};
/* links_start() with these. */
enum kq_err links_start_upon(struct links **links, const struct links_options *options,
                             const struct links_upward *upward, struct fault *fault);

struct packet_queue {
    struct packet *first;
    struct packet **last;
    uint64_t bytes;
};

/* A body of a frame, waiting. */
struct link_body {
    struct link_body *next;
    size_t size_bytes;
    uint8_t data[];
};

/* What was said last, so that it is not said ten times a second. */
struct link_said {
    uint32_t hash;
    int64_t at_us;
};

struct link {
    uint32_t tag;
    _Atomic uint32_t references;
    struct links *links;
    struct link *next; /* the list's */
    struct link_address address;
    _Atomic bool alive;
    _Atomic int64_t changed_us; /* when it came to be so */
    _Atomic bool ended;         /* its threads end */

    pthread_mutex_t lock;
    pthread_cond_t wake_out;
    pthread_cond_t wake_catch_up;
    pthread_cond_t wake_ask;
    pthread_cond_t wake_answers;
    struct peer_socket *out;
    struct peer_socket *catch_up;
    struct peer_socket *ask;
    struct packet_queue packets;
    struct packet_queue far_packets; /* for catch-up */
    struct link_body *beats;         /* for `out` as it is now */
    struct link_body **last_beat;
    bool out_greeted;
    bool out_busy;          /* somebody writes to `out`, and has `write` */
    bool out_broken;        /* it was not link-out that found its end */
    struct link_body *rest; /* of a frame that has begun to leave: goes first */
    struct link_write write;
    bool dial_now;        /* there is reason to think that it is worth it */
    int64_t look_from_us; /* the peer's own connection ended then: has ours, too? 0: no */
    struct link_said said;
    struct link_asks asks;
    bool silent; /* it was alive and is not: whoever asks it would wait in vain */
    bool ask_greeted;
    bool ask_writing; /* the socket is in use by link-ask */
    bool ask_broken;  /* link-answers has seen its end */
    int64_t ask_again_us;

    /* of links->lock */
    uint32_t beats_queued;
};

enum event_kind {
    EVENT_PEERS,
    EVENT_NEWS,
    EVENT_FORGET,
    EVENT_OUT_UP,
    EVENT_OUT_DOWN,
    EVENT_REFUSED,
    EVENT_IN_UP,
    EVENT_IN_DOWN,
    EVENT_BEAT,
};

struct event {
    struct event *next;
    enum event_kind kind;
    uint32_t broker_id;
    uint64_t session;
    struct link *link; /* BEAT: counted in its beats_queued; a reference */
    struct peer_socket *socket;
    struct inbound *inbound; /* BEAT: to be cut if it breaks the protocol */
    struct partition *partition;
    struct replica_news news;
    struct group_id group;
    struct link_address *peers;
    size_t peer_count;
    uint8_t *body;
    size_t body_bytes;
};

/* A thread that ends by itself and is joined by links-accept. */
struct link_thread {
    struct link_thread *next;
    pthread_t id;
    struct links *links;
    struct link *link; /* one of both */
    struct inbound *inbound;
    void (*run)(struct link *link);
};

struct inbound {
    struct inbound *next;
    _Atomic uint32_t references;
    struct links *links;
    struct peer_socket *socket;
    struct link *link; /* of the broker that greeted; NULL: none known */
    struct hello hello;
    bool greeted;
    /* No question of its is taken any more, and one is being taken: links_serve.c. */
    _Atomic bool superseded;
    _Atomic bool taking;
};

struct links {
    uint32_t tag;
    struct links_options options;
    struct links_upward upward;
    struct partition_peers peers;
    size_t stack_bytes;
    struct link_table *table;
    struct links_counters counters;
    _Atomic bool stopping;
    _Atomic int64_t published_us; /* somebody published here */
    uint64_t published;           /* links thread: the engine's count at that time */
    struct link_meter meter;      /* links thread */
    _Atomic int64_t growth_bytes; /* published here a second */

    pthread_mutex_t lock;
    pthread_cond_t wake_links;
    pthread_cond_t served;   /* a handler came */
    pthread_cond_t less;     /* beats_queued of somebody fell */
    pthread_cond_t taken;    /* a superseded connection's last question is */
    pthread_cond_t all_gone; /* thread_count fell */
    struct link *list;
    struct event *events;
    struct event **last_event;
    struct inbound *inbounds;
    uint32_t strangers;
    uint32_t thread_count; /* of links and inbounds; those that have ended are in `over` */
    struct link_thread *over;
    struct map leaders; /* group -> struct known_leader */
    ask_handler *handlers[ASK_VERB_COUNT];
    void *handler_contexts[ASK_VERB_COUNT];
    struct link_said refused; /* somebody, lately */

    _Atomic uint32_t mend_turn; /* whom to ask next for damaged entries */

    pthread_mutex_t bucket_lock;
    struct link_bucket bucket;

    pthread_t steps;
    pthread_t acceptor;
    int wake_acceptor; /* an eventfd */
};

struct known_leader {
    uint32_t broker_id;
    uint64_t term;
};

/* ---- links.c ------------------------------------------------------------------------------ */

/* NULL: no such peer. With a reference. */
struct link *links_find(struct links *links, uint32_t broker_id);
struct link *link_hold(struct link *link);
void link_drop(struct link **link);
bool link_over(const struct link *link); /* its threads are to end */
/* Takes link (a reference) or inbound, whichever is not NULL. */
enum kq_err links_thread(struct links *links, const char *name, struct link *link, struct inbound *inbound,
                         void (*run)(struct link *link), struct fault *fault);
/* Takes the event; from malloc. */
void links_post(struct links *links, const struct event *event);
/* Any thread. This connection is up, unless a newer one of its broker has taken its place: that
 * one's beats are the ones that count, and must not be told from an older session last. */
void links_post_in_up(const struct inbound *in);
struct hello links_hello(const struct links *links, enum peer_kind kind, const struct link *to);
void links_cond_init(pthread_cond_t *cond);
/* With the lock held; CLOCK_NEVER waits for a signal. */
void links_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_us);
uint64_t links_random(void);
/* Whether this is worth a line now. Under a lock of the caller's, or its own thread. */
bool link_worth_saying(struct link_said *said, const char *text);
static inline void links_count(_Atomic uint64_t *counter, uint64_t n)
{
    (void)atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* ---- links_steps.c: the links thread ---------------------------------------------------------- */

void *links_steps_run(void *links);
enum kq_err links_table_init(struct links *links, struct fault *fault);

/* ---- link_out.c: what is sent ------------------------------------------------------------------- */

void link_out_run(struct link *link);
void link_catch_up_run(struct link *link); /* link_catch_up.c */
/* Takes the packet. Never blocks: see link_now.c. */
void link_send(struct link *link, struct packet *packet);
/* Takes the body. False: there is no connection. */
void link_put_beat(struct link *link, const struct buf *body);
bool link_has_beats(struct link *link);
/* What waits of this group, to the front of the list. */
void link_take_back(struct link *link, const struct group_id *group, struct packet **list);
void packet_queue_init(struct packet_queue *queue);
struct packet *packet_queue_take(struct packet_queue *queue); /* NULL: empty */
/* Until when a write of so many bytes may take: a peer that takes less than a megabyte a
 * second is as good as none. */
int64_t link_write_deadline_us(size_t bytes);
/* All of one queue; takes the lock. */
void link_discard_queue(struct link *link, struct packet_queue *queue);
/* Connects and greets. The socket is *slot until the caller takes it out. */
enum kq_err link_dial(struct link *link, struct peer_socket **slot, enum peer_kind kind, struct hello *self,
                      bool *refused, struct fault *fault);
void link_hang_up(struct link *link, struct peer_socket **slot);
void link_discard(struct link *link, struct packet *packet, bool sent);
void link_discard_all(struct link *link);
void link_say(struct link *link, const struct fault *fault, enum peer_kind kind);

/* ---- link_now.c: what leaves on the thread that made it ------------------------------------------ */

/* With the lock. The packet may be written by the caller: out_busy is set, and link_write_now() follows. */
bool link_claim_out(struct link *link, const struct packet *packet);
/* Without the lock, after link_claim_out(). Takes the packet. */
void link_write_now(struct link *link, struct packet *packet);

/* ---- links_accept.c: what comes ------------------------------------------------------------------- */

void *links_accept_run(void *links);
void inbound_drop(struct inbound **inbound);
void inbound_run(struct inbound *inbound);

/* ---- links_ask.c, links_serve.c ---------------------------------------------------------------------- */

void link_ask_run(struct link *link);
void link_answers_run(struct link *link);
void links_ask_done(struct ask *list);
/* The peer is heard again, or no more: then all questions to it end. */
void link_ask_hush(struct link *link, bool silent);
/* Receives questions until the connection ends. */
void links_serve_run(struct inbound *inbound);
void links_ask_self(struct links *links, struct ask *ask);

/* ---- links_mend.c: damaged entries ------------------------------------------------------------------- */

/* As partition_peers.damaged. */
void links_damaged(void *context, struct partition *partition, uint64_t first_idx, uint64_t last_idx);
void links_serve_mending(struct links *links);

#endif
