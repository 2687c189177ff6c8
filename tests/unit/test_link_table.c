/* The table of the links on a model clock: two or three tables, beats carried by hand,
 * lost, doubled, kept back; and a random run of all of it, checked against what must be
 * so when everything has settled. */
#include "base/require.h"
#include "cluster/link_table.h"
#include "proto/peer/beat.h"
#include "support/unit.h"

#include <stdio.h>

enum { BEAT_US = 100 * 1000, ELECTION_US = 500 * 1000, GROUPS = 6, BROKERS = 3, BEATS_MAX = 64 };

/* A local replica; the tables know it as a struct partition. */
struct partition {
    uint32_t n;
    int references;
    bool stuck;
    bool forgot;
    uint64_t term;
    uint32_t leader_id;
    uint64_t config_idx;
    uint32_t claimed_by; /* 0: nobody vouches */
    uint64_t claimed_term;
    bool linked[BROKERS + 1];
    int gone;
    uint32_t claims; /* calls */
    bool moved;      /* a claim brought it to another term, or told it the leader: it will tell */
};

struct beat_of {
    size_t bytes;
    uint8_t body[4096];
};

/* A connection: beats from one to the other. */
struct wire {
    bool up;
    uint64_t session;
    struct beat_of beats[BEATS_MAX];
    int first;
    int count;
};

struct node {
    uint32_t id;
    struct link_table *table;
    struct partition partitions[GROUPS];
    bool hosted[GROUPS];
    int peer_changes;
    uint32_t leaders[GROUPS];
};

static struct node nodes[BROKERS + 1];
static struct wire wires[BROKERS + 1][BROKERS + 1];
static int64_t now_us;
static uint64_t sessions;
static bool replicas_follow; /* whoever claims them, as raft does */

static struct uuid uuid_of(uint8_t n)
{
    struct uuid id;
    memset(id.bytes, n, sizeof id.bytes);
    return id;
}

static struct group_id group_of(uint32_t n)
{
    return (struct group_id){.topic_id = uuid_of(7), .partition = n};
}

/* ---- hooks ------------------------------------------------------------------------------- */

static void on_claim(void *context, struct partition *p, const struct raft_member *leader, uint64_t term, bool on)
{
    (void)context;
    p->claims++;
    if (on ? term >= p->claimed_term : term == p->claimed_term) { /* as raft_on_claim() takes them */
        p->claimed_by = on ? leader->broker_id : 0;
        p->claimed_term = on ? term : 0;
    }
    if (replicas_follow && on && (term > p->term || (term == p->term && p->leader_id == 0))) {
        p->term = term;
        p->leader_id = leader->broker_id;
        p->moved = true;
    }
    struct uuid incarnation = uuid_of((uint8_t)leader->broker_id);
    CU_ASSERT_TRUE(uuid_equal(&leader->incarnation, &incarnation));
}

static void on_peer_link(void *context, struct partition *p, const struct raft_member *member, bool on)
{
    (void)context;
    p->linked[member->broker_id] = on;
}

static void on_leader_gone(void *context, struct partition *p, const struct raft_member *leader)
{
    (void)context;
    CU_ASSERT_TRUE(p->moved || p->leader_id == leader->broker_id);
    p->gone++;
}

static bool on_is_stuck(void *context, struct partition *p, int64_t at_us, int64_t limit_us)
{
    (void)context;
    CU_ASSERT_EQUAL(at_us, now_us);
    CU_ASSERT_EQUAL(limit_us, ELECTION_US);
    return p->stuck;
}

static void on_drop(void *context, struct partition *p)
{
    (void)context;
    REQUIRE(p->references > 0);
    p->references--;
}

static void on_peer_changed(void *context, uint32_t broker_id, bool alive)
{
    struct node *node = context;
    (void)broker_id;
    (void)alive;
    node->peer_changes++;
}

static void on_leader_changed(void *context, const struct group_id *group, uint32_t broker_id, uint64_t term)
{
    struct node *node = context;
    (void)term;
    if (group->partition < GROUPS)
        node->leaders[group->partition] = broker_id;
}

