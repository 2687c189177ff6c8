#include "cluster/link_table.h"

#include "base/require.h"
#include "cluster/link_table_impl.h"

#include <stdlib.h>

/* ---- life ---------------------------------------------------------------------------- */

struct link_table *link_table_new(uint32_t self_id, int64_t beat_us, int64_t election_us,
                                  const struct link_hooks *hooks)
{
    struct link_table *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->tag = LINK_TABLE_TAG;
    t->self_id = self_id;
    t->beat_us = beat_us;
    t->election_us = election_us;
    t->hooks = *hooks;
    t->looked_us = INT64_MIN;
    t->ticked_us = INT64_MIN;
    map_init(&t->groups);
    return t;
}

void link_table_free(struct link_table **table)
{
    struct link_table *t = *table;
    *table = NULL;
    if (t == NULL)
        return;
    TAG_CHECK(t, LINK_TABLE_TAG);
    struct map_walk w;
    for (map_walk_init(&w, &t->groups); map_walk_next(&w);) {
        struct group *g = w.value;
        for (struct claim *c = g->claims, *next; c != NULL; c = next) {
            next = c->next;
            free(c);
        }
        if (g->partition != NULL)
            t->hooks.drop(t->hooks.context, g->partition);
        free(g);
    }
    map_fini(&t->groups);
    for (struct peer *p = t->peers, *next; p != NULL; p = next) {
        next = p->next;
        free(p);
    }
    t->tag = TAG_DEAD;
    free(t);
}

/* ---- groups --------------------------------------------------------------------------- */

struct group_key {
    uint8_t bytes[UUID_BYTES + 4];
};

static struct group_key key_of(const struct group_id *id)
{
    struct group_key key;
    memcpy(key.bytes, id->topic_id.bytes, UUID_BYTES);
    put_le32(key.bytes + UUID_BYTES, id->partition);
    return key;
}

struct group *link_group(struct link_table *t, const struct group_id *id, bool make)
{
    struct group_key key = key_of(id);
    struct group *g = map_get(&t->groups, key.bytes, sizeof key.bytes);
    if (g != NULL || !make)
        return g;
    g = calloc(1, sizeof *g);
    if (g == NULL)
        return NULL;
    g->id = *id;
    if (map_put(&t->groups, key.bytes, sizeof key.bytes, g, NULL))
        return g;
    free(g);
    return NULL;
}

static void unlink_version(struct link_table *t, struct group *g)
{
    if (g->version == 0)
        return;
    *(g->older != NULL ? &g->older->newer : &t->oldest) = g->newer;
    *(g->newer != NULL ? &g->newer->older : &t->newest) = g->older;
    g->older = NULL;
    g->newer = NULL;
    g->version = 0;
}

void link_group_touch(struct link_table *t, struct group *g)
{
    unlink_version(t, g);
    g->version = ++t->version;
    g->older = t->newest;
    *(t->newest != NULL ? &t->newest->newer : &t->oldest) = g;
    t->newest = g;
}

/* Everybody who has a connection was told of it. */
static bool all_told(const struct link_table *t, const struct group *g)
{
    for (const struct peer *p = t->peers; p != NULL; p = p->next)
        if (p->out_up && p->sent_version < g->version)
            return false;
    return true;
}

void link_group_tidy(struct link_table *t, struct group *g)
{
    if (g->partition != NULL)
        return;
    if (g->version != 0 && all_told(t, g)) {
        REQUIRE(t->gone > 0);
        t->gone--;
        unlink_version(t, g);
    }
    if (g->version != 0 || g->claims != NULL)
        return;
    struct group_key key = key_of(&g->id);
    REQUIRE(map_remove(&t->groups, key.bytes, sizeof key.bytes) == g);
    free(g);
}

static void tidy_gone(struct link_table *t)
{
    struct group *newer;
    for (struct group *g = t->gone > 0 ? t->oldest : NULL; g != NULL; g = newer) {
        newer = g->newer;
        link_group_tidy(t, g);
    }
}

/* ---- the local replicas ------------------------------------------------------------------ */

/* What is told of a group: a change of anything else is nobody's business. */
static bool tells_the_same(const struct replica_news *a, const struct replica_news *b)
{
    return a->term == b->term && a->leads == b->leads && a->leader.broker_id == b->leader.broker_id &&
           a->forgot == b->forgot && uuid_equal(&a->self.incarnation, &b->self.incarnation);
}

/* The replica that was here knows nothing of what is said from now on. */
static void replace_partition(struct link_table *t, struct group *g, struct partition *partition)
{
    if (g->partition != NULL) {
        struct partition *old = g->partition;
        g->partition = NULL;
        t->gone++;
        t->hooks.drop(t->hooks.context, old);
    }
    for (struct claim *c = g->claims; c != NULL; c = c->next) {
        c->vouched = false;
        c->peer_linked = false;
    }
    g->stuck = false;
    if (partition != NULL) {
        if (g->version != 0)
            t->gone--;
        g->partition = partition;
    }
}

