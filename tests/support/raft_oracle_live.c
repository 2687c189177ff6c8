/*
 * What must come about, and what must be left in peace: a leader that hears no majority
 * stops, a transfer ends, and while a leader is well nobody campaigns against it.
 */
#include "support/raft_world.h"

#define ELECTION WORLD_ELECTION_US
#define BEAT WORLD_BEAT_US

static const struct world_conf *conf_of(const struct world *world, const struct world_node *node)
{
    uint64_t idx;
    return &world->confs[world_conf_of(&node->log, &idx)];
}

static bool is_here(const struct world *world, const struct raft_member *member)
{
    const struct world_node *node = &world->nodes[member->broker_id - 1];
    return node->up && raft_member_equal(&node->self, member);
}

/* A leader that no majority has spoken to for two election timeouts. */
static void check_heard(struct world *world, int n)
{
    const struct world_node *node = &world->nodes[n];
    const struct world_conf *conf = conf_of(world, node);
    bool has[WORLD_SEATS_MAX];
    for (uint32_t i = 0; i < conf->count; i++) {
        int peer = (int)conf->seats[i].member.broker_id - 1;
        has[i] = peer == n || node->heard_us[peer] + 2 * ELECTION + 2 * BEAT > world->now_us;
    }
    if (!oracle_quorum(conf, has))
        world_fail(world, n, "leads term %llu, and no majority has spoken to it for two election timeouts",
                   (unsigned long long)node->raft.term);
}

void oracle_leads(struct world *world, int n)
{
    struct world_node *node = &world->nodes[n];
    if (node->raft.role != RAFT_LEADER) {
        node->seen_led_term = 0;
        return;
    }
    if (node->seen_led_term != node->raft.term || node->seen_conf_idx != node->raft.config.idx) {
        node->seen_led_term = node->raft.term; /* all have their time anew */
        node->seen_conf_idx = node->raft.config.idx;
        node->lead_us = world->now_us;
        for (int i = 0; i < WORLD_NODES_MAX; i++)
            node->heard_us[i] = world->now_us;
    }
    if (node->paused_us != 0 || world->now_us < node->troubled_us + BEAT)
        return; /* it stood still: it has not had its turn yet */
    if (node->hands_over_us != 0 && world->now_us > node->hands_over_us + 2 * BEAT)
        world_fail(world, n, "hands over without an end");
    check_heard(world, n);
}

/* For so long that whoever hears it has heard it, this leader and a majority are up, awake,
 * and have links both ways. */
static bool is_well(const struct world *world, int n)
{
    const struct world_node *node = &world->nodes[n];
    int64_t since_us = world->now_us - 3 * ELECTION;
    if (node->paused_us != 0 || node->troubled_us > since_us || node->disk_failed || node->hands_over_us != 0)
        return false;
    const struct world_conf *conf = conf_of(world, node);
    bool has[WORLD_SEATS_MAX];
    for (uint32_t i = 0; i < conf->count; i++) {
        int p = (int)conf->seats[i].member.broker_id - 1;
        const struct world_node *peer = &world->nodes[p];
        has[i] = p == n || (is_here(world, &conf->seats[i].member) && peer->paused_us == 0 && !peer->disk_failed &&
                            peer->troubled_us <= since_us && peer->raft.term == node->raft.term && !world->cut[n][p] &&
                            !world->cut[p][n] && world->cut_us[n][p] <= since_us && world->cut_us[p][n] <= since_us);
    }
    return oracle_quorum(conf, has);
}

/* Votes are asked for: not while a leader is well, but by its own wish. */
void oracle_campaigns(struct world *world, int n, const struct raft_message *message)
{
    int leader = world_leader(world);
    if (leader < 0 || leader == n || message->forced || world->options.lost_per_mille != 0)
        return;
    const struct world_node *node = &world->nodes[leader];
    if (message->term <= node->raft.term || node->lead_us > world->now_us - 3 * ELECTION || !is_well(world, leader))
        return;
    world_fail(world, n, "campaigns in term %llu though n%d leads term %llu and is well",
               (unsigned long long)message->term, leader, (unsigned long long)node->raft.term);
}
