/* Links of two and three brokers over loopback: messages, claims, deaths, cuts. */
#include "support/links_rig.h"
#include "support/unit.h"

#include <stdio.h>

static struct rig_node nodes[3];

enum { BUSY_US = 15 * 1000 * 1000, SILENT_US = 400 * 1000, LONG_SILENT_US = 1500 * 1000 };

/* Who is silent for silence_us is taken for dead. */
static void begin_patient(int count, int64_t silence_us)
{
    for (int i = 0; i < count; i++) {
        rig_init(&nodes[i], (uint32_t)i + 1, 50);
        nodes[i].config.election_us = silence_us;
        rig_start(&nodes[i]);
    }
    rig_link(nodes, count);
}

/* For what does not need silence: on a busy machine nobody is to be taken for dead. */
static void begin(int count)
{
    begin_patient(count, BUSY_US);
}

static void end(int count)
{
    for (int i = 0; i < count; i++)
        rig_stop(&nodes[i]);
}

/* ---- conditions ------------------------------------------------------------------------ */

struct pair_of {
    struct rig_node *a;
    struct rig_node *b;
};

static bool sees(void *context)
{
    struct pair_of *p = context;
    return links_is_alive(p->a->links, p->b->options.self.broker_id);
}

static bool sees_not(void *context)
{
    return !sees(context);
}

static bool wait_linked(struct rig_node *a, struct rig_node *b)
{
    return rig_wait(sees, &(struct pair_of){a, b}) && rig_wait(sees, &(struct pair_of){b, a});
}

static bool is_claimed(void *context)
{
    struct partition *p = context;
    return RIG_LOCKED(p, p->claimed);
}

static bool is_not_claimed(void *context)
{
    return !is_claimed(context);
}

static bool links_2(void *context)
{
    struct partition *p = context;
    return RIG_LOCKED(p, p->linked[2]);
}

static bool links_2_not(void *context)
{
    return !links_2(context);
}

static bool leader_is_gone(void *context)
{
    struct partition *p = context;
    return RIG_LOCKED(p, p->gone) > 0;
}

static bool has_100_entries(void *context)
{
    struct partition *p = context;
    return RIG_LOCKED(p, p->entries) >= 100;
}

static bool has_sent_50(void *context)
{
    struct rig_node *node = context;
    return node->left_sent >= 50 && links_counters(node->links)->messages_out >= 50;
}

static bool caught_up_5_mb(void *context)
{
    struct rig_node *node = context;
    return links_counters(node->links)->catch_up_bytes > 5 * 1000 * 1000;
}

static bool has_state(void *context)
{
    struct partition *p = context;
    return RIG_LOCKED(p, p->states) > 0;
}

static bool nobody_leads(void *context)
{
    struct rig_node *node = context;
    struct group_id group = rig_group(0);
    return links_leader(node->links, &group, NULL) == 0;
}

static bool leads_1(void *context)
{
    struct rig_node *node = context;
    struct group_id group = rig_group(0);
    uint64_t term;
    return links_leader(node->links, &group, &term) == 1 && term == 5;
}

/* ---- cases ------------------------------------------------------------------------------- */

static void brokers_find_each_other(void)
{
    begin(3);
    for (int a = 0; a < 3; a++)
        for (int b = 0; b < 3; b++)
            CU_ASSERT_TRUE(rig_wait(sees, &(struct pair_of){&nodes[a], &nodes[b]}));
    const uint32_t ids[] = {1, 2, 3, 4};
    CU_ASSERT_EQUAL(links_alive_count(nodes[0].links, ids, 4), 3);
    end(3);
}