/* ---- the world ----------------------------------------------------------------------------- */

static void begin(void)
{
    memset(nodes, 0, sizeof nodes);
    memset(wires, 0, sizeof wires);
    now_us = 1000 * 1000;
    for (uint32_t id = 1; id <= BROKERS; id++) {
        struct node *node = &nodes[id];
        node->id = id;
        const struct link_hooks hooks = {node,        on_claim, on_peer_link,    on_leader_gone,
                                         on_is_stuck, on_drop,  on_peer_changed, on_leader_changed};
        node->table = link_table_new(id, BEAT_US, ELECTION_US, &hooks);
        CU_ASSERT_PTR_NOT_NULL_FATAL(node->table);
        for (uint32_t g = 0; g < GROUPS; g++)
            node->partitions[g].n = g;
        for (uint32_t other = 1; other <= BROKERS; other++)
            if (other != id)
                CU_ASSERT_TRUE(link_table_add(node->table, other));
    }
}

static void end(void)
{
    for (uint32_t id = 1; id <= BROKERS; id++) {
        link_table_free(&nodes[id].table);
        for (uint32_t g = 0; g < GROUPS; g++)
            CU_ASSERT_EQUAL(nodes[id].partitions[g].references, 0);
    }
}

static void connect_one(uint32_t from, uint32_t to)
{
    struct wire *w = &wires[from][to];
    w->up = true;
    w->session = ++sessions;
    w->count = 0;
    link_table_in_up(nodes[to].table, from, w->session);
    link_table_out_up(nodes[from].table, to, w->session, now_us);
}

static void cut_one(uint32_t from, uint32_t to)
{
    struct wire *w = &wires[from][to];
    if (!w->up)
        return;
    w->up = false;
    w->count = 0;
    link_table_out_down(nodes[from].table, to, now_us);
    link_table_in_down(nodes[to].table, from, w->session);
}

static void connect_all(void)
{
    for (uint32_t a = 1; a <= BROKERS; a++)
        for (uint32_t b = 1; b <= BROKERS; b++)
            if (a != b)
                connect_one(a, b);
}

static void tell(uint32_t id, uint32_t g, uint64_t term, uint32_t leader_id)
{
    struct partition *p = &nodes[id].partitions[g];
    p->references++;
    p->moved = false;
    p->term = term;
    p->leader_id = leader_id;
    nodes[id].hosted[g] = true;
    struct replica_news news = {.group = group_of(g),
                                .self = {id, uuid_of((uint8_t)id)},
                                .term = term,
                                .leads = leader_id == id,
                                .leader = {leader_id, uuid_of((uint8_t)leader_id)},
                                .forgot = p->forgot,
                                .config_idx = p->config_idx};
    link_table_news(nodes[id].table, p, &news, now_us);
}

static void forget(uint32_t id, uint32_t g)
{
    struct group_id group = group_of(g);
    link_table_forget(nodes[id].table, &group, now_us);
    struct partition *p = &nodes[id].partitions[g];
    CU_ASSERT_EQUAL(p->references, 0);
    memset(p, 0, sizeof *p);
    p->n = g;
    nodes[id].hosted[g] = false;
}

static bool tell_what_moved(void)
{
    bool any = false;
    for (uint32_t id = 1; id <= BROKERS; id++)
        for (uint32_t g = 0; g < GROUPS; g++) {
            const struct partition *p = &nodes[id].partitions[g];
            if (p->moved) {
                tell(id, g, p->term, p->leader_id);
                any = true;
            }
        }
    return any;
}

static void compose(uint32_t from, uint32_t to)
{
    struct wire *w = &wires[from][to];
    struct buf out;
    buf_init(&out, sizeof w->beats[0].body);
    while (w->up && w->count < BEATS_MAX && link_table_compose(nodes[from].table, to, now_us, &out)) {
        struct beat_of *b = &w->beats[(w->first + w->count++) % BEATS_MAX];
        b->bytes = out.len;
        memcpy(b->body, out.data, out.len);
    }
    buf_fini(&out);
}

