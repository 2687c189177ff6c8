/*
 * Replicas that stand still although their broker lives: an actor that does not turn, a
 * disk that answers no more, a full one. The partition's leader sees it (partition_peers.stalled)
 * and has the controller give the partition to another broker (METADATA_REHOUSE), when it has
 * been so for replica.stalled.timeout. A broker that does not live is another matter: it may
 * come back with all it has, and an operator knows.
 *
 * What is noted of a replica outlives it as long as its broker goes on: one that is made anew
 * again and again on a bad disk is given up, too.
 */
#include "cluster/cluster_state.h"

#include "base/clock.h"
#include "base/logger.h"

#include <stdlib.h>

enum {
    GAP_US = 15 * 1000 * 1000,  /* not told of for so long: it moved on, or was away */
    AGAIN_US = 5 * 1000 * 1000, /* told every second, and reported so often while it is due */
};

void stalled_forget(struct part *part)
{
    while (part->stalled != NULL) {
        struct stalled *s = part->stalled;
        part->stalled = s->next;
        free(s);
    }
}

/* Lock held. NULL: no memory; told again. */
static struct stalled *stalled_of(struct part *part, uint32_t broker)
{
    struct stalled *s = part->stalled;
    while (s != NULL && s->broker != broker)
        s = s->next;
    if (s != NULL || (s = calloc(1, sizeof *s)) == NULL)
        return s;
    s->broker = broker;
    s->next = part->stalled;
    part->stalled = s;
    return s;
}

void stalled_told(void *context, const struct group_id *group, const struct raft_member *member, int64_t stood_us)
{
    struct cluster *c = context;
    int64_t now_us = clock_mono_us();
    int64_t timeout_us = atomic_load_explicit(&c->options.config->replica_stalled_timeout_us, memory_order_relaxed);
    bool due = false;
    (void)pthread_mutex_lock(&c->lock);
    struct hosted *h = reconcile_find(c, &group->topic_id);
    struct part *part = h != NULL && group->partition < h->part_count ? h->parts[group->partition] : NULL;
    struct stalled *s = part != NULL ? stalled_of(part, member->broker_id) : NULL;
    if (s != NULL) {
        bool same = uuid_equal(&s->incarnation, &member->incarnation);
        if (s->told_us == 0 || now_us - s->told_us > GAP_US)
            s->since_us = now_us;
        else if (same && s->since_us < now_us - stood_us)
            s->since_us = now_us - stood_us; /* it had moved on */
        s->told_us = now_us;
        s->incarnation = member->incarnation;
        due = now_us - s->since_us >= timeout_us && now_us - s->reported_us >= AGAIN_US;
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (due)
        duties_post(c);
}

/* What the metadata calls the replica that was told of; false: another one is wanted there, or none. */
static bool named(const struct image *image, const struct image_holders *holders, const struct stalled *s,
                  struct metadata_replica *replica)
{
    const struct image_broker *broker = image_find_broker(image, s->broker);
    for (uint32_t i = 0; broker != NULL && i < holders->wanted_count; i++) {
        struct uuid incarnation = replica_incarnation(&broker->incarnation, &holders->mixes[i]);
        *replica = (struct metadata_replica){.broker = s->broker, .mix = holders->mixes[i]};
        if (holders->brokers[i] == s->broker && uuid_equal(&incarnation, &s->incarnation))
            return true;
    }
    return false;
}

bool stalled_due(struct cluster *c, struct part *part, const struct image *image, const struct image_holders *holders,
                 int64_t now_us, struct metadata_replica *replica)
{
    int64_t timeout_us = atomic_load_explicit(&c->options.config->replica_stalled_timeout_us, memory_order_relaxed);
    int64_t stood_us = 0;
    bool first = false;
    (void)pthread_mutex_lock(&c->lock);
    for (struct stalled *s = part->stalled; s != NULL && stood_us == 0; s = s->next) {
        bool due = now_us - s->told_us < GAP_US && now_us - s->since_us >= timeout_us &&
                   now_us - s->reported_us >= AGAIN_US && named(image, holders, s, replica);
        if (!due)
            continue;
        first = s->reported_us < s->since_us;
        s->reported_us = now_us;
        stood_us = now_us - s->since_us;
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (first) {
        char title[CLUSTER_TITLE_BYTES];
        replica_title(part, title);
        SAY_WARNING("%s: the replica on broker %u has taken nothing for %lld s, though that broker lives: another "
                    "broker is to hold it, if there is one; see `kafkaesque cluster status`, and that broker's disk",
                    title, replica->broker, (long long)(stood_us / 1000000));
    }
    return stood_us > 0;
}
