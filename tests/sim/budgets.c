#include "sim/budgets.h"

#include "base/require.h"
#include "sim/brokers.h"
#include "sim/clients.h"
#include "sim/disk.h"
#include "sim/frames.h"
#include "sim/judge.h"
#include "sim/ledger.h"
#include "sim/net.h"
#include "sim/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* IDLE_FRAMES: a beat each 100 ms, and little else. LAPSE_FRAMES: where the network loses pieces, which
 * come again 200 ms later, the word of a peer may lapse for a moment, and its groups are asked. AROUND_BYTES:
 * of a message between brokers without the payload, both ways. FRAMES_A_FOLLOWER: the entry and its answer.
 * SPARE_FRAMES, SPARE_BYTES, of all: a beat of another group, or an entry that comes twice to who had no room for
 * it, which is so for a publish now and then, and not for all: of PUBLISHES_MAX one costs what it must. */
enum {
    SESSIONS_S = 13,
    WAITS_MAX = 4,
    QUIET_S = 5,
    IDLE_FRAMES = 15,
    LAPSE_FRAMES = 8,
    PAYLOAD_BYTES = 1000,
    AROUND_BYTES = 600,
    FRAMES_A_FOLLOWER = 2,
    SPARE_FRAMES = 4,
    SPARE_BYTES = 2900,
    PUBLISHES_MAX = 8,
    AFTER_MS = 50,
    ASK_S = 5,
    AT_ONCE_MS = 50,
};

struct counts {
    struct frames_tally wires[BROKERS_MAX][BROKERS_MAX];
    uint64_t flushes[BROKERS_MAX];
};

static unsigned id_of(unsigned broker)
{
    return broker_node(brokers_at(broker))->id;
}

static void count(struct counts *now)
{
    for (unsigned i = 1; i <= brokers_count(); i++) {
        now->flushes[i - 1] = disk_flushes(broker_node(brokers_at(i))->disk);
        for (unsigned j = 1; j <= brokers_count(); j++)
            now->wires[i - 1][j - 1] = *frames_between(id_of(i), id_of(j));
    }
}

/* ---- nobody does anything ------------------------------------------------------------- */

static void judge_idle(void)
{
    struct counts before, after;
    count(&before);
    fiber_sleep(QUIET_S * S_NS);
    count(&after);
    for (unsigned i = 0; i < brokers_count(); i++)
        for (unsigned j = 0; j < brokers_count(); j++) {
            uint64_t frames = after.wires[i][j].frames - before.wires[i][j].frames;
            uint64_t raft = after.wires[i][j].raft - before.wires[i][j].raft;
            bool lossy = net_link(broker_node(brokers_at(i + 1)), broker_node(brokers_at(j + 1)))->lose_in != 0;
            if (frames > (uint64_t)IDLE_FRAMES * QUIET_S || raft > (lossy ? LAPSE_FRAMES : 0))
                judge_fails("nobody uses the cluster, and broker %u sends broker %u %" PRIu64
                            " frames in %d s, %" PRIu64 " of them of groups; %d a second and none are the budget",
                            i + 1, j + 1, frames, QUIET_S, raft, IDLE_FRAMES);
            if (i != j)
                trace_say(TRACE_JUDGE, "idle: %u to %u: %" PRIu64 " frames in %d s", i + 1, j + 1, frames, QUIET_S);
        }
}

/* ---- one publish ------------------------------------------------------------------------ */

/* True: nothing came beside it. */
static bool judge_publish(unsigned asked)
{
    static char line[PAYLOAD_BYTES + 64];
    struct counts before, acknowledged, after;
    int len = snprintf(line, sizeof line, "PUBS t0 {\"Body\":\"");
    memset(line + len, 'q', PAYLOAD_BYTES);
    memcpy(line + len + PAYLOAD_BYTES, "\"}", 3);
    count(&before);
    int64_t began_ns = machine_now_ns();
    char *reply = clients_ask(asked, line, ASK_S * S_NS);
    bool at_once = machine_now_ns() - began_ns < AT_ONCE_MS * MS_NS; /* else beats and marks come between */
    bool done = reply != NULL && strcmp(reply, "Done") == 0;
    count(&acknowledged);
    fiber_sleep(AFTER_MS * MS_NS);
    count(&after);
    free(reply);
    if (!done || !at_once)
        return false; /* said by others */
    uint64_t frames = 0, bytes = 0, followers = 0;
    for (unsigned i = 0; i < brokers_count(); i++) {
        uint64_t flushes = acknowledged.flushes[i] - before.flushes[i];
        if (flushes > 1)
            judge_fails("one publish takes %" PRIu64 " flushes on broker %u until it is acknowledged", flushes, i + 1);
        for (unsigned j = 0; j < brokers_count(); j++) {
            frames += after.wires[i][j].raft - before.wires[i][j].raft;
            uint64_t here = after.wires[i][j].raft_bytes - before.wires[i][j].raft_bytes;
            bytes += here;
            followers += here >= PAYLOAD_BYTES;
        }
    }
    trace_say(TRACE_JUDGE, "one publish: %" PRIu64 " followers, %" PRIu64 " frames, %" PRIu64 " bytes", followers,
              frames, bytes);
    uint64_t frames_must = FRAMES_A_FOLLOWER * followers, bytes_must = followers * (PAYLOAD_BYTES + AROUND_BYTES);
    if (frames > frames_must + SPARE_FRAMES || bytes > bytes_must + followers * SPARE_BYTES)
        judge_fails("one publish of %d bytes to %" PRIu64 " followers takes %" PRIu64 " frames and %" PRIu64
                    " bytes between brokers; %d frames and %d bytes a follower are the budget, and some to spare",
                    PAYLOAD_BYTES, followers, frames, bytes, FRAMES_A_FOLLOWER, PAYLOAD_BYTES + AROUND_BYTES);
    return frames <= frames_must && bytes <= bytes_must;
}

/* Asked of each broker in turn, of each once at least. */
static void judge_publishes(void)
{
    bool lean = false;
    for (unsigned i = 0; (i < brokers_count() || (!lean && i < PUBLISHES_MAX)) && judge_verdict() == NULL; i++) {
        lean = judge_publish(1 + i % brokers_count()) || lean;
        fiber_sleep(S_NS);
    }
    if (!lean)
        judge_fails("of %d publishes each takes more than %d frames and %d bytes a follower between brokers",
                    PUBLISHES_MAX, FRAMES_A_FOLLOWER, PAYLOAD_BYTES + AROUND_BYTES);
}

void budgets_judge(void)
{
    uint64_t reigns;
    int times = 0;
    do { /* a new leader of groups waits so long for their members */
        reigns = ledger_reigns(NULL);
        fiber_sleep(SESSIONS_S * S_NS);
    } while (ledger_reigns(NULL) != reigns && ++times < WAITS_MAX);
    judge_idle();
    judge_publishes();
}