static bool deliver(uint32_t from, uint32_t to)
{
    struct wire *w = &wires[from][to];
    if (w->count == 0)
        return false;
    struct beat_of *b = &w->beats[w->first];
    w->first = (w->first + 1) % BEATS_MAX;
    w->count--;
    CU_ASSERT_TRUE(link_table_beat(nodes[to].table, from, w->session, b->body, b->bytes, now_us));
    return true;
}

/* Beats flow until nothing is due. */
static void settle(void)
{
    bool moved = true;
    for (int round = 0; moved; round++) {
        REQUIRE(round < 100); /* or they answer each other for ever */
        moved = tell_what_moved();
        for (uint32_t a = 1; a <= BROKERS; a++)
            for (uint32_t b = 1; b <= BROKERS; b++)
                if (a != b) {
                    compose(a, b);
                    while (deliver(a, b))
                        moved = true;
                }
    }
    for (uint32_t id = 1; id <= BROKERS; id++)
        link_table_check(nodes[id].table);
}

/* Time passes in steps of half a beat, with all wires working. */
static void pass(int64_t span_us)
{
    for (int64_t until_us = now_us + span_us; now_us < until_us;) {
        now_us += BEAT_US / 2;
        for (uint32_t id = 1; id <= BROKERS; id++)
            link_table_tick(nodes[id].table, now_us);
        settle();
    }
}

/* The same while broker `id` neither sends nor hears anything. */
static void pass_without(uint32_t id, int64_t span_us)
{
    for (int64_t until_us = now_us + span_us; now_us < until_us;) {
        now_us += BEAT_US / 2;
        for (uint32_t a = 1; a <= BROKERS; a++)
            if (a != id)
                link_table_tick(nodes[a].table, now_us);
        for (uint32_t a = 1; a <= BROKERS; a++)
            for (uint32_t b = 1; b <= BROKERS; b++)
                if (a != b && a != id && b != id) {
                    compose(a, b);
                    while (deliver(a, b)) {
                    }
                }
    }
}

/* ---- cases ------------------------------------------------------------------------------------ */

static void a_leader_is_vouched_for_and_its_followers_linked(void)
{
    begin();
    connect_all();
    tell(1, 0, 5, 1);
    tell(2, 0, 5, 1);
    settle();
    CU_ASSERT_EQUAL(nodes[2].partitions[0].claimed_by, 1);
    CU_ASSERT_EQUAL(nodes[2].partitions[0].claimed_term, 5);
    CU_ASSERT_TRUE(nodes[1].partitions[0].linked[2]);
    CU_ASSERT_FALSE(nodes[1].partitions[0].linked[3]); /* it has no replica */
    for (uint32_t id = 1; id <= BROKERS; id++)
        CU_ASSERT_EQUAL(nodes[id].leaders[0], 1);
    tell(3, 0, 5, 1); /* here it comes */
    settle();
    CU_ASSERT_EQUAL(nodes[3].partitions[0].claimed_by, 1);
    CU_ASSERT_TRUE(nodes[1].partitions[0].linked[3]);
    end();
}

/* A new replica may say whom it follows before its group has taken it in. */
static void a_follower_is_linked_again_when_the_group_has_other_members(void)
{
    begin();
    connect_all();
    tell(1, 0, 5, 1);
    tell(2, 0, 5, 1);
    settle();
    nodes[1].partitions[0].linked[2] = false; /* as by a replica that knew no such member */
    tell(1, 0, 5, 1);
    settle();
    CU_ASSERT_FALSE(nodes[1].partitions[0].linked[2]);
    nodes[1].partitions[0].config_idx++;
    tell(1, 0, 5, 1);
    CU_ASSERT_TRUE(nodes[1].partitions[0].linked[2]);
    end();
}

