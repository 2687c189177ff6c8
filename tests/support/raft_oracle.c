/*
 * What must hold whatever happens, judged from outside: by ledgers that no replica
 * can see, by the durable model disks, and by majorities counted here anew.
 */
#include "support/raft_world.h"

static bool same_entry(const struct world_entry *a, const struct world_entry *b)
{
    return a->term == b->term && a->content == b->content;
}

static int node_of(const struct world *world, const struct raft_member *member)
{
    const struct world_node *node = &world->nodes[member->broker_id - 1];
    return raft_member_equal(&node->self, member) ? (int)member->broker_id - 1 : -1;
}

const struct world_log *oracle_promised_log(const struct world *world, const struct world_node *node)
{
    return world->options.interval && node->up ? &node->log : &node->disk;
}

/* Do this many, counted by `has`, make a majority of each half? */
bool oracle_quorum(const struct world_conf *conf, const bool *has)
{
    uint32_t voters[2] = {0};
    uint32_t count[2] = {0};
    const uint32_t kinds[2] = {RAFT_SEAT_VOTER, RAFT_SEAT_OLD};
    for (uint32_t i = 0; i < conf->count; i++)
        for (int half = 0; half < 2; half++)
            if (conf->seats[i].kinds & kinds[half]) {
                voters[half]++;
                count[half] += has[i] ? 1 : 0;
            }
    return 2 * count[0] > voters[0] && (voters[1] == 0 || 2 * count[1] > voters[1]);
}

/* Log matching: an index and a term name one entry, and one entry before it. */
void oracle_appended(struct world *world, int n, uint64_t idx)
{
    const struct world_log *log = &world->nodes[n].log;
    struct world_ledger *ledger = &world->ledger;
    const struct world_entry *entry = &log->entries[idx];
    uint64_t before_term = world_term_at(log, idx - 1);
    if (entry->term < before_term)
        world_fail(world, n, "terms fall at idx %llu", (unsigned long long)idx);
    for (uint32_t i = 0; i < ledger->seen_count[idx]; i++) {
        if (ledger->seen[idx][i].term != entry->term)
            continue;
        if (ledger->seen[idx][i].content != entry->content || ledger->seen[idx][i].before_term != before_term)
            world_fail(world, n, "another entry at idx %llu of term %llu", (unsigned long long)idx,
                       (unsigned long long)entry->term);
        return;
    }
    uint32_t at = ledger->seen_count[idx] % 24;
    if (ledger->seen_count[idx] < 24)
        ledger->seen_count[idx]++;
    ledger->seen[idx][at].term = entry->term;
    ledger->seen[idx][at].content = entry->content;
    ledger->seen[idx][at].before_term = before_term;
}

/* What is committed anywhere is never removed where it is present. The rest may be: what was
 * acknowledged of it holds no more, though others may come to commit it later. */
void oracle_removes(struct world *world, int n, uint64_t first_idx, uint64_t last_idx)
{
    const struct world_node *node = &world->nodes[n];
    for (uint64_t i = first_idx; i <= last_idx; i++)
        if (i > world->ledger.committed_idx)
            world->ledger.acked_content[node->incarnation][i] = 0; /* nobody counts on it any more */
    if (node->amnesiac)
        return;
    for (uint64_t i = first_idx; i <= last_idx && i <= world->ledger.committed_idx; i++)
        if (i > node->log.base_idx && same_entry(&node->log.entries[i], &world->ledger.committed[i]))
            world_fail(world, n, "cuts committed idx %llu", (unsigned long long)i);
}

/* Below an entry that is noted all is noted: two logs that share it share what is before. */
static void note_ack(struct world *world, const struct world_node *node, const struct world_log *log, uint64_t idx)
{
    uint64_t *noted = world->ledger.acked_content[node->incarnation];
    for (uint64_t i = idx; i > log->base_idx && noted[i] != log->entries[i].content; i--)
        noted[i] = log->entries[i].content;
    noted[log->base_idx] = world->ledger.committed[log->base_idx].content; /* what a log begins after is committed */
    if (idx > world->ledger.acked_top[node->incarnation])
        world->ledger.acked_top[node->incarnation] = idx;
}

