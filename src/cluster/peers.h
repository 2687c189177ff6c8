/*
 * The list of brokers that form a cluster, as a person writes it:
 *
 *    1@127.0.0.1:7070,2@kafka-b.example:7070,3@[::1]:7072
 *
 * ID@HOST:PORT, the raft port; spaces around commas do not count. PURE.
 */
#ifndef KQ_CLUSTER_PEERS_H
#define KQ_CLUSTER_PEERS_H

#include "base/err.h"

#include <stdint.h>

enum { PEERS_MAX = 16, PEER_HOST_MAX_BYTES = 255 };

struct peer_address {
    uint32_t broker_id;
    char host[PEER_HOST_MAX_BYTES + 1]; /* without brackets */
    uint16_t port;
};

/* By broker id. */
struct peer_list {
    uint32_t count;
    struct peer_address peers[PEERS_MAX];
};

/* Any thread. "" is an empty list. KQ_INVALID: *fault says which part is wrong, and what
 * would be right. */
enum kq_err peers_parse(const char *text, struct peer_list *list, struct fault *fault);
/* As peers_parse, and that broker self is among them unless the list is empty. */
enum kq_err peers_check(const char *text, uint32_t self, struct fault *fault);
/* NULL: not in the list. */
const struct peer_address *peers_find(const struct peer_list *list, uint32_t broker_id);

#endif
