/*
 * What a replica of the world may say yes to: a vote, a proposal, a change of members.
 */
#include "support/raft_world.h"

static bool same_entry(const struct world_entry *a, const struct world_entry *b)
{
    return a->term == b->term && a->content == b->content;
}

/* Where its log ends on its disk, and nothing on its way there will cut it. */
static uint64_t sure_end(const struct world *world, const struct world_node *node, uint64_t *term)
{
    const struct world_log *log = oracle_promised_log(world, node);
    uint64_t idx = log->last_idx;
    *term = world_term_at(log, idx);
    for (uint32_t i = 0; log == &node->disk && i < node->op_count; i++) {
        const struct world_op *op = &node->ops[i];
        if (op->kind == OP_RESET) {
            idx = op->idx;
            *term = op->term;
        } else if (op->kind == OP_CUT && op->idx <= idx) {
            idx = op->idx - 1;
            *term = idx == node->log.base_idx ? node->log.base_term : world_term_at(log, idx);
        }
    }
    return idx;
}

/* A vote, its own too: what it acknowledged and was committed, it must not have forgotten. */
void oracle_remembers(struct world *world, int n)
{
    const struct world_node *node = &world->nodes[n];
    const struct world_ledger *ledger = &world->ledger;
    const struct world_log *log = oracle_promised_log(world, node);
    uint64_t top = ledger->acked_top[node->incarnation];
    for (uint64_t i = node->log.base_idx + 1; i <= top && i <= ledger->committed_idx; i++)
        if (ledger->acked_content[node->incarnation][i] == ledger->committed[i].content && i > log->base_idx &&
            (i > log->last_idx || !same_entry(&log->entries[i], &ledger->committed[i]))) {
            world_fail(world, n, "votes, and has forgotten committed idx %llu, which it acknowledged",
                       (unsigned long long)i);
            return;
        }
}

void oracle_grants(struct world *world, int n, const struct raft_message *asked)
{
    uint64_t term;
    uint64_t idx = sure_end(world, &world->nodes[n], &term);
    if (asked->prev_term < term || (asked->prev_term == term && asked->prev_idx < idx))
        world_fail(world, n, "votes for n%u, whose log ends at %llu/%llu; its own disk has %llu/%llu",
                   asked->from.broker_id - 1, (unsigned long long)asked->prev_idx, (unsigned long long)asked->prev_term,
                   (unsigned long long)idx, (unsigned long long)term);
    oracle_remembers(world, n);
}

/* Of its own term's entries the first; after the last: none. */
static uint64_t first_of_term(const struct world_node *node)
{
    uint64_t idx = node->log.last_idx + 1;
    while (idx > node->log.base_idx + 1 && node->log.entries[idx - 1].term == node->raft.term)
        idx--;
    return idx;
}

/* A proposal is to be taken: it leads, has committed in its term, and is not handing over. */
void oracle_proposes(struct world *world, int n)
{
    const struct world_node *node = &world->nodes[n];
    const struct world_log *log = &node->log;
    uint64_t first_idx = first_of_term(node);
    uint64_t conf_idx;
    const struct world_conf *conf = &world->confs[world_conf_of(log, &conf_idx)];
    bool opened = log->base_term == node->raft.term ||
                  (first_idx <= log->last_idx && (node->raft.commit_idx >= first_idx || conf->count == 1));
    if (node->raft.role != RAFT_LEADER || !opened)
        world_fail(world, n, "takes a proposal before it has committed in its term");
    if (node->hands_over_us != 0)
        world_fail(world, n, "takes a proposal while it hands over");
    uint64_t above = first_idx - 1 > node->raft.commit_idx ? first_idx - 1 : node->raft.commit_idx;
    if ((log->last_idx - above) * WORLD_ENTRY_BYTES > node->raft.max_uncommitted_bytes + 4 * WORLD_ENTRY_BYTES)
        world_fail(world, n, "takes a proposal with %llu entries of its own uncommitted",
                   (unsigned long long)(log->last_idx - above));
}

static bool same_half(const struct world_conf *a, uint32_t a_kind, const struct raft_config *b, uint32_t b_kind)
{
    uint32_t count[2] = {0};
    uint32_t both = 0;
    for (uint32_t j = 0; j < b->count; j++)
        count[1] += (b->seats[j].kinds & b_kind) != 0 ? 1 : 0;
    for (uint32_t i = 0; i < a->count; i++) {
        if ((a->seats[i].kinds & a_kind) == 0)
            continue;
        count[0]++;
        for (uint32_t j = 0; j < b->count; j++)
            both += (b->seats[j].kinds & b_kind) != 0 && raft_member_equal(&a->seats[i].member, &b->seats[j].member);
    }
    return count[0] == count[1] && both == count[0];
}

/* A change begins, or ends: the one before is committed, so is something of this term, and
 * other voters come in by two halves, of which the old one is what was. */
void oracle_reconfigures(struct world *world, int n, const struct raft_config *config)
{
    const struct world_node *node = &world->nodes[n];
    uint64_t idx;
    const struct world_conf *before = &world->confs[world_conf_of(&node->log, &idx)];
    bool was_joint = false;
    for (uint32_t i = 0; i < before->count; i++)
        was_joint = was_joint || (before->seats[i].kinds & RAFT_SEAT_OLD) != 0;
    if (idx > node->raft.commit_idx)
        world_fail(world, n, "changes members before idx %llu, the last change, is committed", (unsigned long long)idx);
    if (node->log.base_term != node->raft.term && first_of_term(node) > node->raft.commit_idx)
        world_fail(world, n, "changes members before it has committed in its term");
    if (was_joint ? raft_config_is_joint(config) || !same_half(before, RAFT_SEAT_VOTER, config, RAFT_SEAT_VOTER)
                  : !same_half(before, RAFT_SEAT_VOTER, config,
                               raft_config_is_joint(config) ? RAFT_SEAT_OLD : RAFT_SEAT_VOTER))
        world_fail(world, n, "changes voters without two halves");
}
