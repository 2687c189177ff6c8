/* See frames.h. A connection's bytes are cut into frames as they are sent
 * (proto/peer/frame.h); what is not yet a whole frame waits here. */
#include "sim/frames.h"

#include "base/require.h"
#include "proto/peer/frame.h"
#include "proto/peer/raft_frame.h"
#include "sim/ledger.h"
#include "sim/net.h"
#include "sim/trace.h"

#include <stdlib.h>
#include <string.h>

enum { SIZE_OFF = 0, TYPE_OFF = 8, BEFORE_SIZE_BYTES = 8, LATE_MS = 300 };

/* The beginning of a frame that is being sent on a connection. */
struct tail {
    uint8_t *bytes;
    size_t have, room;
};

struct held {
    struct end *end;
    size_t bytes;
    uint8_t data[];
};

static struct {
    struct chance chance;
    struct frames_style style;
    enum frame_fate (*fate)(const struct raft_frame *frame);
    uint64_t count;
    struct frames_tally tallies[NET_NODES_MAX][NET_NODES_MAX];
} frames;

struct frames_style *frames_style(void)
{
    return &frames.style;
}

uint64_t frames_count(void)
{
    return frames.count;
}

void frames_gate(enum frame_fate (*fate)(const struct raft_frame *frame))
{
    frames.fate = fate;
}

const struct frames_tally *frames_between(unsigned from, unsigned to)
{
    return &frames.tallies[from][to];
}

void frames_heal(void)
{
    frames.fate = NULL;
    frames.style = (struct frames_style){0};
}

static void held_leaves(void *context, uint64_t number)
{
    struct held *h = context;
    (void)number;
    if (!h->end->out_shut && !h->end->closed)
        net_put(h->end, h->data, h->bytes, 0);
    free(h);
}

static void hold(struct end *end, const uint8_t *data, size_t bytes, int64_t for_ns)
{
    struct held *h = malloc(sizeof *h + bytes);
    REQUIRE(h != NULL);
    h->end = end;
    h->bytes = bytes;
    memcpy(h->data, data, bytes);
    machine_at(machine_now_ns() + for_ns, held_leaves, h, 0);
}

static int64_t a_while(void)
{
    return chance_magnitude(&frames.chance, 1000, frames.style.hold_ns);
}

static enum frame_fate fate_of(const uint8_t *frame, size_t bytes)
{
    struct raft_frame f;
    bool known = frames.fate != NULL &&
                 raft_frame_decode(frame + PEER_FRAME_HEAD_BYTES, bytes - PEER_FRAME_HEAD_BYTES, &f) == KQ_OK;
    return known ? frames.fate(&f) : FRAME_PASSES;
}

static void frame_leaves(struct end *end, uint8_t *data, size_t bytes)
{
    const struct frames_style *style = &frames.style;
    bool raft = data[TYPE_OFF] == PEER_RAFT;
    struct frames_tally *tally = &frames.tallies[end->node->id][end->peer_node->id];
    frames.count++;
    tally->frames++;
    tally->raft += raft;
    tally->raft_bytes += raft ? bytes : 0;
    ledger_frame(end->node->id, data, bytes);
    enum frame_fate fate = raft ? fate_of(data, bytes) : FRAME_PASSES;
    if (fate == FRAME_IS_LATE)
        hold(end, data, bytes, LATE_MS * MS_NS);
    if (fate != FRAME_PASSES)
        return;
    if (chance_once_in(&frames.chance, style->spoil_in)) {
        size_t within = chance_once_in(&frames.chance, 2) ? PEER_FRAME_HEAD_BYTES : bytes; /* its size, often enough */
        data[chance_below(&frames.chance, within)] ^= (uint8_t)(1U << chance_below(&frames.chance, 8));
    }
    if (raft && chance_once_in(&frames.chance, style->lose_in))
        return;
    if (raft && chance_once_in(&frames.chance, style->hold_in)) {
        hold(end, data, bytes, a_while());
        return;
    }
    net_put(end, data, bytes, 0);
    if (raft && chance_once_in(&frames.chance, style->double_in))
        hold(end, data, bytes, a_while());
}

static uint32_t le32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* Bytes of the first frame, 0: not known yet. A size that is none goes as it is. */
static size_t frame_bytes(const struct tail *t)
{
    if (t->have < PEER_FRAME_HEAD_BYTES)
        return 0;
    uint32_t size = le32(t->bytes + SIZE_OFF);
    return size < PEER_FRAME_HEAD_BYTES - BEFORE_SIZE_BYTES || size > PEER_FRAME_MAX_BYTES
               ? t->have
               : BEFORE_SIZE_BYTES + (size_t)size;
}

static void sent(void *context, struct end *from, const uint8_t *data, size_t bytes)
{
    (void)context;
    struct tail *t = from->filter_state;
    if (t == NULL) {
        t = from->filter_state = calloc(1, sizeof *t);
        REQUIRE(t != NULL);
    }
    if (t->have + bytes > t->room) {
        t->room = (t->have + bytes) * 2;
        t->bytes = realloc(t->bytes, t->room);
        REQUIRE(t->bytes != NULL);
    }
    memcpy(t->bytes + t->have, data, bytes);
    t->have += bytes;
    for (size_t frame; (frame = frame_bytes(t)) > 0 && frame <= t->have;) {
        frame_leaves(from, t->bytes, frame);
        memmove(t->bytes, t->bytes + frame, t->have -= frame);
    }
}

void frames_start(uint16_t port, uint64_t seed)
{
    frames.chance = chance_of(seed, 60);
    struct frames_style *s = &frames.style;
    s->lose_in = chance_once_in(&frames.chance, 2) ? 0 : (uint64_t)chance_magnitude(&frames.chance, 10, 1000);
    s->double_in = chance_once_in(&frames.chance, 2) ? 0 : (uint64_t)chance_magnitude(&frames.chance, 5, 500);
    s->hold_in = chance_once_in(&frames.chance, 2) ? 0 : (uint64_t)chance_magnitude(&frames.chance, 5, 500);
    s->spoil_in = chance_once_in(&frames.chance, 4) ? (uint64_t)chance_magnitude(&frames.chance, 300, 5000) : 0;
    s->hold_ns = chance_magnitude(&frames.chance, MS_NS, 500 * MS_NS);
    const struct net_filter filter = {.port = port, .sent = sent};
    net_set_filter(&filter);
}
