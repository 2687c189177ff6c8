/*
 * A packet that leaves on the thread that made it: whoever ran an actor's turn. Waking
 * link-out for one small message costs more than sending it, and a message of a publish
 * on its way is waited for.
 *
 * Only if nothing waits and nobody writes, so that messages keep their order and beats go
 * first; only a small one, so that a turn does not copy megabytes; and never so that it
 * blocks: what does not fit into the socket is left to link-out, which finishes it before
 * all else. No lock is held while the system is called; `out_busy` keeps others away.
 */
#include "cluster/links_impl.h"

#include "base/require.h"

#include <stdlib.h>

bool link_claim_out(struct link *link, const struct packet *packet)
{
    bool idle = !link->out_busy && link->packets.first == NULL && link->beats == NULL && link->rest == NULL;
    if (!idle || !link->out_greeted || link->out_broken || packet->size_bytes > LINK_NOW_BYTES)
        return false;
    link->out_busy = true;
    return true;
}

/* A copy of what did not fit. NULL: no memory. */
static struct link_body *copy_rest(const struct iovec *parts, int part_count)
{
    size_t bytes = 0;
    for (int i = 0; i < part_count; i++)
        bytes += parts[i].iov_len;
    struct link_body *rest = malloc(sizeof *rest + bytes);
    if (rest == NULL)
        return NULL;
    rest->next = NULL;
    rest->size_bytes = 0;
    for (int i = 0; i < part_count; i++) {
        memcpy(rest->data + rest->size_bytes, parts[i].iov_base, parts[i].iov_len);
        rest->size_bytes += parts[i].iov_len;
    }
    return rest;
}

/* link-out has something to do: what has come to wait meanwhile, or to see how this ended. */
static void leave(struct link *link, struct link_body *rest, bool broken)
{
    (void)pthread_mutex_lock(&link->lock);
    link->out_busy = false;
    link->rest = rest;
    link->out_broken = link->out_broken || broken;
    bool wake = rest != NULL || broken || link->packets.first != NULL || link->beats != NULL || !link->out_greeted ||
                link->look_from_us != 0;
    (void)pthread_mutex_unlock(&link->lock);
    if (wake) {
        links_count(&link->links->counters.wakes, 1);
        (void)pthread_cond_signal(&link->wake_out);
    }
}

void link_write_now(struct link *link, struct packet *packet)
{
    struct links_counters *counters = &link->links->counters;
    struct peer_socket *socket = link->out; /* stays while out_busy is set */
    struct link_write *write = &link->write;
    struct link_body *rest = NULL;
    link_write_reset(write);
    REQUIRE(link_write_packet(write, peer_socket_seed(socket), packet));
    struct iovec *parts = write->parts;
    int part_count = write->part_count;
    size_t bytes = write->bytes;
    bool broken = peer_socket_try_write(socket, &parts, &part_count, NULL) != KQ_OK;
    if (!broken && part_count > 0) {
        rest = copy_rest(parts, part_count);
        broken = rest == NULL; /* half a frame: the connection is of no use */
    }
    leave(link, rest, broken);
    if (!broken) {
        links_count(&counters->writes, 1);
        links_count(&counters->writes_now, 1);
        links_count(&counters->bytes_out, bytes);
        links_count(&counters->messages_out, 1);
    }
    link_discard(link, packet, !broken);
}