static void a_follower_of_another_term_is_not_linked(void)
{
    begin();
    connect_all();
    tell(1, 0, 5, 1);
    tell(2, 0, 4, 3);
    settle();
    CU_ASSERT_FALSE(nodes[1].partitions[0].linked[2]);
    CU_ASSERT_EQUAL(nodes[2].partitions[0].claimed_by, 1); /* and it hears why */
    uint32_t claims = nodes[2].partitions[0].claims;
    tell(2, 0, 5, 1); /* it follows: what was told before its term is told again */
    CU_ASSERT_TRUE(nodes[2].partitions[0].claims > claims);
    settle();
    CU_ASSERT_TRUE(nodes[1].partitions[0].linked[2]);
    tell(2, 0, 6, 0); /* it campaigns */
    settle();
    CU_ASSERT_FALSE(nodes[1].partitions[0].linked[2]);
    end();
}

static void nobody_is_linked_before_it_has_heard_who_leads(void)
{
    begin();
    connect_one(2, 1); /* 1 has no connection to 2 */
    tell(1, 0, 5, 1);
    tell(2, 0, 5, 1);
    settle();
    CU_ASSERT_TRUE(link_table_is_alive(nodes[1].table, 2));
    CU_ASSERT_FALSE(nodes[1].partitions[0].linked[2]);
    CU_ASSERT_EQUAL(nodes[2].partitions[0].claimed_by, 0);
    connect_one(1, 2);
    settle();
    CU_ASSERT_TRUE(nodes[1].partitions[0].linked[2]);
    CU_ASSERT_EQUAL(nodes[2].partitions[0].claimed_by, 1);
    cut_one(1, 2);
    CU_ASSERT_FALSE(nodes[1].partitions[0].linked[2]);
    end();
}

static void a_follower_has_to_acknowledge_the_claim(void)
{
    begin();
    connect_all();
    settle();
    tell(2, 0, 5, 1); /* it knows by a message of the group */
    compose(2, 1);
    CU_ASSERT_TRUE(deliver(2, 1));
    tell(1, 0, 5, 1);
    CU_ASSERT_FALSE(nodes[1].partitions[0].linked[2]); /* nothing vouches there yet */
    compose(1, 2);
    CU_ASSERT_TRUE(deliver(1, 2));
    CU_ASSERT_EQUAL(nodes[2].partitions[0].claimed_by, 1);
    CU_ASSERT_FALSE(nodes[1].partitions[0].linked[2]);
    compose(2, 1);
    CU_ASSERT_TRUE(deliver(2, 1));
    CU_ASSERT_TRUE(nodes[1].partitions[0].linked[2]);
    end();
}

static void what_is_gone_is_forgotten(void)
{
    begin();
    connect_all();
    for (uint32_t g = 0; g < GROUPS; g++) {
        tell(1, g, 5, 1);
        tell(2, g, 5, 1);
    }
    settle();
    for (uint32_t g = 0; g < GROUPS; g++) {
        forget(1, g);
        forget(2, g);
    }
    pass(2 * BEAT_US);
    for (uint32_t id = 1; id <= BROKERS; id++)
        CU_ASSERT_EQUAL(link_table_groups(nodes[id].table), 0);
    end();
}

static void silence_lapses_and_beats_heal(void)
{
    begin();
    connect_all();
    tell(1, 0, 5, 1);
    tell(2, 0, 5, 1);
    pass(3 * BEAT_US);
    pass_without(1, ELECTION_US - 2 * BEAT_US);
    CU_ASSERT_EQUAL(nodes[2].partitions[0].claimed_by, 1);
    pass_without(1, 3 * BEAT_US);
    CU_ASSERT_EQUAL(nodes[2].partitions[0].claimed_by, 0);
    CU_ASSERT_EQUAL(nodes[2].partitions[0].gone, 0);
    CU_ASSERT_EQUAL(nodes[2].leaders[0], 0);
    CU_ASSERT_FALSE(link_table_is_alive(nodes[2].table, 1));
    pass(2 * BEAT_US);
    CU_ASSERT_EQUAL(nodes[2].partitions[0].claimed_by, 1);
    CU_ASSERT_EQUAL(nodes[2].leaders[0], 1);
    CU_ASSERT_TRUE(nodes[1].partitions[0].linked[2]);
    end();
}