static void messages_arrive_as_they_were_sent(void)
{
    begin(2);
    CU_ASSERT_TRUE(wait_linked(&nodes[0], &nodes[1]));
    for (uint64_t i = 0; i < 50; i++)
        rig_append(&nodes[0], 2, 1, 2 * i, 2, (uint32_t)(i * i * 6)); /* 0.5 MB: all may wait at once */
    struct partition *p = &nodes[1].partitions[1];
    CU_ASSERT_TRUE(rig_wait(has_100_entries, p));
    CU_ASSERT_EQUAL(p->entries, 100);
    CU_ASSERT_EQUAL(p->received, 50);
    CU_ASSERT_EQUAL(p->last_idx, 100);
    CU_ASSERT_EQUAL(p->wrong, 0);
    CU_ASSERT_TRUE(rig_wait(has_sent_50, &nodes[0])); /* who sends may be the last to know */
    CU_ASSERT_EQUAL(nodes[0].left_sent, 50);
    const struct links_counters *counters = links_counters(nodes[0].links);
    CU_ASSERT_EQUAL(counters->messages_out, 50);
    CU_ASSERT_EQUAL(counters->dropped, 0);
    end(2);
}

static void a_reset_arrives_small_or_large(void)
{
    begin(2);
    CU_ASSERT_TRUE(wait_linked(&nodes[0], &nodes[1]));
    rig_reset(&nodes[0], 2, 0, 1000);
    rig_reset(&nodes[0], 2, 1, 5 * 1000 * 1000);
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_TRUE(rig_wait(has_state, &nodes[1].partitions[i]));
        CU_ASSERT_EQUAL(nodes[1].partitions[i].wrong, 0);
    }
    CU_ASSERT_EQUAL(nodes[1].partitions[1].states, 5 * 1000 * 1000);
    CU_ASSERT_TRUE(rig_wait(caught_up_5_mb, &nodes[0]));
    end(2);
}

/* A megabyte in one call would keep a core from those who publish. */
static void beside_publishers_a_large_state_goes_in_pieces(void)
{
    begin(2);
    CU_ASSERT_TRUE(wait_linked(&nodes[0], &nodes[1]));
    const struct links_counters *counters = links_counters(nodes[0].links);
    rig_reset(&nodes[0], 2, 0, 5 * 1000 * 1000);
    CU_ASSERT_TRUE(rig_wait(caught_up_5_mb, &nodes[0]));
    uint64_t alone = counters->writes;
    rig_append(&nodes[0], 2, 1, 0, 1, 100);
    rig_reset(&nodes[0], 2, 1, 5 * 1000 * 1000);
    CU_ASSERT_TRUE(rig_wait(has_state, &nodes[1].partitions[1]));
    CU_ASSERT_EQUAL(nodes[1].partitions[1].wrong, 0);
    CU_ASSERT_EQUAL(nodes[1].partitions[1].states, 5 * 1000 * 1000);
    CU_ASSERT_TRUE(alone <= 10);
    CU_ASSERT_TRUE(counters->writes - alone >= 20);
    end(2);
}

static void beats_vouch_for_a_leader_and_its_followers(void)
{
    begin_patient(2, SILENT_US); /* who is stuck is looked for as often as who is silent */
    rig_news(&nodes[0], 0, 5, 1);
    rig_news(&nodes[1], 0, 5, 1);
    struct partition *follower = &nodes[1].partitions[0];
    CU_ASSERT_TRUE(rig_wait(is_claimed, follower));
    CU_ASSERT_EQUAL(follower->claimed_leader.broker_id, 1);
    CU_ASSERT_EQUAL(follower->claimed_term, 5);
    CU_ASSERT_TRUE(rig_wait(links_2, &nodes[0].partitions[0]));
    CU_ASSERT_TRUE(rig_wait(leads_1, &nodes[0]));
    CU_ASSERT_TRUE(rig_wait(leads_1, &nodes[1]));
    /* who is stuck is not vouched for, until it turns again */
    (void)RIG_LOCKED(&nodes[0].partitions[0], nodes[0].partitions[0].stuck = true);
    CU_ASSERT_TRUE(rig_wait(is_not_claimed, follower));
    (void)RIG_LOCKED(&nodes[0].partitions[0], nodes[0].partitions[0].stuck = false);
    CU_ASSERT_TRUE(rig_wait(is_claimed, follower));
    CU_ASSERT_TRUE(rig_wait(links_2, &nodes[0].partitions[0]));
    (void)RIG_LOCKED(follower, follower->stuck = true);
    CU_ASSERT_TRUE(rig_wait(links_2_not, &nodes[0].partitions[0]));
    /* and a closed one is claimed by nobody */
    struct group_id group = rig_group(0);
    links_forget(nodes[0].links, &group);
    CU_ASSERT_TRUE(rig_wait(is_not_claimed, follower));
    end(2);
}

