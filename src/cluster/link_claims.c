/* What follows from the claims: what a local replica is told, and who leads. */
#include "cluster/link_table_impl.h"

#include "base/require.h"

#include <stdlib.h>

static bool may_vouch(const struct group *g, const struct claim *c)
{
    return c->kind == BEAT_LEADS && c->peer->alive && g->partition != NULL &&
           !(g->news.leads && g->news.term >= c->term);
}

static bool may_link(const struct group *g, const struct claim *c)
{
    const struct peer *p = c->peer;
    return c->kind == BEAT_FOLLOWS && p->alive && p->out_up && p->confirmed && g->partition != NULL && g->news.leads &&
           !g->stuck && c->term == g->news.term && g->version <= p->acked_version;
}

void link_claim_settle(struct link_table *t, struct group *g, struct claim *c, bool anew)
{
    bool vouch = may_vouch(g, c);
    if (vouch != c->vouched || (vouch && anew)) {
        struct raft_member leader = {.broker_id = c->peer->broker_id, .incarnation = c->incarnation};
        c->vouched = vouch;
        if (g->partition != NULL)
            t->hooks.claim(t->hooks.context, g->partition, &leader, c->term, vouch);
    }
    bool linked = may_link(g, c);
    bool another = linked && c->peer_linked && !uuid_equal(&c->linked_member.incarnation, &c->incarnation);
    if (c->peer_linked && (!linked || another)) {
        c->peer_linked = false;
        if (g->partition != NULL)
            t->hooks.peer_link(t->hooks.context, g->partition, &c->linked_member, false);
    }
    if (linked && (!c->peer_linked || anew)) {
        c->peer_linked = true;
        c->linked_member = (struct raft_member){.broker_id = c->peer->broker_id, .incarnation = c->incarnation};
        t->hooks.peer_link(t->hooks.context, g->partition, &c->linked_member, true);
    }
}

void link_claim_remove(struct link_table *t, struct group *g, struct claim **at)
{
    struct claim *c = *at;
    c->kind = BEAT_NONE;
    link_claim_settle(t, g, c, false);
    *at = c->next;
    REQUIRE(c->peer->claim_count > 0);
    c->peer->claim_count--;
    free(c);
}

/* The highest term wins: of a live peer's claims, and of what the local replica sees. */
static void settle_leader(struct link_table *t, struct group *g)
{
    uint32_t leader_id = 0;
    uint64_t term = 0;
    if (g->partition != NULL) {
        uint32_t seen = g->news.leads ? t->self_id : g->news.leader.broker_id;
        const struct peer *p = seen == 0 || seen == t->self_id ? NULL : link_peer(t, seen);
        if ((seen == t->self_id && g->news.leads && !g->stuck) || (p != NULL && p->alive)) {
            leader_id = seen;
            term = g->news.term;
        }
    }
    for (const struct claim *c = g->claims; c != NULL; c = c->next) {
        if (c->kind == BEAT_LEADS && c->peer->alive && c->term > term) {
            leader_id = c->peer->broker_id;
            term = c->term;
        }
    }
    if (leader_id == g->leader_id && (term == g->leader_term || leader_id == 0))
        return;
    g->leader_id = leader_id;
    if (leader_id != 0)
        g->leader_term = term;
    t->hooks.leader_changed(t->hooks.context, &g->id, leader_id, g->leader_term);
}

void link_group_settle(struct link_table *t, struct group *g, const struct peer *p, bool anew)
{
    for (struct claim *c = g->claims; c != NULL; c = c->next)
        if (p == NULL || c->peer == p)
            link_claim_settle(t, g, c, anew);
    settle_leader(t, g);
}

void link_settle_all(struct link_table *t, const struct peer *p)
{
    struct map_walk w;
    for (map_walk_init(&w, &t->groups); map_walk_next(&w);)
        link_group_settle(t, w.value, p, false);
}

/* ---- a beat that came ------------------------------------------------------------------- */

