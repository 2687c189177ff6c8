/*
 * Links of several brokers in one process, over loopback, with partitions that only
 * note what they are told; and a proxy that cuts, freezes and records.
 */
#ifndef KQ_TESTS_SUPPORT_LINKS_RIG_H
#define KQ_TESTS_SUPPORT_LINKS_RIG_H

#include "cluster/links_impl.h"

enum { RIG_PARTITIONS = 4, RIG_BROKERS = 8 };

/* The links know it as a struct partition. */
struct partition {
    struct group_id group;
    pthread_mutex_t lock;
    int references;
    uint64_t received;      /* messages */
    uint64_t entries;       /* in them */
    uint64_t last_idx;      /* of the last entry */
    uint64_t states;        /* bytes of state */
    uint64_t wrong;         /* contents that are not what was sent */
    uint64_t highest_round; /* of beats */
    bool claimed;
    struct raft_member claimed_leader;
    uint64_t claimed_term;
    bool linked[RIG_BROKERS];
    uint32_t gone; /* leader_gone calls */
    struct raft_member gone_leader;
    bool stuck;
    bool refuses; /* takes no messages */
};

struct rig_node {
    struct links *links;
    struct config config;
    struct links_options options;
    uint16_t port;
    struct partition partitions[RIG_PARTITIONS];
    _Atomic int alive_changes;
    _Atomic uint64_t left_sent; /* packets */
    _Atomic uint64_t left_dropped;
};

struct uuid rig_uuid(uint8_t n);
struct group_id rig_group(uint32_t n);

/* Fast beats; broker `id` of cluster `cluster`, not started. */
void rig_init(struct rig_node *node, uint32_t id, uint8_t cluster);
void rig_start(struct rig_node *node);
void rig_stop(struct rig_node *node);
/* One after the other, all linked with each other. */
void rig_link(struct rig_node *nodes, int count);
struct link_address rig_address(const struct rig_node *node);

/* What the local replica of group n says. leader 0: none. */
void rig_news(struct rig_node *node, uint32_t n, uint64_t term, uint32_t leader_id);
/* Entries after prev_idx to broker `to`, `bytes` each. */
void rig_append(struct rig_node *node, uint32_t to, uint32_t n, uint64_t prev_idx, uint32_t entries, uint32_t bytes);
/* A BEAT with this round. */
void rig_beat(struct rig_node *node, uint32_t to, uint32_t n, uint64_t round);
void rig_reset(struct rig_node *node, uint32_t to, uint32_t n, uint32_t state_bytes);

/* Within 20 s. */
bool rig_wait(bool (*holds)(void *context), void *context);
#define RIG_LOCKED(partition, expression)                                                                              \
    __extension__({                                                                                                    \
        (void)pthread_mutex_lock(&(partition)->lock);                                                                  \
        __typeof__(expression) rig_value = (expression);                                                               \
        (void)pthread_mutex_unlock(&(partition)->lock);                                                                \
        rig_value;                                                                                                     \
    })

/* ---- between two brokers ------------------------------------------------------------- */

struct rig_proxy {
    uint16_t port;
    uint16_t target;
    int listen_fd;
    pthread_t thread;
    _Atomic bool stop;
    _Atomic bool frozen; /* takes nothing from either side */
    _Atomic bool cut;    /* ends all connections now; then false */
    _Atomic bool deaf;   /* accepts and closes at once */
    pthread_mutex_t lock;
    uint8_t *record; /* what the first connection's dialer sent */
    size_t record_bytes;
};
void rig_proxy_start(struct rig_proxy *proxy, uint16_t target);
void rig_proxy_stop(struct rig_proxy *proxy);

/* A plain connection to a port on loopback. */
int rig_connect(uint16_t port);
/* Until the other side closes: true, within 20 s; what came is dropped. */
bool rig_is_closed(int fd);

#endif
