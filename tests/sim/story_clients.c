/*
 * Stories of publishes whose answer is late: sent again meanwhile, or left behind by a
 * leader that is cut off. Each has a topic to itself, "once", and reads it in the end.
 */
#include "proto/peer/raft_frame.h"
#include "sim/clients.h"
#include "sim/frames.h"
#include "sim/judge.h"
#include "sim/ledger.h"
#include "sim/net.h"
#include "sim/scenarios.h"
#include "sim/session.h"
#include "sim/story.h"
#include "sim/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char topic[] = "once";

static bool is_done(const char *reply)
{
    return reply != NULL && strcmp(reply, "Done") == 0;
}

/* ---- the same publish twice --------------------------------------------------------------- */

/* Its entries reach nobody. */
static enum frame_fate none_reach(const struct raft_frame *f)
{
    bool entries = f->message.type == RAFT_MSG_APPEND && f->entry_count > 0;
    return entries && ledger_is_of(f, topic) ? FRAME_IS_LOST : FRAME_PASSES;
}

/* One who sends a numbered message and waits for the answer. */
struct sender {
    struct session session;
    bool sent;
    bool done;
};

static void send_line(struct sender *s, unsigned broker, int64_t patience_s, const char *line)
{
    s->session = (struct session){.fd = -1};
    s->sent = session_open(&s->session, broker, patience_s * S_NS) && session_say(&s->session, line);
    trace_say(TRACE_CLIENT, "broker %u is told: %s", broker, line);
}

static void hear(struct sender *s)
{
    const char *reply = s->sent ? session_hear(&s->session) : NULL;
    trace_say(TRACE_CLIENT, "broker %u answers: %.160s", s->session.broker, reply == NULL ? "nothing" : reply);
    s->done = is_done(reply);
    if (reply != NULL && (strstr(reply, "sequence") != NULL || strstr(reply, "epoch") != NULL))
        judge_fails("a message that is sent twice is answered: %.160s", reply);
    session_fini(&s->session);
}

static int64_t take_producer(void)
{
    char *reply = story_ask("PRID");
    const char *id = reply == NULL ? NULL : strstr(reply, "\"Id\":");
    int64_t number = id == NULL ? -1 : strtoll(id + 5, NULL, 10);
    free(reply);
    if (number < 0)
        judge_fails("nobody gives a producer id");
    return number;
}

/* Sent until it is Done; then it is there once. */
static bool must_be_there_once(const char *line, const char *text, const char *when)
{
    if (!story_order("%s", line))
        return false;
    for (int64_t until_ns = machine_now_ns() + 20 * S_NS;; story_load(200)) {
        unsigned leader = story_wait_for_leader(topic, 0);
        int count = leader == 0 ? -1 : story_count(leader, topic, text);
        if (count == 1 || leader == 0)
            return leader != 0;
        if (count >= 0 || machine_now_ns() >= until_ns) {
            judge_fails("%s: a message that was sent again and again, and answered Done, is there %d times", when,
                        count);
            return false;
        }
    }
}

/*
 * The second comes while the first is appended and not committed. It may not be answered before
 * the first is; when that one is cut off the log by a new leader, the second is no success
 * for nothing: it is taken anew, or refused.
 */
bool story_a_duplicate_comes_before_its_original_is_committed(struct chance *chance)
{
    int64_t id = take_producer();
    char line[120], text[32];
    if (id < 0 || !story_order("CRTP %s 1", topic) || !story_settles("it begins"))
        return false;
    for (int sequence = 0; sequence < 4; sequence++) {
        unsigned leader = story_wait_for_leader(topic, 0);
        if (leader == 0)
            return false;
        bool is_cut = sequence % 2 == 1;
        const char *when = is_cut ? "its first leader was cut off" : "its entry was late";
        (void)snprintf(text, sizeof text, "number %d.", sequence);
        (void)snprintf(line, sizeof line, "PUBX %s 0 %" PRId64 " 0 %d {\"Body\":\"%s\"}", topic, id, sequence, text);
        frames_gate(none_reach);
        struct sender first, early, second;
        send_line(&first, leader, 15, line);
        story_load(chance_between(chance, 5, 200));
        send_line(&second, chance_once_in(chance, 2) ? leader : story_another(leader, chance), 15, line);
        send_line(&early, leader, 1, line);
        hear(&early); /* within a second nothing is committed */
        if (early.done)
            judge_fails("a duplicate is answered Done before its original is committed");
        if (is_cut)
            story_isolate(leader, false, false);
        frames_gate(NULL);
        if (is_cut) {
            story_load(chance_between(chance, 2000, 4000));
            net_heal();
        }
        hear(&first);
        hear(&second);
        trace_say(TRACE_CLIENT, "%s: the first %s, the second %s", when, first.done ? "done" : "not",
                  second.done ? "done" : "not");
        if (judge_verdict() != NULL || !must_be_there_once(line, text, when))
            return false;
    }
    return true;
}

/* ---- a session whose leader is cut off -------------------------------------------------------- */

enum { SESSIONS = 3, BURST = 10, BURSTS = 24, LINES = BURST * BURSTS, SLOW_MS = 400, GAP_MS = 50 };

/* What each of a session's publishes was told. */
struct told {
    bool done[LINES];
    unsigned dones, unknown, refused;
};

static void say(struct session *s, unsigned session, unsigned number)
{
    char line[120];
    (void)snprintf(line, sizeof line, "PUBS %s {\"Body\":\"s%u-%03u.\"}", topic, session, number);
    (void)session_say(s, line); /* if it is gone, nobody hears what became of it */
}