static void one_that_was_stopped_itself_does_not_think_that_all_died(void)
{
    begin();
    connect_all();
    tell(1, 0, 5, 1);
    tell(2, 0, 5, 1);
    pass(3 * BEAT_US);
    int changes = nodes[2].peer_changes;
    pass_without(2, 10 * ELECTION_US);
    link_table_tick(nodes[2].table, now_us); /* its first turn, before it has read what waits */
    CU_ASSERT_EQUAL(nodes[2].partitions[0].claimed_by, 1);
    pass(2 * BEAT_US);
    CU_ASSERT_EQUAL(nodes[2].peer_changes, changes);
    end();
}

static void a_refused_peer_is_gone_at_once(void)
{
    begin();
    connect_all();
    tell(1, 0, 5, 1);
    tell(2, 0, 5, 1);
    tell(2, 1, 3, 3);
    tell(2, 2, 3, 2);
    settle();
    cut_one(2, 1);
    link_table_refused(nodes[2].table, 1, now_us); /* while its own connection is there: not gone */
    CU_ASSERT_EQUAL(nodes[2].partitions[0].gone, 0);
    cut_one(1, 2);
    link_table_refused(nodes[2].table, 1, now_us);
    link_table_refused(nodes[2].table, 1, now_us);
    CU_ASSERT_EQUAL(nodes[2].partitions[0].gone, 1);
    CU_ASSERT_EQUAL(nodes[2].partitions[0].claimed_by, 0);
    CU_ASSERT_EQUAL(nodes[2].partitions[1].gone, 0); /* others lead these */
    CU_ASSERT_EQUAL(nodes[2].partitions[2].gone, 0);
    end();
}

static void a_stuck_replica_is_withdrawn_until_it_turns(void)
{
    begin();
    connect_all();
    tell(1, 0, 5, 1);
    tell(2, 0, 5, 1);
    pass(3 * BEAT_US);
    nodes[1].partitions[0].stuck = true;
    pass(ELECTION_US);
    CU_ASSERT_EQUAL(nodes[2].partitions[0].claimed_by, 0);
    CU_ASSERT_FALSE(nodes[1].partitions[0].linked[2]);
    CU_ASSERT_TRUE(link_table_is_alive(nodes[2].table, 1));
    nodes[1].partitions[0].stuck = false;
    nodes[2].partitions[0].stuck = true;
    pass(ELECTION_US);
    CU_ASSERT_EQUAL(nodes[2].partitions[0].claimed_by, 1);
    CU_ASSERT_FALSE(nodes[1].partitions[0].linked[2]);
    nodes[2].partitions[0].stuck = false;
    pass(ELECTION_US);
    CU_ASSERT_TRUE(nodes[1].partitions[0].linked[2]);
    end();
}

/* It follows again when it has been brought up, and not before; its leader's clock runs meanwhile. */
static void one_that_may_have_forgotten_is_not_said_to_follow(void)
{
    begin();
    connect_all();
    nodes[2].partitions[0].forgot = true;
    tell(1, 0, 5, 1);
    tell(2, 0, 5, 1);
    pass(3 * BEAT_US);
    CU_ASSERT_EQUAL(nodes[2].partitions[0].claimed_by, 1);
    CU_ASSERT_FALSE(nodes[1].partitions[0].linked[2]);
    nodes[2].partitions[0].forgot = false;
    tell(2, 0, 5, 1);
    pass(3 * BEAT_US);
    CU_ASSERT_TRUE(nodes[1].partitions[0].linked[2]);
    nodes[2].partitions[0].forgot = true; /* it was started anew */
    tell(2, 0, 5, 1);
    pass(3 * BEAT_US);
    CU_ASSERT_FALSE(nodes[1].partitions[0].linked[2]);
    end();
}

