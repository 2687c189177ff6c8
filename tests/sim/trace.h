/*
 * What happened, in two forms: a hash over every decision and event, so that two
 * runs of a seed can be compared; and lines for people, the last of which are kept
 * for a failure's report. A line begins with the model's time.
 */
#ifndef KQ_TESTS_SIM_TRACE_H
#define KQ_TESTS_SIM_TRACE_H

#include <stdbool.h>
#include <stdint.h>

enum trace_kind {
    TRACE_FAULT,  /* what is done to the cluster */
    TRACE_BROKER, /* a broker starts, stops, dies; and its log lines */
    TRACE_CLIENT, /* what clients ask and are told */
    TRACE_JUDGE,  /* what an oracle sees */
    TRACE_NET,    /* connections */
    TRACE_RAFT,   /* messages of groups, as they leave */
};

enum { TRACE_KEPT = 32768 }; /* lines */

/* all: every line goes to stderr at once. */
void trace_start(bool all);
void trace_mix(uint64_t value);
uint64_t trace_hash(void);
/* Lines so far; the number of the next one. */
uint64_t trace_lines(void);
void trace_say(enum trace_kind kind, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A line that is kept, or NULL. */
const char *trace_line(uint64_t number, enum trace_kind *kind);
/* To stderr: that line. */
void trace_put(uint64_t number);
/* To stderr: lines from number `since` on, of the kinds in the set (1 << kind), as
 * far as they are still there; at most `most`, the last ones. Safe in a signal
 * handler as far as write(2) goes. */
void trace_show(uint64_t since, unsigned kinds, unsigned most);

#endif
