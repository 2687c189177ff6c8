/* A story of commits whose coordinator is lost while they are on their way: what was Done stands,
 * what was refused is not there, and only of what is unknown either may be true. */
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

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* DEADLINE_S: after so long a broker looks for no coordinator any more (forward.timeout). */
enum { COMMITS = 10, ID_BYTES = 80, ASK_S = 30, KNOWN_S = 60, DEADLINE_S = 10 };

static const char offsets[] = "__consumer_offsets";

/* Entries of the coordinators reach nobody; votes and beats do. */
static enum frame_fate none_reach(const struct raft_frame *f)
{
    bool entries = f->message.type == RAFT_MSG_APPEND && f->entry_count > 0;
    return entries && ledger_is_of(f, offsets) ? FRAME_IS_LOST : FRAME_PASSES;
}

/* A subscription of the group, as soon as it is free. False: judge_fails was called. */
static bool subscribe(char id[ID_BYTES])
{
    for (int64_t until_ns = machine_now_ns() + KNOWN_S * S_NS; machine_now_ns() < until_ns; story_load(300)) {
        char *reply = story_ask("SUBS quiet keepers 1");
        const char *at = reply == NULL ? NULL : strstr(reply, "[\"");
        bool got = at != NULL;
        if (got)
            (void)snprintf(id, ID_BYTES, "%.*s", (int)strcspn(at + 2, "\""), at + 2);
        free(reply);
        if (got)
            return true;
    }
    judge_fails("the only member of a group is given no partition for %d s", KNOWN_S);
    return false;
}

/* Where the group's reader begins; below 0: judge_fails was called. */
static long committed(const char *id)
{
    for (int64_t until_ns = machine_now_ns() + KNOWN_S * S_NS; machine_now_ns() < until_ns; story_load(300)) {
        char *reply = story_ask("CONS quiet %s", id);
        const char *at = reply == NULL ? NULL : strstr(reply, "\"Offset\":");
        long offset = at == NULL ? -1 : strtol(at + strlen("\"Offset\":"), NULL, 10);
        free(reply);
        if (offset >= 0)
            return offset;
    }
    judge_fails("for %d s nobody says where a group's reader begins", KNOWN_S);
    return -1;
}

/* The coordinator takes it, and cannot pass it on; then it is cut off, and perhaps nobody coordinates for longer
 * than the broker that was asked waits. */
static enum history_outcome commit(const char *id, long offset, struct chance *chance)
{
    char line[160];
    struct session s = {.fd = -1};
    unsigned partition = (unsigned)strtoul(id, NULL, 10), leader = story_wait_for_leader(offsets, partition);
    if (leader == 0)
        return HISTORY_INFO;
    unsigned asked = 1 + (unsigned)chance_below(chance, brokers_count());
    (void)snprintf(line, sizeof line, "CMIT quiet %s %ld", id, offset);
    if (!chance_once_in(chance, 4))
        frames_gate(none_reach);
    bool said = session_open(&s, asked, ASK_S * S_NS) && session_say(&s, line);
    story_load(chance_magnitude(chance, 1, 500));
    if (!chance_once_in(chance, 4))
        story_isolate(leader, false, chance_once_in(chance, 2));
    story_load(chance_once_in(chance, 2) ? chance_between(chance, 500, 4000) : (DEADLINE_S + 3) * 1000);
    frames_gate(NULL);
    story_load(chance_magnitude(chance, 1, 3000));
    net_heal();
    const char *reply = said ? session_hear(&s) : NULL;
    trace_say(TRACE_CLIENT, "broker %u was told: %s: %.200s", asked, line, reply == NULL ? "nothing" : reply);
    enum history_outcome outcome = reply == NULL || strncmp(reply, "Error, outcome unknown", 22) == 0 ? HISTORY_INFO
                                   : strcmp(reply, "Done") == 0                                       ? HISTORY_OK
                                                                                                      : HISTORY_FAIL;
    session_fini(&s);
    return outcome;
}

bool story_a_coordinator_is_lost_with_commits(struct chance *chance)
{
    char id[ID_BYTES];
    long stands = 0;
    if (!story_order("CRTP quiet 1") || !story_settles("it begins"))
        return false;
    for (int i = 0; i <= COMMITS; i++)
        if (!story_order("PUBS quiet {\"Body\":\"message %d.\"}", i))
            return false;
    for (long offset = 1; offset <= COMMITS; offset++) {
        if (!subscribe(id))
            return false;
        enum history_outcome outcome = commit(id, offset, chance);
        if (!story_settles("a coordinator was cut off and is back") || !subscribe(id))
            return false;
        long now = committed(id);
        if (now < 0)
            return false;
        if (outcome == HISTORY_OK && now != offset)
            judge_fails("offset %ld was committed, Done, and the group's reader begins at %ld", offset, now);
        else if (outcome == HISTORY_FAIL && now != stands)
            judge_fails("a commit of offset %ld was refused, and the group's reader begins at %ld instead of %ld",
                        offset, now, stands);
        else if (now != offset && now != stands)
            judge_fails("a group's reader begins at %ld; it was committed at %ld, and perhaps at %ld", now, stands,
                        offset);
        if (judge_verdict() != NULL)
            return false;
        stands = now;
        free(story_ask("UNSB quiet %s", id));
    }
    return true;
}
