/*
 * Faults of whole frames between brokers: what TCP never does, and what consensus
 * must bear all the same, as connections that end and begin anew do it to messages.
 * Raft messages alone (PEER_RAFT) are lost, doubled, held back behind later ones; a
 * byte of any frame may be changed on the way, which the receiver must notice.
 */
#ifndef KQ_TESTS_SIM_FRAMES_H
#define KQ_TESTS_SIM_FRAMES_H

#include "sim/machine.h"

#include <stdbool.h>

struct raft_frame;

struct frames_style {
    uint64_t lose_in, double_in, hold_in, spoil_in; /* one frame in so many; 0: never */
    int64_t hold_ns;                                /* at most */
};

/* Draws a style, and looks at all that goes to and from the port. */
void frames_start(uint16_t port, uint64_t seed);
struct frames_style *frames_style(void);
/* What becomes of each Raft message, as a story wants it; NULL: all pass. */
enum frame_fate { FRAME_PASSES, FRAME_IS_LOST, FRAME_IS_LATE /* by LATE_MS of frames.c */ };
void frames_gate(enum frame_fate (*fate)(const struct raft_frame *frame));
/* No more faults; no gate. */
void frames_heal(void);
/* Frames between brokers so far, of Raft and others. */
uint64_t frames_count(void);

/* From one computer to another, by their ids (struct node): all frames so far; and those of
 * groups (PEER_RAFT), with their bytes. */
struct frames_tally {
    uint64_t frames, raft, raft_bytes;
};
const struct frames_tally *frames_between(unsigned from, unsigned to);

#endif
