/*
 * The books of consensus, kept outside of all brokers: every Raft message is looked
 * at as it leaves its broker, before the network does anything to it.
 *
 *   - one leader a term of a group;
 *   - one vote a term and replica (incarnation), whatever happens to its broker;
 *   - a granted vote, and the term that a leader speaks in, are on the disk of the
 *     one who says so; and so is the term of any reply;
 *   - an entry acknowledged to a leader is on the disk of the one who says so (some
 *     of them are looked at: reading a log costs more than the rest together);
 *   - what a leader says is committed is on two disks at least (some are looked at);
 *     (both not with flush = interval, which promises no disk);
 *   - an entry that a leader says is committed is the one that any leader of a later
 *     term has at that idx.
 *
 * What is on a disk is what durable.h shows, not what the broker believes.
 */
#ifndef KQ_TESTS_SIM_LEDGER_H
#define KQ_TESTS_SIM_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* disks_stay: none is wiped in this run, so that what was committed is on a majority of them. */
void ledger_start(uint64_t seed, bool disks_stay);
/* Of the promises that cost much to check one in so many is, from now on. */
void ledger_look_in(uint64_t in);
/* A whole frame of a connection between brokers (proto/peer/frame.h), on the fiber that sends it. */
void ledger_frame(unsigned broker, const uint8_t *frame, size_t bytes);
/* The power failed for a majority before it had flushed: what was committed may be lost. */
void ledger_forgive(void);
/* Who led one of the groups last, as a number picks; 0: nobody yet. */
unsigned ledger_some_leader(uint64_t number);
/* Whether a message is of a group of this topic. */
struct raft_frame;
bool ledger_is_of(const struct raft_frame *frame, const char *topic);
/* Who leads partition 0 of this topic, the newest that any message showed; 0: nobody yet. */
unsigned ledger_leader(const char *topic);
/* Leaders of all partitions of a topic (NULL: of all topics) so far, each term's. */
uint64_t ledger_reigns(const char *topic);
/* For the last line of a run: messages looked at, promises checked on disks. */
uint64_t ledger_messages(void);
uint64_t ledger_promises(void);
/* Messages that make a replica begin anew at another log start. */
uint64_t ledger_resets(void);

#endif