static void check_ack(struct world *world, int n, const struct raft_message *message)
{
    const struct world_node *node = &world->nodes[n];
    const struct world_log *log = oracle_promised_log(world, node);
    uint64_t idx = message->match_idx;
    if (idx > log->last_idx) {
        world_fail(world, n, "acknowledges idx %llu, its disk ends at %llu", (unsigned long long)idx,
                   (unsigned long long)log->last_idx);
        return;
    }
    note_ack(world, node, log, idx);
    if (message->term != world->ledger.acked[node->incarnation].term ||
        idx > world->ledger.acked[node->incarnation].idx) {
        world->ledger.acked[node->incarnation].term = message->term;
        world->ledger.acked[node->incarnation].idx = idx;
    }
    int to = node_of(world, &message->to);
    if (to < 0 || !world->nodes[to].up || world->nodes[to].raft.role != RAFT_LEADER ||
        world->nodes[to].raft.term != message->term)
        return;
    const struct world_log *theirs = &world->nodes[to].log;
    for (uint64_t i = idx; i + 8 > idx && i > log->base_idx && i > theirs->base_idx; i--)
        if (i > theirs->last_idx || !same_entry(&log->entries[i], &theirs->entries[i])) {
            world_fail(world, n, "acknowledges idx %llu, but at %llu its disk is not as the leader's log",
                       (unsigned long long)idx, (unsigned long long)i);
            return;
        }
}

static void check_vote(struct world *world, int n, const struct raft_member *candidate, uint64_t term)
{
    const struct world_node *node = &world->nodes[n];
    if (node->hard.term != term || !raft_member_equal(&node->hard.vote, candidate))
        world_fail(world, n, "speaks of a vote in term %llu that its disk does not have", (unsigned long long)term);
    uint8_t *vote = &world->ledger.votes[node->incarnation][term];
    uint8_t whom = candidate->incarnation.bytes[0];
    if (*vote != 0 && *vote != whom)
        world_fail(world, n, "votes twice in term %llu", (unsigned long long)term);
    *vote = whom;
}

static bool votes_in(const struct world_conf *conf, const struct raft_member *member)
{
    for (uint32_t i = 0; i < conf->count; i++)
        if (raft_member_equal(&conf->seats[i].member, member))
            return (conf->seats[i].kinds & (RAFT_SEAT_VOTER | RAFT_SEAT_OLD)) != 0;
    return false;
}

/* Only a voter campaigns, or one that an uncommitted change removes; with what its disk has. */
static void check_candidacy(struct world *world, int n, const struct raft_message *message)
{
    const struct world_node *node = &world->nodes[n];
    uint64_t idx;
    const struct world_conf *conf = &world->confs[world_conf_of(&node->log, &idx)];
    bool electable = votes_in(conf, &node->self);
    if (!electable && idx > node->raft.commit_idx) {
        idx--;
        electable = votes_in(&world->confs[world_conf_at(&node->log, &idx)], &node->self);
    }
    if (!electable)
        world_fail(world, n, "campaigns, and is no voter");
    if (world_term_at(oracle_promised_log(world, node), message->prev_idx) != message->prev_term)
        world_fail(world, n, "claims idx %llu for its election, which its disk does not have",
                   (unsigned long long)message->prev_idx);
}