static void hear_burst(struct session *s, unsigned session, unsigned from, struct told *told)
{
    for (unsigned i = from; i < from + BURST && s->fd >= 0; i++) {
        const char *reply = session_hear(s);
        trace_say(TRACE_CLIENT, "s%u-%03u: %.120s", session, i, reply == NULL ? "nothing" : reply);
        told->done[i] = is_done(reply);
        told->dones += told->done[i];
        bool unknown = reply == NULL || strncmp(reply, "Error, outcome unknown", 22) == 0;
        told->unknown += unknown;
        told->refused += !told->done[i] && !unknown;
    }
}

/* Those of a session are there in its order, none twice, and all that were Done. */
static bool read_in_order(const char *records, unsigned session, const struct told *told)
{
    char name[16];
    bool there[LINES] = {false};
    long last = -1;
    (void)snprintf(name, sizeof name, "s%u-", session);
    for (const char *at = records; (at = strstr(at, name)) != NULL; at++) {
        long number = strtol(at + strlen(name), NULL, 10);
        if (number <= last)
            judge_fails("message %ld of session %u stands behind message %ld", number, session, last);
        last = number;
        if (number >= 0 && number < LINES)
            there[number] = true;
    }
    for (unsigned i = 0; i < LINES; i++)
        if (told->done[i] && !there[i])
            judge_fails("message %u of session %u was Done, and is not there", i, session);
    return judge_verdict() == NULL;
}

static char *read_all(void)
{
    for (int64_t until_ns = machine_now_ns() + 20 * S_NS; machine_now_ns() < until_ns; story_load(200)) {
        char *ids = story_ask("SUBS %s all%" PRId64 " 1", topic, machine_now_ns());
        const char *id = ids == NULL ? NULL : strstr(ids, "[\"");
        char *records = id == NULL ? NULL : story_ask("CONS %s %.*s 0", topic, (int)strcspn(id + 2, "\""), id + 2);
        free(ids);
        if (records != NULL && strstr(records, "],\"Error\":") == NULL)
            return records;
        free(records);
    }
    judge_fails("%s cannot be read", topic);
    return NULL;
}

/* While publishes are on their way: the leader is cut off, or has no room, or hands over, and who
 * asks it is heard late. */
static void disturb(unsigned leader, unsigned asker, struct chance *chance)
{
    struct net_link *link = net_link(broker_node(brokers_at(asker)), broker_node(brokers_at(leader)));
    switch (chance_below(chance, 5)) {
    case 0:
        frames_gate(none_reach); /* what comes now is appended, and goes nowhere */
        story_isolate(leader, false, true);
        break;
    case 1:
        story_isolate(leader, false, true);
        break;
    case 2:
        story_fill_disk(leader, (uint64_t)chance_magnitude(chance, 1, 8192));
        break;
    default:
        link->delay_ns = chance_between(chance, 1, SLOW_MS) * MS_NS;
        trace_say(TRACE_FAULT, "broker %u is heard late by broker %u", asker, leader);
        free(story_ask("CLUS TRANSFER %s 0 %u", topic, story_another(leader, chance)));
        break;
    }
}

static void calm_down(unsigned leader)
{
    frames_gate(NULL);
    story_empty_disk(leader);
    net_heal();
}

/* A line of each session at a time, so that each is a publish of its own; one that is disturbed, somewhere in it,
 * is calm again before its end or after it. */
static bool publish_burst(struct session *sessions, unsigned from, struct told *told, struct chance *chance)
{
    unsigned leader = story_wait_for_leader(topic, 0), begins = (unsigned)chance_below(chance, 2 * BURST);
    unsigned ends = begins + 1 + (unsigned)chance_below(chance, BURST);
    if (leader == 0)
        return false;
    for (unsigned i = 0; i < BURST; i++) {
        if (i == begins)
            disturb(leader, story_another(leader, chance), chance);
        if (i == ends)
            calm_down(leader);
        if (i > begins && i < ends && chance_once_in(chance, 2))
            free(story_ask("CLUS TRANSFER %s 0 %u", topic, 1 + (unsigned)chance_below(chance, brokers_count())));
        for (unsigned k = 0; k < SESSIONS; k++)
            say(&sessions[k], k, from + i);
        fiber_sleep(chance_magnitude(chance, 1, GAP_MS) * MS_NS);
    }
    story_load(chance_magnitude(chance, 1, 3000));
    calm_down(leader);
    for (unsigned k = 0; k < SESSIONS; k++)
        hear_burst(&sessions[k], k, from, &told[k]);
    return judge_verdict() == NULL;
}

/*
 * Sessions at each broker publish in bursts while their leader is disturbed: what is on its way becomes
 * unknown, is refused, or is sent again by the broker; the order of each session stays.
 */
bool story_a_session_goes_on_while_its_leader_is_cut_off(struct chance *chance)
{
    struct session sessions[SESSIONS] = {{.fd = -1}, {.fd = -1}, {.fd = -1}};
    struct told told[SESSIONS];
    memset(told, 0, sizeof told);
    if (!story_order("CRTP %s 1", topic) || !story_settles("it begins"))
        return false;
    for (unsigned i = 0; i < SESSIONS; i++)
        if (!session_open(&sessions[i], i + 1, 30 * S_NS))
            judge_fails("a broker that serves takes no session");
    for (unsigned from = 0; from < LINES; from += BURST)
        if (!publish_burst(sessions, from, told, chance))
            return false;
    for (unsigned i = 0; i < SESSIONS; i++) {
        trace_say(TRACE_CLIENT, "session %u: %u done, %u unknown, %u refused", i, told[i].dones, told[i].unknown,
                  told[i].refused);
        session_fini(&sessions[i]);
    }
    if (!story_settles("all is well again"))
        return false;
    char *records = read_all();
    bool good = records != NULL;
    for (unsigned i = 0; i < SESSIONS && good; i++)
        good = read_in_order(records, i, &told[i]);
    free(records);
    return good;
}