static struct claim **find_claim(struct group *g, const struct peer *p)
{
    struct claim **at = &g->claims;
    while (*at != NULL && (*at)->peer != p)
        at = &(*at)->next;
    return at;
}

/* False: out of memory, or too many. */
static bool apply_change(struct link_table *t, struct peer *p, const struct beat_change *change)
{
    struct group_id id = {.topic_id = change->topic_id, .partition = change->partition};
    struct group *g = link_group(t, &id, change->kind != BEAT_NONE);
    if (g == NULL)
        return change->kind == BEAT_NONE;
    struct claim **at = find_claim(g, p);
    if (change->kind == BEAT_NONE) {
        if (*at != NULL)
            link_claim_remove(t, g, at);
        link_group_settle(t, g, p, false);
        link_group_tidy(t, g);
        return true;
    }
    struct claim *c = *at;
    if (c == NULL) {
        c = p->claim_count < LINK_CLAIMS_MAX ? calloc(1, sizeof *c) : NULL;
        if (c == NULL) {
            link_group_tidy(t, g);
            return false;
        }
        c->peer = p;
        *at = c;
        p->claim_count++;
    }
    bool other =
        c->kind != change->kind || c->term != change->term || !uuid_equal(&c->incarnation, &change->incarnation);
    if (other && c->vouched) { /* what was vouched for is no longer said */
        c->kind = BEAT_NONE;
        link_claim_settle(t, g, c, false);
    }
    c->kind = change->kind;
    c->term = change->term;
    c->incarnation = change->incarnation;
    c->list = p->list;
    link_group_settle(t, g, p, false);
    return true;
}

/* The whole list has come: what was not in it is no longer so. */
static void sweep(struct link_table *t, const struct peer *p)
{
    struct group **empty = calloc(t->groups.count + 1, sizeof *empty);
    size_t count = 0;
    struct map_walk w;
    for (map_walk_init(&w, &t->groups); map_walk_next(&w);) {
        struct group *g = w.value;
        struct claim **at = find_claim(g, p);
        if (*at == NULL || (*at)->list == p->list)
            continue;
        link_claim_remove(t, g, at);
        link_group_settle(t, g, p, false);
        if (empty != NULL)
            empty[count++] = g;
    }
    for (size_t i = 0; i < count; i++)
        link_group_tidy(t, empty[i]);
    free(empty);
}

/* False: out of memory, or too many claims. */
static bool apply_beat(struct link_table *t, struct peer *p, const struct beat *beat)
{
    if (beat->anew) {
        p->list++;
        p->listing = true;
    }
    for (uint32_t i = 0; i < beat->change_count; i++) {
        struct beat_change change;
        beat_change(beat, i, &change);
        if (!apply_change(t, p, &change))
            return false;
    }
    if (p->listing && !beat->more) {
        p->listing = false;
        sweep(t, p);
    }
    return true;
}

bool link_table_beat(struct link_table *t, uint32_t broker_id, uint64_t session, const uint8_t *body, size_t body_bytes,
                     int64_t now_us)
{
    TAG_CHECK(t, LINK_TABLE_TAG);
    struct peer *p = link_peer(t, broker_id);
    struct beat beat;
    if (p == NULL || !p->in_up || p->in_session != session)
        return true; /* of a connection that was replaced: its end is on its way */
    if (beat_decode(body, body_bytes, &beat) != KQ_OK || beat.number != p->in_number + 1 ||
        beat.anew != (beat.number == 1))
        return false;
    bool born = !p->alive;
    p->in_number = beat.number;
    p->heard_us = now_us;
    p->alive = true;
    p->urgent = p->urgent || beat.change_count > 0 || beat.anew;
    bool ok = apply_beat(t, p, &beat);
    if (beat.ack_session == p->out_session && p->out_up)
        link_peer_acked(t, p, beat.ack_number, now_us);
    if (born) {
        link_settle_all(t, p);
        t->hooks.peer_changed(t->hooks.context, p->broker_id, true);
    }
    return ok;
}
