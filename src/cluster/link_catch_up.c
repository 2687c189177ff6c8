/*
 * What a follower that is far behind needs: committed entries out of the log, and
 * states too large for the connection of the beats. A connection of its own, made when
 * there is something to send; at a bound while others publish.
 */
#include "cluster/links_impl.h"

#include "base/require.h"
#include "base/threads.h"

enum {
    PIECE_BYTES = 64 << 10, /* beside publishers */
    PIECE_PARTS = 256,
};

/* NULL: the link ends. */
static struct packet *next_far(struct link *link)
{
    (void)pthread_mutex_lock(&link->lock);
    while (!link_over(link) && link->far_packets.first == NULL)
        links_cond_wait(&link->wake_catch_up, &link->lock, CLOCK_NEVER);
    struct packet *packet = link_over(link) ? NULL : packet_queue_take(&link->far_packets);
    (void)pthread_mutex_unlock(&link->lock);
    return packet;
}

/* Somebody published lately. */
static bool is_bounded(const struct links *links, int64_t now_us)
{
    int64_t published_us = atomic_load_explicit(&links->published_us, memory_order_relaxed);
    return published_us != 0 && now_us - published_us <= LINK_PUBLISH_QUIET_US;
}

/* While others publish, gaps of all followers together are closed at the configured rate (link_rate.h). */
static void wait_for_tokens(struct link *link, struct link_growth *growth, int64_t bytes)
{
    struct links *links = link->links;
    int64_t wait_us = 1;
    while (wait_us > 0 && !link_over(link)) {
        int64_t now_us = clock_mono_us();
        if (!is_bounded(links, now_us))
            return;
        int64_t rate_bytes = atomic_load_explicit(&links->options.config->catch_up_rate_bytes, memory_order_relaxed);
        int64_t growth_bytes = atomic_load_explicit(&links->growth_bytes, memory_order_relaxed);
        (void)pthread_mutex_lock(&links->bucket_lock);
        wait_us = link_growth_take(growth, growth_bytes, &links->bucket, rate_bytes, bytes, now_us);
        (void)pthread_mutex_unlock(&links->bucket_lock);
        if (wait_us == 0)
            return;
        (void)pthread_mutex_lock(&link->lock);
        if (!link_over(link))
            links_cond_wait(&link->wake_catch_up, &link->lock, now_us + wait_us);
        (void)pthread_mutex_unlock(&link->lock);
    }
}

/* Up to limit_bytes of what is left; what was taken is no longer there. */
static size_t take_piece(struct iovec **parts, int *part_count, size_t limit_bytes, struct iovec *piece, int *count)
{
    size_t bytes = 0;
    *count = 0;
    while (*part_count > 0 && *count < PIECE_PARTS && bytes < limit_bytes) {
        struct iovec *part = *parts;
        size_t take = part->iov_len < limit_bytes - bytes ? part->iov_len : limit_bytes - bytes;
        piece[(*count)++] = (struct iovec){.iov_base = part->iov_base, .iov_len = take};
        part->iov_base = (uint8_t *)part->iov_base + take;
        part->iov_len -= take;
        bytes += take;
        *parts += part->iov_len == 0;
        *part_count -= part->iov_len == 0;
    }
    return bytes;
}

/* Beside publishers in small pieces, each at its time: one call for a megabyte would keep a core from them for
 * a good part of a millisecond here, and another at the follower. */
static enum kq_err write_pieces(struct link *link, struct link_growth *growth, struct link_write *write,
                                struct fault *fault)
{
    struct iovec *parts = write->parts;
    int part_count = write->part_count;
    enum kq_err err = KQ_OK;
    while (err == KQ_OK && part_count > 0) {
        struct iovec piece[PIECE_PARTS];
        int count;
        bool bounded = is_bounded(link->links, clock_mono_us());
        size_t bytes = take_piece(&parts, &part_count, bounded ? PIECE_BYTES : SIZE_MAX, piece, &count);
        wait_for_tokens(link, growth, (int64_t)bytes);
        err = peer_socket_write(link->catch_up, piece, count, link_write_deadline_us(bytes), fault);
        links_count(&link->links->counters.writes, 1);
    }
    return err;
}

static enum kq_err write_far(struct link *link, struct link_growth *growth, struct link_write *write,
                             const struct packet *packet, struct fault *fault)
{
    uint32_t seed = peer_socket_seed(link->catch_up);
    link_write_reset(write);
    enum kq_err err = KQ_OK;
    if (packet->view != NULL)
        err = link_write_view(write, seed, packet, fault);
    else
        REQUIRE(link_write_packet(write, seed, packet));
    if (err == KQ_OK && write->part_count == 0)
        err = fault_set(fault, KQ_TOO_LARGE, "a state of %u bytes is larger than a frame may be", packet->state_bytes);
    if (err != KQ_OK)
        return err;
    size_t bytes = write->bytes;
    err = write_pieces(link, growth, write, fault);
    if (err != KQ_OK) {
        link_hang_up(link, &link->catch_up);
        return err;
    }
    struct links_counters *counters = &link->links->counters;
    links_count(&counters->bytes_out, bytes);
    links_count(&counters->catch_up_bytes, bytes);
    links_count(&counters->messages_out, 1);
    return KQ_OK;
}

void link_catch_up_run(struct link *link)
{
    struct link_backoff backoff = {0};
    struct link_growth growth = {0};
    struct link_write write;
    bool ready = link_write_init(&write);
    int64_t dial_at_us = 0;
    thread_be_patient();
    for (struct packet *packet; (packet = next_far(link)) != NULL;) {
        struct fault fault = {.err = KQ_OK};
        enum kq_err err = ready ? KQ_OK : KQ_NO_MEMORY;
        if (err == KQ_OK && link->catch_up != NULL && peer_socket_is_closed(link->catch_up))
            link_hang_up(link, &link->catch_up);
        if (err == KQ_OK && link->catch_up == NULL) {
            struct hello self;
            bool refused;
            err = clock_mono_us() < dial_at_us
                      ? KQ_AGAIN
                      : link_dial(link, &link->catch_up, PEER_KIND_CATCH_UP, &self, &refused, &fault);
            if (err == KQ_OK)
                backoff.failed = 0;
            else if (err != KQ_AGAIN)
                dial_at_us = clock_mono_us() + link_backoff_us(&backoff, links_random());
        }
        if (err == KQ_OK)
            err = write_far(link, &growth, &write, packet, &fault);
        if (fault.err == KQ_CORRUPT || fault.err == KQ_TOO_LARGE || (fault.err == KQ_IO && link->catch_up != NULL))
            link_say(link, &fault, PEER_KIND_CATCH_UP);
        link_discard(link, packet, err == KQ_OK);
    }
    link_hang_up(link, &link->catch_up);
    link_write_fini(&write);
    link_discard_queue(link, &link->far_packets);
}
