/* Stories of links: cut one way, some of them, around those who lead. */
#include "sim/judge.h"
#include "sim/ledger.h"
#include "sim/net.h"
#include "sim/scenarios.h"
#include "sim/story.h"

#include <inttypes.h>

/* Some elections in a row, each with a tie or two. */
enum { NEW_LEADER_S = 5 };

/* False: within NEW_LEADER_S nobody else leads t0/0, or the one that was cut off still says that it leads. */
static bool another_takes_over(unsigned old, const char *when)
{
    unsigned asked = old == 1 ? 2 : 1, leader = 0, own = old;
    int64_t until_ns = machine_now_ns() + NEW_LEADER_S * S_NS;
    while (machine_now_ns() < until_ns && (leader == 0 || leader == old || own == old)) {
        story_load(100);
        leader = story_leader(asked, "t0", 0);
        own = story_leader(old, "t0", 0);
    }
    if (leader == 0 || leader == old)
        judge_fails("%s: after %d s broker %u still sees broker %u lead", when, NEW_LEADER_S, asked, leader);
    else if (own == old)
        judge_fails("%s: after %d s broker %u still says that it leads", when, NEW_LEADER_S, old);
    return judge_verdict() == NULL;
}

/* It sends and hears nothing; or it hears and cannot send. Either way the others need another. */
static bool cut_one_way(struct chance *chance, bool sends)
{
    const char *when = sends ? "the leader hears nobody" : "nobody hears the leader";
    for (int i = 0; i < 2; i++) {
        unsigned leader = story_wait_for_leader("t0", 0);
        story_load(chance_between(chance, 500, 2000));
        story_isolate(leader, sends, !sends);
        if (!another_takes_over(leader, when))
            return false;
        story_load(chance_between(chance, 0, 3000));
        net_heal();
        if (!story_takes_messages("the links are whole again", 10) || !story_settles("the links are whole again"))
            return false;
    }
    return true;
}

bool story_a_leader_hears_nobody(struct chance *chance)
{
    return cut_one_way(chance, true);
}

bool story_nobody_hears_the_leader(struct chance *chance)
{
    return cut_one_way(chance, false);
}

/* No election in this time. */
static bool stays_quiet(int64_t ms, const char *when)
{
    uint64_t before = ledger_reigns("t0");
    story_load(ms);
    uint64_t more = ledger_reigns("t0") - before;
    if (more > 0)
        judge_fails("%s, and %" PRIu64 " leaders of t0 came and went in %d s", when, more, (int)(ms / 1000));
    return more == 0;
}

/* Preferred leaders lead: none is handed over any more. */
static bool comes_to_rest(void)
{
    uint64_t before;
    int64_t until_ns = machine_now_ns() + 60 * S_NS;
    if (!story_settles("it begins"))
        return false;
    do {
        before = ledger_reigns("t0");
        story_load(6000);
    } while (ledger_reigns("t0") != before && machine_now_ns() < until_ns);
    return ledger_reigns("t0") == before || stays_quiet(6000, "nothing happens");
}

/* As at Cloudflare in November 2020: one link of five is cut, beside it all is well. The one
 * that does not hear the leader any more hears those who do, and must leave them in peace. */
static bool one_link_is_cut(struct chance *chance)
{
    unsigned leader = story_wait_for_leader("t0", 0), deaf = story_another(leader, chance);
    if (leader == 0)
        return false;
    if (chance_once_in(chance, 2)) {
        story_cut(leader, deaf, true); /* and answers by way of nobody */
        story_load(500);
    }
    story_part(leader, deaf, true);
    return stays_quiet(10000, "one link of five brokers is cut") &&
           story_takes_messages("one link of five brokers is cut", 10);
}

/* All links but those of one broker are cut: it alone has a majority, and it hears a leader
 * that has none. The leader must give up, and nobody then disturb the one that can lead. */
static bool one_is_the_middle(struct chance *chance)
{
    unsigned leader = story_wait_for_leader("t0", 0), middle = story_another(leader, chance);
    if (leader == 0)
        return false;
    for (unsigned a = 1; a <= brokers_count(); a++)
        for (unsigned b = a + 1; b <= brokers_count(); b++)
            if (a != middle && b != middle)
                story_part(a, b, true);
    story_load(NEW_LEADER_S * 1000);
    return story_takes_messages("one broker of five has all the links", 10) &&
           stays_quiet(8000, "one broker of five has all the links");
}

bool story_five_are_partly_connected(struct chance *chance)
{
    if (!comes_to_rest() || !one_link_is_cut(chance))
        return false;
    net_heal();
    if (!comes_to_rest() || !one_is_the_middle(chance))
        return false;
    net_heal();
    return story_settles("all links are whole again");
}
