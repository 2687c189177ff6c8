/*
 * The network between computers: connections as TCP has them. Bytes arrive in order,
 * after a delay, in pieces that have nothing to do with how they were sent, or not
 * at all while a link is cut: then they are tried again and again, later and later,
 * and after the sender's timeout its end fails. A computer that lost power says
 * nothing; one whose process died resets what it knew; one that is up and does not
 * know a connection resets it.
 *
 * Addresses: node n has 127.0.1.n, the harness (node 0) 127.0.1.100; 127.0.0.1 is
 * everybody's own. What a socket
 * call sees of this is socket.c's.
 */
#ifndef KQ_TESTS_SIM_NET_H
#define KQ_TESTS_SIM_NET_H

#include "sim/machine.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    NET_NODES_MAX = 16,
    NET_SEND_BYTES = 128 * 1024,    /* sent and not known to have arrived, an end */
    NET_RECEIVE_BYTES = 128 * 1024, /* arrived and not read */
};

/* From one computer to another. */
struct net_link {
    int64_t delay_ns;  /* at least */
    int64_t jitter_ns; /* and at most so much more */
    int64_t ns_a_kib;  /* bandwidth */
    uint64_t lose_in;  /* one packet in so many is lost, and sent again; 0: none */
    bool cut;
};

struct piece {
    struct piece *next;
    int64_t at_ns; /* when it arrives, if nothing is in the way */
    size_t bytes, taken;
    uint8_t data[];
};

enum end_state { END_NEW, END_CONNECTING, END_OPEN, END_DEAD };

/* One end of a connection. Never freed: the other one points to it. */
struct end {
    struct node *node;
    struct end *peer;
    uint16_t port, peer_port;
    struct node *peer_node;
    enum end_state state;
    bool silent; /* its computer forgot it without a word */
    bool closed; /* its process let go */
    int error;   /* to be told by the next call */

    uint8_t *in; /* NET_RECEIVE_BYTES, circular */
    size_t in_from, in_bytes;
    bool in_ended; /* the peer sends no more */
    bool in_shut;  /* nobody reads any more */

    struct piece *first, *last;
    size_t flight_bytes; /* of pieces, and of what arrived and is not acknowledged */
    size_t unacked_bytes;
    bool out_shut, fin_arrived;
    int64_t last_at_ns;
    int64_t trouble_ns; /* since then nothing gets through; 0: all is well */
    int64_t retry_ns, retry_at_ns;
    int64_t user_timeout_ns;
    int64_t keep_idle_ns, keep_every_ns; /* keep-alive; 0: none */
    int keep_count, keep_missed;
    void *filter_state; /* the filter's own */
    uint64_t pump_number;

    /* Something changed: whoever waits looks again. NULL once closed. */
    void (*changed)(void *owner);
    void *owner;
};

/* Somebody listens at (node, port); syn: a connection wants in, false: no room. */
struct listening {
    struct listening *next;
    struct node *node;
    uint16_t port;
    bool (*syn)(void *owner, struct end *server_end);
    void *owner;
};

/* Watches and may change what goes from one port's connections to the peer: every
 * byte sent on a connection to that port, both ways, passes through here. The hook
 * calls net_put for what shall go out. NULL: all goes as it is. */
struct net_filter {
    uint16_t port;
    void (*sent)(void *context, struct end *from, const uint8_t *data, size_t bytes);
    void *context;
};

void net_start(uint64_t seed);
/* It has an address from now on. */
void net_add(struct node *node);
struct net_link *net_link(const struct node *from, const struct node *to);
struct node *net_node_of(uint32_t address); /* host order; NULL: nobody's */
uint32_t net_address_of(const struct node *node);
void net_set_filter(const struct net_filter *filter);
/* Both ends' processes die, or lose power. */
void net_node_power_lost(struct node *node);
/* All links as they were at the start. */
void net_heal(void);

/* ---- socket.c's ---- */
struct end *net_end_new(struct node *node);
void net_listen(struct listening *listening);
void net_unlisten(struct listening *listening);
void net_connect(struct end *end, struct node *to, uint16_t port);
size_t net_room(const struct end *end);
/* bytes <= net_room. */
void net_send(struct end *end, const uint8_t *data, size_t bytes);
/* As net_send, after the filter. extra_ns more of delay. */
void net_put(struct end *end, const uint8_t *data, size_t bytes, int64_t extra_ns);
size_t net_receive(struct end *end, uint8_t *into, size_t bytes, bool peek);
/* Its keep_* are set: looks after the peer from now on. */
void net_keep_alive(struct end *end);
void net_shut_out(struct end *end);
void net_close(struct end *end);

#endif