/* Who is told to take over has acknowledged all there is. */
static void check_successor(struct world *world, int n, const struct raft_message *message)
{
    const struct world_log *log = &world->nodes[n].log;
    uint8_t whom = message->to.incarnation.bytes[0];
    uint64_t idx;
    if (!votes_in(&world->confs[world_conf_of(log, &idx)], &message->to))
        world_fail(world, n, "tells one to take over that is no voter");
    if (log->last_idx > log->base_idx && world->ledger.spoken_term[whom] <= message->term &&
        world->ledger.acked_content[whom][log->last_idx] != log->entries[log->last_idx].content)
        world_fail(world, n, "tells n%u to take over, which lacks idx %llu", message->to.broker_id - 1,
                   (unsigned long long)log->last_idx);
}

void oracle_leaves(struct world *world, int n, const struct raft_message *message)
{
    const struct world_node *node = &world->nodes[n];
    uint64_t term = message->own_term;
    uint64_t durable = node->hard.term;
    if (world_term_at(&node->disk, node->disk.last_idx) > durable)
        durable = world_term_at(&node->disk, node->disk.last_idx);
    if (term >= WORLD_TERMS_MAX - 1) {
        world_fail(world, n, "terms run away");
        return;
    }
    if (term > durable)
        world_fail(world, n, "speaks of term %llu, its disk has %llu", (unsigned long long)term,
                   (unsigned long long)durable);
    /* A term that only an entry stands for may go with that entry: no vote was given in it. */
    if (term <= node->hard.term && term > world->ledger.spoken_term[node->incarnation])
        world->ledger.spoken_term[node->incarnation] = term;
    if (node->disk_failed && message->type != RAFT_MSG_TIMEOUT_NOW)
        world_fail(world, n, "speaks after its disk failed");
    if (message->type == RAFT_MSG_VOTE || message->type == RAFT_MSG_PREVOTE)
        check_candidacy(world, n, message);
    if (message->type == RAFT_MSG_VOTE) {
        oracle_remembers(world, n);
        oracle_campaigns(world, n, message);
    }
    if (message->type == RAFT_MSG_TIMEOUT_NOW && !node->disk_failed)
        check_successor(world, n, message);
    if (message->type == RAFT_MSG_RESET && message->config->idx > world->ledger.committed_idx)
        world_fail(world, n, "offers a configuration that is not committed");
    if (message->type == RAFT_MSG_VOTE)
        check_vote(world, n, &node->self, message->term);
    if (message->type == RAFT_MSG_VOTE_REPLY && message->granted)
        check_vote(world, n, &message->to, message->term);
    if (node->amnesiac && node->raft.amnesiac &&
        (message->type <= RAFT_MSG_VOTE || ((message->type == RAFT_MSG_VOTE_REPLY) && message->granted)))
        world_fail(world, n, "votes though it may have forgotten");
    if (message->type == RAFT_MSG_APPEND_REPLY && !message->refused)
        check_ack(world, n, message);
    if (message->type == RAFT_MSG_BEAT) {
        int to = node_of(world, &message->to);
        if (to >= 0 && world->nodes[to].up && world->nodes[to].raft.term <= term &&
            message->commit_idx > world->nodes[to].log.last_idx && !world->options.interval)
            world_fail(world, n, "tells n%d of a commit that it does not have", to);
    }
}

void oracle_restarted(struct world *world, int n)
{
    const struct world_node *node = &world->nodes[n];
    if (node->raft.term < world->ledger.spoken_term[node->incarnation])
        world_fail(world, n, "comes back in term %llu after %llu was spoken of", (unsigned long long)node->raft.term,
                   (unsigned long long)world->ledger.spoken_term[node->incarnation]);
    world->nodes[n].seen_commit = node->raft.base_idx;
    world->nodes[n].seen_term = node->raft.term;
    oracle_after_event(world, n);
}

/* After a failed disk nothing is asked of it any more, and nothing is said. */
void oracle_silent(struct world *world, int n, const struct raft_out *out)
{
    if (out->save_hard_state || out->truncate || out->accept || out->reset || out->append_noop || out->leave_joint ||
        out->committed || out->has_reply || out->reads_good != 0 || out->read_ticket != 0)
        world_fail(world, n, "goes on after its disk failed");
}

