/*
 * Membership: the configuration in force is the newest in the log (4.1). Two are
 * kept. A leader appends a change only when the one before it is committed, so a
 * truncation takes away at most the newest, and the one before is what then holds.
 *
 * peers[] stands seat for seat beside config.seats[], so that counting is one walk.
 */
#include "raft/raft_internal.h"

bool raft_member_equal(const struct raft_member *a, const struct raft_member *b)
{
    return a->broker_id == b->broker_id && uuid_equal(&a->incarnation, &b->incarnation);
}

bool raft_config_is_joint(const struct raft_config *config)
{
    for (uint32_t i = 0; i < config->count; i++)
        if (config->seats[i].kinds & RAFT_SEAT_OLD)
            return true;
    return false;
}

static uint32_t count_kind(const struct raft_config *config, uint32_t kind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < config->count; i++)
        count += (config->seats[i].kinds & kind) != 0 ? 1 : 0;
    return count;
}

static bool seats_valid(const struct raft *raft, const struct raft_config *config)
{
    if (config->count == 0 || config->count > raft->capacity)
        return false;
    for (uint32_t i = 0; i < config->count; i++) {
        const struct raft_seat *seat = &config->seats[i];
        if (seat->member.broker_id == 0 || seat->kinds == 0 || (seat->kinds & ~7u) != 0 || (seat->kinds & 5u) == 5u)
            return false;
        for (uint32_t j = 0; j < i; j++)
            if (raft_member_equal(&seat->member, &config->seats[j].member))
                return false;
    }
    return true;
}

bool raft_config_valid(const struct raft *raft, const struct raft_config *config)
{
    uint32_t voters = count_kind(config, RAFT_SEAT_VOTER);
    return seats_valid(raft, config) && voters >= 1 && voters <= RAFT_VOTERS_MAX &&
           count_kind(config, RAFT_SEAT_OLD) <= RAFT_VOTERS_MAX;
}

static void copy_config(struct raft_config *to, const struct raft_config *from, uint64_t idx)
{
    to->idx = idx;
    to->count = from->count;
    for (uint32_t i = 0; i < from->count; i++)
        to->seats[i] = from->seats[i];
}

/* A place for a fresh peer at i: what stands there moves to the end, or over a peer
 * that has no seat any more; as there are no more seats than places, there is one. */
static void make_place(struct raft *raft, uint32_t i, uint32_t *total)
{
    if (i == *total) {
        (*total)++;
        return;
    }
    if (*total < raft->capacity) {
        raft->peers[(*total)++] = raft->peers[i];
        return;
    }
    for (uint32_t k = i; k < *total; k++) {
        bool seated = false;
        for (uint32_t s = 0; s < raft->config.count; s++)
            seated = seated || raft_member_equal(&raft->config.seats[s].member, &raft->peers[k].member);
        if (seated)
            continue;
        raft->peers[k] = raft->peers[i];
        return;
    }
    REQUIRE(false);
}

/* Progress follows its member to the new seat; new members begin afresh. */
static void seat_peers(struct raft *raft, uint32_t total)
{
    for (uint32_t i = 0; i < raft->config.count; i++) {
        const struct raft_member *member = &raft->config.seats[i].member;
        uint32_t j = i;
        while (j < total && !raft_member_equal(&raft->peers[j].member, member))
            j++;
        if (j == total) {
            make_place(raft, i, &total);
            raft_peer_fresh(raft, &raft->peers[i], member);
        } else if (j != i) {
            struct raft_peer moved = raft->peers[i];
            raft->peers[i] = raft->peers[j];
            raft->peers[j] = moved;
        }
    }
}

static void place_seats(struct raft *raft, void *memory, size_t memory_bytes)
{
    raft->capacity = (uint32_t)(memory_bytes / RAFT_MEMORY_BYTES(1));
    REQUIRE(memory != NULL && raft->capacity >= 1 && raft->capacity <= RAFT_SEATS_MAX);
    raft->peers = memory;
    raft->config.seats = (struct raft_seat *)(void *)(raft->peers + raft->capacity);
    raft->before.seats = raft->config.seats + raft->capacity;
}

void *raft_grow(struct raft *raft, void *memory, size_t memory_bytes)
{
    struct raft_peer *peers = raft->peers;
    const struct raft_config config = raft->config;
    const struct raft_config before = raft->before;
    REQUIRE(memory_bytes / RAFT_MEMORY_BYTES(1) >= raft->capacity);
    place_seats(raft, memory, memory_bytes);
    copy_config(&raft->config, &config, config.idx);
    copy_config(&raft->before, &before, before.idx);
    for (uint32_t i = 0; i < config.count; i++)
        raft->peers[i] = peers[i];
    return peers;
}

void raft_config_init(struct raft *raft, const struct raft_start *start)
{
    place_seats(raft, start->memory, start->memory_bytes);
    struct raft_seat sole = {.member = start->self, .kinds = start->joins ? RAFT_SEAT_LEARNER : RAFT_SEAT_VOTER};
    const struct raft_config alone = {.count = 1, .seats = &sole};
    const struct raft_config *config = start->config.count > 0 ? &start->config : &alone;
    const struct raft_config *before = start->joins ? &alone : config; /* what a joiner's first may be cut back to */
    if (start->before.count > 0)
        before = &start->before;
    REQUIRE(seats_valid(raft, config) && seats_valid(raft, before));
    copy_config(&raft->config, config, config->idx);
    copy_config(&raft->before, before, before->idx);
    seat_peers(raft, 0);
}

