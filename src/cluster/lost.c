/*
 * Partitions that can never be led again: a majority of the voters is gone for good, as
 * their brokers were removed, or came back with another disk. Nobody may go on without
 * them, as they may have committed what the rest does not know. So it is only said: in the
 * log by the brokers that are left, once each, in the survey, and to whoever publishes.
 *
 * A replica that was away may know a configuration that is over. It says nothing while a
 * broker is not heard that the metadata has among the holders and that it does not know
 * as a voter: that one may lead.
 */
#include "cluster/cluster_state.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/require.h"

#include <stdlib.h>

enum { LEADERLESS_US = 5 * 1000 * 1000, ASK_US = 5 * 1000 * 1000 };

/* Whether this voter is still what the metadata knows of its broker. */
static bool exists(const struct image *image, const struct image_holders *holders, const struct raft_member *member)
{
    const struct image_broker *broker = image_find_broker(image, member->broker_id);
    for (uint32_t i = 0; broker != NULL && i < holders->count; i++) {
        struct uuid incarnation = replica_incarnation(&broker->incarnation, &holders->mixes[i]);
        if (holders->brokers[i] == member->broker_id && uuid_equal(&incarnation, &member->incarnation))
            return true;
    }
    return false;
}

/* Whether every holder is heard, but for those that are voters here. */
static bool strangers_are_heard(struct cluster *c, const struct image *image, const struct image_holders *holders,
                                const struct partition_ask *ask)
{
    for (uint32_t i = 0; i < holders->count; i++) {
        const struct image_broker *broker = image_find_broker(image, holders->brokers[i]);
        bool voter = false;
        for (uint32_t k = 0; broker != NULL && k < ask->member_count; k++) {
            struct uuid incarnation = replica_incarnation(&broker->incarnation, &holders->mixes[i]);
            voter |= ask->members[k].member.broker_id == broker->id &&
                     uuid_equal(&ask->members[k].member.incarnation, &incarnation);
        }
        if (broker != NULL && !voter && !links_is_alive(c->links, broker->id))
            return false;
    }
    return true;
}

static bool lost_for_good(struct cluster *c, const struct group_id *group, const struct partition_ask *ask)
{
    struct image *image = cluster_image(c);
    const struct image_topic *topic = image_find_id(image, &group->topic_id);
    uint32_t voters = 0, left = 0;
    bool heard = false;
    if (topic != NULL && group->partition < image_topic_partitions(topic)) {
        struct image_holders holders = image_holders(topic, group->partition);
        for (uint32_t i = 0; i < ask->member_count; i++) {
            bool votes = (ask->members[i].kinds & RAFT_SEAT_VOTER) != 0;
            voters += votes;
            left += votes && exists(image, &holders, &ask->members[i].member);
        }
        heard = strangers_are_heard(c, image, &holders, ask);
    }
    image_drop(&image);
    return heard && voters > 0 && left <= voters / 2;
}

/* ---- saying it ------------------------------------------------------------------------------ */

struct question {
    struct partition_ask ask;
    struct partition *partition;
    struct cluster *cluster;
    struct group_id group;
};

static void take_answer(const struct question *q, bool lost)
{
    struct cluster *c = q->cluster;
    (void)pthread_mutex_lock(&c->lock);
    const struct hosted *h = reconcile_find(c, &q->group.topic_id);
    struct part *part = h != NULL && q->group.partition < h->part_count ? h->parts[q->group.partition] : NULL;
    bool news = part != NULL && lost && !part->lost;
    if (part != NULL)
        part->lost = lost;
    (void)pthread_mutex_unlock(&c->lock);
    if (!news)
        return;
    SAY_ERROR("%s: a majority of its replicas is lost for good (their brokers were removed, or came back with "
              "another disk), so it can never have a leader again and takes no publishes. What is committed here "
              "is still read: read it out, delete the topic and make it anew",
              partition_title(q->partition));
    if (c->options.leader_changed != NULL) /* who waits for one need not */
        c->options.leader_changed(c->options.context, &q->group.topic_id, q->group.partition);
}

/* The actor's turn. */
static void members_known(struct partition_ask *ask)
{
    struct question *q = CONTAINER_OF(ask, struct question, ask);
    struct cluster *c = q->cluster;
    if (ask->fault.err == KQ_OK)
        take_answer(q, lost_for_good(c, &q->group, ask));
    partition_drop(&q->partition);
    free(q);
    cluster_call_end(c);
}

void lost_look_at(struct cluster *c, struct part *part, const struct image *image, int64_t now_us)
{
    struct question *q = NULL;
    (void)pthread_mutex_lock(&c->lock);
    bool serves = part->state == PART_SERVING && part->partition != NULL;
    if (!serves || cluster_part_leader(c, part, NULL) != 0) {
        part->leaderless_us = 0;
        part->loss_version = 0;
        part->lost = false;
    } else if (part->leaderless_us == 0) {
        part->leaderless_us = now_us;
    } else if ((part->loss_version != image_version(image) || part->lost) &&
               now_us >= part->leaderless_us + LEADERLESS_US) {
        q = calloc(1, sizeof *q);
        if (q != NULL && !cluster_call_begin(c)) {
            free(q);
            q = NULL;
        }
        if (q != NULL)
            q->partition = partition_hold(part->partition);
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (q == NULL)
        return;
    part->loss_version = image_version(image);
    q->cluster = c;
    q->group = (struct group_id){.topic_id = part->hosted->id, .partition = part->number};
    q->ask = (struct partition_ask){
        .question = PARTITION_ASK_MEMBERS, .deadline_us = now_us + ASK_US, .done = members_known};
    partition_ask(q->partition, &q->ask);
}