static void a_killed_leader_is_gone_at_once(void)
{
    begin(2);
    rig_news(&nodes[0], 0, 5, 1);
    rig_news(&nodes[1], 0, 5, 1);
    struct partition *follower = &nodes[1].partitions[0];
    CU_ASSERT_TRUE(rig_wait(is_claimed, follower));
    int64_t from_us = clock_mono_us();
    rig_stop(&nodes[0]);
    CU_ASSERT_TRUE(rig_wait(leader_is_gone, follower));
    int64_t took_us = clock_mono_us() - from_us;
    CU_ASSERT_TRUE(took_us < nodes[1].config.election_us); /* not by silence */
    CU_ASSERT_EQUAL(follower->gone_leader.broker_id, 1);
    CU_ASSERT_TRUE(rig_wait(is_not_claimed, follower));
    CU_ASSERT_FALSE(links_is_alive(nodes[1].links, 1));
    CU_ASSERT_TRUE(rig_wait(nobody_leads, &nodes[1]));
    (void)fprintf(stderr, "[gone after %lld us] ", (long long)took_us);
    rig_stop(&nodes[1]);
}

/* Broker 1 reaches broker 2 through the proxy, and the other way round. */
static void begin_through(struct rig_proxy *to_2, struct rig_proxy *to_1, int64_t silence_us)
{
    for (int i = 0; i < 2; i++) {
        rig_init(&nodes[i], (uint32_t)i + 1, 50);
        nodes[i].config.election_us = silence_us;
        rig_start(&nodes[i]);
    }
    rig_proxy_start(to_2, nodes[1].port);
    rig_proxy_start(to_1, nodes[0].port);
    struct link_address one = rig_address(&nodes[0]);
    struct link_address two = rig_address(&nodes[1]);
    one.port = to_1->port;
    two.port = to_2->port;
    links_set_peers(nodes[0].links, &two, 1);
    links_set_peers(nodes[1].links, &one, 1);
}

static void end_through(struct rig_proxy *to_2, struct rig_proxy *to_1)
{
    end(2);
    rig_proxy_stop(to_2);
    rig_proxy_stop(to_1);
}

static void silence_lets_claims_lapse_and_beats_bring_them_back(void)
{
    struct rig_proxy to_2;
    struct rig_proxy to_1;
    begin_through(&to_2, &to_1, LONG_SILENT_US);
    rig_news(&nodes[0], 0, 5, 1);
    rig_news(&nodes[1], 0, 5, 1);
    struct partition *follower = &nodes[1].partitions[0];
    CU_ASSERT_TRUE(rig_wait(is_claimed, follower));
    CU_ASSERT_TRUE(rig_wait(links_2, &nodes[0].partitions[0]));
    to_2.frozen = true; /* one way: 2 hears nothing of 1 */
    int64_t from_us = clock_mono_us();
    CU_ASSERT_TRUE(rig_wait(is_not_claimed, follower));
    int64_t took_us = clock_mono_us() - from_us;
    CU_ASSERT_TRUE(took_us > nodes[1].config.election_us / 2);
    CU_ASSERT_EQUAL(RIG_LOCKED(follower, follower->gone), 0);
    /* 1 still hears 2, but not that 2 hears it: the follower has to be asked again */
    CU_ASSERT_TRUE(rig_wait(links_2_not, &nodes[0].partitions[0]));
    CU_ASSERT_TRUE(rig_wait(sees, &(struct pair_of){&nodes[0], &nodes[1]}));
    to_2.frozen = false;
    CU_ASSERT_TRUE(rig_wait(is_claimed, follower));
    CU_ASSERT_TRUE(rig_wait(links_2, &nodes[0].partitions[0]));
    end_through(&to_2, &to_1);
}

