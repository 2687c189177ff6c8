/*
 * What other brokers ask of this one: publishes to partitions that it leads, reading
 * them, calls to coordinators here, events for sessions here.
 *
 * Questions come on a link's receiver thread, which is never held up: publishes and
 * calls are posted to their partition, and what may have to be read from a disk is read
 * on the engine's readers.
 */
#ifndef KQ_API_SERVE_H
#define KQ_API_SERVE_H

#include "api/broker.h"

struct asked;

/* Main thread. From here on questions are answered. */
void serve_start(struct broker *broker);

/* For serve.c and serve_read.c. */
/* Any thread. The replica here with a reference, or NULL. */
struct partition *serve_find(struct broker *broker, const struct group_id *group);
/* Any thread. Answers an error; asked is gone. */
void serve_refuse(struct asked *asked, enum kq_err err);
/* Receiver thread: handlers of ASK_READ and ASK_WATCH. */
void serve_read(void *broker, struct asked *asked);
void serve_watch(void *broker, struct asked *asked);

/* Any thread, an actor's turn too. Tells the session of another broker; not told if that is
 * not linked: its client finds out when it uses the subscription. */
void serve_tell(struct broker *broker, const struct group_event *event);

#endif