/* Interval flushing: that those which remember are no majority of some half is so, or was
 * since it began to ask. */
void oracle_pardons(struct world *world, int n)
{
    const struct world_node *node = &world->nodes[n];
    uint64_t idx;
    const struct world_conf *conf = &world->confs[world_conf_of(&node->log, &idx)];
    bool has[WORLD_SEATS_MAX] = {false};
    for (uint32_t i = 0; i < conf->count; i++) {
        int peer = node_of(world, &conf->seats[i].member);
        has[i] = peer != n && !(peer >= 0 && world->nodes[peer].forgot_us >= node->asked_us);
    }
    if (oracle_quorum(conf, has))
        world_fail(world, n, "is to be pardoned, and a majority remembers");
}

static void note_memory(struct world *world, int n)
{
    struct world_node *node = &world->nodes[n];
    if (node->raft.amnesiac || node->raft.pardoned)
        node->forgot_us = world->now_us;
    if (node->raft.amnesiac && node->asked_round != node->raft.round)
        node->asked_us = world->now_us;
    node->asked_round = node->raft.round;
}

/* ---- elections ------------------------------------------------------------------------- */

static void check_election(struct world *world, int n)
{
    const struct world_node *node = &world->nodes[n];
    uint64_t term = node->raft.term;
    struct world_ledger *ledger = &world->ledger;
    if (ledger->leaders[term].incarnation != 0) {
        if (ledger->leaders[term].incarnation != node->incarnation || ledger->leaders[term].boot != node->boots)
            world_fail(world, n, "leads term %llu, which was led before", (unsigned long long)term);
        return;
    }
    ledger->leaders[term].incarnation = node->incarnation;
    ledger->leaders[term].boot = node->boots;
    world->elections++;
    if (node->hard.term != term || !raft_member_equal(&node->hard.vote, &node->self))
        world_fail(world, n, "leads without a durable vote of its own");
    ledger->votes[node->incarnation][term] = (uint8_t)node->incarnation;
    uint64_t conf_idx;
    const struct world_conf *conf = &world->confs[world_conf_of(&node->log, &conf_idx)];
    bool has[WORLD_SEATS_MAX] = {false};
    for (uint32_t i = 0; i < conf->count; i++)
        has[i] = ledger->votes[conf->seats[i].member.incarnation.bytes[0]][term] == node->incarnation;
    if (!oracle_quorum(conf, has))
        world_fail(world, n, "leads term %llu without a majority of votes", (unsigned long long)term);
    if (node->amnesiac && node->raft.amnesiac)
        world_fail(world, n, "leads though it may have forgotten");
    if (node->log.base_idx > ledger->committed_idx)
        world_fail(world, n, "its log starts past everything committed");
    /* What later terms committed is none of a late winner's business. */
    for (uint64_t i = node->log.base_idx + 1; i <= ledger->committed_idx && ledger->commit_terms[i] < term; i++)
        if (i > node->log.last_idx || !same_entry(&node->log.entries[i], &ledger->committed[i])) {
            world_fail(world, n, "leads term %llu without committed idx %llu", (unsigned long long)term,
                       (unsigned long long)i);
            return;
        }
}

/* ---- commits ---------------------------------------------------------------------------- */