static uint64_t round_sent;
static uint64_t round_wanted;

static bool hears_round(void *context)
{
    rig_beat(&nodes[0], 2, 2, ++round_sent);
    struct partition *p = context;
    return RIG_LOCKED(p, p->highest_round) >= round_wanted;
}

/* A message that leaves from now on is heard. */
static bool is_heard(struct partition *p)
{
    round_wanted = round_sent + 1;
    return rig_wait(hears_round, p);
}

static void cut_connections_are_made_again(void)
{
    struct rig_proxy to_2;
    struct rig_proxy to_1;
    begin_through(&to_2, &to_1, SILENT_US);
    rig_news(&nodes[0], 0, 5, 1);
    rig_news(&nodes[1], 0, 5, 1);
    CU_ASSERT_TRUE(wait_linked(&nodes[0], &nodes[1]));
    for (int i = 0; i < 10; i++) {
        CU_ASSERT_TRUE(is_heard(&nodes[1].partitions[2]));
        to_2.cut = true;
        to_1.cut = true;
    }
    CU_ASSERT_TRUE(rig_wait(is_claimed, &nodes[1].partitions[0]));
    CU_ASSERT_TRUE(rig_wait(links_2, &nodes[0].partitions[0]));
    CU_ASSERT_EQUAL(nodes[1].partitions[0].gone, 0);
    to_2.deaf = true; /* now nobody is let in any more, without being refused */
    to_1.deaf = true;
    to_2.cut = true;
    to_1.cut = true;
    CU_ASSERT_TRUE(rig_wait(sees_not, &(struct pair_of){&nodes[1], &nodes[0]}));
    CU_ASSERT_TRUE(rig_wait(is_not_claimed, &nodes[1].partitions[0]));
    to_2.deaf = false;
    to_1.deaf = false;
    CU_ASSERT_TRUE(rig_wait(is_claimed, &nodes[1].partitions[0]));
    end_through(&to_2, &to_1);
}

static bool dropped_some(void *context)
{
    struct rig_node *node = context;
    rig_append(node, 2, 1, 0, 1, 100 * 1000);
    return node->left_dropped > 0;
}

static void an_outbox_is_bounded(void)
{
    struct rig_proxy to_2;
    struct rig_proxy to_1;
    begin_through(&to_2, &to_1, BUSY_US);
    CU_ASSERT_TRUE(wait_linked(&nodes[0], &nodes[1]));
    to_2.frozen = true;
    CU_ASSERT_TRUE(rig_wait(dropped_some, &nodes[0]));
    CU_ASSERT_TRUE(links_counters(nodes[0].links)->dropped > 0);
    to_2.frozen = false;
    CU_ASSERT_TRUE(is_heard(&nodes[1].partitions[2]));
    end_through(&to_2, &to_1);
}

static bool left_at_once(void *context)
{
    const struct links_counters *counters = context;
    rig_beat(&nodes[0], 2, 2, 1);
    return counters->writes_now > 0;
}

static void a_message_that_finds_the_link_idle_leaves_on_the_thread_that_made_it(void)
{
    begin(2);
    CU_ASSERT_TRUE(wait_linked(&nodes[0], &nodes[1]));
    CU_ASSERT_TRUE(rig_wait(left_at_once, links_counters(nodes[0].links)));
    CU_ASSERT_TRUE(is_heard(&nodes[1].partitions[2]));
    end(2);
}

struct flood {
    uint64_t count; /* appends of one entry */
};

/* The socket is full, and what is made now waits. */
static bool overflows(void *context)
{
    struct flood *f = context;
    const struct links_counters *counters = links_counters(nodes[0].links);
    for (int i = 0; i < 20; i++)
        rig_append(&nodes[0], 2, 1, f->count++, 1, 12000);
    return counters->writes_now > 0 && counters->messages_out + 20 < f->count;
}

static bool has_flood(void *context)
{
    const struct flood *f = context;
    struct partition *p = &nodes[1].partitions[1];
    return RIG_LOCKED(p, p->last_idx) == f->count;
}