static void a_new_connection_tells_all_and_what_it_does_not_tell_is_gone(void)
{
    begin();
    connect_all();
    for (uint32_t g = 0; g < GROUPS; g++) {
        tell(1, g, 5, 1);
        tell(2, g, 5, 1);
    }
    settle();
    cut_one(1, 2);
    forget(1, 3);
    tell(1, 4, 6, 2);                                      /* lost it */
    CU_ASSERT_EQUAL(nodes[2].partitions[3].claimed_by, 1); /* nobody has told it otherwise yet */
    connect_one(1, 2);
    settle();
    for (uint32_t g = 0; g < GROUPS; g++)
        CU_ASSERT_EQUAL(nodes[2].partitions[g].claimed_by, g == 3 || g == 4 ? 0 : 1);
    CU_ASSERT_EQUAL(nodes[2].leaders[3], 1); /* what its own replica believes, while 1 lives */
    end();
}

static void a_beat_is_taken_once_and_in_order(void)
{
    begin();
    connect_all();
    tell(1, 0, 5, 1);
    struct wire *w = &wires[1][2];
    compose(1, 2);
    CU_ASSERT_EQUAL_FATAL(w->count, 1);
    struct beat_of one = w->beats[w->first];
    CU_ASSERT_TRUE(deliver(1, 2));
    struct link_table *two = nodes[2].table;
    CU_ASSERT_FALSE(link_table_beat(two, 1, w->session, one.body, one.bytes, now_us)); /* again */
    now_us += BEAT_US;
    compose(1, 2);
    struct beat_of next = w->beats[w->first];
    w->count = 0;
    now_us += BEAT_US;
    compose(1, 2);
    struct beat_of third = w->beats[(w->first) % BEATS_MAX];
    w->count = 0;
    CU_ASSERT_FALSE(link_table_beat(two, 1, w->session, third.body, third.bytes, now_us)); /* one is missing */
    CU_ASSERT_TRUE(link_table_beat(two, 1, w->session, next.body, next.bytes, now_us));
    CU_ASSERT_TRUE(link_table_beat(two, 1, w->session, third.body, third.bytes, now_us));
    /* of a connection that is no more: nothing happens */
    int64_t later_us = now_us + 10 * ELECTION_US;
    CU_ASSERT_TRUE(link_table_beat(two, 1, w->session + 100, one.body, one.bytes, later_us));
    CU_ASSERT_FALSE(link_table_beat(two, 1, w->session, one.body, one.bytes - 1, now_us)); /* not a beat */
    end();
}

static void a_peer_that_is_removed_leaves_nothing(void)
{
    begin();
    connect_all();
    tell(1, 0, 5, 1);
    tell(2, 0, 5, 1);
    tell(1, 1, 5, 1); /* 2 has no replica of it */
    settle();
    link_table_remove(nodes[2].table, 1, now_us);
    link_table_check(nodes[2].table);
    CU_ASSERT_EQUAL(nodes[2].partitions[0].claimed_by, 0);
    CU_ASSERT_EQUAL(nodes[2].leaders[1], 0);
    wires[1][2].up = wires[2][1].up = false;
    CU_ASSERT_TRUE(link_table_add(nodes[2].table, 1));
    connect_one(1, 2);
    connect_one(2, 1);
    settle();
    CU_ASSERT_EQUAL(nodes[2].partitions[0].claimed_by, 1);
    CU_ASSERT_EQUAL(nodes[2].leaders[1], 1);
    end();
}