void raft_config_adopt(struct raft *raft, const struct raft_config *config, uint64_t idx)
{
    uint32_t total = raft->config.count;
    copy_config(&raft->before, &raft->config, raft->config.idx);
    copy_config(&raft->config, config, idx);
    seat_peers(raft, total);
    raft->leaving = false;
}

void raft_config_roll_back(struct raft *raft)
{
    uint32_t total = raft->config.count;
    copy_config(&raft->config, &raft->before, raft->before.idx);
    seat_peers(raft, total);
    raft->leaving = false;
}

void raft_config_replace(struct raft *raft, const struct raft_config *config, uint64_t idx)
{
    raft_config_adopt(raft, config, idx);
    copy_config(&raft->before, &raft->config, idx);
}

struct raft_peer *raft_peer_find(struct raft *raft, const struct raft_member *member)
{
    for (uint32_t i = 0; i < raft->config.count; i++)
        if (raft_member_equal(&raft->peers[i].member, member))
            return raft_is_self(raft, member) ? NULL : &raft->peers[i];
    return NULL;
}

static uint32_t self_kinds(const struct raft *raft, const struct raft_config *config)
{
    for (uint32_t i = 0; i < config->count; i++)
        if (raft_is_self(raft, &config->seats[i].member))
            return config->seats[i].kinds;
    return 0;
}

bool raft_is_voter(const struct raft *raft)
{
    return (self_kinds(raft, &raft->config) & (RAFT_SEAT_VOTER | RAFT_SEAT_OLD)) != 0;
}

/* One that a change removes is still needed until the change is committed: its log may
 * be the longest, and the joint half it was of cannot elect anybody else (4.2.2). */
bool raft_is_electable(const struct raft *raft)
{
    if (raft_is_voter(raft))
        return true;
    return raft->config.idx > raft->commit_idx &&
           (self_kinds(raft, &raft->before) & (RAFT_SEAT_VOTER | RAFT_SEAT_OLD)) != 0;
}

bool raft_is_sole_voter(const struct raft *raft)
{
    return !raft_config_is_joint(&raft->config) && count_kind(&raft->config, RAFT_SEAT_VOTER) == 1 &&
           (self_kinds(raft, &raft->config) & RAFT_SEAT_VOTER) != 0;
}

/* ---- changing it ------------------------------------------------------------------- */

bool raft_may_change(const struct raft *raft)
{
    return raft_may_propose(raft) && raft->commit_idx >= raft->noop_idx && raft->config.idx <= raft->commit_idx &&
           !raft_config_is_joint(&raft->config);
}

bool raft_make_change(const struct raft *raft, const struct raft_seat *target, uint32_t count,
                      struct raft_config *entry)
{
    const struct raft_config wanted = {.count = count, .seats = entry->seats};
    if (count > raft->capacity)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        entry->seats[i] = target[i];
        if (target[i].kinds != RAFT_SEAT_VOTER && target[i].kinds != RAFT_SEAT_LEARNER)
            return false;
    }
    if (!raft_config_valid(raft, &wanted))
        return false;
    entry->count = count;
    bool voters_change = false;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < raft->config.count; i++) {
        const struct raft_seat *seat = &raft->config.seats[i];
        if ((seat->kinds & RAFT_SEAT_VOTER) == 0)
            continue;
        uint32_t at = 0;
        while (at < entry->count && !raft_member_equal(&entry->seats[at].member, &seat->member))
            at++;
        if (at == raft->capacity)
            return false;
        if (at == entry->count)
            entry->seats[entry->count++] = (struct raft_seat){.member = seat->member};
        if (entry->seats[at].kinds == RAFT_SEAT_VOTER)
            kept++;
        else
            voters_change = true;
        entry->seats[at].kinds |= RAFT_SEAT_OLD;
    }
    voters_change = voters_change || kept != count_kind(entry, RAFT_SEAT_VOTER);
    if (!voters_change)
        for (uint32_t i = 0; i < entry->count; i++)
            entry->seats[i].kinds &= ~(uint32_t)RAFT_SEAT_OLD;
    return true;
}

void raft_make_leave(const struct raft *raft, struct raft_config *entry)
{
    REQUIRE(raft_config_is_joint(&raft->config));
    entry->count = 0;
    for (uint32_t i = 0; i < raft->config.count; i++) {
        struct raft_seat seat = raft->config.seats[i];
        seat.kinds &= ~(uint32_t)RAFT_SEAT_OLD;
        if (seat.kinds != 0)
            entry->seats[entry->count++] = seat;
    }
}

/* What the leader does when the configuration in force is committed: the joint one is
 * left; a leader that the new one does not let vote hands over and stops (4.2.2). */
void raft_config_committed(struct raft *raft, struct raft_out *out)
{
    if (raft->role != RAFT_LEADER || raft->noop_idx == 0 || raft->commit_idx < raft->noop_idx)
        return;
    if (raft->config.idx > raft->commit_idx)
        return;
    if (raft_config_is_joint(&raft->config)) {
        out->leave_joint = !raft->leaving;
        raft->leaving = true;
    } else if (!raft_is_voter(raft) && raft->transfer.broker_id == 0) {
        raft_transfer_to(raft, raft_best_peer(raft));
    }
}
