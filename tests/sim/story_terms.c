/*
 * Stories of terms: five brokers, one partition on all of them, and appends that reach
 * only those whom the story wants. What was committed is judged by the ledger.
 */
#include "proto/peer/raft_frame.h"
#include "sim/disk.h"
#include "sim/frames.h"
#include "sim/judge.h"
#include "sim/ledger.h"
#include "sim/net.h"
#include "sim/scenarios.h"
#include "sim/story.h"
#include "sim/trace.h"

#include <stdlib.h>

static const char topic[] = "fig"; /* all to itself */

/* Entries of the topic reach these brokers alone (1 << broker), */
static unsigned reached;
/* and nothing beyond this one, if it is not 0, those who have it. */
static uint64_t no_further, last_sent;
static unsigned have_it;
/* To this one they come late. */
static unsigned late;

static enum frame_fate gate(const struct raft_frame *f)
{
    const struct raft_message *m = &f->message;
    if (!ledger_is_of(f, topic))
        return FRAME_PASSES;
    if (m->type == RAFT_MSG_APPEND_REPLY && !m->refused && no_further != 0 && m->match_idx >= no_further)
        have_it |= 1U << m->from.broker_id;
    if (m->type != RAFT_MSG_APPEND || f->entry_count == 0)
        return FRAME_PASSES;
    last_sent = m->last_idx;
    bool beyond = m->last_idx > no_further && (have_it & 1U << m->to.broker_id) != 0;
    if ((reached & 1U << m->to.broker_id) == 0 || (no_further != 0 && beyond))
        return FRAME_IS_LOST;
    return m->to.broker_id == late ? FRAME_IS_LATE : FRAME_PASSES;
}

static void let_through(unsigned brokers, uint64_t up_to, unsigned have)
{
    reached = brokers;
    no_further = up_to;
    have_it = have;
    trace_say(TRACE_FAULT, "entries of %s reach brokers %x alone, up to %llu (0: all)", topic, brokers >> 1,
              (unsigned long long)up_to);
}

/* Somebody writes; nobody waits for it. */
static void write_something(unsigned broker, const char *text)
{
    free(story_ask_one(broker, "PUBS %s {\"Body\":\"%s\"}", topic, text));
}

static bool begin(void)
{
    ledger_look_in(8);
    if (!story_order("CRTP %s 1 %u", topic, brokers_count()) || !story_settles("it begins"))
        return false;
    story_load(6000); /* the preferred leader leads */
    frames_gate(gate);
    return true;
}

/* Whoever leads now, with its term's first entry committed; 0: nobody, judge_fails was called. */
static unsigned new_leader(unsigned but)
{
    for (int64_t until_ns = machine_now_ns() + 20 * S_NS; machine_now_ns() < until_ns; story_load(100)) {
        unsigned leader = story_leader(0, topic, 0);
        if (leader != 0 && leader != but && broker_is_up(brokers_at(leader)))
            return leader;
    }
    judge_fails("nobody leads %s", topic);
    return 0;
}

/*
 * Figure 8 of the Raft paper, with the names it has there: S1 has an entry that S2 alone got,
 * and dies; S5 leads without it, has one of its own and dies; S1 leads again and brings its
 * old entry to a majority, which is no reason to say that it is committed: S5 may come
 * back and replace it.
 */
bool story_figure_8(struct chance *chance)
{
    if (!begin())
        return false;
    unsigned s1 = new_leader(0), s2 = story_another(s1, chance), rest = 0;
    for (unsigned i = 1; i <= brokers_count(); i++)
        rest |= i == s1 || i == s2 ? 0 : 1U << i;
    let_through(1U << s2, 0, 0);
    write_something(s1, "of S1");
    uint64_t old_idx = last_sent;
    broker_die(brokers_at(s1), story_death(chance));
    broker_die(brokers_at(s2), DEATH_KILL);
    let_through(0, 0, 0); /* who leads now has its entry for itself */
    story_load(3000);
    unsigned s5 = ledger_leader(topic);
    if ((rest & 1U << s5) == 0) {
        judge_fails("of five brokers two are down, and none of the others leads");
        return false;
    }
    broker_die(brokers_at(s5), story_death(chance));
    let_through(~(1U << s5), old_idx, 1U << s1 | 1U << s2); /* it comes to a majority, what is newer to nobody */
    broker_boot(brokers_at(s1));
    broker_boot(brokers_at(s2));
    story_load(chance_between(chance, 3000, 5000));
    broker_die(brokers_at(s1), story_death(chance));
    broker_die(brokers_at(s2), story_death(chance));
    broker_boot(brokers_at(s5));
    frames_gate(NULL);
    if (new_leader(0) == 0)
        return false;
    write_something(s5, "of S5");
    story_boot_all();
    return story_takes_messages("all are back", 20) && story_settles("all are back");
}

/*
 * The same idx, another term (etcd's five nodes): a leader that nobody hears any more has an
 * entry for itself, and its disk writes it for long; another leads, and has another entry in
 * that place, which the old one takes over as soon as it can. What its disk had on its
 * way says nothing of the new entry: it is not acknowledged by it.
 */
bool story_same_index_another_term(struct chance *chance)
{
    if (!begin())
        return false;
    for (int i = 0; i < 2; i++) {
        unsigned old = new_leader(0);
        if (old == 0)
            return false;
        struct disk *disk = broker_node(brokers_at(old))->disk;
        let_through(0, 0, 0);
        write_something(old, "of the old leader");
        late = old;
        let_through(~0U, 0, 0);
        story_isolate(old, false, true);
        disk_stall(disk, true, true);
        trace_say(TRACE_FAULT, "nobody hears broker %u, and its disk syncs no more", old);
        story_shun(old);
        unsigned other = new_leader(old);
        if (other == 0)
            return false;
        story_load(chance_between(chance, 300, 600)); /* it is told, and takes the new entry */
        disk_stall(disk, false, false);
        net_heal();
        late = 0;
        trace_say(TRACE_FAULT, "broker %u is heard, its disk goes on", old);
        story_load(chance_between(chance, 100, 1000));
        if (chance_once_in(chance, 2)) {
            broker_die(brokers_at(old), DEATH_POWER);
            broker_boot(brokers_at(old));
        }
        story_shun(0);
        if (!story_settles("its disk goes on"))
            return false;
    }
    frames_gate(NULL);
    return true;
}