/* Nothing happens between two beats, and few things at each of them. */
static void idle_costs_a_beat(void)
{
    begin();
    connect_all();
    for (uint32_t g = 0; g < GROUPS; g++) {
        tell(1, g, 5, 1);
        tell(2, g, 5, 1);
    }
    pass(ELECTION_US);
    struct link_table *one = nodes[1].table;
    int beats = 0;
    uint32_t claims = nodes[2].partitions[0].claims;
    for (int i = 0; i < 100; i++) {
        int64_t due_us = link_table_deadline_us(one);
        CU_ASSERT_TRUE(due_us <= now_us + BEAT_US);
        struct buf out;
        buf_init(&out, 4096);
        now_us += BEAT_US / 10;
        link_table_tick(one, now_us);
        while (link_table_compose(one, 2, now_us, &out)) {
            beats++;
            CU_ASSERT_EQUAL(out.len, BEAT_HEAD_BYTES);
            CU_ASSERT_TRUE(link_table_beat(nodes[2].table, 1, wires[1][2].session, out.data, out.len, now_us));
        }
        buf_fini(&out);
    }
    CU_ASSERT_EQUAL(beats, 10);
    CU_ASSERT_EQUAL(nodes[2].partitions[0].claims, claims);
    /* a beat that cannot leave is not due all the time */
    now_us += BEAT_US;
    link_table_tick(one, now_us);
    link_table_put_off(one, 2, now_us);
    link_table_put_off(one, 3, now_us);
    CU_ASSERT_TRUE(link_table_deadline_us(one) > now_us);
    end();
}

/* A list that does not fit into one beat: 10,000 groups. */
static void many_groups_are_told_in_pieces(void)
{
    begin();
    static struct partition many;
    enum { MANY = 10000 };
    many.references = MANY;
    for (uint32_t i = 0; i < MANY; i++) {
        struct replica_news news = {.group = {.topic_id = uuid_of(9), .partition = i},
                                    .self = {1, uuid_of(1)},
                                    .term = 3,
                                    .leads = true,
                                    .leader = {1, uuid_of(1)}};
        struct partition *p = &many;
        link_table_news(nodes[1].table, p, &news, now_us);
    }
    link_table_in_up(nodes[2].table, 1, 77);
    for (int round = 0; round < 2; round++) {
        link_table_in_up(nodes[2].table, 1, 77 + (uint64_t)round);
        link_table_out_up(nodes[1].table, 2, 77 + (uint64_t)round, now_us);
        struct buf out;
        buf_init(&out, 1024 * 1024);
        int beats = 0;
        for (; link_table_compose(nodes[1].table, 2, now_us, &out); beats++)
            CU_ASSERT_TRUE(link_table_beat(nodes[2].table, 1, 77 + (uint64_t)round, out.data, out.len, now_us));
        CU_ASSERT_EQUAL(beats, 3);
        buf_fini(&out);
    }
    for (uint32_t i = 0; i < MANY; i++) {
        struct group_id group = {.topic_id = uuid_of(9), .partition = i};
        uint64_t term;
        CU_ASSERT_EQUAL(link_table_leader(nodes[2].table, &group, &term), 1);
    }
    link_table_check(nodes[1].table);
    link_table_check(nodes[2].table);
    end();
    CU_ASSERT_EQUAL(many.references, 0);
}

/* ---- at random ------------------------------------------------------------------------------------ */

static uint32_t random_state;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % below;
}

static void do_something(void)
{
    uint32_t a = 1 + draw(BROKERS);
    uint32_t b = 1 + (a + draw(BROKERS - 1)) % BROKERS;
    uint32_t g = draw(GROUPS);
    struct partition *p = &nodes[a].partitions[g];
    switch (draw(12)) {
    case 0:
        connect_one(a, b);
        break;
    case 1:
        cut_one(a, b);
        break;
    case 2:
    case 3:
        p->term += draw(2);
        tell(a, g, p->term, draw(3) == 0 ? 0 : 1 + (uint32_t)(p->term + g) % BROKERS); /* a term has one leader */
        break;
    case 4:
        if (nodes[a].hosted[g])
            forget(a, g);
        break;
    case 5:
        p->stuck = draw(4) == 0;
        break;
    case 6:
        now_us += draw(BEAT_US);
        link_table_tick(nodes[a].table, now_us);
        break;
    case 7:
        link_table_refused(nodes[a].table, b, now_us);
        break;
    case 8:
        link_table_put_off(nodes[a].table, b, now_us);
        break;
    case 9:
        (void)tell_what_moved();
        break;
    default:
        compose(a, b);
        (void)deliver(a, b);
        break;
    }
    for (uint32_t id = 1; id <= BROKERS; id++)
        link_table_check(nodes[id].table);
}

