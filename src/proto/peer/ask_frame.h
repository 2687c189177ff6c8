/*
 * Questions and answers between brokers.
 *
 *    PEER_ASK:     le64 number, le64 microseconds that the asker still waits, u8 verb, 7 zero, the question
 *    PEER_ANSWER:  le64 number, le16 error (enum kq_err; 0: none), le16 bytes of text, 4 zero, the text
 *                  (a sentence for a person; empty: the error's own), the answer
 *
 * Numbers are the asker's, for each connection; answers come in any order. PURE.
 */
#ifndef KQ_PROTO_PEER_ASK_FRAME_H
#define KQ_PROTO_PEER_ASK_FRAME_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/slice.h"

enum { ASK_FRAME_HEAD_BYTES = 24, ANSWER_FRAME_HEAD_BYTES = 16 };

struct ask_frame {
    uint64_t number;
    int64_t wait_us;
    uint8_t verb;
    struct slice question; /* decoded: borrowed */
};
/* The question comes behind it. */
void ask_frame_head(uint8_t out[ASK_FRAME_HEAD_BYTES], const struct ask_frame *ask);
enum kq_err ask_frame_decode(const uint8_t *body, size_t body_bytes, struct ask_frame *ask);

struct answer_frame {
    uint64_t number;
    struct fault fault;  /* text[0] == 0: the error has no sentence of its own */
    struct slice answer; /* decoded: borrowed */
};
/* Head and text; the answer comes behind it. Failure is in out->bad. */
void answer_frame_put(struct buf *out, uint64_t number, const struct fault *fault);
enum kq_err answer_frame_decode(const uint8_t *body, size_t body_bytes, struct answer_frame *answer);

#endif
