/*
 * Consumer groups: what goes to the coordinator of a group, with the way there
 * (the offsets topic is made when the first group is), wherever it is led, and the
 * several questions that go to all coordinators.
 *
 * When a coordinator moves, a call is sent again to where it is now, for as long as
 * forward.timeout, if that does no harm: all but a SUBSCRIBE that may have arrived
 * (KQ_OUTCOME_UNKNOWN: what it got expires by itself).
 *
 * A request belongs to the api from the call until `done`, which runs once, on
 * any thread, also before the call returns, and must not block.
 */
#ifndef KQ_API_SUBSCRIBE_H
#define KQ_API_SUBSCRIBE_H

#include "api/broker.h"
#include "cluster/links.h"

struct group_request {
    struct group_call call; /* the answer: call.call.fault and what group.h says */
    void (*done)(struct group_request *request);
    void *owner;
    struct image *image; /* held until group_request_fini: topics stay while their partitions are read */
    int64_t patience_us; /* how long to look for a coordinator that leads; 0: forward.timeout */
    /* the api's */
    struct broker *broker;
    struct cluster_request ensure;
    bool caught_up;
    bool once;            /* not looked for: whoever does not lead now is left out */
    uint32_t coordinator; /* that is asked */
    void (*answered)(struct group_request *request);
    int64_t deadline_us;
    uint32_t tries;
    bool maybe; /* an earlier attempt may have been taken */
    struct leader_wait wait;
    struct ask ask;
    struct buf question;
    struct iovec part;
};

/* All: set call.session, what the verb takes (see group.h), done and owner; zero
 * the rest. Strings are borrowed until done.
 * SUBSCRIBE: group, topic, wanted. KQ_UNKNOWN_TOPIC and the coordinator's errors. */
void subscribe(struct broker *broker, struct group_request *request);
/* RESOLVE, UNSUBSCRIBE: topic, id. */
void subscription_resolve(struct broker *broker, struct group_request *request);
void subscription_end(struct broker *broker, struct group_request *request);
/* PING: renews all that the session uses, at all coordinators. */
void subscription_renew(struct broker *broker, struct group_request *request);
/* After done. */
void group_request_fini(struct group_request *request);

/* For api/offsets and api/groups: sends the call to the coordinator of its id. */
void group_request_send_to_id(struct broker *broker, struct group_request *request);
void group_request_send_to_group(struct broker *broker, struct group_request *request);
/* group_send.c: to this coordinator, wherever it is led; then answered(request). The
 * image holds the offsets topic. */
void group_request_begin(struct broker *broker, struct group_request *request, enum group_verb verb);
void group_send(struct group_request *request, uint32_t coordinator, void (*answered)(struct group_request *request));

/* A session is gone: told to all coordinators. Nobody waits for it. */
void session_closed(struct broker *broker, const struct group_session *session);

#endif
