/*
 * What stories are told with (scenarios.h): orders to the cluster, questions, cuts of
 * links, and what must come true in time. All run on the director's fiber; what fails
 * is told to the judge, and the story ends.
 */
#ifndef KQ_TESTS_SIM_STORY_H
#define KQ_TESTS_SIM_STORY_H

#include "sim/brokers.h"
#include "sim/chance.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- asking ---- */

/* Any broker that serves and answers without an error. NULL: none; else the caller's (free(3)). */
char *story_ask(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* It is not asked from now on, as it does not know better (0: all are). */
void story_shun(unsigned broker);
/* As story_ask, again and again. False: judge_fails was called. */
bool story_order(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* This broker, within some seconds. NULL: no answer. */
char *story_ask_one(unsigned broker, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Who leads a partition, as some broker (0: any) tells it; 0: nobody, or not known. */
unsigned story_leader(unsigned asked, const char *topic, unsigned partition);
/* 0: nobody in time; judge_fails was called. */
unsigned story_wait_for_leader(const char *topic, unsigned partition);
/* Who leads the broker-level group. As above. */
unsigned story_controller(void);
/* Whether the metadata wants a replica of it there. */
bool story_holds(const char *topic, unsigned partition, unsigned broker);
/* How many messages of a partition say this text, read from this broker; below 0: not to be read now. */
int story_count(unsigned broker, const char *topic, const char *text);

/* ---- doing ---- */

/* Clients go on meanwhile. */
void story_load(int64_t ms);
unsigned story_another(unsigned than, struct chance *chance);
void story_boot_all(void);
enum broker_death story_death(struct chance *chance);
/* Its power goes at one of its next steps on the disk, so many at most, and perhaps again while it recovers from
 * that; it is up in the end. */
void story_dies_at_steps(unsigned broker, unsigned steps, struct chance *chance);
/* Its disk takes so many bytes more. */
void story_fill_disk(unsigned broker, uint64_t left_bytes);
void story_empty_disk(unsigned broker);
/* What one broker sends does not reach the other; or does again. */
void story_cut(unsigned from, unsigned to, bool cut);
/* Both ways. */
void story_part(unsigned a, unsigned b, bool cut);
/* From all the other brokers, one way or both. */
void story_isolate(unsigned broker, bool sends, bool hears);

/* ---- what must come true; false: judge_fails was called ---- */

/* Every partition has its leader and its replicas. */
bool story_settles(const char *when);
/* Every partition of the clients' topics takes a message. */
bool story_takes_messages(const char *when, int64_t within_s);

#endif
