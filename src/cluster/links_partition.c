/* The links upon real partitions. */
#include "cluster/links_impl.h"

/* Nobody vouches for a replica that has failed, either. */
static bool is_stuck(struct partition *partition, int64_t now_us, int64_t limit_us)
{
    struct partition_status status;
    partition_status(partition, &status);
    return status.state == PARTITION_FAILED || partition_is_stuck(partition, now_us, limit_us);
}

enum kq_err links_start(struct links **links, const struct links_options *options, struct fault *fault)
{
    static const struct links_upward upward = {
        .hold = partition_hold,
        .drop = partition_drop,
        .receive = partition_receive,
        .claim = partition_claim,
        .peer_link = partition_peer_link,
        .leader_gone = partition_leader_gone,
        .is_stuck = is_stuck,
        .packet_free = packet_free,
    };
    return links_start_upon(links, options, &upward, fault);
}
