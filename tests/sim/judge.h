/* A judge in the middle of a run: the first thing that must never be ends it. */
#ifndef KQ_TESTS_SIM_JUDGE_H
#define KQ_TESTS_SIM_JUDGE_H

void judge_fails(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* NULL: nothing so far. */
const char *judge_verdict(void);

#endif