void link_table_news(struct link_table *t, struct partition *partition, const struct replica_news *news, int64_t now_us)
{
    TAG_CHECK(t, LINK_TABLE_TAG);
    (void)now_us;
    struct group *g = link_group(t, &news->group, true);
    if (g == NULL) { /* unknown here is not vouched for: its own timers do without */
        t->hooks.drop(t->hooks.context, partition);
        return;
    }
    bool same = g->partition == partition && tells_the_same(&g->news, news);
    bool other_members = g->news.config_idx != news->config_idx; /* who is new may have been told of, and not known */
    if (g->partition == partition)
        t->hooks.drop(t->hooks.context, partition); /* there is one reference already */
    else
        replace_partition(t, g, partition);
    g->news = *news;
    if (!same)
        link_group_touch(t, g);
    link_group_settle(t, g, NULL, !same || other_members);
}

void link_table_forget(struct link_table *t, const struct group_id *id, int64_t now_us)
{
    TAG_CHECK(t, LINK_TABLE_TAG);
    (void)now_us;
    struct group *g = link_group(t, id, false);
    if (g == NULL || g->partition == NULL)
        return;
    link_group_touch(t, g);
    replace_partition(t, g, NULL);
    link_group_settle(t, g, NULL, false);
    link_group_tidy(t, g);
}

uint32_t link_table_leader(const struct link_table *t, const struct group_id *id, uint64_t *term)
{
    struct group_key key = key_of(id);
    const struct group *g = map_get(&t->groups, key.bytes, sizeof key.bytes);
    *term = g != NULL ? g->leader_term : 0;
    return g != NULL ? g->leader_id : 0;
}

/* ---- peers --------------------------------------------------------------------------------- */

struct peer *link_peer(const struct link_table *t, uint32_t broker_id)
{
    struct peer *p = t->peers;
    while (p != NULL && p->broker_id != broker_id)
        p = p->next;
    return p;
}

bool link_table_add(struct link_table *t, uint32_t broker_id)
{
    TAG_CHECK(t, LINK_TABLE_TAG);
    REQUIRE(broker_id != t->self_id);
    if (link_peer(t, broker_id) != NULL)
        return true;
    struct peer *p = calloc(1, sizeof *p);
    if (p == NULL)
        return false;
    p->broker_id = broker_id;
    p->next = t->peers;
    t->peers = p;
    return true;
}

/* It is silent, or gone. */
static void die(struct link_table *t, struct peer *p)
{
    if (!p->alive)
        return;
    p->alive = false;
    link_settle_all(t, p);
    t->hooks.peer_changed(t->hooks.context, p->broker_id, false);
}

void link_table_remove(struct link_table *t, uint32_t broker_id, int64_t now_us)
{
    TAG_CHECK(t, LINK_TABLE_TAG);
    (void)now_us;
    struct peer *p = link_peer(t, broker_id);
    if (p == NULL)
        return;
    die(t, p);
    struct map_walk w;
    for (map_walk_init(&w, &t->groups); map_walk_next(&w);) {
        struct group *g = w.value;
        for (struct claim **at = &g->claims; *at != NULL;)
            if ((*at)->peer == p)
                link_claim_remove(t, g, at);
            else
                at = &(*at)->next;
        if (g->partition == NULL && g->claims == NULL && g->version == 0) {
            REQUIRE(map_remove(&t->groups, w.key, w.key_bytes) == g);
            free(g);
        }
    }
    REQUIRE(p->claim_count == 0);
    struct peer **at = &t->peers;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    free(p);
    tidy_gone(t);
}

bool link_table_is_alive(const struct link_table *t, uint32_t broker_id)
{
    const struct peer *p = link_peer(t, broker_id);
    return broker_id == t->self_id || (p != NULL && p->alive);
}

/* ---- connections ----------------------------------------------------------------------------- */

void link_table_out_up(struct link_table *t, uint32_t broker_id, uint64_t session, int64_t now_us)
{
    TAG_CHECK(t, LINK_TABLE_TAG);
    struct peer *p = link_peer(t, broker_id);
    if (p == NULL)
        return;
    bool was = p->confirmed;
    p->out_up = true;
    p->out_session = session;
    p->number = 0;
    p->sent_version = 0;
    p->anew = true;
    p->acked_number = 0;
    p->acked_version = 0;
    p->confirmed = false;
    p->beat_at_us = now_us;
    p->not_before_us = now_us;
    memset(p->sent, 0, sizeof p->sent);
    if (was)
        link_settle_all(t, p);
}

