/*
 * What clients asked and were told: the recorder. checker.h judges what is
 * recorded here. The simulator and the tests with real processes use the same.
 *
 * An operation is one call of one client. It begins, is given what it sends,
 * reads or is told, and ends OK (it happened), FAIL (it did not and never will)
 * or INFO (nobody knows: a timeout, a lost connection, `outcome unknown`). One
 * that never ends counts as INFO.
 *
 * A process is one client that does one thing after the other: begins come in
 * the order in which it called. A session that pipelines is one process too, if
 * its server promises to keep the order. A client that reconnects is a new one,
 * unless the order is promised across connections.
 *
 * A key is a partition of a topic, as a number that the caller chooses, below
 * HISTORY_KEYS_MAX. A value names one message and is unique in the whole
 * history: a retry of a send belongs to the operation that it retries. Times are
 * of one clock for all processes, in any unit, and need not differ.
 *
 * Not for several threads: each records a history of its own, merged at the end.
 * Memory is the only limit; without it the program is aborted.
 */
#ifndef KQ_TESTS_SUPPORT_HISTORY_H
#define KQ_TESTS_SUPPORT_HISTORY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct history;

enum history_outcome { HISTORY_OK, HISTORY_FAIL, HISTORY_INFO };

enum { HISTORY_KEYS_MAX = 1 << 20 };
#define HISTORY_KEY_ANY UINT32_MAX    /* the server chooses the partition */
#define HISTORY_OFFSET_NONE INT64_MIN /* not told; of a group: nothing committed */
#define HISTORY_TIME_NEVER INT64_MAX

struct history *history_new(void);
void history_free(struct history **h);
/* Appends what `from` holds. Their processes must differ, or not overlap. */
void history_merge(struct history *h, const struct history *from);

/* ---- the history as a whole ------------------------------------------------ */

/* Offsets have no gaps: an offset that nobody showed is a message all the same. */
void history_dense(struct history *h);
/* From this time on the faults are healed and everything was read again from the
 * log start to the end, so that what was not read since is missing. */
void history_final(struct history *h, int64_t time);

/* What was acknowledged in this time may be lost: nobody knows about it any more. */
void history_doubt(struct history *h, int64_t from, int64_t to);
/* What calls that began before the time were shown or told is forgotten. */
void history_forget(struct history *h, int64_t before);

/* ---- operations ------------------------------------------------------------ */

/* Gives the operation's number. */
uint32_t history_begin(struct history *h, uint32_t process, int64_t time);
void history_end(struct history *h, uint32_t op, enum history_outcome outcome, int64_t time);

/* ---- what an operation sends: said before it ends ---------------------------- */

/* Gives the send's number, for the two below. Several in one operation are sent
 * in this order. */
uint32_t history_send(struct history *h, uint32_t op, uint32_t key, uint64_t value);
/* Where the reply says that it lies. */
void history_sent_at(struct history *h, uint32_t send, uint32_t key, int64_t offset);
/* Sent by an idempotent producer (not 0), whose numbers of an epoch and a key go up by one
 * a message, and may be used again for another message only after a FAIL. */
void history_numbered(struct history *h, uint32_t send, uint64_t producer, uint32_t epoch, int64_t sequence);

/* ---- what an operation was shown --------------------------------------------- */

/* In the order shown. */
void history_read(struct history *h, uint32_t op, uint32_t key, int64_t offset, uint64_t value);
/* This call takes up its reading of the key (or any) somewhere else than where
 * the process left it: a seek, an assignment, a rebalance. */
void history_assign(struct history *h, uint32_t op, uint32_t key);
/* It asked for all of the key in [from, to) and claims to have shown it: an
 * assignment as well. */
void history_range(struct history *h, uint32_t op, uint32_t key, int64_t from, int64_t to);
/* The end of the key, one past its last message, where the server promises that
 * it covers all that was acknowledged before the call. */
void history_log_end(struct history *h, uint32_t op, uint32_t key, int64_t end);
void history_log_start(struct history *h, uint32_t op, uint32_t key, int64_t start);

/* ---- committed offsets of groups ---------------------------------------------- */

void history_commit(struct history *h, uint32_t op, uint32_t group, uint32_t key, int64_t offset);
/* What is committed, as the server tells it; HISTORY_OFFSET_NONE: nothing. */
void history_committed(struct history *h, uint32_t op, uint32_t group, uint32_t key, int64_t offset);

/* ---- looking at it ------------------------------------------------------------- */

/* The operation as one line, for people. */
void history_print_op(const struct history *h, uint32_t op, FILE *to);
uint32_t history_op_count(const struct history *h);

#endif