/* With all connected and nobody stuck, everyone knows exactly what is so. */
static void is_as_it_should_be(void)
{
    for (uint32_t a = 1; a <= BROKERS; a++)
        for (uint32_t g = 0; g < GROUPS; g++) {
            const struct partition *mine = &nodes[a].partitions[g];
            bool leads = nodes[a].hosted[g] && mine->leader_id == a && mine->term > 0;
            for (uint32_t b = 1; b <= BROKERS; b++) {
                const struct partition *theirs = &nodes[b].partitions[g];
                bool follows =
                    a != b && leads && nodes[b].hosted[g] && theirs->leader_id == a && theirs->term == mine->term;
                CU_ASSERT_EQUAL(leads && mine->linked[b], follows);
                if (follows) {
                    CU_ASSERT_EQUAL(theirs->claimed_by, a);
                    CU_ASSERT_EQUAL(theirs->claimed_term, mine->term);
                }
            }
            if (nodes[a].hosted[g] && mine->claimed_by != 0) {
                const struct partition *leader = &nodes[mine->claimed_by].partitions[g];
                CU_ASSERT_EQUAL(leader->leader_id, mine->claimed_by);
                CU_ASSERT_EQUAL(leader->term, mine->claimed_term);
            }
        }
}

static void whatever_happened_all_is_known_in_the_end(void)
{
    replicas_follow = true;
    for (uint32_t seed = 1; seed <= 200; seed++) {
        random_state = seed;
        begin();
        connect_all();
        for (int step = 0; step < 1500; step++)
            do_something();
        for (uint32_t a = 1; a <= BROKERS; a++)
            for (uint32_t g = 0; g < GROUPS; g++)
                nodes[a].partitions[g].stuck = false;
        connect_all();
        pass(3 * ELECTION_US);
        is_as_it_should_be();
        end();
        if (CU_get_number_of_failures() > 0) {
            (void)fprintf(stderr, "seed %u ", seed);
            break;
        }
    }
    replicas_follow = false;
}

static const struct unit_case cases[] = {
    {"a leader is vouched for, and its followers linked", a_leader_is_vouched_for_and_its_followers_linked},
    {"a follower is linked again when the group has other members",
     a_follower_is_linked_again_when_the_group_has_other_members},
    {"a follower of another term is not linked", a_follower_of_another_term_is_not_linked},
    {"nobody is linked before it has heard who leads", nobody_is_linked_before_it_has_heard_who_leads},
    {"a follower has to acknowledge the claim", a_follower_has_to_acknowledge_the_claim},
    {"what is gone is forgotten", what_is_gone_is_forgotten},
    {"silence lapses, and beats heal", silence_lapses_and_beats_heal},
    {"one that was stopped itself does not think that all died",
     one_that_was_stopped_itself_does_not_think_that_all_died},
    {"a refused peer is gone at once", a_refused_peer_is_gone_at_once},
    {"a stuck replica is withdrawn until it turns", a_stuck_replica_is_withdrawn_until_it_turns},
    {"one that may have forgotten is not said to follow", one_that_may_have_forgotten_is_not_said_to_follow},
    {"a new connection tells all, and what it does not tell is gone",
     a_new_connection_tells_all_and_what_it_does_not_tell_is_gone},
    {"a beat is taken once and in order", a_beat_is_taken_once_and_in_order},
    {"a peer that is removed leaves nothing", a_peer_that_is_removed_leaves_nothing},
    {"idle costs a beat", idle_costs_a_beat},
    {"many groups are told in pieces", many_groups_are_told_in_pieces},
    {"whatever happened, all is known in the end", whatever_happened_all_is_known_in_the_end},
};
UNIT_MAIN("link table", cases)