void link_table_out_down(struct link_table *t, uint32_t broker_id, int64_t now_us)
{
    TAG_CHECK(t, LINK_TABLE_TAG);
    (void)now_us;
    struct peer *p = link_peer(t, broker_id);
    if (p == NULL || !p->out_up)
        return;
    p->out_up = false;
    p->confirmed = false;
    link_settle_all(t, p);
    tidy_gone(t);
}

void link_table_refused(struct link_table *t, uint32_t broker_id, int64_t now_us)
{
    TAG_CHECK(t, LINK_TABLE_TAG);
    (void)now_us;
    struct peer *p = link_peer(t, broker_id);
    if (p == NULL || p->in_up || !p->alive)
        return;
    die(t, p);
    struct map_walk w;
    for (map_walk_init(&w, &t->groups); map_walk_next(&w);) {
        const struct group *g = w.value;
        if (g->partition != NULL && !g->news.leads && g->news.leader.broker_id == broker_id)
            t->hooks.leader_gone(t->hooks.context, g->partition, &g->news.leader);
    }
}

void link_table_in_up(struct link_table *t, uint32_t broker_id, uint64_t session)
{
    TAG_CHECK(t, LINK_TABLE_TAG);
    struct peer *p = link_peer(t, broker_id);
    if (p == NULL)
        return;
    p->in_up = true;
    p->in_session = session;
    p->in_number = 0;
    p->listing = false;
}

void link_table_in_down(struct link_table *t, uint32_t broker_id, uint64_t session)
{
    TAG_CHECK(t, LINK_TABLE_TAG);
    struct peer *p = link_peer(t, broker_id);
    if (p != NULL && p->in_up && p->in_session == session)
        p->in_up = false;
}

/* ---- time ---------------------------------------------------------------------------------------- */

static void look_for_stuck(struct link_table *t, int64_t now_us)
{
    struct map_walk w;
    for (map_walk_init(&w, &t->groups); map_walk_next(&w);) {
        struct group *g = w.value;
        if (g->partition == NULL)
            continue;
        bool stuck = t->hooks.is_stuck(t->hooks.context, g->partition, now_us, t->election_us);
        if (stuck == g->stuck)
            continue;
        g->stuck = stuck;
        link_group_touch(t, g);
        link_group_settle(t, g, NULL, false);
    }
}

void link_table_tick(struct link_table *t, int64_t now_us)
{
    TAG_CHECK(t, LINK_TABLE_TAG);
    /* This process itself was stopped, or starved: beats wait unread, nobody is dead for that. */
    bool late = t->ticked_us != INT64_MIN && now_us - t->ticked_us >= t->election_us / 2;
    t->ticked_us = now_us;
    for (struct peer *p = t->peers; p != NULL; p = p->next) {
        int64_t grace_us = now_us - t->election_us + 2 * t->beat_us;
        if (late && p->heard_us < grace_us)
            p->heard_us = grace_us;
        if (late && p->acked_us < grace_us)
            p->acked_us = grace_us;
        if (p->alive && now_us - p->heard_us >= t->election_us)
            die(t, p);
        if (p->confirmed && now_us - p->acked_us >= t->election_us) {
            p->confirmed = false;
            link_settle_all(t, p);
        }
    }
    if (t->looked_us == INT64_MIN || now_us - t->looked_us >= t->election_us / 2) {
        t->looked_us = now_us;
        look_for_stuck(t, now_us);
    }
    tidy_gone(t);
}

/* ---- for tests ------------------------------------------------------------------------------------- */

size_t link_table_groups(const struct link_table *t)
{
    return t->groups.count;
}

void link_table_check(const struct link_table *t)
{
    uint64_t version = 0;
    uint32_t listed = 0;
    uint32_t gone = 0;
    for (const struct group *g = t->oldest; g != NULL; g = g->newer) {
        REQUIRE(g->version > version);
        REQUIRE(g->newer != NULL ? g->newer->older == g : t->newest == g);
        version = g->version;
        listed++;
        gone += g->partition == NULL;
    }
    REQUIRE(version <= t->version);
    REQUIRE(gone == t->gone);
    struct map_walk w;
    for (map_walk_init(&w, &t->groups); map_walk_next(&w);) {
        const struct group *g = w.value;
        REQUIRE(g->partition != NULL || g->claims != NULL || g->version != 0);
        REQUIRE(g->partition == NULL || g->version != 0);
        listed -= g->version != 0;
        for (const struct claim *c = g->claims; c != NULL; c = c->next) {
            REQUIRE(c->kind != BEAT_NONE);
            REQUIRE(!c->vouched || c->peer->alive);
            REQUIRE(!c->peer_linked || (c->peer->confirmed && g->news.leads && !g->stuck));
        }
    }
    REQUIRE(listed == 0);
}