static void check_first_commit(struct world *world, int n, uint64_t idx)
{
    const struct world_node *node = &world->nodes[n];
    uint64_t conf_idx;
    const struct world_conf *conf = &world->confs[world_conf_of(&node->log, &conf_idx)];
    bool has[WORLD_SEATS_MAX] = {false};
    for (uint32_t i = 0; i < conf->count; i++) {
        int peer = node_of(world, &conf->seats[i].member);
        if (peer < 0 || world->nodes[peer].amnesiac) { /* it kept its promise, and lost its disk or memory later */
            uint8_t gone = conf->seats[i].member.incarnation.bytes[0];
            has[i] = world->ledger.acked[gone].term == node->raft.term && world->ledger.acked[gone].idx >= idx;
            continue;
        }
        const struct world_log *log = oracle_promised_log(world, &world->nodes[peer]);
        has[i] =
            idx <= log->base_idx || (idx <= log->last_idx && same_entry(&log->entries[idx], &node->log.entries[idx]));
    }
    if (!oracle_quorum(conf, has))
        world_fail(world, n, "commits idx %llu, which no majority has", (unsigned long long)idx);
    bool leads = node->raft.role == RAFT_LEADER && node->log.entries[node->raft.commit_idx].term == node->raft.term;
    bool parting =
        node->raft.role == RAFT_FOLLOWER && world->ledger.leaders[node->raft.term].incarnation == node->incarnation;
    bool sole = raft_config_is_joint(&node->raft.config) ? false : true;
    uint32_t voters = 0;
    for (uint32_t i = 0; i < conf->count; i++)
        voters += (conf->seats[i].kinds & RAFT_SEAT_VOTER) != 0 ? 1 : 0;
    sole = sole && voters == 1; /* it counts at its start what its disk has */
    if (!leads && !parting && !sole)
        world_fail(world, n, "commits idx %llu first, and does not lead", (unsigned long long)idx);
}

static void check_commits(struct world *world, int n)
{
    struct world_node *node = &world->nodes[n];
    struct world_ledger *ledger = &world->ledger;
    if (node->raft.commit_idx < node->seen_commit) {
        world_fail(world, n, "its commit falls");
        return;
    }
    for (uint64_t i = node->seen_commit + 1; i <= node->raft.commit_idx && !world->failed; i++) {
        if (i <= node->log.base_idx)
            continue;
        if (i > ledger->committed_idx) {
            check_first_commit(world, n, i);
            ledger->committed[i] = node->log.entries[i];
            ledger->commit_terms[i] = node->raft.term;
            ledger->committed_idx = i;
            world->commits++;
        } else if (!same_entry(&ledger->committed[i], &node->log.entries[i])) {
            world_fail(world, n, "commits another entry at idx %llu", (unsigned long long)i);
        }
    }
    if (node->log.base_idx > ledger->committed_idx)
        world_fail(world, n, "jumps past what is committed");
    node->seen_commit = node->raft.commit_idx;
}

static void check_config(struct world *world, int n)
{
    const struct world_node *node = &world->nodes[n];
    const struct raft *raft = &node->raft;
    uint64_t conf_idx;
    const struct world_conf *conf = &world->confs[world_conf_of(&node->log, &conf_idx)];
    bool same = conf->count == raft->config.count;
    for (uint32_t i = 0; same && i < conf->count; i++)
        same = raft_member_equal(&conf->seats[i].member, &raft->config.seats[i].member) &&
               conf->seats[i].kinds == raft->config.seats[i].kinds;
    if (!same)
        world_fail(world, n, "its configuration is not the newest in its log (idx %llu)", (unsigned long long)conf_idx);
    if (raft->role == RAFT_LEADER && raft->noop_idx != 0 && raft->commit_idx >= raft->noop_idx &&
        conf_idx <= raft->commit_idx && !votes_in(conf, &node->self) &&
        (raft->transfer.broker_id == 0 || raft->transfer_until_us > world->now_us + raft->election_us))
        world_fail(world, n, "leads though it was removed");
}

/* What a leader knows of a peer only grows, as long as neither has a new life. */
static void check_progress(struct world *world, int n)
{
    struct world_node *node = &world->nodes[n];
    const struct raft *raft = &node->raft;
    for (uint32_t i = 0; i < raft->config.count && i < WORLD_SEATS_MAX; i++) {
        const struct raft_peer *peer = &raft->peers[i];
        bool same = node->seen_peers[i].term == raft->term && node->seen_peers[i].config_idx == raft->config.idx &&
                    node->seen_peers[i].boot == peer->boot;
        if (same && peer->match < node->seen_peers[i].match)
            world_fail(world, n, "forgets what a peer acknowledged");
        node->seen_peers[i].term = raft->term;
        node->seen_peers[i].config_idx = raft->config.idx;
        node->seen_peers[i].boot = peer->boot;
        node->seen_peers[i].match = peer->match;
    }
}

