/* The socket on which other brokers reach this one. */
#ifndef KQ_CLUSTER_RAFT_PORT_H
#define KQ_CLUSTER_RAFT_PORT_H

#include "base/err.h"

#include <stdint.h>

/* Any thread. Bound to host (a name or an address) and listening; port 0: a free one is taken.
 * *bound: which. The caller closes *fd. KQ_INVALID: the host or the port cannot be had. */
enum kq_err raft_port_listen(const char *host, uint16_t port, int *fd, uint16_t *bound, struct fault *fault);

#endif