static void what_does_not_fit_at_once_follows_in_order(void)
{
    struct rig_proxy to_2;
    struct rig_proxy to_1;
    struct flood flood = {0};
    begin_through(&to_2, &to_1, BUSY_US);
    CU_ASSERT_TRUE(wait_linked(&nodes[0], &nodes[1]));
    to_2.frozen = true;
    CU_ASSERT_TRUE(rig_wait(overflows, &flood));
    to_2.frozen = false;
    CU_ASSERT_TRUE(rig_wait(has_flood, &flood));
    struct partition *p = &nodes[1].partitions[1];
    CU_ASSERT_EQUAL(RIG_LOCKED(p, p->entries), flood.count);
    CU_ASSERT_EQUAL(RIG_LOCKED(p, p->wrong), 0);
    CU_ASSERT_EQUAL(nodes[0].left_dropped, 0);
    end_through(&to_2, &to_1);
}

static void a_peer_that_is_taken_away_is_not_linked_any_more(void)
{
    begin(3);
    CU_ASSERT_TRUE(wait_linked(&nodes[0], &nodes[1]));
    CU_ASSERT_TRUE(wait_linked(&nodes[0], &nodes[2]));
    struct link_address two = rig_address(&nodes[1]);
    links_set_peers(nodes[0].links, &two, 1);
    CU_ASSERT_TRUE(rig_wait(sees_not, &(struct pair_of){&nodes[0], &nodes[2]}));
    CU_ASSERT_TRUE(rig_wait(sees_not, &(struct pair_of){&nodes[2], &nodes[0]}));
    CU_ASSERT_TRUE(links_is_alive(nodes[0].links, 2));
    rig_link(nodes, 3);
    CU_ASSERT_TRUE(wait_linked(&nodes[0], &nodes[2]));
    end(3);
}

static void a_broker_that_starts_again_is_linked_again(void)
{
    begin(2);
    rig_news(&nodes[1], 0, 5, 2);
    CU_ASSERT_TRUE(wait_linked(&nodes[0], &nodes[1]));
    uint16_t port = nodes[1].port;
    rig_stop(&nodes[1]);
    CU_ASSERT_TRUE(rig_wait(sees_not, &(struct pair_of){&nodes[0], &nodes[1]}));
    rig_init(&nodes[1], 2, 50);
    nodes[1].port = port;
    nodes[1].options.self.boot = 2;
    rig_start(&nodes[1]);
    rig_link(nodes, 2);
    CU_ASSERT_TRUE(wait_linked(&nodes[0], &nodes[1]));
    CU_ASSERT_TRUE(rig_wait(nobody_leads, &nodes[0])); /* what the earlier one claimed is not claimed now */
    end(2);
}

static const struct unit_case cases[] = {
    {"brokers find each other", brokers_find_each_other},
    {"messages arrive as they were sent", messages_arrive_as_they_were_sent},
    {"a reset arrives, small or large", a_reset_arrives_small_or_large},
    {"beside publishers a large state goes in pieces", beside_publishers_a_large_state_goes_in_pieces},
    {"beats vouch for a leader and its followers", beats_vouch_for_a_leader_and_its_followers},
    {"a killed leader is gone at once", a_killed_leader_is_gone_at_once},
    {"silence lets claims lapse, and beats bring them back", silence_lets_claims_lapse_and_beats_bring_them_back},
    {"cut connections are made again", cut_connections_are_made_again},
    {"an outbox is bounded", an_outbox_is_bounded},
    {"a message that finds the link idle leaves on the thread that made it",
     a_message_that_finds_the_link_idle_leaves_on_the_thread_that_made_it},
    {"what does not fit at once follows in order", what_does_not_fit_at_once_follows_in_order},
    {"a peer that is taken away is not linked any more", a_peer_that_is_taken_away_is_not_linked_any_more},
    {"a broker that starts again is linked again", a_broker_that_starts_again_is_linked_again},
};
UNIT_MAIN("links", cases)