void oracle_after_event(struct world *world, int n)
{
    struct world_node *node = &world->nodes[n];
    if (world->failed || !node->up)
        return;
    const struct raft *raft = &node->raft;
    raft_check(raft);
    if (!raft->amnesiac)
        node->amnesiac = false;
    note_memory(world, n);
    if (raft->last_idx != node->log.last_idx || raft->base_idx != node->log.base_idx ||
        raft->last_term != world_term_at(&node->log, node->log.last_idx))
        world_fail(world, n, "its idea of the log is not the log");
    if (raft->flushed_idx > node->disk.last_idx && raft->flushed_idx > node->disk.base_idx)
        world_fail(world, n, "takes for durable what is not");
    uint64_t sure_idx = raft->flushed_idx;
    if (sure_idx > node->disk.base_idx && sure_idx > node->log.base_idx && sure_idx <= node->disk.last_idx &&
        !same_entry(&node->disk.entries[sure_idx], &node->log.entries[sure_idx]))
        world_fail(world, n, "takes idx %llu for durable, its disk has another entry there",
                   (unsigned long long)sure_idx);
    for (uint32_t i = 0; i < node->op_count; i++)
        if (node->ops[i].kind == OP_CUT && node->ops[i].idx <= sure_idx)
            world_fail(world, n, "takes idx %llu for durable, and a cut on its way to the disk may yet remove it",
                       (unsigned long long)sure_idx);
    if (raft->term < node->seen_term)
        world_fail(world, n, "its term falls");
    node->seen_term = raft->term;
    if (raft->term >= WORLD_TERMS_MAX - 1) {
        world_fail(world, n, "terms run away");
        return;
    }
    if (raft->role == RAFT_LEADER) {
        check_election(world, n);
        check_progress(world, n);
    }
    oracle_leads(world, n);
    if (raft->role == RAFT_LEADER && node->disk_failed)
        world_fail(world, n, "leads after its disk failed");
    check_commits(world, n);
    check_config(world, n);
    if (raft->old_bytes + raft->new_bytes > 3 * raft->max_uncommitted_bytes)
        world_fail(world, n, "holds more uncommitted bytes than it may");
}

void oracle_reads(struct world *world, int n, uint64_t good)
{
    struct world_node *node = &world->nodes[n];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < node->read_count; i++) {
        if (node->reads[i].ticket > good)
            node->reads[kept++] = node->reads[i];
        else if (node->reads[i].read_idx < node->reads[i].must_idx)
            world_fail(world, n, "answers a stale read: idx %llu, committed was %llu",
                       (unsigned long long)node->reads[i].read_idx, (unsigned long long)node->reads[i].must_idx);
    }
    node->read_count = kept;
}

/* All that was committed is where it belongs, byte for byte. */
void oracle_final(struct world *world)
{
    int leader = world_leader(world);
    if (leader < 0) {
        world_fail(world, -1, "nobody leads in the end");
        return;
    }
    const struct raft *raft = &world->nodes[leader].raft;
    for (uint32_t s = 0; s < raft->config.count; s++) {
        int n = node_of(world, &raft->config.seats[s].member);
        if (n < 0)
            continue;
        const struct world_log *log = &world->nodes[n].log;
        for (uint64_t i = log->base_idx + 1; i <= world->ledger.committed_idx; i++)
            if (i > log->last_idx || !same_entry(&log->entries[i], &world->ledger.committed[i])) {
                world_fail(world, n, "lacks committed idx %llu in the end", (unsigned long long)i);
                return;
            }
    }
}
